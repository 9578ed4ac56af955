//! The server as its clients and phones see it: real sockets on loopback, free ports, temporary folders.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected is to fail there")]
#![allow(clippy::print_stdout, reason = "tests that measure print their figures")]

mod access;
mod baresip;
mod calls_over_websocket;
mod command;
mod commands;
mod configuration;
mod crowd;
mod database;
mod demo;
mod documentation;
mod documented;
mod egress;
mod eou;
mod hold;
mod hostile_sip;
mod inbound_sip;
mod injected;
mod kamailio;
mod keys;
mod line;
mod mcp;
mod media_pass;
mod orders;
mod outbound;
mod posthook;
mod programs;
mod raw_phone;
mod rehearse;
mod requests;
mod rest;
mod rig;
mod secrets;
mod sinks;
mod sipp;
mod sound;
mod speech_cache;
mod spoken;
mod stopping;
mod takeovers;
mod transfers;
mod transports;
mod trunk;
mod visible;
