//! How good the sound of many legs was, as sums that any thread reads.

use std::sync::atomic::{AtomicU64, Ordering};

use rtp::Quality;

/// Legs by one of their figures.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    /// Upper limits of the classes; one more takes what is above.
    pub limits: [f64; N],
    classes: [AtomicU64; N],
    above: AtomicU64,
    /// Sum of the figures, in thousandths.
    thousandths: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    fn new(limits: [f64; N]) -> Self {
        let classes = std::array::from_fn(|_| AtomicU64::new(0));
        Histogram { limits, classes, above: AtomicU64::new(0), thousandths: AtomicU64::new(0) }
    }

    fn note(&self, value: f64) {
        let class = self.limits.iter().zip(&self.classes).find(|(limit, _)| value <= **limit);
        class.map_or(&self.above, |(_, class)| class).fetch_add(1, Ordering::Relaxed);
        self.thousandths.fetch_add((value * 1000.0) as u64, Ordering::Relaxed);
    }

    /// Each limit with the legs up to it; last, all legs.
    pub fn counts(&self) -> (Vec<(f64, u64)>, u64) {
        let mut sum = 0;
        let mut up_to = |class: &AtomicU64| {
            sum += class.load(Ordering::Relaxed);
            sum
        };
        let counts = self.limits.iter().zip(&self.classes).map(|(limit, class)| (*limit, up_to(class)));
        let counts: Vec<(f64, u64)> = counts.collect();
        let all = up_to(&self.above);
        (counts, all)
    }

    /// Sum of the figures.
    pub fn sum(&self) -> f64 {
        self.thousandths.load(Ordering::Relaxed) as f64 / 1000.0
    }
}

/// How good the sound of legs was that are over.
#[derive(Debug)]
pub struct Tally {
    /// Packets that arrived.
    pub packets: AtomicU64,
    /// Packets that should have arrived and did not.
    pub lost: AtomicU64,
    /// Mean opinion scores.
    pub mos: Histogram<6>,
    /// Jitter, in seconds.
    pub jitter: Histogram<5>,
    /// Round trips, in seconds, of peers that answer reports.
    pub round_trip: Histogram<5>,
}

impl Default for Tally {
    fn default() -> Self {
        Tally {
            packets: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            mos: Histogram::new([2.0, 2.5, 3.0, 3.5, 4.0, 4.3]),
            jitter: Histogram::new([0.002, 0.005, 0.01, 0.03, 0.1]),
            round_trip: Histogram::new([0.02, 0.05, 0.15, 0.3, 1.0]),
        }
    }
}

impl Tally {
    /// Counts legs that are over.
    pub fn note(&self, legs: impl IntoIterator<Item = Quality>) {
        for Quality { heard, round_trip, mos, .. } in legs {
            self.packets.fetch_add(heard.packets, Ordering::Relaxed);
            self.lost.fetch_add(heard.expected.saturating_sub(heard.packets), Ordering::Relaxed);
            if let Some(mos) = mos {
                self.mos.note(mos);
                self.jitter.note(heard.jitter.as_secs_f64());
            }
            if let Some(round_trip) = round_trip {
                self.round_trip.note(round_trip.as_secs_f64());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rtp::quality::Heard;

    use super::*;

    #[test]
    fn legs_are_counted_up_to_each_limit() {
        let tally = Tally::default();
        let heard = Heard { packets: 90, expected: 100, jitter: Duration::from_millis(4) };
        let leg = |mos| Quality { heard, told: None, round_trip: None, mos: Some(mos) };
        tally.note([leg(3.2), leg(4.4), leg(4.4)]);
        let (counts, all) = tally.mos.counts();
        assert_eq!(counts[2..], [(3.0, 0), (3.5, 1), (4.0, 1), (4.3, 1)]);
        assert_eq!(all, 3);
        assert_eq!(tally.jitter.counts().0[1], (0.005, 3));
        assert_eq!(tally.round_trip.counts().1, 0);
        assert_eq!(tally.lost.load(Ordering::Relaxed), 30);
        assert!((tally.mos.sum() - 12.0).abs() < 1e-9);
    }
}
