//! The committed inputs of the fuzzer, run again.

use std::fs;
use std::path::Path;

use crate::probes;

/// Runs `probe` over the seeds of `target`, whole and cut short.
fn replay(target: &str, probe: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap().flatten() {
        let seed = fs::read(entry.path()).unwrap();
        probe(&seed);
        (0..seed.len()).step_by(7).for_each(|length| probe(&seed[..length]));
        count += 1;
    }
    assert!(count >= 4, "{} holds {count} seeds", folder.display());
}

#[test]
fn messages_of_the_fuzzer_do_no_harm() {
    replay("sip_message", probes::message);
}

#[test]
fn streams_of_the_fuzzer_do_no_harm() {
    replay("sip_stream", probes::stream);
}

#[test]
fn uris_of_the_fuzzer_do_no_harm() {
    replay("sip_uri", probes::uri);
}

#[test]
fn digests_of_the_fuzzer_do_no_harm() {
    replay("sip_digest", probes::digest);
}
