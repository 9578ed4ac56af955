//! The caller's words until they are all: what is being spoken, what is complete, and how long to wait for more.

use std::time::Duration;

use protocol::CallTime;
use protocol::event::Transcript;

use super::adaptive::Pace;
use super::{ENDS, EndRow, Wait};

/// Longest words that are answered, in characters; the rest is cut.
const MAX_WORDS: usize = 4000;
/// While the caller speaks, or words are being recognized, their end is awaited for so long.
const GOING_ON: Duration = Duration::from_secs(10);

/// Between which lengths a pause that ends a turn may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Shortest. Default 200 ms.
    pub min: Duration,
    /// Longest. Default 1500 ms.
    pub max: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { min: Duration::from_millis(200), max: Duration::from_millis(1500) }
    }
}

impl Bounds {
    /// The middle.
    pub fn middle(self) -> Duration {
        (self.min + self.max) / 2
    }
}

/// How a playbook tells the end of the caller's turn.
#[derive(Clone, Copy, Debug)]
pub struct EndOfTurn {
    /// The strategy. Default `silence`, with an `eou.endpoint` `model`.
    pub row: &'static EndRow,
    /// Bounds of the pause.
    pub bounds: Bounds,
    /// How long a model's verdict is awaited.
    pub patience: Duration,
}

impl EndOfTurn {
    /// The strategy named `name`, in any case.
    pub fn row(name: &str) -> Option<&'static EndRow> {
        ENDS.iter().find(|row| row.name.eq_ignore_ascii_case(name.trim()))
    }
}

impl PartialEq for EndOfTurn {
    fn eq(&self, other: &Self) -> bool {
        self.row.name == other.row.name && self.bounds == other.bounds && self.patience == other.patience
    }
}

/// What a strategy is told.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// The complete words of the turn so far.
    pub text: &'a str,
    /// The playbook's language.
    pub language: &'a str,
    /// Bounds of the pause.
    pub bounds: Bounds,
    /// How long a model's verdict is awaited.
    pub patience: Duration,
    /// What was learned of the caller's pauses.
    pub pace: &'a Pace,
}

/// What to do with words that are complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer these words.
    Answer(String),
    /// Wait; [`Ending::deadline`] says until when.
    Wait,
    /// Wait, and ask the model whether these words are all.
    Ask(String),
}

/// Holds the caller's words until the strategy says that they are all.
#[derive(Clone, Debug)]
pub struct Ending {
    rule: EndOfTurn,
    language: String,
    /// Words of the utterance that is not complete yet.
    so_far: String,
    /// Utterance that a detector has ended; its final text comes later and is no further turn.
    ended_early: Option<u32>,
    index: u32,
    /// Complete words that are not answered yet, and until when more is awaited.
    held: Option<Held>,
    pace: Pace,
    /// When the caller fell silent last.
    silent_since: Option<CallTime>,
}

#[derive(Clone, Debug)]
struct Held {
    text: String,
    deadline: CallTime,
    pause: Duration,
}

impl Ending {
    /// By the playbook's rule in `language`.
    pub fn new(rule: EndOfTurn, language: &str) -> Self {
        Ending {
            rule,
            language: language.to_owned(),
            so_far: String::new(),
            ended_early: None,
            index: 0,
            held: None,
            pace: Pace::default(),
            silent_since: None,
        }
    }

    /// Words are still being spoken.
    pub fn on_delta(&mut self, now: CallTime, words: &Transcript) {
        if self.ended_early != Some(words.index) {
            self.ended_early = None;
        }
        self.index = words.index;
        self.so_far = cut(&words.text);
        if let Some(held) = self.held.as_mut().filter(|_| !words.text.trim().is_empty()) {
            held.deadline = now + GOING_ON;
        }
    }

    /// The caller speaks.
    pub fn on_speech(&mut self, now: CallTime) {
        if let Some(held) = &mut self.held {
            held.deadline = now + GOING_ON;
        }
        if let Some(since) = self.silent_since.take().filter(|_| self.held.is_some()) {
            self.pace.went_on(now.since(since));
        }
    }

    /// The caller fell silent.
    pub fn on_silence(&mut self, now: CallTime) {
        self.silent_since = Some(now);
        if let Some(held) = &mut self.held {
            held.deadline = now + held.pause;
        }
    }

    /// The caller went on while the answer to the first half was not audible yet: the pause was too short.
    pub fn was_too_early(&mut self, now: CallTime) {
        if let Some(since) = self.silent_since {
            self.pace.went_on(now.since(since));
        }
    }

    /// Words are complete. `None` when they were answered before.
    pub fn on_final(&mut self, now: CallTime, words: &Transcript) -> Option<Verdict> {
        self.so_far.clear();
        if self.ended_early.take() == Some(words.index) {
            return None;
        }
        let text = self.joined(&cut(&words.text));
        if text.is_empty() {
            return None;
        }
        let said = Said {
            text: &text,
            language: &self.language,
            bounds: self.rule.bounds,
            patience: self.rule.patience,
            pace: &self.pace,
        };
        let (pause, verdict) = match (self.rule.row.judge)(&said) {
            Wait::No => {
                self.held = None;
                return Some(Verdict::Answer(text));
            }
            Wait::For(pause) => (pause, Verdict::Wait),
            Wait::Ask(pause) => (pause, Verdict::Ask(text.clone())),
        };
        // The pause began when the caller fell silent, not when the recognizer said so.
        let since = self.silent_since.filter(|_| matches!(verdict, Verdict::Wait)).unwrap_or(now);
        let deadline = (since + pause).max(now);
        if deadline == now {
            self.held = None;
            self.pace.stayed();
            return Some(Verdict::Answer(text));
        }
        self.held = Some(Held { text, deadline, pause });
        Some(verdict)
    }

    /// A model's verdict on the words that are held: they are all, or more is awaited for as long as allowed.
    pub fn on_verdict(&mut self, now: CallTime, ended: bool) -> Option<String> {
        if ended {
            return self.release();
        }
        let max = self.rule.bounds.max;
        if let Some(held) = &mut self.held {
            held.pause = max;
            held.deadline = now + max;
        }
        None
    }

    /// A detector says that the utterance is complete: the words to answer.
    pub fn on_complete(&mut self) -> Option<String> {
        let so_far = std::mem::take(&mut self.so_far);
        if !so_far.is_empty() {
            self.ended_early = Some(self.index);
        }
        let text = self.joined(&so_far);
        self.held = None;
        (!text.is_empty()).then_some(text)
    }

    /// When the words that are held are to be answered.
    pub fn deadline(&self) -> Option<CallTime> {
        self.held.as_ref().map(|held| held.deadline)
    }

    /// The words to answer when waiting for more has ended by `now`.
    pub fn expire(&mut self, now: CallTime) -> Option<String> {
        self.deadline().filter(|deadline| *deadline <= now)?;
        self.release()
    }

    /// Takes the words that are held.
    pub fn release(&mut self) -> Option<String> {
        self.pace.stayed();
        self.held.take().map(|held| held.text)
    }

    /// The words of the utterance that is not complete yet.
    pub fn so_far(&self) -> &str {
        &self.so_far
    }

    /// All words of the turn by now, complete or not.
    pub fn known(&self) -> String {
        self.joined(&self.so_far)
    }

    /// The words so far were nothing.
    pub fn forget(&mut self) {
        self.so_far.clear();
    }

    fn joined(&self, more: &str) -> String {
        match &self.held {
            Some(held) if more.is_empty() => held.text.clone(),
            Some(held) => cut(&format!("{} {more}", held.text)),
            None => more.to_owned(),
        }
    }
}

fn cut(text: &str) -> String {
    text.trim().chars().take(MAX_WORDS).collect()
}
