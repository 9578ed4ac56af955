//! A client of `/call`.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::Failure;

/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A call over a WebSocket.
pub(crate) struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// What came, and when.
pub(crate) enum Came {
    /// 20 ms of sound.
    Sound(Instant),
    /// An event.
    Event(Value),
}

impl Client {
    /// A call that is answered: PCM at 16 kHz, watched by the voice detector.
    pub(crate) async fn call(http: SocketAddr, id: &str) -> Result<Self, Failure> {
        let url = format!("ws://{http}/call?id={id}");
        let (socket, _) = timeout(PATIENCE, tokio_tungstenite::connect_async(url)).await??;
        if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
            stream.set_nodelay(true)?;
        }
        let mut client = Client { socket };
        let option = json!({"codec": "pcm", "sampleRate": 16000, "vad": {"type": "silero"}});
        client.send(&json!({"command": "invite", "option": option})).await?;
        client.until("answer").await?;
        Ok(client)
    }

    pub(crate) async fn send(&mut self, command: &Value) -> Result<(), Failure> {
        Ok(self.socket.send(Message::text(command.to_string())).await?)
    }

    pub(crate) async fn say(&mut self, sound: Vec<u8>) -> Result<(), Failure> {
        Ok(self.socket.send(Message::binary(sound)).await?)
    }

    /// The next thing that comes.
    pub(crate) async fn next(&mut self) -> Result<Came, Failure> {
        loop {
            match timeout(PATIENCE, self.socket.next()).await?.ok_or("the server has closed")?? {
                Message::Binary(_) => return Ok(Came::Sound(Instant::now())),
                Message::Text(text) => return Ok(Came::Event(serde_json::from_str(&text)?)),
                _ => {}
            }
        }
    }

    /// Waits for an event of this name; what comes before it is passed over.
    pub(crate) async fn until(&mut self, name: &str) -> Result<Value, Failure> {
        loop {
            if let Came::Event(event) = self.next().await? {
                if event["event"] == name {
                    return Ok(event);
                }
                if event["event"] == "error" {
                    return Err(event.to_string().into());
                }
            }
        }
    }
}
