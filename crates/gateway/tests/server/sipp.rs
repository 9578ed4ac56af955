//! SIPp as the caller: real speech, and digits as packets; and as caller and callee that sends back what it hears.

use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use audio::codec::g711;
use axum::http::StatusCode;
use serde_json::json;
use tokio::time::timeout;

use crate::inbound_sip::{attach, hook, webhooks};
use crate::rig::{PATIENCE, Rig, until};
use crate::takeovers::content;
use crate::watch::Watch;
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

/// A codec that SIPp describes, and the number that it gives it. It need not know it to send back what it hears.
#[derive(Clone, Copy)]
struct Described(&'static str, u8);

impl Described {
    fn name(self) -> &'static str {
        self.0.split('/').next().unwrap()
    }

    /// What SIPp is told to play `scenario` with this codec alone, and to send back what it hears.
    fn echoes(self, rig: &Rig, scenario: &str, text: &str, ports: [u16; 2]) -> Vec<String> {
        let Described(map, number) = self;
        let own = format!("RTP/AVP {number}\na=rtpmap:{number} {map}\n");
        let begin = text.find("RTP/AVP ").unwrap();
        let rest =
            text[begin..].lines().skip(1).find(|line| !line.contains("map:") && !line.contains("fmtp:"));
        let end = begin + text[begin..].find(rest.unwrap()).unwrap();
        let playing = text.lines().find(|line| line.contains("play_pcap_audio")).unwrap_or_default();
        let text = format!("{}{own}{}", &text[..begin], &text[end..]).replace(playing, "");
        std::fs::write(rig.path("echoes.xml"), text).unwrap();
        let mut arguments = programs::sipp(scenario, ports);
        let file = arguments.iter_mut().find(|argument| argument.ends_with(scenario)).unwrap();
        "echoes.xml".clone_into(file);
        arguments.push("-rtp_echo".into());
        arguments
    }

    /// Sees that what the agent has said came back as it was.
    async fn is_heard(self, rig: &Rig, agent: &[i16], watch: &Watch) {
        let record = rig.until("a record", |rig| rig.records().pop()).await;
        let back = sound::find(agent, &sound::channel(record.recorder[0].path.as_ref(), 0));
        let stall = watch.stall();
        println!("{} {}: {back:?}", record.callee, self.0);
        let same = self.name() != "opus";
        let heard = if same { back.is_same_but_for(stall) } else { back.is_heard_but_for(stall) };
        assert!(heard, "{} {}: {back:?}", record.callee, self.0);
    }
}

/// What the agent says, in a file with room for it to come back.
async fn agent_of(rig: &Rig) -> Vec<i16> {
    let agent = sound::speech(rig.folder.path(), "The next train leaves at a quarter past nine").await;
    sound::write_wav(&rig.path("sounds/agent.wav"), 8000, &[agent.as_slice(), &[0; 8000]].concat());
    agent
}

async fn sipp_calls(codec: Described) {
    let (url, mut told) = hook(StatusCode::OK).await;
    let rig = Rig::start_with(|config| webhooks(config, &[url])).await;
    let (agent, watch) = (agent_of(&rig).await, Watch::start());
    let text = include_str!("../tools/caller.xml");
    let mut arguments = codec.echoes(&rig, "caller.xml", text, programs::free_ports());
    let (server, stay) = (rig.server.sip_addr().to_string(), (agent.len() / 8 + 2000).to_string());
    arguments.extend([&server, "-s", "agent", "-d", &stay].map(str::to_owned));
    let calling = programs::run("sipp", &arguments, rig.folder.path());
    let answering = async {
        let mut client = attach(&rig, &mut told).await;
        client.send(json!({"command": "accept", "option": {"recorder": {}}})).await;
        client.event("answer").await;
        client.send(json!({"command": "play", "url": "agent.wav"})).await;
        client.event("trackEnd").await;
        rig.has_agreed_on(codec.name(), None).await;
        client.event("hangup").await;
    };
    tokio::join!(calling, answering);
    codec.is_heard(&rig, &agent, &watch).await;
    rig.server.stop().await;
}

async fn sipp_is_called(codec: Described) {
    let rig = Rig::start().await;
    let (agent, watch) = (agent_of(&rig).await, Watch::start());
    let ports = programs::free_ports();
    let arguments = codec.echoes(&rig, "answers.xml", include_str!("../tools/answers.xml"), ports);
    let callee = programs::start("sipp", &arguments, rig.folder.path());
    until("SIPp listens", || UdpSocket::bind(("127.0.0.1", ports[0])).is_err().then_some(())).await;
    let mut client = rig.connect("/call/sip").await;
    let to = format!("sip:phone@127.0.0.1:{}", ports[0]);
    client.send(json!({"command": "invite", "option": {"callee": to, "recorder": {}}})).await;
    client.event("answer").await;
    client.send(json!({"command": "play", "url": "agent.wav"})).await;
    client.event("trackEnd").await;
    rig.has_agreed_on(codec.name(), None).await;
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    content(callee, "the callee").await;
    codec.is_heard(&rig, &agent, &watch).await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sipp_hears_of_us_in_each_codec_is_what_we_say_when_it_calls_and_when_it_is_called() {
    tokio::join!(
        sipp_calls(Described("PCMU/8000", 0)),
        sipp_calls(Described("PCMA/8000", 8)),
        sipp_calls(Described("G722/8000", 9)),
        sipp_calls(Described("opus/48000/2", 96)),
        sipp_is_called(Described("PCMU/8000", 0)),
        sipp_is_called(Described("PCMA/8000", 8)),
        sipp_is_called(Described("G722/8000", 9)),
        sipp_is_called(Described("opus/48000/2", 111)),
    );
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
