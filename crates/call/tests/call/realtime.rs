//! A speech-to-speech model in place of recognizer and synthesizer: the rules alone, and the real task.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use call::core::clock::Clock;
use call::core::realtime::Broken;
use call::core::{Core, Effect, Facts, Input};
use call::handle::EVENTS;
use call::media::order::{DoorId, FromMedia, ToMedia, UtteranceId};
use call::setup::{Rules, Vendors};
use futures::{SinkExt, StreamExt};
use playbook::Playbook;
use protocol::option::Over;
use protocol::rest::CallKind;
use protocol::{CallTime, Command, Event, Extra};
use providers::{AnswerId, Heard, RealtimeInput, RealtimeOutput, Words};
use serde_json::{Value, json};
use testkit::cast::{Cast, tone};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

use crate::live::{Live, only, talk, within, world};

const DOOR: DoorId = DoorId(1);
const INVITE: &str =
    r#"{"command":"invite","option":{"realtime":{"provider":"openai"},"vad":{},"asr":{"provider":"x"}}}"#;
const PLAYBOOK: &str = "---
realtime: { provider: openai }
transfers: [\"sip:desk@pbx.example\"]
---
# Scene: start
You greet {{ name }}.
# Scene: desk
You book rooms.
";

/// The rules of a call whose model is played by hand.
pub(crate) struct Rig {
    core: Core,
    pub(crate) now: CallTime,
}

impl Rig {
    fn new(playbook: Option<&str>) -> (Self, Vec<Effect>) {
        Rig::invited(INVITE, playbook)
    }

    /// A call that this command has answered, and what came of that.
    pub(crate) fn invited(invite: &str, playbook: Option<&str>) -> (Self, Vec<Effect>) {
        let playbook = playbook.map(|text| Arc::new(Playbook::parse(text, &|_| None).unwrap()));
        let facts = Facts {
            id: "c".into(),
            reference: "c".into(),
            kind: CallKind::WebSocket,
            caller: String::new(),
            callee: String::new(),
            clock: Clock { began_unix_ms: 0 },
            rules: Rules::default(),
            vars: Extra::from([("name".to_owned(), json!("Ada"))]),
            random: (1, 2, 3),
            dump: None,
        };
        let option = playbook.as_ref().map(|own| own.option().over(&Default::default())).unwrap_or_default();
        let mut rig = Rig { core: Core::new(facts, option, None, playbook), now: CallTime::ZERO };
        rig.feed(Input::Begin);
        let effects = rig.feed(Input::Command(Command::parse(invite).unwrap().value));
        (rig, effects)
    }

    pub(crate) fn feed(&mut self, input: Input) -> Vec<Effect> {
        self.now += Duration::from_millis(100);
        self.core.handle(self.now, input);
        std::iter::from_fn(|| self.core.poll()).collect()
    }

    fn model(&mut self, output: RealtimeOutput) -> Vec<Effect> {
        self.feed(Input::Realtime(DOOR, 24_000, output))
    }

    fn call(&mut self, name: &str, arguments: Value) -> Vec<Effect> {
        self.model(RealtimeOutput::ToolCall { id: "f".into(), name: name.into(), arguments })
    }

    /// One second of an answer that says "We open at nine.", of which the first frame is out.
    fn answer(&mut self) -> UtteranceId {
        let answer = AnswerId(1);
        let text = "We open at nine.".to_owned();
        self.model(RealtimeOutput::Agent { answer, text });
        let played = self.model(RealtimeOutput::Audio { answer, samples: vec![1; 24_000].into() });
        let id = played.iter().find_map(|effect| match effect {
            Effect::Media(ToMedia::Play(id, 24_000, samples)) if samples.len() == 24_000 => Some(*id),
            _ => None,
        });
        let id = id.expect("the answer is played at its own rate");
        self.model(RealtimeOutput::Said(answer));
        self.feed(Input::Media(FromMedia::Started(id, self.now)));
        id
    }
}

pub(crate) fn events(effects: &[Effect]) -> Vec<&Event> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Emit(event) => Some(event),
            _ => None,
        })
        .collect()
}

fn told(effects: &[Effect]) -> Vec<&RealtimeInput> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::ToModel(input) => Some(input),
            _ => None,
        })
        .collect()
}

fn result(effects: &[Effect]) -> &str {
    match told(effects).as_slice() {
        [.., RealtimeInput::ToolResult { id, output }] if id == "f" => output,
        other => panic!("no result but {other:?}"),
    }
}

#[test]
fn a_model_takes_the_place_of_detector_and_recognizer() {
    let (_, effects) = Rig::new(None);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::OpenModel(DOOR, _))));
    assert!(
        !effects
            .iter()
            .any(|effect| matches!(effect, Effect::Listen { .. } | Effect::Media(ToMedia::Vad(..))))
    );
    assert!(!events(&effects).iter().any(|event| matches!(event, Event::Error { .. })));
}

#[test]
fn the_first_scene_tells_the_model_what_it_is() {
    let (_, effects) = Rig::new(Some(PLAYBOOK));
    let option = effects.iter().find_map(|effect| match effect {
        Effect::OpenModel(_, option) => Some(option),
        _ => None,
    });
    assert_eq!(option.unwrap().extra.as_ref().unwrap()["instructions"], "You greet Ada.");
}

#[test]
fn the_callers_voice_stops_the_answer_and_the_model_learns_what_was_heard() {
    let (mut rig, _) = Rig::new(None);
    let id = rig.answer();
    let effects = rig.model(RealtimeOutput::SpeechStarted);
    assert!(effects.iter().any(|effect| {
        matches!(effect, Effect::Media(ToMedia::Interrupt { below, fade }) if *below > id && fade.is_zero())
    }));
    assert!(events(&effects).iter().any(|event| matches!(event, Event::Speaking { .. })));
    let played = Duration::from_millis(620);
    let (total, barged) = (Duration::from_secs(1), false);
    let effects = rig.feed(Input::Media(FromMedia::Stopped { utterance: id, played, total, barged }));
    assert_eq!(told(&effects), [&RealtimeInput::Interrupted { answer: AnswerId(1), heard: played }]);
    let events = events(&effects);
    assert!(events.iter().any(|event| matches!(event, Event::Interruption { current: 620, .. })));
    assert!(events.iter().any(|event| {
        matches!(event, Event::AddHistory { speaker, text, .. } if speaker == "assistant" && text == "We open")
    }));
    let late = rig.model(RealtimeOutput::Audio { answer: AnswerId(1), samples: [1].into() });
    assert!(late.is_empty(), "sound of an answer that was cut is dropped: {late:?}");
}

#[test]
fn the_callers_words_are_a_final_transcript() {
    let (mut rig, _) = Rig::new(None);
    rig.model(RealtimeOutput::SpeechStarted);
    rig.model(RealtimeOutput::SpeechEnded);
    let words = Words { text: "When do you open?".into(), ..Words::default() };
    let effects = rig.model(RealtimeOutput::Caller(Heard::Final(words)));
    assert!(events(&effects).iter().any(|event| {
        matches!(event, Event::AsrFinal(said) if said.text == "When do you open?" && said.end_time.is_some())
    }));
}

#[test]
fn a_function_of_the_client_is_told_and_answered() {
    let (mut rig, _) = Rig::new(None);
    let effects = rig.call("weather", json!({ "city": "Bonn" }));
    assert!(events(&effects).iter().any(|event| {
        matches!(event, Event::FunctionCall { name, arguments, .. } if name == "weather" && arguments.contains("Bonn"))
    }));
    assert!(result(&effects).contains("status"));
}

#[test]
fn hanging_up_waits_for_the_last_words() {
    let (mut rig, _) = Rig::new(None);
    let id = rig.answer();
    let effects = rig.call("hangup_call", json!({ "reason": "done" }));
    assert!(result(&effects).contains("the call ends"));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Request(..))));
    let effects = rig.feed(Input::Media(FromMedia::Ended(id, Duration::from_secs(1))));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Request(..))), "{effects:?}");
}

#[test]
fn only_targets_that_the_playbook_names_are_called() {
    let (mut rig, _) = Rig::new(Some(PLAYBOOK));
    let effects = rig.call("transfer_call", json!({ "callee": "sip:900@premium.example" }));
    assert!(result(&effects).contains("refused"));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Dial(..))));
    let effects = rig.call("refer_call", json!({ "callee_uri": "sip:desk@pbx.example" }));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Dial(..))), "{effects:?}");
    let (mut rig, _) = Rig::new(None);
    let effects = rig.call("transfer_call", json!({ "callee": "sip:desk@pbx.example" }));
    assert!(result(&effects).contains("refused"), "without a playbook nothing is named");
}

#[test]
fn going_to_a_scene_gives_the_model_its_prompt() {
    let (mut rig, _) = Rig::new(Some(PLAYBOOK));
    let effects = rig.call("goto_scene", json!({ "scene": "desk" }));
    assert_eq!(*told(&effects)[0], RealtimeInput::Instructions("You book rooms.".into()));
    assert!(result(&effects).contains("status"));
    let effects = rig.call("goto_scene", json!({ "scene": "nowhere" }));
    assert!(result(&effects).contains("error"));
}

#[test]
fn a_model_that_breaks_is_connected_anew_and_one_that_refuses_ends_a_playbooks_call() {
    let (mut rig, _) = Rig::new(Some(PLAYBOOK));
    let broken = |retryable| Err(Broken { failure: "gone".into(), retryable });
    for (lost, pause_ms) in [(1, 250), (2, 500), (3, 1_000)] {
        let opened = rig.feed(Input::ModelEnded(DoorId(lost), broken(true)));
        assert!(!opened.iter().any(|effect| matches!(effect, Effect::OpenModel(..))), "at once: {opened:?}");
        rig.now += Duration::from_millis(pause_ms);
        let opened = rig.feed(Input::Timeout);
        let anew =
            |effect: &Effect| matches!(effect, Effect::OpenModel(door, _) if *door == DoorId(lost + 1));
        assert!(opened.iter().any(anew), "after {pause_ms} ms: {opened:?}");
    }
    let effects = rig.feed(Input::ModelEnded(DoorId(4), broken(false)));
    assert!(events(&effects).iter().any(|event| matches!(event, Event::Error { .. })));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Request(..))));
}

/// The vendor's side of one conversation, as its reference describes it: after half a second of sound that is not
/// silent it answers with a second of a tone. Gives the samples it was sent until then.
async fn vendor(listener: TcpListener) -> usize {
    let (stream, _) = listener.accept().await.unwrap();
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    let (mut heard, mut answered) = (0, None);
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else { continue };
        let event: Value = serde_json::from_str(&text).unwrap();
        match event["type"].as_str().unwrap() {
            "session.update" => {
                let updated = json!({ "type": "session.updated", "session": {} });
                socket.send(Message::text(updated.to_string())).await.unwrap();
            }
            "input_audio_buffer.append" => {
                let bytes = STANDARD.decode(event["audio"].as_str().unwrap()).unwrap();
                heard += bytes.len() / 2;
                if heard < 12_000 || answered.is_some() || bytes.iter().all(|byte| *byte == 0) {
                    continue;
                }
                answered = Some(heard);
                // The tone is made at 16 kHz; read at 24 kHz it lasts two thirds of its time.
                let sound: Vec<u8> =
                    tone(400, Duration::from_millis(1500)).iter().flat_map(|s| s.to_le_bytes()).collect();
                for event in [
                    json!({ "type": "response.created", "response": {} }),
                    json!({ "type": "response.output_audio_transcript.delta", "item_id": "a", "delta": "At nine." }),
                    json!({ "type": "response.output_audio.delta", "item_id": "a", "delta": STANDARD.encode(sound) }),
                    json!({ "type": "response.output_audio.done", "item_id": "a" }),
                    json!({ "type": "response.done", "response": { "status": "completed" } }),
                ] {
                    socket.send(Message::text(event.to_string())).await.unwrap();
                }
            }
            _ => {}
        }
    }
    answered.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sound_goes_both_ways_over_a_real_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (mut services, mut records, _) = world(Cast::default(), &[]);
    services.providers = Arc::new(Vendors);
    let mut live = Live::begin("speech", &services, None, EVENTS);
    live.send(&format!(
        r#"{{"command":"invite","option":{{"realtime":{{"provider":"ws://{address}/v1/realtime","apiKey":"k"}}}}}}"#
    ))
    .await;
    let mut vendor = std::pin::pin!(vendor(listener));
    let speaking = talk(live.socket.to_call.clone());
    let said = live.wait("the answer", |event| matches!(event, Event::AddHistory { .. }));
    tokio::select! {
        () = speaking => panic!("the call does not listen"),
        _ = &mut vendor => panic!("the conversation ended"),
        event = said => {
            assert!(matches!(&event, Event::AddHistory { text, .. } if text == "At nine."), "{event:?}");
        }
    }
    let mut loud = 0;
    while let Ok(batch) = live.socket.from_call.try_recv() {
        assert!(batch.len() <= 2, "{} messages wait for each other", batch.len());
        loud += batch.iter().filter(|message| message.iter().any(|byte| *byte != 0)).count();
    }
    assert!((48..=54).contains(&loud), "a second is 50 messages, not {loud}");
    live.send(r#"{"command":"hangup"}"#).await;
    let (heard, record) = tokio::join!(within("the end of the conversation", vendor), only(&mut records));
    assert!(heard >= 12_000);
    assert_eq!(record.transcript[0].text, "At nine.");
    live.over().await;
}
