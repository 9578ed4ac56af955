//! Synthetic sounds and ways to judge them.

use std::f64::consts::TAU;

/// A sine of `hz` with `amplitude` at `rate`.
pub(crate) fn tone(rate: u32, hz: f64, amplitude: f64, samples: usize) -> Vec<i16> {
    let step = TAU * hz / f64::from(rate);
    (0..samples).map(|n| (amplitude * (step * n as f64).sin()).round() as i16).collect()
}

/// Amplitude of the part of `pcm` at `hz`.
pub(crate) fn amplitude(pcm: &[i16], rate: u32, hz: f64) -> f64 {
    let step = TAU * hz / f64::from(rate);
    // A Hann window keeps other tones out.
    let (mut re, mut im, mut sum) = (0.0, 0.0, 0.0);
    for (n, sample) in pcm.iter().enumerate() {
        let window = 0.5 - 0.5 * (TAU * n as f64 / pcm.len() as f64).cos();
        let (sin, cos) = (step * n as f64).sin_cos();
        re += f64::from(*sample) * window * cos;
        im += f64::from(*sample) * window * sin;
        sum += window;
    }
    2.0 * re.hypot(im) / sum
}

/// Root mean square.
pub(crate) fn rms(pcm: &[i16]) -> f64 {
    (pcm.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / pcm.len().max(1) as f64).sqrt()
}

/// Ratio of two amplitudes in decibels.
pub(crate) fn db(ratio: f64) -> f64 {
    20.0 * ratio.max(1e-9).log10()
}

/// Normalised correlation of two sounds at the delay (of `b`, up to `most` samples) where it is best, and
/// that delay.
pub(crate) fn likeness(a: &[i16], b: &[i16], most: usize) -> (f64, usize) {
    let at = |delay: usize| {
        let pairs = || a.iter().zip(b.iter().skip(delay)).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        let dot: f64 = pairs().map(|(a, b)| a * b).sum();
        let (aa, bb): (f64, f64) = pairs().fold((1e-9, 1e-9), |(x, y), (a, b)| (x + a * a, y + b * b));
        dot / (aa * bb).sqrt()
    };
    (0..=most).map(|d| (at(d), d)).max_by(|x, y| x.0.total_cmp(&y.0)).unwrap_or((0.0, 0))
}

/// Pseudo-random numbers from 0 to 1, the same in every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// White noise up to `amplitude`.
pub(crate) fn noise(seed: u64, amplitude: f64, samples: usize) -> Vec<i16> {
    let mut dice = Dice(seed | 1);
    (0..samples).map(|_| ((dice.roll() * 2.0 - 1.0) * amplitude) as i16).collect()
}

/// Formants of a vowel: frequency and bandwidth in Hz.
pub(crate) type Vowel = [(f64, f64); 3];

/// Five vowels of a grown-up.
pub(crate) const VOWELS: [Vowel; 5] = [
    [(730.0, 90.0), (1090.0, 110.0), (2440.0, 170.0)],
    [(530.0, 60.0), (1840.0, 100.0), (2480.0, 120.0)],
    [(270.0, 60.0), (2290.0, 100.0), (3010.0, 120.0)],
    [(570.0, 80.0), (840.0, 90.0), (2410.0, 150.0)],
    [(300.0, 70.0), (870.0, 90.0), (2240.0, 150.0)],
];

/// A sung vowel: harmonics of `pitch`, which glides by `glide` of itself per second, weighed by formants.
pub(crate) fn vowel(rate: u32, vowel: Vowel, pitch: f64, glide: f64, samples: usize) -> Vec<i16> {
    let weight = |hz: f64| {
        let peak = |(at, width): (f64, f64)| 1.0 / (1.0 + ((hz - at) / width).powi(2));
        vowel.iter().zip([1.0, 0.7, 0.4]).map(|(f, loud)| loud * peak(*f)).sum::<f64>() + 0.02
    };
    let harmonics = (f64::from(rate) / 2.0 * 0.9 / pitch) as usize;
    let mut phase = 0.0;
    (0..samples)
        .map(|n| {
            let hz = pitch * (1.0 + glide * n as f64 / f64::from(rate));
            phase += TAU * hz / f64::from(rate);
            let sum: f64 =
                (1..=harmonics.min(40)).map(|k| weight(hz * k as f64) * (phase * k as f64).sin()).sum();
            (sum * 4000.0).clamp(-32768.0, 32767.0) as i16
        })
        .collect()
}
