//! The time inside a call.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// Time since the call began. It is the only time inside a call; wall time is added at the API edge.
///
/// A monotonic offset has no missing epoch, prints as an offset in logs and records, and lets a test
/// write `CallTime::ms(1500)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallTime(pub Duration);

impl CallTime {
    /// The moment the call began.
    pub const ZERO: CallTime = CallTime(Duration::ZERO);

    /// `ms` milliseconds after the call began.
    pub const fn ms(ms: u64) -> Self {
        CallTime(Duration::from_millis(ms))
    }

    /// Whole milliseconds since the call began.
    pub const fn as_ms(self) -> u64 {
        self.0.as_millis() as u64
    }

    /// Time passed since `earlier`; zero when `earlier` lies in the future.
    pub fn since(self, earlier: CallTime) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// This time less `span`, never before the call began.
    pub fn back(self, span: Duration) -> CallTime {
        CallTime(self.0.saturating_sub(span))
    }
}

impl Add<Duration> for CallTime {
    type Output = CallTime;
    fn add(self, span: Duration) -> CallTime {
        CallTime(self.0.saturating_add(span))
    }
}

impl AddAssign<Duration> for CallTime {
    fn add_assign(&mut self, span: Duration) {
        *self = *self + span;
    }
}

impl Sub for CallTime {
    type Output = Duration;
    fn sub(self, earlier: CallTime) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Display for CallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0.as_secs(), self.0.subsec_millis())
    }
}
