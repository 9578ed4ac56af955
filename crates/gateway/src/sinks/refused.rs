//! Records that their receiver does not take, though it answers. Trying for ever would hold up the others and change
//! nothing, and a record is not thrown away: it is set aside, for whoever puts right what is wrong with it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use reqwest::StatusCode;

/// Folder of such records in a spool. What is moved from it into the spool is sent again.
pub const REFUSED: &str = "refused";
/// Most files in it. When it is full, what is refused stays in the spool and goes again at the longest pause.
const MOST: usize = 10_000;
/// Statuses that speak of the address, of who sends or of the moment, and so of every record: the address may be put
/// right, the key renewed.
const OF_ALL: [u16; 10] = [401, 402, 403, 404, 405, 407, 408, 410, 425, 429];

/// Why a receiver has not taken a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// It is away, busy or set up wrongly: every record fares like this one, and may be taken another time.
    Away(String),
    /// It answers, and does not take this record.
    Refused(String),
    /// The same, and it will never take it: the record itself is at fault.
    Never(String),
}

impl NotTaken {
    /// What an HTTP status that is no success says of a record.
    pub fn of_status(status: StatusCode, told: String) -> Self {
        match status.is_client_error() && !OF_ALL.contains(&status.as_u16()) {
            true => NotTaken::Refused(told),
            false => NotTaken::Away(told),
        }
    }
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (NotTaken::Away(told) | NotTaken::Refused(told) | NotTaken::Never(told)) = self;
        f.write_str(told)
    }
}

/// Moves the record at `path` out of the way of the others in `spool`, and tells where it is.
///
/// # Errors
/// Those of the file system, and when the folder is full; the record is where it was.
pub(super) fn set_aside(spool: &Path, path: &Path) -> io::Result<PathBuf> {
    let folder = spool.join(REFUSED);
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
    if entries(&folder).flat_map(|day| entries(&day.path())).nth(MOST - 1).is_some() {
        return Err(io::Error::other(format!("{} holds {MOST} records", folder.display())));
    }
    let day = path.parent().unwrap_or(spool);
    let to = folder.join(day.file_name().unwrap_or_default()).join(path.file_name().unwrap_or_default());
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::rename(path, &to)?;
    // Fails as long as something else is in it.
    let _ = std::fs::remove_dir(day);
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_speaks_of_the_record_refuses_it() {
        for status in [400, 406, 409, 411, 413, 415, 422, 431] {
            let told = NotTaken::of_status(StatusCode::from_u16(status).unwrap(), "x".into());
            assert_eq!(told, NotTaken::Refused("x".into()), "{status}");
        }
        for status in [301, 401, 403, 404, 408, 429, 500, 503] {
            let told = NotTaken::of_status(StatusCode::from_u16(status).unwrap(), "x".into());
            assert_eq!(told, NotTaken::Away("x".into()), "{status}");
        }
    }

    #[test]
    fn what_is_set_aside_keeps_its_day_and_name() {
        let spool = tempfile::tempdir().unwrap();
        let day = spool.path().join("20251009");
        std::fs::create_dir(&day).unwrap();
        std::fs::write(day.join("a.json"), "{}").unwrap();
        let to = set_aside(spool.path(), &day.join("a.json")).unwrap();
        assert_eq!(to, spool.path().join("refused/20251009/a.json"));
        assert!(to.exists() && !day.exists());
    }
}
