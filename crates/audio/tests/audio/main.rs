//! Behaviour of the audio crate that takes more than a few lines to show.

mod codec;
mod denoise;
mod dtmf;
mod jitter;
mod resample;
mod sound;
mod vad;
mod wav;
