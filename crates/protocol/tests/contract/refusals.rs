//! What is wrong with a text is told with the field it is wrong in, and large or deep texts are not looked at.

use proptest::prelude::*;
use protocol::command::Command;
use protocol::{limits, read};

fn refused(text: &str) -> (String, String) {
    let error = Command::parse(text).expect_err(text);
    (error.field, error.message)
}

#[test]
fn unknown_keys_are_named_with_their_path() {
    let text =
        r#"{"command":"invite","colour":1,"option":{"vad":{"speechPading":1},"asr":{"extra":{"free":1}}}}"#;
    let read = Command::parse(text).unwrap();
    assert_eq!(read.unknown, ["colour", "option.vad.speechPading"]);
}

#[test]
fn unknown_keys_are_named_up_to_a_bound() {
    let keys: Vec<String> = (0..1000).map(|i| format!("\"k{i}\":1")).collect();
    let read = Command::parse(&format!("{{\"command\":\"pause\",{}}}", keys.join(","))).unwrap();
    assert!(read.unknown.len() <= 16);
}

#[test]
fn a_wrong_value_is_told_with_its_field() {
    let rows = [
        (r#"{"command":"invite","option":{"vad":{"voiceThreshold":"loud"}}}"#, "option.vad.voiceThreshold"),
        (r#"{"command":"invite","option":{"sip":{"headers":{"X":[]}}}}"#, "option.sip.headers.X"),
        (r#"{"command":"invite","option":{"sampleRate":-1}}"#, "option.sampleRate"),
        (r#"{"command":"invite","option":{"codec":"mp3"}}"#, "option.codec"),
        (r#"{"command":"invite","option":{"handshakeTimeout":"soon"}}"#, "option.handshakeTimeout"),
        (r#"{"command":"tts","text":7}"#, "text"),
        (r#"{"command":"tts","text":"a","option":{"volume":5.5}}"#, "option.volume"),
        (r#"{"command":"refer","callee":"c","options":{"timeout":-1}}"#, "options.timeout"),
    ];
    for (text, field) in rows {
        assert_eq!(refused(text).0, field, "{text}");
    }
}

#[test]
fn a_number_outside_of_its_limits_is_told_with_its_field_and_what_is_allowed() {
    let invite = |option: &str| format!(r#"{{"command":"invite","option":{option}}}"#);
    let rows = [
        (invite(r#"{"ambiance":{"normalLevel":-1e30}}"#), "option.ambiance.normalLevel", "0 to 1"),
        (invite(r#"{"ambiance":{"duckLevel":1.1}}"#), "option.ambiance.duckLevel", "0 to 1, got 1.1"),
        (invite(r#"{"tts":{"samplerate":0}}"#), "option.tts.samplerate", "8000 to 48000, got 0"),
        (invite(r#"{"tts":{"samplerate":4294967295}}"#), "option.tts.samplerate", "got 4294967295"),
        (invite(r#"{"vad":{"voiceThreshold":-7}}"#), "option.vad.voiceThreshold", "0 to 1, got -7"),
        (invite(r#"{"vad":{"speechPadding":4e9}}"#), "option.vad.speechPadding", "0 to 10000"),
        (invite(r#"{"mediaPass":{"ptime":99999999}}"#), "option.mediaPass.ptime", "0 to 1000"),
        (invite(r#"{"mediaPass":{"packetSize":321}}"#), "option.mediaPass.packetSize", "even number from 2"),
        (invite(r#"{"mediaPass":{"inputSampleRate":44100}}"#), "option.mediaPass.inputSampleRate", "48000"),
        (
            invite(r#"{"ringback_detection":{"min_buffer_secs":3}}"#),
            "option.ringbackDetection.minBufferSecs",
            "4",
        ),
        (r#"{"command":"accept","option":{"tts":{"speed":9}}}"#.into(), "option.tts.speed", "0.25 to 4"),
        (r#"{"command":"tts","text":"a","option":{"speed":9}}"#.into(), "option.speed", "0.25 to 4"),
        (r#"{"command":"tts","text":"a","option":{"volume":11}}"#.into(), "option.volume", "0 to 10"),
        (r#"{"command":"ringing","recorder":{"samplerate":7}}"#.into(), "recorder.samplerate", "16000"),
        (r#"{"command":"record","action":"start","recorder":{"ptime":0}}"#.into(), "recorder.ptime", "10 to"),
    ];
    for (text, field, allowed) in rows {
        let (told, message) = refused(&text);
        assert_eq!(told, field, "{text}");
        assert!(message.contains(allowed), "{text}: {message}");
    }
}

#[test]
fn numbers_at_their_limits_are_taken() {
    for option in [
        r#"{"vad":{"voiceThreshold":0,"speechPadding":0,"silencePadding":10000,"silenceTimeout":"1h"}}"#,
        r#"{"tts":{"speed":0.25,"volume":10,"samplerate":48000},"sampleRate":24000}"#,
        r#"{"ambiance":{"normalLevel":1,"duckLevel":0},"mediaPass":{"packetSize":64000,"ptime":20}}"#,
    ] {
        Command::parse(&format!(r#"{{"command":"invite","option":{option}}}"#)).unwrap();
    }
}

#[test]
fn every_limit_is_told_in_the_documentation() {
    let api = include_str!("../../../../docs/api.md");
    for limit in limits::LIMITS {
        let row = format!("| `{}` | {} |", limit.key, limit.allowed);
        assert!(api.contains(&row), "docs/api.md lacks: {row}");
    }
}

#[test]
fn a_missing_field_is_named() {
    for (command, field) in [
        (r#"{"command":"tts"}"#, "text"),
        (r#"{"command":"play"}"#, "url"),
        (r#"{"command":"invite"}"#, "option"),
        (r#"{"command":"record"}"#, "action"),
    ] {
        assert_eq!(refused(command), (field.into(), "missing".into()), "{command}");
    }
}

#[test]
fn an_unknown_command_is_told_what_exists() {
    let (field, message) = refused(r#"{"command":"dance"}"#);
    assert_eq!(field, "command");
    assert!(message.contains("dance") && message.contains("invite") && message.contains("hangup"));
    assert_eq!(refused(r#"{"text":"x"}"#).0, "command");
    assert_eq!(refused(r#"{"command":7}"#).0, "command");
}

#[test]
fn what_is_no_object_is_refused() {
    for text in ["", "7", "[]", "null", "\"tts\"", "{", "{\"command\":\"tts\"", "\u{feff}{}", "{}{}"] {
        refused(text);
    }
}

#[test]
fn a_text_100_000_levels_deep_is_refused() {
    let deep = format!("{{\"command\":\"tts\",\"text\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(refused(&deep).1.contains("recursion limit"));
}

#[test]
fn a_text_of_eleven_megabytes_is_refused_unread() {
    let large = format!("{{\"command\":\"tts\",\"text\":\"{}\"}}", "a".repeat(11 * 1024 * 1024));
    assert!(refused(&large).1.contains("larger than"));
}

#[test]
fn a_long_unknown_name_is_shortened_in_the_answer() {
    let (_, message) = refused(&format!("{{\"command\":\"{}\"}}", "é".repeat(100_000)));
    assert!(message.len() < 600);
}

#[test]
fn a_long_wrong_value_is_shortened_in_the_answer() {
    let (_, message) =
        refused(&format!("{{\"command\":\"invite\",\"option\":{{\"codec\":\"{}\"}}}}", "é".repeat(100_000)));
    assert!(message.len() < 600, "{} bytes", message.len());
}

#[test]
fn a_wrong_secret_is_not_repeated_in_the_answer() {
    let (field, message) = refused(r#"{"command":"invite","option":{"asr":{"secretKey":["73526198"]}}}"#);
    assert_eq!(field, "option.asr.secretKey");
    assert!(!message.contains("73526198"), "{message}");
}

#[test]
fn what_is_repeated_of_a_text_holds_no_control_character() {
    let text = "{\"command\":\"invite\",\"option\":{\"sip\":{\"headers\":{\"a\\r\\nb\":[]}}}}";
    let (field, _) = refused(text);
    assert_eq!(field, "option.sip.headers.a\u{fffd}\u{fffd}b");
}

#[test]
fn spans_beyond_a_year_and_below_zero_are_refused() {
    for value in ["1e300", "-1", "1e9", "\"-3s\"", "\"NaN\"", "\"inf\"", "true", "[]"] {
        let text = format!("{{\"command\":\"invite\",\"option\":{{\"inactivityTimeout\":{value}}}}}");
        assert_eq!(refused(&text).0, "option.inactivityTimeout", "{value}");
    }
}

#[test]
fn an_address_has_a_scheme_that_is_known_and_a_host() {
    for good in ["ws://a", "WSS://a:1/x?y", "ws://[::1]:9/"] {
        assert_eq!(read::address(good, &["ws", "wss"]), Ok(()), "{good}");
    }
    for bad in
        ["", "x", "ws:", "ws://", "ws:///x", "http://a", "a.example:80", "://a", "ws://a b", "ws://a\n"]
    {
        let told = read::address(bad, &["ws", "wss"]);
        assert_eq!(told, Err("expected an address that begins with ws:// or wss://".into()), "{bad}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,400}") {
        let _ = Command::parse(&text);
    }

    #[test]
    fn no_field_value_makes_the_reader_panic(
        command in "invite|tts|play|hangup|refer|dtmf|ringing|mute",
        key in "option|text|url|callee|options|headers|digits|trackId|waitInputTimeout",
        value in "null|true|-1|1e308|\"x\"|\\[\\]|\\{\\}|\\{\"vad\":7\\}|\\{\"sip\":\\{\"headers\":3\\}\\}",
    ) {
        let _ = Command::parse(&format!("{{\"command\":\"{command}\",\"{key}\":{value}}}"));
    }
}
