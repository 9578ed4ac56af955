//! Whatever happens in whatever order, a conversation stays sound.

use std::sync::Arc;

use playbook::{Action, Conversation, Ended, Input, Playbook, Vars};
use proptest::prelude::*;
use protocol::chat::{ModelOutput, Role, TurnId, Usage};
use protocol::event::{RejectEvent, Transcript};
use protocol::{CallTime, Command, Event};

const PLAYBOOK: &str = r#"---
llm: { provider: openai }
greeting: Hello and welcome to the library.
followUp: { timeout: 4000, max: 2, text: Are you there? }
dtmf: { 1: { action: goto, scene: b }, 2: { action: transfer, target: "sip:x@h" } }
dtmfCollectors: { pin: { digits: 2, interruptible: true } }
---
# Scene: a
One.
# Scene: b
<play file="b.wav"/>
Two.
"#;

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Words(String, bool),
    Speaking(bool),
    Key(char),
    Model(String),
    Done,
    Fail,
    Heard(usize, u8),
    Fetched,
    Hold(bool),
    Refused,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1_u64..6000).prop_map(Step::Wait),
        2 => ("(hello|um|stop it|my book)", any::<bool>()).prop_map(|(text, last)| Step::Words(text, last)),
        1 => any::<bool>().prop_map(Step::Speaking),
        1 => "[0-3#]".prop_map(|key| Step::Key(key.chars().next().unwrap())),
        3 => "(Yes, of course\\. |No\\. |<goto scene='b'/>|<hangup/>|<play file='x'/>|<http url='u'/>|<collect type='pin'/>|\\{|<re)"
            .prop_map(Step::Model),
        2 => Just(Step::Done),
        1 => Just(Step::Fail),
        4 => (0_usize..60, 0_u8..3).prop_map(|(chars, ended)| Step::Heard(chars, ended)),
        1 => Just(Step::Fetched),
        1 => any::<bool>().prop_map(Step::Hold),
        1 => Just(Step::Refused),
    ]
}

/// The other side: what was said under which id, and which question is open.
#[derive(Default)]
struct Call {
    said: Vec<(String, String)>,
    turn: TurnId,
    fetch: u32,
    heard: Vec<String>,
}

impl Call {
    fn note(&mut self, out: &[Action]) {
        for action in out {
            match action {
                Action::Do(Command::Tts(tts)) => {
                    let play_id = tts.play_id.clone().unwrap();
                    match self.said.last_mut() {
                        Some((own, text)) if *own == play_id => text.push_str(&tts.text),
                        _ => self.said.push((play_id, tts.text.clone())),
                    }
                }
                Action::Do(Command::Play(play)) => {
                    self.said.push((play.play_id.clone().unwrap(), String::new()));
                }
                Action::Ask(ask) => self.turn = ask.turn,
                Action::Fetch { id, .. } => self.fetch = *id,
                _ => {}
            }
        }
    }

    fn input(&mut self, step: &Step) -> Input {
        let (track_id, timestamp) = (String::new(), 0);
        match step.clone() {
            Step::Wait(_) => Input::Tick,
            Step::Words(text, true) => {
                Input::Call(Event::AsrFinal(Transcript { text, ..Transcript::default() }))
            }
            Step::Words(text, false) => {
                Input::Call(Event::AsrDelta(Transcript { text, ..Transcript::default() }))
            }
            Step::Speaking(true) => {
                let (start_time, is_filler, confidence) = (0, None, None);
                Input::Call(Event::Speaking { track_id, timestamp, start_time, is_filler, confidence })
            }
            Step::Speaking(false) => {
                Input::Call(Event::Silence { track_id, timestamp, start_time: 0, duration: 0 })
            }
            Step::Key(key) => Input::Call(Event::Dtmf { track_id, timestamp, digit: key.to_string() }),
            Step::Model(text) => Input::Model(self.turn, ModelOutput::Text(text)),
            Step::Done => Input::Model(self.turn, ModelOutput::Done(Usage::default())),
            Step::Fail => Input::Model(self.turn, ModelOutput::Failed { error: "no".into() }),
            Step::Heard(chars, ended) => {
                let (play_id, said) = self.said.last().cloned().unwrap_or_default();
                let ended = [Ended::Playing, Ended::Finished, Ended::Interrupted][usize::from(ended)];
                let text: String = said.chars().take(chars).collect();
                self.heard.push(text.clone());
                Input::Heard { play_id, text, ended }
            }
            Step::Fetched => Input::Fetched { id: self.fetch, body: Ok("42".into()) },
            Step::Hold(on_hold) => Input::Call(Event::Hold { track_id, timestamp, on_hold, by: None }),
            Step::Refused => {
                let (reason, refer) = ("busy".into(), Some(true));
                let refused = RejectEvent { track_id, timestamp, reason, refer, ..RejectEvent::default() };
                Input::Call(Event::Reject(Box::new(refused)))
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) })]

    #[test]
    fn deadlines_lie_ahead_and_history_was_heard(steps in prop::collection::vec(step(), 0..60)) {
        let playbook = Playbook::parse(PLAYBOOK, &|_| None).unwrap();
        let mut conversation = Conversation::new(Arc::new(playbook), Vars::default());
        let (mut call, mut now, mut over) = (Call::default(), 0, false);
        let mut out = Vec::new();
        conversation.handle(CallTime::ZERO, Input::Answered, &mut out);
        call.note(&out);
        for step in &steps {
            now += if let Step::Wait(ms) = step { *ms } else { 20 };
            let input = call.input(step);
            out.clear();
            conversation.handle(CallTime::ms(now), input, &mut out);
            call.note(&out);
            // What was heard of the last words is still told; nothing more is done.
            let only_told = out.iter().all(|action| matches!(action, Action::Note(_)));
            prop_assert!(!over || only_told, "acts after the end: {:?}", out);
            over |= out.iter().any(|action| matches!(action, Action::Do(Command::Hangup(_))));
            let deadline = conversation.timeout();
            prop_assert!(deadline.is_none_or(|at| at > CallTime::ms(now)), "{:?} is not after {}", deadline, now);
            for message in conversation.history().iter().filter(|message| message.role == Role::Assistant) {
                let mut rest = message.content.as_str();
                while !rest.is_empty() {
                    let part = call.heard.iter().map(|heard| heard.trim()).filter(|heard| !heard.is_empty());
                    let part = part.filter(|heard| rest.starts_with(heard)).max_by_key(|heard| heard.len());
                    prop_assert!(part.is_some(), "{:?} was not heard: {:?}", rest, call.heard);
                    rest = rest[part.unwrap().len()..].trim_start();
                }
            }
        }
    }
}
