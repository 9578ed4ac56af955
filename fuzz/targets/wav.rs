//! See the probe of the same name.
#![no_main]

#[path = "../../crates/audio/tests/audio/probes.rs"]
#[allow(dead_code, reason = "one probe of several")]
mod probes;

libfuzzer_sys::fuzz_target!(|data: &[u8]| probes::wav(data));
