//! The behaviour of the crate from outside, in one binary.

mod digits;
mod packet;
mod rtcp;
mod sdp_answer;
mod sdp_hostile;
mod sdp_offer;
mod stream;
