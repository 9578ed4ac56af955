//! The active-call server as a library, so that tests can start it.
#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod inbound;
