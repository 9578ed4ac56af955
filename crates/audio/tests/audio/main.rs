//! Behaviour of the audio crate that takes more than a few lines to show.
// The helpers of tests are tests too, but the lint's exception knows only test functions.
#![allow(clippy::unwrap_used)]

mod cleaning;
mod codec;
mod dtmf;
mod jitter;
mod ogg_opus;
mod probes;
mod progress;
mod recording;
mod resample;
mod seeds;
mod sound;
mod vad;
mod wav;
