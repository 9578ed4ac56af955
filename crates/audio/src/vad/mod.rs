//! Voice activity detection: a [`Scorer`] turns windows of samples into the probability of speech, and one
//! state machine, [`Vad`], turns these numbers into events.
//!
//! Must not: wait, read a clock, start a task. Time comes from sample counts alone.
//!
//! Rooms, in reading order: [`decision`] (numbers to events), [`silero`] (our inference of Silero VAD),
//! [`light`] (the small detector behind the type `webrtc`), [`nop`] (none).
//!
//! ```
//! use audio::vad::{Scorer, Vad, VadSettings};
//! use protocol::CallTime;
//!
//! let mut scorer = Scorer::new("silero", 16_000)?;
//! let mut vad = Vad::new(VadSettings::default(), scorer.rate(), scorer.window(), CallTime::ZERO);
//! let frame = [0_i16; 320];
//! let rest = scorer.push(&frame);
//! assert!(rest.is_empty());
//! if scorer.ready() {
//!     let event = vad.scored(scorer.score());
//!     assert_eq!(event, None);
//! }
//! # Ok::<(), audio::vad::UnknownVad>(())
//! ```

pub mod decision;
pub mod light;
pub mod nop;
pub mod silero;

pub use decision::{Vad, VadEvent, VadSettings};
pub use silero::{Stream, score_batch};

use crate::prefetch;

/// Makes a fresh detector for samples at a rate in Hz, as [`Scorer::new`] says.
pub type MakeScorer = fn(u32) -> Scorer;

/// The detectors by the name a client writes in `vad.type`.
pub static VAD_TYPES: &[(&str, MakeScorer)] = &[
    ("silero", |rate| Scorer::Silero(Box::new(Stream::new(rate)))),
    ("webrtc", |rate| Scorer::Light(Box::new(light::Stream::new(rate)))),
    ("nop", |rate| Scorer::Nop(nop::Stream::new(rate))),
];

/// The detector used when none is named, or when the named one is unknown.
pub const DEFAULT_VAD: &str = "silero";

/// A `vad.type` that is not in [`VAD_TYPES`]; the call goes on with [`DEFAULT_VAD`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("vad.type {name:?} is unknown; write one of: {}", known())]
pub struct UnknownVad {
    /// The name as it was asked for.
    pub name: String,
}

fn known() -> String {
    VAD_TYPES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// One call's detector: gathers samples into windows and scores them.
///
/// All kinds answer the same questions, so that [`Vad`] does not know which one it listens to. A server
/// scores many calls at once with [`score_all`].
#[derive(Debug)]
pub enum Scorer {
    /// Silero VAD v6.
    Silero(Box<Stream>),
    /// The detector of [`light`].
    Light(Box<light::Stream>),
    /// The detector of [`nop`], which finds nothing.
    Nop(nop::Stream),
}

impl Scorer {
    /// A fresh detector of type `kind` (a name of [`VAD_TYPES`]) for samples at `rate` Hz.
    ///
    /// A `rate` of 8000 is heard at 8 kHz; any other value means 16 kHz, and the caller resamples to it.
    ///
    /// # Errors
    /// [`UnknownVad`] when no detector has that name.
    pub fn new(kind: &str, rate: u32) -> Result<Self, UnknownVad> {
        match VAD_TYPES.iter().find(|(name, _)| *name == kind) {
            Some((_, make)) => Ok(make(rate)),
            None => Err(UnknownVad { name: kind.chars().take(64).collect() }),
        }
    }

    /// Samples per second this detector listens to: 8000 or 16000.
    pub fn rate(&self) -> u32 {
        match self {
            Scorer::Silero(stream) => stream.rate(),
            Scorer::Light(stream) => stream.rate(),
            Scorer::Nop(stream) => stream.rate(),
        }
    }

    /// Asks for the memory that is wanted when samples come.
    pub fn prefetch(&self) {
        match self {
            Scorer::Silero(stream) => prefetch(&**stream),
            Scorer::Light(stream) => prefetch(&**stream),
            Scorer::Nop(_) => {}
        }
    }

    /// Samples per score.
    pub fn window(&self) -> usize {
        match self {
            Scorer::Silero(stream) => stream.window(),
            Scorer::Light(stream) => stream.window(),
            Scorer::Nop(stream) => stream.window(),
        }
    }

    /// Takes samples and returns those that found no room.
    ///
    /// Nothing is left over as long as ready windows are scored and at most 30 ms come at once.
    #[must_use = "samples that found no room must be pushed again"]
    pub fn push<'a>(&mut self, samples: &'a [i16]) -> &'a [i16] {
        match self {
            Scorer::Silero(stream) => stream.push(samples),
            Scorer::Light(stream) => stream.push(samples),
            Scorer::Nop(stream) => {
                stream.push(samples);
                &[]
            }
        }
    }

    /// Whether a whole window is gathered.
    pub fn ready(&self) -> bool {
        match self {
            Scorer::Silero(stream) => stream.ready(),
            Scorer::Light(stream) => stream.ready(),
            Scorer::Nop(stream) => stream.ready(),
        }
    }

    /// Scores the oldest gathered window and lets go of it: the probability of speech in 0.0..=1.0.
    ///
    /// Returns 0.0 and changes nothing when no window is [`ready`](Self::ready).
    pub fn score(&mut self) -> f32 {
        match self {
            Scorer::Silero(stream) => stream.score(),
            Scorer::Light(stream) => stream.score(),
            Scorer::Nop(stream) => stream.score(),
        }
    }

    /// Forgets everything heard, as after a change of rate or a long gap.
    pub fn reset(&mut self) {
        match self {
            Scorer::Silero(stream) => stream.reset(),
            Scorer::Light(stream) => stream.reset(),
            Scorer::Nop(stream) => stream.reset(),
        }
    }
}

/// Scores one window of each of `scorers`; the n-th score goes to `out[n]`.
///
/// Silero streams of the same rate share passes over the weights, which is what makes a busy server cheap.
/// A scorer without a ready window gets 0.0 and is not changed. The shorter of the two slices decides how
/// many are scored.
pub fn score_all(scorers: &mut [&mut Scorer], out: &mut [f32]) {
    for (scorer, score) in scorers.iter_mut().zip(out.iter_mut()) {
        match &mut **scorer {
            Scorer::Light(stream) => *score = stream.score(),
            Scorer::Nop(stream) => *score = stream.score(),
            Scorer::Silero(_) => {}
        }
    }
    silero::score_each(scorers.iter_mut().zip(out.iter_mut()).filter_map(
        |(scorer, score)| match &mut **scorer {
            Scorer::Silero(stream) => Some((&mut **stream, score)),
            Scorer::Light(_) | Scorer::Nop(_) => None,
        },
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_type_names_the_known_ones() {
        let error = Scorer::new("ten", 16_000).unwrap_err();
        assert_eq!(error.to_string(), "vad.type \"ten\" is unknown; write one of: silero, webrtc, nop");
    }

    #[test]
    fn a_scorer_can_move_to_another_thread() {
        fn sendable<T: Send>() {}
        sendable::<Scorer>();
        sendable::<Vad>();
    }

    #[test]
    fn every_type_scores_windows_of_both_rates() {
        for (name, make) in VAD_TYPES {
            for rate in [8_000, 16_000] {
                let mut scorer = make(rate);
                assert_eq!(scorer.rate(), rate, "{name}");
                assert!(scorer.push(&vec![0; scorer.window()]).is_empty());
                assert!(scorer.ready());
                let mut out = [1.0];
                score_all(&mut [&mut scorer], &mut out);
                assert!(out[0] < 0.5, "{name} hears speech in digital zero");
                assert!(!scorer.ready());
            }
        }
    }
}
