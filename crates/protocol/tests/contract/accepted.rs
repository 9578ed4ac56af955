//! What the server reads its schemas accept: a client that checks a message before it sends it is never kept from one of
//! these.

use protocol::Event;
use protocol::command::Command;
use regex::Regex;
use schemars::schema_for;
use serde_json::{Value, json};

/// Why `value` does not fit `schema`, as far as our schemas go; `root` is where they refer to.
fn misfit(root: &Value, schema: &Value, value: &Value) -> Option<String> {
    if let Some(path) = schema["$ref"].as_str() {
        let found =
            root.pointer(path.trim_start_matches('#')).unwrap_or_else(|| panic!("{path} is not there"));
        let why = misfit(root, found, value);
        if why.is_some() {
            return why;
        }
    }
    let said = |list: &Value| list.as_array().cloned().unwrap_or_default();
    let all = said(&schema["allOf"]);
    if let Some(why) = all.iter().find_map(|schema| misfit(root, schema, value)) {
        return Some(why);
    }
    for (key, least, most) in [("anyOf", 1, usize::MAX), ("oneOf", 1, 1)] {
        let choices = said(&schema[key]);
        let misfits: Vec<_> = choices.iter().filter_map(|choice| misfit(root, choice, value)).collect();
        let fit = choices.len() - misfits.len();
        if !choices.is_empty() && !(least..=most).contains(&fit) {
            return Some(format!("{value} fits {fit} of {key}: {misfits:?}"));
        }
    }
    let words = said(&schema["enum"]);
    let wrong = !words.is_empty() && !words.contains(value)
        || schema.get("const").is_some_and(|word| word != value)
        || !is_of(&schema["type"], value)
        || schema["pattern"]
            .as_str()
            .zip(value.as_str())
            .is_some_and(|(pattern, text)| !Regex::new(pattern).unwrap().is_match(text))
        || schema["minimum"].as_f64().zip(value.as_f64()).is_some_and(|(least, number)| number < least)
        || schema["maximum"].as_f64().zip(value.as_f64()).is_some_and(|(most, number)| number > most);
    if wrong {
        return Some(format!("{value} is not {schema}"));
    }
    let object = value.as_object()?;
    let missing =
        said(&schema["required"]).into_iter().find(|key| !object.contains_key(key.as_str().unwrap()));
    if let Some(key) = missing {
        return Some(format!("{key} is missing in {value}"));
    }
    object.iter().find_map(|(key, inner)| {
        let schema = schema["properties"].get(key).or(schema.get("additionalProperties"))?;
        misfit(root, schema, inner)
    })
}

/// Whether a value has the type, or one of the types.
fn is_of(kind: &Value, value: &Value) -> bool {
    match kind {
        Value::String(kind) => match kind.as_str() {
            "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
            "number" => value.is_number(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            "null" => value.is_null(),
            other => panic!("{other} is no type"),
        },
        Value::Array(kinds) => kinds.iter().any(|kind| is_of(kind, value)),
        _ => true,
    }
}

/// Whether the schema of commands says of a command what the server does.
fn agreed(command: &Value) {
    let schema = schema_for!(Command).to_value();
    let read = Command::parse(&command.to_string());
    let told = misfit(&schema, &schema, command);
    assert_eq!(read.is_ok(), told.is_none(), "{command}: read {:?}, schema {told:?}", read.err());
}

#[test]
fn every_spelling_of_a_value_that_is_read_fits_the_schema() {
    let words = ["wav", "WAV", "Pcm", "pcmu", "pcma", "g722", "opus", "ogg", "OGG"];
    let formats = words.map(|word| json!({"recorder": {"format": word}}));
    let codecs = ["pcm", "PCMU", "pcma", "G722", "opus"].map(|word| json!({"codec": word}));
    let spans = [json!(30), json!(0.5), json!("30s"), json!("500ms"), json!("2min"), json!("7")];
    let spans = spans.into_iter().flat_map(|span| {
        [
            json!({"handshakeTimeout": span}),
            json!({"inactivityTimeout": span}),
            json!({"vad": {"silenceTimeout": span}}),
            json!({"tts": {"waitInputTimeout": span}}),
        ]
    });
    let numbers = [json!(16000), json!("16000"), json!(16000.0), json!(null)]
        .map(|rate| json!({"sampleRate": rate, "recorder": {"samplerate": rate}}));
    let keys =
        [json!("k"), json!(12345)].map(|key| json!({"asr": {"secretKey": key}, "llm": {"apiKey": key}}));
    let all = formats.into_iter().chain(codecs).chain(spans).chain(numbers).chain(keys);
    for option in all {
        let command = json!({"command": "invite", "option": option});
        assert!(Command::parse(&command.to_string()).is_ok(), "{command}");
        agreed(&command);
    }
    for method in
        ["auto", "RTP", "rfc4733", "rfc2833", "dtmf-relay", "infoPlain", "INFO_PLAIN", "tones", "in-band"]
    {
        agreed(&json!({"command": "dtmf", "digits": "1", "method": method}));
    }
}

#[test]
fn what_is_no_value_of_a_field_fits_neither() {
    for option in [
        json!({"recorder": {"format": "mp3"}}),
        json!({"codec": "speex"}),
        json!({"codec": 7}),
        json!({"sampleRate": 1.5}),
        json!({"sampleRate": -1}),
        json!({"sampleRate": "fast"}),
        json!({"handshakeTimeout": "soon"}),
        json!({"handshakeTimeout": []}),
        json!({"asr": {"secretKey": []}}),
        json!({"denoise": "yes"}),
    ] {
        agreed(&json!({"command": "invite", "option": option}));
    }
    agreed(&json!({"command": "dtmf", "digits": "1", "method": "pigeon"}));
}

#[test]
fn every_canonical_command_fits_the_schema() {
    for line in include_str!("fixtures/commands.jsonl").lines() {
        agreed(&serde_json::from_str(line).unwrap());
    }
}

#[test]
fn every_canonical_event_fits_the_schema_and_what_is_no_event_does_not() {
    let schema = schema_for!(Event).to_value();
    let mut seen = 0;
    for line in include_str!("fixtures/events.jsonl").lines().filter(|line| line.starts_with('{')) {
        let event: Value = serde_json::from_str(line).unwrap();
        let told = misfit(&schema, &schema, &event);
        assert_eq!(told, None, "{event}");
        for (key, wrong) in
            [("event", json!("nothing")), ("timestamp", json!("noon")), ("timestamp", Value::Null)]
        {
            let mut other = event.clone();
            other[key] = wrong;
            assert!(misfit(&schema, &schema, &other).is_some(), "{other} is no event");
        }
        seen += 1;
    }
    assert!(seen > 20, "{seen} events are too few");
}
