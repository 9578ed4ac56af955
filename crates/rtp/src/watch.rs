//! Whether sound comes at all: the media timeouts of a leg.

use std::time::Duration;

use protocol::CallTime;

/// How long a leg may be silent on the wire. `None` waits for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patience {
    /// For the first packet after the answer.
    pub first: Option<Duration>,
    /// Between two packets in mid-call.
    pub gap: Option<Duration>,
}

/// What has not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Not one packet since the answer: wrong address, closed port, one-way route.
    First,
    /// No further packet: the peer or the network is gone.
    Next,
}

/// Watches that packets keep coming. Any accepted packet counts, also a digit, comfort noise or a report: the
/// peer is there, be it silent. While the peer need not send (hold) nothing is missed.
#[derive(Clone, Debug)]
pub struct Watch {
    patience: Patience,
    since: CallTime,
    heard: bool,
    paused: bool,
}

impl Watch {
    /// Watches from `now` on, the moment in which the peer has been told where to send.
    pub fn new(now: CallTime, patience: Patience) -> Self {
        Watch { patience, since: now, heard: false, paused: false }
    }

    /// A packet has been accepted.
    pub fn heard(&mut self, now: CallTime) {
        self.heard = true;
        self.since = now;
    }

    /// Whether the peer may keep silent from `now` on. When it may no longer, its time begins anew.
    pub fn pause(&mut self, now: CallTime, paused: bool) {
        if self.paused && !paused {
            self.since = now;
        }
        self.paused = paused;
    }

    /// When patience ends.
    pub fn timeout(&self) -> Option<CallTime> {
        let patience = if self.heard { self.patience.gap } else { self.patience.first };
        patience.filter(|_| !self.paused).map(|patience| self.since + patience)
    }

    /// What is missing at `now`, if patience has ended.
    pub fn missing(&self, now: CallTime) -> Option<Missing> {
        self.timeout().filter(|end| now >= *end)?;
        Some(if self.heard { Missing::Next } else { Missing::First })
    }
}
