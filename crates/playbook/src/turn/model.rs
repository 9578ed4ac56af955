//! `model`: a small model behind an HTTP endpoint says whether the caller has finished.

use std::time::Duration;

use protocol::option::EouOption;
use serde_json::{Value, json};

use super::Wait;
use super::end::Said;
use crate::conversation::{HttpRequest, Origin};

/// How long its verdict is awaited when the playbook does not say.
pub const PATIENCE: Duration = Duration::from_millis(800);

/// From this probability on the turn has ended.
const LIKELY: f64 = 0.5;

/// Names of the verdict in an answer, as servers in use give it.
const VERDICTS: &[&str] = &["completed", "complete", "endOfTurn", "end_of_turn", "finished", "probability"];

/// The verdict is asked for.
pub fn judge(said: &Said<'_>) -> Wait {
    Wait::Ask(said.patience)
}

/// The question: a POST of `{"text", "language"}` and the playbook's `eou.extra`. `None` without an endpoint.
pub fn question(option: &EouOption, text: &str, language: &str) -> Option<HttpRequest> {
    let url = option.endpoint.clone().filter(|url| !url.trim().is_empty())?;
    let mut body = json!({ "text": text, "language": language });
    if let Value::Object(object) = &mut body {
        object.extend(option.extra.iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
    }
    let key = option
        .secret_key
        .as_ref()
        .map(|key| ("Authorization".to_owned(), format!("Bearer {}", key.expose())));
    Some(HttpRequest {
        url,
        method: "POST".to_owned(),
        headers: key.into_iter().collect(),
        body: Some(body.to_string()),
        origin: Origin::Playbook,
        timeout: option.timeout.map_or(PATIENCE, |ms| ms.0),
        ..HttpRequest::default()
    })
}

/// Whether an answer says that the turn has ended; `None` when it says neither.
pub fn verdict(body: &str) -> Option<bool> {
    let value: Value = serde_json::from_str(body).ok()?;
    match VERDICTS.iter().find_map(|name| value.get(name)).unwrap_or(&value) {
        Value::Bool(ended) => Some(*ended),
        Value::Number(likely) => likely.as_f64().map(|likely| likely >= LIKELY),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_read_in_every_form_in_use() {
        assert_eq!(verdict(r#"{"completed": true}"#), Some(true));
        assert_eq!(verdict(r#"{"end_of_turn": false}"#), Some(false));
        assert_eq!(verdict(r#"{"probability": 0.82}"#), Some(true));
        assert_eq!(verdict("0.1"), Some(false));
        assert_eq!(verdict("false"), Some(false));
        assert_eq!(verdict(r#"{"error": "no"}"#), None);
        assert_eq!(verdict("<html>"), None);
    }
}
