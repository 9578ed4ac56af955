//! `model`: a small model behind an HTTP endpoint, or one that runs here, says whether the caller has finished.

use std::time::Duration;

use protocol::option::EouOption;
use serde_json::{Value, json};

use super::end::Said;
use super::{Wait, local};
use crate::conversation::{HttpRequest, Origin};

/// How long its verdict is awaited when the playbook does not say.
pub const PATIENCE: Duration = Duration::from_millis(800);

/// A verdict that takes longer is of no use: the caller has long been silent.
const LONGEST: Duration = Duration::from_secs(10);

/// From this probability on the turn has ended.
const LIKELY: f64 = 0.5;

/// Names of the verdict in an answer, as servers in use give it.
const VERDICTS: &[&str] = &["completed", "complete", "endOfTurn", "end_of_turn", "finished", "probability"];

/// The verdict is asked for.
pub fn judge(said: &Said<'_>) -> Wait {
    Wait::Ask(said.patience)
}

/// How a verdict is come by.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// This request is to be made; [`verdict`] reads the answer.
    Fetch(HttpRequest),
    /// A model that runs here has said it.
    Told(bool),
}

/// Whether `option` names a model: an address, or one that runs here.
pub fn names_one(option: &EouOption) -> bool {
    has_endpoint(option) || option.kind.as_deref().is_some_and(|kind| local::named(kind).is_some())
}

/// Whether `option` names a model that there is not: no address, and a name that nothing has which runs here.
pub fn is_unknown(option: &EouOption) -> bool {
    !names_one(option) && option.kind.as_deref().is_some_and(|kind| !kind.trim().is_empty())
}

/// What is to be written instead of a name that is not known.
pub fn known() -> String {
    let names: Vec<&str> = local::LOCAL.iter().map(|model| model.name()).collect();
    format!("known: {}; another model needs its address in `eou.endpoint`", names.join(", "))
}

/// Asks the model of `option` whether `text` is all; an address goes before a name. `None` where it names none.
pub fn ask(option: &EouOption, text: &str, language: &str) -> Option<Asked> {
    let here = || local::named(option.kind.as_deref()?);
    let told = || Some(Asked::Told(here()?.likelihood(text, language) >= LIKELY));
    question(option, text, language).map(Asked::Fetch).or_else(told)
}

fn has_endpoint(option: &EouOption) -> bool {
    option.endpoint.as_deref().is_some_and(|url| !url.trim().is_empty())
}

/// How long the verdict of `option` is awaited: as it says, at most 10 s.
pub fn patience(option: &EouOption) -> Duration {
    option.timeout.map_or(PATIENCE, |ms| ms.0.min(LONGEST))
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
        timeout: patience(option),
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

    #[test]
    fn an_address_goes_before_a_model_that_runs_here() {
        let mut option = EouOption { kind: Some("Completeness".into()), ..EouOption::default() };
        assert_eq!(ask(&option, "I would like to", "en"), Some(Asked::Told(false)));
        assert_eq!(ask(&option, "I would like to go.", "en"), Some(Asked::Told(true)));
        option.endpoint = Some("https://eou.example".into());
        assert!(matches!(ask(&option, "Yes.", "en"), Some(Asked::Fetch(_))));
        let unknown = EouOption { kind: Some("oracle".into()), ..EouOption::default() };
        assert!(is_unknown(&unknown) && ask(&unknown, "Yes.", "en").is_none());
        assert!(!is_unknown(&EouOption { kind: Some(String::new()), ..EouOption::default() }));
    }
}
