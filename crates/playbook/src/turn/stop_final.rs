//! The caller's turn stops when the recognizer says that the words are complete, or a detector says that the
//! utterance is.

use protocol::event::Transcript;

use super::Turn;

/// Longest words that are answered, in characters; the rest is cut.
const MAX_WORDS: usize = 4000;

/// Stops the caller's turn at complete words. Words so far are kept for a detector that is quicker than the
/// recognizer's own end.
#[derive(Clone, Debug, Default)]
pub struct StopFinal {
    so_far: String,
    /// Utterance that a detector has ended; its final text comes later and is no further turn.
    ended_early: Option<u32>,
    index: u32,
}

impl StopFinal {
    /// Words are still being spoken.
    pub fn on_delta(&mut self, words: &Transcript) {
        if self.ended_early != Some(words.index) {
            self.ended_early = None;
        }
        self.index = words.index;
        self.so_far = cut(&words.text);
    }

    /// Words are complete.
    pub fn on_final(&mut self, words: &Transcript) -> Option<Turn> {
        self.so_far.clear();
        if self.ended_early.take() == Some(words.index) {
            return None;
        }
        let text = cut(&words.text);
        (!text.is_empty()).then_some(Turn::Stop(text))
    }

    /// The words of the utterance that is not complete yet.
    pub fn so_far(&self) -> &str {
        &self.so_far
    }

    /// The words so far were nothing.
    pub fn forget(&mut self) {
        self.so_far.clear();
    }

    /// A detector says that the utterance is complete.
    pub fn on_complete(&mut self) -> Option<Turn> {
        let text = std::mem::take(&mut self.so_far);
        if text.is_empty() {
            return None;
        }
        self.ended_early = Some(self.index);
        Some(Turn::Stop(text))
    }
}

fn cut(text: &str) -> String {
    text.trim().chars().take(MAX_WORDS).collect()
}
