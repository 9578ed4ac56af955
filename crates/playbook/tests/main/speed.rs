//! What must not grow with the length of a call.
#![allow(clippy::disallowed_methods, reason = "how long reading takes is what is tested")]

use std::sync::Arc;

use playbook::{Action, Conversation, Ended, Input, Playbook, Vars};
use protocol::chat::{ModelOutput, Usage};
use protocol::event::Transcript;
use protocol::{CallTime, Command, Event};

#[test]
fn a_thousand_turns_keep_bounded_questions() {
    let playbook =
        Playbook::parse("---\nllm: {provider: openai}\ngreeting: Hi.\n---\nBe kind.", &|_| None).unwrap();
    let mut conversation = Conversation::new(Arc::new(playbook), Vars::default());
    let mut out = Vec::new();
    conversation.handle(CallTime::ZERO, Input::Answered, &mut out);
    let mut largest = 0;
    for second in 1..2000_u64 {
        let now = CallTime::ms(second * 1000);
        let mut next = Vec::new();
        for action in out.drain(..) {
            match action {
                Action::Do(Command::Tts(tts)) if tts.end_of_stream == Some(true) => next.push(Input::Heard {
                    play_id: tts.play_id.unwrap(),
                    text: "Yes, of course.".into(),
                    ended: Ended::Finished,
                }),
                Action::Ask(ask) => {
                    largest = largest.max(ask.messages.len());
                    next.push(Input::Model(ask.turn, ModelOutput::Text("Yes, of course.".into())));
                    next.push(Input::Model(ask.turn, ModelOutput::Done(Usage::default())));
                }
                _ => {}
            }
        }
        if next.is_empty() {
            let words = Transcript { text: format!("question {second}"), ..Transcript::default() };
            next.push(Input::Call(Event::AsrFinal(words)));
        }
        for input in next {
            conversation.handle(now, input, &mut out);
        }
    }
    assert!(largest > 100 && largest <= 122, "{largest}");
    assert!(conversation.history().len() <= 1001);
}

/// Ten minutes of a busy call, and what one of its events costs at the end.
#[test]
fn ten_simulated_minutes_take_no_time() {
    let playbook = "---\nllm: {provider: openai}\nspeculation: true\nendOfTurn: {strategy: completeness}\n\
        greeting: Hi.\n---\nBe kind.";
    let playbook = Playbook::parse(playbook, &|_| None).unwrap();
    let mut stage = playbook::rehearsal::Stage::new(Arc::new(playbook), Vars::default());
    stage.later(0, Input::Answered);
    for turn in 0..50_u64 {
        stage.caller_speaks(
            4000 + turn * 12_000,
            5500 + turn * 12_000,
            "I would like to know more about it.",
        );
    }
    let begun = std::time::Instant::now();
    let mut questions = 0;
    while stage.now_ms() < 600_000 {
        stage.step();
        for (at, seen) in stage.take_seen() {
            if let playbook::rehearsal::Seen::Asked(ask) = seen {
                questions += 1;
                for word in "We open at nine and close at five. Is there anything else? ".split_inclusive(' ')
                {
                    stage.later(at + 300, Input::Model(ask.turn, ModelOutput::Text(word.to_owned())));
                }
                stage.later(at + 320, Input::Model(ask.turn, ModelOutput::Done(Usage::default())));
            }
        }
    }
    assert!(questions >= 50, "{questions}");
    // A release build takes a fiftieth of a second. What grows with the square of the call takes minutes in a debug
    // build; everything below is a matter of how busy the machine is.
    assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{:?}", begun.elapsed());
}
