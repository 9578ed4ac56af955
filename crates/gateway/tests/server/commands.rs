//! Every command over a real socket: what it does, what is said when a field is wrong, and what a crowd of them does.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::inbound_sip::{PLAYBOOK, hook, playbooks, webhooks};
use crate::rig::{Client, Rig};

/// Commands with every field they have, the first name of each field given a value of a wrong type.
const WRONG: &[(&str, &str, &[&str])] = &[
    ("invite", r#"{"option":{}}"#, &["option"]),
    ("start", r#"{"option":{}}"#, &["option"]),
    ("accept", r#"{"option":{}}"#, &["option"]),
    ("reject", r#"{"reason":"busy"}"#, &["reason", "code"]),
    ("ringing", "{}", &["recorder", "earlyMedia", "early_media", "ringtone"]),
    (
        "tts",
        r#"{"text":"hi"}"#,
        &[
            "text",
            "speaker",
            "playId",
            "play_id",
            "autoHangup",
            "auto_hangup",
            "streaming",
            "endOfStream",
            "end_of_stream",
            "waitInputTimeout",
            "wait_input_timeout",
            "option",
            "base64",
            "cacheKey",
            "cache_key",
        ],
    ),
    (
        "play",
        r#"{"url":"a.wav"}"#,
        &["url", "playId", "play_id", "autoHangup", "auto_hangup", "waitInputTimeout", "wait_input_timeout"],
    ),
    ("interrupt", "{}", &["graceful", "fadeOutMs", "fade_out_ms"]),
    ("hangup", "{}", &["reason", "initiator", "headers", "refer"]),
    ("refer", r#"{"caller":"sip:a@h","callee":"sip:b@h"}"#, &["caller", "callee", "options"]),
    ("mute", "{}", &["trackId", "track_id"]),
    ("unmute", "{}", &["trackId", "track_id"]),
    ("history", r#"{"speaker":"user","text":"x"}"#, &["speaker", "text"]),
    ("candidate", r#"{"candidates":[]}"#, &["candidates"]),
    ("dtmf", r#"{"digits":"1"}"#, &["digits", "durationMs", "duration_ms", "method"]),
    ("record", r#"{"action":"pause"}"#, &["action", "recorder"]),
    ("hold", "{}", &["music"]),
];

async fn answered(rig: &Rig, path: &str) -> Client {
    let mut client = rig.connect(path).await;
    let option = json!({"codec": "pcm", "sampleRate": 16000, "tts": {"provider": "fake"}});
    client.send(json!({"command": "invite", "option": option})).await;
    client.event("answer").await;
    client
}

/// The call answers, so nothing before has ended it.
async fn alive(client: &mut Client, mark: &str) {
    client.send(json!({"command": "history", "speaker": "user", "text": mark})).await;
    while client.event("addHistory").await["text"] != mark {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_of_a_wrong_type_is_named_whatever_the_command() {
    let rig = Rig::start().await;
    let mut client = answered(&rig, "/call").await;
    for (command, whole, fields) in WRONG {
        for field in *fields {
            // No field of any command is a list of lists.
            let mut message: Value = serde_json::from_str(whole).unwrap();
            message["command"] = json!(command);
            message[*field] = json!([[1]]);
            client.send(message).await;
            let error = client.event("error").await;
            assert_eq!((&error["sender"], &error["code"]), (&json!("command"), &json!(400)), "{error}");
            let (said, plain) = (error["error"].as_str().unwrap().to_lowercase(), field.replace('_', ""));
            assert!(said.replace('_', "").contains(&plain.to_lowercase()), "{command}.{field}: {said}");
        }
    }
    alive(&mut client, "after all").await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_another_kind_of_call_is_refused_with_a_code_and_the_call_goes_on() {
    let rig = Rig::start().await;
    let mut client = answered(&rig, "/call").await;
    for command in [
        json!({"command": "invite", "option": {}}),
        json!({"command": "accept", "option": {}}),
        json!({"command": "ringing"}),
        json!({"command": "play", "url": "../../etc/passwd"}),
        json!({"command": "tts", "text": "*", "base64": true}),
        json!({"command": "mute", "trackId": "nobody"}),
    ] {
        client.send(command.clone()).await;
        let error = client.event("error").await;
        assert!(error["code"].as_u64().is_some_and(|code| (400..700).contains(&code)), "{command}: {error}");
        assert!(error["sender"].is_string() && error["error"].is_string(), "{command}: {error}");
    }
    alive(&mut client, "after all").await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_commands_at_once_are_all_taken_in_order() {
    let rig = Rig::start().await;
    let mut client = answered(&rig, "/call").await;
    let pour = ["pause", "resume", "unmute", "interrupt"];
    for number in 0..1000 {
        client.send(json!({"command": pour[number % 4]})).await;
        if number % 10 == 0 {
            client.send(json!({"command": "history", "speaker": "user", "text": number.to_string()})).await;
        }
    }
    for number in (0..1000).step_by(10) {
        assert_eq!(client.event("addHistory").await["text"], number.to_string());
    }
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_after_the_end_change_nothing() {
    let rig = Rig::start().await;
    let mut client = answered(&rig, "/call?id=ended").await;
    let mut other = answered(&rig, "/call?id=other").await;
    client.send(json!({"command": "hangup"})).await;
    for _ in 0..50 {
        let late = json!({"command": "tts", "text": "too late"}).to_string();
        if !client.pour(&late).await {
            break;
        }
    }
    assert_eq!(client.closed().await, 1000);
    assert_eq!(client.seen.iter().filter(|event| *event == "hangup").count(), 1, "{:?}", client.seen);
    assert_eq!(client.seen.last().map(String::as_str), Some("hangup"));
    rig.until("one record", |rig| (rig.records().len() == 1).then_some(())).await;
    alive(&mut other, "untouched").await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_in_use_is_refused_and_its_call_goes_on() {
    let rig = Rig::start().await;
    let mut client = answered(&rig, "/call?id=mine").await;
    for path in ["/call?id=mine", "/call/?id=mine"] {
        assert_eq!(rig.try_connect(path).await.err(), Some(409), "{path}");
    }
    alive(&mut client, "still mine").await;
    rig.server.stop().await;
}

/// The name of every command, as it is emitted.
fn commands() -> BTreeSet<String> {
    let schema = schemars::schema_for!(protocol::Command);
    let all = schema.get("oneOf").and_then(Value::as_array).unwrap();
    let tags = all.iter().map(|variant| &variant["properties"]["command"]);
    tags.map(|tag| tag["const"].as_str().or(tag["enum"][0].as_str()).unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_in_another_language_drives_every_command() {
    let (url, _announced) = hook(StatusCode::OK).await;
    let rig = Rig::start_with(|config| webhooks(config, &[url])).await;
    rig.tone("tone.wav");
    let neighbour = Rig::start_with(|config| playbooks(config, vec![], Some("answer.md"))).await;
    std::fs::write(neighbour.path("playbook/answer.md"), PLAYBOOK).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/drive.py");
    let port = |rig: &Rig| rig.server.http_addr().port().to_string();
    let uri = |user: &str, rig: &Rig| format!("sip:{user}@{}", rig.server.sip_addr());
    let (desk, second) = (uri("desk", &rig), uri("second", &neighbour));
    let run = tokio::process::Command::new("python3")
        .args([script, "127.0.0.1", &port(&rig), &port(&neighbour), &desk, &second])
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(crate::rig::PATIENCE * 3, run).await.unwrap().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let driven: BTreeSet<String> = out.lines().map(str::to_owned).collect();
    let left: Vec<_> = commands().difference(&driven).cloned().collect();
    assert!(left.is_empty(), "tests/tools/drive.py does not drive {left:?}");
    rig.server.stop().await;
    neighbour.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_begin_pause_and_end_by_command_each_in_a_file_of_its_own() {
    let rig = Rig::start().await;
    let mut client = answered(&rig, "/call?id=taped").await;
    for (body, state) in [
        (json!({"command": "record", "action": "start"}), "started"),
        (json!({"command": "record", "action": "pause"}), "paused"),
        (json!({"command": "record", "action": "resume"}), "resumed"),
        (json!({"command": "record", "action": "stop"}), "stopped"),
        (json!({"command": "recorder", "action": "START", "recorder": {"format": "pcm"}}), "started"),
    ] {
        let url = rig.url("/api/v1/calls/taped/commands");
        let answer = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 202);
        assert_eq!(client.event("recording").await["state"], state, "{body}");
    }
    client.send(json!({"command": "record", "action": "start"})).await;
    assert_eq!(client.event("error").await["code"], 409);
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    let record = rig.until("the record", |rig| rig.records().pop()).await;
    let files: Vec<&str> = record.recorder.iter().map(|file| file.path.as_str()).collect();
    assert!(
        files.len() == 2 && files[0].ends_with("taped.wav") && files[1].ends_with("taped.pcm"),
        "{files:?}"
    );
    for file in &record.recorder {
        assert_eq!(std::fs::metadata(&file.path).unwrap().len(), file.size, "{file:?}");
    }
    rig.server.stop().await;
}
