//! Models, voices and recognizers that are slow, broken or talk nonsense: the caller hears so, nothing hangs, and other calls go on.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::command::{ACTIVE_CALL, Running};
use crate::rig::Client;

/// What a server of a model does.
const MANNERS: [&str; 4] = ["drip", "reset", "garbage", "late"];
/// What a program that speaks does in place of speaking. `REAL` is the program.
const VOICES: [(&str, &str); 4] = [
    ("drip", "head -c 44 \"$0.wav\"; while printf x; do sleep 1; done"),
    ("reset", "head -c 200 \"$0.wav\"; kill -9 $$"),
    ("garbage", "head -c 100000 /dev/urandom"),
    ("late", "sleep 10; exec REAL \"$@\""),
];
/// What a program that hears does in place of hearing.
const EARS: [(&str, &str); 5] = [
    ("drip", "cat > /dev/null; while printf x; do sleep 1; done"),
    ("reset", "head -c 20000 > /dev/null; kill -9 $$"),
    ("garbage", "cat > /dev/null; head -c 100000 /dev/urandom"),
    ("hang", "sleep 60"),
    ("late", "sleep 10; exec REAL \"$@\""),
];
/// When a caller has to know at the latest.
const TOLD: Duration = Duration::from_secs(60);
/// Bytes of a second of sound that a client gets.
const SECOND: f64 = 32_000.0;

async fn serve(mut stream: TcpStream, manner: &str) {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let piece = json!({"choices": [{"delta": {"content": "Here I am."}, "finish_reason": "stop"}]});
    let answer = format!("data: {piece}\n\ndata: [DONE]\n\n");
    let _ = stream.read(&mut [0; 65_536]).await;
    let mut again = tokio::time::interval(Duration::from_secs(1));
    match manner {
        "drip" => {
            let _ = stream.write_all(HEAD).await;
            for byte in answer.as_bytes() {
                again.tick().await;
                if stream.write_all(&[*byte]).await.is_err() {
                    return;
                }
            }
        }
        // With nothing to wait for, closing is a reset.
        "reset" => drop(stream.set_zero_linger()),
        "garbage" => drop(stream.write_all(&[0xa5; 20_000]).await),
        _ => {
            for _ in 0..=10 {
                again.tick().await;
            }
            let _ = stream.write_all(&[HEAD, answer.as_bytes()].concat()).await;
        }
    }
}

async fn model(tasks: &mut JoinSet<()>, manner: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    tasks.spawn(async move {
        let mut served = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            served.spawn(serve(stream, manner));
        }
    });
    url
}

async fn called(running: &Running, option: serde_json::Value) -> Client {
    let mut client = Client::connect(&format!("ws://{}/call", running.http)).await.unwrap();
    client.send(json!({"command": "invite", "option": option})).await;
    client.event("answer").await;
    client
}

/// Ends a call that may have ended by itself.
async fn over(mut client: Client) {
    if !client.seen.iter().any(|seen| seen == "hangup") {
        client.send(json!({"command": "hangup"})).await;
        client.event("hangup").await;
    }
    assert_eq!(client.closed().await, 1000);
}

fn is_loud(sound: &[u8]) -> bool {
    sound.chunks_exact(2).any(|sample| i16::from_le_bytes([sample[0], sample[1]]).unsigned_abs() > 1_000)
}

/// A call beside the others, whose tone has come whole when they are over.
async fn untouched(mut other: Client, since: Instant, before: usize) {
    let wanted = since.elapsed().as_secs_f64() * SECOND;
    other.heard(before + (wanted * 0.9).max(SECOND) as usize).await;
    let late = since.elapsed().as_secs_f64() - wanted / SECOND;
    assert!(late < 2.0, "the call beside them is {late} s behind");
    let (heard, _) = other.sound[before..].as_chunks::<32_000>();
    assert!(!heard.is_empty() && heard.iter().all(|second| is_loud(second)), "a second without its tone");
    over(other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_whose_model_drips_resets_talks_nonsense_or_comes_late_hears_an_apology() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir_all(folder.join("config/playbook")).unwrap();
    let mut servers = JoinSet::new();
    for manner in MANNERS {
        let url = model(&mut servers, manner).await;
        let llm = format!("llm: {{ provider: openai, model: m, apiKey: k, baseUrl: \"{url}\" }}");
        let text = format!("---\n{llm}\ntts: {{ provider: espeak }}\n---\nBe kind.\n");
        std::fs::write(folder.join(format!("config/playbook/{manner}.md")), text).unwrap();
    }
    let running = Running::start(folder).await;
    let other = running.recorded_call(folder, "other").await;
    let (since, before) = (Instant::now(), other.sound.len());
    let mut calls = Vec::new();
    for manner in MANNERS {
        calls.push((manner, called(&running, json!({"playbook": format!("{manner}.md")})).await));
    }
    for (manner, client) in &mut calls {
        let told = client.event_within("error", TOLD).await;
        println!("{manner}: {told} after {:?}", since.elapsed());
        assert_eq!(told["sender"], "llm", "{manner}: {told}");
        client.event_within("trackEnd", TOLD).await;
        assert!(is_loud(&client.sound), "{manner}: the caller hears nothing");
    }
    for (_, client) in calls {
        over(client).await;
    }
    untouched(other, since, before).await;
}

/// A server of its own whose program `name` does this.
async fn with_program(folder: &Path, name: &str, does: &str) -> Running {
    let bin = folder.join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let mut real = std::env::split_paths(&path).map(|bin| bin.join(name));
    let real = real.find(|bin| bin.exists()).unwrap_or_else(|| panic!("{name} is not installed"));
    let script = bin.join(name);
    std::fs::write(&script, format!("#!/bin/sh\n{}\n", does.replace("REAL", real.to_str().unwrap())))
        .unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&path)));
    let mut command = tokio::process::Command::new(ACTIVE_CALL);
    command.env("PATH", path.unwrap()).env("RUST_LOG", "info");
    Running::run_as_told(command, folder, "").await
}

/// A call to a server of its own whose voice is such a program.
async fn spoken_to((manner, does): (&str, &str)) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir_all(folder.join("bin")).unwrap();
    let mut sound = audio::wav::header(22_050, 1, u64::from(u32::MAX) / 2).to_vec();
    sound.extend([0; 1_000]);
    std::fs::write(folder.join("bin/espeak-ng.wav"), sound).unwrap();
    let running = with_program(folder, "espeak-ng", does).await;
    let other = running.recorded_call(folder, "other").await;
    let (since, before) = (Instant::now(), other.sound.len());
    let mut client = called(&running, json!({"tts": {"provider": "espeak"}})).await;
    client.send(json!({"command": "tts", "text": "Good morning."})).await;
    client.event_within("trackEnd", TOLD).await;
    let told = client.events.iter().find(|event| event["event"] == "error");
    println!("{manner}: {told:?} after {:?}", since.elapsed());
    let told = told.is_some_and(|error| error["sender"] == "tts");
    assert!(told || is_loud(&client.sound), "{manner}: the caller hears nothing, and nobody is told");
    over(client).await;
    untouched(other, since, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voice_that_drips_dies_talks_nonsense_or_comes_late_is_told_and_holds_up_nothing() {
    futures::future::join_all(VOICES.map(spoken_to)).await;
}

/// A call to a server of its own whose ears are such a program: the caller asks something, and hears what the agent says
/// to that.
async fn listened_to((manner, does): (&str, &str)) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir_all(folder.join("config/playbook")).unwrap();
    let agent = "greeting: Hello.\nasr: { provider: pocketsphinx }\ntts: { provider: espeak }\nvad: {}\n\
                 llm: { provider: rules, rules: [{ when: '.', say: I see. }] }";
    std::fs::write(folder.join("config/playbook/agent.md"), format!("---\n{agent}\n---\nBe kind.\n"))
        .unwrap();
    let running = with_program(folder, "pocketsphinx_continuous", does).await;
    let other = running.recorded_call(folder, "other").await;
    let (since, before) = (Instant::now(), other.sound.len());
    let mut client = called(&running, json!({"playbook": "agent.md"})).await;
    client.event("trackEnd").await;
    let greeted = client.sound.len();
    let speech = testkit::caller::speech(Duration::from_secs(2));
    let mut frames = tokio::time::interval(Duration::from_millis(20));
    for frame in speech.chunks(320).chain([[0; 320].as_slice(); 75]) {
        frames.tick().await;
        client.sound(frame.iter().flat_map(|sample| sample.to_le_bytes()).collect()).await;
    }
    client.event_within("trackEnd", TOLD).await;
    let told = client.events.iter().find(|event| event["event"] == "error");
    println!("{manner}: {told:?} after {:?}", since.elapsed());
    assert!(
        told.is_some_and(|error| error["sender"] == "asr"),
        "{manner}: nobody is told, {:?}",
        client.events
    );
    assert!(is_loud(&client.sound[greeted..]), "{manner}: the caller hears nothing");
    let words = client.events.iter().filter(|event| event["event"] == "asrFinal");
    assert_eq!(words.filter(|event| event["text"] != "").count(), 0, "{manner}: {:?}", client.events);
    over(client).await;
    untouched(other, since, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ears_that_drip_die_hang_talk_nonsense_or_come_late_are_told_and_the_caller_is_asked_again() {
    futures::future::join_all(EARS.map(listened_to)).await;
}
