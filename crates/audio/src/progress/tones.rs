//! Whether a frame is a tone, and of which frequencies.

use std::f32::consts::TAU;

/// Rate at which tones are looked for, in Hz; telephone tones lie below 2.2 kHz.
const RATE: u32 = 8_000;
/// Samples that are looked at together: 40 ms, whose frequencies are 25 Hz apart.
const WINDOW: usize = 320;
/// Samples of a frame.
const HOP: usize = 160;
/// Lowest frequency that is looked at, and the distance to the next, in Hz.
const LOWEST_HZ: f32 = 300.0;
const STEP_HZ: f32 = 25.0;
/// Frequencies that are looked at: up to 2.2 kHz, where a fax answers.
const BINS: usize = 77;
/// Bins on both sides of a peak that belong to it: the window spreads a tone over two, and two tones 50 Hz apart, as
/// many countries ring, are one peak.
const LOBE: usize = 2;
/// Share of the sound that one or two tones make up. A voice spreads over its harmonics.
const PURITY: f32 = 0.85;
/// A second tone has at least this share of the first.
const SECOND: f32 = 0.08;
/// Tones that are closer are one, whatever the window makes of them.
const APART_HZ: f32 = 100.0;
/// Mean square below which there is no tone: 50 dB below full scale.
const FAINTEST: f32 = 100.0 * 100.0;

/// What one or two frequencies make up a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tone {
    /// The lower one, in Hz, within some 5 Hz. Two that are close are one between them.
    pub(super) hz: f32,
    /// Whether there is another.
    pub(super) double: bool,
}

/// Listens frame by frame.
pub(super) struct Ear {
    /// Samples of the sound for one at [`RATE`].
    factor: usize,
    sound: [f32; WINDOW],
    shape: [f32; WINDOW],
    /// 2 cos of the step per sample of each bin.
    steps: [f32; BINS],
}

impl Ear {
    /// An ear for sound at `rate` Hz: a multiple of 8000.
    pub(super) fn new(rate: u32) -> Self {
        let mut shape = [0.0; WINDOW];
        for (n, weight) in shape.iter_mut().enumerate() {
            *weight = 0.5 - 0.5 * (TAU * n as f32 / WINDOW as f32).cos();
        }
        let mut steps = [0.0; BINS];
        for (bin, step) in steps.iter_mut().enumerate() {
            *step = 2.0 * (TAU * hz(bin as f32) / RATE as f32).cos();
        }
        Ear { factor: (rate / RATE).max(1) as usize, sound: [0.0; WINDOW], shape, steps }
    }

    /// Takes 20 ms of sound; the tone that fills the last 40 ms, if one does.
    pub(super) fn hear(&mut self, frame: &[i16]) -> Option<Tone> {
        self.sound.copy_within(HOP.., 0);
        let (_, fresh) = self.sound.split_at_mut(WINDOW - HOP);
        fresh.fill(0.0);
        for (sample, group) in fresh.iter_mut().zip(frame.chunks(self.factor)) {
            // The mean of neighbours takes off what would come back folded.
            *sample = group.iter().map(|s| f32::from(*s)).sum::<f32>() / group.len() as f32;
        }
        let mut shaped = [0.0; WINDOW];
        for ((out, sample), weight) in shaped.iter_mut().zip(&self.sound).zip(&self.shape) {
            *out = sample * weight;
        }
        let energy: f32 = shaped.iter().map(|s| s * s).sum();
        // The window takes 3/8 of the power.
        if energy / (WINDOW as f32 * 0.375) < FAINTEST {
            return None;
        }
        let mut powers = [0.0; BINS];
        for (power, step) in powers.iter_mut().zip(&self.steps) {
            *power = goertzel(&shaped, *step);
        }
        let (hz, first) = take_peak(&mut powers);
        let (other_hz, second) = take_peak(&mut powers);
        let double = second >= first * SECOND && (hz - other_hz).abs() > APART_HZ;
        // Of two tones as loud as each other now one and now the other is the stronger.
        let hz = if double { hz.min(other_hz) } else { hz };
        let tones = first + second;
        // By Parseval's theorem, of both halves of the spectrum.
        let share = 2.0 * tones / (WINDOW as f32 * energy);
        (share >= PURITY).then_some(Tone { hz, double })
    }
}

fn hz(bin: f32) -> f32 {
    LOWEST_HZ + STEP_HZ * bin
}

fn goertzel(sound: &[f32; WINDOW], step: f32) -> f32 {
    let (mut last, mut before) = (0.0, 0.0);
    for sample in sound {
        (last, before) = (sample + step * last - before, last);
    }
    last * last + before * before - step * last * before
}

/// The frequency and power of the strongest peak, which is taken out with what belongs to it.
fn take_peak(powers: &mut [f32; BINS]) -> (f32, f32) {
    let top = powers.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(bin, _)| bin);
    let lobe = top.saturating_sub(LOBE)..(top + LOBE + 1).min(BINS);
    let (mut whole, mut centre) = (0.0, 0.0);
    for bin in lobe {
        if let Some(power) = powers.get_mut(bin) {
            whole += *power;
            centre += *power * bin as f32;
            *power = 0.0;
        }
    }
    (hz(if whole > 0.0 { centre / whole } else { 0.0 }), whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(rate: u32, tones: &[(f32, f32)], number: usize) -> Vec<i16> {
        let first = number * rate as usize / 50;
        let at =
            |n: usize| tones.iter().map(|(hz, a)| a * (TAU * hz * n as f32 / rate as f32).sin()).sum::<f32>();
        (first..first + rate as usize / 50).map(|n| at(n) as i16).collect()
    }

    fn heard(rate: u32, tones: &[(f32, f32)]) -> Option<Tone> {
        let mut ear = Ear::new(rate);
        (0..4).map(|number| ear.hear(&frame(rate, tones, number))).last().flatten()
    }

    #[test]
    fn tones_are_known_by_their_frequency_at_both_rates() {
        for rate in [8_000, 16_000] {
            for hz in [350.0, 425.0, 437.5, 950.0, 1400.0, 2100.0] {
                let tone = heard(rate, &[(hz, 3_000.0)]).unwrap();
                assert!((tone.hz - hz).abs() < 8.0 && !tone.double, "{rate} {hz}: {tone:?}");
            }
            assert!(heard(rate, &[(480.0, 3_000.0), (620.0, 3_000.0)]).unwrap().double);
            assert!(!heard(rate, &[(440.0, 3_000.0), (480.0, 3_000.0)]).unwrap().double);
        }
    }

    #[test]
    fn silence_harmonics_and_a_tone_too_faint_are_no_tone() {
        assert_eq!(heard(8_000, &[]), None);
        assert_eq!(heard(8_000, &[(425.0, 60.0)]), None);
        let voice = [(150.0, 3e3), (300.0, 3e3), (450.0, 2.5e3), (600.0, 2e3), (750.0, 2e3), (900.0, 1.5e3)];
        assert_eq!(heard(8_000, &voice), None);
    }
}
