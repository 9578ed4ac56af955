//! Binary messages of a client: at the wrong time, on the wrong socket, of odd sizes and in pieces of a byte.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::calls_over_websocket::{frame, opened_raw};
use crate::rig::{Client, PATIENCE, Rig};

/// Ends the call and gives the errors that its client was told.
async fn errors(client: &mut Client) -> Vec<(String, u64)> {
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    assert_eq!(client.closed().await, 1000);
    let errors = client.events.iter().filter(|event| event["event"] == "error");
    errors.map(|error| (error["sender"].as_str().unwrap().into(), error["code"].as_u64().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_before_the_invite_is_told_once_and_odd_sound_after_it_does_no_harm() {
    let rig = Rig::start().await;
    let mut client = rig.connect("/call").await;
    for size in [0, 1, 3, 641, 100_000] {
        client.sound(vec![0; size]).await;
    }
    let told = client.event("error").await;
    assert!(told["error"].as_str().unwrap().contains("send `invite` first"), "{told}");
    client.send(json!({"command": "invite", "option": {"codec": "pcm"}})).await;
    client.event("answer").await;
    for size in [0, 1, 3, 641, 100_000] {
        client.sound(vec![7; size]).await;
    }
    assert_eq!(errors(&mut client).await, [("media".into(), 409)]);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_that_follows_the_invite_at_once_is_not_told() {
    let rig = Rig::start().await;
    let mut client = rig.connect("/call").await;
    client.send(json!({"command": "invite", "option": {}})).await;
    for _ in 0..10 {
        client.sound(vec![0; 640]).await;
    }
    client.event("answer").await;
    assert_eq!(errors(&mut client).await, []);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_on_the_socket_of_a_sip_call_is_told_once() {
    let rig = Rig::start().await;
    let mut client = rig.connect("/call/sip").await;
    for _ in 0..3 {
        client.sound(vec![0; 640]).await;
    }
    let told = client.event("error").await;
    assert!(told["error"].as_str().unwrap().contains("does not go over its WebSocket"), "{told}");
    assert_eq!(errors(&mut client).await, [("media".into(), 409)]);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_in_messages_of_one_byte_is_heard_as_fast_as_any_other() {
    let rig = Rig::start().await;
    let mut client = rig.connect("/call?id=bytes").await;
    client.send(json!({"command": "invite", "option": {"codec": "pcmu", "recorder": {}}})).await;
    client.event("answer").await;
    // A second and a half of a loud tone.
    for n in 0..12_000 {
        client.sound(vec![if n / 10 % 2 == 0 { 0x90 } else { 0x10 }]).await;
    }
    let file = rig.path("recorders/bytes.wav");
    let five_seconds = 5 * 16_000 * 4;
    rig.until("five seconds of recording", |_| {
        (std::fs::metadata(&file).ok()?.len() > five_seconds).then_some(())
    })
    .await;
    assert_eq!(errors(&mut client).await, []);
    rig.until("a record", |rig| rig.records().pop()).await;
    let wav = audio::wav::Wav::parse(&std::fs::read(file).unwrap()).unwrap();
    let caller: Vec<i16> = wav.samples.chunks_exact(2).map(|both| both[0]).collect();
    let loud = |sample: &i16| sample.unsigned_abs() > 1000;
    let (first, last) = (caller.iter().position(loud).unwrap(), caller.iter().rposition(loud).unwrap());
    let heard_over = (last - first) as f64 / f64::from(wav.rate);
    // What a media thread takes of single messages, 2,500 a second, would take more than four.
    assert!((1.4..3.0).contains(&heard_over), "1.5 s of sound heard over {heard_over} s");
    let lost = 1.5 - caller.iter().filter(|sample| loud(sample)).count() as f64 / f64::from(wav.rate);
    assert!(lost.abs() < 0.1, "{lost} s of it are missing");
    rig.server.stop().await;
}

/// A frame of a client under a mask of zeros (RFC 6455 section 5.2).
fn framed(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match u8::try_from(payload.len()) {
        Ok(short) if short < 126 => frame.push(0x80 | short),
        _ => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// Bytes of memory that this process holds.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_messages_of_one_byte_is_bounded_and_told_and_touches_no_other_call() {
    let rig = Rig::start().await;
    let mut other = rig.connect("/call?id=other").await;
    other.send(json!({"command": "invite", "option": {}})).await;
    other.event("answer").await;
    let (mut reading, mut writing) = tokio::io::split(opened_raw(&rig, "/call?id=flood").await);
    let text = |command: Value| framed(1, command.to_string().as_bytes());
    writing.write_all(&text(json!({"command": "invite", "option": {}}))).await.unwrap();
    let mut events: Vec<Value> = Vec::new();
    let before = resident();
    // Ten seconds of sound at 16 kHz, 32,000 messages for each, as fast as they are taken.
    let flood = async {
        let second = framed(2, &[7]).repeat(32_000);
        for _ in 0..10 {
            writing.write_all(&second).await.unwrap();
        }
        let mark = json!({"command": "history", "speaker": "user", "text": "after all"});
        writing.write_all(&text(mark)).await.unwrap();
        writing
    };
    let told = async {
        while events.last().is_none_or(|event| event["event"] != "addHistory") {
            if let (1, text) = frame(&mut reading).await {
                events.push(serde_json::from_slice(&text).unwrap());
            }
        }
    };
    let untouched = async {
        for number in 0..20 {
            let mark = number.to_string();
            other.send(json!({"command": "history", "speaker": "user", "text": mark})).await;
            let answer = timeout(std::time::Duration::from_secs(2), other.event("addHistory")).await;
            assert_eq!(answer.expect("others are answered meanwhile")["text"], mark);
        }
    };
    let all = async { tokio::join!(flood, told, untouched) };
    let (mut writing, (), ()) = timeout(PATIENCE * 2, all).await.unwrap();
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more are held");
    writing.write_all(&text(json!({"command": "hangup"}))).await.unwrap();
    let last = async {
        while events.last().is_none_or(|event| event["event"] != "hangup") {
            if let (1, text) = frame(&mut reading).await {
                events.push(serde_json::from_slice(&text).unwrap());
            }
        }
    };
    timeout(PATIENCE, last).await.unwrap();
    let errors: Vec<_> = events.iter().filter(|event| event["event"] == "error").collect();
    for error in &errors {
        assert_eq!((error["sender"].as_str(), error["code"].as_u64()), (Some("media"), Some(429)), "{error}");
    }
    println!("told {errors:?}, {grown} bytes more");
    rig.server.stop().await;
}
