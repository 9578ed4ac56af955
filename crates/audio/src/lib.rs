//! Sound as numbers: frames, codecs, resampling, jitter buffer, mixing, VAD, DTMF, WAV.
//!
//! Must not: open a socket or file, read a clock, start a task. Time is an argument.

pub mod codec;
pub mod frame;
pub mod vad;

pub use codec::{CODECS, Codec, Decoder, Encoder};
pub use frame::Frame;
