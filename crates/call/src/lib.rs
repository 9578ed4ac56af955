//! A call: its rules in one task, its sound on a media thread, its legs.
//!
//! Must not: know HTTP, configuration files or vendors. What it needs of the world around it comes in through
//! [`Services`]: providers, recordings, sound files, playbooks, the place records go to.
//!
//! Rooms in reading order: [`setup`] is what a call begins with and [`handle`] how others reach it; [`core`]
//! holds all rules and [`verbs`] one file for each thing a command does; [`media`] is the sound of one call as
//! a function of time, [`media_thread`] the clock that drives it, [`tally`] how good it was; [`task`] joins rules, sound, legs and
//! providers; [`legs`] are the parties' connections, [`observers`] those who only listen; [`end`] says why a call ended,
//! [`failure`] why something could not be had, [`record`] what is written about it.
#![forbid(unsafe_code)]

pub mod core;
pub mod end;
pub mod failure;
pub mod handle;
pub mod legs;
pub mod media;
pub mod media_thread;
pub mod observers;
pub mod record;
pub mod setup;
pub mod tally;
pub mod task;
pub mod verbs;

pub use self::core::dialable;
pub use end::{End, StopReason};
pub use failure::Failure;
pub use handle::{CallHandle, CallInfo, Client, Phase};
pub use media_thread::MediaThreads;
pub use setup::{Services, Setup};
pub use task::spawn;
