//! What the model is told of a long call: a summary of its beginning, and the last messages as they are.
//!
//! The summary is asked for when the agent has finished and the caller may speak; no turn waits for it. Until it is
//! there the messages are told as they are.

use std::fmt::Write;

use protocol::chat::{Ask, Message, ModelOutput, Role, TurnId};

use super::{Action, Conversation};
use crate::prompt;
use crate::thinking::without_thoughts;

/// Messages at the end that are never summarised.
const KEPT: usize = 6;
/// Messages after which older ones are summarised, when the playbook does not say.
const LIMIT: u32 = 20;
/// Longest summary, in bytes.
const MAX_SUMMARY: usize = 4000;
/// Turns of these questions are numbered from here on: no turn of the talk gets there.
const FIRST: u64 = 1 << 62;

/// The beginning of the call in few words.
#[derive(Debug, Default)]
pub(super) struct Memory {
    summary: String,
    /// Messages since the beginning of the call that the summary stands for.
    covers: usize,
    asking: Option<Asking>,
    last: u64,
}

#[derive(Debug)]
struct Asking {
    turn: TurnId,
    text: String,
    covers: usize,
}

impl Conversation {
    /// Asks for a summary of the older messages when there are many.
    pub(super) fn summarise(&mut self, out: &mut Vec<Action>) {
        let Some(llm) = &self.playbook.llm else { return };
        let wanted = llm.features.iter().flatten().any(|feature| feature == "rolling_summary");
        let limit = llm.summary_limit.unwrap_or(LIMIT) as usize;
        let told = self.history.total().saturating_sub(self.memory.covers);
        if !wanted || self.memory.asking.is_some() || told <= limit.saturating_add(KEPT) {
            return;
        }
        let covers = self.history.total() - KEPT;
        let text = self.transcript(self.memory.covers, covers);
        let instruction = "Summarise this part of a telephone call in a few sentences for the one who goes on with \
            it: what the caller wants, names and numbers, what was agreed, what is open.";
        let messages = vec![Message::new(Role::System, instruction), Message::new(Role::User, text)];
        self.memory.last += 1;
        let turn = TurnId(FIRST + self.memory.last);
        self.memory.asking = Some(Asking { turn, text: String::new(), covers });
        out.push(Action::Ask(Ask {
            turn,
            messages,
            scene: self.scene().to_owned(),
            tools: Vec::new(),
            rules: Vec::new(),
            otherwise: None,
        }));
    }

    /// Takes a piece of a summary; gives it back when it belongs to none.
    pub(super) fn keep_summary(&mut self, turn: TurnId, output: ModelOutput) -> Option<ModelOutput> {
        let Some(asking) = self.memory.asking.as_mut().filter(|asking| asking.turn == turn) else {
            return Some(output);
        };
        match output {
            ModelOutput::Text(text) if asking.text.len() + text.len() <= MAX_SUMMARY => {
                asking.text.push_str(&text);
            }
            ModelOutput::Done(_) => {
                let Asking { text, covers, .. } = self.memory.asking.take()?;
                let text = without_thoughts(&text);
                if !text.trim().is_empty() {
                    text.trim().clone_into(&mut self.memory.summary);
                    self.memory.covers = covers;
                }
            }
            // Without a summary the messages are told as they are.
            ModelOutput::Failed { .. } => self.memory.asking = None,
            ModelOutput::Text(_) | ModelOutput::Reasoning(_) | ModelOutput::ToolCall { .. } => {}
        }
        None
    }

    /// What the model is told: the prompt, the summary, and the messages it does not stand for.
    pub(super) fn told(&self, hint: Option<&str>, more: Option<Message>) -> Vec<Message> {
        let messages = self.history.messages();
        let dropped = self.history.total() - messages.len();
        let skipped = self.memory.covers.saturating_sub(dropped).min(messages.len());
        let mut rest: Vec<Message> = messages.iter().skip(skipped).cloned().collect();
        rest.extend(more);
        if self.memory.summary.is_empty() {
            return prompt::messages(&self.prompt, &rest, hint);
        }
        let system = format!("{}\n\nEarlier in this call: {}", self.prompt, self.memory.summary);
        prompt::messages(&system, &rest, hint)
    }

    /// The summary so far and the messages from one to another, as text.
    fn transcript(&self, from: usize, to: usize) -> String {
        let messages = self.history.messages();
        let dropped = self.history.total() - messages.len();
        let mut text = self.memory.summary.clone();
        let (from, to) = (from.saturating_sub(dropped), to.saturating_sub(dropped));
        for message in messages.iter().take(to).skip(from).filter(|message| !message.content.is_empty()) {
            let _ = write!(text, "\n{}: {}", message.role.as_str(), message.content);
        }
        text
    }
}
