//! What is left of a conversation when the call is over: the report for the playbook's `posthook`.

use protocol::chat::{Ask, Message, Role, TurnId};
use protocol::value::{Extra, Headers};
use serde_json::{Value, json};

use crate::conversation::Speculations;
use crate::playbook::Posthook;

/// Most characters of the talk that are sent for a summary, from its end.
const MAX_TALK: usize = 60_000;

/// The result of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Who said what; the agent's words as far as they were heard.
    pub history: Vec<Message>,
    /// Variables that events and records tell.
    pub variables: Extra,
    /// Scene at the end.
    pub scene: String,
    /// How often the model was asked early.
    pub speculations: Speculations,
    /// Functions and tags that were used.
    pub tool_calls: u32,
    /// Where to report it; absent when the playbook wants no report.
    pub report: Option<Report>,
}

/// A report to send.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Address, rendered.
    pub url: String,
    /// Method.
    pub method: String,
    /// Headers, rendered.
    pub headers: Headers,
    /// Question to the model whose answer is the summary; absent: none is wanted, or nothing was said.
    pub summary: Option<Ask>,
    /// Whether the history is part of it.
    pub with_history: bool,
}

impl Outcome {
    /// The body of the report, as the wire contract has it. `timestamp` is RFC 3339.
    pub fn body(&self, session_id: &str, summary: Option<&str>, timestamp: &str) -> Value {
        let with_history = self.report.as_ref().is_some_and(|report| report.with_history);
        let entry = |message: &Message| json!({ "role": message.role.as_str(), "content": message.content });
        let said = self.history.iter().filter(|message| !message.content.is_empty());
        let history: Option<Vec<Value>> = with_history.then(|| said.map(entry).collect());
        json!({ "sessionId": session_id, "summary": summary, "history": history, "timestamp": timestamp })
    }
}

/// The question whose answer is the summary of a call.
pub(crate) fn summary_of(hook: &Posthook, history: &[Message], scene: &str) -> Option<Ask> {
    let kind = hook.summary.as_ref()?;
    let line = |message: &Message| match message.role {
        Role::User => format!("caller: {}\n", message.content),
        Role::Assistant => format!("agent: {}\n", message.content),
        Role::System | Role::Tool => format!("note: {}\n", message.content),
    };
    let talk: String = history.iter().filter(|message| !message.content.is_empty()).map(line).collect();
    if !history.iter().any(|message| message.role == Role::User) {
        return None;
    }
    let skipped = talk.chars().count().saturating_sub(MAX_TALK);
    let talk: String = talk.chars().skip(skipped).collect();
    let messages = vec![Message::new(Role::System, kind.instruction()), Message::new(Role::User, talk)];
    Some(Ask {
        turn: TurnId(u64::MAX),
        messages,
        scene: scene.to_owned(),
        tools: Vec::new(),
        rules: Vec::new(),
        otherwise: None,
    })
}
