//! Playbooks that wait for their call: put here by `POST /api/playbook/run`, taken by who opens a call of that id.

use std::collections::HashMap;
#[allow(
    clippy::disallowed_types,
    reason = "parked playbooks belong to no call yet; the lock is held for a look into a map"
)]
use std::sync::Mutex;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use playbook::Playbook;

/// How long a playbook waits.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// Playbooks that may wait. A further one is refused.
const MOST: usize = 1000;
/// Bytes that the texts of those may have in all that clients have sent. A further one is refused.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// The playbooks that wait. Times are Unix milliseconds.
#[derive(Debug, Default)]
#[allow(clippy::disallowed_types, reason = "as above")]
pub struct Parked {
    waiting: Mutex<HashMap<String, Waiting>>,
}

/// A playbook, and how much memory it takes.
#[derive(Clone, Debug)]
pub struct Held {
    /// The playbook.
    pub playbook: Arc<Playbook>,
    /// Bytes of its text; 0 for one that is kept in any case.
    pub bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    until_ms: u64,
    held: Held,
}

impl Parked {
    /// Parks a playbook for the call `id`; false when there is no room.
    pub fn park(&self, id: &str, held: Held, now_ms: u64) -> bool {
        let until_ms = now_ms.saturating_add(u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX));
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, waiting| waiting.until_ms > now_ms);
        let bytes = waiting.values().fold(held.bytes, |sum, waiting| sum.saturating_add(waiting.held.bytes));
        let room = waiting.len() < MOST && bytes <= MOST_BYTES;
        if room {
            waiting.insert(id.to_owned(), Waiting { until_ms, held });
        }
        room
    }

    /// The playbook that waits for the call `id`. It waits no longer.
    pub fn take(&self, id: &str, now_ms: u64) -> Option<Arc<Playbook>> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(id)?;
        (waiting.until_ms > now_ms).then_some(waiting.held.playbook)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn playbook() -> Held {
        let playbook = crate::playbooks::parse("---\nasr: {provider: rules}\n---\nhi\n").unwrap();
        Held { playbook: Arc::new(playbook), bytes: 40 }
    }

    #[test]
    fn a_playbook_waits_for_one_call_and_not_for_ever() {
        let parked = Parked::default();
        let late = u64::try_from(PATIENCE.as_millis()).unwrap();
        assert!(parked.park("a", playbook(), 0) && parked.park("b", playbook(), 0));
        assert!(parked.take("a", late - 1).is_some());
        assert!(parked.take("a", 0).is_none());
        assert!(parked.take("b", late).is_none());
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let parked = Parked::default();
        let text = playbook();
        assert!((0..MOST).all(|n| parked.park(&n.to_string(), text.clone(), 0)));
        assert!(!parked.park("x", text.clone(), 0));
        assert!(parked.park("x", text, u64::MAX));
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_too() {
        let parked = Parked::default();
        let large = Held { bytes: MOST_BYTES / 2, ..playbook() };
        assert!(parked.park("a", large.clone(), 0) && parked.park("b", large.clone(), 0));
        assert!(!parked.park("c", Held { bytes: 1, ..playbook() }, 0));
        assert!(
            parked.park("c", Held { bytes: 0, ..playbook() }, 0),
            "what is kept in any case takes no room"
        );
        assert!(parked.take("a", 0).is_some());
        assert!(parked.park("d", large, 0), "what is taken gives its room back");
    }
}
