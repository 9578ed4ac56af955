//! The journal of the calls that are up, for the records of those that a crash cuts off.
//!
//! Each process has a folder of its own under `<root>/.up` and holds a lock in it while it lives, so that two servers may
//! share a root: a folder nobody holds belongs to a process that is gone. The journal is one file of JSON lines. A call
//! has a line when it begins, one that holds its record just before that is written, and one when nothing is left to do.
//! One file for all calls, and not one for each: making and removing files is what costs most in a short call.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, TryLockError};
use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
#[allow(
    clippy::disallowed_types,
    reason = "the journal belongs to no call; the lock is held by threads that may wait for the disk"
)]
use std::sync::Mutex;
use std::sync::PoisonError;

use chrono::DateTime;
use protocol::record::CallRecord;
use serde::{Deserialize, Serialize};

use crate::files;

/// Folder of the journals of every process.
pub(super) const UP: &str = ".up";
/// Held by whoever opens or looks through the folders, so that a folder is never seen half made.
const DOOR: &str = "door";
/// In the folder of a process: held as long as the process lives.
const ALIVE: &str = "alive";
/// In the folder of a process: its calls.
const CALLS: &str = "calls.jsonl";
/// A journal of this many bytes, and of four times what it was when it was last made shorter, is written anew with the
/// calls that are still up.
const COMPACT: u64 = 1024 * 1024;
/// Longest line that is read; a record is far shorter.
const LONGEST_LINE: u64 = 16 * 1024 * 1024;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
struct Line<R> {
    /// Number of the call in this journal.
    call: u64,
    #[serde(flatten)]
    news: News<R>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum News<R> {
    /// The call is up; this is its record if it is cut off.
    Up(R),
    /// The call has ended, and its record is about to be written.
    Ended { path: PathBuf, record: R },
    /// The record is there, or none is wanted.
    Over,
}

/// The journal of this process.
#[derive(Debug)]
#[allow(clippy::disallowed_types, reason = "as above")]
pub(super) struct Journal {
    folder: PathBuf,
    book: Mutex<Book>,
    _alive: File,
}

/// The file, and what is known of it.
#[derive(Debug)]
struct Book {
    file: File,
    /// Bytes of whole lines. What a failed write left behind them is written over.
    length: u64,
    /// The length at which it is made shorter.
    compact_at: u64,
    /// Where the lines of each call that is up lie: how it stands, and its record when it has ended.
    up: HashMap<u64, (Range<u64>, Option<Range<u64>>)>,
    /// Of each id the calls in the order they began: more than one while the record of the first is late.
    calls: HashMap<String, Vec<Note>>,
    count: u64,
    /// Lines that say `over` and could not be written: they go out with the next. No more than calls were up when the disk
    /// began to fail.
    owed: Vec<u8>,
}

/// Where a call is noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    call: u64,
    start_ms: i64,
}

/// A call that a process has left behind.
pub(super) struct Abandoned {
    /// What was known of it while it was up.
    pub(super) standing: CallRecord,
    /// Its record and where that was to be written, when it had ended.
    pub(super) ended: Option<(PathBuf, CallRecord)>,
}

impl Journal {
    /// A journal for this process under `root`.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let _door = door(root)?;
        let folder = root.join(UP).join(uuid::Uuid::new_v4().to_string());
        std::fs::create_dir(&folder)?;
        let alive = File::create(folder.join(ALIVE))?;
        alive.lock()?;
        let book = Book {
            file: File::options().read(true).write(true).create_new(true).open(folder.join(CALLS))?,
            length: 0,
            compact_at: COMPACT,
            up: HashMap::new(),
            calls: HashMap::new(),
            count: 0,
            owed: Vec::new(),
        };
        #[allow(clippy::disallowed_types, reason = "as above")]
        let book = Mutex::new(book);
        Ok(Journal { folder, book, _alive: alive })
    }

    /// Notes that a call is up.
    ///
    /// # Errors
    /// Those of the file system; nothing is noted then.
    pub(super) fn begin(&self, beginning: &CallRecord) -> io::Result<Note> {
        let start_ms = start_ms(beginning);
        self.with(|book| {
            let call = book.count + 1;
            let place = book.append(&Line { call, news: News::Up(beginning) })?;
            let note = Note { call, start_ms };
            book.count = call;
            book.up.insert(call, (place, None));
            book.calls.entry(beginning.call_id.clone()).or_default().push(note.clone());
            Ok(note)
        })
    }

    /// Puts what is known of a call now in the place of what was known when it began; of a call that is over there is
    /// nothing to note.
    ///
    /// # Errors
    /// Those of the file system; the call stays noted as it was.
    pub(super) fn renew(&self, note: &Note, standing: &CallRecord) -> io::Result<()> {
        self.with(|book| {
            if !book.up.contains_key(&note.call) {
                return Ok(());
            }
            let place = book.append(&Line { call: note.call, news: News::Up(standing) })?;
            if let Some((began, _)) = book.up.get_mut(&note.call) {
                *began = place;
            }
            Ok(())
        })
    }

    /// The note of the call that `record` is of: the last one of its id that is not younger than the record.
    pub(super) fn of(&self, record: &CallRecord) -> Option<Note> {
        let start = start_ms(record);
        self.with(|book| {
            let notes = book.calls.get(&record.call_id)?;
            // Without one the clock was set back, and the oldest is the likeliest.
            notes.iter().rfind(|note| note.start_ms <= start).or(notes.first()).cloned()
        })
    }

    /// Whether the record of a call that has ended is in the journal.
    pub(super) fn holds_record(&self, note: &Note) -> bool {
        self.with(|book| matches!(book.up.get(&note.call), Some((_, Some(_)))))
    }

    /// Notes the record of a call that has ended, and the path it is about to be written to.
    ///
    /// # Errors
    /// Those of the file system; the call stays noted as it was.
    pub(super) fn end(&self, note: &Note, path: &Path, record: &CallRecord) -> io::Result<()> {
        let news = News::Ended { path: path.to_owned(), record };
        self.with(|book| {
            let place = book.append(&Line { call: note.call, news })?;
            if let Some((_, ended)) = book.up.get_mut(&note.call) {
                *ended = Some(place);
            }
            Ok(())
        })
    }

    /// Notes that nothing is left to do for the call `id`. A disk that does not take this now takes it with what comes
    /// next.
    pub(super) fn over(&self, id: &str, note: &Note) {
        let compacted = self.with(|book| {
            if let Some(notes) = book.calls.get_mut(id) {
                notes.retain(|other| other != note);
                if notes.is_empty() {
                    book.calls.remove(id);
                }
            }
            if book.up.remove(&note.call).is_none() {
                return Ok(());
            }
            let line = over(note.call);
            if book.append_bytes(&line).is_err() {
                book.owed.extend(line);
            }
            if book.length < book.compact_at {
                return Ok(());
            }
            // Should it fail, it is tried again when as much has come again.
            book.compact_at = book.length + COMPACT;
            book.compact(&self.folder.join(CALLS))
        });
        if let Err(error) = compacted {
            tracing::warn!(folder = %self.folder.display(), %error, "the journal of calls cannot be made shorter");
        }
    }

    fn with<T>(&self, look: impl FnOnce(&mut Book) -> T) -> T {
        look(&mut self.book.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Book {
    /// Where the line lies now.
    fn append<R: Serialize>(&mut self, line: &Line<R>) -> io::Result<Range<u64>> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.append_bytes(&text)
    }

    fn append_bytes(&mut self, line: &[u8]) -> io::Result<Range<u64>> {
        let text = [&self.owed, line].concat();
        let written = self.file.write_all_at(&text, self.length);
        if let Err(error) = written {
            // What is left of the line is written over in any case.
            let _ = self.file.set_len(self.length);
            return Err(error);
        }
        self.owed.clear();
        self.length += text.len() as u64;
        Ok(self.length - line.len() as u64..self.length)
    }

    /// Writes the journal anew with the calls that are up.
    fn compact(&mut self, path: &Path) -> io::Result<()> {
        let mut text = Vec::new();
        let mut copy = |place: &Range<u64>| {
            let start = text.len();
            text.resize(start + (place.end - place.start) as usize, 0);
            self.file.read_exact_at(&mut text[start..], place.start)?;
            io::Result::Ok(start as u64..text.len() as u64)
        };
        let mut up = HashMap::with_capacity(self.up.len());
        for (call, (began, ended)) in &self.up {
            up.insert(*call, (copy(began)?, ended.as_ref().map(&mut copy).transpose()?));
        }
        files::write_whole(path, &text)?;
        self.file = File::options().read(true).write(true).open(path)?;
        self.length = text.len() as u64;
        self.compact_at = COMPACT.max(self.length * 4);
        self.up = up;
        self.owed.clear();
        Ok(())
    }
}

impl Drop for Journal {
    /// Takes the folder away when no call is up; what is left is a matter of the next start.
    fn drop(&mut self) {
        if self.with(|book| book.up.is_empty()) {
            remove(&self.folder);
        }
    }
}

/// Gives every call that a dead process has left to `settle`, oldest first. One that cannot be settled is given again at
/// the next start.
///
/// # Errors
/// Those of the file system.
pub(super) fn settle_abandoned(
    root: &Path,
    mut settle: impl FnMut(Abandoned) -> io::Result<()>,
) -> io::Result<()> {
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
        let path = folder.join(CALLS);
        let mut rest = Vec::new();
        for (call, abandoned) in read(&path)? {
            match settle(abandoned) {
                Ok(()) => rest.extend(over(call)),
                Err(error) => tracing::error!(path = %path.display(), %error, "a record cannot be written"),
            }
        }
        // Those that are settled must not be settled again while others of the journal wait.
        if close(&path, &rest)? {
            remove(&folder);
        }
        drop(alive);
    }
    Ok(())
}

/// Adds `lines` to a journal; whether no call is left in it.
fn close(path: &Path, lines: &[u8]) -> io::Result<bool> {
    match File::options().append(true).open(path) {
        // A line that was cut off must not swallow the first of these.
        Ok(mut file) => io::Write::write_all(&mut file, &[b"\n", lines].concat())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(read(path)?.is_empty())
}

/// The calls of a journal that are not over. Lines that are cut off or damaged count as not written.
fn read(path: &Path) -> io::Result<BTreeMap<u64, Abandoned>> {
    let mut lines = match File::open(path) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let mut calls = BTreeMap::new();
    let mut text = Vec::new();
    loop {
        text.clear();
        if lines.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut text)? == 0 {
            return Ok(calls);
        }
        let Ok(Line { call, news }) = serde_json::from_slice::<Line<CallRecord>>(&text) else { continue };
        match news {
            News::Up(standing) => {
                let ended = calls.remove(&call).and_then(|known: Abandoned| known.ended);
                calls.insert(call, Abandoned { standing, ended });
            }
            News::Ended { path, record } => {
                if let Some(call) = calls.get_mut(&call) {
                    call.ended = Some((path, record));
                }
            }
            News::Over => {
                calls.remove(&call);
            }
        }
    }
}

/// The line of a call that needs nothing more.
fn over(call: u64) -> Vec<u8> {
    format!("{{\"call\":{call},\"over\":null}}\n").into_bytes()
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

/// Removes the folder of a process.
fn remove(folder: &Path) {
    // What cannot be removed now is removed at a later start.
    let _ = std::fs::remove_dir_all(folder);
}

fn start_ms(record: &CallRecord) -> i64 {
    DateTime::parse_from_rfc3339(&record.start_time).map_or(0, |time| time.timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str) -> CallRecord {
        let json = serde_json::json!({
            "callType": "sip", "callId": id, "startTime": "2025-10-09T08:53:20Z",
            "endTime": "2025-10-09T08:54:20Z", "caller": "a", "callee": "b", "statusCode": 200
        });
        serde_json::from_value(json).unwrap()
    }

    /// Ids of the calls that a crash would leave now, and whether they have ended.
    fn left(journal: &Journal) -> Vec<(String, bool)> {
        let calls = read(&journal.folder.join(CALLS)).unwrap();
        calls.into_values().map(|call| (call.standing.call_id, call.ended.is_some())).collect()
    }

    #[test]
    fn a_journal_stays_short_and_keeps_the_calls_that_are_up() {
        let root = tempfile::tempdir().unwrap();
        let journal = Journal::open(root.path()).unwrap();
        journal.begin(&record("long")).unwrap();
        let ending = journal.begin(&record("ending")).unwrap();
        journal.end(&ending, Path::new("x.json"), &record("ending")).unwrap();
        let mut longest = 0;
        for n in 0..10_000 {
            let id = format!("short {n}");
            let note = journal.begin(&record(&id)).unwrap();
            journal.end(&note, Path::new("x.json"), &record(&id)).unwrap();
            journal.over(&id, &note);
            longest = longest.max(std::fs::metadata(journal.folder.join(CALLS)).unwrap().len());
        }
        assert!((COMPACT - 4096..COMPACT + 4096).contains(&longest), "{longest}");
        assert_eq!(left(&journal), [("long".to_owned(), false), ("ending".to_owned(), true)]);
        journal.over("ending", &ending);
        assert_eq!(left(&journal), [("long".to_owned(), false)]);
    }

    #[test]
    fn what_is_known_later_takes_the_place_of_what_was_known_at_first() {
        let root = tempfile::tempdir().unwrap();
        let journal = Journal::open(root.path()).unwrap();
        let [up, over] = ["up", "over"].map(|id| journal.begin(&record(id)).unwrap());
        let answered = CallRecord { status_code: 486, ..record("up") };
        journal.renew(&up, &answered).unwrap();
        journal.over("over", &over);
        journal.renew(&over, &record("over")).unwrap();
        let calls: Vec<_> = read(&journal.folder.join(CALLS)).unwrap().into_values().collect();
        assert_eq!(calls.len(), 1, "a call that is over does not come back");
        assert_eq!(calls[0].standing, answered);
        journal.with(|book| book.compact(&journal.folder.join(CALLS))).unwrap();
        let calls: Vec<_> = read(&journal.folder.join(CALLS)).unwrap().into_values().collect();
        assert_eq!(calls[0].standing, answered);
    }

    #[test]
    fn a_full_disk_loses_no_line_that_was_taken_and_owes_those_that_end_a_call() {
        let root = tempfile::tempdir().unwrap();
        let journal = Journal::open(root.path()).unwrap();
        let first = journal.begin(&record("first")).unwrap();
        journal.begin(&record("second")).unwrap();
        let full = File::options().read(true).write(true).open("/dev/full").unwrap();
        let file = journal.with(|book| std::mem::replace(&mut book.file, full));
        assert_eq!(journal.begin(&record("third")).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(journal.end(&first, Path::new("x.json"), &record("first")).is_err());
        journal.over("first", &first);
        journal.with(|book| book.file = file);
        assert_eq!(left(&journal).len(), 2, "the disk has not been told");
        journal.begin(&record("fourth")).unwrap();
        assert_eq!(left(&journal), [("second".to_owned(), false), ("fourth".to_owned(), false)]);
    }

    #[test]
    fn a_line_that_was_cut_off_harms_no_other() {
        let root = tempfile::tempdir().unwrap();
        let journal = Journal::open(root.path()).unwrap();
        let first = journal.begin(&record("first")).unwrap();
        journal.begin(&record("second")).unwrap();
        let path = journal.folder.join(CALLS);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            close(&path, &over(first.call)).unwrap();
            let second = whole[..=cut].iter().filter(|byte| **byte == b'\n').count() == 2;
            assert_eq!(read(&path).unwrap().len(), usize::from(second), "{cut}");
        }
    }
}
