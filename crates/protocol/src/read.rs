//! From text to wire types, saying where a text is wrong and which keys nobody reads.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::spelling;
use element::{Element, Fault};

mod element;

/// Largest message that is looked at, in bytes. Base64 audio in a `tts` command is the largest legal content:
/// four minutes at 16 kHz.
pub const MAX_MESSAGE: usize = 10 * 1024 * 1024;

/// What is said of a field that is not there and has to be.
pub const MISSING: &str = "missing";

/// Most unknown keys that are named; a client cannot fill a log with them.
const MAX_UNKNOWN: usize = 16;

/// Most characters of a path or of a message about a text; they may repeat what a client sent.
const MAX_SHOWN: usize = 300;

/// A value and the paths of the keys that were not understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Read<T> {
    /// What was read.
    pub value: T,
    /// Paths of unknown keys, such as `option.vad.speechPading`.
    pub unknown: Vec<String>,
}

/// Why a text is no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// Path of the offending field; empty when the text as a whole is wrong.
    pub field: String,
    /// What is wrong and what is expected.
    pub message: String,
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.field, self.message)
        }
    }
}

impl std::error::Error for ReadError {}

/// Parses JSON text within [`MAX_MESSAGE`] and serde_json's depth limit of 128.
///
/// # Errors
/// The text is longer, or no JSON; `field` is empty, since it is the text as a whole.
pub fn json(text: &str) -> Result<Value, ReadError> {
    if text.len() > MAX_MESSAGE {
        let message = format!("message of {} bytes is larger than {MAX_MESSAGE}", text.len());
        return Err(ReadError { field: String::new(), message });
    }
    serde_json::from_str(text)
        .map_err(|e| ReadError { field: String::new(), message: format!("not valid JSON: {e}") })
}

/// Reads `value` as a `T`, naming the field that does not fit and the keys that `T` does not know.
///
/// # Errors
/// Names the path of the field, what is expected there and what came, in words of the wire.
pub fn value<T: DeserializeOwned>(mut value: Value) -> Result<Read<T>, ReadError> {
    spelling::settle(&mut value);
    let mut unknown = Vec::new();
    let mut note = |path: serde_ignored::Path<'_>| {
        if unknown.len() < MAX_UNKNOWN {
            unknown.push(shown(&clean(&path.to_string())));
        }
    };
    let ignored = serde_ignored::Deserializer::new(Element(&value), &mut note);
    match serde_path_to_error::deserialize(ignored) {
        Ok(value) => Ok(Read { value, unknown }),
        Err(error) => {
            let place = error.path().to_string();
            let Fault { field, message } = error.into_inner();
            let place = [place.as_str(), field.unwrap_or_default()];
            let path: Vec<&str> = place.into_iter().filter(|step| !matches!(*step, "" | ".")).collect();
            Err(ReadError { field: shown(&path.join(".")), message: shown(&message) })
        }
    }
}

/// Whether `text` is an address of one of `schemes`: the scheme, a host, no white space.
///
/// # Errors
/// What is to be written instead.
pub fn address(text: &str, schemes: &[&str]) -> Result<(), String> {
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let known = schemes.iter().any(|own| own.eq_ignore_ascii_case(scheme));
    let host = rest.split(['/', '?', '#']).next().is_some_and(|host| !host.is_empty());
    if known && host && !text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Ok(());
    }
    let beginnings: Vec<String> = schemes.iter().map(|scheme| format!("{scheme}://")).collect();
    Err(format!("expected an address that begins with {}", beginnings.join(" or ")))
}

/// `text` fit for a log line and an event: of bounded length and without control characters.
pub fn shown(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(MAX_SHOWN)
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// serde_ignored writes a `?` step for each `Option` it passes through.
fn clean(path: &str) -> String {
    path.split('.').filter(|step| *step != "?").collect::<Vec<_>>().join(".")
}
