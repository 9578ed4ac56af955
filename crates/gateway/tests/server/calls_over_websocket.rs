//! `/call`: commands and sound in, events and sound out.

use std::time::Duration;

use protocol::value::Seconds;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::rig::{Client, PATIENCE, Rig};

/// A call whose client is cut off is over within this time.
const CUT: Duration = Duration::from_secs(2);

fn invite() -> serde_json::Value {
    json!({"command": "invite", "option": {"codec": "pcm", "sampleRate": 16000}})
}

async fn answered(rig: &Rig, path: &str) -> Client {
    let mut client = rig.connect(path).await;
    client.send(invite()).await;
    client.event("answer").await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_begins_plays_ends_and_leaves_one_record() {
    let rig = Rig::start().await;
    rig.tone("tone.wav");
    let mut client = answered(&rig, "/call?id=first&dump=true").await;
    assert_eq!(client.seen, ["trackStart", "answer"]);
    client.send(json!({"command": "play", "url": "tone.wav", "playId": "p1"})).await;
    let started = client.event("trackStart").await;
    assert_eq!(started["trackId"], "server-side-track");
    assert_eq!(started["playId"], "p1");
    let ended = client.event("trackEnd").await;
    assert_eq!(ended["playId"], "p1");
    client.send(json!({"command": "hangup", "reason": "done"})).await;
    let hangup = client.event("hangup").await;
    assert_eq!(hangup["trackId"], "first");
    assert_eq!(client.closed().await, 1000);
    assert!((28_000..=36_000).contains(&client.sound.len()), "{} bytes of a second", client.sound.len());
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    assert_eq!((record.call_id.as_str(), record.status_code), ("first", 200));
    let log = rig.path("recorders").join("first.events.jsonl");
    let lines = rig.until("the log", |_| std::fs::read_to_string(&log).ok()).await;
    let line: protocol::record::LogLine = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert!(["command", "event"].contains(&line.kind.as_str()));
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_forms_of_the_path_are_the_same() {
    let rig = Rig::start().await;
    rig.tone("tone.wav");
    let mut client = answered(&rig, "/call/?ping_interval=0&serverSideTrack=agent").await;
    client.send(json!({"command": "play", "url": "tone.wav"})).await;
    assert_eq!(client.event("trackStart").await["trackId"], "agent");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_command_is_told_and_the_call_goes_on() {
    let rig = Rig::start().await;
    let mut client = answered(&rig, "/call").await;
    let deep = format!("{{\"command\":\"tts\",\"text\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    for text in ["nonsense", "[]", r#"{"command":"dance"}"#, r#"{"command":"tts","text":7}"#, &deep] {
        client.text(text).await;
        let error = client.event("error").await;
        assert_eq!(
            (error["sender"].as_str(), error["code"].as_u64()),
            (Some("command"), Some(400)),
            "{error}"
        );
    }
    assert!(client.seen.iter().all(|event| event != "hangup"));
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_of_five_megabytes_is_read_and_one_of_eleven_is_told() {
    let rig = Rig::start().await;
    let mut client = answered(&rig, "/call").await;
    let text = |megabytes: usize| json!({"command": "history", "speaker": "user", "text": "a".repeat(megabytes << 20)});
    client.send(text(5)).await;
    client.event("addHistory").await;
    client.send(text(11)).await;
    assert!(client.event("error").await["error"].as_str().unwrap().contains("larger than"));
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_in_use_and_an_id_that_is_no_name_are_refused() {
    let rig = Rig::start().await;
    let _first = answered(&rig, "/call?id=mine").await;
    assert_eq!(rig.try_connect("/call?id=mine").await.err(), Some(409));
    assert_eq!(rig.try_connect("/call/sip?id=mine").await.err(), Some(409), "no seizing of a live call");
    assert_eq!(rig.try_connect("/call/webrtc?id=mine").await.err(), Some(409));
    for id in ["..%2Fx", "a%2Fb", "a%00", "%0d%0a"] {
        assert_eq!(rig.try_connect(&format!("/call?id={id}")).await.err(), Some(400), "{id}");
    }
    assert_eq!(rig.try_connect("/call?ping=soon").await.err(), Some(400));
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_says_so() {
    let rig = Rig::start_with(|config| config.max_calls = 1).await;
    let first = answered(&rig, "/call").await;
    assert_eq!(rig.try_connect("/call").await.err(), Some(503));
    drop(first);
    rig.until("the place is free again", |rig| (rig.server.app().calls.counts().now == 0).then_some(()))
        .await;
    answered(&rig, "/call").await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_outside_the_roots_are_not_played() {
    let rig = Rig::start().await;
    std::fs::write(rig.path("secret.wav"), "x").unwrap();
    std::os::unix::fs::symlink(rig.path("secret.wav"), rig.path("sounds").join("link.wav")).unwrap();
    let mut client = answered(&rig, "/call").await;
    let outside = rig.path("secret.wav");
    for url in [
        "../secret.wav",
        "link.wav",
        outside.to_str().unwrap(),
        "/etc/passwd",
        "file:///etc/passwd",
        "gopher://h/x",
    ] {
        client.send(json!({"command": "play", "url": url})).await;
        let error = client.event("error").await;
        assert!(!error["error"].as_str().unwrap().contains("root:"), "{error}");
    }
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ping_comes_as_an_event() {
    let rig = Rig::start().await;
    let mut client = rig.connect("/call?ping=1").await;
    assert!(client.event("ping").await["timestamp"].as_u64().unwrap() > 1_600_000_000_000);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_without_a_call_say_why() {
    let rig = Rig::start().await;
    for (path, command, code) in [
        ("/call/webrtc", json!({"command": "invite", "option": {"offer": "v=0"}}), 501),
        ("/call/sip?id=nobody", json!({"command": "accept", "option": {}}), 486),
    ] {
        let mut client = rig.connect(path).await;
        client.send(command).await;
        assert_eq!(client.event("reject").await["code"], code);
        assert_eq!(client.closed().await, 1000);
        for event in ["hangup", "error"] {
            assert!(client.seen.iter().any(|seen| seen == event), "{path}: no {event} in {:?}", client.seen);
        }
    }
    assert!(rig.records().is_empty());
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_commands_at_once_are_all_answered() {
    let rig = Rig::start().await;
    let mut client = answered(&rig, "/call").await;
    for index in 0..1000 {
        client.send(json!({"command": "history", "speaker": "user", "text": index.to_string()})).await;
        if index % 100 == 99 {
            let last = index.to_string();
            while client.event("addHistory").await["text"] != last.as_str() {}
        }
    }
    assert_eq!(client.seen.iter().filter(|event| *event == "addHistory").count(), 1000);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_of_opus_in_ogg_can_be_played() {
    let rig = Rig::start().await;
    rig.tone("tone.wav");
    let mut client = rig.connect("/call?id=first").await;
    let recorder = json!({"recorderFile": "{id}.ogg", "format": "ogg"});
    client.send(json!({"command": "invite", "option": {"recorder": recorder}})).await;
    client.event("answer").await;
    client.send(json!({"command": "play", "url": "tone.wav", "autoHangup": true})).await;
    client.event("hangup").await;
    rig.until("a record", |rig| rig.records().pop()).await;
    std::fs::rename(rig.path("recorders/first.ogg"), rig.path("sounds/first.ogg")).unwrap();
    let mut client = rig.connect("/call").await;
    client.send(json!({"command": "invite", "option": {}})).await;
    client.event("answer").await;
    client.send(json!({"command": "play", "url": "first.ogg"})).await;
    let end = client.event("trackEnd").await;
    assert!(end["duration"].as_u64().unwrap() >= 1000, "{end}");
    let samples = client.sound.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair));
    let loud = samples.filter(|sample| sample.unsigned_abs() > 1000).count();
    assert!(loud > 8_000, "the tone is heard: {loud}");
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_on_disk_and_in_the_record() {
    let rig = Rig::start().await;
    rig.tone("tone.wav");
    let mut client = rig.connect("/call?id=taped").await;
    client.send(json!({"command": "invite", "option": {"recorder": {"recorderFile": "day/{id}.wav"}}})).await;
    client.event("answer").await;
    client.send(json!({"command": "play", "url": "tone.wav", "autoHangup": true})).await;
    client.event("hangup").await;
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    let file = rig.path("recorders").join("day/taped.wav");
    assert_eq!(record.recorder[0].path, file.display().to_string());
    let wav = audio::wav::Wav::parse(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!((wav.channels, wav.rate), (2, 16_000));
    let agent: Vec<i16> = wav.samples.chunks_exact(2).map(|both| both[1]).collect();
    assert!(agent.iter().filter(|sample| sample.unsigned_abs() > 1000).count() > 10_000, "the tone is heard");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ends_its_call() {
    let rig = Rig::start().await;
    rig.tone("tone.wav");
    let mut client = answered(&rig, "/call?id=left").await;
    client.send(json!({"command": "play", "url": "tone.wav"})).await;
    client.heard(3_200).await;
    // Its connection is cut in the middle of a word, without a goodbye.
    let cut = tokio::time::Instant::now();
    drop(client);
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    assert!(cut.elapsed() < CUT, "the call ends {:?} after its client", cut.elapsed());
    assert_eq!(record.call_id, "left");
    let never_invited = rig.connect("/call?id=nothing").await;
    drop(never_invited);
    rig.until("no call", |rig| (rig.server.app().calls.counts().now == 0).then_some(())).await;
    assert_eq!(rig.records().len(), 1);
    let Rig { server, folder } = rig;
    server.stop().await;
    let up = std::fs::read_dir(folder.path().join("cdr/.up")).unwrap().flatten();
    assert_eq!(up.filter(|entry| entry.path().is_dir()).count(), 0, "no note of a call is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_dropped_and_others_are_untouched() {
    let rig = Rig::start().await;
    let mut other = answered(&rig, "/call?id=other").await;
    let mut slow = answered(&rig, "/call?id=slow").await;
    let command = json!({"command": "history", "speaker": "user", "text": "a".repeat(200_000)}).to_string();
    let pouring = async { while slow.pour(&command).await {} };
    let dropped = rig
        .until("the slow client is dropped", |rig| (!rig.server.app().calls.contains("slow")).then_some(()));
    tokio::select! {
        () = pouring => rig.until("the slow call ends", |rig| (!rig.server.app().calls.contains("slow")).then_some(())).await,
        () = dropped => {}
    }
    other.send(json!({"command": "hangup"})).await;
    other.event("hangup").await;
    assert_eq!(slow.event("error").await["code"], 503, "it is told once it reads");
    assert_eq!(slow.closed().await, 1013);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_in_too_large_a_message_ends_the_connection() {
    let rig = Rig::start().await;
    let mut client = answered(&rig, "/call").await;
    client.sound(vec![0; 90_000]).await;
    client.send(json!({"command": "history", "speaker": "user", "text": "still here"})).await;
    client.event("addHistory").await;
    client.sound(vec![0; 1024 * 1024 + 1]).await;
    assert_eq!(client.event("error").await["code"], 413);
    assert_eq!(client.closed().await, 1009);
    rig.server.stop().await;
}

/// Opens a WebSocket at `path` by hand.
pub(crate) async fn opened_raw(rig: &Rig, path: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(rig.server.http_addr()).await.unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        assert!(timeout(PATIENCE, stream.read_line(&mut line)).await.unwrap().unwrap() > 0, "no upgrade");
    }
    stream
}

/// Opens a WebSocket at `path` by hand, sends `bytes` on it, and gives what the server sends until it says goodbye: its
/// texts and the code.
async fn sent_raw(rig: &Rig, path: &str, bytes: &[u8]) -> (Vec<Value>, u16) {
    let mut stream = opened_raw(rig, path).await;
    stream.get_mut().write_all(bytes).await.unwrap();
    let mut texts = Vec::new();
    loop {
        let frame = timeout(PATIENCE, frame(&mut stream)).await.unwrap();
        match frame {
            (1, text) => texts.push(serde_json::from_slice(&text).unwrap()),
            (8, payload) => return (texts, u16::from_be_bytes([payload[0], payload[1]])),
            _ => {}
        }
    }
}

/// A frame of a server: what it is, and what it holds.
pub(crate) async fn frame(stream: &mut (impl AsyncRead + Unpin)) -> (u8, Vec<u8>) {
    let kind = stream.read_u8().await.unwrap() & 0x0f;
    let length = match stream.read_u8().await.unwrap() {
        126 => usize::from(stream.read_u16().await.unwrap()),
        127 => usize::try_from(stream.read_u64().await.unwrap()).unwrap(),
        short => usize::from(short),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.unwrap();
    (kind, payload)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_close_code_says_what_was_wrong_with_a_frame() {
    let rig = Rig::start().await;
    let mut huge = vec![0x81, 0xff];
    huge.extend((30_u64 << 20).to_be_bytes());
    huge.extend([0; 4]);
    for path in ["/call", "/call/webrtc"] {
        for (what, bytes, code) in [
            ("a frame that is not masked", &[0x81, 2, b'h', b'i'][..], 1002),
            ("reserved bits", &[0xf1, 0x80, 0, 0, 0, 0], 1002),
            ("an unknown kind of frame", &[0x83, 0x80, 0, 0, 0, 0], 1002),
            ("a text that is none", &[0x81, 0x81, 0, 0, 0, 0, 0xff], 1007),
            ("a message that is too large", &huge, 1009),
        ] {
            let (told, closed) = sent_raw(&rig, path, bytes).await;
            assert_eq!(closed, code, "{what} at {path}: {told:?}");
            let error = told.iter().find(|event| event["event"] == "error");
            let status = if code == 1009 { 413 } else { 400 };
            assert_eq!(error.unwrap_or_else(|| panic!("{what}: {told:?}"))["code"], status);
        }
    }
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_invite_gives_its_place_back() {
    let rig = Rig::start_with(|config| config.accept_timeout = Seconds(Duration::from_secs(1))).await;
    let mut client = rig.connect("/call?id=idle").await;
    let mut busy = answered(&rig, "/call?id=busy").await;
    assert_eq!(client.event("error").await["code"], 408);
    assert_eq!(client.closed().await, 1008);
    drop(client);
    rig.until("the place is free", |rig| (!rig.server.app().calls.contains("idle")).then_some(())).await;
    busy.send(json!({"command": "hangup"})).await;
    busy.event("hangup").await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_answers_no_ping_is_gone_and_one_that_does_stays() {
    let rig = Rig::start().await;
    let mut alive = answered(&rig, "/call?id=alive&ping=1").await;
    // A client that is never polled answers no ping.
    let dead = answered(&rig, "/call?id=dead&ping=1").await;
    for _ in 0..4 {
        alive.event("ping").await;
    }
    rig.until("the dead one is gone", |rig| (!rig.server.app().calls.contains("dead")).then_some(())).await;
    assert!(rig.server.app().calls.contains("alive"));
    drop(dead);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_call_does_not_hold_up_the_end() {
    let rig = Rig::start().await;
    let mut client = rig.connect("/call/webrtc").await;
    tokio::join!(rig.server.stop(), async { assert_eq!(client.closed().await, 1001) });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_any_length_is_heard_and_what_is_too_much_is_told_once() {
    let rig = Rig::start().await;
    let mut client = rig.connect("/call").await;
    client.send(json!({"command": "invite", "option": {}})).await;
    client.event("answer").await;
    // More than nine seconds, of which three wait.
    client.sound(vec![7; 300_000]).await;
    let error = client.event("error").await;
    assert_eq!((&error["sender"], &error["code"]), (&json!("media"), &json!(429)));
    let told = error["error"].as_str().unwrap();
    let lost: u64 = told.split(' ').next().unwrap().parse().unwrap();
    assert!((5_000..=6_500).contains(&lost), "{told}");
    // Thirty seconds in small messages: the commands behind them are obeyed.
    for _ in 0..1500 {
        client.sound(vec![7; 640]).await;
    }
    client.send(json!({"command": "history", "speaker": "user", "text": "still here"})).await;
    client.event("addHistory").await;
    let error = client.event("error").await;
    assert!(error["error"].as_str().unwrap().contains("ms of sound came too fast"), "{error}");
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    assert_eq!(client.events.iter().filter(|event| event["event"] == "error").count(), 2);
    rig.server.stop().await;
}
