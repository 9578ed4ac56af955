//! The behaviour of the crate from outside, in one binary.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod dialer;
mod digits;
mod packet;
mod probes;
mod reports;
mod rtcp;
mod sdp_answer;
mod sdp_crypto;
mod sdp_field;
mod sdp_hostile;
mod sdp_hosts;
mod sdp_offer;
mod seeds;
mod srtp;
mod srtp_field;
mod stream;
mod watch;
