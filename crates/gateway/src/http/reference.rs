//! The description of the API as a page to read: commands, events, requests, and every type they are made of, from the
//! same schemas that programs get.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use protocol::record::CallRecord;
use protocol::rest::InviteWebhook;
use protocol::{Command, Event};
use schemars::Schema;
use serde_json::{Map, Value};

use super::openapi::describe;
use super::routes::{Content, ROUTES, Route};

const HEAD: &str = "# API reference

Every command, event, request and type with all its fields, as `active-call openapi --reference` prints it.
[api.md](api.md) explains them. Fields marked with * are always there. Keys are also read in snake_case.

Errors of requests are problem+json. What is no HTTP at all has no request that could be answered: a malformed first line
or header gets 400, and a head of more than 400 KB or 100 headers 431, without a body, and the connection is closed.
";

/// Types that have a chapter of their own.
const CHAPTERS: &[(&str, &str)] = &[("Command", "commands"), ("Event", "events")];

/// The page, as Markdown.
pub fn reference() -> String {
    let mut page = Page { text: HEAD.to_owned(), ..Page::default() };
    page.variants("Commands", "command", schemars::schema_for!(Command));
    page.variants("Events", "event", schemars::schema_for!(Event));
    page.define("CallRecord", schemars::schema_for!(CallRecord));
    page.define("InviteWebhook", schemars::schema_for!(InviteWebhook));
    if let Value::Object(schemas) = &describe()["components"]["schemas"] {
        page.types.extend(schemas.clone());
    }
    page.requests();
    page.types();
    page.text
}

#[derive(Default)]
struct Page {
    text: String,
    types: BTreeMap<String, Value>,
    /// Types that were named, and are to be described.
    named: BTreeSet<String>,
}

impl Page {
    fn define(&mut self, name: &str, schema: Schema) {
        let mut schema = schema.to_value();
        if let Some(Value::Object(types)) = schema.as_object_mut().and_then(|schema| schema.remove("$defs")) {
            self.types.extend(types);
        }
        self.types.insert(name.to_owned(), schema);
        self.named.insert(name.to_owned());
    }

    /// The variants of a message whose field `tag` names them.
    fn variants(&mut self, title: &str, tag: &str, schema: Schema) {
        let schema = schema.to_value();
        if let Value::Object(types) = &schema["$defs"] {
            self.types.extend(types.clone());
        }
        let _ = write!(self.text, "\n## {title}\n");
        for variant in schema["oneOf"].as_array().into_iter().flatten() {
            let tagged = &variant["properties"][tag];
            let name = tagged["const"].as_str().or(tagged["enum"][0].as_str()).unwrap_or_default();
            let _ = write!(self.text, "\n### `{name}`\n\n{}\n", about(variant));
            let others = tagged["enum"].as_array().into_iter().flatten().skip(1).filter_map(Value::as_str);
            for other in others {
                let _ = writeln!(self.text, "\nAlso `{other}`.");
            }
            let base = variant["$ref"].as_str().and_then(|path| self.types.get(last(path))).cloned();
            let mut fields = Map::new();
            for part in base.iter().chain([variant]) {
                fields.extend(part["properties"].as_object().cloned().unwrap_or_default());
            }
            fields.remove(tag);
            let required = base.iter().chain([variant]).flat_map(required).collect();
            self.fields(&fields, &required);
        }
    }

    fn requests(&mut self) {
        self.text += "\n## Requests\n\n| Request | Key for | Takes | Gives | |\n|---|---|---|---|---|\n";
        let document = describe();
        for row in ROUTES {
            let path = row.path.replace("{*", "{");
            let operation = &document["paths"][&path][row.method.as_str().to_ascii_lowercase()];
            let takes = self.content(row.takes, &operation["requestBody"]["content"]);
            let (status, gives) = row.gives;
            let gives = self.content(gives, &operation["responses"][status.to_string()]["content"]);
            let scope = row.scope.map_or("everyone", |scope| scope.as_str());
            let _ = writeln!(
                self.text,
                "| `{} {path}` | {scope} | {takes} | {status} {gives} | {}{} |",
                row.method,
                row.about,
                query(row)
            );
        }
    }

    fn content(&mut self, content: Content, described: &Value) -> String {
        match content {
            Content::Nothing => String::new(),
            Content::Json(_) => self.kind(&described["application/json"]["schema"]),
            Content::Text(kind) => format!("`{kind}`"),
        }
    }

    /// Every type that was named so far, and those that they name.
    fn types(&mut self) {
        self.text += "\n## Types\n";
        let mut described: BTreeMap<String, String> = BTreeMap::new();
        while let Some(name) = self.named.pop_first() {
            if described.contains_key(&name) {
                continue;
            }
            let schema = self.types.get(&name).cloned().unwrap_or_default();
            let before = std::mem::take(&mut self.text);
            self.describe(&name, &schema);
            described.insert(name, std::mem::replace(&mut self.text, before));
        }
        self.text.extend(described.into_values());
    }

    fn describe(&mut self, name: &str, schema: &Value) {
        let _ = write!(self.text, "\n### {name}\n\n{}\n", about(schema));
        let words: Vec<&Value> =
            choices(schema).iter().filter(|choice| choice["const"].is_string()).collect();
        if let Value::Object(fields) = &schema["properties"] {
            self.fields(fields, &required(schema).collect());
        } else if !words.is_empty() {
            self.text += "\n| Word | |\n|---|---|\n";
            for word in words {
                let _ = writeln!(
                    self.text,
                    "| `{}` | {} |",
                    word["const"].as_str().unwrap_or_default(),
                    about(word)
                );
            }
        } else {
            let kind = self.kind(schema);
            let _ = write!(self.text, "\nOn the wire: {kind}\n");
        }
    }

    fn fields(&mut self, fields: &Map<String, Value>, required: &BTreeSet<String>) {
        if fields.is_empty() {
            return;
        }
        self.text += "\n| Field | Type | |\n|---|---|---|\n";
        for (name, schema) in fields {
            let star = if required.contains(name) { "*" } else { "" };
            let kind = self.kind(schema);
            let _ = writeln!(self.text, "| `{name}`{star} | {kind} | {} |", about(schema));
        }
    }

    /// A schema in a few words; named types are links.
    fn kind(&mut self, schema: &Value) -> String {
        if let Some(path) = schema["$ref"].as_str() {
            let name = last(path).to_owned();
            if let Some((_, chapter)) = CHAPTERS.iter().find(|(tagged, _)| *tagged == name) {
                return format!("[{name}](#{chapter})");
            }
            let link = format!("[{name}](#{})", name.to_ascii_lowercase());
            self.named.insert(name);
            return link;
        }
        if let Some(word) = schema["const"].as_str() {
            return format!("`{word}`");
        }
        let words: Vec<String> = schema["enum"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(|word| format!("`{word}`"))
            .collect();
        if !words.is_empty() {
            return words.join(", ");
        }
        let choices: Vec<String> = choices(schema)
            .iter()
            .filter(|choice| choice["type"] != "null")
            .map(|choice| self.kind(choice))
            .collect();
        if !choices.is_empty() {
            return choices.join(" or ");
        }
        let kinds: Vec<&str> = match &schema["type"] {
            Value::String(kind) => vec![kind],
            Value::Array(kinds) => {
                kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect()
            }
            _ => Vec::new(),
        };
        match kinds[..] {
            [] => "any".into(),
            ["array"] => format!("list of {}", self.kind(&schema["items"])),
            ["object"] if schema["additionalProperties"].is_object() => {
                format!("object of {}", self.kind(&schema["additionalProperties"]))
            }
            _ => kinds.join(" or "),
        }
    }
}

fn choices(schema: &Value) -> &[Value] {
    let list = |key: &str| schema[key].as_array().map(Vec::as_slice);
    list("oneOf").or_else(|| list("anyOf")).unwrap_or_default()
}

fn required(schema: &Value) -> impl Iterator<Item = String> + '_ {
    schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned)
}

fn query(row: &Route) -> String {
    let parameters: Vec<String> =
        row.query.iter().map(|(name, about)| format!("`{name}` ({about})")).collect();
    if parameters.is_empty() { String::new() } else { format!(". Query: {}", parameters.join(", ")) }
}

/// The name at the end of a reference.
fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// A description as the text of a table's cell: what links within the code's documentation stays as a word.
fn about(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace("[`crate::", "`").replace("[`", "`").replace("`]", "`").replace('|', "\\|")
}
