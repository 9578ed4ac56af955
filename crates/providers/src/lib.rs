//! Speech to text, text to speech, chat models and speech-to-speech models: one file a vendor, one row a
//! table, and one wrapper around all of them.
//!
//! Must not: know of calls, SIP or playbooks. A provider is a function from a channel to a channel; dropping
//! its future or closing its channels ends it and everything it started.
//!
//! Rooms in reading order: [`contract`] holds the four traits and what flows through them, [`error`] what can
//! go wrong, [`tables`] who is there and how to get one, [`run`] the wrapper for retries, time limits and
//! logging. Then the vendors: [`openai`], [`openai_realtime`], [`rules`], and [`offline`] for programs of this machine. The room
//! `options` reads what options and environment give.
#![forbid(unsafe_code)]

pub mod contract;
pub mod error;
pub mod offline;
pub mod openai;
pub mod openai_realtime;
mod options;
pub mod rules;
pub mod run;
pub mod tables;

pub use contract::{
    AnswerId, ChatModel, Heard, Hearing, Realtime, RealtimeInput, RealtimeOutput, Recognizer, Spoken,
    Synthesizer, Text, WordTime, Words,
};
pub use error::ProviderError;
pub use tables::{
    CHAT_MODELS, Make, REALTIMES, RECOGNIZERS, Row, SYNTHESIZERS, chat_model, realtime, recognizer,
    speaks_whole_texts, synthesizer,
};
