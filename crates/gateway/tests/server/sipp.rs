//! SIPp as the caller: real speech, and digits as packets.

use std::path::Path;
use std::time::Duration;

use audio::codec::g711;
use axum::http::StatusCode;
use serde_json::json;
use tokio::time::timeout;

use crate::inbound_sip::{hook, webhooks};
use crate::rig::{PATIENCE, Rig};
use crate::{programs, sound};

const DIGITS: &str = "42#77*";

/// How SIPp sends what the caller says.
enum Manner {
    /// As packets that were captured, through a raw socket: their numbers and timestamps wrap, and digits are among
    /// them.
    Captured,
    /// As a file that it packs itself, through a socket as everyone may have.
    Streamed,
}

/// Whether this process, and a program that it starts, may open raw sockets. Those of other users may not.
fn has_raw_sockets() -> bool {
    const CAP_NET_RAW: u32 = 13;
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(effective.trim(), 16).unwrap() >> CAP_NET_RAW & 1 == 1
}

/// The scenario of a caller who speaks in this manner, and what further to tell SIPp.
fn caller_of(manner: &Manner, folder: &Path, said: &[i16]) -> Vec<String> {
    match manner {
        Manner::Captured => {
            sound::write_pcap(&folder.join("caller.pcap"), said, DIGITS);
            let mut arguments = programs::sipp("caller.xml", programs::free_ports());
            arguments.extend(["-key", "packets", "caller.pcap"].map(str::to_owned));
            arguments
        }
        Manner::Streamed => {
            let bytes: Vec<u8> = said.iter().map(|sample| g711::ulaw_from_linear(*sample)).collect();
            std::fs::write(folder.join("caller.ul"), bytes).unwrap();
            let text = include_str!("../tools/caller.xml");
            let streamed = text
                .replace("play_pcap_audio=\"[packets]\"", "rtp_stream=\"caller.ul,1,0\"")
                .replace("[media_port]", "[rtpstream_audio_port]");
            assert!(streamed.contains("rtp_stream=") && !streamed.contains("play_pcap"), "{streamed}");
            std::fs::write(folder.join("streams.xml"), streamed).unwrap();
            let mut arguments = programs::sipp("caller.xml", programs::free_ports());
            let scenario = arguments.iter_mut().find(|argument| argument.ends_with("caller.xml")).unwrap();
            "streams.xml".clone_into(scenario);
            arguments
        }
    }
}

/// Sees that both sides of a call of SIPp are in the recording as they were said, and all digits in their order.
async fn is_heard(manner: Manner) {
    let (url, mut told) = hook(StatusCode::OK).await;
    let rig = Rig::start_with(|config| webhooks(config, &[url])).await;
    let folder = rig.folder.path();
    let caller =
        sound::speech(folder, "I would like to book a table for four people on Friday evening").await;
    let agent = sound::speech(folder, "Certainly, which name shall I put the reservation under").await;
    sound::write_wav(&rig.path("sounds/agent.wav"), 8000, &agent);
    let pressed = if matches!(manner, Manner::Captured) { DIGITS } else { "" };
    let stay = caller.len() / 8 + pressed.len() * 320 + 1000;
    let mut arguments = caller_of(&manner, folder, &caller);
    let (server, stay) = (rig.server.sip_addr().to_string(), stay.to_string());
    arguments.extend([&server, "-s", "agent", "-d", &stay].map(str::to_owned));
    let calling = programs::run("sipp", &arguments, folder);
    let answering = async {
        let (_, body) = timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
        let id = body["dialogId"].as_str().unwrap().to_owned();
        let mut client = rig.connect(&format!("/call/sip?id={id}")).await;
        client.send(json!({"command": "accept", "option": {"recorder": {}}})).await;
        client.event("answer").await;
        client.send(json!({"command": "play", "url": "agent.wav"})).await;
        client.event("hangup").await;
        let keys = client.events.iter().filter(|event| event["event"] == "dtmf");
        keys.map(|event| event["digit"].as_str().unwrap().to_owned()).collect::<String>()
    };
    let (_, digits) = tokio::join!(calling, answering);
    assert_eq!(digits, pressed);
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    let recording = std::path::PathBuf::from(&record.recorder[0].path);
    let left = sound::find(&caller, &sound::channel(&recording, 0));
    let right = sound::find(&agent, &sound::channel(&recording, 1));
    println!("the caller: {left:?}, the agent: {right:?}");
    assert!(left.whole >= 0.95 && left.pieces >= 1.0, "{left:?}");
    assert!(right.whole >= 0.95 && right.pieces >= 1.0, "{right:?}");
    assert!(left.slips.iter().chain(&right.slips).all(|slip| *slip == 0.0), "nothing is cut out of speech");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sipp_says_and_hears_is_in_the_recording() {
    is_heard(Manner::Streamed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sipp_says_and_hears_is_in_the_recording_and_its_digits_come_once() {
    if has_raw_sockets() {
        is_heard(Manner::Captured).await;
    } else {
        eprintln!("SIPp sends captured packets through a raw socket, which takes CAP_NET_RAW: not tested");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::disallowed_methods, reason = "a time is measured")]
async fn time_from_invite_to_200_on_an_idle_server() {
    let rig =
        Rig::start_with(|config| crate::inbound_sip::playbooks(config, Vec::new(), Some("hello.md"))).await;
    std::fs::write(rig.path("playbook/hello.md"), crate::inbound_sip::PLAYBOOK).unwrap();
    let phone = active_call::demo::phone::Phone::open().await.unwrap();
    let mut spans = Vec::new();
    for _ in 0..21 {
        let begin = std::time::Instant::now();
        let mut line = timeout(PATIENCE, phone.dial(rig.server.sip_addr(), "anyone")).await.unwrap().unwrap();
        spans.push(begin.elapsed());
        line.hang_up().await;
    }
    spans.sort();
    println!("INVITE to 200: median {:?}, longest {:?}", spans[10], spans[20]);
    assert!(spans[20] < Duration::from_secs(2), "{spans:?}");
    phone.close().await;
    rig.server.stop().await;
}
