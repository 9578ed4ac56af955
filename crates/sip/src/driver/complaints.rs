//! Messages that nobody can do anything with are told in the log: one line for each source and minute.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::silence::network;
use crate::config::Time;
use crate::event::Fault;

/// How long nothing more is told of a source.
const QUIET: Duration = Duration::from_secs(60);
/// Sources of which something is told within that time. Of further ones nothing is: a flood from many addresses is no
/// reason for as many lines.
const MOST: usize = 256;

/// Of whom something was told, and until when nothing more is.
#[derive(Debug, Default)]
pub(super) struct Complaints(HashMap<IpAddr, Time>);

impl Complaints {
    /// Tells a fault, unless one of its source has just been told.
    pub(super) fn tell(&mut self, now: Time, fault: &Fault) {
        if self.may_tell(now, fault.source.ip()) {
            let Fault { source: from, code, why } = fault;
            tracing::warn!(%from, ?code, ?why, "a SIP message of no use; no more of its source is told for a minute");
        }
    }

    /// Tells that a scanner asks, unless something of its source has just been told.
    pub(super) fn tell_scanner(&mut self, now: Time, from: SocketAddr) {
        if self.may_tell(now, from.ip()) {
            tracing::warn!(%from, "a scanner, by its name, gets no answer; no more of its source is told for a minute");
        }
    }

    /// Whether it is time to tell something of this source; it counts as told then.
    fn may_tell(&mut self, now: Time, source: IpAddr) -> bool {
        let source = network(source);
        if self.0.get(&source).is_some_and(|until| now < *until) {
            return false;
        }
        if self.0.len() >= MOST {
            self.0.retain(|_, until| now < *until);
        }
        let room = self.0.len() < MOST || self.0.contains_key(&source);
        if room {
            self.0.insert(source, now.saturating_add(QUIET));
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_written_of_a_source_in_a_minute_and_a_bounded_number_of_all() {
        let (mut complaints, second) = (Complaints::default(), Duration::from_secs(1));
        let source: IpAddr = "198.51.100.1".parse().unwrap();
        let told = [0, 1, 59, 60, 61, 120].map(|at| complaints.may_tell(second * at, source));
        assert_eq!(told, [true, false, false, true, false, true]);
        let at = second * 1_000;
        let sources = (0..10_000u32).map(|number| std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).into());
        assert_eq!(sources.filter(|source| complaints.may_tell(at, *source)).count(), MOST);
        assert_eq!(complaints.0.len(), MOST);
        assert!(complaints.may_tell(at + QUIET, source), "there is room again after a minute");
    }
}
