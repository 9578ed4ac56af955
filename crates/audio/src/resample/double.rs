//! Twice the sample rate by a half-band filter in whole numbers: the step from the telephone's 8 kHz to the 16 kHz
//! of recordings and recognizers, taken for every call all the time.

use super::{BETA, HALF_MS, kaiser};
use crate::lanes::dot_16;

/// Bits behind the point of the taps. Their magnitudes sum to less than 2, so a sum of products with full-scale
/// samples stays below 2^31.
const POINT: u32 = 14;

/// A half-band interpolator: every second output is an input, the one between is a weighted sum of its
/// neighbours. Flat to 500 Hz below the input's Nyquist frequency; images from 500 Hz above it are 66 dB down.
pub(super) struct Doubler {
    taps: Box<[i16]>,
    /// The last `taps.len() - 1` inputs, then the chunk at hand.
    input: Vec<i16>,
}

impl Doubler {
    /// Whether the step from `from` to `to` Hz is one of these: the taps come in whole vectors.
    pub(super) fn fits(from: usize, to: usize) -> bool {
        to == 2 * from && from.is_multiple_of(8000)
    }

    /// A doubler of sound at `from` Hz.
    pub(super) fn new(from: usize) -> Self {
        let half = from * HALF_MS / 1000;
        let tap = |n: usize| {
            let x = n as f64 + 0.5 - half as f64;
            (std::f64::consts::PI * x).sin() / (std::f64::consts::PI * x) * kaiser(x / half as f64, BETA)
        };
        let sum: f64 = (0..2 * half).map(tap).sum();
        let scale = f64::from(1 << POINT) / sum;
        let taps: Box<[i16]> = (0..2 * half).map(|n| (tap(n) * scale).round() as i16).collect();
        Doubler { input: vec![0; taps.len() - 1], taps }
    }

    /// Appends two samples for each of `pcm`.
    pub(super) fn process(&mut self, pcm: &[i16], out: &mut Vec<i16>) {
        self.input.extend_from_slice(pcm);
        let start = out.len();
        out.resize(start + pcm.len() * 2, 0);
        // Half of a conversation: nobody speaks on this side.
        if self.input.iter().fold(0, |any, sample| any | sample) == 0 {
            return self.input.truncate(self.taps.len() - 1);
        }
        let middle = self.taps.len() / 2 - 1;
        let pairs = out[start..].as_chunks_mut::<2>().0.iter_mut();
        for (pair, around) in pairs.zip(self.input.windows(self.taps.len())) {
            let between = (dot_16(around, &self.taps) + (1 << (POINT - 1))) >> POINT;
            *pair = [around[middle], between.clamp(i16::MIN.into(), i16::MAX.into()) as i16];
        }
        let kept = self.input.len() - (self.taps.len() - 1);
        self.input.drain(..kept);
    }
}
