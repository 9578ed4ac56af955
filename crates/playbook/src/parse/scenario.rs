//! Files of scenarios.

use protocol::value::{Extra, Headers, Millis};
use serde::Deserialize;
use serde_json::Value;

use super::yaml::{self, Yaml};
use crate::error::{PlaybookError, nearest};
use crate::rehearsal::{Play, Scenario, Step, Suite, Want};

/// Within so many milliseconds something shall happen, when the step does not say.
const WITHIN_MS: u64 = 10_000;

#[derive(Deserialize)]
struct SuiteFront {
    playbook: String,
    scenarios: Vec<ScenarioFront>,
}

#[derive(Deserialize)]
struct ScenarioFront {
    name: String,
    #[serde(default)]
    vars: Extra,
    #[serde(default)]
    headers: Headers,
    steps: Vec<Value>,
}

/// What a step may be: its key and how its value is read.
type Reader = fn(&Value, &Value) -> Option<Step>;

/// Every kind of step.
const STEPS: &[(&str, Reader)] = &[
    ("caller", |value, step| {
        Some(Step::Caller { text: text(value)?, over: step.get("over").and_then(Value::as_u64) })
    }),
    ("press", |value, _| text(value).map(Step::Press)),
    ("silence", |value, _| Millis::deserialize(value).ok().map(|ms| Step::Silence(ms.0.as_millis() as u64))),
    ("hangup", |_, _| Some(Step::HangUp)),
    ("refused", |value, _| text(value).map(Step::Refused)),
    ("model", model),
    ("agent", |value, step| Some(Step::Agent(want(value, step)?))),
    ("tool", tool),
    ("scene", |value, _| text(value).map(Step::Scene)),
    ("var", |value, step| Some(Step::Var(text(value)?, step.get("is")?.clone()))),
    ("ends", |value, _| Some(Step::Ends(value.as_str().map(str::to_owned)))),
    ("transfer", |value, _| text(value).map(Step::Transfer)),
    ("digits", |value, _| text(value).map(Step::Digits)),
];

/// Keys that stand beside the kind of a step.
const BESIDE: &[&str] =
    &["over", "within", "calls", "fails", "pattern", "judge", "arguments", "returns", "is"];

pub(crate) fn suite(text: &str) -> Result<Suite, PlaybookError> {
    if text.len() > super::MAX_BYTES {
        return Err(PlaybookError::TooLarge { bytes: text.len(), max: super::MAX_BYTES });
    }
    let yaml = yaml::read(text, 1, &|_| None)?;
    let front: SuiteFront = protocol::read::value(Value::Object(yaml.value.clone()))
        .map_err(|error| yaml.error(&error.field, error.message, None))?
        .value;
    let mut scenarios = Vec::new();
    for (index, own) in front.scenarios.into_iter().enumerate() {
        let path = format!("scenarios.{index}");
        let mut steps = Vec::new();
        for (at, value) in own.steps.iter().enumerate() {
            steps.push(step(value, &format!("{path}.steps.{at}"), &yaml)?);
        }
        let line = yaml.line_of(&format!("{path}.name"));
        let headers = own.headers.into_iter().collect();
        scenarios.push(Scenario { name: own.name, line, vars: own.vars, headers, steps });
    }
    Ok(Suite { playbook: front.playbook, scenarios })
}

fn step(value: &Value, path: &str, yaml: &Yaml) -> Result<Play, PlaybookError> {
    let keys = || value.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    let kinds = || STEPS.iter().map(|(kind, _)| *kind);
    let Some((kind, read)) = STEPS.iter().find(|(kind, _)| keys().any(|key| key == *kind)) else {
        let slip = keys().find_map(|key| nearest(key, kinds()));
        let known: Vec<&str> = kinds().collect();
        return Err(yaml.error(path, format!("a step is one of {}", known.join(", ")), slip));
    };
    if let Some(odd) = keys().find(|key| key != kind && !BESIDE.contains(key)) {
        let message = format!("`{odd}` does not go with `{kind}`");
        return Err(yaml.error(&format!("{path}.{odd}"), message, nearest(odd, BESIDE.iter().copied())));
    }
    let inner = value.get(*kind).unwrap_or(&Value::Null);
    let step = read(inner, value)
        .ok_or_else(|| yaml.error(&format!("{path}.{kind}"), format!("is no value for `{kind}`"), None))?;
    let within = value.get("within").map(Millis::deserialize).transpose();
    let within = within.map_err(|_| yaml.error(path, "within is a number of milliseconds".into(), None))?;
    let within_ms = within.map_or(WITHIN_MS, |ms| ms.0.as_millis() as u64);
    Ok(Play { line: yaml.line_of(&format!("{path}.{kind}")), step, within_ms })
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn model(value: &Value, step: &Value) -> Option<Step> {
    let call = |call: &Value| {
        let arguments =
            call.get("arguments").cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        Some((text(call.get("name")?)?, arguments))
    };
    let calls = step.get("calls").and_then(Value::as_array).into_iter().flatten();
    let calls = calls.map(call).collect::<Option<Vec<_>>>()?;
    let fails = step.get("fails").and_then(text);
    Some(Step::Model { text: text(value).unwrap_or_default(), calls, fails })
}

fn want(value: &Value, step: &Value) -> Option<Want> {
    let beside = |key: &str| step.get(key).and_then(text);
    let judge = |question| Want::Judge { question, text: text(value).unwrap_or_default() };
    let pattern = beside("pattern").map(Want::Pattern);
    pattern.or_else(|| beside("judge").map(judge)).or_else(|| text(value).map(Want::Text))
}

fn tool(value: &Value, step: &Value) -> Option<Step> {
    let as_text = |value: &Value| protocol::value::extra_string(value);
    let returns = step.get("returns").map(|value| Ok(as_text(value)));
    let fails = step.get("fails").map(|value| Err(as_text(value)));
    let arguments = step.get("arguments").cloned();
    Some(Step::Tool { name: text(value)?, arguments, returns: returns.or(fails) })
}
