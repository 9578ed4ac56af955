//! What clients give of passwords, keys and signed addresses comes out nowhere: not in lists, records, event logs or
//! the streams of those who only listen.

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::rig::{PATIENCE, Rig};

/// Stands in every secret of these tests.
const SECRET: &str = "hunter2";
const SOUND: &str = "http://u:hunter2@127.0.0.1:9/a.wav?X-Amz-Signature=hunter2";

fn option() -> Value {
    json!({
        "asr": {"provider": "fake", "secretKey": SECRET, "extra": {"apikey": SECRET, "token": SECRET},
            "endpoint": "wss://u:hunter2@127.0.0.1/x?token=hunter2"},
        "sip": {"username": "u", "password": SECRET, "hangup_headers": {"X-Token": SECRET},
            "headers": {"Authorization": SECRET, "Proxy-Authorization": SECRET, "X-Api-Key": SECRET, "X-Job": "7"}},
        "extra": {"password": SECRET, "api_key": SECRET, "customer": "7"}
    })
}

fn nothing_secret(what: &str, text: &str) {
    assert!(!text.contains(SECRET), "{what}: {text}");
    assert!(text.contains("***") && text.contains('7'), "{what} hides what it must and nothing else: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn free_fields_and_addresses_are_shown_without_what_is_secret_in_them() {
    let rig = Rig::start_with(|config| config.egress.allow = vec!["127.0.0.1".into()]).await;
    let mut owner = rig.connect("/call?id=c7").await;
    owner.send(json!({"command": "invite", "option": option()})).await;
    owner.event("answer").await;
    let mut watching = reqwest::get(rig.url("/api/v1/calls/c7/events")).await.unwrap();
    for list in ["/list", "/call/lists", "/api/v1/calls", "/api/v1/calls/c7"] {
        nothing_secret(list, &rig.get(list).await.1);
    }
    owner.send(json!({"command": "play", "url": SOUND})).await;
    let ended = loop {
        let ended = owner.event("trackEnd").await;
        if ended["playId"].is_string() {
            break ended;
        }
    };
    assert_eq!(ended["playId"], SOUND, "a client knows its file again");
    owner.send(json!({"command": "hangup"})).await;
    let hangup = owner.event("hangup").await;
    nothing_secret("hangup", &hangup.to_string());
    let mut seen = String::new();
    let reading = async {
        while let Some(chunk) = watching.chunk().await.unwrap() {
            seen.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    };
    timeout(PATIENCE, reading).await.unwrap();
    nothing_secret("observers", &seen);
    assert!(seen.contains("http://***@127.0.0.1:9/a.wav?X-Amz-Signature=***"), "{seen}");
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    nothing_secret("the record", &serde_json::to_string(&record).unwrap());
    let log = rig
        .until("the end of the event log", |rig| {
            let text = std::fs::read_to_string(rig.path("recorders/c7.events.jsonl")).ok()?;
            text.contains("hangupTime").then_some(text)
        })
        .await;
    nothing_secret("the event log", &log);
    for path in ["/api/v1/records", "/api/v1/records/c7", "/api/records"] {
        assert!(!rig.get(path).await.1.contains(SECRET), "{path}");
    }
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_passwords_of_calls_of_ours_are_in_no_record() {
    let rig = Rig::start_with(|config| config.egress.allow = vec!["127.0.0.1".into()]).await;
    let mut client = rig.connect("/call/sip?id=out7").await;
    let mut option = option();
    option["caller"] = json!("sip:a@127.0.0.1");
    option["callee"] = json!("sip:bob7:hunter2@127.0.0.1:9");
    client.send(json!({"command": "invite", "option": option})).await;
    let hangup = client.event("hangup").await;
    nothing_secret("hangup", &hangup.to_string());
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    assert_eq!(record.callee, "sip:bob7:***@127.0.0.1:9");
    nothing_secret("the record", &serde_json::to_string(&record).unwrap());
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_playbooks_lie_is_told_to_no_client() {
    let rig = Rig::start().await;
    std::fs::write(rig.path("playbook/bad.md"), "---\nvad: 7\n---\n").unwrap();
    let folder = rig.folder.path().to_str().unwrap();
    for name in ["bad.md", "missing.md"] {
        let mut client = rig.connect("/call").await;
        client.send(json!({"command": "invite", "option": {"playbook": name}})).await;
        let error = client.event("error").await["error"].as_str().unwrap().to_owned();
        assert!(error.contains(name) && !error.contains(folder), "{error}");
        let run = reqwest::Client::new().post(rig.url("/api/playbook/run")).json(&json!({"playbook": name}));
        let told = run.send().await.unwrap().text().await.unwrap();
        assert!(told.contains(name) && !told.contains(folder), "{told}");
    }
    rig.server.stop().await;
}
