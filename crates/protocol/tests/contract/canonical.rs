//! Every canonical message reads without an unknown key and is written back as it came.

use protocol::command::Command;
use protocol::event::Event;
use protocol::record::CallRecord;
use protocol::rest::{InviteWebhook, Posthook};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const COMMANDS: &str = include_str!("fixtures/commands.jsonl");
const EVENTS: &str = include_str!("fixtures/events.jsonl");
const BODIES: &str = include_str!("fixtures/bodies.jsonl");

/// Through text, as it goes over the wire: an `f32` keeps its short form there.
fn written(value: &impl Serialize) -> Value {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

/// Secrets are read and never written.
fn redacted(mut value: Value) -> Value {
    match &mut value {
        Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                *inner = if key == "password" { json!("***") } else { redacted(inner.take()) };
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|inner| *inner = redacted(inner.take())),
        _ => {}
    }
    value
}

fn round_trip<T: DeserializeOwned + Serialize>(text: &str) {
    let read = protocol::read::value::<T>(protocol::read::json(text).unwrap()).unwrap();
    assert_eq!(read.unknown, Vec::<String>::new(), "{text}");
    assert_eq!(written(&read.value), redacted(serde_json::from_str(text).unwrap()));
}

#[test]
fn every_command_reads_and_is_written_back() {
    for line in COMMANDS.lines() {
        let read = Command::parse(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        assert_eq!(read.unknown, Vec::<String>::new(), "{line}");
        let sent: Value = serde_json::from_str(line).unwrap();
        assert_eq!(sent["command"], read.value.name());
        assert_eq!(written(&read.value), redacted(sent));
    }
}

#[test]
fn every_event_reads_and_is_written_back() {
    for line in EVENTS.lines() {
        round_trip::<Event>(line);
    }
}

#[test]
fn webhook_posthook_and_record_read_and_are_written_back() {
    let mut lines = BODIES.lines();
    round_trip::<InviteWebhook>(lines.next().unwrap());
    round_trip::<Posthook>(lines.next().unwrap());
    round_trip::<CallRecord>(lines.next().unwrap());
}

#[test]
fn absent_fields_are_left_out_and_never_null() {
    for line in COMMANDS.lines() {
        let text = serde_json::to_string(&Command::parse(line).unwrap().value).unwrap();
        assert!(!text.contains("null"), "{text}");
    }
    let bare = Event::TrackStart { track_id: "s1".into(), timestamp: 1, play_id: None };
    assert_eq!(written(&bare), json!({"event": "trackStart", "trackId": "s1", "timestamp": 1}));
}
