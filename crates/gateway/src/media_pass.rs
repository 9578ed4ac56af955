//! Programs that take over the sound of a call (`mediaPass`): we are their WebSocket client.

use std::ops::ControlFlow;
use std::time::Duration;

use async_trait::async_trait;
use call::setup::{MediaPass, MediaPasses, Sound};
use futures::{SinkExt, StreamExt};
use providers::Hearing;
use reqwest::Url;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use crate::egress::Egress;
use crate::egress::guard::Guard;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// Pauses before a connection that broke is made again; after the last one it is given up.
const PAUSES: [Duration; 3] = [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];
/// How long a program may take to answer our goodbye.
const FAREWELL: Duration = Duration::from_secs(1);
/// Largest message of the program, as of a client of `/call`: half a minute of sound at 16 kHz. It is read as fast as it is
/// played: while the call has four seconds to play, the program waits.
const MAX_MESSAGE: usize = 1024 * 1024;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Connects to programs at addresses that may be reached.
#[derive(Clone, Debug)]
pub struct Passes {
    guard: Guard,
}

impl Passes {
    /// Programs at addresses that `egress` lets reach.
    pub fn new(egress: &Egress) -> Self {
        Passes { guard: egress.guard().clone() }
    }

    async fn connect(&self, pass: &MediaPass) -> Result<Socket, String> {
        let mut url = Url::parse(&pass.url).map_err(|e| format!("no address: {e}"))?;
        if !matches!(url.scheme(), "ws" | "wss") {
            return Err("only ws and wss addresses take sound".into());
        }
        url.query_pairs_mut()
            .append_pair("sample_rate", &pass.output_hz.to_string())
            .append_pair("packet_size", &pass.packet_bytes.to_string());
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        // The connection goes to the address that was judged, so a name cannot change in between.
        let addresses = self.guard.addresses(&host, port).await?;
        let stream = TcpStream::connect(&addresses[..]).await.map_err(|e| format!("{host}: {e}"))?;
        // Sound is small messages that must not wait for each other.
        let _ = stream.set_nodelay(true);
        let limits =
            WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
        let mut request = url.as_str().into_client_request().map_err(|e| e.to_string())?;
        for (name, value) in &pass.headers {
            let header = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()));
            let (Ok(name), Ok(mut value)) = header else { return Err(format!("headers: {name:?} is none")) };
            value.set_sensitive(true);
            request.headers_mut().insert(name, value);
        }
        let connected = client_async_tls_with_config(request, stream, Some(limits), None).await;
        connected.map(|(socket, _)| socket).map_err(|e| format!("{host}: {e}"))
    }
}

#[async_trait]
impl MediaPasses for Passes {
    async fn run(
        &self,
        pass: MediaPass,
        mut heard: mpsc::Receiver<Hearing>,
        said: mpsc::Sender<Sound>,
    ) -> Result<(), String> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let connected = timeout(CONNECT, self.connect(&pass)).await;
            let failed = match connected.unwrap_or_else(|_| Err("no connection in time".into())) {
                Ok(socket) => match exchange(socket, &pass, &mut heard, &said).await {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            let Some(pause) = pauses.next() else { return Err(format!("mediaPass: {failed}")) };
            tracing::warn!(error = failed, ?pause, "the connection of mediaPass is made again");
            // What was heard meanwhile is old when the program is back.
            let passed = async { while heard.recv().await.is_some() {} };
            if timeout(pause, passed).await.is_ok() {
                return Ok(());
            }
        }
    }
}

/// Carries sound both ways until the call or, by closing, the program ends it.
async fn exchange(
    socket: Socket,
    pass: &MediaPass,
    heard: &mut mpsc::Receiver<Hearing>,
    said: &mpsc::Sender<Sound>,
) -> Result<(), String> {
    let mut open = Open(Some(socket));
    let Some(socket) = &mut open.0 else { return Ok(()) };
    let (mut sink, mut stream) = socket.split();
    let size = pass.packet_bytes as usize;
    let speak = async {
        let mut waiting: Vec<u8> = Vec::with_capacity(2 * size);
        while let Some(hearing) = heard.recv().await {
            let Hearing::Audio { samples, .. } = hearing else { continue };
            waiting.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
            while waiting.len() >= size {
                let packet: Bytes = waiting.drain(..size).collect::<Vec<u8>>().into();
                sink.send(Message::Binary(packet)).await.map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    };
    let listen = async {
        let mut half: Option<u8> = None;
        let mut pieces = Pieces::new(pass);
        loop {
            let next = timeout(pieces.patience(), stream.next()).await;
            let Ok(message) = next else {
                if give(said, pass, pieces.fill()).await.is_break() {
                    return Ok(());
                }
                continue;
            };
            let Some(message) = message else { break };
            match message.map_err(|e| e.to_string())? {
                Message::Binary(bytes) => {
                    pieces.waiting.extend(samples(&mut half, &bytes));
                    if give(said, pass, pieces.whole()).await.is_break() {
                        return Ok(());
                    }
                }
                Message::Close(frame) => return ending(frame),
                _ => {}
            }
        }
        Err("the connection broke off".to_owned())
    };
    tokio::select! {
        ended = speak => ended,
        ended = listen => ended,
    }
}

/// Gives what the program says to the call, a second at most at a time; breaks off when nobody takes it any more.
async fn give(said: &mpsc::Sender<Sound>, pass: &MediaPass, samples: Vec<i16>) -> ControlFlow<()> {
    for piece in samples.chunks(pass.input_hz.max(1) as usize) {
        if said.send(Sound { rate: pass.input_hz, samples: piece.into() }).await.is_err() {
            return ControlFlow::Break(());
        }
    }
    ControlFlow::Continue(())
}

/// What the program says on its way to pieces of `ptime`.
struct Pieces {
    /// Samples of a piece.
    length: usize,
    ptime: Duration,
    waiting: Vec<i16>,
}

impl Pieces {
    fn new(pass: &MediaPass) -> Self {
        let length = (pass.ptime.as_millis() as usize * pass.input_hz as usize / 1000).max(1);
        Pieces { length, ptime: pass.ptime, waiting: Vec::new() }
    }

    /// The whole pieces that are there.
    fn whole(&mut self) -> Vec<i16> {
        let rest = self.waiting.split_off(self.waiting.len() / self.length * self.length);
        std::mem::replace(&mut self.waiting, rest)
    }

    /// What is there, filled up with silence.
    fn fill(&mut self) -> Vec<i16> {
        let mut last = std::mem::take(&mut self.waiting);
        last.resize(last.len().next_multiple_of(self.length), 0);
        last
    }

    /// How long a piece that is not whole waits for the rest.
    fn patience(&self) -> Duration {
        if self.waiting.is_empty() { Duration::MAX } else { self.ptime }
    }
}

/// Whether a program that closes has ended its work. One that closes for another reason, such as a restart, has not:
/// the connection is lost then (RFC 6455 section 7.4.1).
fn ending(frame: Option<CloseFrame>) -> Result<(), String> {
    match frame {
        Some(frame) if frame.code != CloseCode::Normal => {
            let (code, reason) = (u16::from(frame.code), protocol::read::shown(&frame.reason));
            Err(format!("the program closed the connection with {code} {reason}").trim_end().to_owned())
        }
        Some(_) | None => Ok(()),
    }
}

/// A connection that is closed as it should be however it ends: the work of a call is dropped with the call, and the
/// goodbye outlives it for a second at most.
struct Open(Option<Socket>);

impl Drop for Open {
    fn drop(&mut self) {
        let (Some(mut socket), Ok(runtime)) = (self.0.take(), Handle::try_current()) else { return };
        let farewell = async move {
            let frame = CloseFrame { code: CloseCode::Normal, reason: "the call has ended".into() };
            // A program that is gone needs no goodbye, and one that goes on talking is not listened to.
            if socket.close(Some(frame)).await.is_ok() {
                while let Some(Ok(_)) = socket.next().await {}
            }
        };
        runtime.spawn(timeout(FAREWELL, farewell));
    }
}

/// The samples of a message; a byte that is left over waits for the next one.
fn samples(half: &mut Option<u8>, bytes: &[u8]) -> Vec<i16> {
    let whole: Vec<u8> = half.take().into_iter().chain(bytes.iter().copied()).collect();
    let (pairs, rest) = whole.as_chunks::<2>();
    *half = rest.first().copied();
    pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_restarts_is_lost_and_one_that_has_done_is_done() {
        let closed = |code: u16| ending(Some(CloseFrame { code: code.into(), reason: "busy".into() }));
        assert_eq!((closed(1000), ending(None)), (Ok(()), Ok(())));
        for code in [1001, 1011, 1012, 4000] {
            assert!(closed(code).unwrap_err().contains(&format!("{code} busy")));
        }
    }

    #[test]
    fn sound_is_given_in_pieces_of_the_length_asked_for_and_a_rest_is_filled_up() {
        let pass = |ms| MediaPass {
            url: String::new(),
            input_hz: 8_000,
            output_hz: 8_000,
            packet_bytes: 320,
            ptime: Duration::from_millis(ms),
            headers: protocol::Headers::default(),
        };
        let mut pieces = Pieces::new(&pass(20));
        pieces.waiting.extend([7; 400]);
        assert_eq!(pieces.whole(), [7; 320]);
        assert_eq!(pieces.patience(), Duration::from_millis(20));
        let rest = pieces.fill();
        assert_eq!((rest.len(), rest[79], rest[80]), (160, 7, 0));
        assert_eq!(pieces.patience(), Duration::MAX);
        let mut at_once = Pieces::new(&pass(0));
        at_once.waiting.extend([7; 401]);
        assert_eq!(at_once.whole().len(), 401);
    }

    #[test]
    fn a_sample_that_is_cut_by_messages_stays_whole() {
        let mut half = None;
        assert_eq!(samples(&mut half, &[1, 0, 2]), [1]);
        assert_eq!(samples(&mut half, &[0, 3, 0]), [2, 3]);
        assert_eq!(half, None);
    }
}
