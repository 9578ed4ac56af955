//! See the probe of the same name.
#![no_main]

#[path = "../../crates/gateway/tests/server/probes.rs"]
mod probes;

libfuzzer_sys::fuzz_target!(|data: &[u8]| probes::config(data));
