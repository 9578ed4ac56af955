//! A simulated world for tests: scripted callers and clients, providers with timelines.
//!
//! Must not: be used by anything but tests. It tells what happened and judges nothing beyond a comparison of
//! two texts, and how alike two sounds are.
//!
//! Rooms in reading order: [`cast`] says how recognizer, synthesizer, model and files behave, [`caller`] is
//! the far end's voice and ear, [`world`] a whole call on a clock that is moved by hand, [`report`] what
//! happened in it as lines of text, [`script`] conversations as readable files. [`fake_providers`] has the
//! same cast as async providers and services, for the real task with its threads. [`likeness`] finds what was said in
//! what was heard.
#![forbid(unsafe_code)]

pub mod caller;
pub mod cast;
pub mod fake_providers;
pub mod likeness;
pub mod report;
pub mod script;
pub mod terms;
pub mod world;

pub use cast::Cast;
pub use script::check;
pub use world::World;
