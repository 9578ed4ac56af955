//! Functions that a playbook gives its model: addresses to fetch, tags as functions, and servers of tools.

use std::time::Duration;

use protocol::chat::ToolSpec;
use protocol::value::Headers;
use serde_json::{Value, json};

use crate::conversation::{HttpRequest, Origin};
use crate::tags::TAGS;
use crate::template::{self, TemplateError};
use crate::vars::Vars;

/// Most functions that a model is given.
pub const MAX_TOOLS: usize = 64;

/// Everything under `tools`, `mcp` and `http` of a playbook.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tools {
    /// Functions that fetch an address.
    pub http: Vec<HttpTool>,
    /// Tags that the model may call as functions, by their names in [`TAGS`].
    pub built_in: Vec<&'static str>,
    /// Servers of tools (Model Context Protocol).
    pub mcp: Vec<McpServer>,
    /// Hosts that a model may have fetched, in the `http` tag too; empty: every public one.
    pub hosts: Vec<String>,
}

/// A function that fetches an address.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpTool {
    /// What the model is told.
    pub spec: ToolSpec,
    /// Address; a template in which the arguments are variables, percent-encoded.
    pub url: String,
    /// Method.
    pub method: String,
    /// Headers; templates.
    pub headers: Headers,
    /// Body; a template. Absent: the arguments as JSON, except with GET and DELETE.
    pub body: Option<String>,
    /// After so long it has failed. Default 10 s.
    pub timeout: Duration,
    /// Said when it takes long; a template. Absent: the phrase `wait`.
    pub filler: Option<String>,
    /// Variable that takes the answer.
    pub var: Option<String>,
}

/// A server of tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpServer {
    /// Name in the playbook; the functions are called `name_tool`.
    pub name: String,
    /// Program and arguments of a local server; empty when it has an address.
    pub command: Vec<String>,
    /// Address of a remote server.
    pub url: Option<String>,
    /// Headers for a remote server.
    pub headers: Headers,
    /// Tools that the model is given; empty: all.
    pub allow: Vec<String>,
}

impl Tools {
    /// Whether the playbook gives its model no function at all.
    pub fn is_empty(&self) -> bool {
        self.http.is_empty() && self.built_in.is_empty() && self.mcp.is_empty()
    }

    /// The functions a model is given that need no server: first the playbook's own, then the tags.
    pub fn specs(&self) -> Vec<ToolSpec> {
        let own = self.http.iter().map(|tool| tool.spec.clone());
        let tags = TAGS.iter().filter(|row| self.built_in.contains(&row.name)).map(built_in);
        own.chain(tags).take(MAX_TOOLS).collect()
    }

    /// The playbook's own function of this name.
    pub fn named(&self, name: &str) -> Option<&HttpTool> {
        self.http.iter().find(|tool| tool.spec.name == name)
    }
}

impl HttpTool {
    /// The request with `arguments`, which never become part of a template and cannot leave their place in the
    /// address.
    ///
    /// # Errors
    /// A template that cannot be rendered.
    pub fn request(&self, arguments: &Value, vars: &Vars) -> Result<HttpRequest, TemplateError> {
        let scope = |encode: bool| {
            let mut scope = vars.clone();
            for (name, value) in arguments.as_object().into_iter().flatten() {
                if encode {
                    scope.set(name, percent_encoded(&protocol::value::extra_string(value)));
                } else {
                    scope.set(name, value.clone());
                }
            }
            scope
        };
        let plain = scope(false);
        let url = template::render(&self.url, &scope(true))?;
        let mut headers = Headers::new();
        for (name, value) in &self.headers {
            headers.insert(name.clone(), template::render(value, &plain)?);
        }
        let bodiless = matches!(self.method.as_str(), "GET" | "DELETE");
        let body = match &self.body {
            Some(body) => Some(template::render(body, &plain)?),
            None => (!bodiless).then(|| arguments.to_string()),
        };
        let (method, timeout) = (self.method.clone(), self.timeout);
        Ok(HttpRequest {
            url,
            method,
            headers,
            body,
            origin: Origin::Playbook,
            timeout,
            ..HttpRequest::default()
        })
    }
}

/// A tag as a function: its attributes are texts, and those that it cannot do without are required.
fn built_in(row: &crate::tags::TagRow) -> ToolSpec {
    let names = row.attributes.iter().filter_map(|spellings| spellings.first());
    let properties: serde_json::Map<String, Value> =
        names.map(|name| ((*name).to_owned(), json!({ "type": "string" }))).collect();
    let required: Vec<&str> =
        row.attributes.iter().take(row.required).filter_map(|spellings| spellings.first().copied()).collect();
    ToolSpec {
        name: row.functions.first().copied().unwrap_or(row.name).to_owned(),
        description: row.help.to_owned(),
        parameters: json!({ "type": "object", "properties": properties, "required": required }),
    }
}

/// Everything but letters, digits and `-._~` as `%XX` (RFC 3986 section 2.3).
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool() -> HttpTool {
        HttpTool {
            spec: ToolSpec { name: "order".into(), description: String::new(), parameters: json!({}) },
            url: "https://shop.example/orders/{{ id }}?c={{ caller }}".into(),
            method: "GET".into(),
            headers: Headers::new(),
            body: None,
            timeout: Duration::from_secs(10),
            filler: None,
            var: None,
        }
    }

    #[test]
    fn arguments_cannot_leave_their_place_in_the_address() {
        let mut vars = Vars::default();
        vars.set("caller", "ada");
        let request = tool().request(&json!({ "id": "../admin?x={{ caller }}#" }), &vars).unwrap();
        assert_eq!(
            request.url,
            "https://shop.example/orders/..%2Fadmin%3Fx%3D%7B%7B%20caller%20%7D%7D%23?c=ada"
        );
        assert_eq!(request.body, None);
    }

    #[test]
    fn a_post_without_a_body_sends_the_arguments() {
        let post = HttpTool { method: "POST".into(), ..tool() };
        let request = post.request(&json!({ "id": 7 }), &Vars::default()).unwrap();
        assert_eq!(request.body.as_deref(), Some("{\"id\":7}"));
    }

    #[test]
    fn tags_are_functions_with_their_attributes() {
        let tools = Tools { built_in: vec!["goto", "set_var"], ..Tools::default() };
        let specs = tools.specs();
        assert_eq!(specs[0].name, "goto_scene");
        assert_eq!(specs[0].parameters["required"], json!(["scene"]));
        assert_eq!(specs[1].parameters["required"], json!(["key", "value"]));
    }
}
