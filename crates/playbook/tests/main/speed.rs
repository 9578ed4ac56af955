//! What must not grow with the length of a call.

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
