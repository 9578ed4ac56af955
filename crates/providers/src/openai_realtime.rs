//! Speech to speech over OpenAI's Realtime API, of OpenAI, of Azure, or of any server that speaks it.
//!
//! Events as the API reference describes them (developers.openai.com, "Realtime", client and server events). The names
//! of the general availability are sent; those of the preview, such as `response.audio.delta`, are understood too, and
//! an address with `api-version` (the preview of Azure) is spoken to in the preview's shape.

use std::time::Duration;

use async_trait::async_trait;
use futures::{SinkExt, StreamExt};
use protocol::Secret;
use protocol::option::RealtimeOption;
use reqwest::Url;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use self::session::{Dialect, Session, Settings};
use crate::options::{plain, redacted, secret_or};
use crate::{ProviderError, Realtime, RealtimeInput, RealtimeOutput};

mod session;
mod wire;

/// Environment variables read where an option is absent.
pub(crate) const ENVIRONMENT: &[&str] = &["OPENAI_API_KEY"];
/// Options read.
pub(crate) const OPTIONS: &[&str] = &[
    "secretKey",
    "endpoint",
    "model",
    "voice",
    "turnDetection",
    "tools",
    "extra.instructions",
    "extra.voice",
    "extra.greeting",
    "extra.transcription",
];

const ADDRESS: &str = "wss://api.openai.com/v1";
/// Whom the key of this machine is for.
const OWN_HOST: Option<&str> = Some("api.openai.com");
const MODEL: &str = "gpt-realtime";
/// The API takes and gives no other rate of PCM.
const RATE: u32 = 24_000;
/// Longest message taken; sound comes in far smaller ones.
const LONGEST: usize = 4 << 20;
/// A server that has not opened the conversation within this time is not there.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest wait for the server to take what is sent.
const SEND: Duration = Duration::from_secs(10);
/// A sign of life is asked for so often, and a server without one for [`DEAD`] is gone.
const PING: Duration = Duration::from_secs(15);
const DEAD: Duration = Duration::from_secs(45);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// How the key travels.
#[derive(Clone, Copy)]
enum Auth {
    /// `Authorization: Bearer`.
    Bearer,
    /// Azure's `api-key`.
    ApiKey,
}

/// A model behind a server of the Realtime API.
pub struct OpenAiRealtime {
    address: Url,
    auth: Auth,
    key: Option<Secret>,
    settings: Settings,
}

/// OpenAI's, or with `endpoint` another server's. Errors: an address that is none.
pub(crate) fn openai(option: &RealtimeOption) -> Result<Box<dyn Realtime>, ProviderError> {
    let base = option.endpoint.clone().filter(|text| !text.trim().is_empty());
    let address = below(&base.unwrap_or_else(|| ADDRESS.to_owned()), "/realtime")?;
    let model = option.model.clone().unwrap_or_else(|| MODEL.to_owned());
    made(option, with_model(address, &model)?, Auth::Bearer)
}

/// Azure's, where `model` is the name of the deployment. Errors: no endpoint, or one that is no address.
pub(crate) fn azure(option: &RealtimeOption) -> Result<Box<dyn Realtime>, ProviderError> {
    let missing = |field, why: &str| ProviderError::Option { field, why: why.to_owned() };
    let base = option.endpoint.clone().filter(|text| !text.trim().is_empty());
    let base = base.ok_or_else(|| missing("endpoint", "missing: write wss://<resource>.openai.azure.com"))?;
    let model = option.model.clone().filter(|text| !text.trim().is_empty());
    let model = model.ok_or_else(|| missing("model", "missing: write the name of the deployment"))?;
    made(option, with_model(below(&base, "/openai/v1/realtime")?, &model)?, Auth::ApiKey)
}

/// The one whose address stands in `provider`. Errors: an address that is none.
pub(crate) fn at_address(option: &RealtimeOption) -> Result<Box<dyn Realtime>, ProviderError> {
    let address = address("provider", option.provider.as_deref().unwrap_or_default())?;
    let address = match &option.model {
        Some(model) => with_model(address, model)?,
        None => address,
    };
    made(option, address, Auth::Bearer)
}

fn made(option: &RealtimeOption, address: Url, auth: Auth) -> Result<Box<dyn Realtime>, ProviderError> {
    let preview = address.query_pairs().any(|(name, _)| name == "api-version");
    let key = match auth {
        // The key of another vendor must not go to Azure.
        Auth::ApiKey => option.secret_key.clone().filter(|key| !key.is_empty()),
        // Nor must the key of this machine go to whatever server an option names.
        Auth::Bearer if address.domain() != OWN_HOST => {
            option.secret_key.clone().filter(|key| !key.is_empty())
        }
        Auth::Bearer => secret_or(option.secret_key.as_ref(), "OPENAI_API_KEY"),
    };
    let dialect = if preview { Dialect::Preview } else { Dialect::General };
    let settings = Settings::new(option, dialect);
    Ok(Box::new(OpenAiRealtime { address, auth, key, settings }))
}

#[async_trait]
impl Realtime for OpenAiRealtime {
    fn rate(&self) -> u32 {
        RATE
    }

    async fn run(
        &self,
        mut input: Receiver<RealtimeInput>,
        output: Sender<RealtimeOutput>,
    ) -> Result<(), ProviderError> {
        let opened = timeout(CONNECT, self.connect()).await;
        let mut socket =
            opened.map_err(|_| ProviderError::Timeout { what: "connection", after: CONNECT })??;
        let mut session = Session::new(self.settings.clone());
        let mut pings = interval(PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut alive = Instant::now();
        send(&mut socket, session.open()).await?;
        loop {
            tokio::select! {
                message = socket.next() => {
                    alive = Instant::now();
                    let Some(text) = self.text(message)? else { continue };
                    let outputs = session.take(&text).map_err(|error| self.redacted(error))?;
                    for output_of in outputs {
                        output.send(output_of).await.map_err(|_| ProviderError::Gone)?;
                    }
                    send(&mut socket, session.due()).await?;
                }
                given = input.recv() => {
                    let Some(given) = given else {
                        // The far side may be gone already, which ends the conversation as well.
                        let _ = timeout(SEND, socket.close(None)).await;
                        return Ok(());
                    };
                    send(&mut socket, session.give(given)).await?;
                }
                () = output.closed() => return Err(ProviderError::Gone),
                _ = pings.tick() => {
                    if alive.elapsed() > DEAD {
                        return Err(ProviderError::Timeout { what: "sign of life", after: DEAD });
                    }
                    write(&mut socket, Message::Ping(Vec::new().into())).await?;
                }
            }
        }
    }
}

impl OpenAiRealtime {
    async fn connect(&self) -> Result<Socket, ProviderError> {
        let config = WebSocketConfig::default().max_message_size(Some(LONGEST)).max_frame_size(Some(LONGEST));
        let opened = connect_async_with_config(self.request()?, Some(config), true).await;
        match opened {
            Ok((socket, _)) => Ok(socket),
            Err(Error::Http(response)) => {
                let body = response.body().as_deref().unwrap_or_default();
                let body = redacted(self.key.as_ref(), &wire::refusal(body));
                Err(ProviderError::Status { code: response.status().as_u16(), body })
            }
            Err(error) => Err(self.broken(&error)),
        }
    }

    fn request(&self) -> Result<Request, ProviderError> {
        let refused = |field, why: &str| ProviderError::Option { field, why: why.to_owned() };
        let mut request = self
            .address
            .as_str()
            .into_client_request()
            .map_err(|_| refused("endpoint", "expected the address of a WebSocket"))?;
        let Some(key) = &self.key else { return Ok(request) };
        let (name, value) = match self.auth {
            Auth::Bearer => ("authorization", format!("Bearer {}", key.expose().trim())),
            Auth::ApiKey => ("api-key", key.expose().trim().to_owned()),
        };
        let mut value =
            HeaderValue::try_from(value).map_err(|_| refused("secretKey", "no header can carry it"))?;
        value.set_sensitive(true);
        request.headers_mut().insert(name, value);
        Ok(request)
    }

    /// The text of a message; `None` of one that carries none.
    fn text(&self, message: Option<Result<Message, Error>>) -> Result<Option<String>, ProviderError> {
        match message {
            Some(Ok(Message::Text(text))) => Ok(Some(text.to_string())),
            Some(Ok(Message::Close(frame))) => {
                let why = frame.map(|frame| frame.reason.to_string()).unwrap_or_default();
                let why = redacted(self.key.as_ref(), &why);
                Err(ProviderError::Connect(format!("the provider closed the conversation: {why}")))
            }
            None => Err(ProviderError::Connect("the provider closed the connection".to_owned())),
            Some(Ok(_)) => Ok(None),
            Some(Err(Error::Capacity(_))) => {
                Err(ProviderError::Protocol("a message is longer than 4 MiB".to_owned()))
            }
            Some(Err(error)) => Err(self.broken(&error)),
        }
    }

    fn broken(&self, error: &Error) -> ProviderError {
        ProviderError::Connect(redacted(self.key.as_ref(), &error.to_string()))
    }

    fn redacted(&self, error: ProviderError) -> ProviderError {
        match error {
            ProviderError::Status { code, body } => {
                ProviderError::Status { code, body: redacted(self.key.as_ref(), &body) }
            }
            other => other,
        }
    }
}

async fn send(socket: &mut Socket, events: Vec<serde_json::Value>) -> Result<(), ProviderError> {
    for event in events {
        write(socket, Message::text(event.to_string())).await?;
    }
    Ok(())
}

async fn write(socket: &mut Socket, message: Message) -> Result<(), ProviderError> {
    match timeout(SEND, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(ProviderError::Connect("the connection broke".to_owned())),
        Err(_) => Err(ProviderError::Timeout { what: "room for what is said", after: SEND }),
    }
}

fn address(field: &'static str, text: &str) -> Result<Url, ProviderError> {
    let wrong =
        || ProviderError::Option { field, why: "expected an address such as wss://api.openai.com/v1".into() };
    let text = plain(field, text)?;
    // The address of the same server for HTTP is what people have at hand.
    let text = match text.split_once("://") {
        Some(("https", rest)) => format!("wss://{rest}"),
        Some(("http", rest)) => format!("ws://{rest}"),
        _ => text,
    };
    let url = Url::parse(&text).map_err(|_| wrong())?;
    if matches!(url.scheme(), "ws" | "wss") && url.has_host() { Ok(url) } else { Err(wrong()) }
}

/// `base` with `path`, unless it leads to a `realtime` already.
fn below(base: &str, path: &str) -> Result<Url, ProviderError> {
    let mut url = address("endpoint", base)?;
    let own = url.path().trim_end_matches('/').to_owned();
    if !own.ends_with("/realtime") {
        url.set_path(&format!("{own}{path}"));
    }
    Ok(url)
}

fn with_model(mut url: Url, model: &str) -> Result<Url, ProviderError> {
    let model = plain("model", model)?;
    if !url.query_pairs().any(|(name, _)| name == "model" || name == "deployment") {
        // Azure's preview calls it by another name.
        let preview = url.query_pairs().any(|(name, _)| name == "api-version");
        url.query_pairs_mut().append_pair(if preview { "deployment" } else { "model" }, &model);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_to_the_realtime_api_with_the_model_once() {
        for (base, path, whole) in [
            ("https://api.openai.com/v1", "/realtime", "wss://api.openai.com/v1/realtime?model=m"),
            ("wss://a.example/v1/realtime?model=n", "/realtime", "wss://a.example/v1/realtime?model=n"),
            ("wss://r.example", "/openai/v1/realtime", "wss://r.example/openai/v1/realtime?model=m"),
            (
                "wss://r.example/openai/realtime?api-version=2025-04-01-preview",
                "/openai/v1/realtime",
                "wss://r.example/openai/realtime?api-version=2025-04-01-preview&deployment=m",
            ),
        ] {
            assert_eq!(with_model(below(base, path).unwrap(), "m").unwrap().as_str(), whole);
        }
        assert!(below("api.openai.com", "/realtime").is_err());
        assert!(below("file:///etc/passwd", "/realtime").is_err());
    }
}
