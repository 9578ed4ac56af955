//! The committed inputs of the fuzzer, run again.

#[path = "../../../../fuzz/replay.rs"]
mod replay;

use replay::replay;

use crate::probes;

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
