//! A program that takes over the sound of a call.

use futures::{SinkExt, StreamExt};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::rig::{Client, PATIENCE, Rig};

/// A program that says half a second of a tone and then tells what it was asked and hears.
async fn program() -> (String, mpsc::Receiver<String>, mpsc::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/media?tenant=9", listener.local_addr().unwrap());
    let (asked_in, asked) = mpsc::channel(4);
    let (sizes_in, sizes) = mpsc::channel(1000);
    #[expect(clippy::disallowed_methods, reason = "the stand-in program lives as long as its test")]
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        #[expect(clippy::result_large_err, reason = "the signature is that of the library")]
        let note = |request: &Request, response: Response| {
            let key = request.headers().get("authorization").map_or("", |value| value.to_str().unwrap());
            asked_in.try_send(format!("{} {key}", request.uri())).unwrap();
            Ok(response)
        };
        let mut socket = tokio_tungstenite::accept_hdr_async(stream, note).await.unwrap();
        let tone = testkit::cast::tone(400, std::time::Duration::from_millis(500));
        let bytes: Vec<u8> = tone.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        // Cut within a sample, as networks like to.
        for piece in bytes.chunks(999) {
            socket.send(Message::binary(piece.to_vec())).await.unwrap();
        }
        while let Some(message) = socket.next().await {
            match message.expect("the connection is closed and not broken off") {
                Message::Binary(packet) => drop(sizes_in.try_send(packet.len())),
                Message::Close(frame) => drop(asked_in.try_send(format!("closed {}", frame.unwrap().code))),
                _ => {}
            }
        }
    });
    (url, asked, sizes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_heard_and_hears_in_packets_of_the_size_it_wants() {
    let (url, mut asked, mut sizes) = program().await;
    let rig = Rig::start_with(|config| config.egress.allow = vec!["127.0.0.1".into()]).await;
    let mut client = rig.connect("/call").await;
    let pass = json!({
        "url": url, "inputSampleRate": 16000, "outputSampleRate": 8000, "packetSize": 320,
        "headers": {"Authorization": "Bearer s3cret"},
    });
    client.send(json!({"command": "invite", "option": {"codec": "pcm", "mediaPass": pass}})).await;
    let opened = timeout(PATIENCE, asked.recv()).await.unwrap().unwrap();
    assert!(opened.ends_with("sample_rate=8000&packet_size=320 Bearer s3cret"), "{opened}");
    for _ in 0..30 {
        client.sound(vec![7; 640]).await;
    }
    assert_eq!(timeout(PATIENCE, sizes.recv()).await.unwrap().unwrap(), 320);
    client.heard(12_000).await;
    let samples = client.sound.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair));
    assert!(samples.filter(|sample| sample.unsigned_abs() > 1000).count() > 3000);
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    assert_eq!(timeout(PATIENCE, asked.recv()).await.unwrap().unwrap(), "closed 1000");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_wants_single_frames_gets_single_frames() {
    let (url, _asked, mut sizes) = program().await;
    let rig = Rig::start_with(|config| config.egress.allow = vec!["127.0.0.1".into()]).await;
    let mut client = rig.connect("/call").await;
    let pass = json!({"url": url, "inputSampleRate": 16000, "outputSampleRate": 16000, "packetSize": 640});
    client.send(json!({"command": "invite", "option": {"codec": "pcm", "mediaPass": pass}})).await;
    for _ in 0..50 {
        assert_eq!(timeout(PATIENCE, sizes.recv()).await.unwrap().unwrap(), 640);
    }
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    rig.server.stop().await;
}

/// How a program ends its first connection.
#[derive(Clone, Copy)]
enum First {
    /// As one does that restarts.
    Closed,
    /// As one does that crashes: without a word.
    Broken,
}

/// A program that says all it has in one message, on every connection but the first.
async fn restarting(said: Vec<u8>, first: First) -> (String, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let (made_in, made) = mpsc::channel(4);
    #[expect(clippy::disallowed_methods, reason = "the stand-in program lives as long as its test")]
    tokio::spawn(async move {
        for nth in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            made_in.try_send(()).unwrap();
            match first {
                First::Broken if nth == 0 => continue,
                First::Closed if nth == 0 => {
                    let frame = CloseFrame { code: CloseCode::Restart, reason: "an update".into() };
                    socket.close(Some(frame)).await.unwrap();
                }
                _ => socket.send(Message::binary(said.clone())).await.unwrap(),
            }
            while let Some(Ok(_)) = socket.next().await {}
        }
    });
    (url, made)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_restarts_or_breaks_off_is_reached_again_and_may_say_much_at_once() {
    for first in [First::Closed, First::Broken] {
        is_reached_again(first).await;
    }
}

async fn is_reached_again(first: First) {
    // Eight seconds.
    let tone = testkit::cast::tone(400, std::time::Duration::from_secs(8));
    let said: Vec<u8> = tone.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    assert!(said.len() >= 250_000);
    let (url, mut made) = restarting(said, first).await;
    let rig = Rig::start_with(|config| config.egress.allow = vec!["127.0.0.1".into()]).await;
    let mut client = rig.connect("/call").await;
    let pass = json!({"url": url, "inputSampleRate": 16000, "outputSampleRate": 16000});
    client.send(json!({"command": "invite", "option": {"codec": "pcm", "mediaPass": pass}})).await;
    for _ in 0..2 {
        timeout(PATIENCE, made.recv()).await.unwrap().unwrap();
    }
    let loud = |client: &Client| {
        let samples = client.sound.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair));
        samples.filter(|sample| sample.unsigned_abs() > 1000).count()
    };
    while loud(&client) < 16_000 {
        client.heard(client.sound.len() + 3200).await;
    }
    assert!(client.seen.iter().all(|event| event != "error"), "{:?}", client.seen);
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_there_is_an_error_and_the_call_goes_on() {
    let rig = Rig::start_with(|config| config.egress.allow = vec!["127.0.0.1".into()]).await;
    let mut client = rig.connect("/call").await;
    let pass = json!({"url": "x", "inputSampleRate": 16000, "outputSampleRate": 16000});
    client.send(json!({"command": "invite", "option": {"mediaPass": pass}})).await;
    let error = client.event("error").await;
    let told = "option.mediaPass.url: expected an address that begins with ws:// or wss://";
    assert!(error["error"].as_str().unwrap().contains(told), "{error}");
    let pass = json!({"url": "ws://127.0.0.1:9/x", "inputSampleRate": 16000, "outputSampleRate": 44100});
    client.send(json!({"command": "invite", "option": {"mediaPass": pass}})).await;
    let error = client.event("error").await;
    assert!(error["error"].as_str().unwrap().contains("outputSampleRate"), "{error}");
    client.send(json!({"command": "history", "speaker": "user", "text": "still here"})).await;
    client.event("addHistory").await;
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_does_not_fit_is_named() {
    let rig = Rig::start_with(|config| config.egress.allow = vec!["127.0.0.1".into()]).await;
    for (name, value) in [("Authorization", "a\r\nX: y"), ("Host", "other"), ("a b", "c")] {
        let mut client = rig.connect("/call").await;
        let pass = json!({
            "url": "ws://127.0.0.1:9/x", "inputSampleRate": 16000, "outputSampleRate": 16000,
            "headers": {name: value},
        });
        client.send(json!({"command": "invite", "option": {"mediaPass": pass}})).await;
        let error = client.event("error").await;
        let told = error["error"].as_str().unwrap();
        assert!(told.contains("option.mediaPass.headers") && told.contains(name), "{error}");
        client.send(json!({"command": "hangup"})).await;
        client.event("hangup").await;
    }
    rig.server.stop().await;
}
