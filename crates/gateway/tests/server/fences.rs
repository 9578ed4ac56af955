//! An error of the program inside one call: that call ends with a record that says so, the others go on.

use std::sync::Arc;

use call::setup::Providers;
use protocol::HangupReason;
use protocol::option::{LlmOption, RealtimeOption, SynthesisOption, TranscriptionOption};
use providers::{ChatModel, ProviderError, Realtime, Recognizer, Synthesizer};
use serde_json::json;
use testkit::Cast;
use testkit::fake_providers::FakeProviders;

use crate::rig::Rig;

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

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_the_rules_of_a_call_ends_it_with_a_record_and_the_others_go_on() {
    let providers = Fragile(FakeProviders::new(Cast::default(), &[]));
    let rig = Rig::start_among(Arc::new(providers), |_| {}).await;
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
    other.send(json!({"command": "tts", "text": "Hello.", "playId": "hello"})).await;
    assert_eq!(other.event("trackEnd").await["playId"], "hello");
    other.send(json!({"command": "hangup"})).await;
    assert_eq!(other.event("hangup").await["reason"], "system");
    drop(clients);
    rig.server.stop().await;
}
