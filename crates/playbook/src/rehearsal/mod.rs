//! Conversations without a phone: a scripted caller, a recognizer and a voice on a clock that is moved by hand.
//!
//! A [`Stage`] is the call around a conversation: it makes events of what the caller does and tells the
//! conversation how much of its words went out. A [`Scenario`] says what the caller does and what shall happen;
//! [`run`] plays it and gives a [`Report`], which [`junit`] writes for machines.

mod report;
mod run;
mod scenario;
mod stage;

pub use report::{Report, junit};
pub use run::{Model, Models, run};
pub use scenario::{Play, Scenario, Step, Suite, Want};
pub use stage::{Seen, Stage};

/// A step of the clock, in milliseconds.
pub const STEP_MS: u64 = 20;
