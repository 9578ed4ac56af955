//! The tags of a model's reply: one row each.

use std::fmt;

use serde_json::Value;

use crate::conversation::HttpRequest;

/// Most attributes of a tag that are looked at.
const MAX_ATTRIBUTES: usize = 32;

/// One kind of tag.
#[derive(Debug)]
pub struct TagRow {
    /// Name of the tag, as it is written in a playbook.
    pub name: &'static str,
    /// Names under which a model may call it as a function.
    pub functions: &'static [&'static str],
    /// Attributes; of each the spellings, the first is the one to write.
    pub attributes: &'static [&'static [&'static str]],
    /// An example for the model's instructions.
    pub example: &'static str,
    /// What the model is told of it.
    pub help: &'static str,
    /// How many of its attributes, from the first on, it cannot do without.
    pub required: usize,
    /// Whether it encloses words and has an end, such as `</protect>`.
    pub encloses: bool,
    /// What the tag does; `None` when an attribute it needs is missing.
    act: fn(&Tag) -> Option<Act>,
}

/// Every tag.
pub static TAGS: &[TagRow] = &[
    TagRow {
        name: "hangup",
        functions: &["hangup_call"],
        attributes: &[&["reason"], &["initiator"]],
        example: "<hangup/>",
        help: "ends the call after the words before it",
        encloses: false,
        required: 0,
        act: |tag| Some(Act::Hangup { reason: tag.value(0), initiator: tag.value(1) }),
    },
    TagRow {
        name: "goto",
        functions: &["goto_scene"],
        attributes: &[&["scene", "to"]],
        example: "<goto scene=\"name\"/>",
        help: "goes on in another scene",
        encloses: false,
        required: 1,
        act: |tag| tag.value(0).map(Act::Goto),
    },
    TagRow {
        name: "refer",
        functions: &["transfer", "transfer_call", "refer_call"],
        attributes: &[&["to", "callee", "callee_uri", "target"]],
        example: "<refer to=\"sip:address\"/>",
        help: "transfers the call; only to an address that these instructions name",
        encloses: false,
        required: 1,
        act: |tag| tag.value(0).map(Act::Refer),
    },
    TagRow {
        name: "play",
        functions: &[],
        attributes: &[&["file", "url", "src"]],
        example: "<play file=\"path.wav\"/>",
        help: "plays a recording",
        encloses: false,
        required: 1,
        act: |tag| tag.value(0).map(Act::Play),
    },
    TagRow {
        name: "set_var",
        functions: &[],
        attributes: &[&["key", "name"], &["value"]],
        example: "<set_var key=\"name\" value=\"text\"/>",
        help: "remembers a value",
        encloses: false,
        required: 2,
        act: |tag| {
            let value = tag.value(1).unwrap_or_default();
            tag.value(0).map(|key| Act::SetVar { key, value })
        },
    },
    TagRow {
        name: "http",
        functions: &[],
        attributes: &[&["url"], &["method"], &["body"], &["set_var"], &["headers"]],
        example: "<http url=\"https://address\" method=\"GET\"/>",
        help: "fetches an address; the answer is told to you, then you go on",
        encloses: false,
        required: 1,
        act: http,
    },
    TagRow {
        name: "collect",
        functions: &[],
        attributes: &[&["type"], &["var"], &["prompt"]],
        example: "<collect type=\"name\" var=\"name\" prompt=\"words\"/>",
        help: "asks the caller to enter digits",
        encloses: false,
        required: 1,
        act: |tag| {
            let kind = tag.value(0)?;
            let var = tag.value(1).unwrap_or_else(|| kind.clone());
            Some(Act::Collect { var, prompt: tag.value(2), kind })
        },
    },
    TagRow {
        name: "dtmf",
        functions: &["send_digits", "press"],
        attributes: &[&["digits", "digit", "keys"]],
        example: "<dtmf digits=\"12#\"/>",
        help: "presses keys of the telephone for the far end; a comma is a pause",
        encloses: false,
        required: 1,
        act: |tag| tag.value(0).filter(|keys| are_keys(keys)).map(Act::Dtmf),
    },
    TagRow {
        name: "protect",
        functions: &[],
        attributes: &[],
        example: "<protect>words</protect>",
        help: "says words that the caller must hear to their end, such as a legal notice",
        encloses: true,
        required: 0,
        act: |tag| Some(Act::Protect(!tag.closing)),
    },
];

/// What a tag asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// End the call when the words before have been heard.
    Hangup {
        /// Why; absent: `system`.
        reason: Option<String>,
        /// Who: `caller`, `callee` or `system`.
        initiator: Option<String>,
    },
    /// Send these digits to the far end when the words before have been heard.
    Dtmf(String),
    /// Go on in the scene of this name.
    Goto(String),
    /// Transfer the call to this target, if that is allowed.
    Refer(String),
    /// Play this file.
    Play(String),
    /// Remember a value.
    SetVar {
        /// Name of the variable.
        key: String,
        /// Its value.
        value: String,
    },
    /// Fetch something and tell the model.
    Http {
        /// What to fetch; address and body are templates.
        request: HttpRequest,
        /// Variable that takes the answer.
        var: Option<String>,
    },
    /// Collect digits.
    Collect {
        /// Name of the collector.
        kind: String,
        /// Variable that takes the digits.
        var: String,
        /// Words to say first.
        prompt: Option<String>,
    },
    /// Words from here on are heard to their end, or no longer.
    Protect(bool),
}

/// Most keys that are sent at once.
const MAX_KEYS: usize = 64;

fn are_keys(keys: &str) -> bool {
    keys.len() <= MAX_KEYS && keys.chars().all(|key| key.is_ascii_digit() || "*#ABCDabcd,".contains(key))
}

fn http(tag: &Tag) -> Option<Act> {
    let body = tag.value(2);
    let default = if body.is_some() { "POST" } else { "GET" };
    let method = tag.value(1).unwrap_or_else(|| default.into()).to_ascii_uppercase();
    let known = ["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str());
    let method = if known { method } else { default.to_owned() };
    let headers = tag.value(4).and_then(|text| crate::vars::Vars::object(&text)).unwrap_or_default();
    let headers = headers.iter().map(|(name, value)| (name.clone(), protocol::value::extra_string(value)));
    let headers = headers.collect();
    let request = HttpRequest { url: tag.value(0)?, method, headers, body, ..HttpRequest::default() };
    Some(Act::Http { request, var: tag.value(3) })
}

/// The row of the tag called `name`, in any case.
pub fn row(name: &str) -> Option<&'static TagRow> {
    TAGS.iter().find(|row| row.name.eq_ignore_ascii_case(name))
}

/// Whether some tag's name begins with `part`; the empty text begins none.
pub fn begins_name(part: &str) -> bool {
    let begins =
        |row: &TagRow| row.name.get(..part.len()).is_some_and(|head| head.eq_ignore_ascii_case(part));
    !part.is_empty() && TAGS.iter().any(begins)
}

/// A tag with its attributes, in the order they were written.
#[derive(Clone, PartialEq, Eq)]
pub struct Tag {
    row: &'static str,
    closing: bool,
    attributes: Vec<(String, String)>,
}

impl Tag {
    /// Its name.
    pub fn name(&self) -> &'static str {
        self.row
    }

    /// What it asks for; `None` when an attribute it needs is missing or empty.
    pub fn act(&self) -> Option<Act> {
        row(self.row).and_then(|row| (row.act)(self))
    }

    /// The first attribute that it cannot do without and that is missing or empty.
    pub fn lacks(&self) -> Option<&'static str> {
        let row = row(self.row)?;
        let lacking = (0..row.required).find(|index| self.value(*index).is_none())?;
        row.attributes.get(lacking)?.first().copied()
    }

    /// The tag that a model's call of a function stands for.
    pub fn from_call(name: &str, arguments: &Value) -> Option<Tag> {
        let named = |row: &&TagRow| row.name == name || row.functions.contains(&name);
        let row = TAGS.iter().find(named)?;
        let given = arguments.as_object().into_iter().flatten().take(MAX_ATTRIBUTES);
        let attributes = given.map(|(key, value)| (key.clone(), protocol::value::extra_string(value)));
        Some(Tag { row: row.name, closing: false, attributes: attributes.collect() })
    }

    /// The value of the `index`th attribute of the row, when it is given and not empty.
    fn value(&self, index: usize) -> Option<String> {
        let spellings = row(self.row)?.attributes.get(index)?;
        let given = |name: &&str| self.attributes.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        let value = spellings.iter().find_map(given).map(|(_, value)| value.trim())?;
        (!value.is_empty()).then(|| value.to_owned())
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.closing { "/" } else { "" };
        write!(f, "{end}{}", self.row)?;
        self.attributes.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{self}/>")
    }
}

/// The tag that `held`, all of it but the closing `>`, says.
pub(crate) fn parse(held: &str) -> Option<Tag> {
    let inner = held.strip_prefix('<')?;
    let closing = inner.strip_prefix('/');
    let inner = closing.unwrap_or(inner);
    let end = inner.find(|c: char| c.is_whitespace() || c == '/').unwrap_or(inner.len());
    let (name, rest) = inner.split_at(end);
    let row = row(name)?;
    // Only a tag that encloses words has an end.
    if closing.is_some() && !row.encloses {
        return None;
    }
    Some(Tag { row: row.name, closing: closing.is_some(), attributes: attributes(rest) })
}

/// Attributes in any order with either kind of quotes or none.
pub(crate) fn attributes(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((name, value, after)) = next_attribute(rest) {
        rest = after;
        if found.len() < MAX_ATTRIBUTES {
            found.push((name.to_owned(), unescape(value)));
        }
    }
    found
}

/// The next attribute, its value, and the text after it. An attribute without a value has the empty one.
fn next_attribute(text: &str) -> Option<(&str, &str, &str)> {
    let text = text.trim_start_matches(|c: char| c.is_whitespace() || c == '/' || c == ',');
    let end = text.find(|c: char| c.is_whitespace() || c == '=' || c == '/').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        let mut chars = rest.chars();
        chars.next()?;
        return next_attribute(chars.as_str());
    }
    let Some(value) = rest.trim_start().strip_prefix('=') else { return Some((name, "", rest)) };
    let value = value.trim_start();
    match value.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let inner = value.strip_prefix(quote).unwrap_or_default();
            let (value, after) = inner.split_once(quote).unwrap_or((inner, ""));
            Some((name, value, after))
        }
        Some(_) | None => {
            let end = value.find(char::is_whitespace).unwrap_or(value.len());
            let (value, after) = value.split_at(end);
            Some((name, value.strip_suffix('/').unwrap_or(value), after))
        }
    }
}

fn unescape(value: &str) -> String {
    const ENTITIES: &[(&str, &str)] =
        &[("&quot;", "\""), ("&apos;", "'"), ("&#39;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")];
    if !value.contains('&') {
        return value.to_owned();
    }
    ENTITIES.iter().fold(value.to_owned(), |text, (entity, plain)| text.replace(entity, plain))
}

/// Whether `held`, all of it but the closing `>`, is markup such as `<b>` or `<a href="x">`, and not words
/// such as `a<b and c>d`: everything after the name has the form `name=value`.
pub(crate) fn is_markup(held: &str) -> bool {
    let inner = held.trim_start_matches(['<', '/']);
    let end = inner.find(|c: char| c.is_whitespace() || c == '/').unwrap_or(inner.len());
    let mut rest = inner.get(end..).unwrap_or_default();
    while let Some((_, value, after)) = next_attribute(rest) {
        if value.is_empty() {
            return false;
        }
        rest = after;
    }
    true
}
