//! A server that follows OpenAI's reference of the Realtime API (developers.openai.com/api/reference/resources/realtime,
//! client events and server events), and can misbehave.

use futures::{SinkExt, StreamExt};
use protocol::option::RealtimeOption;
use protocol::value::Secret;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

/// Messages that may wait each way; more than a test leaves unread.
const MESSAGES: usize = 64;
pub(crate) const KEY: &str = "sk-realtime-0123456789";

/// A conversation from the server's side: the test writes what the vendor says and reads what it was told.
pub(crate) struct Server {
    pub(crate) option: RealtimeOption,
    /// Path and query of the connection, then each event in order.
    pub(crate) told: Receiver<Value>,
    say: Sender<Message>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    #[expect(clippy::disallowed_methods, reason = "the task ends with the server")]
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("ws://{}/v1", listener.local_addr().unwrap());
        let (say, words) = channel(MESSAGES);
        let (tell, told) = channel(MESSAGES);
        let task = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            talk(stream, words, tell).await;
        });
        let option = RealtimeOption {
            provider: Some("openai".to_owned()),
            endpoint: Some(endpoint),
            secret_key: Some(Secret::new(KEY)),
            ..RealtimeOption::default()
        };
        Server { option, told, say, task }
    }

    pub(crate) fn say(&self, event: &Value) {
        self.send(Message::text(event.to_string()));
    }

    pub(crate) fn send(&self, message: Message) {
        self.say.try_send(message).unwrap();
    }

    /// The next thing the server is told.
    pub(crate) async fn told(&mut self) -> Value {
        let waited = tokio::time::timeout(std::time::Duration::from_secs(20), self.told.recv());
        waited.await.expect("the server is told something").unwrap()
    }

    /// Waits for `session.update` and takes it.
    pub(crate) async fn opened(&mut self) -> Value {
        let _path = self.told().await;
        let update = self.told().await;
        assert_eq!(update["type"], "session.update");
        self.say(&json!({ "type": "session.updated", "session": update["session"] }));
        update
    }
}

async fn talk(stream: TcpStream, mut words: Receiver<Message>, tell: Sender<Value>) {
    let mut path = String::new();
    #[expect(clippy::result_large_err, reason = "the library's own type")]
    let check = |request: &Request, response: Response| {
        path = request.uri().to_string();
        let key = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        if key == Some(&format!("Bearer {KEY}")) {
            return Ok(response);
        }
        // The reference's shape of a refusal; like the vendor it repeats the key.
        let body = json!({ "error": { "message": format!("Incorrect API key provided: {key:?}") } });
        let mut refused = ErrorResponse::new(Some(body.to_string()));
        *refused.status_mut() = tokio_tungstenite::tungstenite::http::StatusCode::UNAUTHORIZED;
        Err(refused)
    };
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, check).await else { return };
    let _ = tell.send(json!(path)).await;
    run(&mut socket, &mut words, &tell).await;
}

async fn run(socket: &mut WebSocketStream<TcpStream>, words: &mut Receiver<Message>, tell: &Sender<Value>) {
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    let _ = tell.send(serde_json::from_str(&text).unwrap()).await;
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            message = words.recv() => {
                let Some(message) = message else { return };
                if socket.send(message).await.is_err() {
                    return;
                }
            }
        }
    }
}
