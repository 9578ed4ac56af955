//! SIPp as the caller: real speech and digits as packets.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;
use tokio::time::timeout;

use crate::inbound_sip::{hook, webhooks};
use crate::rig::{PATIENCE, Rig};
use crate::{programs, sound};

const DIGITS: &str = "42#77*";

#[tokio::test(flavor = "multi_thread")]
async fn what_sipp_says_and_hears_is_in_the_recording_and_its_digits_come_once() {
    let root = programs::run("id", &["-u"], std::path::Path::new("/")).await.stdout == b"0\n";
    if !root {
        println!("SIPp sends captured packets through a raw socket, which takes root: not tested");
        return;
    }
    let (url, mut told) = hook(StatusCode::OK).await;
    let rig = Rig::start_with(|config| webhooks(config, &[url])).await;
    let folder = rig.folder.path();
    let caller =
        sound::speech(folder, "I would like to book a table for four people on Friday evening").await;
    let agent = sound::speech(folder, "Certainly, which name shall I put the reservation under").await;
    sound::write_wav(&rig.path("sounds/agent.wav"), 8000, &agent);
    sound::write_pcap(&rig.path("caller.pcap"), &caller, DIGITS);
    let stay = caller.len() / 8 + DIGITS.len() * 320 + 1000;
    let mut arguments = programs::sipp("caller.xml", programs::free_ports());
    let (server, stay) = (rig.server.sip_addr().to_string(), stay.to_string());
    arguments
        .extend([&server, "-s", "agent", "-key", "packets", "caller.pcap", "-d", &stay].map(str::to_owned));
    let calling = programs::run("sipp", &arguments, folder);
    let answering = async {
        let (_, body) = timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
        let id = body["dialogId"].as_str().unwrap().to_owned();
        let mut client = rig.connect(&format!("/call/sip?id={id}")).await;
        client.send(json!({"command": "accept", "option": {"recorder": {}}})).await;
        client.event("answer").await;
        client.send(json!({"command": "play", "url": "agent.wav"})).await;
        let mut digits = String::new();
        while digits.len() < DIGITS.len() {
            digits.push_str(client.event("dtmf").await["digit"].as_str().unwrap());
        }
        client.event("hangup").await;
        assert_eq!(client.seen.iter().filter(|event| *event == "dtmf").count(), DIGITS.len());
        digits
    };
    let (_, digits) = tokio::join!(calling, answering);
    assert_eq!(digits, DIGITS);
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
