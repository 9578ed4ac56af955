//! What callers of this crate rely on. The programs of the offline providers are run for real; one that is
//! missing fails its test with the name of its package.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail their test")]

mod chat_server;
mod documentation;
mod hearing;
mod openai;
mod realtime;
mod realtime_server;
mod retries;
mod rules;
mod speaking;
