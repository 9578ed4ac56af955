//! The history of the agent's words is what was sent as sound: nothing else, nothing lost, nothing twice.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use playbook::{Action, Conversation, Ended, Input, Note, Playbook, Vars};
use proptest::prelude::*;
use protocol::chat::{ModelOutput, Role, TurnId, Usage};
use protocol::event::Transcript;
use protocol::{CallTime, Command, Event};

const PLAYBOOK: &str = "---\nllm: { provider: openai }\nspeculation: true\ngreeting: Hello and welcome to the library.\n\
    interruption: { strategy: STRATEGY }\nendOfTurn: { strategy: END }\n---\nOne.";

/// Fewer heard characters may be dropped when the caller goes on with the same question.
const FEW: usize = 15;

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Delta(&'static str),
    Final(&'static str),
    Voice(bool),
    Model(&'static str),
    Done,
    /// So many characters more of what is being said go out.
    Sound(usize),
    /// Media's armed rule cuts the voice.
    Barge,
}

fn step() -> impl Strategy<Value = Step> {
    let words = || prop::sample::select(vec!["um", "yes", "stop it", "my red book", "and"]);
    let answers = vec![
        "Of course. ",
        "We open at nine every day. ",
        "Do you? ",
        "<play file='x'/>",
        "[happy]Yes[/happy] ",
    ];
    prop_oneof![
        2 => (20_u64..3000).prop_map(Step::Wait),
        2 => words().prop_map(Step::Delta),
        2 => words().prop_map(Step::Final),
        2 => any::<bool>().prop_map(Step::Voice),
        4 => prop::sample::select(answers).prop_map(Step::Model),
        3 => Just(Step::Done),
        6 => (1_usize..40).prop_map(Step::Sound),
        1 => Just(Step::Barge),
    ]
}

#[derive(Clone, Default)]
struct Voice {
    play_id: String,
    text: String,
    file: bool,
    closed: bool,
    sent: usize,
}

/// The call's side: a voice that tells truthfully what went out.
#[derive(Default)]
struct Call {
    now: u64,
    voice: Option<Voice>,
    turn: TurnId,
    inbox: VecDeque<Input>,
    /// What went out, by utterance in the order of turns.
    out: BTreeMap<(u64, u32), String>,
}

impl Call {
    fn act(&mut self, action: Action) {
        match action {
            Action::Do(Command::Tts(tts)) => {
                let play_id = tts.play_id.unwrap();
                if self.voice.as_ref().is_some_and(|voice| voice.play_id != play_id) {
                    self.stop(Ended::Interrupted);
                }
                let voice = self.voice.get_or_insert_with(|| Voice { play_id, ..Voice::default() });
                voice.text.push_str(&tts.text);
                voice.closed |= tts.end_of_stream == Some(true);
            }
            Action::Do(Command::Play(play)) => {
                self.stop(Ended::Interrupted);
                let play_id = play.play_id.unwrap();
                self.voice = Some(Voice { play_id, file: true, closed: true, ..Voice::default() });
            }
            Action::Do(Command::Interrupt(_)) => self.stop(Ended::Interrupted),
            Action::Ask(ask) => self.turn = ask.turn,
            _ => {}
        }
    }

    fn sound(&mut self, chars: usize) {
        let Some(voice) = &mut self.voice else { return };
        let whole = voice.text.chars().count();
        voice.sent = (voice.sent + chars).min(whole);
        if voice.closed && voice.sent == whole {
            return self.stop(Ended::Finished);
        }
        let (play_id, text) = (voice.play_id.clone(), heard(voice));
        self.inbox.push_back(Input::Heard { play_id, text, ended: Ended::Playing });
    }

    fn stop(&mut self, ended: Ended) {
        let Some(voice) = self.voice.take() else { return };
        let text = heard(&voice);
        if !voice.file && !text.trim().is_empty() {
            let id = voice.play_id.strip_prefix("turn-").unwrap();
            let (turn, part) = id.split_once('.').unwrap_or((id, "1"));
            self.out.insert((turn.parse().unwrap(), part.parse().unwrap()), text.trim().to_owned());
        }
        self.inbox.push_back(Input::Heard { play_id: voice.play_id, text, ended });
    }
}

/// Whole words that went out.
fn heard(voice: &Voice) -> String {
    let sent: String = voice.text.chars().take(voice.sent).collect();
    if sent.len() == voice.text.len() {
        return sent;
    }
    sent.rfind(' ').map_or(String::new(), |at| sent[..at].to_owned())
}

fn input(step: &Step, turn: TurnId) -> Input {
    let (track_id, timestamp) = (String::new(), 0);
    let words = |text: &str| Transcript { text: text.to_owned(), ..Transcript::default() };
    match step {
        Step::Delta(text) => Input::Call(Event::AsrDelta(words(text))),
        Step::Final(text) => Input::Call(Event::AsrFinal(words(text))),
        Step::Voice(true) => {
            let (start_time, is_filler, confidence) = (0, None, None);
            Input::Call(Event::Speaking { track_id, timestamp, start_time, is_filler, confidence })
        }
        Step::Voice(false) => Input::Call(Event::Silence { track_id, timestamp, start_time: 0, duration: 0 }),
        Step::Model(text) => Input::Model(turn, ModelOutput::Text((*text).to_owned())),
        Step::Done => Input::Model(turn, ModelOutput::Done(Usage::default())),
        Step::Wait(_) | Step::Sound(_) | Step::Barge => Input::Tick,
    }
}

fn feed(conversation: &mut Conversation, call: &mut Call, first: Input) {
    call.inbox.push_back(first);
    while let Some(input) = call.inbox.pop_front() {
        let mut actions = Vec::new();
        conversation.handle(CallTime::ms(call.now), input, &mut actions);
        actions.into_iter().for_each(|action| call.act(action));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) })]

    #[test]
    fn history_is_what_went_out(
        start in prop::sample::select(vec!["both", "vad", "asr", "none"]),
        end in prop::sample::select(vec!["silence", "completeness", "adaptive", "provider"]),
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let text = PLAYBOOK.replace("STRATEGY", start).replace("END", end);
        let playbook = Playbook::parse(&text, &|_| None).unwrap();
        let mut conversation = Conversation::new(Arc::new(playbook), Vars::default());
        let mut call = Call::default();
        feed(&mut conversation, &mut call, Input::Answered);
        for step in &steps {
            call.now += 20;
            match step {
                Step::Wait(ms) => call.now += ms,
                Step::Sound(chars) => call.sound(*chars),
                Step::Barge => call.stop(Ended::Interrupted),
                _ => {}
            }
            let turn = call.turn;
            feed(&mut conversation, &mut call, input(step, turn));
        }
        call.stop(Ended::Interrupted);
        feed(&mut conversation, &mut call, Input::Tick);
        call.stop(Ended::Interrupted);
        feed(&mut conversation, &mut call, Input::Tick);

        let mut turns: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
        for ((turn, _), text) in &call.out {
            turns.entry(*turn).or_default().push(text);
        }
        let agent = conversation.history().iter().filter(|message| message.role == Role::Assistant);
        let mut history = agent.map(|message| message.content.as_str()).peekable();
        for (turn, parts) in turns {
            let whole = parts.join(" ");
            if history.peek() == Some(&whole.as_str()) {
                history.next();
            } else {
                prop_assert!(whole.chars().count() < FEW, "turn {turn} is not in the history: {whole:?} {:?}",
                    conversation.history());
            }
        }
        prop_assert_eq!(history.next(), None, "the history says more than was sent");
    }
}

#[test]
fn each_piece_for_the_voice_is_told_with_its_utterance() {
    let text = PLAYBOOK.replace("STRATEGY", "both").replace("END", "silence");
    let mut conversation =
        Conversation::new(Arc::new(Playbook::parse(&text, &|_| None).unwrap()), Vars::default());
    let mut out = Vec::new();
    conversation.handle(CallTime::ZERO, Input::Answered, &mut out);
    let spoken = out.iter().filter_map(|action| match action {
        Action::Do(Command::Tts(tts)) if !tts.text.is_empty() => {
            Some((tts.play_id.as_deref(), tts.text.as_str()))
        }
        _ => None,
    });
    let told = out.iter().filter_map(|action| match action {
        Action::Note(Note::Metric { key: "tts_play_id_map", data, .. }) => {
            Some((data["playId"].as_str(), data["text"].as_str().unwrap()))
        }
        _ => None,
    });
    let told: Vec<_> = told.collect();
    assert_eq!(told, spoken.collect::<Vec<_>>());
    assert!(told[0].1.starts_with("Hello"), "{told:?}");
}
