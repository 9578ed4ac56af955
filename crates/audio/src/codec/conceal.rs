//! Hides lost packets of codecs that have no concealment of their own: the last pitch period is repeated
//! and fades out.

use crate::lanes::dot;
use crate::prefetch;

/// Sound older than this is not needed to find a pitch period.
const HISTORY_MS: usize = 40;
/// Shortest pitch period looked for (400 Hz).
const SHORTEST_US: usize = 2_500;
/// Longest pitch period looked for (66 Hz).
const LONGEST_US: usize = 15_000;
/// A repeated period sounds like a buzz if it lasts, so it is gone by then.
const FADE_MS: usize = 60;
/// The first good sound after a loss is blended with the repetition for this long.
const BLEND_MS: usize = 4;

/// Remembers the latest sound of a decoder and continues it when asked.
pub(super) struct Concealer {
    rate: usize,
    /// The latest good sound, at most [`HISTORY_MS`]. Once full it is a ring, for moving it all with each packet would
    /// cost more than decoding.
    history: Vec<i16>,
    /// Where the oldest of it is.
    oldest: usize,
    /// The period being repeated while packets are lost.
    period: Vec<i16>,
    /// Samples made up since the last good one.
    made: usize,
}

impl Concealer {
    pub(super) fn new(rate: u32) -> Self {
        Concealer { rate: rate as usize, history: Vec::new(), oldest: 0, period: Vec::new(), made: 0 }
    }

    /// Asks for the memory that 20 ms of good sound are written to.
    pub(super) fn prefetch(&self) {
        let (_, oldest) = self.history.split_at(self.oldest.min(self.history.len()));
        prefetch(&oldest[..oldest.len().min(self.rate / 50)]);
    }

    /// Takes note of good sound that was just decoded and smooths its beginning after a loss.
    pub(super) fn heard(&mut self, pcm: &mut [i16]) {
        if self.made > 0 {
            let blend = pcm.len().min(self.rate * BLEND_MS / 1000);
            for (n, sample) in pcm.iter_mut().take(blend).enumerate() {
                let weight = (n + 1) as f32 / (blend + 1) as f32;
                let made_up = f32::from(self.continued(self.made + n));
                *sample = (f32::from(*sample) * weight + made_up * (1.0 - weight)) as i16;
            }
            self.made = 0;
            self.period.clear();
        }
        let keep = self.rate * HISTORY_MS / 1000;
        self.remember(pcm.get(pcm.len().saturating_sub(keep)..).unwrap_or_default(), keep);
    }

    /// Adds `fresh`, at most `keep` samples, to the history in place of the oldest.
    fn remember(&mut self, fresh: &[i16], keep: usize) {
        let (first, mut rest) = fresh.split_at(fresh.len().min(keep.saturating_sub(self.history.len())));
        self.history.extend_from_slice(first);
        while !rest.is_empty() && self.oldest < self.history.len() {
            let place = &mut self.history[self.oldest..];
            let (piece, more) = rest.split_at(rest.len().min(place.len()));
            place[..piece.len()].copy_from_slice(piece);
            self.oldest = (self.oldest + piece.len()) % keep.max(1);
            rest = more;
        }
    }

    /// Appends `samples` that continue what was heard.
    pub(super) fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) {
        if self.made == 0 {
            self.history.rotate_left(self.oldest);
            self.oldest = 0;
            let lag = pitch(&self.history, self.rate);
            let start = self.history.len().saturating_sub(lag);
            self.period = self.history.get(start..).unwrap_or_default().to_vec();
        }
        let first = self.made;
        out.extend((0..samples).map(|n| self.continued(first + n)));
        self.made = self.made.saturating_add(samples);
    }

    /// The made-up sample `at` samples after the last good one.
    fn continued(&self, at: usize) -> i16 {
        let fade = self.rate * FADE_MS / 1000;
        if self.period.is_empty() || at >= fade {
            return 0;
        }
        let sample = self.period.get(at % self.period.len()).copied().unwrap_or(0);
        (f32::from(sample) * (fade - at) as f32 / fade as f32) as i16
    }
}

/// The lag in samples at which the end of `history` resembles what came before it most.
fn pitch(history: &[i16], rate: usize) -> usize {
    // Every second sample of wideband sound is enough to tell a voice's pitch.
    let stride = (rate / 8000).max(1);
    let coarse: Vec<f32> = history.iter().rev().step_by(stride).map(|s| f32::from(*s)).collect();
    let longest = (rate * LONGEST_US / 1_000_000 / stride).min(coarse.len() / 2);
    let shortest = rate * SHORTEST_US / 1_000_000 / stride;
    let likenesses = (shortest..=longest).map(|lag| (likeness(&coarse, lag, longest), lag));
    likenesses.max_by(|a, b| a.0.total_cmp(&b.0)).map_or(longest, |best| best.1) * stride
}

/// Normalised correlation of the latest `span` samples with those `lag` earlier, the latest first; 0 when
/// they do not resemble each other.
fn likeness(backwards: &[f32], lag: usize, span: usize) -> f32 {
    let (Some(now), Some(then)) = (backwards.get(..span), backwards.get(lag..lag + span)) else {
        return 0.0;
    };
    dot(now, then).max(0.0) / (dot(then, then) + 1.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(rate: u32, hz: f32, samples: usize) -> Vec<i16> {
        let step = std::f32::consts::TAU * hz / rate as f32;
        (0..samples).map(|n| (10_000.0 * (step * n as f32).sin()) as i16).collect()
    }

    #[test]
    fn a_hidden_loss_continues_the_pitch() {
        for rate in [8000u32, 16000] {
            let frame = rate as usize / 50;
            let mut sound = tone(rate, 200.0, 3 * frame);
            let mut concealer = Concealer::new(rate);
            concealer.heard(&mut sound[..2 * frame]);
            let mut made = Vec::new();
            concealer.conceal(frame, &mut made);
            let error: f64 =
                made.iter().zip(&sound[2 * frame..]).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            let power: f64 = sound[2 * frame..].iter().map(|s| f64::from(*s).powi(2)).sum();
            assert!(error < 0.1 * power, "at {rate} Hz the error is {:.2} of the power", error / power);
        }
    }

    #[test]
    fn packets_of_every_length_are_remembered_alike() {
        let sound = tone(8000, 170.0, 8 * 320);
        let concealed = |length: usize| {
            let (mut concealer, mut made) = (Concealer::new(8000), Vec::new());
            for packet in sound.chunks(length) {
                concealer.heard(&mut packet.to_vec());
            }
            concealer.conceal(160, &mut made);
            made
        };
        let expected = concealed(sound.len());
        assert!(expected.iter().any(|sample| sample.unsigned_abs() > 5000));
        for length in [1, 80, 160, 240, 320, 480, 777] {
            assert_eq!(concealed(length), expected, "packets of {length} samples");
        }
    }

    #[test]
    fn a_long_loss_is_silent_after_60_ms() {
        let mut concealer = Concealer::new(8000);
        concealer.heard(&mut tone(8000, 150.0, 320));
        let mut made = Vec::new();
        for _ in 0..5 {
            concealer.conceal(160, &mut made);
        }
        assert!(made[..160].iter().any(|s| s.unsigned_abs() > 5000));
        assert!(made[480..].iter().all(|s| *s == 0));
    }

    #[test]
    fn the_return_of_sound_makes_no_step() {
        let mut concealer = Concealer::new(8000);
        concealer.heard(&mut tone(8000, 200.0, 320));
        let mut made = Vec::new();
        concealer.conceal(160, &mut made);
        let mut back: Vec<i16> = tone(8000, 200.0, 160).iter().map(|s| -s).collect();
        concealer.heard(&mut back);
        made.extend(back);
        let steepest = made.windows(2).map(|w| (i32::from(w[1]) - i32::from(w[0])).abs()).max();
        assert!(steepest < Some(4000), "{steepest:?}");
    }

    #[test]
    fn a_loss_before_any_sound_is_silence() {
        let mut made = Vec::new();
        Concealer::new(16000).conceal(320, &mut made);
        assert_eq!(made, vec![0; 320]);
    }
}
