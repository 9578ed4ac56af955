//! See the probe of the same name.
#![no_main]

#[path = "../../crates/playbook/tests/main/probes.rs"]
mod probes;

libfuzzer_sys::fuzz_target!(|data: &[u8]| probes::playbook(data));
