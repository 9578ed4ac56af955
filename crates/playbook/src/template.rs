//! Templates: `{{ name }}` and the rest of minijinja's language, with bounded work and bounded output.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, Value};
use minijinja::{Environment, UndefinedBehavior};

use crate::vars::Vars;

/// Steps a template may take; a loop over a thousand entries takes some five thousand.
const FUEL: u64 = 50_000;

/// Largest rendered text, in bytes.
pub const MAX_RENDERED: usize = 256 * 1024;

/// These stand for tags while the words around them are rendered: the private use area, which nobody speaks.
const MASKS: RangeInclusive<char> = '\u{e000}'..='\u{f8ff}';

/// Why a template was not rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("template line {line}: {message}")]
pub struct TemplateError {
    /// Line within the template, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl From<minijinja::Error> for TemplateError {
    fn from(error: minijinja::Error) -> Self {
        let mut message = error.kind().to_string();
        if let Some(detail) = error.detail() {
            let _ = write!(message, ": {detail}");
        }
        TemplateError { line: error.line().unwrap_or(1), message }
    }
}

/// Renders `text` with `vars`. Names that are not defined render as nothing.
///
/// # Errors
/// The template is malformed, takes too many steps, or its result is larger than [`MAX_RENDERED`].
pub fn render(text: &str, vars: &Vars) -> Result<String, TemplateError> {
    rendered(text, vars, &environment())
}

/// The same for a text whose tags act and whose words are spoken: a value loses what would make it a tag.
///
/// # Errors
/// Those of [`render`].
pub fn render_spoken(text: &str, vars: &Vars) -> Result<String, TemplateError> {
    let mut environment = environment();
    environment.set_formatter(|out, _, value| {
        let harmless: String =
            value.to_string().chars().filter(|c| !matches!(c, '<' | '>') && !MASKS.contains(c)).collect();
        out.write_str(&harmless).map_err(minijinja::Error::from)
    });
    rendered(text, vars, &environment)
}

/// The same for the words alone: tags stand as written, and are rendered where they act.
///
/// # Errors
/// Those of [`render`].
pub fn render_words(text: &str, vars: &Vars) -> Result<String, TemplateError> {
    if !is_template(text) {
        return Ok(text.to_owned());
    }
    let (mut masked, mut tags, mut rest) = (String::new(), Vec::new(), text);
    while let Some(begin) = rest.find('<') {
        let (before, tag) = rest.split_at(begin);
        masked.extend(before.chars().filter(|c| !MASKS.contains(c)));
        // A text with more tags than there are masks has its last ones rendered whole.
        let (mask, length) = (MASKS.clone().nth(tags.len()), tag_length(tag));
        let (shown, length) = mask.zip(length).unwrap_or(('<', 1));
        masked.push(shown);
        let (tag, behind) = tag.split_at(length);
        if shown != '<' {
            tags.push(tag);
        }
        rest = behind;
    }
    masked.extend(rest.chars().filter(|c| !MASKS.contains(c)));
    let rendered = render_spoken(&masked, vars)?;
    let mut whole = String::with_capacity(rendered.len());
    for c in rendered.chars() {
        match MASKS.contains(&c).then(|| tags.get(c as usize - *MASKS.start() as usize)).flatten() {
            Some(tag) => whole.push_str(tag),
            None => whole.push(c),
        }
    }
    Ok(whole)
}

/// How long the tag is that `text` begins with; `None` when it begins with none.
fn tag_length(text: &str) -> Option<usize> {
    text.chars().nth(1).filter(|c| c.is_ascii_alphabetic() || *c == '/')?;
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '>') => return Some(at + 1),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

fn rendered(text: &str, vars: &Vars, environment: &Environment<'_>) -> Result<String, TemplateError> {
    if !is_template(text) {
        return Ok(text.to_owned());
    }
    let template = environment.template_from_str(text)?;
    let mut out = Bounded(Vec::new());
    template.render_captured_to(scope(vars), &mut out)?;
    String::from_utf8(out.0).map_err(|_| TemplateError { line: 1, message: "the result is no text".into() })
}

/// Whether `text` can differ from its rendered form.
pub fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{#")
}

/// Whether `text` is a well-formed template.
///
/// # Errors
/// Says where it is not.
pub fn check(text: &str) -> Result<(), TemplateError> {
    if is_template(text) {
        environment().template_from_str(text)?;
    }
    Ok(())
}

/// The variables that a template names and does not set itself, in the order of their names; none when it is
/// malformed.
pub fn names(text: &str) -> Vec<String> {
    if !is_template(text) {
        return Vec::new();
    }
    let environment = environment();
    let found = environment.template_from_str(text).map(|template| template.undeclared_variables(false));
    let mut names: Vec<String> = found.into_iter().flatten().collect();
    names.sort();
    names
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(50);
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment
}

fn scope(vars: &Vars) -> Value {
    let mut scope: BTreeMap<String, Value> =
        vars.iter().map(|(name, value)| (name.to_owned(), from_json(value))).collect();
    scope.insert("sip".into(), Value::from_object(SipHeaders(vars.headers().to_vec())));
    Value::from_object(scope)
}

/// The depth of the recursion is that of the JSON text, at most 128.
fn from_json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(flag) => Value::from(*flag),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::from(whole),
            (None, Some(real)) => Value::from(real),
            (None, None) => Value::from(number.to_string()),
        },
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(list) => Value::from(list.iter().map(from_json).collect::<Vec<_>>()),
        serde_json::Value::Object(object) => {
            let entries: BTreeMap<String, Value> =
                object.iter().map(|(key, value)| (key.clone(), from_json(value))).collect();
            Value::from_object(entries)
        }
    }
}

/// `sip["X-Name"]`: header names are the same in any case (RFC 3261 section 7.3.1).
#[derive(Debug)]
struct SipHeaders(Vec<(String, String)>);

impl Object for SipHeaders {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        let header = self.0.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        header.map(|(_, value)| Value::from(value.as_str()))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.iter().map(|(name, _)| Value::from(name.as_str())).collect())
    }
}

/// Refuses to grow beyond [`MAX_RENDERED`].
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_RENDERED {
            return Err(io::Error::other("the rendered text is too large"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vars::BuiltIns;

    fn vars() -> Vars {
        let mut vars = Vars::new(BuiltIns::default());
        vars.set("name".to_owned(), "Ada <hangup/>\u{e000}".to_owned());
        vars.set("grade".to_owned(), "4".to_owned());
        vars
    }

    #[test]
    fn a_value_that_is_spoken_makes_no_tag() {
        let spoken = render_spoken("Hello {{ name }}. <goto scene=\"{{ grade }}\"/>", &vars()).unwrap();
        assert_eq!(spoken, "Hello Ada hangup/. <goto scene=\"4\"/>");
    }

    #[test]
    fn words_are_rendered_around_tags() {
        for (text, rendered) in [
            ("A {{ grade }} <b>it</b>", "A 4 <b>it</b>"),
            (
                "{{ grade }} <set_var key='k' value='{{ grade }} > 3'/>!",
                "4 <set_var key='k' value='{{ grade }} > 3'/>!",
            ),
            ("{{ name }} <x {{ grade }}", "Ada hangup/ <x 4"),
            ("{{ grade }} < 5, 3 <4 <", "4 < 5, 3 <4 <"),
            ("no template <a>\u{e000}", "no template <a>\u{e000}"),
            ("{{ grade }}<a/><b/>\u{e000}", "4<a/><b/>"),
            (
                "{% if grade == '4' %}Good. <hangup/>{% else %}Bad. <goto scene='x'/>{% endif %}",
                "Good. <hangup/>",
            ),
        ] {
            assert_eq!(render_words(text, &vars()).unwrap(), rendered);
        }
        assert!(render_words("{{ <a/> }}", &vars()).is_err());
    }
}
