//! JSON Schema describes the types with the names of the wire.

use protocol::command::Command;
use protocol::event::Event;
use protocol::option::CallOption;
use schemars::schema_for;

#[test]
fn commands_are_described_by_name() {
    let text = serde_json::to_string(&schema_for!(Command)).unwrap();
    for name in ["accept", "tts", "play", "interrupt", "refer", "hangup", "candidate"] {
        assert!(text.contains(&format!("\"const\":\"{name}\"")), "{name}");
    }
}

#[test]
fn every_name_of_a_command_is_described() {
    let text = serde_json::to_string(&schema_for!(Command)).unwrap();
    for names in [
        r#""enum":["invite","start"]"#,
        r#""enum":["dtmf","sendDtmf","send_dtmf"]"#,
        r#""enum":["record","recorder","recording"]"#,
    ] {
        assert!(text.contains(names), "{names}");
    }
    assert!(!text.contains(r#""const":"invite""#));
}

#[test]
fn events_are_described_by_name() {
    let text = serde_json::to_string(&schema_for!(Event)).unwrap();
    for name in ["incoming", "answer", "trackEnd", "asrFinal", "hangup", "transferRequest", "ringbackState"] {
        assert!(text.contains(&format!("\"const\":\"{name}\"")), "{name}");
    }
}

#[test]
fn options_are_described_with_wire_names_and_words() {
    let schema = serde_json::to_value(schema_for!(CallOption)).unwrap();
    let keys = schema["properties"].as_object().unwrap();
    for key in ["offer", "mediaPass", "handshakeTimeout", "enableIpv6", "ringbackDetection", "sampleRate"] {
        assert!(keys.contains_key(key), "{key}");
    }
    let text = schema.to_string();
    for word in ["hangup_headers", "samplerate", "silenceTimeout", "\"pcmu\"", "packetSize"] {
        assert!(text.contains(word), "{word}");
    }
    assert!(schema.get("required").is_none(), "every key of an option is optional");
}
