//! SIP over a WebSocket (RFC 7118): each message is one frame, the sub-protocol is `sip`.

use std::io;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::header::{HOST, ORIGIN};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config, client_async_with_config};

use super::connection::{Ends, Heard, IDLE, KEEP_ALIVE, within};
use crate::message::MAX_MESSAGE;

const PROTOCOL: &str = "sec-websocket-protocol";

pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    ends: &mut Ends,
    origins: &[String],
) -> io::Result<()> {
    #[allow(clippy::result_large_err, reason = "the trait of the library asks for it")]
    let judge = |request: &Request, response: Response| agree(request, response, origins);
    let upgraded = accept_hdr_async_with_config(stream, judge, Some(limits()));
    let socket = within(async { upgraded.await.map_err(io::Error::other) }).await?;
    carry(socket, ends).await
}

pub(super) async fn connect(stream: impl AsyncRead + AsyncWrite + Unpin, ends: &mut Ends) -> io::Result<()> {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let scheme = if ends.hop.transport.is_secure() { "wss" } else { "ws" };
    let host = match &ends.hop.name {
        Some(name) => format!("{name}:{}", ends.hop.address.port()),
        None => ends.hop.address.to_string(),
    };
    let mut request = format!("{scheme}://{host}/").into_client_request().map_err(io::Error::other)?;
    request.headers_mut().insert(PROTOCOL, HeaderValue::from_static("sip"));
    let upgraded = client_async_with_config(request, stream, Some(limits()));
    let (socket, _) = within(async { upgraded.await.map_err(io::Error::other) }).await?;
    carry(socket, ends).await
}

fn limits() -> WebSocketConfig {
    let mut config = WebSocketConfig::default();
    config.max_message_size = Some(MAX_MESSAGE);
    config.max_frame_size = Some(MAX_MESSAGE);
    config.max_write_buffer_size = 1 << 20;
    config
}

/// Only a client that speaks SIP gets through, and of web pages only those of this host and of the listed origins: any
/// other would call with the address, and so the rights, of whoever looks at it.
#[allow(clippy::result_large_err, reason = "the trait of the library asks for it")]
fn agree(request: &Request, mut response: Response, origins: &[String]) -> Result<Response, ErrorResponse> {
    if !may_open(request, origins) {
        let mut refusal = ErrorResponse::new(Some("pages of this origin may not call".to_owned()));
        *refusal.status_mut() = StatusCode::FORBIDDEN;
        return Err(refusal);
    }
    let offered = request.headers().get_all(PROTOCOL).iter().filter_map(|row| row.to_str().ok());
    let sip = offered.flat_map(|row| row.split(',')).any(|name| name.trim().eq_ignore_ascii_case("sip"));
    if !sip {
        let mut refusal = ErrorResponse::new(Some("the sub-protocol is sip".to_owned()));
        *refusal.status_mut() = StatusCode::BAD_REQUEST;
        return Err(refusal);
    }
    response.headers_mut().insert(PROTOCOL, HeaderValue::from_static("sip"));
    Ok(response)
}

/// Whether the page that asks may: a browser always says which it is.
fn may_open(request: &Request, origins: &[String]) -> bool {
    let mut named = request.headers().get_all(ORIGIN).iter();
    let (origin, host) = match (named.next(), named.next()) {
        (None, _) => return true,
        (Some(origin), None) => (origin.to_str(), request.headers().get(HOST).map(HeaderValue::to_str)),
        (Some(_), Some(_)) => return false,
    };
    let Ok(origin) = origin else { return false };
    let listed = origins.iter().any(|listed| listed == "*" || listed.eq_ignore_ascii_case(origin));
    let place = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let own = matches!((place.map(place_of), host), (Some(page), Some(Ok(host))) if page.eq_ignore_ascii_case(place_of(host)));
    listed || own
}

/// The host without its port: the page comes from the port of a web server, and SIP is spoken on another.
fn place_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

async fn carry<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: WebSocketStream<S>,
    ends: &mut Ends,
) -> io::Result<()> {
    let stalled = ends.limits.stalled;
    let mut heard = Instant::now();
    let mut keep_alive = heard + KEEP_ALIVE;
    loop {
        tokio::select! {
            biased;
            message = ends.outbox.recv() => match message {
                Some(message) => send(&mut socket, framed(message), stalled).await?,
                None => return send(&mut socket, Message::Close(None), stalled).await,
            },
            frame = socket.next() => {
                heard = Instant::now();
                let message = match frame {
                    Some(Ok(Message::Text(text))) => text.as_bytes().to_vec(),
                    Some(Ok(Message::Binary(bytes))) => bytes.to_vec(),
                    Some(Ok(Message::Close(_)) | Err(Error::ConnectionClosed)) | None => return Ok(()),
                    Some(Ok(_)) => continue,
                    Some(Err(error)) => return Err(io::Error::other(error)),
                };
                if ends.inbox.send(Heard::Message(ends.hop.clone(), message)).await.is_err() {
                    return Ok(());
                }
            }
            () = tokio::time::sleep_until(keep_alive) => {
                if heard.elapsed() > IDLE {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                keep_alive = Instant::now() + KEEP_ALIVE;
                send(&mut socket, Message::Ping(Vec::new().into()), stalled).await?;
            }
        }
    }
}

/// Text if it is text, as browsers expect it.
fn framed(message: Vec<u8>) -> Message {
    match String::from_utf8(message) {
        Ok(text) => Message::text(text),
        Err(error) => Message::binary(error.into_bytes()),
    }
}

/// A peer that takes nothing for too long ends its own connection.
async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
    message: Message,
    stalled: Duration,
) -> io::Result<()> {
    match timeout(stalled, socket.send(message)).await {
        Ok(sent) => sent.map_err(io::Error::other),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
