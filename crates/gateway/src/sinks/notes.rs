//! Notes of the calls that are up, for the records of those that a crash cuts off.
//!
//! Each process keeps its notes in a folder of its own under `<root>/.up` and holds a lock on it while it
//! lives, so that two servers may share a root: a folder nobody holds belongs to a process that is gone.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
#[allow(
    clippy::disallowed_types,
    reason = "the notes belong to no call; the lock is held for a look into a map"
)]
use std::sync::Mutex;
use std::sync::PoisonError;

use chrono::DateTime;
use protocol::record::CallRecord;

use crate::files;

/// Folder of the notes of every process.
pub(super) const UP: &str = ".up";
/// Held by whoever opens or looks through the folders, so that a folder is never seen half made.
const DOOR: &str = "door";
/// In the folder of a process: held as long as the process lives.
const ALIVE: &str = "alive";

/// The notes of this process.
#[derive(Debug)]
#[allow(clippy::disallowed_types, reason = "as above")]
pub(super) struct Notes {
    folder: PathBuf,
    up: Mutex<Table>,
    _alive: File,
}

#[derive(Debug, Default)]
struct Table {
    /// Of each id the calls in the order they began: more than one while the record of the first is late.
    calls: HashMap<String, Vec<Note>>,
    count: u64,
}

/// Where a call is noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    path: PathBuf,
    start_ms: i64,
}

impl Notes {
    /// A folder for the notes of this process under `root`.
    pub(super) fn open(root: &Path) -> io::Result<Notes> {
        let _door = door(root)?;
        let folder = root.join(UP).join(uuid::Uuid::new_v4().to_string());
        std::fs::create_dir(&folder)?;
        let alive = File::create(folder.join(ALIVE))?;
        alive.lock()?;
        Ok(Notes { folder, up: Default::default(), _alive: alive })
    }

    /// Notes that a call is up.
    pub(super) fn add(&self, beginning: &CallRecord) -> io::Result<Note> {
        let count = self.with(|table| {
            table.count += 1;
            table.count
        });
        let path = self.folder.join(format!("{}.{count}.json", files::stem(&beginning.call_id)));
        files::write_whole(&path, &serde_json::to_vec(beginning)?)?;
        let note = Note { path, start_ms: start_ms(beginning) };
        self.with(|table| table.calls.entry(beginning.call_id.clone()).or_default().push(note.clone()));
        Ok(note)
    }

    /// The note of the call that `record` is of: the last one of its id that is not younger than the record.
    pub(super) fn of(&self, record: &CallRecord) -> Option<Note> {
        let start = start_ms(record);
        self.with(|table| {
            let notes = table.calls.get(&record.call_id)?;
            // Without one the clock was set back, and the oldest is the likeliest.
            notes.iter().rfind(|note| note.start_ms <= start).or(notes.first()).cloned()
        })
    }

    /// Forgets a note whose file has been dealt with.
    pub(super) fn forget(&self, id: &str, note: &Note) {
        self.with(|table| {
            if let Some(notes) = table.calls.get_mut(id) {
                notes.retain(|other| other != note);
                if notes.is_empty() {
                    table.calls.remove(id);
                }
            }
        });
    }

    fn with<T>(&self, look: impl FnOnce(&mut Table) -> T) -> T {
        look(&mut self.up.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Note {
    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Notes {
    /// Takes the folder away when every note is; what is left is a matter of the next start.
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

/// Gives every note that a dead process has left to `settle`, which takes the file away when it succeeds.
pub(super) fn settle_abandoned(root: &Path, mut settle: impl FnMut(&Path)) -> io::Result<()> {
    if !root.join(UP).exists() {
        return Ok(());
    }
    let _door = door(root)?;
    for folder in entries(&root.join(UP)).filter(|path| path.is_dir()) {
        let alive = match File::open(folder.join(ALIVE)) {
            Ok(file) => match file.try_lock() {
                Ok(()) => Some(file),
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(error),
            },
            // Its process was cut off before there was anything to note.
            Err(_) => None,
        };
        for path in entries(&folder).filter(|path| path.extension().is_some_and(|end| end == "json")) {
            settle(&path);
        }
        remove(&folder);
        drop(alive);
    }
    Ok(())
}

fn door(root: &Path) -> io::Result<File> {
    std::fs::create_dir_all(root.join(UP))?;
    let door = File::create(root.join(UP).join(DOOR))?;
    door.lock()?;
    Ok(door)
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Removes the folder of a process unless notes are in it.
fn remove(folder: &Path) {
    if entries(folder).all(|path| path.file_name().is_some_and(|name| name == ALIVE)) {
        // What cannot be removed now is removed at a later start.
        let _ = std::fs::remove_dir_all(folder);
    }
}

fn start_ms(record: &CallRecord) -> i64 {
    DateTime::parse_from_rfc3339(&record.start_time).map_or(0, |time| time.timestamp_millis())
}
