//! Call records as files, each whole or not there, each exactly once.
//!
//! While a call is up its beginning stands in `<root>/.up`. What is found there at the start belongs to calls
//! that a crash cut off; they get a record then.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::DateTime;
use protocol::record::CallRecord;
use protocol::{CallOption, HangupReason};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::files;

/// Finished records waiting to be written. When full the ending call waits.
pub const RECORDS: usize = 1000;
/// Pause after a write that failed, doubled each time up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Tries of each record once the server stops.
const LAST_TRIES: u32 = 3;
/// Folder of the beginnings of calls that are up.
const UP: &str = ".up";

/// The folder of records.
#[derive(Clone, Debug)]
pub struct Local {
    root: PathBuf,
}

impl Local {
    /// Records under `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Local { root: root.into() }
    }

    /// `<root>/<YYYYMMDD>/<YYYYMMDD-HHMMSS>_<call id>.json`, in local time.
    pub fn path(&self, record: &CallRecord) -> PathBuf {
        let start = DateTime::parse_from_rfc3339(&record.start_time)
            .map_or_else(|_| DateTime::<chrono::Local>::default(), |time| time.with_timezone(&chrono::Local));
        let name = format!("{}_{}.json", start.format("%Y%m%d-%H%M%S"), files::stem(&record.call_id));
        self.root.join(start.format("%Y%m%d").to_string()).join(name)
    }

    /// Writes `record`.
    ///
    /// # Errors
    /// Those of the file system; nothing is there then.
    pub fn write(&self, record: &CallRecord) -> std::io::Result<PathBuf> {
        let path = self.path(record);
        let text = serde_json::to_vec_pretty(record)?;
        files::write_whole(&path, &text)?;
        self.forget(&record.call_id);
        Ok(path)
    }

    /// Notes that a call is up. Without the note a crash loses the record of this call.
    pub fn note(&self, beginning: &CallRecord) {
        let written = serde_json::to_vec(beginning)
            .map_err(std::io::Error::from)
            .and_then(|text| files::write_whole(&self.up(&beginning.call_id), &text));
        if let Err(error) = written {
            tracing::error!(call = ?beginning.call_id, %error, "the beginning of a call cannot be noted");
        }
    }

    /// Takes the note of a call back.
    pub fn forget(&self, id: &str) {
        // A call that was never noted, by a full disk, has nothing to forget.
        let _ = std::fs::remove_file(self.up(id));
    }

    /// Writes a record for every call that a crash cut off. Gives their number.
    pub fn recover(&self, now: &str) -> usize {
        let Ok(entries) = std::fs::read_dir(self.root.join(UP)) else { return 0 };
        let mut recovered = 0;
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            let Some(mut record) = read(&path) else {
                tracing::warn!(path = %path.display(), "not the beginning of a call; left alone");
                continue;
            };
            record.end_time = now.into();
            match self.write(&record) {
                Ok(_) => recovered += 1,
                Err(error) => tracing::error!(path = %path.display(), %error, "the record cannot be written"),
            }
        }
        recovered
    }

    fn up(&self, id: &str) -> PathBuf {
        self.root.join(UP).join(format!("{}.json", files::stem(id)))
    }
}

/// What is known of a call when it begins, as the record it has if a crash cuts it off.
pub fn beginning(setup: &call::Setup, now: String) -> CallRecord {
    CallRecord {
        call_type: setup.kind,
        option: None::<CallOption>,
        call_id: setup.id.clone(),
        end_time: now.clone(),
        start_time: now,
        ring_time: None,
        answer_time: None,
        caller: setup.caller.clone(),
        callee: setup.callee.clone(),
        status_code: 500,
        hangup_reason: Some(HangupReason::Other("aborted".into())),
        hangup_messages: Vec::new(),
        recorder: Vec::new(),
        extras: None,
        dump_event_file: setup.log.as_ref().map(|log| log.path.clone()),
        refer_callrecord: None,
        transcript: Vec::new(),
        turns: Vec::new(),
    }
}

fn read(path: &Path) -> Option<CallRecord> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Writes records as they come, until `stop`, and then those that still wait. Without a folder they are only
/// counted and logged.
pub async fn run(local: Option<Local>, mut records: mpsc::Receiver<CallRecord>, stop: CancellationToken) {
    loop {
        let record = tokio::select! {
            record = records.recv() => record,
            () = stop.cancelled(), if !records.is_closed() => {
                records.close();
                continue;
            }
        };
        let Some(record) = record else { return };
        log(&record);
        if let Some(local) = &local {
            keep_trying(local, record, &stop).await;
        }
    }
}

fn log(record: &CallRecord) {
    let reason = record.hangup_reason.as_ref().map_or("", HangupReason::wire);
    tracing::info!(call = ?record.call_id, status = record.status_code, reason = ?reason, "the call has ended");
}

/// A full disk gets room again: a record is tried until it is written. Those behind it wait in the queue.
async fn keep_trying(local: &Local, record: CallRecord, stop: &CancellationToken) {
    let mut pause = PAUSE;
    let mut last_tries = 0;
    loop {
        let (local, tried) = (local.clone(), record.clone());
        let written = tokio::task::spawn_blocking(move || local.write(&tried)).await;
        let error = match written {
            Ok(Ok(path)) => return tracing::debug!(path = %path.display(), "call record written"),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(call = ?record.call_id, %error, "the call record cannot be written; trying again");
        if stop.is_cancelled() {
            last_tries += 1;
            if last_tries >= LAST_TRIES {
                return tracing::error!(record = ?serde_json::to_string(&record), "a call record is lost");
            }
        }
        wait(pause, stop).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Waits, or less when the server stops.
#[allow(clippy::disallowed_methods, reason = "a sink is a driver: it waits in real time")]
async fn wait(pause: Duration, stop: &CancellationToken) {
    let until = Instant::now() + if stop.is_cancelled() { PAUSE } else { pause };
    // Both ways out mean to try again.
    let _ = tokio::time::timeout_at(until, async {
        if stop.is_cancelled() { std::future::pending().await } else { stop.cancelled().await }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::rest::CallKind;

    fn record(id: &str) -> CallRecord {
        let json = serde_json::json!({
            "callType": CallKind::Sip, "callId": id, "startTime": "2025-10-09T08:53:20Z",
            "endTime": "2025-10-09T08:54:20Z", "caller": "a", "callee": "b", "statusCode": 200
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_record_is_written_whole_under_its_day() {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::new(folder.path());
        let path = local.write(&record("s1")).unwrap();
        assert!(path.to_str().unwrap().ends_with("_s1.json"));
        assert_eq!(read(&path).unwrap(), record("s1"));
        let day = path.parent().unwrap();
        assert_eq!(std::fs::read_dir(day).unwrap().count(), 1, "nothing half-written is left");
    }

    #[test]
    fn a_call_that_a_crash_cut_off_gets_one_record_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::new(folder.path());
        local.note(&record("ended"));
        local.note(&record("cut off"));
        let ended = local.write(&record("ended")).unwrap();
        assert_eq!(local.recover("2025-10-09T09:00:00Z"), 1);
        assert_eq!(local.recover("2025-10-09T09:00:00Z"), 0);
        assert_eq!(std::fs::read_dir(ended.parent().unwrap()).unwrap().count(), 2);
        let cut = read(&local.path(&record("cut off"))).unwrap();
        assert_eq!(cut.end_time, "2025-10-09T09:00:00Z");
    }
}
