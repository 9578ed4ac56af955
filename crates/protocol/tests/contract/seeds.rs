//! The committed inputs of the fuzzer, run again.

#[path = "../../../../fuzz/replay.rs"]
mod replay;

use crate::probes;

#[test]
fn messages_of_the_fuzzer_do_no_harm() {
    replay::replay("command", probes::command);
}
