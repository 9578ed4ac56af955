//! Every field of everything that clients send is given a value of every wrong kind. What is told of it is the path of
//! the field, what is expected there and what came, in words that stand in the wire contract.

use protocol::command::Command;
use protocol::option::{CallOption, LlmOption};
use protocol::read::{self, ReadError};
use protocol::rest::{AskTicket, PlaceCall, RunPlaybook};
use schemars::{JsonSchema, schema_for};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Words of our program that a client cannot know.
const INNER: &[&str] = &[
    "struct",
    "variant",
    "enum",
    "untagged",
    "tuple",
    "sequence",
    " map",
    "Option",
    "u8",
    "u16",
    "u32",
    "u64",
    "i64",
    "f32",
    "f64",
    "usize",
    "boolean `",
    "integer `",
    "floating point",
];

/// Fields that also take another kind of value than the schema says: older clients send it.
const LENIENT: &[(&str, &str)] = &[("hangup_headers", "array"), ("when", "string"), ("say", "string")];

/// One value of each kind.
fn kinds() -> [(&'static str, Value); 6] {
    [
        ("boolean", json!(true)),
        ("number", json!(-1.5)),
        ("string", json!("hidden")),
        ("array", json!([["hidden"]])),
        ("object", json!({"hidden": "hidden"})),
        ("deep", json!([{"hidden": [{}]}])),
    ]
}

/// A schema whose references are looked up in its own definitions.
struct Described<'a> {
    root: &'a Value,
    /// How a value is read, and what comes of it.
    read: &'a dyn Fn(Value) -> Result<(), ReadError>,
    refused: usize,
}

impl Described<'_> {
    /// Goes through all fields of the object that `schema` describes, which stands at `path`.
    fn walk(&mut self, schema: &Value, path: &[String], base: &Map<String, Value>) {
        for (name, field) in self.resolve(schema)["properties"].as_object().into_iter().flatten() {
            if base.contains_key(name) && path.is_empty() {
                continue;
            }
            let inner = self.resolve(field);
            let path: Vec<String> = path.iter().chain([name]).cloned().collect();
            self.try_all(&inner, &path, base);
            self.walk(&inner, &path, base);
            let element = self.resolve(&inner["items"]);
            if inner["type"] == "array" && element["properties"].is_object() {
                let path: Vec<String> = path.iter().cloned().chain(["0".to_owned()]).collect();
                self.walk(&element, &path, base);
            }
        }
    }

    fn try_all(&mut self, schema: &Value, path: &[String], base: &Map<String, Value>) {
        for (kind, value) in kinds().into_iter().filter(|(kind, _)| is_wrong(schema, path, kind)) {
            let place = path.join(".");
            let mut message = Value::Object(base.clone());
            put(&mut message, path, value);
            let error = (self.read)(message).expect_err(&format!("{place} takes a value of the kind {kind}"));
            assert!(
                error.field == place || error.field.starts_with(&format!("{place}.")),
                "{place}: {error}"
            );
            assert!(error.message.contains("expected"), "{error}");
            for word in INNER.iter().copied().chain(self.type_names()) {
                assert!(!error.message.contains(word), "{error}: {word} is no word of the wire");
            }
            let secret = ["secret", "password", "apiKey"].iter().any(|word| place.contains(word));
            assert!(!(secret && error.message.contains("hidden")), "{error}");
            self.refused += 1;
        }
    }

    fn type_names(&self) -> impl Iterator<Item = &str> {
        let names = self.root["$defs"].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
        names.filter(|name| name.chars().filter(char::is_ascii_uppercase).count() > 1)
    }

    /// The schema behind references and `null`.
    fn resolve(&self, schema: &Value) -> Value {
        if let Some(list) = schema["anyOf"].as_array()
            && let [other, null] = &list[..]
            && null["type"] == "null"
        {
            return self.resolve(other);
        }
        let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) else {
            return schema.clone();
        };
        self.root["$defs"][name].clone()
    }
}

/// Whether a value of `kind` does not fit `schema`.
fn is_wrong(schema: &Value, path: &[String], kind: &str) -> bool {
    let kind = if kind == "deep" { "array" } else { kind };
    let own = path.last().map_or("", String::as_str);
    if LENIENT.iter().any(|(name, also)| *name == own && *also == kind) {
        return false;
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        // Words, or anything at all.
        _ if schema["oneOf"].is_array() || schema["enum"].is_array() => return true,
        _ => return false,
    };
    let words = schema["enum"].is_array() || schema["oneOf"].is_array();
    let whole = types.contains(&"integer");
    words || !types.contains(&kind) || (kind == "number" && whole)
}

fn put(value: &mut Value, path: &[String], leaf: Value) {
    let [step, rest @ ..] = path else { return *value = leaf };
    let inner = if step == "0" {
        *value = json!([{}]);
        &mut value[0]
    } else {
        value.as_object_mut().expect("an object").entry(step.clone()).or_insert_with(|| json!({}))
    };
    put(inner, rest, leaf);
}

fn refuses_all<T: JsonSchema + DeserializeOwned>() -> usize {
    let root = serde_json::to_value(schema_for!(T)).unwrap();
    let read = |value| read::value::<T>(value).map(drop);
    let mut described = Described { root: &root, read: &read, refused: 0 };
    described.walk(&root, &[], &Map::new());
    described.refused
}

#[test]
fn a_wrong_type_in_any_field_of_any_command_is_told_in_words_of_the_wire() {
    let root = serde_json::to_value(schema_for!(Command)).unwrap();
    let read = |value| Command::from_value(value).map(drop);
    let mut described = Described { root: &root, read: &read, refused: 0 };
    let commands = root["oneOf"].as_array().unwrap();
    for command in commands {
        let tag = &command["properties"]["command"];
        let name = tag.get("const").unwrap_or(&tag["enum"][0]).clone();
        let base = Map::from_iter([("command".to_owned(), name)]);
        described.walk(command, &[], &base);
    }
    assert!(commands.len() > 15 && described.refused > 1000, "{} of {}", described.refused, commands.len());
}

#[test]
fn a_wrong_type_in_any_field_of_a_body_or_a_playbook_is_told_in_words_of_the_wire() {
    assert!(refuses_all::<PlaceCall>() > 300);
    assert!(refuses_all::<RunPlaybook>() > 10);
    assert!(refuses_all::<AskTicket>() > 10);
    assert!(refuses_all::<CallOption>() > 300);
    assert!(refuses_all::<LlmOption>() > 50);
}

#[test]
fn what_is_expected_and_what_came_are_told() {
    let rows = [
        (json!({"vad": "silero"}), "vad: expected an object, got a string"),
        (json!({"vad": []}), "vad: expected an object, got an array"),
        (json!({"denoise": "yes"}), "denoise: expected true or false, got a string"),
        (json!({"callee": 7}), "callee: expected a string, got a number"),
        (
            json!({"vad": {"voiceThreshold": null, "ratio": "x"}}),
            "vad.ratio: expected a number, got a string",
        ),
        (
            json!({"vad": {"maxBufferDurationSecs": -1}}),
            "vad.maxBufferDurationSecs: expected a whole number from 0, got -1",
        ),
        (
            json!({"sampleRate": 8000.5}),
            "sampleRate: expected a whole number from 0 to 4294967295, got 8000.5",
        ),
        (
            json!({"inactivityTimeout": [1]}),
            "inactivityTimeout: expected a number of seconds or a string such as \"30s\", got an array",
        ),
        (json!({"sip": {"headers": {"X": 7}}}), "sip.headers.X: expected a string, got a number"),
        (json!({"sip": {"headers": ["X"]}}), "sip.headers: expected an object, got an array"),
        (
            json!({"sip": {"hangup_headers": [["X"]]}}),
            "sip.hangup_headers[0]: expected {name, value} or [name, value], got an array of 1",
        ),
        (
            json!({"sip": {"extract_headers": ["X", {"name": "Y"}]}}),
            "sip.extract_headers[1].pattern: missing",
        ),
        (
            json!({"sip": {"enableSrtp": "sometimes"}}),
            "sip.enableSrtp: expected true, false or \"optional\", got a string",
        ),
        (
            json!({"sip": {"enable_srtp": 1}}),
            "sip.enable_srtp: expected true, false or \"optional\", got a number",
        ),
        (
            json!({"codec": "mp3"}),
            "codec: unknown word `mp3`, expected one of `pcmu`, `pcma`, `g722`, `pcm`, `opus`",
        ),
        (json!({"asr": {"secretKey": true}}), "asr.secretKey: expected a string, got true"),
    ];
    for (option, told) in rows {
        assert_eq!(read::value::<CallOption>(option).unwrap_err().to_string(), told);
    }
}

#[test]
fn a_field_that_is_given_in_two_spellings_is_named() {
    let error = Command::parse(r#"{"command":"dtmf","digits":"1","digit":"2"}"#).unwrap_err();
    assert_eq!(error.to_string(), "digits: given twice, in two spellings");
}

#[test]
fn what_older_clients_send_in_another_kind_is_read() {
    let option = json!({
        "sampleRate": "8000", "inactivityTimeout": "30s", "asr": {"secretKey": 1234},
        "sip": {
            "hangup_headers": [["A", "1"], {"name": "B", "value": "2"}],
            "extract_headers": ["X", {"name": "Y", "pattern": "^y"}],
        },
    });
    let option = read::value::<CallOption>(option).unwrap().value;
    let sip = option.sip.unwrap();
    assert_eq!(option.sample_rate, Some(8000));
    assert_eq!(sip.hangup_headers.unwrap()["B"], "2");
    assert_eq!(sip.extract_headers.unwrap().0.len(), 2);
}
