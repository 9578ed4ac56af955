//! Whose turn it is.
//!
//! A strategy is a value: it is told what the recognizer and the detectors hear and says when a turn of the
//! caller starts or stops. There is no timer to cancel. Interruption by voice alone is not decided here: the
//! call arms its media with [`crate::playbook::Interruption`], so that it acts in the same tick.

pub mod start_words;
pub mod stop_final;

use std::time::Duration;

use protocol::CallTime;

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
}
