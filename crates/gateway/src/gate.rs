//! Short work on threads that may wait for a disk.

use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};

/// Lets so many pieces of one kind of work onto the blocking threads at once. The rest waits as futures, of which each
/// call has a few, so that neither a rush of calls nor a disk that hangs makes a thread of each; and each kind has a gate
/// of its own, so that none waits behind another.
pub(crate) struct Gate(Semaphore);

impl Gate {
    pub(crate) const fn new(at_once: usize) -> Self {
        Gate(Semaphore::const_new(at_once))
    }

    /// Does `work` when there is room. It is done to its end, even when nobody waits for it any more.
    ///
    /// # Errors
    /// When it panics, or the runtime ends.
    pub(crate) async fn pass<T: Send + 'static>(
        &'static self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        // A gate is never closed.
        let place = self.0.acquire().await.ok();
        spawn_blocking(move || {
            let _place = place;
            work()
        })
        .await
    }

    /// Has `work` done meanwhile, where there is room; else it is left out.
    pub(crate) fn offer(&'static self, work: impl FnOnce() + Send + 'static) {
        if let Ok(place) = self.0.try_acquire() {
            spawn_blocking(move || {
                let _place = place;
                work();
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static NARROW: Gate = Gate::new(1);

    #[tokio::test]
    async fn what_finds_no_room_waits_or_is_left_out() {
        let (go, gone) = std::sync::mpsc::sync_channel::<()>(1);
        let mut first = std::pin::pin!(NARROW.pass(move || gone.recv().is_ok()));
        assert!(futures::poll!(&mut first).is_pending());
        NARROW.offer(|| panic!("there is no room"));
        let mut second = std::pin::pin!(NARROW.pass(|| 2));
        assert!(futures::poll!(&mut second).is_pending());
        go.send(()).unwrap();
        assert!(first.await.unwrap());
        assert_eq!(second.await.unwrap(), 2);
        assert!(NARROW.pass(|| panic!("as a decoder does")).await.is_err());
        assert_eq!(NARROW.pass(|| 3).await.unwrap(), 3, "the place is given back");
    }
}
