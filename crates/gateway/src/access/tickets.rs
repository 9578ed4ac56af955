//! One-time capabilities: a browser cannot put a key into the headers of a WebSocket, so whoever has the key asks
//! for a path that opens once.

use std::collections::HashMap;
#[allow(
    clippy::disallowed_types,
    reason = "tickets belong to no call; the lock is held for a look into a map"
)]
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::config::words::Scope;

/// Tickets that may be out at once. When there are more, those that are about to expire go first.
const MOST: usize = 10_000;
/// How long a ticket is good when nothing is said.
pub const USUAL_LIFE: Duration = Duration::from_secs(60);
/// Longest life of a ticket.
pub const LONGEST_LIFE: Duration = Duration::from_secs(3600);

/// What a ticket is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Who asked for it, for the log.
    pub name: String,
    /// What it may do.
    pub scope: Scope,
    /// The only path it opens; any when absent.
    pub path: Option<String>,
    /// The only value of the parameter `id` it opens with; any when absent.
    pub id: Option<String>,
}

/// Tickets that are out. Times are Unix milliseconds.
#[derive(Debug, Default)]
#[allow(clippy::disallowed_types, reason = "as above")]
pub struct Tickets {
    out: Mutex<HashMap<String, (u64, Grant)>>,
}

impl Tickets {
    /// A new ticket, good until `until_ms`, for one use.
    pub fn issue(&self, grant: Grant, now_ms: u64, until_ms: u64) -> String {
        let random: [u8; 24] = rand::random();
        let ticket = URL_SAFE_NO_PAD.encode(random);
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.retain(|_, (until, _)| *until > now_ms);
        if out.len() >= MOST {
            let first = out.iter().min_by_key(|(_, (until, _))| *until).map(|(ticket, _)| ticket.clone());
            first.and_then(|first| out.remove(&first));
        }
        out.insert(ticket.clone(), (until_ms, grant));
        ticket
    }

    /// What `ticket` is good for, where that `fits` what is asked. Then it is good for nothing afterwards; a try that does
    /// not fit leaves it as it is.
    pub fn redeem(&self, ticket: &str, now_ms: u64, fits: impl FnOnce(&Grant) -> bool) -> Option<Grant> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let fit = out.get(ticket).is_some_and(|(until, grant)| *until > now_ms && fits(grant));
        let (_, grant) = fit.then(|| out.remove(ticket)).flatten()?;
        Some(grant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> Grant {
        Grant { name: "x".into(), scope: Scope::Control, path: None, id: None }
    }

    #[test]
    fn a_ticket_is_good_once_and_not_for_ever() {
        let tickets = Tickets::default();
        let ticket = tickets.issue(grant(), 0, 60);
        assert_eq!(tickets.redeem(&ticket, 59, |_| false), None, "a try for something else");
        assert_eq!(tickets.redeem(&ticket, 59, |_| true), Some(grant()));
        assert_eq!(tickets.redeem(&ticket, 59, |_| true), None);
        let late = tickets.issue(grant(), 0, 60);
        assert_eq!(tickets.redeem(&late, 60, |_| true), None);
        assert_eq!(tickets.redeem("", 0, |_| true), None);
    }

    #[test]
    fn no_more_tickets_are_out_than_there_is_room_for() {
        let tickets = Tickets::default();
        let first = tickets.issue(grant(), 0, 10);
        for _ in 0..MOST {
            tickets.issue(grant(), 0, 100);
        }
        assert_eq!(tickets.redeem(&first, 0, |_| true), None);
        assert_eq!(tickets.out.lock().unwrap().len(), MOST);
    }
}
