//! What is reached on behalf of clients: from where, how much, how long.

use std::time::Duration;

use active_call::config::{Config, EgressTable};
use active_call::egress::Egress;
use call::setup::Fetcher as _;
use protocol::value::Seconds;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::rig::{Client, Rig};

/// Answers every request with `answer` as it is, and then leaves the connection open.
pub(crate) struct Server {
    pub(crate) address: String,
    _task: JoinSet<()>,
}

impl Server {
    /// `rest` follows `answer` when `more` says so.
    async fn start(answer: Vec<u8>, more: Option<(oneshot::Receiver<()>, Vec<u8>)>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let (mut more, mut held) = (more, Vec::new());
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                let _ = stream.write_all(&answer).await;
                if let Some((ready, rest)) = more.take() {
                    let _ = ready.await;
                    let _ = stream.write_all(&rest).await;
                }
                held.push(stream);
            }
        });
        Server { address, _task: task }
    }

    pub(crate) async fn answering(answer: Vec<u8>) -> Server {
        Self::start(answer, None).await
    }

    pub(crate) async fn redirecting(to: &str) -> Server {
        let head = format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
        Self::answering(head.into_bytes()).await
    }
}

fn wave(seconds: u64) -> Vec<u8> {
    let tone = testkit::cast::tone(400, Duration::from_secs(seconds));
    let mut bytes = audio::wav::header(16_000, 1, tone.len() as u64 * 2).to_vec();
    bytes.extend(tone.iter().flat_map(|sample| sample.to_le_bytes()));
    bytes
}

pub(crate) fn file(length: usize, body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
    answer.extend(body);
    answer
}

async fn called(rig: &Rig) -> Client {
    let mut client = rig.connect("/call").await;
    client.send(json!({"command": "invite", "option": {"codec": "pcm", "sampleRate": 16000}})).await;
    client.event("answer").await;
    client
}

/// What playing `url` fails with.
async fn refused(client: &mut Client, url: &str) -> String {
    client.send(json!({"command": "play", "url": url})).await;
    let error = client.event("error").await;
    client.event("trackEnd").await;
    error["error"].as_str().unwrap().to_owned()
}

fn allowing(address: &str) -> impl FnOnce(&mut Config) {
    let allow = vec![address.to_owned()];
    move |config| {
        config.egress.allow = allow;
        config.egress.timeout = Seconds(Duration::from_millis(300));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn private_addresses_are_not_fetched_from_however_they_are_written() {
    let server = Server::answering(file(wave(1).len(), &wave(1))).await;
    let port = server.address.rsplit_once(':').unwrap().1;
    let rig = Rig::start().await;
    let mut client = called(&rig).await;
    for host in ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]", "127.1"] {
        let told = refused(&mut client, &format!("http://{host}:{port}/a.wav")).await;
        assert!(told.contains("egress.allow"), "{host}: {told}");
    }
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_does_not_lead_where_the_list_does_not() {
    let hidden = Server::answering(file(wave(1).len(), &wave(1))).await;
    let port = hidden.address.rsplit_once(':').unwrap().1;
    let rig = Rig::start_with(allowing("127.0.0.1")).await;
    let mut client = called(&rig).await;
    for (target, why) in [
        (format!("http://127.0.0.2:{port}/a.wav"), "127.0.0.2 is a private address"),
        (format!("http://[::1]:{port}/a.wav"), "::1 is a private address"),
        ("file:///etc/passwd".to_owned(), "302"),
        ("gopher://127.0.0.1/".to_owned(), "only http and https"),
    ] {
        let server = Server::redirecting(&target).await;
        let told = refused(&mut client, &format!("http://{}/a.wav", server.address)).await;
        assert!(told.contains(why) && !told.contains("too often"), "{target}: {told}");
    }
    let good = Server::redirecting(&format!("http://{}/b.wav", hidden.address)).await;
    client.send(json!({"command": "play", "url": format!("http://{}/a.wav", good.address)})).await;
    client.event("trackStart").await;
    let ended = client.event("trackEnd").await;
    assert!(ended["duration"].as_u64().unwrap() >= 900, "{ended}: {:?}", client.seen);
    rig.server.stop().await;
}

/// A server that answers 200 and passes on the head of each request.
async fn listening() -> (String, mpsc::Receiver<String>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (told, heads) = mpsc::channel(8);
    let mut task = JoinSet::new();
    task.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let read = stream.read(&mut head).await.unwrap();
            head.truncate(read);
            told.send(String::from_utf8(head).unwrap().to_lowercase()).await.unwrap();
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
                .await;
        }
    });
    (address, heads, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_is_told_neither_where_we_come_from_nor_our_keys() {
    let table = EgressTable { allow: vec!["127.0.0.1".into()], ..EgressTable::default() };
    let egress = Egress::new("test", &table).unwrap();
    let (other, mut heads, _task) = listening().await;
    let fetch = async |name: &str| {
        let server = Server::redirecting(&format!("http://{other}/b")).await;
        let headers = [(name.to_owned(), "hunter2".to_owned())].into();
        let url = format!("http://{}/a?token=hunter2", server.address);
        egress.fetch(playbook::HttpRequest { url, headers, ..playbook::HttpRequest::default() }).await
    };
    for header in ["Authorization", "Cookie", "X-Colour"] {
        assert_eq!(fetch(header).await.as_deref(), Ok("ok"), "{header}");
        let head = heads.recv().await.unwrap();
        assert!(!head.contains("referer"), "{head}");
        assert_eq!(head.contains("hunter2"), header == "X-Colour", "{head}");
    }
    let told = fetch("X-Api-Key").await.unwrap_err();
    assert!(told.contains("another server") && heads.try_recv().is_err(), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_played_while_it_is_fetched() {
    let (go, ready) = oneshot::channel();
    let wave = wave(2);
    let (first, rest) = wave.split_at(32_000);
    let server = Server::start(file(wave.len(), first), Some((ready, rest.to_vec()))).await;
    let rig = Rig::start_with(|config| config.egress.allow = vec!["127.0.0.0/8".into()]).await;
    let mut client = called(&rig).await;
    client.send(json!({"command": "play", "url": format!("http://{}/a.wav", server.address)})).await;
    client.heard(8_000).await;
    go.send(()).unwrap();
    assert!(client.event("trackEnd").await["duration"].as_u64().unwrap() >= 1_900);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_or_too_slow_is_told() {
    let rig = Rig::start_with(|config| {
        allowing("127.0.0.1")(config);
        config.egress.max_bytes = 10_000;
    })
    .await;
    let mut client = called(&rig).await;
    let lying = Server::answering(file(1_000_000, &[])).await;
    assert!(refused(&mut client, &format!("http://{}/a.wav", lying.address)).await.contains("10000 bytes"));
    let mut endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    endless.extend(wave(1));
    let endless = Server::answering(endless).await;
    assert!(refused(&mut client, &format!("http://{}/a.wav", endless.address)).await.contains("10000 bytes"));
    let silent = Server::answering(Vec::new()).await;
    assert!(refused(&mut client, &format!("http://{}/a.wav", silent.address)).await.contains("in time"));
    let stalls = Server::answering(file(5_000, &wave(1)[..2_000])).await;
    let told = refused(&mut client, &format!("http://{}/a.wav", stalls.address)).await;
    assert!(told.contains("a part of the file and then nothing more"), "{told}");
    let broken = Server::answering(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    assert!(refused(&mut client, &format!("http://{}/a.wav", broken.address)).await.contains("404"));
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_does_not_choose_private_addresses_of_providers() {
    let rig = Rig::start().await;
    for (option, field) in [
        (json!({"tts": {"provider": "fake", "endpoint": "http://169.254.169.254/"}}), "option.tts.endpoint"),
        (json!({"asr": {"provider": "fake", "baseUrl": "http://10.0.0.1"}}), "option.asr.endpoint"),
    ] {
        let mut client = rig.connect("/call").await;
        client.send(json!({"command": "invite", "option": option})).await;
        let error: Value = client.event("error").await;
        let told = error["error"].as_str().unwrap();
        assert!(told.contains(field) && told.contains("egress.allow"), "{told}");
    }
    rig.server.stop().await;
}
