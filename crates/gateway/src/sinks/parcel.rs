//! A record on its way: what lies in the spool, what goes with it, and what becomes of it afterwards.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use protocol::record::CallRecord;

use super::journal;
use super::refused::{NotTaken, REFUSED};
use crate::files;

/// How long a record without files may take.
const LEAST: Duration = Duration::from_secs(60);
/// Slowest line that the files of a record are given time for, in bytes a second.
const SLOWEST: u64 = 64 * 1024;
/// How long any record may take, with all that goes with it.
const LONGEST: Duration = Duration::from_secs(3600);

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
    /// Its size.
    pub bytes: u64,
}

impl Parcel {
    /// How long it may take to deliver, by its size.
    pub(super) fn patience(&self) -> Duration {
        let bytes = self.files.iter().fold(0_u64, |sum, file| sum.saturating_add(file.bytes));
        LEAST.saturating_add(Duration::from_secs(bytes / SLOWEST)).min(LONGEST)
    }
}

/// The records in the spool, oldest first by name, with the time they were written.
pub(super) fn waiting(spool: &Path) -> Vec<(PathBuf, SystemTime)> {
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

/// The record at `path`, with those of its files that lie under `media`; without them when that is absent.
///
/// # Errors
/// When it cannot be read, or is no record.
pub(super) fn pack(path: &Path, media: Option<&Path>) -> Result<Parcel, NotTaken> {
    let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let text = std::fs::read(path).map_err(|e| NotTaken::Refused(e.to_string()))?;
    let record: CallRecord = serde_json::from_slice(&text).map_err(|e| NotTaken::Never(e.to_string()))?;
    let log = record.dump_event_file.iter().map(|path| (None, path.as_str()));
    let sound = record.recorder.iter().map(|file| (Some(file.track_id.clone()), file.path.as_str()));
    let attached = log.chain(sound).filter_map(|(track, path)| {
        let path = inside(media?, path)?;
        let bytes = path.metadata().ok()?.len();
        Some(Attached { track, name: part(path.file_name()), path, bytes })
    });
    Ok(Parcel {
        day: part(path.parent().and_then(Path::file_name)),
        name: part(path.file_stem()),
        stem: files::stem(&record.call_id),
        files: attached.collect(),
        text,
    })
}

/// The file, when it is there and lies under `folder`.
fn inside(folder: &Path, path: &str) -> Option<PathBuf> {
    let (folder, path) = (folder.canonicalize().ok()?, Path::new(path).canonicalize().ok()?);
    (path.starts_with(&folder) && path.is_file()).then_some(path)
}

/// What was delivered is taken out of the spool, and only then its local copies, unless they are to stay.
///
/// # Errors
/// A text: it is still in the spool.
pub(super) fn clear(path: &Path, parcel: &Parcel, keep: bool) -> Result<(), String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_a_record_the_longer_it_may_take_up_to_an_hour() {
        let of = |bytes| {
            let file = Attached { track: None, path: PathBuf::new(), name: String::new(), bytes };
            let (day, name, stem) = (String::new(), String::new(), String::new());
            Parcel { day, name, stem, text: Vec::new(), files: vec![file.clone(), file] }.patience()
        };
        assert_eq!(of(0), LEAST);
        assert_eq!(of(50 * SLOWEST), LEAST + Duration::from_secs(100));
        assert_eq!(of(u64::MAX), LONGEST);
    }
}
