//! An error of the program inside one call: that call ends with a record that says so, the others go on.

use std::sync::Arc;

use call::setup::Providers;
use protocol::HangupReason;
use protocol::option::{LlmOption, RealtimeOption, SynthesisOption, TranscriptionOption};
use providers::{ChatModel, ProviderError, Realtime, Recognizer, Synthesizer};
use rtp::{Header, Rtp};
use serde_json::json;
use testkit::Cast;
use testkit::fake_providers::FakeProviders;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::inbound_sip::{PLAYBOOK, playbooks};
use crate::raw_phone::{RawPhone, sdp};
use crate::rig::{PATIENCE, Rig};

/// Fakes, of which the chooser of a voice fails in the task of the call that asks for the voice `rotten`.
struct Fragile(FakeProviders);

impl Providers for Fragile {
    fn recognizer(&self, option: &TranscriptionOption) -> Result<Box<dyn Recognizer>, ProviderError> {
        self.0.recognizer(option)
    }
    fn synthesizer(&self, option: &SynthesisOption) -> Result<Box<dyn Synthesizer>, ProviderError> {
        assert!(option.speaker.as_deref() != Some("rotten"), "a table of providers fails, as the test says");
        self.0.synthesizer(option)
    }
    fn chat_model(&self, option: &LlmOption) -> Result<Box<dyn ChatModel>, ProviderError> {
        self.0.chat_model(option)
    }
    fn realtime(&self, option: &RealtimeOption) -> Result<Box<dyn Realtime>, ProviderError> {
        Providers::realtime(&self.0, option)
    }
}

/// Adds the next packets of sound that a phone is sent, so many of them, to `heard`.
async fn hear(phone: &UdpSocket, packets: usize, heard: &mut Vec<Header>) {
    let mut datagram = [0; 2048];
    let all = heard.len() + packets;
    while heard.len() < all {
        let length = timeout(PATIENCE, phone.recv(&mut datagram)).await.expect("a packet").unwrap();
        heard.extend(Rtp::parse(&datagram[..length]).ok().map(|packet| packet.header));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_the_rules_of_a_call_ends_it_with_a_record_and_the_others_go_on() {
    let providers = Fragile(FakeProviders::new(Cast::default(), &[]));
    let playbook = |config: &mut _| playbooks(config, Vec::new(), Some("hello.md"));
    let rig = Rig::start_among(Arc::new(providers), playbook).await;
    std::fs::write(rig.path("playbook/hello.md"), PLAYBOOK).unwrap();
    let sound = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let phone = RawPhone::towards(rig.server.sip_addr(), "heard").await;
    phone.invite_with("", &sdp(sound.local_addr().unwrap())).await;
    let answer = phone.answered().await;
    let mut heard = Vec::new();
    hear(&sound, 25, &mut heard).await;
    let mut clients = Vec::new();
    for id in ["other", "rotten"] {
        let mut client = rig.connect(&format!("/call?id={id}")).await;
        let tts = json!({"provider": "fake", "speaker": id});
        client.send(json!({"command": "invite", "option": {"tts": tts}})).await;
        client.event("answer").await;
        clients.push(client);
    }
    let [other, rotten] = &mut clients[..] else { unreachable!() };
    rotten.send(json!({"command": "tts", "text": "Hello."})).await;
    assert_eq!(rotten.event("hangup").await["reason"], "failed");
    rotten.closed().await;
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    assert_eq!((record.call_id.as_str(), record.hangup_reason), ("rotten", Some(HangupReason::Failed)));
    assert!(
        record.hangup_messages[0].reason.as_deref().unwrap().contains("internal error"),
        "{:?}",
        record.hangup_messages
    );
    let metrics = rig.get("/metrics").await.1;
    for count in ["active_call_call_panics_total 1", "active_call_media_panics_total 0"] {
        assert!(metrics.lines().any(|line| line == count), "no {count} in {metrics}");
    }
    other.send(json!({"command": "tts", "text": "Hello.", "playId": "hello"})).await;
    assert_eq!(other.event("trackEnd").await["playId"], "hello");
    other.send(json!({"command": "hangup"})).await;
    assert_eq!(other.event("hangup").await["reason"], "system");
    drop(clients);
    // What has come meanwhile, and two seconds more.
    let mut datagram = [0; 2048];
    while let Ok(length) = sound.try_recv(&mut datagram) {
        heard.extend(Rtp::parse(&datagram[..length]).ok().map(|packet| packet.header));
    }
    hear(&sound, 100, &mut heard).await;
    let metrics = rig.get("/metrics").await.1;
    let follows = |pair: &[Header]| pair[1].sequence == pair[0].sequence.wrapping_add(1);
    assert!(heard.windows(2).all(follows), "a packet of another call is lost: {heard:?}");
    // A machine that is too busy leaves ticks out, whatever happens in calls.
    if metrics.lines().any(|line| line == "active_call_media_slips_total 0") {
        let on_time = |pair: &[Header]| pair[1].timestamp == pair[0].timestamp.wrapping_add(160);
        assert!(heard.windows(2).all(on_time), "a tick of another call is left out: {heard:?}");
    }
    phone.hang_up(&answer).await;
    rig.server.stop().await;
}
