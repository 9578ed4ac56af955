//! The model of ends of turns that a call's client names (`option.eou`), when it behaves and when it does not.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::egress::{Server, file};
use crate::rig::{Client, Rig};

/// Half a megabyte, which no verdict is.
const ENDLESS: usize = 512 << 10;

async fn called(rig: &Rig, endpoint: &str) -> Client {
    let mut client = rig.connect("/call").await;
    let option = json!({
        "codec": "pcm", "sampleRate": 16000, "vad": {}, "asr": {"provider": "fake"},
        "eou": {"endpoint": endpoint, "timeout": 3000},
    });
    client.send(json!({"command": "invite", "option": option})).await;
    client
}

/// What follows when the caller says something: the verdict, and what went wrong.
async fn verdict(rig: &Rig, endpoint: &str) -> (Value, Option<String>) {
    let mut client = called(rig, endpoint).await;
    client.event("answer").await;
    let speech = testkit::caller::speech(Duration::from_secs(1));
    let mut frames = tokio::time::interval(Duration::from_millis(20));
    for frame in speech.chunks(320).chain([[0; 320].as_slice(); 75]) {
        frames.tick().await;
        client.sound(frame.iter().flat_map(|sample| sample.to_le_bytes()).collect()).await;
    }
    let verdict = client.event("eou").await;
    let trouble = client.events.iter().find(|event| event["event"] == "error");
    let trouble = trouble.map(|event| format!("{}: {}", event["sender"], event["error"]));
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    (verdict["completed"].clone(), trouble)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_misbehaves_leaves_the_end_of_the_turn_to_the_silence() {
    let rig = Rig::start_with(|config| config.egress.allow = vec!["127.0.0.1".to_owned()]).await;
    let no = br#"{"completed": false}"#;
    let refusal = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n".to_vec();
    let servers = [
        (Server::answering(file(no.len(), no)).await, false, None),
        (Server::answering(file(5, b"true\n")).await, true, None),
        (Server::answering(Vec::new()).await, true, Some("in time")),
        (Server::answering(refusal).await, true, Some("500")),
        (Server::answering(file(ENDLESS, &[b' '; ENDLESS])).await, true, Some("larger than")),
        (Server::answering(file(6, b"<html>")).await, true, Some("no verdict")),
        (Server::redirecting("http://169.254.169.254/").await, true, Some("egress.allow")),
    ];
    let verdicts = servers.iter().map(|(server, completed, trouble)| {
        let rig = &rig;
        async move {
            let (verdict, told) = verdict(rig, &format!("http://{}/", server.address)).await;
            assert_eq!(verdict, *completed, "{told:?}");
            match (trouble, told) {
                (None, None) => {}
                (Some(part), Some(told)) => assert!(told.contains("eou") && told.contains(part), "{told}"),
                (expected, told) => panic!("{told:?} instead of {expected:?}"),
            }
        }
    });
    join_all(verdicts).await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_does_not_choose_a_private_address_of_a_model() {
    let rig = Rig::start().await;
    let mut client = called(&rig, "http://10.0.0.1/").await;
    let told = client.event("error").await;
    assert!(told["error"].as_str().unwrap().contains("option.eou.endpoint"), "{told}");
    rig.server.stop().await;
}
