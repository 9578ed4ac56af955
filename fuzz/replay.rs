//! The committed inputs of the fuzzer, run again by the tests of the crates whose probes they are for.

use std::fs;
use std::path::Path;

/// Up to here an input is cut at each length, then at every seventh.
const MOST_CUTS: usize = 256;

/// Runs `probe` over the seeds of `target`, whole and cut short, as a network or a hurried sender would have it.
pub(crate) fn replay(target: &str, probe: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap().flatten() {
        let seed = fs::read(entry.path()).unwrap();
        probe(&seed);
        (0..seed.len().min(MOST_CUTS)).for_each(|length| probe(&seed[..length]));
        (MOST_CUTS..seed.len()).step_by(7).for_each(|length| probe(&seed[..length]));
        count += 1;
    }
    assert!(count >= 4, "{} holds {count} seeds", folder.display());
}
