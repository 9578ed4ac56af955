//! What the fuzzer has kept.

#[path = "../../../../fuzz/replay.rs"]
mod replay;

use replay::replay;

use crate::probes;

#[test]
fn files_of_the_fuzzer_do_no_harm() {
    replay("ogg_opus", probes::ogg_opus);
    replay("wav", probes::wav);
}
