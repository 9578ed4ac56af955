//! The wire contract of the protocol crate, read and written as clients do it.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected is to fail there")]

mod accepted;
mod aliases;
mod canonical;
mod probes;
mod refusals;
mod schema;
mod secrets;
mod seeds;
mod wrong_types;
