//! `tools`, `mcp` and `http` of a playbook.

use std::time::Duration;

use protocol::chat::ToolSpec;
use protocol::value::{Headers, Seconds};
use serde_json::{Map, Value, json};

use super::front::Front;
use super::yaml::Yaml;
use crate::error::{PlaybookError, nearest};
use crate::tags::{self, TAGS};
use crate::tools::{HttpTool, MAX_TOOLS, McpServer, Tools};

/// An entry of `tools`: the name of a tag, or a function that fetches an address.
#[derive(serde::Deserialize)]
#[serde(untagged, expecting = "expected the name of a tag, or { name, description, url, parameters }")]
pub(super) enum ToolFront {
    Tag(String),
    Http(Box<HttpFront>),
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HttpFront {
    name: String,
    #[serde(default)]
    description: String,
    url: String,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    headers: Headers,
    #[serde(default)]
    body: Option<Value>,
    #[serde(default)]
    parameters: Option<Value>,
    #[serde(default)]
    timeout: Option<Seconds>,
    #[serde(default)]
    filler: Option<String>,
    #[serde(default, alias = "set_var")]
    set_var: Option<String>,
}

#[derive(serde::Deserialize)]
pub(super) struct McpFront {
    name: String,
    #[serde(default, deserialize_with = "protocol::value::one_or_many")]
    command: Vec<String>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    headers: Headers,
    #[serde(default)]
    allow: Vec<String>,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
pub(super) struct HttpRules {
    allow: Vec<String>,
}

/// Reads what a playbook gives its model.
pub(super) fn read(front: &Front, yaml: &Yaml) -> Result<Tools, PlaybookError> {
    let mut tools = Tools { hosts: front.http.allow.clone(), ..Tools::default() };
    for (index, entry) in front.tools.iter().enumerate() {
        let path = format!("tools.{index}");
        match entry {
            ToolFront::Tag(name) => tools.built_in.push(tag(name, &path, yaml)?),
            ToolFront::Http(own) => tools.http.push(http(own, &path, yaml)?),
        }
    }
    for (index, own) in front.mcp.iter().enumerate() {
        let path = format!("mcp.{index}");
        if own.command.is_empty() == own.url.is_none() {
            let message = "a server of tools has either a `command` or a `url`".to_owned();
            return Err(yaml.error(&path, message, None));
        }
        check_name(&own.name, &path, yaml)?;
        let McpFront { name, command, url, headers, allow } = own;
        let (name, command, url) = (name.clone(), command.clone(), url.clone());
        tools.mcp.push(McpServer { name, command, url, headers: headers.clone(), allow: allow.clone() });
    }
    if tools.specs().len() >= MAX_TOOLS {
        return Err(yaml.error("tools", format!("a model is given less than {MAX_TOOLS} functions"), None));
    }
    Ok(tools)
}

fn tag(name: &str, path: &str, yaml: &Yaml) -> Result<&'static str, PlaybookError> {
    let row = TAGS.iter().find(|row| row.name == name || row.functions.contains(&name));
    row.filter(|row| !row.encloses).map(|row| row.name).ok_or_else(|| {
        let names = || TAGS.iter().filter(|row| !row.encloses).map(|row| row.name);
        let known: Vec<&str> = names().collect();
        let message = format!("unknown function `{name}`; there are {}", known.join(", "));
        yaml.error(path, message, nearest(name, names()))
    })
}

fn http(own: &HttpFront, path: &str, yaml: &Yaml) -> Result<HttpTool, PlaybookError> {
    check_name(&own.name, path, yaml)?;
    if tags::row(&own.name).is_some() || TAGS.iter().any(|row| row.functions.contains(&own.name.as_str())) {
        let message = format!("`{}` is a function of its own; name yours differently", own.name);
        return Err(yaml.error(path, message, None));
    }
    let default = if own.body.is_some() { "POST" } else { "GET" };
    let method = method(own.method.as_deref().unwrap_or(default), path, yaml)?;
    let parameters = parameters(own.parameters.clone(), path, yaml)?;
    let spec = ToolSpec { name: own.name.clone(), description: own.description.clone(), parameters };
    Ok(HttpTool {
        spec,
        url: own.url.clone(),
        method,
        headers: own.headers.clone(),
        body: own.body.as_ref().map(protocol::value::extra_string),
        timeout: own.timeout.map_or(Duration::from_secs(10), |seconds| seconds.0),
        filler: own.filler.clone(),
        var: own.set_var.clone(),
    })
}

/// The method of the request that the key at `path` describes.
pub(super) fn method(given: &str, path: &str, yaml: &Yaml) -> Result<String, PlaybookError> {
    const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
    let method = given.trim().to_ascii_uppercase();
    if METHODS.contains(&method.as_str()) {
        return Ok(method);
    }
    let message = format!("`{}` is none of {}", protocol::read::shown(&method), METHODS.join(", "));
    Err(yaml.error(&format!("{path}.method"), message, nearest(&method, METHODS)))
}

/// A schema as it is; or the short form, in which each key is a parameter with its description or schema.
fn parameters(given: Option<Value>, path: &str, yaml: &Yaml) -> Result<Value, PlaybookError> {
    let empty = json!({ "type": "object", "properties": {} });
    match given {
        None => Ok(empty),
        Some(Value::Object(schema)) if schema.get("type").is_some_and(Value::is_string) => {
            Ok(Value::Object(schema))
        }
        Some(Value::Object(short)) => {
            let required: Vec<&String> = short.keys().collect();
            let required = json!(required);
            let schema = |value: &Value| match value {
                Value::String(text) => json!({ "type": "string", "description": text }),
                other => other.clone(),
            };
            let properties: Map<String, Value> =
                short.iter().map(|(name, value)| (name.clone(), schema(value))).collect();
            Ok(json!({ "type": "object", "properties": properties, "required": required }))
        }
        Some(_) => Err(yaml.error(&format!("{path}.parameters"), "expected a JSON schema".into(), None)),
    }
}

fn check_name(name: &str, path: &str, yaml: &Yaml) -> Result<(), PlaybookError> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || name.len() > 64 || !name.chars().all(good) {
        let message = "a name has 1 to 64 letters, digits, `_` and `-`".to_owned();
        return Err(yaml.error(&format!("{path}.name"), message, None));
    }
    Ok(())
}
