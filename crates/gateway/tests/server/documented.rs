//! Every example of the API's documents, sent to a call in the state it is for: each is understood whole, answered by
//! the events that are promised, and by no other complaint.

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::inbound_sip::{PLAYBOOK, hook, webhooks};
use crate::rig::{Client, PATIENCE, Rig};

/// One example a line: the state of the call it is for, the message, and events that follow in this order, each with
/// the fields that matter.
const EXAMPLES: &str = include_str!("fixtures/documented.jsonl");

/// A server with a neighbour that calls it, answers it, and offers a file.
struct Stage {
    rig: Rig,
    /// Calls of the neighbour arrive here, and wait for a client.
    announced: mpsc::Receiver<(axum::http::HeaderMap, Value)>,
    neighbour: Rig,
    http: String,
}

/// A client, its id, and a caller who must stay until the example is over.
struct Scene {
    client: Client,
    id: String,
    _caller: Option<Client>,
}

impl Stage {
    async fn set() -> Stage {
        let (url, announced) = hook(StatusCode::OK).await;
        let rig = Rig::start_with(|config| {
            webhooks(config, &[url]);
            config.egress.allow = vec!["127.0.0.1".into()];
        })
        .await;
        rig.tone("tone.wav");
        std::fs::write(rig.path("playbook/assistant.md"), PLAYBOOK).unwrap();
        let neighbour =
            Rig::start_with(|config| crate::inbound_sip::playbooks(config, vec![], Some("answer.md"))).await;
        std::fs::write(neighbour.path("playbook/answer.md"), PLAYBOOK).unwrap();
        let http = serve(std::fs::read(rig.path("sounds/tone.wav")).unwrap()).await;
        Stage { rig, announced, neighbour, http }
    }

    /// A call in the state that an example is for.
    async fn scene(&mut self, number: usize, on: &str) -> Scene {
        let id = format!("example-{number}");
        match on {
            "up" => {
                let mut client = self.rig.connect(&format!("/call?id={id}")).await;
                let option = json!({"tts": {"provider": "fake"}});
                client.send(json!({"command": "invite", "option": option})).await;
                client.event("answer").await;
                Scene { client, id, _caller: None }
            }
            "waiting" => {
                let mut caller = self.neighbour.connect(&format!("/call/sip?id={id}")).await;
                let callee = format!("sip:desk@{}", self.rig.server.sip_addr());
                caller.send(json!({"command": "invite", "option": {"callee": callee}})).await;
                let (_, body) = timeout(PATIENCE, self.announced.recv()).await.unwrap().unwrap();
                let id = body["dialogId"].as_str().unwrap().to_owned();
                let mut client = self.rig.connect(&format!("/call/sip?id={id}")).await;
                client.event("incoming").await;
                Scene { client, id, _caller: Some(caller) }
            }
            path => {
                let client = self.rig.connect(&format!("{path}?id={id}")).await;
                Scene { client, id, _caller: None }
            }
        }
    }
}

/// A web server with the one file `tone.wav`, and a program at `/media` that takes over the sound of calls.
async fn serve(file: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let media = |upgrade: WebSocketUpgrade| async {
        upgrade.on_upgrade(|mut socket| async move { while let Some(Ok(_)) = socket.recv().await {} })
    };
    let router = Router::new()
        .route("/tone.wav", axum::routing::get(|| async { file }))
        .route("/media", axum::routing::any(media));
    #[expect(clippy::disallowed_methods, reason = "the stand-in server lives as long as its test")]
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// Whether `event` has every field of `wanted` with its value.
fn holds(event: &Value, wanted: &Value) -> bool {
    wanted.as_object().unwrap().iter().all(|(key, value)| event[key] == *value)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_message_is_understood_and_answered_as_promised() {
    let mut stage = Stage::set().await;
    let callee = format!("sip:front@{}", stage.neighbour.server.sip_addr());
    for (number, line) in EXAMPLES.lines().enumerate() {
        let on: Value = serde_json::from_str(line).unwrap();
        let mut scene = stage.scene(number, on["on"].as_str().unwrap()).await;
        let line = line.replace("{callee}", &callee).replace("{http}", &stage.http);
        let line = line.replace("{ws}", &stage.http.replace("http", "ws"));
        let example: Value =
            serde_json::from_str(&line.replace("\"{id}\"", &format!("\"{}\"", scene.id))).unwrap();
        println!("{}", example["send"]);
        scene.client.events.clear();
        scene.client.send(example["send"].clone()).await;
        for wanted in example["then"].as_array().unwrap() {
            let event = scene.client.event(wanted["event"].as_str().unwrap()).await;
            assert!(holds(&event, wanted), "{line}: {event}");
        }
        let over = scene.client.events.iter().any(|event| event["event"] == "hangup");
        if !over && on["on"] != "/call/webrtc" {
            scene.client.send(json!({"command": "history", "speaker": "test", "text": "mark"})).await;
            while scene.client.event("addHistory").await["text"] != "mark" {}
        }
        let events = &scene.client.events;
        let unknown: Vec<_> =
            events.iter().filter(|e| e["event"] == "other" && e["sender"] == "command").collect();
        assert!(unknown.is_empty(), "{line}: {unknown:?}");
        let errors = events.iter().filter(|event| event["event"] == "error").count();
        let then = example["then"].as_array().unwrap().iter();
        let wanted = then.filter(|wanted| wanted["event"] == "error").count();
        assert_eq!(errors, wanted, "{line}: {events:?}");
    }
    stage.rig.server.stop().await;
    stage.neighbour.server.stop().await;
}
