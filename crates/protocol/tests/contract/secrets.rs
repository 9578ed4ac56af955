//! Passwords and keys are read, and come out nowhere.

use protocol::option::{CallOption, LlmOption};
use protocol::redact;
use serde_json::json;

const SECRET: &str = "hunter2hunter2";

fn everywhere() -> CallOption {
    let keys = json!({"appId": "app", "secretId": SECRET, "secretKey": SECRET});
    let sip = json!({"username": "u", "password": SECRET, "realm": "r"});
    protocol::read::value(json!({
        "asr": keys, "tts": keys, "vad": {"secretId": SECRET, "secretKey": SECRET},
        "eou": {"secretKey": SECRET, "secretId": SECRET},
        "realtime": {"apiKey": SECRET, "secretId": SECRET}, "sip": sip
    }))
    .unwrap()
    .value
}

#[test]
fn no_secret_is_printed_or_written() {
    let option = everywhere();
    assert_eq!(option.asr.as_ref().unwrap().secret_key.as_ref().unwrap().expose(), SECRET);
    assert!(!format!("{option:?} {option:#?}").contains(SECRET));
    assert!(!serde_json::to_string(&option).unwrap().contains(SECRET));
}

#[test]
fn the_key_of_a_model_is_not_printed_or_written() {
    let llm: LlmOption = serde_json::from_value(json!({"provider": "openai", "api_key": SECRET})).unwrap();
    assert!(!format!("{llm:?}").contains(SECRET));
    assert!(!serde_json::to_string(&llm).unwrap().contains(SECRET));
}

#[test]
fn a_secret_of_unquoted_digits_is_read() {
    let llm: LlmOption = serde_json::from_value(json!({"apiKey": 12345678})).unwrap();
    assert_eq!(llm.api_key.unwrap().expose(), "12345678");
}

#[test]
fn names_of_secrets_are_known_in_every_spelling() {
    let secrets = "Authorization proxy-authorization Cookie Set-Cookie X-Api-Key apikey apiKey api_key key token \
        accessToken X-Session-Token SECRET secretId clientSecret password PASSWORD db_passwd X-Amz-Signature \
        X-Amz-Credential AWSAccessKeyId sig X-Auth";
    for name in secrets.split_whitespace() {
        assert!(redact::names_secret(name), "{name}");
    }
    let plain = "X-Job monkey tokens promptTokens completion_tokens keyboard mediaPass cacheKey unknownKey \
        Authentication-Info username realm design";
    for name in plain.split_whitespace() {
        assert!(!redact::names_secret(name), "{name}");
    }
}

#[test]
fn an_address_is_shown_without_who_logs_in_and_without_its_signature() {
    for (given, shown) in [
        (
            "http://u:hunter2@h:81/a.wav?x=1&X-Amz-Signature=hunter2",
            "http://***@h:81/a.wav?x=1&X-Amz-Signature=***",
        ),
        ("wss://h/x?token=hunter2#access_token=hunter2", "wss://h/x?token=***#access_token=***"),
        ("https://h/a?%74oken=hunter2&b", "https://h/a?%74oken=***&b"),
        ("postgres://u:p@ss@h/db", "postgres://***@h/db"),
        ("sip:bob:hunter2@h;transport=tcp", "sip:bob:***@h;transport=tcp"),
        ("\"B\" <SIPS:bob:hunter2@h> met http://u@h", "\"B\" <SIPS:bob:***@h> met http://***@h"),
        ("file http://h/?key=hunter2: not found", "file http://h/?key=*** not found"),
    ] {
        assert_eq!(redact::text(given), shown);
    }
    for plain in
        ["http://h/a.wav?page=2", "sip:alice@h;x=1", "at 10:30 : see a@b", "hello", "", "http://", "sip:@"]
    {
        assert_eq!(redact::text(plain), plain);
    }
}

#[test]
fn free_fields_of_an_option_are_shown_without_secrets() {
    let address = "wss://u:hunter2hunter2@h/x?token=hunter2hunter2";
    let given: CallOption = protocol::read::value(json!({
        "asr": {"provider": "x", "endpoint": address, "extra": {"apikey": SECRET, "token": SECRET, "deep": [{"secret": SECRET}]}},
        "mediaPass": {"url": address, "inputSampleRate": 16000},
        "realtime": {"turnDetection": {"token": SECRET}, "tools": [{"headers": {"Authorization": SECRET}}]},
        "sip": {"username": "u", "headers": {"Authorization": SECRET, "X-Api-Key": SECRET, "X-Job": "7"}},
        "extra": {"password": SECRET, "api_key": {"id": SECRET}, "customer": "7"},
        "inactivityTimeout": "1.5s"
    }))
    .unwrap()
    .value;
    let shown = redact::option(&given);
    let text = serde_json::to_string(&shown).unwrap();
    assert!(!text.contains(SECRET), "{text}");
    assert_eq!(shown.media_pass.unwrap().url.unwrap(), "wss://***@h/x?token=***");
    assert_eq!(shown.sip.unwrap().headers.unwrap()["X-Job"], "7");
    assert_eq!(shown.extra.unwrap()["customer"], "7");
    assert_eq!(shown.inactivity_timeout, given.inactivity_timeout);
}

#[test]
fn messages_are_shown_without_secrets_and_with_their_own_fields() {
    let metrics =
        json!({"event": "metrics", "timestamp": 1, "key": "llm", "duration": 2, "data": {"token": SECRET}});
    let call = json!({"event": "functionCall", "trackId": "t", "callId": "c", "name": "f", "timestamp": 1,
        "arguments": "{\"password\": \"hunter2hunter2\", \"n\": 1}"});
    let played = json!({"event": "trackStart", "trackId": "t", "timestamp": 1, "playId": "http://u:hunter2hunter2@h/a.wav"});
    let [metrics, call, played] = [metrics, call, played].map(|event| {
        let event: protocol::Event = serde_json::from_value(event).unwrap();
        redact::message(&event)
    });
    assert_eq!((&metrics["key"], &metrics["data"]["token"]), (&json!("llm"), &json!("***")));
    assert_eq!(call["arguments"], r#"{"n":1,"password":"***"}"#);
    assert_eq!(played["playId"], "http://***@h/a.wav");
}

proptest::proptest! {
    #[test]
    fn any_text_is_shown_and_a_shown_one_stays(text in ".{0,80}|[sip:/@?=&#; a%]{0,40}") {
        let once = redact::text(&text).into_owned();
        proptest::prop_assert_eq!(redact::text(&once).into_owned(), once.clone());
        redact::names_secret(&text);
    }
}
