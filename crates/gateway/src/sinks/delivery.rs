//! Records on their way to a server or an object store: from a spool on disk, at least once.
//!
//! A record lies in the spool as a file until the sink has confirmed it and everything that goes with it. What fails
//! is tried again, after pauses that grow, and after a restart. Only then are local copies removed, where the
//! configuration wants that.
//!
//! Several records are under way at once, so that one whose receiver hangs holds up no other; a small one may overtake a
//! large one. A receiver that is away holds up every record: while it is, one at a time goes to see. One that answers and
//! does not take a record holds up no other: that record is [set aside](super::refused), with its files where they are.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::parcel::{self, Parcel};
use super::refused::{self, NotTaken};

/// The event log of a call is whole so long after its record.
pub const SETTLED: Duration = Duration::from_secs(2);
/// Records of one sink that are under way at once. The rest waits in the spool.
const AT_ONCE: usize = 4;
/// Pause after the first failure, doubled after each further one up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Time between two looks into the spool while nothing is told.
const LOOK: Duration = Duration::from_secs(60);
/// Failures in a row after which a sink is taken to be down: it is left alone for a while, and then one record goes.
const DOWN: u32 = 3;
/// How long deliveries may go on when the server stops. What is left lies in the spool.
const FAREWELL: Duration = Duration::from_secs(5);

/// Where records go.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Takes a record with its files. `Ok` means that the other side has confirmed all of it.
    ///
    /// # Errors
    /// Whether another record may fare better, with a text for the log. What was sent may be sent again.
    async fn deliver(&self, parcel: &Parcel) -> Result<(), NotTaken>;
}

/// What goes with records, and what becomes of it.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Recordings and event logs are sent.
    pub with_media: bool,
    /// They stay here too.
    pub keep_media_copy: bool,
    /// A record lies so long before it goes.
    pub settled: Duration,
    /// A record that is refused is sent again after each of these, and set aside when it is refused once more.
    pub pauses: &'static [Duration],
    /// The folder that they lie under; nothing else is sent or removed.
    pub media: PathBuf,
}

/// Carries records from the spool to a sink.
pub struct Delivery {
    spool: PathBuf,
    carrier: Carrier,
    wake: Arc<Notify>,
    /// Records that are on their way.
    flying: FuturesUnordered<Flight>,
    under_way: HashSet<PathBuf>,
    /// Records that were not taken and wait to be sent once more.
    tried: HashMap<PathBuf, Tried>,
    line: Line,
    /// Records that were set aside since the start.
    aside: Arc<AtomicU64>,
}

/// What brings one record to the sink. Clones share the sink.
#[derive(Clone)]
struct Carrier {
    sink: Arc<dyn Sink>,
    policy: Policy,
}

/// A record on its way: its file, and what came of it.
type Flight = BoxFuture<'static, (PathBuf, Result<(), NotTaken>)>;

/// A record that was not taken.
#[derive(Clone, Copy, Debug)]
struct Tried {
    /// So often it was refused.
    refused: usize,
    /// So often its receiver was away.
    away: u32,
    /// It is not sent before.
    again: Instant,
}

/// How the sink fares.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    /// Failures in a row.
    failures: u32,
    /// Nothing is begun before.
    rests_until: Option<Instant>,
}

/// Records that may go, and when to look for more.
struct Due {
    records: VecDeque<PathBuf>,
    look_at: Instant,
}

impl Delivery {
    /// From the folder `spool` to `sink`. `wake` says that something new is there.
    pub fn new(spool: PathBuf, sink: Arc<dyn Sink>, policy: Policy, wake: Arc<Notify>) -> Self {
        Delivery {
            spool,
            carrier: Carrier { sink, policy },
            wake,
            flying: FuturesUnordered::new(),
            under_way: HashSet::new(),
            tried: HashMap::new(),
            line: Line::default(),
            aside: Arc::default(),
        }
    }

    /// Counts the records that are set aside in `aside`.
    #[must_use]
    pub fn counting(self, aside: Arc<AtomicU64>) -> Self {
        Delivery { aside, ..self }
    }

    /// Delivers until `stop`, and then for a moment what is left.
    #[allow(clippy::disallowed_methods, reason = "a sink is a driver: it waits in real time")]
    pub async fn run(mut self, stop: CancellationToken) {
        let settled = self.carrier.policy.settled;
        let mut due = Due { records: VecDeque::new(), look_at: Instant::now() };
        while !stop.is_cancelled() {
            if due.records.is_empty() && due.look_at <= Instant::now() {
                due = self.due(settled).await;
            }
            self.begin(&mut due.records);
            let until = match (due.records.is_empty(), self.line.rests_until) {
                (true, _) => Some(due.look_at),
                (false, rests_until) => rests_until.filter(|until| *until > Instant::now()),
            };
            let later = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some((path, came)) = self.flying.next() => {
                    if let Some(again) = self.landed(path, came).await {
                        due.look_at = due.look_at.min(again);
                    }
                }
                () = later => {}
                () = self.wake.notified(), if due.records.is_empty() => due.look_at = Instant::now(),
                () = stop.cancelled() => {}
            }
        }
        if !matches!(timeout(FAREWELL, self.last()).await, Ok(true)) {
            tracing::warn!(spool = %self.spool.display(), "records wait in the spool for the next start");
        }
    }

    /// Sends everything once, however young, and tells whether nothing is left.
    async fn last(&mut self) -> bool {
        let mut due = self.due(Duration::ZERO).await;
        self.begin(&mut due.records);
        while let Some((path, came)) = self.flying.next().await {
            self.landed(path, came).await;
            self.begin(&mut due.records);
        }
        due.records.is_empty() && self.tried.is_empty()
    }

    /// Looks for records that are at least `age` old, are not under way and may go now: those first that never went.
    #[allow(clippy::disallowed_methods, reason = "as above")]
    async fn due(&mut self, age: Duration) -> Due {
        let spool = self.spool.clone();
        let waiting = tokio::task::spawn_blocking(move || parcel::waiting(&spool)).await.unwrap_or_default();
        let there: HashSet<&PathBuf> = waiting.iter().map(|(path, _)| path).collect();
        self.tried.retain(|path, _| there.contains(path));
        let now = Instant::now();
        let mut look_at = now + LOOK;
        let (mut fresh, mut again) = (VecDeque::new(), VecDeque::new());
        for (path, written) in waiting {
            match self.tried.get(&path) {
                _ if self.under_way.contains(&path) => {}
                Some(tried) if tried.again > now => look_at = look_at.min(tried.again),
                Some(_) => again.push_back(path),
                None if is_older(written, age) => fresh.push_back(path),
                None => look_at = look_at.min(now + age),
            }
        }
        fresh.append(&mut again);
        Due { records: fresh, look_at }
    }

    /// Sends as many of `records` as there is room for.
    fn begin(&mut self, records: &mut VecDeque<PathBuf>) {
        let room = self.line.room(Instant::now());
        while self.flying.len() < room
            && let Some(path) = records.pop_front()
        {
            self.under_way.insert(path.clone());
            self.flying.push(Box::pin(self.carrier.clone().carry(path)));
        }
    }

    /// Notes what came of a record; of one that stays in the spool it tells when it goes again.
    async fn landed(&mut self, path: PathBuf, came: Result<(), NotTaken>) -> Option<Instant> {
        self.under_way.remove(&path);
        let now = Instant::now();
        let mut tried = self.tried.remove(&path).unwrap_or(Tried { refused: 0, away: 0, again: now });
        self.line.came(!matches!(came, Err(NotTaken::Away(_))), now);
        match came {
            Ok(()) => return None,
            Err(NotTaken::Refused(error)) => tried = self.refused(&path, &error, tried).await?,
            Err(NotTaken::Never(error)) => tried = self.set_aside(&path, &error, tried).await?,
            Err(NotTaken::Away(error)) => {
                tried.away = tried.away.saturating_add(1);
                let pause = growing(tried.away);
                let told = "a record cannot be delivered; it is tried again";
                tracing::error!(record = %path.display(), %error, again_in = ?pause, times = tried.away, "{told}");
                tried.again = now + pause;
            }
        }
        self.tried.insert(path, tried);
        Some(tried.again)
    }

    /// A record that was not taken, though its receiver answers, goes again later or is set aside.
    async fn refused(&mut self, path: &Path, error: &str, tried: Tried) -> Option<Tried> {
        let Some(pause) = self.carrier.policy.pauses.get(tried.refused) else {
            return self.set_aside(path, error, tried).await;
        };
        tracing::warn!(record = %path.display(), error, again_in = ?pause, "a record is refused");
        Some(Tried { refused: tried.refused + 1, again: Instant::now() + *pause, ..tried })
    }

    /// Moves a record out of the way of the others. One that cannot be moved goes again.
    #[allow(clippy::disallowed_methods, reason = "as above")]
    async fn set_aside(&mut self, path: &Path, error: &str, tried: Tried) -> Option<Tried> {
        let (spool, at) = (self.spool.clone(), path.to_owned());
        let moved = tokio::task::spawn_blocking(move || refused::set_aside(&spool, &at)).await;
        match moved.unwrap_or_else(|e| Err(std::io::Error::other(e))) {
            Ok(to) => {
                tracing::error!(record = %to.display(), error, "a record is refused and set aside");
                self.aside.fetch_add(1, Ordering::Relaxed);
                None
            }
            Err(why) => {
                tracing::error!(record = %path.display(), error, %why, "a record is refused and stays in the spool");
                Some(Tried { again: Instant::now() + LONGEST_PAUSE, ..tried })
            }
        }
    }
}

impl Line {
    /// How many records may be under way.
    fn room(&self, now: Instant) -> usize {
        match self.rests_until {
            Some(until) if until > now => 0,
            Some(_) => 1,
            None => AT_ONCE,
        }
    }

    /// The receiver has answered, or not.
    fn came(&mut self, answered: bool, now: Instant) {
        self.failures = if answered { 0 } else { self.failures.saturating_add(1) };
        let rests = self.failures.checked_sub(DOWN).map(|more| growing(more.saturating_add(1)));
        self.rests_until = rests.map(|pause| now + pause);
    }
}

/// The pause after so many failures.
fn growing(failures: u32) -> Duration {
    PAUSE.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST_PAUSE)
}

impl Carrier {
    async fn carry(self, path: PathBuf) -> (PathBuf, Result<(), NotTaken>) {
        let came = self.one(&path).await;
        (path, came)
    }

    #[allow(clippy::disallowed_methods, reason = "as above")]
    async fn one(&self, path: &Path) -> Result<(), NotTaken> {
        let broken = |error: tokio::task::JoinError| NotTaken::Away(error.to_string());
        let media = self.policy.with_media.then(|| self.policy.media.clone());
        let at = path.to_owned();
        let packed = tokio::task::spawn_blocking(move || parcel::pack(&at, media.as_deref())).await;
        let parcel = packed.map_err(broken)??;
        let patience = parcel.patience();
        let late = |_| NotTaken::Away(format!("it takes longer than {} s", patience.as_secs()));
        timeout(patience, self.sink.deliver(&parcel)).await.map_err(late)??;
        tracing::debug!(record = ?parcel.name, "a record was delivered");
        let (path, keep) = (path.to_owned(), self.policy.keep_media_copy);
        let cleared = tokio::task::spawn_blocking(move || parcel::clear(&path, &parcel, keep)).await;
        cleared.map_err(broken)?.map_err(NotTaken::Away)
    }
}

#[allow(clippy::disallowed_methods, reason = "as above")]
fn is_older(written: SystemTime, age: Duration) -> bool {
    // A file of the future is one of a clock that was set back.
    SystemTime::now().duration_since(written).map_or(true, |old| old >= age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sink_that_is_down_is_left_alone_and_then_sent_one_record() {
        let now = Instant::now();
        let mut line = Line::default();
        for _ in 1..DOWN {
            line.came(false, now);
            assert_eq!(line.room(now), AT_ONCE);
        }
        for pause in [1, 2, 4] {
            line.came(false, now);
            let pause = Duration::from_secs(pause);
            assert_eq!(line.room(now + pause - Duration::from_millis(1)), 0);
            assert_eq!(line.room(now + pause), 1);
        }
        for _ in 0..40 {
            line.came(false, now);
        }
        assert_eq!(line.room(now + LONGEST_PAUSE), 1, "the pause has an end");
        line.came(true, now);
        assert_eq!(line.room(now), AT_ONCE);
    }
}
