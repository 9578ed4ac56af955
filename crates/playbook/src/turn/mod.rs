//! Whose turn it is.
//!
//! A strategy is a value: it is told what the recognizer and the detectors hear and says when a turn of the
//! caller starts or ends. There is no timer to cancel: a strategy that waits names the time.
//!
//! The start of a turn is one row of [`STARTS`], made of [`start_voice`] (what the call's sound does by itself,
//! in the tick in which the caller is heard) and [`start_words`] (what recognized words do). The end of a turn is
//! one row of [`ENDS`]; [`end`] holds the words until the row's strategy says that they are all.

pub mod adaptive;
pub mod completeness;
pub mod end;
pub mod local;
pub mod model;
pub mod provider;
pub mod silence;
pub mod start_voice;
pub mod start_words;

use std::time::Duration;

use protocol::CallTime;

use crate::playbook::Strategy;

/// A change of turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The caller takes the turn: the agent falls silent.
    Start,
    /// The caller has said this and expects an answer.
    Stop(String),
}

/// What is known of the agent's speech when the caller is heard.
#[derive(Clone, Copy, Debug, Default)]
pub struct Agent {
    /// For how long the caller has heard the utterance; `None` when nothing of it is audible.
    pub audible_for: Option<Duration>,
    /// When the caller's last words were complete.
    pub last_final: Option<CallTime>,
    /// What is being said must be heard to its end.
    pub protected: bool,
}

/// A way in which the caller's turn may start.
#[derive(Debug)]
pub struct StartRow {
    /// Its word in a playbook.
    pub name: &'static str,
    /// Its value.
    pub strategy: Strategy,
    /// Whether speech alone starts the turn.
    pub by_voice: bool,
    /// Whether recognized words start it.
    pub by_words: bool,
}

/// Every way in which the caller's turn may start.
pub static STARTS: &[StartRow] = &[
    StartRow { name: "both", strategy: Strategy::Both, by_voice: true, by_words: true },
    StartRow { name: "vad", strategy: Strategy::Vad, by_voice: true, by_words: false },
    StartRow { name: "asr", strategy: Strategy::Asr, by_voice: false, by_words: true },
    StartRow { name: "none", strategy: Strategy::None, by_voice: false, by_words: false },
];

/// A way in which the end of the caller's turn is told.
#[derive(Debug)]
pub struct EndRow {
    /// Its word in a playbook.
    pub name: &'static str,
    /// What it says of words that the recognizer has completed.
    pub judge: fn(&end::Said<'_>) -> Wait,
}

/// Every way in which the end of the caller's turn is told.
pub static ENDS: &[EndRow] = &[
    EndRow { name: "silence", judge: silence::judge },
    EndRow { name: "provider", judge: provider::judge },
    EndRow { name: "completeness", judge: completeness::judge },
    EndRow { name: "adaptive", judge: adaptive::judge },
    EndRow { name: "model", judge: model::judge },
];

/// What a strategy says of words that are complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// They are all: answer now.
    No,
    /// Answer them when the caller has been silent for so long.
    For(Duration),
    /// Ask the model of ends of turns; answer them when it says so, or after so long without a verdict.
    Ask(Duration),
}
