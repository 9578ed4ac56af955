//! Variables of a call.

use std::collections::BTreeMap;

use protocol::value::{Extra, Headers};
use serde_json::{Map, Value};

use crate::template::{self, TemplateError};

/// Most variables a call keeps; further ones are not taken.
const MAX_VARS: usize = 500;
/// Longest name, in bytes.
const MAX_NAME: usize = 200;
/// Largest text of one variable, in bytes; longer texts are cut.
const MAX_TEXT: usize = 16 * 1024;

/// What every call knows about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuiltIns {
    /// The call's id.
    pub session_id: String,
    /// `sip`, `websocket`, `webrtc` or `b2bua`.
    pub call_type: String,
    /// RFC 3339, UTC.
    pub start_time: String,
    /// Calling party; empty when unknown.
    pub caller: String,
    /// Called party; empty when unknown.
    pub callee: String,
}

/// Variables in the order of their names, with JSON values, and the headers of the INVITE.
///
/// Names that begin with `_` are internal: templates see them, events and records do not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vars {
    values: BTreeMap<String, Value>,
    headers: Vec<(String, String)>,
}

impl Vars {
    /// The variables every call has.
    pub fn new(built_ins: BuiltIns) -> Self {
        let mut vars = Vars::default();
        let BuiltIns { session_id, call_type, start_time, caller, callee } = built_ins;
        vars.set("session_id", session_id);
        vars.set("call_type", call_type);
        vars.set("start_time", start_time);
        vars.set("caller", caller);
        vars.set("callee", callee);
        vars
    }

    /// Sets a variable. Names of more than 200 bytes and variables beyond the 500th are dropped, longer texts
    /// are cut at 16 KiB.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        let name = name.into();
        let full = self.values.len() >= MAX_VARS && !self.values.contains_key(&name);
        if full || name.is_empty() || name.len() > MAX_NAME {
            return;
        }
        let mut value = value.into();
        if let Value::String(text) = &mut value
            && text.len() > MAX_TEXT
        {
            let end = (0..=MAX_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(end);
        }
        self.values.insert(name, value);
    }

    /// Sets all variables of `extra`.
    pub fn extend(&mut self, extra: Extra) {
        for (name, value) in extra {
            self.set(name, value);
        }
    }

    /// Makes a header of the INVITE readable as `sip["Name"]`, in any case.
    pub fn set_header(&mut self, name: impl Into<String>, value: impl Into<String>) {
        if self.headers.len() < MAX_VARS {
            self.headers.push((name.into(), value.into()));
        }
    }

    /// The variable `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// The variable `name` as text: texts as they are, the rest as JSON.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(protocol::value::extra_string)
    }

    /// The header `name` in any case; of several, the first.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Headers in the order they were set.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// All variables in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// What events and records tell: the headers that were asked for, and all variables but the internal ones.
    pub fn public(&self) -> Extra {
        let headers = self.headers.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
        let shown = self.values.iter().filter(|(name, _)| !name.starts_with('_'));
        headers.chain(shown.map(|(name, value)| (name.clone(), value.clone()))).collect()
    }

    /// The headers of a BYE: `templates` rendered, and over them those that the variable `_hangup_headers` holds as an
    /// object, or as its JSON. What that holds came from a model or from outside, so it is sent as it is. Beside them
    /// what could not be rendered; it stands as written.
    pub fn hangup_headers(&self, templates: &Headers) -> (Headers, Vec<TemplateError>) {
        let (mut headers, mut faults) = (templates.clone(), Vec::new());
        for value in headers.values_mut() {
            match template::render(value, self) {
                Ok(text) => *value = text,
                Err(error) => faults.push(error),
            }
        }
        let set = self.text("_hangup_headers").and_then(|text| Vars::object(&text));
        let set = set.into_iter().flatten();
        headers.extend(set.map(|(name, value)| (name, protocol::value::extra_string(&value))));
        (headers, faults)
    }

    /// The object of JSON that `text` is, when it is one.
    pub(crate) fn object(text: &str) -> Option<Map<String, Value>> {
        match serde_json::from_str(text) {
            Ok(Value::Object(object)) => Some(object),
            Ok(_) | Err(_) => None,
        }
    }
}
