//! Conversations as scripts, the scanner's properties, and what the reader of playbooks says of bad ones.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod anything;
mod collectors;
mod heard_truth;
mod hostile;
mod mutated;
mod outcome;
mod parse;
mod probes;
mod scanner;
mod scenarios;
mod script;
mod seeds;
mod speed;
mod world;
