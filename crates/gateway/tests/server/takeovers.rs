//! Calls that take the place of others (`Replaces`, RFC 3891), and calls that are given up in the moment of their answer:
//! all far ends are SIPp.

use std::net::UdpSocket;

use active_call::config::words::{Pattern, TransferPolicy};
use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::process::Child;
use tokio::time::timeout;

use crate::inbound_sip::{attach, hook, webhooks};
use crate::programs;
use crate::raw_phone::{RawPhone, sdp, value};
use crate::rig::{Client, PATIENCE, Rig, until};

/// SIPp as a callee that plays `scenario`, and its URI. It sends back what it hears.
pub(crate) async fn callee(rig: &Rig, scenario: &str) -> (Child, String) {
    let ports = programs::free_ports();
    let mut arguments = programs::sipp(scenario, ports);
    arguments.push("-rtp_echo".into());
    let callee = programs::start("sipp", &arguments, rig.folder.path());
    until("SIPp listens", || UdpSocket::bind(("127.0.0.1", ports[0])).is_err().then_some(())).await;
    (callee, format!("sip:phone@127.0.0.1:{}", ports[0]))
}

/// SIPp as a caller that plays `scenario` with further words.
pub(crate) fn caller(rig: &Rig, scenario: &str, further: &[&str]) -> Child {
    let mut arguments = programs::sipp(scenario, programs::free_ports());
    let to = rig.server.sip_addr().to_string();
    arguments
        .extend([to.as_str(), "-s", "agent", "-rtp_echo"].iter().chain(further).map(|s| (*s).to_owned()));
    programs::start("sipp", &arguments, rig.folder.path())
}

/// SIPp has come to the end of its scenario.
pub(crate) async fn content(party: Child, who: &str) {
    let ended = timeout(PATIENCE, party.wait_with_output()).await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{who}: {told}");
}

/// What a header of a message says behind `key`.
fn behind<'a>(message: &'a str, header: &str, key: &str) -> Option<&'a str> {
    let line = message.lines().find_map(|line| line.strip_prefix(header))?;
    let value = line.split_once(key)?.1;
    Some(value.split(';').next().unwrap_or_default().trim())
}

/// `Call-ID`, our tag and the other's of the dialog with the callee at `uri`, by its first response with a tag.
async fn dialog(rig: &Rig, id: &str, uri: &str) -> [String; 3] {
    let peer = uri.rsplit_once('@').unwrap().1;
    let ladder: Value = serde_json::from_str(&rig.get(&format!("/api/v1/calls/{id}/sip")).await.1).unwrap();
    let messages = ladder["messages"].as_array().unwrap();
    let names = messages.iter().find_map(|message| {
        let text = message["text"].as_str()?;
        let theirs = behind(text, "To:", ";tag=").filter(|_| message["sent"] == false)?;
        let from_it = message["peer"].as_str()?.ends_with(peer);
        let names = [behind(text, "Call-ID:", " ")?, behind(text, "From:", ";tag=")?, theirs];
        from_it.then(|| names.map(str::to_owned))
    });
    names.unwrap_or_else(|| panic!("no dialog with {peer} in {ladder}"))
}

/// A server that lets others take the places of its parties.
async fn willing() -> Rig {
    Rig::start_with(|config| {
        config.sip.transfer_requests = TransferPolicy::Accept;
        config.sip.destinations = vec![Pattern(regex::Regex::new("127\\.0\\.0\\.1").unwrap())];
    })
    .await
}

/// SIPp takes the place of who is at `uri` in call `id`.
async fn takes_over(rig: &Rig, client: &mut Client, id: &str, uri: &str) -> Child {
    let [replaced, ours, theirs] = dialog(rig, id, uri).await;
    let names = ["-key", "replaced", &replaced, "-key", "ours", &ours, "-key", "theirs", &theirs];
    let bob = caller(rig, "replaces.xml", &names);
    let event = client.event("transfer").await;
    assert_eq!(event["state"], "takenOver", "{event}");
    bob
}

/// The call of a WebSocket client, with a second party that plays `scenario`.
async fn with_second(rig: &Rig, scenario: &str) -> (Client, Child, String) {
    let (desk, uri) = callee(rig, scenario).await;
    let mut client = rig.connect("/call?id=taken").await;
    let option = json!({"codec": "pcmu"});
    client.send(json!({"command": "invite", "option": option})).await;
    client.event("answer").await;
    client.send(json!({"command": "refer", "callee": uri, "caller": "sip:agent@127.0.0.1"})).await;
    client.event("ringing").await;
    (client, desk, uri)
}

/// The client hears its own tone, which the second party sends back.
async fn is_sent_back(client: &mut Client) {
    let loud: Vec<u8> = (0..160).map(|n| if n / 8 % 2 == 0 { 0x90 } else { 0x10 }).collect();
    let heard = |client: &Client| client.sound.iter().filter(|byte| **byte & 0x7f < 0x40).count();
    let before = heard(client);
    let mut sent = 0;
    while heard(client) < before + 4_000 {
        client.sound(loud.clone()).await;
        let length = client.sound.len() + 160;
        client.heard(length).await;
        sent += 1;
        assert!(sent < 2_000, "nothing came back");
    }
}

async fn hang_up(client: &mut Client) {
    client.send(json!({"command": "hangup"})).await;
    while client.event("hangup").await["refer"] == true {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_takes_the_place_of_a_second_party_is_heard_and_who_was_there_is_hung_up() {
    let rig = willing().await;
    let (mut client, desk, uri) = with_second(&rig, "answers.xml").await;
    client.event("answer").await;
    is_sent_back(&mut client).await;
    let bob = takes_over(&rig, &mut client, "taken", &uri).await;
    content(desk, "who was there").await;
    is_sent_back(&mut client).await;
    hang_up(&mut client).await;
    content(bob, "who has taken over").await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_that_has_taken_the_place_of_a_second_is_who_the_first_is_sent_to() {
    let (url, mut told) = hook(StatusCode::OK).await;
    let rig = Rig::start_with(|config| {
        webhooks(config, &[url]);
        config.sip.transfer_requests = TransferPolicy::Accept;
        config.sip.destinations = vec![Pattern(regex::Regex::new("127\\.0\\.0\\.1").unwrap())];
    })
    .await;
    let server = rig.server.sip_addr();
    let first = RawPhone::towards(server, "first").await;
    first.invite_with("", &sdp(([127, 0, 0, 1], 4000).into())).await;
    let mut client = attach(&rig, &mut told).await;
    client.send(json!({"command": "accept", "option": {}})).await;
    first.answered().await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let callee = format!("sip:second@{}", socket.local_addr().unwrap());
    let second = RawPhone::at(socket, server);
    client.send(json!({"command": "refer", "callee": callee, "caller": "sip:agent@127.0.0.1"})).await;
    let invite = second.asked("INVITE").await;
    second.answer(&invite, "200 OK", &sdp(([127, 0, 0, 1], 4002).into())).await;
    while client.event("answer").await["refer"] != true {}
    let ours = value(&invite, "From").split_once(";tag=").unwrap().1;
    let replaces = format!("Replaces: {};to-tag={ours};from-tag=raw\r\n", value(&invite, "Call-ID"));
    let third = RawPhone::towards(server, "third").await;
    third.invite_with(&replaces, &sdp(([127, 0, 0, 1], 4004).into())).await;
    third.answered().await;
    assert_eq!(client.event("transfer").await["state"], "takenOver");
    client.send(json!({"command": "refer", "method": "attended"})).await;
    let refer = first.asked("REFER").await;
    let wanted = format!("<sip:raw@{}?Replaces=third%3B", third.socket.local_addr().unwrap());
    assert!(value(&refer, "Refer-To").starts_with(&wanted), "{refer}");
    drop(client);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_party_that_rings_is_picked_up_by_another_and_given_up_itself() {
    let rig = willing().await;
    let (mut client, desk, uri) = with_second(&rig, "rings.xml").await;
    let bob = takes_over(&rig, &mut client, "taken", &uri).await;
    assert_eq!(client.event("answer").await["refer"], true);
    content(desk, "who has rung").await;
    is_sent_back(&mut client).await;
    hang_up(&mut client).await;
    content(bob, "who has picked up").await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_ours_that_rings_is_picked_up_by_another() {
    let rig = willing().await;
    let (desk, uri) = callee(&rig, "rings.xml").await;
    let mut client = rig.connect("/call/sip?id=out1").await;
    client.send(json!({"command": "invite", "option": {"callee": uri}})).await;
    client.event("ringing").await;
    let bob = takes_over(&rig, &mut client, "out1", &uri).await;
    client.event("answer").await;
    content(desk, "who has rung").await;
    hang_up(&mut client).await;
    content(bob, "who has picked up").await;
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    assert_eq!(record.status_code, 200);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_crosses_our_cancel_is_acknowledged_and_hung_up() {
    let rig = Rig::start().await;
    let (desk, uri) = callee(&rig, "answers_cancel.xml").await;
    let mut client = rig.connect("/call/sip?id=out1").await;
    client.send(json!({"command": "invite", "option": {"callee": uri}})).await;
    client.event("ringing").await;
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    content(desk, "who has answered too late").await;
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    assert_eq!((record.status_code, &record.answer_time), (487, &None));
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_that_crosses_our_answer_changes_nothing() {
    let (url, mut told) = hook(StatusCode::OK).await;
    let rig = Rig::start_with(|config| webhooks(config, &[url])).await;
    let bob = caller(&rig, "cancels_late.xml", &[]);
    let mut client = attach(&rig, &mut told).await;
    client.send(json!({"command": "accept", "option": {}})).await;
    client.event("answer").await;
    let hangup = client.event("hangup").await;
    assert_eq!((&hangup["reason"], &hangup["initiator"]), (&json!("caller"), &json!("caller")), "{hangup}");
    content(bob, "who has cancelled too late").await;
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    assert_eq!(record.status_code, 200);
    rig.server.stop().await;
}
