//! Whatever a file, a model, a tool or a caller brings: bounded, reported, and answered.
#![allow(clippy::disallowed_methods, reason = "how long reading takes is what is tested")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use playbook::{Action, Conversation, Input, Note, Playbook, Vars};
use protocol::chat::{Ask, ModelOutput, TurnId, Usage};
use protocol::event::Transcript;
use protocol::{CallTime, Command, Event};

/// A debug build on a busy machine; what grows with the square of its input takes minutes.
const SOON: Duration = Duration::from_secs(20);

fn conversation(text: &str) -> (Conversation, Vec<Action>) {
    let playbook = Playbook::parse(text, &|_| None).unwrap();
    let mut conversation = Conversation::new(Arc::new(playbook), Vars::default());
    let mut out = Vec::new();
    conversation.handle(CallTime::ZERO, Input::Answered, &mut out);
    (conversation, out)
}

fn asked(out: &[Action]) -> Ask {
    let ask = |action: &Action| if let Action::Ask(ask) = action { Some(ask.clone()) } else { None };
    out.iter().rev().find_map(ask).unwrap()
}

fn spoken(out: &[Action]) -> String {
    let words = |action: &Action| match action {
        Action::Do(Command::Tts(tts)) => Some(tts.text.clone()),
        _ => None,
    };
    out.iter().filter_map(words).collect()
}

fn troubles(out: &[Action]) -> Vec<String> {
    let trouble = |action: &Action| match action {
        Action::Note(Note::Trouble(text)) => Some(text.clone()),
        _ => None,
    };
    out.iter().filter_map(trouble).collect()
}

#[test]
fn a_megabyte_of_playbook_is_read_or_refused_in_time() {
    let begun = Instant::now();
    for filler in [
        "word ",
        "<goto ",
        "{{ x }} ",
        "`",
        "# Scene: s\n",
        "<set_var key='a'/>",
        "\u{1f600}",
        "-\n",
        "sip:a@b ",
    ] {
        let body = filler.repeat(1_000_000 / filler.len());
        let _ = Playbook::parse(&format!("---\ngreeting: Hi.\n---\n{body}"), &|_| None);
    }
    for yaml in ["a: {b: ", "- ", "? ", "a: 'x\n", "a: |\n x\n", "&a *a ", "tools: [", "${X}"] {
        let front = yaml.repeat(900_000 / yaml.len());
        let _ = Playbook::parse(&format!("---\n{front}\n---\n"), &|_| Some("${X}${X}".to_owned()));
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[test]
fn a_template_that_loops_is_told_and_taken_as_written() {
    let text = "---\nllm: {provider: openai}\ngreeting: 'Hi {% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}'\n---\nHelp.";
    let begun = Instant::now();
    let (_, out) = conversation(text);
    assert!(begun.elapsed() < SOON);
    assert_eq!(troubles(&out).len(), 1, "{:?}", troubles(&out));
    let (_, out) = conversation("---\nllm: {provider: openai}\n---\n{{ 'x' * 99999999 }}{{ caller }}");
    assert!(!troubles(&out).is_empty());
}

#[test]
fn a_model_that_streams_garbage_or_without_end_is_cut() {
    let begun = Instant::now();
    for piece in [
        "\u{0}\u{fffd}",
        "<",
        "<goto scene='",
        "{\"text\": \"",
        "```",
        "[happy]",
        "<b>",
        "<play file='x'/>",
        "word ",
        "\u{200b}",
    ] {
        let (mut conversation, out) = conversation("---\nllm: {provider: openai}\n---\nHelp.");
        let turn = asked(&out).turn;
        let mut out = Vec::new();
        for n in 0..60_000 {
            conversation.handle(
                CallTime::ms(n),
                Input::Model(turn, ModelOutput::Text(piece.into())),
                &mut out,
            );
        }
        conversation.handle(
            CallTime::ms(60_001),
            Input::Model(turn, ModelOutput::Done(Usage::default())),
            &mut out,
        );
        assert!(spoken(&out).len() < 100_000, "{piece}");
        assert!(!troubles(&out).is_empty(), "{piece} is not told");
        assert!(out.len() < 20_000, "{piece}: {} actions", out.len());
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[test]
fn an_answer_of_nothing_but_half_a_tag_is_an_apology() {
    let (mut conversation, out) = conversation("---\nllm: {provider: openai}\n---\nHelp.");
    let turn = asked(&out).turn;
    let mut out = Vec::new();
    for output in [ModelOutput::Text("<goto scene=\"x".into()), ModelOutput::Done(Usage::default())] {
        conversation.handle(CallTime::ms(100), Input::Model(turn, output), &mut out);
    }
    assert!(spoken(&out).starts_with("I am sorry"), "{}", spoken(&out));
}

#[test]
fn a_tool_that_returns_fifty_megabytes_is_cut() {
    let (mut conversation, out) = conversation("---\nllm: {provider: openai}\n---\nHelp.");
    let turn = asked(&out).turn;
    let mut out = Vec::new();
    let tag = "<http url='https://h/x' set_var='all'/>".to_owned();
    for output in [ModelOutput::Text(tag), ModelOutput::Done(Usage::default())] {
        conversation.handle(CallTime::ms(100), Input::Model(turn, output), &mut out);
    }
    let body = Ok("\u{e9}".repeat(25_000_000));
    out.clear();
    conversation.handle(CallTime::ms(200), Input::Fetched { id: 1, body }, &mut out);
    let told: usize = asked(&out).messages.iter().map(|message| message.content.len()).sum();
    assert!(told < 40_000, "{told}");
    assert!(conversation.vars().text("all").unwrap().len() <= 16 * 1024);
}

#[test]
fn a_caller_who_talks_without_end_is_bounded() {
    let (mut conversation, _) = conversation(
        "---\nllm: {provider: openai}\ngreeting: Hi.\nendOfTurn: {strategy: adaptive}\n---\nHelp.",
    );
    let mut out = Vec::new();
    let (play_id, text, ended) = ("turn-1".to_owned(), "Hi.".to_owned(), playbook::Ended::Finished);
    conversation.handle(CallTime::ZERO, Input::Heard { play_id, text, ended }, &mut out);
    for n in 0..2000_u64 {
        let words = Transcript { text: "and then ".repeat(500), index: n as u32, ..Transcript::default() };
        conversation.handle(CallTime::ms(n * 20), Input::Call(Event::AsrDelta(words.clone())), &mut out);
        conversation.handle(CallTime::ms(n * 20 + 10), Input::Call(Event::AsrFinal(words)), &mut out);
    }
    conversation.handle(CallTime::ms(100_000), Input::Tick, &mut out);
    let ask = asked(&out);
    assert!(ask.messages.iter().all(|message| message.content.len() <= 20_000));
}

#[test]
fn a_server_of_tools_cannot_flood_the_model() {
    let (mut conversation, out) =
        conversation("---\nllm: {provider: openai}\nmcp: [{ name: crm, url: 'https://c' }]\n---\nHelp.");
    assert!(out.iter().any(|action| matches!(action, Action::ListTools(_))));
    let tool = |n: usize| protocol::chat::ToolSpec {
        name: format!("find \u{1f600} {n}"),
        description: "x".repeat(if n == 0 { 1_000_000 } else { 10 }),
        parameters: serde_json::json!({ "type": "object" }),
    };
    let tools = Ok((0..5000).map(tool).collect());
    let mut out = Vec::new();
    conversation.handle(CallTime::ms(10), Input::Tools { server: "crm".into(), tools }, &mut out);
    let words = Transcript { text: "hi".into(), ..Transcript::default() };
    conversation.handle(
        CallTime::ms(20),
        Input::Model(TurnId(1), ModelOutput::Done(Usage::default())),
        &mut out,
    );
    conversation.handle(CallTime::ms(30), Input::Call(Event::AsrFinal(words)), &mut out);
    let ask = conversation_asks(&mut conversation, &mut out);
    assert_eq!(ask.tools.len(), 64);
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    assert!(ask.tools.iter().all(|tool| tool.name.len() <= 64 && tool.name.chars().all(good)));
}

/// The last question, after the agent's words were heard.
fn conversation_asks(conversation: &mut Conversation, out: &mut Vec<Action>) -> Ask {
    for n in 1..4 {
        let (play_id, text, ended) = (format!("turn-{n}"), String::new(), playbook::Ended::Finished);
        conversation.handle(CallTime::ms(100 * n), Input::Heard { play_id, text, ended }, out);
    }
    asked(out)
}
