//! See the probe of the same name.
#![no_main]

#[path = "../../crates/rtp/tests/behaviour/probes.rs"]
#[allow(dead_code, reason = "one probe of several")]
mod probes;

libfuzzer_sys::fuzz_target!(|data: &[u8]| probes::sdp(data));
