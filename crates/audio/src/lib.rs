//! Sound as numbers: frames, codecs, resampling, jitter buffer, mixing, VAD, DTMF, WAV.
//!
//! Must not: open a socket or file, read a clock, start a task. Time is an argument.
//!
//! Rooms in reading order: [`frame`] is the currency, [`codec`] and [`resample`] turn it into bytes and other rates,
//! [`jitter`] puts packets in order, [`mix`] adds sounds, [`noise`] stands in for silence, [`ringback`] for a far end
//! that rings, [`cleaning`] takes noise and echo out of them, [`vad`], [`dtmf`] and [`progress`] listen to them,
//! [`recording`] and [`wav`] store them, [`ogg_opus`] reads them back. [`prefetch`](mod@prefetch) makes their state come
//! in time.
#![deny(unsafe_code)]

pub mod cleaning;
pub mod codec;
pub mod dtmf;
pub mod frame;
pub mod jitter;
mod lanes;
pub mod level;
pub mod mix;
pub mod noise;
pub mod ogg_opus;
pub mod prefetch;
pub mod progress;
pub mod recording;
pub mod resample;
pub mod ringback;
pub mod vad;
pub mod wav;

pub use cleaning::{Cleaner, Cleaning};
pub use codec::{CODECS, Codec, Decoder, Encoder, WEBSOCKET_CODECS};
pub use frame::Frame;
pub use jitter::{Jitter, Packet, Popped};
pub use prefetch::prefetch;
pub use resample::Resampler;
pub use wav::Wav;
