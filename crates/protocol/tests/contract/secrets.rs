//! Passwords and keys are read, and come out nowhere.

use protocol::option::{CallOption, LlmOption};
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
