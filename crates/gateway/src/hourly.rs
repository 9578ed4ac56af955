//! How many legs of ours begin in an hour. Time is an argument.

use std::collections::VecDeque;
#[allow(
    clippy::disallowed_types,
    reason = "the cap belongs to no call; the lock is held for a sum of 61 numbers"
)]
use std::sync::Mutex;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);
/// Minutes that an hour may touch.
const TOUCHED: u64 = 61;

/// The cap of a server, which its doors share; without one everything passes.
#[derive(Clone, Debug)]
#[allow(clippy::disallowed_types, reason = "as above")]
pub struct Cap(Option<Arc<(Instant, Mutex<Hourly>)>>);

#[allow(clippy::disallowed_types, reason = "as above")]
#[allow(clippy::disallowed_methods, reason = "the cap is a driver: an hour is one of real time")]
impl Cap {
    /// At most `cap` legs an hour.
    pub fn new(cap: Option<u32>) -> Self {
        Cap(cap.map(|cap| Arc::new((Instant::now(), Mutex::new(Hourly::new(cap))))))
    }

    /// Whether one more leg may begin; counts it then.
    pub fn take(&self) -> bool {
        let Some((origin, hourly)) = self.0.as_deref() else { return true };
        hourly.lock().unwrap_or_else(PoisonError::into_inner).take(origin.elapsed())
    }

    /// How many did not begin.
    pub fn refused(&self) -> u64 {
        let hourly =
            self.0.as_deref().map(|(_, hourly)| hourly.lock().unwrap_or_else(PoisonError::into_inner));
        hourly.map_or(0, |hourly| hourly.refused)
    }
}

/// Counts legs by the minute, so that what it remembers is bounded whatever the cap: of no 60 minutes more begin than
/// the cap says, and room comes back up to a minute late.
#[derive(Debug)]
struct Hourly {
    cap: u64,
    /// Minutes since the beginning in which legs have begun, and how many.
    begun: VecDeque<(u64, u64)>,
    refused: u64,
}

impl Hourly {
    /// At most `cap` an hour.
    fn new(cap: u32) -> Self {
        Hourly { cap: cap.into(), begun: VecDeque::new(), refused: 0 }
    }

    /// Whether one more may begin; counts it then. `now` is the time since any fixed moment; it never runs backwards.
    fn take(&mut self, now: Duration) -> bool {
        let minute = now.as_secs() / MINUTE.as_secs();
        while self.begun.front().is_some_and(|(then, _)| then + TOUCHED <= minute) {
            self.begun.pop_front();
        }
        if self.begun.iter().map(|(_, count)| count).sum::<u64>() >= self.cap {
            self.refused += 1;
            return false;
        }
        match self.begun.back_mut().filter(|(then, _)| *then == minute) {
            Some((_, count)) => *count += 1,
            None => self.begun.push_back((minute, 1)),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_hour_has_more_than_the_cap_and_room_comes_back() {
        let mut hourly = Hourly::new(3);
        let at = |seconds| Duration::from_secs(seconds);
        let taken = [0, 59, 1800, 1801, 3599, 3659].map(|seconds| hourly.take(at(seconds)));
        assert_eq!(taken, [true, true, true, false, false, false]);
        assert_eq!(hourly.refused, 3);
        assert!(hourly.take(at(3660)) && hourly.take(at(3660)), "those of the first minute are over");
        assert!(!hourly.take(at(3700)));
        assert!(hourly.take(at(1_000_000)));
        assert!(!Hourly::new(0).take(at(0)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut hourly = Hourly::new(u32::MAX);
        assert!((0..100_000).all(|second| hourly.take(Duration::from_secs(second * 7))));
        assert!(hourly.begun.len() <= 61);
    }
}
