//! The events of a streamed answer, and the answer put together from them.

use std::collections::BTreeMap;

use protocol::chat::{ModelOutput, Usage};
use serde::Deserialize;
use serde_json::Value;

use crate::ProviderError;

/// Function calls in one answer; more are refused.
const MOST_CALLS: usize = 64;

/// One event.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Chunk {
    choices: Vec<Choice>,
    usage: Option<Counted>,
    error: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Choice {
    index: u32,
    delta: Delta,
    /// The whole of an answer that does not stream.
    message: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Delta {
    content: Option<String>,
    reasoning_content: Option<String>,
    tool_calls: Option<Vec<CallPart>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CallPart {
    index: Option<u32>,
    id: Option<String>,
    function: FunctionPart,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FunctionPart {
    name: Option<String>,
    arguments: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Counted {
    prompt_tokens: u64,
    completion_tokens: u64,
}

/// Why an event is no part of an answer.
#[derive(Debug)]
pub(super) enum Bad {
    /// It cannot be understood.
    Shape(String),
    /// The vendor reports an error within the stream: a status, if it tells one, and a message.
    Vendor(u16, String),
}

impl Chunk {
    /// Reads the data of one event.
    pub(super) fn read(data: &str) -> Result<Chunk, Bad> {
        let chunk: Chunk = serde_json::from_str(data)
            .map_err(|error| Bad::Shape(format!("an event of the answer is not as documented: {error}")))?;
        match &chunk.error {
            None | Some(Value::Null) => Ok(chunk),
            Some(error) => {
                let code =
                    error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
                Err(Bad::Vendor(code.unwrap_or(500), message_of(error)))
            }
        }
    }
}

/// The message in the body of a refusal, or the body itself.
pub(super) fn message(body: &[u8]) -> String {
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => message_of(value.get("error").unwrap_or(&value)),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}

fn message_of(error: &Value) -> String {
    match error.get("message").unwrap_or(error) {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What came so far of an answer.
#[derive(Default)]
pub(super) struct Answer {
    calls: BTreeMap<u32, Call>,
    usage: Usage,
    finished: bool,
    any: bool,
}

#[derive(Default)]
struct Call {
    id: String,
    name: String,
    arguments: String,
}

impl Answer {
    /// Takes an event; gives what can be passed on at once.
    pub(super) fn take(&mut self, chunk: Chunk) -> Vec<ModelOutput> {
        let mut outputs = Vec::new();
        if let Some(usage) = chunk.usage {
            self.usage = Usage { prompt: usage.prompt_tokens, completion: usage.completion_tokens };
        }
        // One answer is asked for; others would be mixed into it.
        let Some(mut choice) = chunk.choices.into_iter().find(|choice| choice.index == 0) else {
            return outputs;
        };
        self.finished |= choice.finish_reason.is_some() || choice.message.is_some();
        if let Some(message) = choice.message.take() {
            choice.delta = message;
        }
        if let Some(text) = choice.delta.reasoning_content.filter(|text| !text.is_empty()) {
            outputs.push(ModelOutput::Reasoning(text));
        }
        if let Some(text) = choice.delta.content.filter(|text| !text.is_empty()) {
            outputs.push(ModelOutput::Text(text));
        }
        for part in choice.delta.tool_calls.unwrap_or_default() {
            self.add(part);
        }
        self.any |= !outputs.is_empty();
        outputs
    }

    fn add(&mut self, part: CallPart) {
        // A server without indices sends each call in one part.
        let index = part.index.unwrap_or(self.calls.len() as u32);
        if !self.calls.contains_key(&index) && self.calls.len() >= MOST_CALLS {
            return;
        }
        let call = self.calls.entry(index).or_default();
        if let Some(id) = part.id.filter(|id| !id.is_empty()) {
            call.id = id;
        }
        call.name.push_str(part.function.name.as_deref().unwrap_or_default());
        call.arguments.push_str(part.function.arguments.as_deref().unwrap_or_default());
    }

    /// What is left once the stream ended. Errors: it ended before the answer did, or arguments are no JSON.
    pub(super) fn finish(self) -> Result<Vec<ModelOutput>, ProviderError> {
        if !self.finished && !self.any {
            return Err(ProviderError::Protocol("the answer ended before it began".to_owned()));
        }
        if !self.finished {
            return Err(ProviderError::Protocol("the answer broke off".to_owned()));
        }
        let mut outputs = Vec::new();
        for call in self.calls.into_values() {
            let text = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
            let arguments = serde_json::from_str(text).map_err(|_| {
                ProviderError::Protocol("the arguments of a function call are no JSON".to_owned())
            })?;
            outputs.push(ModelOutput::ToolCall { id: call.id, name: call.name, arguments });
        }
        outputs.push(ModelOutput::Done(self.usage));
        Ok(outputs)
    }
}
