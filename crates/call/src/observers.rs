//! Those who hear the events of a call without a say in it. The call keeps the last of its events, so that who comes
//! late, or comes back, hears what has happened meanwhile.

use std::collections::VecDeque;
use std::io;

use protocol::Event;
use tokio::sync::mpsc;

/// Events that a call keeps for who comes late. The oldest goes first.
pub const KEPT: usize = 64;
/// Bytes that they may have in all, as JSON: events hold texts of clients.
const KEPT_BYTES: usize = 256 * 1024;

/// An event and its number in its call, from 1. One that is missing was lost.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Its number.
    pub number: u64,
    /// The event.
    pub event: Event,
}

/// Someone who wants to hear the events.
#[derive(Debug)]
pub struct Observer {
    /// Where they go. When full the new one is lost.
    pub events: mpsc::Sender<Told>,
    /// Number of the last event that is known there; 0 for none.
    pub after: u64,
}

/// The observers of a call, and its last events.
#[derive(Debug, Default)]
pub(crate) struct Observers {
    listening: Vec<mpsc::Sender<Told>>,
    last: u64,
    kept: VecDeque<Kept>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    told: Told,
    bytes: usize,
}

impl Observers {
    /// Tells everyone who listens, and keeps the event.
    pub(crate) fn tell(&mut self, event: &Event) {
        self.last = self.last.saturating_add(1);
        let told = Told { number: self.last, event: event.clone() };
        self.listening.retain(|observer| {
            !matches!(observer.try_send(told.clone()), Err(mpsc::error::TrySendError::Closed(_)))
        });
        let bytes = weight(event);
        self.bytes = self.bytes.saturating_add(bytes);
        self.kept.push_back(Kept { told, bytes });
        while self.kept.len() > KEPT || self.bytes > KEPT_BYTES {
            let Some(gone) = self.kept.pop_front() else { return };
            self.bytes = self.bytes.saturating_sub(gone.bytes);
        }
    }

    /// Tells a new observer what it has missed, as far as it is kept, and from now on everything.
    pub(crate) fn admit(&mut self, observer: Observer) {
        // A number that is still to come is one of another call.
        let after = if observer.after > self.last { 0 } else { observer.after };
        for kept in self.kept.iter().filter(|kept| kept.told.number > after) {
            let _ = observer.events.try_send(kept.told.clone());
        }
        self.listening.push(observer.events);
    }
}

/// The length of an event as JSON.
fn weight(event: &Event) -> usize {
    struct Counter(usize);
    impl io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.saturating_add(bytes.len());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    // An event that cannot be written weighs as much as was written of it.
    let _ = serde_json::to_writer(&mut counter, event);
    counter.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ping(text: &str) -> Event {
        Event::Ping { timestamp: 0, payload: Some(text.into()) }
    }

    fn heard(observers: &mut Observers, after: u64) -> Vec<u64> {
        let (events, mut told) = mpsc::channel(1000);
        observers.admit(Observer { events, after });
        std::iter::from_fn(|| told.try_recv().ok()).map(|told| told.number).collect()
    }

    #[test]
    fn who_comes_late_hears_what_was_and_then_what_comes() {
        let mut observers = Observers::default();
        observers.tell(&ping("a"));
        observers.tell(&ping("b"));
        let (events, mut told) = mpsc::channel(10);
        observers.admit(Observer { events, after: 0 });
        observers.tell(&ping("c"));
        let numbers: Vec<_> = std::iter::from_fn(|| told.try_recv().ok()).map(|told| told.number).collect();
        assert_eq!(numbers, [1, 2, 3]);
        assert_eq!(heard(&mut observers, 2), [3], "who comes back hears what it has not heard");
        assert!(heard(&mut observers, 3).is_empty());
        assert_eq!(heard(&mut observers, 9), [1, 2, 3], "a number of another call");
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_and_bytes() {
        let mut observers = Observers::default();
        for _ in 0..KEPT + 10 {
            observers.tell(&ping("a"));
        }
        assert_eq!(heard(&mut observers, 0).first(), Some(&11));
        for _ in 0..3 {
            observers.tell(&ping(&"x".repeat(KEPT_BYTES / 2)));
        }
        assert_eq!(heard(&mut observers, 0).len(), 1);
        observers.tell(&ping(&"x".repeat(KEPT_BYTES * 2)));
        assert_eq!((heard(&mut observers, 0).len(), observers.bytes), (0, 0));
        observers.tell(&ping("b"));
        assert_eq!(heard(&mut observers, 0).len(), 1);
    }
}
