//! Values of another kind than their key takes, told in the words of who writes the file: never a Rust type, and of values
//! only numbers where numbers belong, since any other may be a secret that stands at the wrong key.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What serde says of a value, with the key that it stands at; other messages stay as they are.
pub(super) fn told(message: &str, key: Option<&str>) -> String {
    let this = key.map_or_else(|| "this".to_owned(), |key| format!("\"{key}\""));
    if message == "invalid socket address syntax" {
        return format!("{this} is no address with a port; write {}", wanted("socket address"));
    }
    let parts = ["invalid type: ", "invalid value: "]
        .iter()
        .find_map(|begin| message.strip_prefix(begin))
        .and_then(|rest| rest.rsplit_once(", expected "));
    match parts {
        Some((came, expected)) => {
            format!("{this} is {}; write {}", kind_of(came, expected), wanted(expected))
        }
        None => message.to_owned(),
    }
}

/// What stands there, from serde's `Unexpected`. A number is shown where one belongs: elsewhere it may be a password
/// that lacks its quotes.
fn kind_of<'c>(came: &'c str, expected: &str) -> &'c str {
    let shown = came.split('`').nth(1);
    let numeric = matches!(expected.as_bytes(), [b'u' | b'i' | b'f', b'0'..=b'9' | b's', ..]);
    match came.split(' ').next().unwrap_or_default() {
        "string" => "a text",
        "integer" | "floating" => shown.filter(|_| numeric).unwrap_or("a number"),
        "boolean" => shown.unwrap_or("true or false"),
        "sequence" => "a list",
        "map" => "a table",
        _ => "something else",
    }
}

/// What belongs there, from serde's `Expected`.
fn wanted(expected: &str) -> String {
    let whole = |most: &str| format!("a whole number from 0 to {most}");
    match expected {
        "u8" => whole("255"),
        "u16" => whole("65535"),
        "u32" => whole("4294967295"),
        "u64" | "usize" => "a whole number from 0".into(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a boolean" => "true or false".into(),
        "a string" | "string" | "path string" => "a text in quotes".into(),
        "a sequence" => "a list in [ ]".into(),
        "a map" => "a table".into(),
        "socket address" => "an address with a port, such as \"0.0.0.0:8080\"".into(),
        "IP address" => "an IP address such as \"192.0.2.1\"".into(),
        _ if expected.starts_with("struct ") => "a table".into(),
        _ => expected.strip_prefix("expected ").unwrap_or(expected).into(),
    }
}

/// The key at whose value, or in whose list, the text at `at` stands.
pub(super) fn key_of<'t>(table: &'t DeTable<'_>, at: &Range<usize>) -> Option<&'t str> {
    table.iter().find_map(|(key, value)| within(key.get_ref(), value, at))
}

fn within<'t>(key: &'t str, value: &'t Spanned<DeValue<'_>>, at: &Range<usize>) -> Option<&'t str> {
    // A table that is written in parts has the span of its head alone, so it is looked into whatever its span says.
    let deeper = match value.get_ref() {
        DeValue::Table(table) => key_of(table, at),
        DeValue::Array(list) => list.iter().find_map(|inner| within(key, inner, at)),
        _ => None,
    };
    deeper.or_else(|| (value.span() == *at).then_some(key))
}
