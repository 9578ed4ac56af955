//! What the model is told before it answers.

use std::fmt::Write;

use protocol::chat::{Message, Role};

use crate::playbook::Playbook;
use crate::tags;

/// Most messages of the history that are sent with a question.
const MAX_SENT: usize = 120;
/// Most characters of the history that are sent with a question.
const MAX_SENT_CHARS: usize = 60_000;

/// Snippets that a playbook's `llm.features` add to the prompt.
pub const FEATURES: &[(&str, &str)] = &[
    (
        "intent_clarification",
        "When it is not clear what the caller wants, ask one short question before you act.",
    ),
    (
        "emotion_resonance",
        "Notice how the caller feels and let your first words show it, without overdoing it.",
    ),
    (
        "voice_emotion",
        "You may mark the tone of a passage as [happy]words[/happy]; also sad, angry, calm, excited, serious.",
    ),
    ("http_tool", "Fetch facts you need with the http tag instead of guessing them."),
    (
        "context_repair",
        "What the caller says was recognized by a machine and may be cut in pieces: read pieces together and \
         allow for words that sound alike.",
    ),
    ("rolling_summary", "Keep in mind what was agreed earlier in the call; do not ask for it again."),
];

/// The system prompt of a scene: its text, the snippets of the playbook's features, and the tags.
/// `rules` answer without a prompt and get the scene's text alone.
pub fn system(playbook: &Playbook, scene: &str) -> String {
    let mut text = scene.trim().to_owned();
    let Some(llm) = playbook.llm.as_ref().filter(|llm| llm.provider.as_deref() != Some("rules")) else {
        return text;
    };
    for feature in llm.features.iter().flatten() {
        if let Some((_, snippet)) = FEATURES.iter().find(|(name, _)| name == feature) {
            let _ = write!(text, "\n\n{snippet}");
        }
    }
    for (name, rule) in &playbook.dtmf_collectors {
        let _ = write!(
            text,
            "\n\nThe collect type {name} takes {} to {} digits.",
            rule.min_digits, rule.max_digits
        );
        let _ = write!(text, " {}", rule.description.trim());
    }
    match llm.tool_instructions.as_deref().map(str::trim) {
        Some("") | None => {
            text.push_str("\n\n");
            text.push_str(&instructions(&playbook.tools.built_in));
        }
        Some(own) => {
            let _ = write!(text, "\n\n{own}");
        }
    }
    text
}

/// What a model is told of telephone speech and of the tags, from the table of tags but for those it is given as
/// `functions`.
pub fn instructions(functions: &[&str]) -> String {
    let mut text = String::from(
        "You are on the telephone: answer in one to three short spoken sentences, without lists or markup. \
         These tags act when you write them; they are not spoken:",
    );
    for row in tags::TAGS.iter().filter(|row| !functions.contains(&row.name)) {
        let _ = write!(text, "\n{} {}", row.example, row.help);
    }
    text
}

/// The messages of a question: the system prompt, then as much of the end of the history as is sent.
pub fn messages(system: &str, history: &[Message], hint: Option<&str>) -> Vec<Message> {
    let mut chars = 0_usize;
    let sent = history
        .iter()
        .rev()
        .take(MAX_SENT)
        .take_while(|message| {
            chars = chars.saturating_add(message.content.len());
            chars <= MAX_SENT_CHARS
        })
        .count();
    let mut messages = Vec::with_capacity(sent + 2);
    if !system.is_empty() {
        messages.push(Message::new(Role::System, system));
    }
    // A result whose call was left out would be refused.
    let sent = history.iter().skip(history.len() - sent).skip_while(|message| message.role == Role::Tool);
    messages.extend(sent.cloned());
    messages.extend(hint.map(|hint| Message::new(Role::System, hint)));
    messages
}
