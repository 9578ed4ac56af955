//! The committed inputs of the fuzzer, run again.

#[path = "../../../../fuzz/replay.rs"]
mod replay;

use replay::replay;

use crate::probes;

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

#[test]
fn bodies_of_the_fuzzer_do_no_harm() {
    replay("sip_multipart", probes::multipart);
}
