//! Whether JSON is as a schema says: the part of JSON Schema that the server's own schemas are made of, and stricter in one
//! thing. A key that an object with described keys does not describe is wrong.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::Value;

/// What `/schemas` says of events.
static EVENTS: LazyLock<Value> =
    LazyLock::new(|| serde_json::to_value(schemars::schema_for!(protocol::Event)).unwrap());

/// Fails where an event is not as it is described.
pub(crate) fn check_event(event: &Value) {
    let name = &event["event"];
    let of_name = |variant: &&Value| variant["properties"]["event"]["const"] == *name;
    let described = EVENTS["oneOf"].as_array().unwrap().iter().find(of_name);
    let described = described.unwrap_or_else(|| panic!("{name} is not described"));
    if let Some(wrong) = mismatch(&EVENTS, described, event) {
        panic!("{event} is not as it is described: {wrong}");
    }
}

/// What is wrong with `value` by `schema`, a part of `root`; nothing where it fits.
pub(crate) fn mismatch(root: &Value, schema: &Value, value: &Value) -> Option<String> {
    unfit(root, schema, value).or_else(|| {
        let described = keys(root, schema)?;
        let key = value.as_object()?.keys().find(|key| !described.contains(key.as_str()))?;
        Some(format!("{key}: is not described"))
    })
}

/// The part of `root` that `schema` refers to.
fn referred<'a>(root: &'a Value, schema: &Value) -> Option<&'a Value> {
    let reference = schema["$ref"].as_str()?;
    let part = root.pointer(reference.trim_start_matches('#'));
    Some(part.unwrap_or_else(|| panic!("{reference} is not there")))
}

/// The keys that an object may have; none where it may have any.
fn keys<'a>(root: &'a Value, schema: &'a Value) -> Option<BTreeSet<&'a str>> {
    if ["oneOf", "anyOf", "additionalProperties"].iter().any(|key| schema.get(key).is_some()) {
        return None;
    }
    let own = schema["properties"].as_object().into_iter().flat_map(|own| own.keys().map(String::as_str));
    let mut all: BTreeSet<&str> = own.collect();
    let parts = schema["allOf"].as_array().into_iter().flatten();
    for part in referred(root, schema).into_iter().chain(parts) {
        all.extend(keys(root, part)?);
    }
    (!all.is_empty()).then_some(all)
}

/// The same as [`mismatch`], without regard to keys that are not described.
fn unfit(root: &Value, schema: &Value, value: &Value) -> Option<String> {
    if let Some(wrong) = referred(root, schema).and_then(|part| unfit(root, part, value)) {
        return Some(wrong);
    }
    let is = |kind: &str| match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("a type {other}"),
    };
    let kinds: Option<Vec<&str>> = match &schema["type"] {
        Value::String(kind) => Some(vec![kind]),
        Value::Array(kinds) => Some(kinds.iter().filter_map(Value::as_str).collect()),
        _ => None,
    };
    if kinds.is_some_and(|kinds| !kinds.iter().any(|kind| is(kind))) {
        return Some(format!("{value} is no {}", schema["type"]));
    }
    let differs = schema.get("const").is_some_and(|only| only != value);
    if differs || schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        return Some(format!("{value} is not {}{}", schema["const"], schema["enum"]));
    }
    for key in ["oneOf", "anyOf"] {
        let Some(choices) = schema[key].as_array() else { continue };
        let wrong: Vec<String> = choices.iter().filter_map(|choice| mismatch(root, choice, value)).collect();
        if wrong.len() == choices.len() {
            return Some(format!("none of {key}: {}", wrong.join("; ")));
        }
    }
    let all = schema["allOf"].as_array().into_iter().flatten();
    all.filter_map(|part| unfit(root, part, value)).next().or_else(|| inside(root, schema, value))
}

/// The same of what an array or an object holds.
fn inside(root: &Value, schema: &Value, value: &Value) -> Option<String> {
    if let (Some(items), Some(item)) = (value.as_array(), schema.get("items")) {
        let wrong = items.iter().enumerate();
        return wrong.filter_map(|(n, one)| Some(format!("{n}: {}", mismatch(root, item, one)?))).next();
    }
    let object = value.as_object()?;
    let mut required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(missing) = required.find(|key| !object.contains_key(*key)) {
        return Some(format!("{missing} is missing"));
    }
    for (key, inner) in object {
        let described = schema["properties"].get(key).or_else(|| schema.get("additionalProperties"));
        let wrong = match described {
            Some(Value::Bool(true)) => None,
            Some(Value::Bool(false)) => Some("is not described".to_owned()),
            Some(part) => mismatch(root, part, inner),
            None => None,
        };
        if let Some(wrong) = wrong {
            return Some(format!("{key}: {wrong}"));
        }
    }
    None
}

#[test]
fn what_is_not_as_described_is_found() {
    let root = serde_json::json!({
        "$defs": {"word": {"enum": ["a", "b"]}},
        "type": "object",
        "properties": {
            "n": {"type": ["integer", "null"]},
            "word": {"$ref": "#/$defs/word"},
            "list": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"const": 7}]}},
            "free": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        "required": ["n"],
    });
    let wrong = |text: &str| mismatch(&root, &root, &serde_json::from_str(text).unwrap());
    assert_eq!(wrong(r#"{"n":null,"word":"b","list":["x",7],"free":{"any":"thing"}}"#), None);
    for text in [
        r#"{}"#,
        r#"{"n":"1"}"#,
        r#"{"n":1,"word":"c"}"#,
        r#"{"n":1,"list":[8]}"#,
        r#"{"n":1,"free":{"any":1}}"#,
        r#"{"n":1,"other":1}"#,
        "[]",
    ] {
        assert!(wrong(text).is_some(), "{text}");
    }
}
