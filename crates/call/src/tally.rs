//! How good the sound of many legs was, and what many calls told, as sums that any thread reads.

use std::sync::atomic::{AtomicU64, Ordering};

use protocol::{Event, HangupReason};
use rtp::Quality;
use rtp::quality::Dropped;

/// Parts of a call that tell errors, as the `sender` of their events names them.
const PARTS: [&str; 13] = [
    "accept", "asr", "command", "eou", "hangup", "invite", "llm", "media", "playbook", "realtime", "ringing",
    "sip", "tts",
];

/// Causes for which datagrams are dropped, in the order of [`Dropped`].
const DROPPED: [&str; 4] = ["foreign", "unauthentic", "replayed", "unreadable"];

/// Things counted by name. The names are few and known: those of clients and peers are counted together, so that
/// nobody fills memory with names.
#[derive(Debug)]
pub struct Names {
    named: Vec<(&'static str, AtomicU64)>,
    other: AtomicU64,
}

impl Names {
    fn new(names: impl IntoIterator<Item = &'static str>) -> Self {
        let named = names.into_iter().map(|name| (name, AtomicU64::new(0))).collect();
        Names { named, other: AtomicU64::new(0) }
    }

    fn note(&self, name: &str) {
        let known = self.named.iter().find(|(known, _)| *known == name);
        known.map_or(&self.other, |(_, count)| count).fetch_add(1, Ordering::Relaxed);
    }

    /// Each name with its count; last, `other`.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let named = self.named.iter().map(|(name, count)| (*name, count));
        named.chain([("other", &self.other)]).map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }
}

/// What calls have told since the start: how an operator hears that callers wait or are not served.
#[derive(Debug)]
pub struct Told {
    /// `error` events, by their sender.
    pub errors: Names,
    /// Calls that are over, by the reason of their end.
    pub ends: Names,
    /// Times that a caller talked over the agent and it stopped.
    pub interruptions: AtomicU64,
    /// Calls that an error inside their rules or their task has ended.
    pub panics: AtomicU64,
    /// From the end of a caller's words to the first sound of the reply, in seconds.
    pub response_time: Histogram<8>,
}

impl Default for Told {
    fn default() -> Self {
        Told {
            errors: Names::new(PARTS),
            ends: Names::new(HangupReason::words()),
            interruptions: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            response_time: Histogram::new([0.3, 0.5, 0.8, 1.2, 2.0, 3.0, 5.0, 10.0]),
        }
    }
}

impl Told {
    /// Counts an event of a call.
    pub fn note(&self, event: &Event) {
        match event {
            Event::Error { sender, .. } => self.errors.note(sender),
            Event::Interruption { .. } => {
                self.interruptions.fetch_add(1, Ordering::Relaxed);
            }
            Event::Metrics { key, duration, .. } if key == "response_time" => {
                self.response_time.note(*duration as f64 / 1000.0);
            }
            _ => {}
        }
    }

    /// Counts a call that an error inside it has ended.
    pub(crate) fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a call that is over.
    pub fn over(&self, reason: Option<&HangupReason>) {
        self.ends.note(reason.map_or("", HangupReason::wire));
    }
}

/// Legs by one of their figures.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    /// Upper limits of the classes; one more takes what is above.
    pub limits: [f64; N],
    classes: [AtomicU64; N],
    above: AtomicU64,
    /// Sum of the figures, in millionths.
    millionths: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    fn new(limits: [f64; N]) -> Self {
        let classes = std::array::from_fn(|_| AtomicU64::new(0));
        Histogram { limits, classes, above: AtomicU64::new(0), millionths: AtomicU64::new(0) }
    }

    fn note(&self, value: f64) {
        let class = self.limits.iter().zip(&self.classes).find(|(limit, _)| value <= **limit);
        class.map_or(&self.above, |(_, class)| class).fetch_add(1, Ordering::Relaxed);
        self.millionths.fetch_add((value * 1e6).round() as u64, Ordering::Relaxed);
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
        self.millionths.load(Ordering::Relaxed) as f64 / 1e6
    }
}

/// How good the sound of legs was that are over.
#[derive(Debug)]
pub struct Tally {
    /// Packets that arrived.
    pub packets: AtomicU64,
    /// Packets that should have arrived and did not.
    pub lost: AtomicU64,
    /// What came and was dropped, by cause.
    pub dropped: [(&'static str, AtomicU64); 4],
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
            dropped: DROPPED.map(|cause| (cause, AtomicU64::new(0))),
            mos: Histogram::new([2.0, 2.5, 3.0, 3.5, 4.0, 4.3]),
            jitter: Histogram::new([0.002, 0.005, 0.01, 0.03, 0.1]),
            round_trip: Histogram::new([0.02, 0.05, 0.15, 0.3, 1.0]),
        }
    }
}

impl Tally {
    /// Counts legs that are over.
    pub fn note(&self, legs: impl IntoIterator<Item = Quality>) {
        for Quality { heard, round_trip, mos, dropped, .. } in legs {
            let Dropped { foreign, unauthentic, replayed, unreadable } = dropped;
            for ((_, sum), count) in self.dropped.iter().zip([foreign, unauthentic, replayed, unreadable]) {
                sum.fetch_add(count, Ordering::Relaxed);
            }
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
    fn what_calls_tell_is_counted_by_name_and_names_of_others_together() {
        let told = Told::default();
        let error = |sender: &str| Event::Error {
            track_id: "c".into(),
            timestamp: 0,
            sender: sender.into(),
            error: "no".into(),
            code: None,
            field: None,
        };
        for sender in ["asr", "asr", "made up", "also made up"] {
            told.note(&error(sender));
        }
        told.over(Some(&HangupReason::Caller));
        told.over(Some(&HangupReason::Other("bored".into())));
        told.over(None);
        let metric =
            |key: &str| Event::Metrics { timestamp: 0, key: key.into(), duration: 700, data: ().into() };
        for key in ["response_time", "ttfb.tts"] {
            told.note(&metric(key));
        }
        let count =
            |names: &Names, name: &str| names.counts().find(|(known, _)| *known == name).map(|(_, n)| n);
        assert_eq!(count(&told.errors, "asr"), Some(2));
        assert_eq!(count(&told.errors, "other"), Some(2));
        assert_eq!(count(&told.errors, "made up"), None);
        assert_eq!((count(&told.ends, "caller"), count(&told.ends, "other")), (Some(1), Some(2)));
        assert_eq!(told.response_time.counts().1, 1);
        assert_eq!(told.response_time.counts().0[2], (0.8, 1));
    }

    #[test]
    fn legs_are_counted_up_to_each_limit() {
        let tally = Tally::default();
        let heard = Heard { packets: 90, expected: 100, jitter: Duration::from_micros(4_900) };
        let dropped = Dropped { foreign: 1, replayed: 3, ..Dropped::default() };
        let leg = |mos| Quality { heard, told: None, round_trip: None, mos: Some(mos), dropped };
        tally.note([leg(3.2), leg(4.4), leg(4.4)]);
        let (counts, all) = tally.mos.counts();
        assert_eq!(counts[2..], [(3.0, 0), (3.5, 1), (4.0, 1), (4.3, 1)]);
        assert_eq!(all, 3);
        assert_eq!(tally.jitter.counts().0[1], (0.005, 3));
        assert_eq!(tally.round_trip.counts().1, 0);
        assert_eq!(tally.lost.load(Ordering::Relaxed), 30);
        let counted = tally.dropped.each_ref().map(|(cause, count)| (*cause, count.load(Ordering::Relaxed)));
        assert_eq!(counted, [("foreign", 3), ("unauthentic", 0), ("replayed", 9), ("unreadable", 0)]);
        assert!((tally.mos.sum() - 12.0).abs() < 1e-9);
        assert!((tally.jitter.sum() - 0.0147).abs() < 1e-9, "nothing of a figure is left out");
    }
}
