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

/// The playbooks that wait. Times are Unix milliseconds.
#[derive(Debug, Default)]
#[allow(clippy::disallowed_types, reason = "as above")]
pub struct Parked {
    waiting: Mutex<HashMap<String, (u64, Arc<Playbook>)>>,
}

impl Parked {
    /// Parks a playbook for the call `id`; false when there is no room.
    pub fn park(&self, id: &str, playbook: Playbook, now_ms: u64) -> bool {
        let until = now_ms.saturating_add(u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX));
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, (until, _)| *until > now_ms);
        let room = waiting.len() < MOST;
        if room {
            waiting.insert(id.to_owned(), (until, Arc::new(playbook)));
        }
        room
    }

    /// The playbook that waits for the call `id`. It waits no longer.
    pub fn take(&self, id: &str, now_ms: u64) -> Option<Arc<Playbook>> {
        let (until, playbook) = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(id)?;
        (until > now_ms).then_some(playbook)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn playbook() -> Playbook {
        crate::playbooks::parse("---\nasr: {provider: rules}\n---\nhi\n").unwrap()
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
}
