//! How well this machine keeps time while a test runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// After so long the thread that looks wants to be woken.
const LOOK: Duration = Duration::from_millis(5);

/// Looks how long threads are kept waiting, from its beginning on.
pub(crate) struct Watch(Arc<AtomicU64>);

impl Watch {
    #[allow(clippy::disallowed_methods, reason = "what is measured is how late a thread is woken")]
    pub(crate) fn start() -> Watch {
        let longest = Arc::new(AtomicU64::new(0));
        let seen = Arc::downgrade(&longest);
        std::thread::spawn(move || {
            while let Some(longest) = seen.upgrade() {
                let since = Instant::now();
                std::thread::park_timeout(LOOK);
                let late = since.elapsed().saturating_sub(LOOK);
                longest.fetch_max(late.as_micros() as u64, Ordering::Relaxed);
            }
        });
        Watch(longest)
    }

    /// The longest that a thread has waited.
    pub(crate) fn stall(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}
