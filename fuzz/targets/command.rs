//! See the probe of the same name.
#![no_main]

#[path = "../../crates/protocol/tests/contract/probes.rs"]
mod probes;

libfuzzer_sys::fuzz_target!(|data: &[u8]| probes::command(data));
