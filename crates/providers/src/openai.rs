//! Chat completions as OpenAI documents them, streamed, from any server that speaks them.
//!
//! `baseUrl` is the address up to `/chat/completions`, which is added where it is missing.

use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use eventsource_stream::Eventsource;
use futures::StreamExt;
use protocol::Secret;
use protocol::chat::{Ask, ModelOutput};
use protocol::option::LlmOption;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use serde::Serialize;
use tokio::sync::mpsc::Sender;

use self::shape::Shape;
use self::wire::{Answer, Chunk};
use crate::options::{LONGEST_MESSAGE, plain, redacted, secret_or, text_or};
use crate::{ChatModel, ProviderError, rules};

mod shape;
mod wire;

/// Environment variables read where an option is absent.
pub(crate) const ENVIRONMENT: &[&str] = &["OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL"];
/// Options read.
pub(crate) const OPTIONS: &[&str] = &["apiKey", "baseUrl", "model", "temperature", "maxTokens", "rules"];

const ADDRESS: &str = "https://api.openai.com/v1";
const SUFFIX: &str = "/chat/completions";
const MODEL: &str = "gpt-4-turbo";
/// Longest answer taken, all events together. A longer one is cut off with an error.
const LONGEST_ANSWER: usize = 4 << 20;
/// Longest part of an error's body that is looked at.
const LONGEST_ERROR: usize = 8 << 10;
/// A server that cannot be reached within this time is not there.
const CONNECT: Duration = Duration::from_secs(5);

/// A model behind an OpenAI-compatible server.
pub struct OpenAi {
    client: reqwest::Client,
    address: reqwest::Url,
    key: Option<Secret>,
    model: String,
    temperature: Option<f32>,
    max_tokens: Option<u32>,
}

/// The model of `option`, behind its rules where it has any. Errors: an address that is none, a rule that
/// does not compile.
pub(crate) fn chat_model(option: &LlmOption) -> Result<Box<dyn ChatModel>, ProviderError> {
    let model = OpenAi::new(option)?;
    match &option.rules {
        Some(list) if !list.is_empty() => Ok(Box::new(rules::First::new(list, Box::new(model))?)),
        _ => Ok(Box::new(model)),
    }
}

impl OpenAi {
    /// A model as `option` and the environment describe it.
    ///
    /// # Errors
    /// The address is none.
    pub fn new(option: &LlmOption) -> Result<Self, ProviderError> {
        let base = text_or(option.base_url.as_ref(), "OPENAI_BASE_URL").unwrap_or_else(|| ADDRESS.to_owned());
        let model = text_or(option.model.as_ref(), "OPENAI_MODEL").unwrap_or_else(|| MODEL.to_owned());
        Ok(OpenAi {
            client: client()?,
            address: address(&base)?,
            key: secret_or(option.api_key.as_ref(), "OPENAI_API_KEY"),
            model: plain("model", &model)?,
            temperature: option.temperature,
            max_tokens: option.max_tokens,
        })
    }

    async fn ask(&self, ask: &Ask) -> Result<reqwest::Response, ProviderError> {
        let body = Body {
            model: &self.model,
            messages: &ask.messages,
            stream: true,
            stream_options: StreamOptions { include_usage: true },
            tools: ask.tools.iter().map(|function| Tool { kind: "function", function }).collect(),
            temperature: self.temperature,
            max_tokens: self.max_tokens,
        };
        let mut request =
            self.client.post(self.address.clone()).header(ACCEPT, "text/event-stream").json(&body);
        if let Some(key) = &self.key {
            let mut value =
                HeaderValue::try_from(format!("Bearer {}", key.expose().trim())).map_err(|_| {
                    ProviderError::Option { field: "apiKey", why: "no header can carry it".to_owned() }
                })?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let response = request.send().await.map_err(|error| broken(&error))?;
        if response.status().is_success() { Ok(response) } else { Err(self.refused(response).await) }
    }

    /// The vendor's message of a refusal, without our key.
    async fn refused(&self, response: reqwest::Response) -> ProviderError {
        let code = response.status().as_u16();
        let again = again(response.headers());
        let mut body = Vec::new();
        let mut stream = response.bytes_stream();
        while let Some(Ok(bytes)) = stream.next().await {
            body.extend_from_slice(&bytes);
            if body.len() > LONGEST_ERROR {
                break;
            }
        }
        body.truncate(LONGEST_ERROR);
        let body = self.redacted(&wire::message(&body));
        match again.filter(|_| matches!(code, 429 | 503)) {
            Some(again) => ProviderError::Busy { code, body, again },
            None => ProviderError::Status { code, body },
        }
    }

    /// Reads an event, or the whole of an answer that does not stream.
    fn read(&self, data: &str) -> Result<Chunk, ProviderError> {
        Chunk::read(data).map_err(|why| match why {
            wire::Bad::Shape(why) => ProviderError::Protocol(why),
            wire::Bad::Vendor(code, message) => ProviderError::Status { code, body: self.redacted(&message) },
        })
    }

    fn redacted(&self, message: &str) -> String {
        redacted(self.key.as_ref(), message)
    }
}

#[async_trait]
impl ChatModel for OpenAi {
    async fn run(&self, ask: Ask, answer: Sender<ModelOutput>) -> Result<(), ProviderError> {
        let response = self.ask(&ask).await?;
        let kind = shape::kind(response.headers());
        let mut taken = 0usize;
        let bytes = response.bytes_stream().map(move |bytes| {
            let bytes = bytes.map_err(|error| broken(&error))?;
            taken = taken.saturating_add(bytes.len());
            if taken > LONGEST_ANSWER {
                return Err(ProviderError::Protocol("the answer is too long".to_owned()));
            }
            Ok(bytes)
        });
        let mut whole = Answer::default();
        let events = match shape::of(bytes.boxed()).await? {
            Shape::Events(bytes) => bytes.eventsource(),
            Shape::Json(text) => {
                for output in whole.take(self.read(&text)?).into_iter().chain(whole.finish()?) {
                    answer.send(output).await.map_err(|_| ProviderError::Gone)?;
                }
                return Ok(());
            }
            Shape::Foreign => return Err(shape::foreign(&kind)),
        };
        let mut events = std::pin::pin!(events);
        let mut any = false;
        while let Some(event) = events.next().await {
            let event = event.map_err(of_stream)?;
            any = true;
            if event.data.trim() == "[DONE]" {
                break;
            }
            for output in whole.take(self.read(&event.data)?) {
                answer.send(output).await.map_err(|_| ProviderError::Gone)?;
            }
        }
        if !any && !kind.starts_with(shape::EVENTS) {
            return Err(shape::foreign(&kind));
        }
        // A server that closes without [DONE] has finished if it said why it stopped.
        for output in whole.finish()? {
            answer.send(output).await.map_err(|_| ProviderError::Gone)?;
        }
        Ok(())
    }
}

/// The client of all calls: it keeps connections open, and loading certificates takes a while.
fn client() -> Result<reqwest::Client, ProviderError> {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    if let Some(client) = CLIENT.get() {
        return Ok(client.clone());
    }
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT)
        // The key would go with them.
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| ProviderError::Connect(error.to_string()))?;
    Ok(CLIENT.get_or_init(|| client).clone())
}

/// How long the vendor wants to be left alone, where it tells it in seconds (RFC 9110 section 10.2.3) or, as OpenAI does,
/// in milliseconds. A date says nothing to us, who read no clock.
fn again(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms").map(|ms| ms / 1000.0).or_else(|| number("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn of_stream(error: eventsource_stream::EventStreamError<ProviderError>) -> ProviderError {
    match error {
        eventsource_stream::EventStreamError::Transport(error) => error,
        eventsource_stream::EventStreamError::Utf8(_) | eventsource_stream::EventStreamError::Parser(_) => {
            ProviderError::Protocol("the answer is no stream of events".to_owned())
        }
    }
}

/// A broken connection, without the address, which may carry a key.
fn broken(error: &reqwest::Error) -> ProviderError {
    let mut deepest = None;
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        deepest = Some(source);
        next = source.source();
    }
    let what = if error.is_connect() { "connecting failed" } else { "the connection broke" };
    let why = deepest.map(ToString::to_string).unwrap_or_default();
    ProviderError::Connect(format!("{what}: {}", why.chars().take(LONGEST_MESSAGE).collect::<String>()))
}

/// `base` with the path of chat completions.
fn address(base: &str) -> Result<reqwest::Url, ProviderError> {
    let wrong = |why: &str| ProviderError::Option { field: "baseUrl", why: why.to_owned() };
    let base = plain("baseUrl", base)?;
    let mut url = reqwest::Url::parse(&base)
        .map_err(|_| wrong("expected an address such as https://api.openai.com/v1"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("expected an address with http or https"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    if path.ends_with(SUFFIX) {
        url.set_path(&path);
    } else {
        url.set_path(&format!("{path}{SUFFIX}"));
    }
    Ok(url)
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: &'a [protocol::chat::Message],
    stream: bool,
    stream_options: StreamOptions,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
}

#[derive(Serialize)]
struct Tool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: &'a protocol::chat::ToolSpec,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn the_path_of_chat_completions_is_added_once() {
        for (base, whole) in [
            ("https://a.example/v1", "https://a.example/v1/chat/completions"),
            ("https://a.example/v1/", "https://a.example/v1/chat/completions"),
            ("https://a.example", "https://a.example/chat/completions"),
            ("https://a.example/v1/chat/completions", "https://a.example/v1/chat/completions"),
            ("https://a.example/v1?k=1", "https://a.example/v1/chat/completions?k=1"),
        ] {
            assert_eq!(address(base).unwrap().as_str(), whole);
        }
        assert!(address("a.example/v1").is_err());
        assert!(address("file:///etc").is_err());
    }
}
