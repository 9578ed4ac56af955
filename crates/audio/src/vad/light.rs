//! A light detector: about a thirtieth of Silero's work, less exact in noise.
//!
//! It is chosen by the type name `webrtc`, which clients know as the cheap detector. The network is `earshot`'s
//! (pure Rust, `Send`, 40 KB); it hears 16 kHz, so that 8 kHz is doubled by interpolation first.

use super::silero::Gathered;
use earshot::Detector;
use std::fmt;

/// Samples the network wants at once: 16 ms at 16 kHz.
const WINDOW: usize = 256;

/// One call's light detector, about 13 KB.
pub struct Stream {
    detector: Detector,
    rate: u32,
    gathered: Gathered,
    /// The last sample of the window before, from which 8 kHz is interpolated.
    last: i16,
}

impl Stream {
    /// A detector for samples at 8000 Hz, or 16000 Hz for any other `rate`.
    pub fn new(rate: u32) -> Self {
        let rate = if rate == 8_000 { 8_000 } else { 16_000 };
        Stream { detector: Detector::default(), rate, gathered: Gathered::default(), last: 0 }
    }

    /// Samples per second: 8000 or 16000.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Samples per score: 16 ms.
    pub fn window(&self) -> usize {
        if self.rate == 8_000 { WINDOW / 2 } else { WINDOW }
    }

    /// Takes samples and returns those that found no room.
    #[must_use = "samples that found no room must be pushed again"]
    pub fn push<'a>(&mut self, samples: &'a [i16]) -> &'a [i16] {
        self.gathered.push(samples)
    }

    /// Whether a whole window is gathered.
    pub fn ready(&self) -> bool {
        self.gathered.len() >= self.window()
    }

    /// Scores the oldest window: the probability of speech in 0.0..=1.0, or 0.0 when none is ready.
    pub fn score(&mut self) -> f32 {
        let window = self.window();
        let Some(samples) = self.gathered.front(window) else { return 0.0 };
        let mut wide = [0_i16; WINDOW];
        if self.rate == 8_000 {
            for (pair, &sample) in wide.chunks_exact_mut(2).zip(samples) {
                pair[0] = i16::midpoint(self.last, sample);
                pair[1] = sample;
                self.last = sample;
            }
        } else {
            wide.copy_from_slice(samples);
        }
        self.gathered.consume(window);
        self.detector.predict_i16(&wide).clamp(0.0, 1.0)
    }

    /// Forgets everything heard.
    pub fn reset(&mut self) {
        *self = Stream::new(self.rate);
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("rate", &self.rate)
            .field("gathered", &self.gathered.len())
            .finish_non_exhaustive()
    }
}
