//! The sound of a client on its way from its socket to the media thread.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::timeout;

/// A message of sound goes on in parts of so many bytes, so that the queue of the call holds 1.6 MB at most.
const PART: usize = 32 * 1024;
/// Messages below this many bytes, less than 20 ms of narrow band, are joined where they come faster than they are taken.
const SMALL: usize = 160;
/// How long the reader waits for room in the queue of a call that is up: its sound takes all of it each 20 ms.
const ROOM: Duration = Duration::from_millis(60);
/// Joined messages wait so long for another: as long as the media thread does not look.
pub(super) const JOINING: Duration = Duration::from_millis(20);

/// Where binary messages of a client go, in their order and whatever their size.
///
/// The queue is one of messages, and the media thread takes all of it each 20 ms. Once half of it is full small messages
/// are joined, at most 32 KB of them, until it has room again: so one byte in a message is as good as a frame.
pub(super) struct Inlet {
    to: mpsc::Sender<Bytes>,
    joined: BytesMut,
}

impl Inlet {
    pub(super) fn new(to: mpsc::Sender<Bytes>) -> Self {
        Inlet { to, joined: BytesMut::new() }
    }

    /// Whether messages wait to be joined with others. Then [`Inlet::flush`] is due after [`JOINING`].
    pub(super) fn waits(&self) -> bool {
        !self.joined.is_empty()
    }

    /// Hands sound to the call; `up` says whether that is answered.
    pub(super) async fn take(&mut self, message: Bytes, up: impl Fn() -> bool) {
        let room = self.to.capacity() * 2 > self.to.max_capacity();
        if message.len() < SMALL && (self.waits() || !room) {
            self.joined.extend_from_slice(&message);
            if room || self.joined.len() >= PART {
                self.flush(up).await;
            }
            return;
        }
        self.flush(&up).await;
        self.pass(message, up).await;
    }

    /// Hands on what was joined.
    pub(super) async fn flush(&mut self, up: impl Fn() -> bool) {
        if self.waits() {
            let joined = self.joined.split().freeze();
            self.pass(joined, up).await;
        }
    }

    /// What does not fit before the call is up is late already; after that the call itself decides what is too much, and
    /// tells it.
    async fn pass(&self, mut bytes: Bytes, up: impl Fn() -> bool) {
        while !bytes.is_empty() {
            let part = bytes.split_to(bytes.len().min(PART));
            let Err(TrySendError::Full(part)) = self.to.try_send(part) else { continue };
            if !up() || timeout(ROOM, self.to.send(part)).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a media thread finds that looks after every `often` messages, and whether the queue was full for it.
    async fn taken(sizes: &[usize], often: usize, up: bool) -> (Vec<u8>, Vec<u8>) {
        let (to, mut queue) = mpsc::channel(50);
        let mut inlet = Inlet::new(to);
        let (mut sent, mut found) = (Vec::new(), Vec::new());
        for (number, size) in sizes.iter().enumerate() {
            let message: Vec<u8> = (0..*size).map(|byte| (sent.len() + byte) as u8).collect();
            sent.extend(&message);
            inlet.take(message.into(), || up).await;
            if (number + 1).is_multiple_of(often) {
                while let Ok(part) = queue.try_recv() {
                    found.extend(part);
                }
            }
        }
        inlet.flush(|| up).await;
        drop(inlet);
        while let Ok(part) = queue.try_recv() {
            found.extend(part);
        }
        (sent, found)
    }

    #[tokio::test]
    async fn messages_of_any_size_are_taken_in_order_as_fast_as_they_are_heard() {
        for sizes in [&[1][..], &[1, 3, 159], &[7, 640, 1], &[1, 0, 100_000], &[160], &[32_768, 2]] {
            let sizes: Vec<usize> = sizes.iter().copied().cycle().take(1280).collect();
            // More of the large ones than the queue holds come in no tick.
            let often = if sizes.iter().all(|size| *size < SMALL) { 640 } else { 20 };
            let (sent, found) = taken(&sizes, often, true).await;
            assert!(sent == found, "{:?}: {} of {} bytes", &sizes[..3], found.len(), sent.len());
        }
    }

    #[tokio::test]
    async fn what_waits_for_a_call_that_is_not_up_is_bounded() {
        let (sent, found) = taken(&[1; 200_000], usize::MAX, false).await;
        assert!(found.len() < 51 * PART && found == sent[..found.len()], "{}", found.len());
        assert!(found.len() > 8000, "the beginning is kept: {}", found.len());
        let (_, found) = taken(&[100_000; 100], usize::MAX, false).await;
        assert!(found.len() <= 50 * PART, "{}", found.len());
    }
}
