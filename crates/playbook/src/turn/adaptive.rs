//! `adaptive`: the pause that ends a turn is learned from the caller's own pauses.

use std::time::Duration;

use super::Wait;
use super::completeness::{Completeness, of};
use super::end::{Bounds, Said};

/// Weight of the latest pause against all before it.
const WEIGHT: f32 = 0.3;
/// What stays of the learned pause each time the caller did not go on.
const SHRINK: f32 = 0.95;
/// A longer gap is no pause within a turn.
const LONGEST: Duration = Duration::from_secs(4);

/// How long the caller pauses within a turn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pace {
    mean: Option<f32>,
    deviation: f32,
}

impl Pace {
    /// The caller went on after a pause of `gap`.
    pub fn went_on(&mut self, gap: Duration) {
        if gap > LONGEST {
            return;
        }
        let gap = gap.as_secs_f32();
        let mean = self.mean.unwrap_or(gap);
        self.deviation += WEIGHT * ((gap - mean).abs() - self.deviation);
        self.mean = Some(mean + WEIGHT * (gap - mean));
    }

    /// The caller did not go on: waiting was of no use.
    pub fn stayed(&mut self) {
        self.mean = self.mean.map(|mean| mean * SHRINK);
        self.deviation *= SHRINK;
    }

    /// The pause after which this caller's turn is over, within `bounds`. In the middle of them while nothing
    /// is known.
    pub fn pause(&self, bounds: Bounds) -> Duration {
        let Some(mean) = self.mean else { return bounds.middle() };
        // Whole milliseconds, as clocks are asked for.
        let wanted =
            Duration::from_millis(((mean * 1.2 + 2.0 * self.deviation).clamp(0.0, 10.0) * 1000.0) as u64);
        wanted.clamp(bounds.min, bounds.max.max(bounds.min))
    }
}

/// The learned pause; the longest allowed when the sentence is clearly open.
pub fn judge(said: &Said<'_>) -> Wait {
    match of(said.text, said.language) {
        Completeness::Open => Wait::For(said.bounds.max),
        Completeness::Complete | Completeness::Unknown => Wait::For(said.pace.pause(said.bounds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { min: Duration::from_millis(200), max: Duration::from_millis(1500) };

    #[test]
    fn a_slow_speaker_gets_time_and_a_quick_one_a_quick_answer() {
        let (mut slow, mut quick) = (Pace::default(), Pace::default());
        assert_eq!(slow.pause(BOUNDS), Duration::from_millis(850));
        for _ in 0..5 {
            slow.went_on(Duration::from_millis(1100));
            quick.went_on(Duration::from_millis(250));
        }
        assert!(slow.pause(BOUNDS) > Duration::from_millis(1200));
        assert!(quick.pause(BOUNDS) < Duration::from_millis(350));
    }

    #[test]
    fn the_bounds_hold_whatever_is_learned() {
        let mut pace = Pace::default();
        for gap in [3900, 10, 3900, 10, 3900] {
            pace.went_on(Duration::from_millis(gap));
        }
        assert_eq!(pace.pause(BOUNDS), BOUNDS.max);
        for _ in 0..1000 {
            pace.stayed();
        }
        assert_eq!(pace.pause(BOUNDS), BOUNDS.min);
        pace.went_on(Duration::from_secs(100_000));
        assert_eq!(pace.pause(BOUNDS), BOUNDS.min);
    }
}
