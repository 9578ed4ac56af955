//! Every spelling that clients use means the same.

use protocol::command::Command;
use protocol::option::{CallOption, Over};
use serde_json::{Value, json};

/// The option as it is written after it was read without an unknown key.
fn option(value: &Value) -> Value {
    let read = protocol::read::value::<CallOption>(value.clone()).unwrap_or_else(|e| panic!("{value}: {e}"));
    assert_eq!(read.unknown, Vec::<String>::new(), "{value}");
    serde_json::from_str(&serde_json::to_string(&read.value).unwrap()).unwrap()
}

fn command(value: &Value) -> Value {
    let read = Command::from_value(value.clone()).unwrap_or_else(|e| panic!("{value}: {e}"));
    assert_eq!(read.unknown, Vec::<String>::new(), "{value}");
    serde_json::from_str(&serde_json::to_string(&read.value).unwrap()).unwrap()
}

#[test]
fn keys_of_options_read_in_every_spelling() {
    let rows: &[(Value, Value)] = &[
        (json!({"offer": "v=0"}), json!({"sdp": "v=0"})),
        (json!({"sampleRate": 8000}), json!({"samplerate": 8000})),
        (json!({"sampleRate": 8000}), json!({"sample_rate": "8000"})),
        (json!({"vad": {"type": "silero"}}), json!({"vad": {"provider": "silero"}})),
        (json!({"vad": {"samplerate": 8000}}), json!({"vad": {"sampleRate": 8000}})),
        (json!({"vad": {"speechPadding": 250}}), json!({"vad": {"speech_padding": 250}})),
        (json!({"asr": {"samplerate": 8000}}), json!({"asr": {"sampleRate": 8000}})),
        (json!({"asr": {"secretKey": "***"}}), json!({"asr": {"apiKey": "k"}})),
        (json!({"asr": {"secretKey": "***"}}), json!({"asr": {"api_key": "k"}})),
        (json!({"asr": {"secretKey": "***"}}), json!({"asr": {"secret_key": "k"}})),
        (json!({"asr": {"endpoint": "e"}}), json!({"asr": {"baseUrl": "e"}})),
        (json!({"asr": {"modelType": "m"}}), json!({"asr": {"model": "m"}})),
        (json!({"asr": {"modelType": "m"}}), json!({"asr": {"model_type": "m"}})),
        (json!({"tts": {"speaker": "F1"}}), json!({"tts": {"voice": "F1"}})),
        (json!({"tts": {"endpoint": "e"}}), json!({"tts": {"base_url": "e"}})),
        (json!({"tts": {"secretKey": "***"}}), json!({"tts": {"apiKey": "k"}})),
        (json!({"tts": {"samplerate": 8000}}), json!({"tts": {"sample_rate": 8000}})),
        (json!({"tts": {"waitInputTimeout": 5000}}), json!({"tts": {"wait_input_timeout": 5000}})),
        (json!({"sip": {"hangup_headers": {"X": "1"}}}), json!({"sip": {"hangupHeaders": {"X": "1"}}})),
        (
            json!({"sip": {"hangup_headers": {"X": "1"}}}),
            json!({"sip": {"bye_headers": [{"name": "X", "value": "1"}]}}),
        ),
        (json!({"sip": {"hangup_headers": {"X": "1"}}}), json!({"sip": {"bye_headers": [["X", "1"]]}})),
        (json!({"sip": {"extract_headers": ["X"]}}), json!({"sip": {"extractHeaders": ["X"]}})),
        (json!({"sip": {"enable_srtp": true}}), json!({"sip": {"enableSrtp": true}})),
        (json!({"sip": {"enable_srtp": false}}), json!({"sip": {"enableSrtp": false}})),
        (json!({"sip": {"enable_srtp": "optional"}}), json!({"sip": {"enableSrtp": "Optional"}})),
        (json!({"mediaPass": {"packetSize": 320}}), json!({"media_pass": {"packet_size": 320}})),
        (
            json!({"realtime": {"secretKey": "***", "turnDetection": {}}}),
            json!({"realtime": {"api_key": "k", "turn_detection": {}}}),
        ),
        (json!({"eou": {"secretKey": "***"}}), json!({"eou": {"apiKey": "k"}})),
        (json!({"ambiance": {"duckLevel": 0.5}}), json!({"ambiance": {"duck_level": 0.5}})),
        (json!({"handshakeTimeout": 30}), json!({"handshake_timeout": "30s"})),
        (json!({"inactivityTimeout": 60}), json!({"inactivity_timeout": "1min"})),
        (json!({"recorder": {"recorderFile": "a"}}), json!({"recorder": {"recorder_file": "a"}})),
        (json!({"enableIpv6": true}), json!({"enable_ipv6": true})),
        (
            json!({"ringbackDetection": {"minBufferSecs": 6.5}}),
            json!({"ringback_detection": {"min_buffer_secs": 6.5}}),
        ),
    ];
    for (emitted, accepted) in rows {
        assert_eq!(option(accepted), *emitted, "{accepted}");
        assert_eq!(option(emitted), *emitted);
    }
}

#[test]
fn fields_of_commands_read_in_every_spelling() {
    let rows = [
        (json!({"command": "invite", "option": {}}), json!({"command": "start", "option": {}})),
        (
            json!({"command": "tts", "text": "", "playId": "p", "endOfStream": true, "autoHangup": true}),
            json!({"command": "TTS", "text": "", "play_id": "p", "end_of_stream": true, "auto_hangup": true}),
        ),
        (
            json!({"command": "tts", "text": "", "waitInputTimeout": 5000, "cacheKey": "k"}),
            json!({"command": "tts", "text": "", "wait_input_timeout": "5s", "cache_key": "k"}),
        ),
        (json!({"command": "interrupt", "fadeOutMs": 9}), json!({"command": "interrupt", "fade_out_ms": 9})),
        (
            json!({"command": "ringing", "earlyMedia": true}),
            json!({"command": "ringing", "early_media": true}),
        ),
        (json!({"command": "mute", "trackId": "t"}), json!({"command": "mute", "track_id": "t"})),
        (json!({"command": "dtmf", "digits": "1#"}), json!({"command": "sendDtmf", "digit": "1#"})),
        (
            json!({"command": "refer", "caller": "", "callee": "c", "options": {"callId": "r"}}),
            json!({"command": "refer", "callee": "c", "options": {"call_id": "r"}}),
        ),
    ];
    for (emitted, accepted) in rows {
        assert_eq!(command(&accepted), emitted);
    }
}

#[test]
fn enumerated_words_read_in_any_case() {
    assert_eq!(option(&json!({"codec": "PCMU"})), json!({"codec": "pcmu"}));
    assert_eq!(option(&json!({"recorder": {"format": "Wav"}})), json!({"recorder": {"format": "wav"}}));
}

#[test]
fn a_wait_below_a_thousand_is_seconds() {
    let tts = |wait: Value| command(&json!({"command": "tts", "text": "", "waitInputTimeout": wait}));
    assert_eq!(tts(json!(30))["waitInputTimeout"], 30_000);
    assert_eq!(tts(json!(1000))["waitInputTimeout"], 1000);
    assert_eq!(tts(json!("800ms"))["waitInputTimeout"], 800);
}

#[test]
fn both_spellings_at_once_are_no_error_and_the_emitted_one_wins() {
    assert_eq!(
        option(&json!({"asr": {"model": "old", "modelType": "new"}})),
        json!({"asr": {"modelType": "new"}})
    );
    assert_eq!(
        option(&json!({"tts": {"sampleRate": 8000, "samplerate": 16000, "voice": "a", "speaker": "b"}})),
        json!({"tts": {"samplerate": 16000, "speaker": "b"}})
    );
    assert_eq!(option(&json!({"sdp": "a", "offer": "b"})), json!({"offer": "b"}));
}

#[test]
fn null_means_absent() {
    assert_eq!(option(&json!({"asr": null, "codec": null, "sampleRate": null})), json!({}));
}

#[test]
fn a_commands_option_is_laid_over_the_calls_field_by_field() {
    let call = protocol::read::value::<CallOption>(json!({
        "tts": {"provider": "flite", "speed": 1.5, "samplerate": 8000}, "extra": {"a": "1", "b": "2"}
    }));
    let own = protocol::read::value::<CallOption>(json!({"tts": {"speaker": "slt"}, "extra": {"a": 3}}));
    let merged = own.unwrap().value.over(&call.unwrap().value);
    assert_eq!(
        serde_json::to_value(&merged).unwrap(),
        json!({
            "tts": {"provider": "flite", "speaker": "slt", "speed": 1.5, "samplerate": 8000},
            "extra": {"a": 3, "b": "2"}
        })
    );
}
