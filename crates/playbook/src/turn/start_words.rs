//! The caller's turn starts when words are recognized.

use std::time::Duration;

use protocol::CallTime;
use protocol::event::Transcript;

use super::{Agent, Turn};
use crate::phrases::Fillers;
use crate::playbook::Interruption;

/// Words so soon after complete ones belong to those.
const TAIL: Duration = Duration::from_millis(500);

/// Starts the caller's turn at words that are no fillers, once the agent was heard for `ignore_first`.
#[derive(Clone, Debug)]
pub struct StartWords {
    interruption: Interruption,
    fillers: Fillers,
}

impl StartWords {
    /// The strategy of a playbook with these fillers.
    pub fn new(interruption: Interruption, fillers: Fillers) -> Self {
        StartWords { interruption, fillers }
    }

    /// Whether words count as nothing said: only fillers, and fillers are filtered.
    pub fn is_filler(&self, words: &Transcript) -> bool {
        let marked = words.is_filler == Some(true);
        self.interruption.filler_word_filter && (marked || self.fillers.are_all_of(&words.text))
    }

    /// Whether words that are only fillers answer a question all the same: "mm-hm", "okay", "yes".
    pub fn is_assent(&self, words: &Transcript) -> bool {
        self.fillers.assent(&words.text)
    }

    /// Whether words that are still being spoken interrupt the agent.
    pub fn on(&self, now: CallTime, words: &Transcript, agent: Agent) -> Option<Turn> {
        let tail = agent.last_final.is_some_and(|last| now.since(last) < TAIL);
        if tail { None } else { self.on_final(words, agent) }
    }

    /// Whether complete words interrupt the agent.
    pub fn on_final(&self, words: &Transcript, agent: Agent) -> Option<Turn> {
        let early = agent.audible_for.is_none_or(|span| span < self.interruption.ignore_first);
        let counts = !words.text.trim().is_empty()
            && !self.is_filler(words)
            && crate::phrases::count_words(&words.text) >= self.interruption.min_words;
        (self.interruption.strategy.by_words() && !early && !agent.protected && counts).then_some(Turn::Start)
    }
}
