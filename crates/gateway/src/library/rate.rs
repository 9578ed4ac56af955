//! Sound at any sample rate to a rate that calls compute in.

use std::f32::consts::PI;

/// Samples on each side of the one that is made.
const REACH: usize = 16;
/// Fractions of a sample for which the filter is computed beforehand; between them it is taken as constant.
const STEPS: usize = 256;

/// Brings sound from one rate to another by a windowed sinc. A rate that calls compute in stays as it is.
#[derive(Debug)]
pub(super) struct Converter {
    to: u32,
    /// Input samples for each output sample.
    step: f64,
    /// `STEPS` filters of `2 * REACH` weights; empty when the rate stays.
    filters: Vec<f32>,
    /// Input that is still needed, the first of it at `position` 0.
    input: Vec<f32>,
    position: f64,
}

impl Converter {
    /// Whether sound at `hz` stays as it is.
    pub(super) fn keeps(hz: u32) -> bool {
        matches!(hz, 8_000 | 16_000 | 24_000 | 48_000)
    }

    /// From `from` Hz to the nearest rate of calls that loses little.
    pub(super) fn new(from: u32) -> Self {
        let to = match from {
            from if Self::keeps(from) => from,
            0..=12_000 => 8_000,
            12_001..=36_000 => 16_000,
            _ => 24_000,
        };
        let same = from == to;
        let input = if same { Vec::new() } else { vec![0.0; REACH] };
        let filters =
            if same { Vec::new() } else { filters((f64::from(to) / f64::from(from)).min(1.0) as f32) };
        Converter { to, step: f64::from(from) / f64::from(to), filters, input, position: 0.0 }
    }

    /// Hz of what comes out.
    pub(super) fn rate(&self) -> u32 {
        self.to
    }

    /// Takes samples from -1 to 1 and appends what can be made of them.
    pub(super) fn push(&mut self, samples: impl Iterator<Item = f32>, out: &mut Vec<i16>) {
        if self.filters.is_empty() {
            out.extend(samples.map(quantised));
            return;
        }
        self.input.extend(samples);
        while self.position as usize + 2 * REACH <= self.input.len() {
            out.push(quantised(self.sample()));
            self.position += self.step;
        }
        let used = (self.position as usize).min(self.input.len());
        self.input.drain(..used);
        self.position -= used as f64;
    }

    /// Appends what the last samples still give.
    pub(super) fn finish(&mut self, out: &mut Vec<i16>) {
        if !self.filters.is_empty() {
            self.push(std::iter::repeat_n(0.0, REACH), out);
        }
    }

    fn sample(&self) -> f32 {
        let first = self.position as usize;
        let fraction = ((self.position - first as f64) * STEPS as f64) as usize;
        let weights = self.filters.chunks_exact(2 * REACH).nth(fraction.min(STEPS - 1)).unwrap_or_default();
        let input = self.input.get(first..).unwrap_or_default();
        weights.iter().zip(input).map(|(weight, sample)| weight * sample).sum()
    }
}

/// Low-pass filters at `cutoff` of the input's band, one for each fraction of a sample, each of gain one.
fn filters(cutoff: f32) -> Vec<f32> {
    // A little below the limit, where a filter of this length has fallen far enough.
    let cutoff = cutoff * 0.92;
    let mut all = Vec::with_capacity(STEPS * 2 * REACH);
    for step in 0..STEPS {
        let fraction = step as f32 / STEPS as f32;
        let weights: Vec<f32> = (0..2 * REACH)
            .map(|tap| {
                let distance = tap as f32 - (REACH as f32 - 1.0) - fraction;
                let angle = PI * distance * cutoff;
                let sinc = if angle.abs() < 1e-6 { 1.0 } else { angle.sin() / angle };
                let window = 0.5 + 0.5 * (PI * distance / REACH as f32).cos();
                sinc * window.max(0.0)
            })
            .collect();
        let gain: f32 = weights.iter().sum();
        all.extend(weights.iter().map(|weight| weight / gain));
    }
    all
}

fn quantised(sample: f32) -> i16 {
    (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(from: u32, hz: f32) -> (u32, Vec<i16>) {
        let mut converter = Converter::new(from);
        let mut out = Vec::new();
        let sound = (0..from).map(|i| 0.5 * (2.0 * PI * hz * i as f32 / from as f32).sin());
        converter.push(sound, &mut out);
        converter.finish(&mut out);
        (converter.rate(), out)
    }

    #[test]
    fn a_second_stays_a_second_and_a_tone_keeps_its_pitch_and_strength() {
        for from in [11_025, 22_050, 32_000, 44_100, 96_000] {
            let (rate, out) = converted(from, 440.0);
            assert!(out.len().abs_diff(rate as usize) <= 2, "{from}: {} of {rate}", out.len());
            let middle = &out[out.len() / 4..out.len() * 3 / 4];
            let crossings = middle.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
            assert!(crossings.abs_diff(220) <= 1, "{from}: {crossings}");
            let peak = middle.iter().map(|s| s.unsigned_abs()).max().unwrap();
            assert!((15_500..=17_200).contains(&peak), "{from}: {peak}");
        }
    }

    #[test]
    fn what_the_new_rate_cannot_hold_is_taken_out() {
        let (_, out) = converted(44_100, 15_000.0);
        let peak = out[100..out.len() - 100].iter().map(|s| s.unsigned_abs()).max().unwrap();
        assert!(peak < 800, "{peak}");
    }

    #[test]
    fn a_rate_of_calls_is_left_alone() {
        let (rate, out) = converted(16_000, 440.0);
        assert_eq!((rate, out.len()), (16_000, 16_000));
        assert_eq!(out[0], 0);
    }
}
