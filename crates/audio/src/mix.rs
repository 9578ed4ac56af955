//! Adds sounds and changes their loudness without clicks.

use std::time::Duration;

use crate::frame::FRAME_MS;

/// Adds `sound` to `onto`, sample by sample; a sum beyond 16 bits stays at the limit. What `sound` has
/// more than `onto` is left out.
pub fn add(onto: &mut [i16], sound: &[i16]) {
    for (sum, sample) in onto.iter_mut().zip(sound) {
        *sum = sum.saturating_add(*sample);
    }
}

/// A loudness that moves to its goal in a straight line, sample by sample.
#[derive(Clone, Debug)]
pub struct Gain {
    level: f32,
    goal: f32,
    /// Change per sample until the goal is reached; its sign is that of the way to go.
    step: f32,
}

impl Gain {
    /// A gain that stays at `level`; 1 leaves sound as it is, 0 is silence.
    pub fn new(level: f32) -> Self {
        let level = sane(level);
        Gain { level, goal: level, step: 0.0 }
    }

    /// Starts a way from the present level to `goal` that takes `time` at `rate` samples a second.
    pub fn fade_to(&mut self, goal: f32, time: Duration, rate: u32) {
        self.goal = sane(goal);
        let samples = (time.as_secs_f32() * rate as f32).max(1.0);
        self.step = (self.goal - self.level) / samples;
    }

    /// Changes the loudness of `pcm`.
    pub fn apply(&mut self, pcm: &mut [i16]) {
        if self.settled() && self.level == 1.0 {
            return;
        }
        for sample in pcm {
            // The cast saturates, which is what a gain above 1 wants.
            *sample = (f32::from(*sample) * self.level) as i16;
            if !self.settled() {
                self.advance();
            }
        }
    }

    /// Whether the goal is reached.
    pub fn settled(&self) -> bool {
        self.level == self.goal
    }

    /// The present level.
    pub fn level(&self) -> f32 {
        self.level
    }

    /// The level at the end of the way.
    pub fn goal(&self) -> f32 {
        self.goal
    }

    fn advance(&mut self) {
        self.level += self.step;
        // Half a step covers what rounding has summed up, so that a fade takes its time to the sample.
        if (self.goal - self.level) * self.step.signum() <= self.step.abs() / 2.0 {
            self.level = self.goal;
        }
    }
}

/// Levels of a background sound. Defaults are those of the `ambiance` option.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ducking {
    /// Level while nobody speaks.
    pub normal_level: f32,
    /// Level while someone speaks.
    pub duck_level: f32,
    /// Largest change of the level per 20 ms; 0: it never changes.
    pub transition_speed: f32,
}

impl Default for Ducking {
    fn default() -> Self {
        Ducking { normal_level: 0.3, duck_level: 0.1, transition_speed: 0.01 }
    }
}

/// Lowers a background sound while someone speaks.
#[derive(Clone, Debug)]
pub struct Ducker {
    levels: Ducking,
    gain: Gain,
}

impl Ducker {
    /// A ducker that begins in silence, for a background that is there at once is a click; one whose level never
    /// changes begins with the normal one. Levels outside 0 to 4 and values that are no numbers are corrected.
    pub fn new(levels: Ducking) -> Self {
        let levels = Ducking {
            normal_level: sane(levels.normal_level),
            duck_level: sane(levels.duck_level),
            transition_speed: sane(levels.transition_speed),
        };
        let first = if levels.transition_speed > 0.0 { 0.0 } else { levels.normal_level };
        Ducker { levels, gain: Gain::new(first) }
    }

    /// Sets the loudness of one frame (20 ms) of background at any rate, one step nearer to the level that
    /// `speaking` asks for.
    pub fn apply(&mut self, speaking: bool, background: &mut [i16]) {
        let wanted = if speaking { self.levels.duck_level } else { self.levels.normal_level };
        let speed = self.levels.transition_speed;
        let next = wanted.clamp(self.gain.level() - speed, self.gain.level() + speed);
        let rate = background.len() as u32 * 1000 / FRAME_MS;
        self.gain.fade_to(next, Duration::from_millis(u64::from(FRAME_MS)), rate);
        self.gain.apply(background);
        self.gain = Gain::new(next);
    }

    /// The present level.
    pub fn level(&self) -> f32 {
        self.gain.level()
    }
}

/// A level that is a number from 0 to 4 (12 dB).
fn sane(level: f32) -> f32 {
    if level.is_nan() { 0.0 } else { level.clamp(0.0, 4.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_background_whose_level_never_changes_is_heard_at_the_normal_one() {
        let mut ducker = Ducker::new(Ducking { transition_speed: 0.0, normal_level: 0.5, duck_level: 0.1 });
        let mut frame = [1000; 160];
        ducker.apply(true, &mut frame);
        assert_eq!(frame, [500; 160]);
    }

    #[test]
    fn loud_sums_stay_at_the_limit() {
        let mut sum = [30_000, -30_000, 5, 7];
        add(&mut sum, &[10_000, -10_000, -8]);
        assert_eq!(sum, [i16::MAX, i16::MIN, -3, 7]);
    }

    #[test]
    fn a_fade_reaches_its_goal_in_its_time_and_never_turns_back() {
        let mut gain = Gain::new(1.0);
        gain.fade_to(0.0, Duration::from_millis(10), 8000);
        let mut sound = [10_000; 160];
        gain.apply(&mut sound);
        assert!(sound.windows(2).all(|w| w[1] <= w[0]));
        assert!(sound[79] > 0 && sound[79] < 200);
        assert!(sound[81..].iter().all(|s| *s == 0));
        assert!(gain.settled());
    }

    #[test]
    fn a_fade_begun_during_another_goes_on_from_there() {
        let mut gain = Gain::new(0.0);
        gain.fade_to(1.0, Duration::from_millis(20), 8000);
        gain.apply(&mut [0; 80]);
        let before = gain.level();
        gain.fade_to(0.0, Duration::from_millis(20), 8000);
        let mut sound = [10_000; 160];
        gain.apply(&mut sound);
        assert!((f32::from(sound[0]) / 10_000.0 - before).abs() < 0.01);
    }

    #[test]
    fn unchanged_sound_is_not_touched() {
        let mut sound = [i16::MIN, -1, 0, 1, i16::MAX];
        Gain::new(1.0).apply(&mut sound);
        assert_eq!(sound, [i16::MIN, -1, 0, 1, i16::MAX]);
    }

    #[test]
    fn background_sinks_while_someone_speaks_and_rises_again() {
        let mut ducker = Ducker::new(Ducking::default());
        let mut sound = Vec::new();
        for speaking in [false, true, false] {
            for _ in 0..40 {
                let mut frame = [10_000; 160];
                ducker.apply(speaking, &mut frame);
                sound.extend(frame);
            }
            sound.push(*sound.last().unwrap());
        }
        assert_eq!((sound[0], sound[6400], sound[12_801], sound[19_202]), (0, 3000, 1000, 3000));
        assert!(sound.windows(2).all(|pair| pair[0].abs_diff(pair[1]) <= 1), "it clicks");
        for _ in 0..20 {
            ducker.apply(true, &mut [1000; 160]);
        }
        assert!((ducker.level() - 0.1).abs() < 1e-6);
        let mut frame = [1000; 160];
        ducker.apply(false, &mut frame);
        assert!((ducker.level() - 0.11).abs() < 1e-6);
        assert!(frame.iter().all(|s| (99..=110).contains(s)), "{frame:?}");
    }

    #[test]
    fn levels_that_are_no_numbers_are_silence() {
        let mut ducker = Ducker::new(Ducking { normal_level: f32::NAN, ..Ducking::default() });
        let mut frame = [1000; 160];
        ducker.apply(false, &mut frame);
        assert_eq!(frame, [0; 160]);
    }
}
