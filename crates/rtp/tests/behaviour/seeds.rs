//! The committed inputs of the fuzzer, run again.

use std::fs;
use std::path::Path;

use crate::probes;

/// Runs `probe` over the seeds of `target`.
fn replay(target: &str, probe: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap().flatten() {
        let seed = fs::read(entry.path()).unwrap();
        probe(&seed);
        // Cut short, as a network or a hurried sender would have it.
        (0..seed.len().min(256)).for_each(|length| probe(&seed[..length]));
        count += 1;
    }
    assert!(count >= 4, "{} holds {count} seeds", folder.display());
}

#[test]
fn packets_of_the_fuzzer_do_no_harm() {
    replay("rtp", probes::rtp);
}

#[test]
fn reports_of_the_fuzzer_do_no_harm() {
    replay("rtcp", probes::rtcp);
}

#[test]
fn protected_packets_of_the_fuzzer_do_no_harm() {
    replay("srtp", probes::srtp);
}

#[test]
fn descriptions_of_the_fuzzer_do_no_harm() {
    replay("sdp", probes::sdp);
}

#[test]
fn digits_of_the_fuzzer_do_no_harm() {
    replay("telephone_event", probes::telephone_event);
}
