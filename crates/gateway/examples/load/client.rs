//! The other side of the server: the webhook that is told of each call, and the client that takes it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::{Json, State};
use axum::routing::post;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::Failure;
use crate::talk::Plan;

/// Takes every call and keeps a file playing in it.
#[derive(Clone)]
pub(crate) struct Client {
    http: SocketAddr,
    play: String,
    recorded: bool,
    calls: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
}

impl Client {
    /// Listens for the webhook. Calls that are `recorded` are also watched by the voice detector, and their
    /// events written down.
    pub(crate) async fn listen(plan: &Plan, http: SocketAddr) -> Result<Self, Failure> {
        let Plan { webhook, play, recorded, .. } = plan;
        let (play, recorded) = (play.clone(), *recorded);
        let client = Client { http, play, recorded, calls: Arc::default(), failed: Arc::default() };
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, *webhook)).await?;
        let app = axum::Router::new().route("/", post(announced)).with_state(client.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(client)
    }

    /// Calls that were taken, and connections that failed.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.calls.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    async fn control(&self, id: &str) -> Result<(), Failure> {
        let escaped: String = id.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let url = format!("ws://{}/call/sip?id={escaped}&dump={}", self.http, self.recorded);
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await?;
        self.calls.fetch_add(1, Ordering::Relaxed);
        let option = match self.recorded {
            true => json!({"vad": {"type": "silero"}, "recorder": {"samplerate": 16000}}),
            false => json!({}),
        };
        socket.send(Message::text(json!({"command": "accept", "option": option}).to_string())).await?;
        let play = json!({"command": "play", "url": self.play}).to_string();
        while let Some(message) = socket.next().await {
            let Message::Text(text) = message? else { continue };
            let event: Value = serde_json::from_str(&text)?;
            let ended = event["event"] == "trackEnd" && event["trackId"] == "server-side-track";
            if event["event"] == "answer" || ended {
                socket.send(Message::text(play.clone())).await?;
            }
        }
        Ok(())
    }
}

async fn announced(State(client): State<Client>, Json(body): Json<Value>) -> &'static str {
    let id = body["dialogId"].as_str().unwrap_or_default().to_owned();
    tokio::spawn(async move {
        if client.control(&id).await.is_err() {
            client.failed.fetch_add(1, Ordering::Relaxed);
        }
    });
    "ok"
}
