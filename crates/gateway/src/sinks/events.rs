//! Event logs: `<id>.events.jsonl` beside the recordings, and `<id>~1.events.jsonl` of another call with this id.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use call::setup::EventLog;
use protocol::record::LogLine;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::files;
use crate::gate::Gate;

/// Lines waiting to be written. When full the call drops a line and counts it.
const LINES: usize = 2048;
/// Lines are on disk at most so long after they came.
const FLUSH: Duration = Duration::from_secs(1);
/// Bytes gathered before a write that does not wait for [`FLUSH`].
const GATHER: usize = 64 * 1024;

/// Ends the name of an event log.
pub const ENDING: &str = ".events.jsonl";
/// Calls with one id that have logs of their own; further ones go on in the first.
const MOST_OF_ONE_ID: u32 = 1000;

/// Logs that are written at the same moment.
static WRITES: Gate = Gate::new(4);

/// The end of an event log that writes; give it to a task.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    lines: mpsc::Receiver<LogLine>,
    made: watch::Sender<Option<bool>>,
}

/// Where logs of calls with this `id` may lie in `folder`, the first call's first.
pub fn places(folder: &Path, id: &str) -> impl Iterator<Item = PathBuf> {
    let (folder, stem) = (folder.to_owned(), files::stem(id));
    (0..MOST_OF_ONE_ID).map(move |number| {
        // No stem of an id has this sign in it.
        let number = if number == 0 { String::new() } else { format!("~{number}") };
        folder.join(format!("{stem}{number}{ENDING}"))
    })
}

/// The event log of the call `id`, in `folder`.
pub fn open(folder: &Path, id: &str) -> (EventLog, Writer) {
    let mut free = places(folder, id).filter(|path| !path.exists());
    let path = free.next().unwrap_or_else(|| folder.join(format!("{}{ENDING}", files::stem(id))));
    let (sender, lines) = mpsc::channel(LINES);
    let (told, made) = watch::channel(None);
    let log = EventLog { path: path.display().to_string(), lines: sender, made };
    (log, Writer { path, lines, made: told })
}

impl Writer {
    /// Writes until the call closes its end. A disk that fails is logged once and the lines are dropped. The first lines
    /// are written at once: whether there is a file has to be known before the record names it.
    #[allow(clippy::disallowed_methods, reason = "a sink is a driver: it waits for a second of real time")]
    pub async fn run(mut self) {
        let mut healthy = true;
        let mut begun = false;
        while let Some(first) = self.lines.recv().await {
            let mut text = Vec::new();
            push(&mut text, &first);
            let until = Instant::now() + if begun { FLUSH } else { Duration::ZERO };
            begun = true;
            while text.len() < GATHER {
                match tokio::time::timeout_at(until, self.lines.recv()).await {
                    Ok(Some(line)) => push(&mut text, &line),
                    Ok(None) | Err(_) => break,
                }
            }
            let path = self.path.clone();
            let written = WRITES.pass(move || append(&path, &text)).await;
            let made = matches!(written, Ok(Ok(()))) || self.path.exists();
            self.made.send_if_modified(|told| told.replace(made) != Some(made));
            if let Ok(Err(error)) = written
                && std::mem::replace(&mut healthy, false)
            {
                tracing::error!(path = %self.path.display(), %error, "the event log cannot be written");
            }
        }
    }
}

fn push(text: &mut Vec<u8>, line: &LogLine) {
    let start = text.len();
    match serde_json::to_writer(&mut *text, line) {
        Ok(()) => text.push(b'\n'),
        Err(_) => text.truncate(start),
    }
}

fn append(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let open = || std::fs::OpenOptions::new().create(true).append(true).open(path);
    let mut file = match (open(), path.parent()) {
        (Err(error), Some(folder)) if error.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir_all(folder)?;
            open()?
        }
        (opened, _) => opened?,
    };
    file.write_all(text)
}
