//! Templates: `{{ name }}` and the rest of minijinja's language, with bounded work and bounded output.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, Value};
use minijinja::{Environment, UndefinedBehavior};

use crate::vars::Vars;

/// Steps a template may take; a loop over a thousand entries takes some five thousand.
const FUEL: u64 = 50_000;

/// Largest rendered text, in bytes.
pub const MAX_RENDERED: usize = 256 * 1024;

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
    if !is_template(text) {
        return Ok(text.to_owned());
    }
    let environment = environment();
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
