//! See the probe of the same name.
#![no_main]

#[path = "../../crates/sip/tests/sip/probes.rs"]
#[allow(dead_code, reason = "one probe of several")]
mod probes;

libfuzzer_sys::fuzz_target!(|data: &[u8]| probes::multipart(data));
