//! Keys that are given in two spellings at once.
//!
//! Some clients send every spelling they know (`model` beside `modelType`), which serde takes for the same
//! field given twice. The spelling that stands first here wins and the others are dropped before the object
//! is read.

use serde_json::{Map, Value};

/// Spellings of one key, in the objects under `parent`; an empty parent means any object.
struct Spellings {
    parent: &'static str,
    keys: &'static [&'static str],
}

const SPELLINGS: &[Spellings] = &[
    Spellings { parent: "", keys: &["samplerate", "sampleRate", "sample_rate"] },
    Spellings { parent: "", keys: &["secretKey", "secret_key", "apiKey", "api_key"] },
    Spellings { parent: "", keys: &["endpoint", "baseUrl", "base_url"] },
    Spellings { parent: "", keys: &["speaker", "voice"] },
    Spellings { parent: "", keys: &["offer", "sdp"] },
    Spellings { parent: "", keys: &["hangup_headers", "hangupHeaders", "bye_headers", "byeHeaders"] },
    Spellings { parent: "asr", keys: &["modelType", "model_type", "model"] },
    Spellings { parent: "vad", keys: &["type", "provider"] },
];

/// Objects whose keys are the client's own and stay as they are.
const FREE: &[&str] =
    &["extra", "headers", "hangup_headers", "hangupHeaders", "turnDetection", "turn_detection", "tools"];

/// Leaves one spelling of each key in `value` and in the objects within it.
pub fn settle(value: &mut Value) {
    settle_under("", value);
}

/// The depth of the recursion is that of the JSON text, at most 128.
fn settle_under(parent: &str, value: &mut Value) {
    match value {
        Value::Object(object) => {
            drop_other_spellings(parent, object);
            for (key, inner) in object.iter_mut().filter(|(key, _)| !FREE.contains(&key.as_str())) {
                settle_under(key, inner);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|inner| settle_under(parent, inner)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn drop_other_spellings(parent: &str, object: &mut Map<String, Value>) {
    for row in SPELLINGS.iter().filter(|row| row.parent.is_empty() || row.parent == parent) {
        let mut given = row.keys.iter().filter(|key| object.contains_key(**key));
        if given.next().is_some() {
            for other in given.copied().collect::<Vec<_>>() {
                object.remove(other);
            }
        }
    }
    let snakes: Vec<String> = object.keys().filter(|key| key.contains('_')).cloned().collect();
    for snake in snakes {
        if object.contains_key(&camel(&snake)) {
            object.remove(&snake);
        }
    }
}

/// `wait_input_timeout` as `waitInputTimeout`.
fn camel(snake: &str) -> String {
    let mut words = snake.split('_');
    let mut text = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        text.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        text.push_str(letters.as_str());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn camel_case_wins_over_snake_case() {
        let mut value = json!({"option": {"media_pass": 1, "mediaPass": 2, "ptime": 3}});
        settle(&mut value);
        assert_eq!(value, json!({"option": {"mediaPass": 2, "ptime": 3}}));
    }

    #[test]
    fn the_clients_own_keys_stay() {
        let free = json!({"extra": {"sample_rate": 1, "sampleRate": 2, "voice": 3, "speaker": 4}});
        let mut value = free.clone();
        settle(&mut value);
        assert_eq!(value, free);
    }
}
