//! What a conversation costs: one event after fifty turns, and ten minutes of a busy call.
//! Run with `cargo bench -p active-call-playbook --bench conversation`.

use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use playbook::rehearsal::{Seen, Stage};
use playbook::{Action, Conversation, Ended, Input, Playbook, Vars};
use protocol::chat::{ModelOutput, TurnId, Usage};
use protocol::event::Transcript;
use protocol::{CallTime, Command, Event};

const PLAYBOOK: &str = "---\nllm: {provider: openai}\nspeculation: true\nendOfTurn: {strategy: completeness}\n\
    greeting: Hi.\n---\nBe kind to {{ caller }}.";
const ANSWER: &str = "We open at nine and close at five. Is there anything else?";
/// Turns that the history has before an event is measured.
const TURNS: u64 = 50;

fn main() {
    divan::main();
}

fn playbook() -> Arc<Playbook> {
    Arc::new(Playbook::parse(PLAYBOOK, &|_| None).expect("a playbook"))
}

/// A conversation with fifty turns behind it; the caller may speak.
struct Talk {
    conversation: Conversation,
    now: u64,
    out: Vec<Action>,
}

impl Talk {
    fn after_many_turns() -> Talk {
        let conversation = Conversation::new(playbook(), Vars::default());
        let mut talk = Talk { conversation, now: 0, out: Vec::new() };
        talk.handle(Input::Answered);
        talk.hear_all();
        for _ in 0..TURNS {
            let turn = talk.asked();
            talk.handle(Input::Model(turn, ModelOutput::Text(ANSWER.to_owned())));
            talk.handle(Input::Model(turn, ModelOutput::Done(Usage::default())));
            talk.hear_all();
        }
        assert_eq!(talk.conversation.history().len() as u64, 2 * TURNS + 1);
        talk.out.clear();
        talk
    }

    fn handle(&mut self, input: Input) {
        self.now += 20;
        self.conversation.handle(CallTime::ms(self.now), input, &mut self.out);
    }

    /// The caller says something that is complete; gives the turn that answers.
    fn asked(&mut self) -> TurnId {
        self.now += 5000;
        self.handle(said("I would like to know more about it."));
        self.now += 3000;
        self.handle(Input::Tick);
        let turn = |action: &Action| if let Action::Ask(ask) = action { Some(ask.turn) } else { None };
        self.out.iter().rev().find_map(turn).expect("a question to the model")
    }

    /// Everything that was said goes out.
    fn hear_all(&mut self) {
        while let Some(Action::Do(Command::Tts(tts))) =
            self.out.iter().rfind(|action| matches!(action, Action::Do(Command::Tts(_)))).cloned()
        {
            self.out.clear();
            let play_id = tts.play_id.unwrap_or_default();
            let text = if play_id == "turn-1" { "Hi." } else { ANSWER };
            self.handle(Input::Heard { play_id, text: text.to_owned(), ended: Ended::Finished });
        }
    }
}

fn said(text: &str) -> Input {
    Input::Call(Event::AsrFinal(Transcript { text: text.to_owned(), ..Transcript::default() }))
}

fn guessed(text: &str) -> Input {
    Input::Call(Event::AsrDelta(Transcript { text: text.to_owned(), ..Transcript::default() }))
}

/// An event of a call by name.
const EVENTS: [&str; 4] =
    ["words so far", "words that ask the model", "piece of an answer", "nothing but time"];

#[divan::bench(args = EVENTS)]
fn one_event_after_fifty_turns(bencher: Bencher<'_, '_>, event: &str) {
    let prepared = || {
        let mut talk = Talk::after_many_turns();
        talk.now += 5000;
        let input = match event {
            "words so far" => guessed("I would like to"),
            "words that ask the model" => said("I would like to know more about it."),
            "piece of an answer" => {
                let turn = talk.asked();
                Input::Model(turn, ModelOutput::Text("We open at nine. ".to_owned()))
            }
            _ => Input::Tick,
        };
        talk.out.clear();
        (talk, input)
    };
    bencher.with_inputs(prepared).bench_values(|(mut talk, input)| {
        talk.handle(input);
        talk
    });
}

#[divan::bench]
fn ten_minutes_of_call(bencher: Bencher<'_, '_>) {
    let playbook = playbook();
    bencher.counter(ItemsCount::new(TURNS)).bench(|| {
        let mut stage = Stage::new(Arc::clone(&playbook), Vars::default());
        stage.later(0, Input::Answered);
        for turn in 0..TURNS {
            let begun = 4000 + turn * 12_000;
            stage.caller_speaks(begun, begun + 1500, "I would like to know more about it.");
        }
        let mut questions = 0;
        while stage.now_ms() < 600_000 {
            stage.step();
            for (at, seen) in stage.take_seen() {
                let Seen::Asked(ask) = seen else { continue };
                questions += 1;
                for word in ANSWER.split_inclusive(' ') {
                    stage.later(at + 300, Input::Model(ask.turn, ModelOutput::Text(word.to_owned())));
                }
                stage.later(at + 320, Input::Model(ask.turn, ModelOutput::Done(Usage::default())));
            }
        }
        assert!(questions >= TURNS, "{questions}");
    });
}
