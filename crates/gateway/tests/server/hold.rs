//! Our own hold, of phones that others wrote: by re-INVITE, with music, and back.

use std::path::PathBuf;

use axum::http::StatusCode;
use serde_json::json;
use testkit::likeness::Found;

use crate::baresip::{Baresip, rig_with_agent};
use crate::inbound_sip::{Hook, attach, hook, webhooks};
use crate::rig::{Client, Rig};
use crate::{programs, sound};

/// Bytes of a second of what `subscribe` brings: fifty messages of each side.
const SECOND: usize = 2 * 50 * 641;

/// Silence before the words of `sound::speech`.
const LEAD: usize = 3 * 8_000;

/// The next call, which is taken, recorded and listened to.
pub(crate) async fn taken(rig: &Rig, told: &mut Hook) -> Client {
    let mut client = attach(rig, told).await;
    let option = json!({"recorder": {}, "subscribe": true});
    client.send(json!({"command": "accept", "option": option})).await;
    client.event("answer").await;
    client
}

async fn seconds_pass(client: &mut Client, seconds: usize) {
    client.heard(client.sound.len() + seconds * SECOND).await;
}

/// A client that has asked for hold or its end is told that it is so, and by whom.
async fn held(client: &mut Client, on: bool) {
    let event = client.event("hold").await;
    assert_eq!((&event["onHold"], &event["by"]), (&json!(on), &json!("system")), "{event}");
}

/// The longest stretch in which nothing is loud.
pub(crate) fn longest_silence(sound: &[i16]) -> std::ops::Range<usize> {
    let loud = (0..sound.len()).filter(|at| sound[*at].unsigned_abs() > 100);
    let mut edges: Vec<usize> = loud.collect();
    edges.push(sound.len());
    let gaps = edges.windows(2).map(|pair| pair[0]..pair[1]);
    gaps.max_by_key(ExactSizeIterator::len).unwrap_or_default()
}

/// The sentence that a held party hears, as a file without silence, and what is said to it after.
pub(crate) async fn music_and_more(rig: &Rig) -> (Vec<i16>, Vec<i16>) {
    let folder = rig.folder.path();
    let music = sound::speech(folder, "Please stay on the line, somebody will be with you soon").await;
    sound::write_wav(&rig.path("sounds/music.wav"), 8_000, &music[LEAD..]);
    let more = sound::speech(folder, "Thank you for waiting, your ticket was found").await;
    sound::write_wav(&rig.path("sounds/more.wav"), 8_000, &more);
    (music, more)
}

/// Holds the far end for eight seconds in which the agent wants to say more.
pub(crate) async fn hold_and_say_more(client: &mut Client) {
    client.send(json!({"command": "hold", "music": "music.wav"})).await;
    held(client, true).await;
    client.seen.clear();
    client.send(json!({"command": "play", "url": "more.wav"})).await;
    seconds_pass(client, 8).await;
    client.send(json!({"command": "unhold"})).await;
    held(client, false).await;
    let spoke = client.seen.iter().any(|event| event.starts_with("track"));
    assert!(!spoke, "what is to be said waits for the end of the hold: {:?}", client.seen);
    client.event("trackEnd").await;
}

async fn only_record(rig: &Rig) -> PathBuf {
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    PathBuf::from(&record.recorder[0].path)
}

fn is_in(words: &[i16], heard: &[i16], what: &str, is_heard: impl Fn(&Found) -> bool) {
    let found = sound::find(words, heard);
    println!("{what}: {found:?}");
    assert!(is_heard(&found), "{what}: {found:?}");
}

/// baresip closes the file of what it hears with the first re-INVITE, so that what it hears after that is judged by what
/// it reports of our packets.
async fn baresip_is_held(account: &str) {
    let (rig, mut told, caller, _) = rig_with_agent().await;
    music_and_more(&rig).await;
    // The caller never stops talking, so that its only long silence is that of the hold.
    let says = [&caller[..LEAD], &caller[LEAD..].repeat(30)].concat();
    let mut phone = Baresip::start_with(&rig.path("phone"), account, &says).await;
    phone.command("dial", &format!("sip:agent@{}", rig.server.sip_addr())).await;
    let mut client = taken(&rig, &mut told).await;
    phone.told("type", "CALL_ESTABLISHED").await;
    client.send(json!({"command": "play", "url": "agent.wav"})).await;
    client.event("trackEnd").await;
    seconds_pass(&mut client, 4).await;
    hold_and_say_more(&mut client).await;
    // More than before the hold: those of the music count.
    let report = loop {
        let report = phone.told("type", "CALL_RTCP").await["rtcp_stats"]["rx"].clone();
        if report["sent"].as_u64().is_some_and(|packets| packets > 700) {
            break report;
        }
    };
    assert_eq!(report["lost"], 0, "{report}");
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    phone.told("type", "CALL_CLOSED").await;
    let recording = only_record(&rig).await;
    let said = sound::channel(&recording, 0);
    let silence = longest_silence(&said);
    println!("{account}: silent in {silence:?} of {}", said.len());
    assert!(silence.len() > 5 * 8_000, "nothing of the held party is kept: {silence:?}");
    is_in(&caller, &said[..silence.start], "baresip is heard before", |said| phone.is_heard(said));
    is_in(&caller, &said[silence.end..], "baresip is heard after", |said| phone.is_heard(said));
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_is_held_and_taken_back_and_is_heard_again() {
    let encrypted = "audio_codecs=opus/48000/2;mediaenc=srtp-mand";
    tokio::join!(baresip_is_held("audio_codecs=PCMU/8000/1"), baresip_is_held(encrypted));
}

/// A call between two servers, of which the one that has called holds the other.
async fn server_is_held(sip: serde_json::Value) {
    let (url, mut told) = hook(StatusCode::OK).await;
    let customer = Rig::start_with(|config| webhooks(config, &[url])).await;
    let rig = Rig::start().await;
    let (music, more) = music_and_more(&rig).await;
    let words = sound::speech(customer.folder.path(), "I have not got my ticket yet").await;
    sound::write_wav(&customer.path("sounds/words.wav"), 8_000, &words);
    let mut client = rig.connect("/call/sip?id=out1").await;
    let callee = format!("sip:customer@{}", customer.server.sip_addr());
    let option = json!({"callee": callee, "recorder": {}, "subscribe": true, "sip": sip});
    client.send(json!({"command": "invite", "option": option})).await;
    let mut there = taken(&customer, &mut told).await;
    client.event("answer").await;
    let holding = hold_and_say_more(&mut client);
    let being_held = async {
        for on in [true, false] {
            let event = there.event("hold").await;
            assert_eq!((&event["onHold"], &event["by"]), (&json!(on), &json!("remote")), "{event}");
        }
        there.send(json!({"command": "play", "url": "words.wav"})).await;
        there.event("trackEnd").await;
    };
    tokio::join!(holding, being_held);
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    there.event("hangup").await;
    let heard = sound::channel(&only_record(&customer).await, 0);
    is_in(&music, &heard, "the music", Found::is_heard);
    is_in(&more, &heard, "what waited", Found::is_heard);
    is_in(&words, &sound::channel(&only_record(&rig).await, 0), "who was held", Found::is_heard);
    rig.server.stop().await;
    customer.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_held_hears_the_music_and_then_the_agent_and_is_heard() {
    tokio::join!(server_is_held(json!({})), server_is_held(json!({"enableSrtp": true})));
}

async fn commanded(rig: &Rig, id: &str, command: serde_json::Value) {
    let url = rig.url(&format!("/api/v1/calls/{id}/commands"));
    let answer = reqwest::Client::new().post(url).json(&command).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 202, "{command}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_by_rest_that_collides_is_offered_again_and_a_refused_end_of_it_is_told() {
    let (url, mut told) = hook(StatusCode::OK).await;
    let rig = Rig::start_with(|config| webhooks(config, &[url])).await;
    rig.tone("music.wav");
    let mut arguments = programs::sipp("hold.xml", programs::free_ports());
    arguments.extend([&rig.server.sip_addr().to_string(), "-s", "agent", "-rtp_echo"].map(str::to_owned));
    let calling = programs::run("sipp", &arguments, rig.folder.path());
    let answering = async {
        let mut client = taken(&rig, &mut told).await;
        let lists = rig.get("/api/v1/calls").await.1;
        let lists: serde_json::Value = serde_json::from_str(&lists).unwrap();
        let id = lists["calls"][0]["id"].as_str().unwrap().to_owned();
        commanded(&rig, &id, json!({"command": "hold", "music": "music.wav"})).await;
        held(&mut client, true).await;
        commanded(&rig, &id, json!({"command": "hold"})).await;
        commanded(&rig, &id, json!({"command": "unhold"})).await;
        let error = client.event("error").await;
        assert_eq!((&error["sender"], &error["code"]), (&json!("sip"), &json!(488)), "{error}");
        assert!(error["error"].as_str().unwrap().starts_with("unhold: "), "{error}");
        commanded(&rig, &id, json!({"command": "unhold"})).await;
        held(&mut client, false).await;
        commanded(&rig, &id, json!({"command": "hangup"})).await;
        client.event("hangup").await;
    };
    tokio::join!(calling, answering);
    rig.server.stop().await;
}
