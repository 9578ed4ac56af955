//! What was said and heard in a call.
//!
//! The agent's words are in the history only as far as the caller has heard them: each report of an utterance
//! replaces what was known of it, and what was never audible is never there.

use protocol::chat::{Message, Role, TurnId};

/// Most messages a call keeps; the oldest go first.
const MAX_MESSAGES: usize = 1000;

/// The messages of a call, each with the turn it belongs to, in the order of turns.
#[derive(Clone, Debug, Default)]
pub struct History {
    messages: Vec<Message>,
    turns: Vec<TurnId>,
    /// Messages that were dropped because there were too many.
    dropped: usize,
}

impl History {
    /// All messages, the oldest first.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Messages since the beginning of the call, those that were dropped included.
    pub fn total(&self) -> usize {
        self.dropped + self.messages.len()
    }

    /// Adds a message at the end of `turn`.
    pub fn push(&mut self, turn: TurnId, role: Role, text: impl Into<String>) {
        self.push_all(turn, [Message::new(role, text)]);
    }

    /// Adds messages that belong together at the end of `turn`.
    pub fn push_all(&mut self, turn: TurnId, messages: impl IntoIterator<Item = Message>) {
        for message in messages {
            let at = self.end_of(turn);
            self.messages.insert(at, message);
            self.turns.insert(at, turn);
        }
        while self.messages.len() > MAX_MESSAGES {
            self.messages.remove(0);
            self.turns.remove(0);
            self.dropped += 1;
        }
    }

    /// Sets what the caller has heard of the agent's words of `turn`.
    pub fn set_heard(&mut self, turn: TurnId, text: &str) {
        match self.position(turn, Role::Assistant) {
            Some(at) if text.is_empty() => {
                self.messages.remove(at);
                self.turns.remove(at);
            }
            Some(at) => {
                if let Some(message) = self.messages.get_mut(at) {
                    text.clone_into(&mut message.content);
                }
            }
            None if text.is_empty() => {}
            None => self.push(turn, Role::Assistant, text),
        }
    }

    /// What the caller has heard of the agent's words of `turn`.
    pub fn heard(&self, turn: TurnId) -> &str {
        let message = self.position(turn, Role::Assistant).and_then(|at| self.messages.get(at));
        message.map_or("", |message| message.content.as_str())
    }

    /// Continues the caller's words of `turn` with `text` and moves them to `next`; the few syllables the
    /// agent said between are dropped. Returns the words as a whole, or `None` when `turn` has none.
    pub fn continue_words(&mut self, turn: TurnId, next: TurnId, text: &str) -> Option<&str> {
        self.set_heard(turn, "");
        let at = self.position(turn, Role::User)?;
        let mut message = self.messages.remove(at);
        self.turns.remove(at);
        message.content.push(' ');
        message.content.push_str(text);
        let at = self.end_of(next);
        self.messages.insert(at, message);
        self.turns.insert(at, next);
        self.messages.get(at).map(|message| message.content.as_str())
    }

    fn position(&self, turn: TurnId, role: Role) -> Option<usize> {
        let mut entries = self.turns.iter().zip(&self.messages);
        let from_end = entries.rposition(|(own, message)| {
            *own == turn && message.role == role && message.tool_calls.is_empty()
        })?;
        Some(from_end)
    }

    /// Where a message of `turn` belongs: an utterance that was cut off is reported while the next turn
    /// has already begun.
    fn end_of(&self, turn: TurnId) -> usize {
        self.turns.iter().rposition(|own| *own <= turn).map_or(0, |last| last + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(history: &History) -> Vec<&str> {
        history.messages().iter().map(|message| message.content.as_str()).collect()
    }

    #[test]
    fn late_reports_go_to_their_turn() {
        let mut history = History::default();
        history.push(TurnId(1), Role::User, "hours?");
        history.push(TurnId(2), Role::User, "stop");
        history.set_heard(TurnId(1), "We open");
        history.set_heard(TurnId(1), "We open at nine.");
        assert_eq!(texts(&history), ["hours?", "We open at nine.", "stop"]);
    }

    #[test]
    fn words_continue_in_the_next_turn() {
        let mut history = History::default();
        history.push(TurnId(1), Role::User, "a table");
        history.set_heard(TurnId(1), "Su");
        assert_eq!(history.continue_words(TurnId(1), TurnId(2), "for two"), Some("a table for two"));
        assert_eq!(texts(&history), ["a table for two"]);
    }
}
