//! Keys of a telephone as sound: those of the far end are found in it, and ours are put into it.

use std::collections::VecDeque;
use std::time::Duration;

use audio::dtmf::{Detector, Tone};

use crate::media::rtp_leg::Run;

/// Tones that may wait; more are left out. A command holds 64.
const MOST_WAITING: usize = 256;
/// A comma among digits.
const COMMA: Duration = Duration::from_millis(500);
/// Shortest tone that every receiver knows, with room for its filters (ITU-T Q.24 asks for 40 ms).
const SHORTEST: Duration = Duration::from_millis(60);
/// Behind a tone; Q.24 asks for 40 ms.
const GAP: Duration = Duration::from_millis(80);

/// Listens for tones of a far end that has no other way to send digits.
pub(crate) struct Ear {
    detector: Detector,
    found: String,
}

impl Ear {
    /// An ear for sound at `rate` Hz.
    pub(crate) fn new(rate: u32) -> Self {
        Ear { detector: Detector::new(rate), found: String::new() }
    }

    /// Hears `frame` but for what of it is made up, and behind its `runs` to the end; the digits that begin in it.
    pub(crate) fn hear(&mut self, frame: &[i16], runs: &[Run]) -> impl Iterator<Item = char> {
        self.found.clear();
        let mut rest = frame;
        for run in runs {
            let (sound, later) = rest.split_at(run.samples.min(rest.len()));
            match run.made_up {
                true => self.detector.pass_over(sound.len()),
                false => self.detector.push(sound, &mut self.found),
            }
            rest = later;
        }
        self.detector.push(rest, &mut self.found);
        self.found.chars()
    }
}

/// Plays digits as tones in place of sound, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Tones {
    waiting: VecDeque<(char, Duration)>,
    tone: Option<Tone>,
    /// Samples of silence to come.
    rest: usize,
}

impl Tones {
    /// Queues digits, each so long.
    pub(crate) fn dial(&mut self, digits: &str, length: Duration) {
        let room = MOST_WAITING.saturating_sub(self.waiting.len());
        self.waiting.extend(digits.chars().take(room).map(|digit| (digit, length.max(SHORTEST))));
    }

    /// Writes tones and the silence between them over `frame`, for sound at `rate` Hz, as long as there are any.
    pub(crate) fn cover(&mut self, frame: &mut [i16], rate: u32) {
        let mut at = 0;
        while at < frame.len() {
            let room = &mut frame[at..];
            let count = match &mut self.tone {
                _ if self.rest > 0 => {
                    let count = self.rest.min(room.len());
                    room[..count].fill(0);
                    self.rest -= count;
                    count
                }
                Some(tone) => {
                    let count = tone.read(room);
                    if count < room.len() {
                        self.tone = None;
                        self.rest = samples(GAP, rate);
                    }
                    count
                }
                None => {
                    let Some((digit, length)) = self.waiting.pop_front() else { return };
                    self.tone = Tone::new(digit, rate, length);
                    if self.tone.is_none() {
                        self.rest = samples(COMMA, rate);
                    }
                    0
                }
            };
            at += count;
        }
    }
}

fn samples(time: Duration, rate: u32) -> usize {
    (time.as_micros() * u128::from(rate) / 1_000_000) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tones_replace_the_sound_and_are_told_apart() {
        for rate in [8000, 16_000] {
            let (mut tones, mut ear, mut heard) = (Tones::default(), Ear::new(rate), String::new());
            tones.dial("1155,#0aD", Duration::from_millis(40));
            for _ in 0..100 {
                let mut frame = vec![9_000; rate as usize / 50];
                tones.cover(&mut frame, rate);
                heard.extend(ear.hear(&frame, &[]));
            }
            assert_eq!(heard, "1155#0AD");
            let mut frame = [9_000; 160];
            tones.cover(&mut frame, rate);
            assert_eq!(frame, [9_000; 160], "sound goes on when the last tone is over");
        }
    }
}
