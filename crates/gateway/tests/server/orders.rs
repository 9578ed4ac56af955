//! The order of the events of each kind of call, as its client sees them.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::inbound_sip::{Hook, PLAYBOOK, attach, hook, playbooks, webhooks};
use crate::rig::{Client, Rig};

/// A server whose calls wait for a client.
async fn desk() -> (Rig, Hook) {
    let (url, announced) = hook(StatusCode::OK).await;
    let rig = Rig::start_with(|config| webhooks(config, &[url])).await;
    rig.tone("tone.wav");
    (rig, announced)
}

/// A call that `rig` places to `to`.
async fn place(rig: &Rig, to: &Rig) -> Client {
    let mut client = rig.connect("/call/sip?id=ours").await;
    let callee = format!("sip:desk@{}", to.server.sip_addr());
    client.send(json!({"command": "invite", "option": {"callee": callee}})).await;
    client
}

/// A call from one server to another, whose client has been told of it and has said nothing yet.
struct Both {
    desk: Rig,
    rig: Rig,
    /// The client that has placed the call.
    ours: Client,
    /// The client of the one that it came to.
    theirs: Client,
}

async fn both() -> Both {
    let ((desk, mut announced), rig) = (desk().await, Rig::start().await);
    let ours = place(&rig, &desk).await;
    let theirs = attach(&desk, &mut announced).await;
    Both { desk, rig, ours, theirs }
}

/// The story of a call up to its close, without what comes by the clock: `server` before what the server plays, `refer`
/// behind what concerns a second party, whose track is the server's, and the reason of an end.
async fn story(mut client: Client) -> Vec<String> {
    assert_eq!(client.closed().await, 1000);
    let told = client.events.iter().filter(|event| event["event"] != "metrics" && event["event"] != "ping");
    told.map(|event| {
        let name = event["event"].as_str().unwrap();
        let whose = if event["trackId"] == "server-side-track" { "server " } else { "" };
        let refer = if event["refer"] == true { " refer" } else { "" };
        let why = event["reason"].as_str().or(event["sender"].as_str()).map(|why| format!(" {why}"));
        format!("{whose}{name}{refer}{}", why.unwrap_or_default())
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_call() {
    let rig = Rig::start().await;
    rig.tone("tone.wav");
    let mut client = rig.connect("/call").await;
    client.send(json!({"command": "invite", "option": {"tts": {"provider": "fake"}}})).await;
    client.event("answer").await;
    client.send(json!({"command": "tts", "text": "One moment", "playId": "p", "endOfStream": true})).await;
    client.event("trackEnd").await;
    client.send(json!({"command": "play", "url": "tone.wav"})).await;
    client.event("trackStart").await;
    client.send(json!({"command": "hangup"})).await;
    let wanted = [
        "trackStart",
        "answer",
        "server trackStart",
        "server trackEnd",
        "server trackStart",
        "server trackEnd",
        "trackEnd",
        "hangup system",
    ];
    assert_eq!(story(client).await, wanted);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_call_whose_client_falls_silent() {
    let rig = Rig::start().await;
    let mut client = rig.connect("/call").await;
    client.send(json!({"command": "invite", "option": {"inactivityTimeout": 1}})).await;
    let wanted = ["trackStart", "answer", "inactivity", "trackEnd", "hangup inactivityTimeout"];
    assert_eq!(story(client).await, wanted);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_ours_that_rings_and_is_answered_and_the_call_that_comes_in() {
    let Both { desk, rig, mut ours, mut theirs } = both().await;
    theirs.send(json!({"command": "ringing"})).await;
    ours.event("ringing").await;
    theirs.send(json!({"command": "accept", "option": {}})).await;
    ours.event("answer").await;
    ours.send(json!({"command": "hangup"})).await;
    let wanted = ["trackStart", "ringing", "answer", "trackEnd", "hangup system"];
    assert_eq!(story(ours).await, wanted);
    let wanted = ["incoming", "trackStart", "answer", "trackEnd", "hangup caller"];
    assert_eq!(story(theirs).await, wanted);
    rig.server.stop().await;
    desk.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_with_early_media() {
    let Both { desk, rig, mut ours, mut theirs } = both().await;
    theirs.send(json!({"command": "ringing", "ringtone": "tone.wav"})).await;
    assert_eq!(ours.event("ringing").await["earlyMedia"], true);
    theirs.event("trackEnd").await;
    theirs.send(json!({"command": "accept", "option": {}})).await;
    ours.event("answer").await;
    theirs.event("answer").await;
    theirs.send(json!({"command": "hangup"})).await;
    let wanted = ["trackStart", "ringing", "answer", "trackEnd", "hangup callee"];
    assert_eq!(story(ours).await, wanted);
    let wanted = [
        "incoming",
        "server trackStart",
        "server trackEnd",
        "trackStart",
        "answer",
        "trackEnd",
        "hangup system",
    ];
    assert_eq!(story(theirs).await, wanted);
    rig.server.stop().await;
    desk.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_rejected_after_it_has_rung() {
    let Both { desk, rig, mut ours, mut theirs } = both().await;
    theirs.send(json!({"command": "ringing"})).await;
    ours.event("ringing").await;
    theirs.send(json!({"command": "reject", "reason": "Busy Here", "code": 486})).await;
    let ours = story(ours).await;
    assert_eq!(ours[..2], ["trackStart", "ringing"]);
    assert!(ours[2].starts_with("reject "), "{ours:?}");
    assert_eq!(ours[3..], ["error invite", "trackEnd", "hangup rejected"]);
    assert_eq!(story(theirs).await, ["incoming", "hangup rejected"]);
    rig.server.stop().await;
    desk.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_party_with_music_while_it_is_called() {
    let ((desk, mut announced), rig) = (desk().await, Rig::start().await);
    let (second, mut second_announced) = self::desk().await;
    let mut caller = place(&rig, &desk).await;
    let mut client = attach(&desk, &mut announced).await;
    client.send(json!({"command": "accept", "option": {}})).await;
    caller.event("answer").await;
    client.event("answer").await;
    let callee = format!("sip:second@{}", second.server.sip_addr());
    let refer = json!({"command": "refer", "caller": "sip:desk@127.0.0.1", "callee": callee, "options": {"moh": "tone.wav"}});
    client.send(refer).await;
    let mut other = attach(&second, &mut second_announced).await;
    other.send(json!({"command": "ringing"})).await;
    client.event("ringing").await;
    other.send(json!({"command": "accept", "option": {}})).await;
    client.event("answer").await;
    other.event("answer").await;
    other.send(json!({"command": "hangup"})).await;
    let told = story(client).await;
    let wanted = [
        "incoming",
        "trackStart",
        "answer",
        "server trackStart",
        "server ringing refer",
        "server trackEnd",
        "server trackStart",
        "server answer refer",
        "server trackEnd",
        "server hangup refer callee",
        "trackEnd",
        "hangup refer",
    ];
    assert_eq!(told, wanted);
    for rig in [rig, desk, second] {
        rig.server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_a_playbook_answers() {
    let desk = Rig::start_with(|config| playbooks(config, vec![], Some("hello.md"))).await;
    std::fs::write(desk.path("playbook/hello.md"), PLAYBOOK).unwrap();
    let rig = Rig::start().await;
    let mut caller = place(&rig, &desk).await;
    caller.event("answer").await;
    let record_of = |desk: &Rig| desk.records().pop();
    caller.send(json!({"command": "hangup"})).await;
    let record = desk.until("a record", record_of).await;
    let log = record.dump_event_file.unwrap();
    let whole = |_: &Rig| std::fs::read_to_string(&log).ok().filter(|lines| lines.contains("\\\"hangup\\\""));
    let lines = desk.until("the whole log", whole).await;
    let told: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["type"] == "event")
        .map(|line| serde_json::from_str::<Value>(line["content"].as_str().unwrap()).unwrap())
        .map(|event| event["event"].as_str().unwrap().to_owned())
        .filter(|name| ["trackStart", "answer", "trackEnd", "hangup"].contains(&name.as_str()))
        .collect();
    assert_eq!(told[..3], ["trackStart", "answer", "trackStart"]);
    assert_eq!(told[told.len() - 2..], ["trackEnd", "hangup"]);
    rig.server.stop().await;
    desk.server.stop().await;
}
