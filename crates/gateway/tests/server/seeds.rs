//! What the fuzzer has kept.

#[path = "../../../../fuzz/replay.rs"]
mod replay;

use replay::replay;

use crate::probes;

#[test]
fn configurations_of_the_fuzzer_do_no_harm() {
    replay("config", probes::config);
}
