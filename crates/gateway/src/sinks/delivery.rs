//! Records on their way to a server or an object store: from a spool on disk, at least once.
//!
//! A record lies in the spool as a file until the sink has confirmed it and everything that goes with it. What fails
//! is tried again, after pauses that grow, and after a restart. Only then are local copies removed, where the
//! configuration wants that.
//!
//! A receiver that is away holds up every record. One that answers and does not take a record holds up no other: that
//! record is [set aside](super::refused), with its files where they are.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use protocol::record::CallRecord;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::journal;
use super::refused::{self, NotTaken, REFUSED};
use crate::files;

/// The event log of a call is whole so long after its record.
pub const SETTLED: Duration = Duration::from_secs(2);
/// Pause after a round in which something failed, doubled each time up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Time between two looks into the spool while nothing is told.
const LOOK: Duration = Duration::from_secs(60);
/// Failures in a row after which a sink is taken to be down, until the next round.
const DOWN: u32 = 3;
/// How long one record may take with all that goes with it.
const LONGEST: Duration = Duration::from_secs(900);
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

/// A record and the files that go with it.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Day of the call, `YYYYMMDD`.
    pub day: String,
    /// Name of the record's file, without its end; it is the same each time the record is sent.
    pub name: String,
    /// The record as JSON.
    pub text: Vec<u8>,
    /// The call's id, fit for a file name.
    pub stem: String,
    /// Files, all of them there.
    pub files: Vec<Attached>,
}

/// A file that goes with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Whose sound; `None` for the event log.
    pub track: Option<String>,
    /// The file.
    pub path: PathBuf,
    /// Its name alone.
    pub name: String,
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
    sink: Arc<dyn Sink>,
    policy: Policy,
    wake: Arc<Notify>,
    /// Records that wait to be sent once more; of each, how often it was refused.
    refusals: HashMap<PathBuf, Refusal>,
    /// Records that were set aside since the start.
    aside: Arc<AtomicU64>,
}

/// A record that its receiver did not take.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    times: usize,
    /// It is not sent before.
    again: Instant,
}

/// What came of one look into the spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Round {
    failed: bool,
    /// Something is there that is too young.
    early: bool,
}

impl Delivery {
    /// From the folder `spool` to `sink`. `wake` says that something new is there.
    pub fn new(spool: PathBuf, sink: Arc<dyn Sink>, policy: Policy, wake: Arc<Notify>) -> Self {
        Delivery { spool, sink, policy, wake, refusals: HashMap::new(), aside: Arc::default() }
    }

    /// Counts the records that are set aside in `aside`.
    #[must_use]
    pub fn counting(self, aside: Arc<AtomicU64>) -> Self {
        Delivery { aside, ..self }
    }

    /// Delivers until `stop`, and then for a moment what is left.
    #[allow(clippy::disallowed_methods, reason = "a sink is a driver: it waits in real time")]
    pub async fn run(mut self, stop: CancellationToken) {
        let mut pause = PAUSE;
        loop {
            let settled = self.policy.settled;
            let round = tokio::select! {
                round = self.round(settled) => round,
                () = stop.cancelled() => break,
            };
            let wait = if round.failed {
                pause
            } else if round.early {
                self.policy.settled
            } else {
                LOOK
            };
            // What was refused goes again when its time has come.
            let due = self.refusals.values().map(|refusal| refusal.again).min();
            let wait = due.map_or(wait, |due| wait.min(due.saturating_duration_since(Instant::now())));
            pause = if round.failed { (pause * 2).min(LONGEST_PAUSE) } else { PAUSE };
            // While a sink is down, new records do not make it come back sooner.
            let news = async {
                if round.failed { std::future::pending().await } else { self.wake.notified().await }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = news => {}
                () = stop.cancelled() => break,
            }
        }
        let left = timeout(FAREWELL, self.round(Duration::ZERO)).await;
        if left.is_err() || left.is_ok_and(|round| round.failed) {
            tracing::warn!(spool = %self.spool.display(), "records wait in the spool for the next start");
        }
    }

    /// Tries everything in the spool that is at least `age` old.
    #[allow(clippy::disallowed_methods, reason = "as above")]
    async fn round(&mut self, age: Duration) -> Round {
        let mut round = Round::default();
        let mut row = 0;
        let spool = self.spool.clone();
        let waiting = tokio::task::spawn_blocking(move || waiting(&spool)).await.unwrap_or_default();
        self.refusals.retain(|path, _| waiting.iter().any(|(there, _)| there == path));
        for (path, written) in waiting {
            if !is_older(written, age) {
                round.early = true;
                continue;
            }
            if self.refusals.get(&path).is_some_and(|refusal| refusal.again > Instant::now()) {
                continue;
            }
            match self.one(&path).await {
                Ok(()) => row = 0,
                Err(NotTaken::Refused(error)) => self.refused(path, &error, false).await,
                Err(NotTaken::Never(error)) => self.refused(path, &error, true).await,
                Err(NotTaken::Away(error)) => {
                    tracing::error!(record = %path.display(), %error, "a record cannot be delivered; it is tried again");
                    round.failed = true;
                    row += 1;
                    if row >= DOWN {
                        break;
                    }
                }
            }
        }
        round
    }

    /// A record that was not taken, though its receiver answers, goes again later or is set aside.
    #[allow(clippy::disallowed_methods, reason = "as above")]
    async fn refused(&mut self, path: PathBuf, error: &str, never: bool) {
        let times = self.refusals.get(&path).map_or(0, |refusal| refusal.times) + 1;
        let pause = self.policy.pauses.get(times - 1).filter(|_| !never);
        if let Some(pause) = pause {
            tracing::warn!(record = %path.display(), error, again_in = ?pause, "a record is refused");
            self.refusals.insert(path, Refusal { times, again: Instant::now() + *pause });
            return;
        }
        let (spool, at) = (self.spool.clone(), path.clone());
        let moved = tokio::task::spawn_blocking(move || refused::set_aside(&spool, &at)).await;
        match moved.unwrap_or_else(|e| Err(std::io::Error::other(e))) {
            Ok(to) => {
                tracing::error!(record = %to.display(), error, "a record is refused and set aside");
                self.aside.fetch_add(1, Ordering::Relaxed);
                self.refusals.remove(&path);
            }
            Err(why) => {
                tracing::error!(record = %path.display(), error, %why, "a record is refused and stays in the spool");
                self.refusals.insert(path, Refusal { times, again: Instant::now() + LONGEST_PAUSE });
            }
        }
    }

    async fn one(&self, path: &Path) -> Result<(), NotTaken> {
        let broken = |error: tokio::task::JoinError| NotTaken::Away(error.to_string());
        let (policy, at) = (self.policy.clone(), path.to_owned());
        let packed = tokio::task::spawn_blocking(move || pack(&at, &policy)).await;
        let parcel = packed.map_err(broken)??;
        let delivered = timeout(LONGEST, self.sink.deliver(&parcel)).await;
        delivered.unwrap_or_else(|_| Err(NotTaken::Away("it takes too long".into())))?;
        tracing::debug!(record = ?parcel.name, "a record was delivered");
        let (path, keep) = (path.to_owned(), self.policy.keep_media_copy);
        let cleared = tokio::task::spawn_blocking(move || clear(&path, &parcel, keep)).await;
        cleared.map_err(broken)?.map_err(NotTaken::Away)
    }
}

#[allow(clippy::disallowed_methods, reason = "as above")]
fn is_older(written: SystemTime, age: Duration) -> bool {
    // A file of the future is one of a clock that was set back.
    SystemTime::now().duration_since(written).map_or(true, |old| old >= age)
}

/// The records in the spool, oldest first by name, with the time they were written.
fn waiting(spool: &Path) -> Vec<(PathBuf, SystemTime)> {
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let days = entries(spool).filter(|day| day.file_name() != journal::UP && day.file_name() != REFUSED);
    let mut waiting: Vec<_> = days
        .flat_map(|day| entries(&day.path()))
        .filter(|file| file.path().extension().is_some_and(|end| end == "json"))
        .filter_map(|file| Some((file.path(), file.metadata().ok()?.modified().ok()?)))
        .collect();
    waiting.sort();
    waiting
}

fn pack(path: &Path, policy: &Policy) -> Result<Parcel, NotTaken> {
    let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let text = std::fs::read(path).map_err(|e| NotTaken::Refused(e.to_string()))?;
    let record: CallRecord = serde_json::from_slice(&text).map_err(|e| NotTaken::Never(e.to_string()))?;
    let log = record.dump_event_file.iter().map(|path| (None, path.as_str()));
    let sound = record.recorder.iter().map(|file| (Some(file.track_id.clone()), file.path.as_str()));
    let attached = log.chain(sound).filter_map(|(track, path)| {
        let path = inside(&policy.media, path)?;
        Some(Attached { track, name: part(path.file_name()), path })
    });
    Ok(Parcel {
        day: part(path.parent().and_then(Path::file_name)),
        name: part(path.file_stem()),
        stem: files::stem(&record.call_id),
        files: if policy.with_media { attached.collect() } else { Vec::new() },
        text,
    })
}

/// The file, when it is there and lies under `folder`.
fn inside(folder: &Path, path: &str) -> Option<PathBuf> {
    let (folder, path) = (folder.canonicalize().ok()?, Path::new(path).canonicalize().ok()?);
    (path.starts_with(&folder) && path.is_file()).then_some(path)
}

/// What was delivered is taken out of the spool, and only then its local copies.
fn clear(path: &Path, parcel: &Parcel, keep: bool) -> Result<(), String> {
    std::fs::remove_file(path).map_err(|e| format!("it was delivered, and cannot be removed: {e}"))?;
    if let Some(day) = path.parent() {
        // Fails as long as something else is in it.
        let _ = std::fs::remove_dir(day);
    }
    for file in parcel.files.iter().filter(|_| !keep) {
        if let Err(error) = std::fs::remove_file(&file.path) {
            tracing::error!(file = %file.path.display(), %error, "a file that was delivered cannot be removed");
        }
    }
    Ok(())
}
