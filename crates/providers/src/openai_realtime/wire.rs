//! Events of the server, under the names of the general availability and of the preview.

use serde::Deserialize;
use serde_json::Value;

use crate::ProviderError;

/// Longest text of a refusal that is looked at, in bytes.
const LONGEST_REFUSAL: usize = 8 << 10;

/// One event. Fields that an event does not have are empty.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    /// Which.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// The part of the conversation it is about.
    pub(super) item_id: String,
    /// Sound in base64, or text.
    pub(super) delta: String,
    /// What the caller said.
    pub(super) transcript: String,
    /// Id of a call of a function.
    pub(super) call_id: String,
    /// Name of the function, where the server tells it here.
    pub(super) name: String,
    /// Its arguments as JSON.
    pub(super) arguments: String,
    /// A part of the conversation as a whole.
    pub(super) item: Option<Item>,
    /// The response that is done.
    pub(super) response: Option<Response>,
    /// What went wrong.
    pub(super) error: Option<Fault>,
}

/// A part of the conversation.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Item {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) call_id: String,
    pub(super) name: String,
    pub(super) arguments: String,
}

/// A response of the model.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Response {
    pub(super) status: String,
    pub(super) status_details: Option<Details>,
    pub(super) usage: Option<Counted>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Details {
    pub(super) error: Option<Fault>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Counted {
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
}

/// What the server complains about.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Fault {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
}

impl Event {
    /// Reads a message. An event of another shape than ours is taken for one that is not known, and has no kind.
    /// Errors: it is no event.
    pub(super) fn read(text: &str) -> Result<Event, ProviderError> {
        let event: Result<Event, _> = serde_json::from_str(text);
        event.or_else(|_| match serde_json::from_str::<Value>(text) {
            Ok(Value::Object(_)) => Ok(Event::default()),
            _ => Err(ProviderError::Protocol("a message is no event".to_owned())),
        })
    }
}

impl Fault {
    /// Whether it has the code or type.
    pub(super) fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code) || self.kind.as_deref() == Some(code)
    }

    pub(super) fn text(&self) -> String {
        let message = self.message.as_deref().or(self.code.as_deref()).or(self.kind.as_deref());
        message.unwrap_or("no reason given").to_owned()
    }
}

/// The message in the body of a refused connection, or the body itself.
pub(super) fn refusal(body: &[u8]) -> String {
    let body = &body[..body.len().min(LONGEST_REFUSAL)];
    let value: Option<Value> = serde_json::from_slice(body).ok();
    let message = value.as_ref().and_then(|value| value.pointer("/error/message")).and_then(Value::as_str);
    message.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned)
}
