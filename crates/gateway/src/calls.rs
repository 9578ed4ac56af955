//! The table of calls: who is up, who may still come, who may take command of whom.

use std::collections::HashMap;
#[allow(
    clippy::disallowed_types,
    reason = "the table belongs to no call; the lock is held for one look into it"
)]
use std::sync::Mutex;
use std::sync::{Arc, PoisonError};

use call::{CallHandle, StopReason};
use tokio::sync::watch;

/// Every call of this server. Clones share it.
#[derive(Clone, Debug)]
#[allow(clippy::disallowed_types, reason = "as above")]
pub struct Calls {
    table: Arc<Mutex<Table>>,
    count: Arc<watch::Sender<usize>>,
    most: usize,
}

#[derive(Debug, Default)]
struct Table {
    calls: HashMap<String, Entry>,
    draining: bool,
    /// Calls that began since the start.
    total: u64,
    refused: u64,
}

#[derive(Debug, Default)]
struct Entry {
    handle: Option<CallHandle>,
    /// A client may still take command.
    unclaimed: bool,
}

/// Why there is no place for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// As many calls as `max_calls` are up.
    #[error("the server is full")]
    Full,
    /// The server is being stopped.
    #[error("the server is being stopped")]
    Draining,
    /// A call with this id is up.
    #[error("a call with this id is up")]
    Taken,
}

/// Why a client cannot take command of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoClaim {
    /// There is no such call.
    #[error("no call waits under this id")]
    Unknown,
    /// Someone else has command of it.
    #[error("the call is in command of someone else")]
    Taken,
}

/// What the table has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls now.
    pub now: usize,
    /// Calls since the start.
    pub total: u64,
    /// Calls refused for want of a place.
    pub refused: u64,
}

/// A call's place in the table; dropping it takes the call out.
#[derive(Debug)]
pub struct Place {
    calls: Calls,
    id: String,
}

impl Calls {
    /// An empty table for at most `most` calls at once.
    pub fn new(most: usize) -> Self {
        Calls { table: Arc::default(), count: Arc::new(watch::Sender::new(0)), most }
    }

    /// A place for a call with this id.
    ///
    /// # Errors
    /// [`NoPlace`]; every one of them is answered with 503 on SIP.
    pub fn reserve(&self, id: &str) -> Result<Place, NoPlace> {
        let count = self.with(|table| {
            let refusal = if table.draining {
                Some(NoPlace::Draining)
            } else if table.calls.contains_key(id) {
                Some(NoPlace::Taken)
            } else if table.calls.len() >= self.most {
                Some(NoPlace::Full)
            } else {
                None
            };
            if let Some(refusal) = refusal {
                table.refused += 1;
                return Err(refusal);
            }
            table.calls.insert(id.to_owned(), Entry::default());
            table.total += 1;
            Ok(table.calls.len())
        })?;
        self.count.send_replace(count);
        Ok(Place { calls: self.clone(), id: id.to_owned() })
    }

    /// Whether only the last quarter of the places is left.
    pub fn is_scarce(&self) -> bool {
        self.with(|table| table.calls.len()) >= self.most - self.most / 4
    }

    /// Tells every call that the server stops. One that does not take its order holds up none of the others.
    pub async fn hang_up(&self) {
        let all = self.all();
        futures::future::join_all(all.iter().map(|call| call.stop(StopReason::Shutdown))).await;
    }

    /// The call with this id.
    pub fn find(&self, id: &str) -> Option<CallHandle> {
        self.with(|table| table.calls.get(id).and_then(|entry| entry.handle.clone()))
    }

    /// Whether the id is in use, by a call that is up or about to be.
    pub fn contains(&self, id: &str) -> bool {
        self.with(|table| table.calls.contains_key(id))
    }

    /// Takes command of the call that waits under this id. It is given to one client only.
    ///
    /// # Errors
    /// [`NoClaim`].
    pub fn claim(&self, id: &str) -> Result<CallHandle, NoClaim> {
        self.with(|table| {
            let entry = table.calls.get_mut(id).ok_or(NoClaim::Unknown)?;
            if !entry.unclaimed {
                return Err(NoClaim::Taken);
            }
            entry.unclaimed = false;
            entry.handle.clone().ok_or(NoClaim::Unknown)
        })
    }

    /// Every call, in no order.
    pub fn all(&self) -> Vec<CallHandle> {
        self.with(|table| table.calls.values().filter_map(|entry| entry.handle.clone()).collect())
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.with(|table| Counts { now: table.calls.len(), total: table.total, refused: table.refused })
    }

    /// Takes no further call.
    pub fn drain(&self) {
        self.with(|table| table.draining = true);
    }

    /// Whether no further call is taken.
    pub fn draining(&self) -> bool {
        self.with(|table| table.draining)
    }

    /// Waits until no call is left.
    pub async fn empty(&self) {
        let mut count = self.count.subscribe();
        // The sender lives as long as this table.
        let _ = count.wait_for(|count| *count == 0).await;
    }

    fn with<T>(&self, look: impl FnOnce(&mut Table) -> T) -> T {
        look(&mut self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Place {
    /// The call is up. `unclaimed`: a client may take command of it.
    pub fn fill(&self, handle: CallHandle, unclaimed: bool) {
        self.calls.with(|table| {
            if let Some(entry) = table.calls.get_mut(&self.id) {
                *entry = Entry { handle: Some(handle), unclaimed };
            }
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let count = self.calls.with(|table| {
            table.calls.remove(&self.id);
            table.calls.len()
        });
        self.calls.count.send_replace(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_in_use_is_refused_and_free_again_after_its_call() {
        let calls = Calls::new(9);
        let place = calls.reserve("a").unwrap();
        assert_eq!(calls.reserve("a").unwrap_err(), NoPlace::Taken);
        drop(place);
        assert!(calls.reserve("a").is_ok());
    }

    #[test]
    fn no_more_calls_than_there_are_places() {
        let calls = Calls::new(1);
        let _place = calls.reserve("a").unwrap();
        assert_eq!(calls.reserve("b").unwrap_err(), NoPlace::Full);
        assert_eq!(calls.counts(), Counts { now: 1, total: 1, refused: 1 });
    }

    #[test]
    fn a_draining_server_takes_no_call_and_tells_when_it_is_empty() {
        let calls = Calls::new(9);
        let place = calls.reserve("a").unwrap();
        calls.drain();
        assert_eq!(calls.reserve("b").unwrap_err(), NoPlace::Draining);
        let mut empty = Box::pin(calls.empty());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(empty.as_mut().poll(&mut context).is_pending());
        drop(place);
        assert!(empty.as_mut().poll(&mut context).is_ready());
    }

    #[test]
    fn a_call_that_nobody_may_claim_is_not_given_away() {
        let calls = Calls::new(9);
        assert_eq!(calls.claim("a").unwrap_err(), NoClaim::Unknown);
        let _place = calls.reserve("a").unwrap();
        assert_eq!(calls.claim("a").unwrap_err(), NoClaim::Taken);
    }
}
