//! Call records as files, each whole or not there, each exactly once.
//!
//! While a call is up its beginning stands in the journal (see `journal`), and its record before that is written, so a
//! crash at any moment loses neither. What the journal of a process that is gone holds becomes records at the next start.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use call::{CallHandle, CallInfo, Phase};
use chrono::{DateTime, SecondsFormat, Utc};
use protocol::record::{CallRecord, HangupMessage, Recording};
use protocol::rest::CallKind;
use protocol::{Extra, HangupReason, redact};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::archive::Archive;
pub use super::journal::Note;
use super::journal::{self, Abandoned, Journal};
use super::talk;
use crate::files;
use crate::gate::Gate;

/// Notes on their way to the disk.
static NOTES: Gate = Gate::new(4);

/// Finished records waiting to be written. When full the ending call waits.
pub const RECORDS: usize = 1000;
/// Pause after a write that failed, doubled each time up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Tries of each record once the server stops.
const LAST_TRIES: u32 = 3;
/// Hang-up reason of a call that a crash cut off.
pub const ABORTED: &str = "aborted";

/// The folder of records, written to by one task at a time.
#[derive(Clone, Debug)]
pub struct Local {
    root: PathBuf,
    journal: Option<Arc<Journal>>,
    /// Where a copy of each record waits for a database that may be away.
    outbox: Option<PathBuf>,
}

impl Local {
    /// Records under `root`. Where the folder cannot be written, records are tried all the same when they
    /// come, but a crash loses those of calls that are up.
    pub fn open(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        let journal = Journal::open(&root).map(Arc::new);
        if let Err(error) = &journal {
            tracing::error!(path = %root.display(), %error, "calls cannot be noted; a crash loses their records");
        }
        Local { journal: journal.ok(), root, outbox: None }
    }

    /// Lays a copy of each record into the folder `outbox` too. It is there before the record is, so that a crash
    /// between the two leaves none out; with the name it had before, should it be written again.
    #[must_use]
    pub fn with_outbox(self, outbox: Option<PathBuf>) -> Self {
        Local { outbox, ..self }
    }

    fn send_copy(&self, record: &CallRecord, text: &[u8]) -> std::io::Result<()> {
        let Some(outbox) = &self.outbox else { return Ok(()) };
        let (day, time) = day_and_time(record, "%Y%m%d-%H%M%S%3f");
        files::write_whole(
            &outbox.join(day).join(format!("{time}_{}.json", files::stem(&record.call_id))),
            text,
        )
    }

    /// `<root>/<YYYYMMDD>/<YYYYMMDD-HHMMSS>_<call id>.json`, in local time; with `-2`, `-3` and so on at the
    /// end of the name where an earlier call with this id began in the same second.
    fn free_path(&self, record: &CallRecord) -> PathBuf {
        let (day, time) = day_and_time(record, "%Y%m%d-%H%M%S");
        let folder = self.root.join(day);
        let name = format!("{time}_{}", files::stem(&record.call_id));
        let mut path = folder.join(format!("{name}.json"));
        let mut number = 1_u32;
        while path.exists() {
            number = number.saturating_add(1);
            path = folder.join(format!("{name}-{number}.json"));
        }
        path
    }

    /// Writes `record`.
    ///
    /// # Errors
    /// Those of the file system; no record is there then, and the note of the call is.
    pub fn write(&self, record: &CallRecord) -> std::io::Result<PathBuf> {
        let noted = self.journal.as_ref().and_then(|journal| Some((journal, journal.of(record)?)));
        let path = self.free_path(record);
        if let Some((journal, note)) = &noted {
            journal.end(note, &path, record)?;
        }
        self.put(record, &path)?;
        if let Some((journal, note)) = noted {
            journal.over(&record.call_id, &note);
        }
        Ok(path)
    }

    fn put(&self, record: &CallRecord, path: &Path) -> std::io::Result<()> {
        let text = serde_json::to_vec_pretty(record)?;
        self.send_copy(record, &text)?;
        files::write_whole(path, &text)
    }

    /// Notes that a call is up, on a thread that may wait for the disk.
    pub async fn begin(&self, beginning: &Arc<CallRecord>) -> Option<Note> {
        let (local, beginning) = (self.clone(), beginning.clone());
        NOTES.pass(move || local.note(&beginning)).await.ok().flatten()
    }

    /// Notes that a call is up. Without the note a crash loses the record of this call.
    fn note(&self, beginning: &CallRecord) -> Option<Note> {
        match self.journal.as_ref()?.begin(beginning) {
            Ok(note) => Some(note),
            Err(error) => {
                tracing::error!(call = ?beginning.call_id, %error, "the beginning of a call cannot be noted");
                None
            }
        }
    }

    /// Puts what is known of a call now into its note.
    fn renew(&self, note: &Note, standing: &CallRecord) {
        if let Some(Err(error)) = self.journal.as_ref().map(|journal| journal.renew(note, standing)) {
            tracing::warn!(call = ?standing.call_id, %error, "what is known of a call cannot be noted");
        }
    }

    /// Keeps the note of a call true as long as that is up: when it was answered, with which option, what it is recorded
    /// into. A call that leaves no record takes its note back.
    pub async fn follow(self, note: Note, beginning: Arc<CallRecord>, call: &CallHandle) {
        let mut watch = call.watch();
        let parties = (beginning.caller.clone(), beginning.callee.clone());
        let mut noted = ((None, 0), parties, Extra::default());
        loop {
            // Boxed, since every call waits here as long as it is up.
            let info = Box::new(watch.borrow_and_update().clone());
            let (local, note) = (self.clone(), note.clone());
            if info.phase == Phase::Over {
                if !info.recorded {
                    let id = call.id().to_owned();
                    // What is not taken back is a matter of the next start.
                    let _ = NOTES.pass(move || local.forget(&id, &note)).await;
                }
                return;
            }
            let known = (
                (info.answered_ms, info.recordings.len()),
                (info.caller.clone(), info.callee.clone()),
                info.extras.clone(),
            );
            // Before its first news a call shows nothing.
            if info.started_ms > 0 && known != noted {
                noted = known;
                let beginning = beginning.clone();
                let renewing = move || local.renew(&note, &standing((*beginning).clone(), *info));
                // A note that stays as it was is told in the log.
                let _ = NOTES.pass(renewing).await;
            } else {
                drop(info);
            }
            if watch.changed().await.is_err() {
                return;
            }
        }
    }

    /// Takes the note of a call back that leaves no record.
    fn forget(&self, id: &str, note: &Note) {
        if let Some(journal) = &self.journal {
            journal.over(id, note);
        }
    }

    /// What the journal has of a call whose record cannot be written: whether the record, or only that the call was up.
    fn kept(&self, record: &CallRecord) -> Option<bool> {
        let journal = self.journal.as_ref()?;
        Some(journal.holds_record(&journal.of(record)?))
    }

    /// Tells what the next start makes of a record that cannot be written before this process ends.
    fn tell_kept(&self, record: &CallRecord) {
        let reason = record.hangup_reason.as_ref().map_or("", HangupReason::wire);
        let told = match self.kept(record) {
            Some(true) => "a call record is kept in the journal; the next start writes it",
            Some(false) => {
                "a call record is lost; the next start writes one that says aborted, by the journal"
            }
            None => "a call record is lost",
        };
        tracing::error!(call = ?record.call_id, ?reason, root = %self.root.display(), "{told}");
    }

    /// Writes a record for every call that a crash cut off, and gives them. Calls of other servers that are up are
    /// left alone.
    pub fn recover(&self, now: &str) -> Vec<CallRecord> {
        let mut recovered = Vec::new();
        let settled = journal::settle_abandoned(&self.root, |call| {
            let record = self.settle(call, now)?;
            tracing::debug!(call = ?record.call_id, "the record of a call that was cut off");
            recovered.push(record);
            Ok(())
        });
        if let Err(error) = settled {
            tracing::error!(path = %self.root.display(), %error, "the calls of a server that is gone cannot be read");
        }
        recovered
    }

    /// Makes the record of an abandoned call. That of a call that had ended stays as it is, and may be there already.
    fn settle(&self, call: Abandoned, now: &str) -> std::io::Result<CallRecord> {
        let Abandoned { standing, ended } = call;
        let (path, record) = match ended {
            Some((path, record)) if read(&path).is_ok_and(|there| there == record) => (path, record),
            Some((_, record)) => (self.free_path(&record), record),
            None => {
                let record = cut_off(standing, now);
                (self.free_path(&record), record)
            }
        };
        self.put(&record, &path)?;
        Ok(record)
    }
}

/// The day a call began, `YYYYMMDD`, and when in this format; in local time.
fn day_and_time(record: &CallRecord, format: &str) -> (String, String) {
    let start = DateTime::parse_from_rfc3339(&record.start_time)
        .map_or_else(|_| DateTime::<chrono::Local>::default(), |time| time.with_timezone(&chrono::Local));
    (start.format("%Y%m%d").to_string(), start.format(format).to_string())
}

/// The record of a call that stood so when its server was cut off: it lasted until the last sign of it in its files, as
/// far as anybody knows.
fn cut_off(standing: CallRecord, now: &str) -> CallRecord {
    let metadata = |path: &str| std::fs::metadata(path).ok();
    let mut record = standing;
    record.recorder.retain_mut(|recording| {
        let size = metadata(&recording.path).map(|file| file.len());
        recording.size = size.unwrap_or_default();
        size.is_some()
    });
    record.dump_event_file = record.dump_event_file.filter(|path| metadata(path).is_some());
    if let Some(path) = &record.dump_event_file {
        record.transcript = talk::said(Path::new(path), &record.call_id, &record.start_time);
    }
    let paths = record.recorder.iter().map(|recording| &recording.path).chain(&record.dump_event_file);
    let last = paths.filter_map(|path| Some(DateTime::<Utc>::from(metadata(path)?.modified().ok()?))).max();
    let began = DateTime::parse_from_rfc3339(&record.start_time).ok();
    record.end_time = match last {
        Some(last) if began.is_none_or(|began| last >= began) => rfc3339(last),
        _ => now.into(),
    };
    record
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The record of a call that stands so, should it be cut off.
fn standing(beginning: CallRecord, info: CallInfo) -> CallRecord {
    let time = |ms: Option<u64>| {
        let ms = ms.and_then(|ms| i64::try_from(ms).ok());
        ms.and_then(DateTime::from_timestamp_millis).map(rfc3339)
    };
    let track = beginning.call_id.clone();
    let recorder = info.recordings.into_iter().map(|path| Recording {
        track_id: track.clone(),
        path,
        ..Recording::default()
    });
    CallRecord {
        option: Some(info.option),
        extras: Some(info.extras),
        ring_time: time(info.rang_ms),
        answer_time: time(info.answered_ms),
        status_code: if info.answered_ms.is_some() { 200 } else { beginning.status_code },
        caller: info.caller,
        callee: info.callee,
        recorder: recorder.collect(),
        ..beginning
    }
}

/// The record of an inbound call that was refused before it could begin.
pub fn refused(
    id: &str,
    (caller, callee): (String, String),
    (code, why): (u16, String),
    now: String,
) -> CallRecord {
    CallRecord {
        call_type: CallKind::Sip,
        call_id: id.to_owned(),
        status_code: code,
        hangup_reason: Some(HangupReason::Rejected),
        hangup_messages: vec![HangupMessage { code, reason: Some(why), ..HangupMessage::default() }],
        caller: redact::text(&caller).into_owned(),
        callee: redact::text(&callee).into_owned(),
        ..empty(now)
    }
}

/// What is known of a call when it begins, as the record it has if a crash cuts it off.
pub fn beginning(setup: &call::Setup, now: String) -> CallRecord {
    CallRecord {
        call_type: setup.kind,
        call_id: setup.id.clone(),
        caller: redact::text(&setup.caller).into_owned(),
        callee: redact::text(&setup.callee).into_owned(),
        hangup_reason: Some(HangupReason::Other(ABORTED.into())),
        dump_event_file: setup.log.as_ref().map(|log| log.path.clone()),
        ..empty(now)
    }
}

/// A record of a call of this moment.
fn empty(now: String) -> CallRecord {
    CallRecord {
        call_type: CallKind::Sip,
        option: None,
        call_id: String::new(),
        end_time: now.clone(),
        start_time: now,
        ring_time: None,
        answer_time: None,
        caller: String::new(),
        callee: String::new(),
        status_code: 500,
        hangup_reason: None,
        hangup_messages: Vec::new(),
        recorder: Vec::new(),
        extras: None,
        dump_event_file: None,
        refer_callrecord: None,
        transcript: Vec::new(),
        turns: Vec::new(),
        talk: None,
        quality: None,
    }
}

fn read(path: &Path) -> std::io::Result<CallRecord> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

/// Writes records as they come, until `stop`, and then those that still wait. Without a folder they are only
/// counted and logged.
pub async fn run(archive: Option<Archive>, mut records: mpsc::Receiver<CallRecord>, stop: CancellationToken) {
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
        if let Some(archive) = &archive {
            keep_trying(archive, record, &stop).await;
        }
    }
}

fn log(record: &CallRecord) {
    let reason = record.hangup_reason.as_ref().map_or("", HangupReason::wire);
    tracing::info!(call = ?record.call_id, status = record.status_code, reason = ?reason, "the call has ended");
}

/// A full disk gets room again: a record is tried until it is written. Those behind it wait in the queue.
async fn keep_trying(archive: &Archive, record: CallRecord, stop: &CancellationToken) {
    let mut pause = PAUSE;
    let mut last_tries = 0;
    loop {
        let (writing, tried) = (archive.clone(), record.clone());
        let written = tokio::task::spawn_blocking(move || writing.write(&tried)).await;
        let error = match written {
            Ok(Ok(path)) => return tracing::debug!(path = %path.display(), "call record written"),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(call = ?record.call_id, %error, "the call record cannot be written; trying again");
        if stop.is_cancelled() {
            last_tries += 1;
            if last_tries >= LAST_TRIES {
                return archive.local.tell_kept(&record);
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

    fn record(id: &str) -> CallRecord {
        let json = serde_json::json!({
            "callType": CallKind::Sip, "callId": id, "startTime": "2025-10-09T08:53:20Z",
            "endTime": "2025-10-09T08:54:20Z", "caller": "a", "callee": "b", "statusCode": 200
        });
        serde_json::from_value(json).unwrap()
    }

    fn at(id: &str, start: &str) -> CallRecord {
        CallRecord { start_time: start.into(), ..record(id) }
    }

    /// What a process leaves that is killed: its folder, with nobody holding it.
    fn crash(local: Local, root: &Path) {
        let kept = root.join("kept");
        std::fs::rename(root.join(journal::UP), &kept).unwrap();
        drop(local);
        std::fs::rename(kept, root.join(journal::UP)).unwrap();
    }

    fn records(root: &Path) -> Vec<CallRecord> {
        let days = std::fs::read_dir(root).unwrap().flatten().filter(|day| day.file_name() != journal::UP);
        days.flat_map(|day| std::fs::read_dir(day.path()).unwrap().flatten())
            .map(|file| read(&file.path()).unwrap())
            .collect()
    }

    #[test]
    fn a_record_is_written_whole_under_its_day() {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::open(folder.path());
        let path = local.write(&record("s1")).unwrap();
        assert!(path.to_str().unwrap().ends_with("_s1.json"));
        assert_eq!(read(&path).unwrap(), record("s1"));
        let day = path.parent().unwrap();
        assert_eq!(std::fs::read_dir(day).unwrap().count(), 1, "nothing half-written is left");
    }

    #[test]
    fn calls_with_one_id_in_one_second_each_keep_their_record() {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::open(folder.path());
        let names: Vec<_> = (0..3).map(|_| local.write(&record("s1")).unwrap()).collect();
        assert!(names[1].to_str().unwrap().ends_with("_s1-2.json"), "{names:?}");
        assert!(names[2].to_str().unwrap().ends_with("_s1-3.json"), "{names:?}");
        assert_eq!(records(folder.path()).len(), 3);
    }

    #[test]
    fn a_call_that_a_crash_cut_off_gets_one_record_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let before = Local::open(folder.path());
        before.note(&record("ended"));
        before.note(&record("cut off"));
        before.write(&record("ended")).unwrap();
        crash(before, folder.path());
        let local = Local::open(folder.path());
        assert_eq!(local.recover("2025-10-09T09:00:00Z").len(), 1);
        assert_eq!(local.recover("2025-10-09T09:00:00Z").len(), 0);
        let records = records(folder.path());
        assert_eq!(records.len(), 2);
        let cut = records.iter().find(|record| record.call_id == "cut off").unwrap();
        assert_eq!(cut.end_time, "2025-10-09T09:00:00Z", "nobody knows a better time");
        let ended = records.iter().find(|record| record.call_id == "ended").unwrap();
        assert_eq!(ended.end_time, record("ended").end_time);
    }

    /// The moments of `Local::write` at which a process can be killed.
    #[test]
    fn a_call_that_had_ended_keeps_its_record_whenever_the_crash_comes() {
        for (noted, copied, written) in
            [(true, false, false), (true, true, false), (true, true, true), (false, false, false)]
        {
            let folder = tempfile::tempdir().unwrap();
            let outbox = folder.path().join("outbox");
            let root = folder.path().join("cdr");
            let before = Local::open(&root).with_outbox(Some(outbox.clone()));
            let (finished, path) = (record("s1"), before.free_path(&record("s1")));
            let aborted = Some(HangupReason::Other(ABORTED.into()));
            let note = before.note(&CallRecord { hangup_reason: aborted, ..record("s1") }).unwrap();
            if noted {
                before.journal.as_ref().unwrap().end(&note, &path, &finished).unwrap();
            }
            if copied {
                before.send_copy(&finished, b"{}").unwrap();
            }
            if written {
                before.put(&finished, &path).unwrap();
            }
            crash(before, &root);
            let local = Local::open(&root).with_outbox(Some(outbox.clone()));
            let recovered = local.recover("2025-10-09T09:00:00Z");
            assert_eq!(recovered, records(&root), "{noted} {copied} {written}");
            assert_eq!(recovered.len(), 1);
            assert_eq!(recovered[0] == finished, noted);
            assert_eq!(records(&outbox), recovered, "{noted} {copied} {written}");
            assert!(local.recover("2025-10-09T09:00:00Z").is_empty());
        }
    }

    #[test]
    fn a_record_that_cannot_be_written_at_one_start_is_written_at_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let before = Local::open(folder.path());
        before.note(&at("s1", "2025-10-09T08:53:20Z"));
        before.note(&at("s2", "2025-10-10T08:53:20Z"));
        crash(before, folder.path());
        // A file stands where the folder of one day has to be.
        let taken = folder.path().join(day_and_time(&at("s2", "2025-10-10T08:53:20Z"), "").0);
        std::fs::write(&taken, "").unwrap();
        assert_eq!(Local::open(folder.path()).recover("2025-10-11T09:00:00Z").len(), 1);
        std::fs::remove_file(taken).unwrap();
        let second = Local::open(folder.path()).recover("2025-10-11T09:00:00Z");
        assert_eq!(second.iter().map(|record| record.call_id.as_str()).collect::<Vec<_>>(), ["s2"]);
        assert_eq!(records(folder.path()).len(), 2);
    }

    #[test]
    fn the_calls_of_a_server_that_lives_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let living = Local::open(folder.path());
        living.note(&record("up"));
        assert_eq!(Local::open(folder.path()).recover("2025-10-09T09:00:00Z").len(), 0);
        living.write(&record("up")).unwrap();
        assert_eq!(records(folder.path()).len(), 1);
    }

    #[test]
    fn a_record_that_cannot_be_written_is_kept_where_its_call_was_noted() {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::open(folder.path());
        let own = record("s1");
        assert_eq!(local.kept(&own), None);
        local.note(&own).unwrap();
        assert_eq!(local.kept(&own), Some(false));
        // A file stands where the folder of its day has to be.
        std::fs::write(folder.path().join(day_and_time(&own, "").0), "").unwrap();
        assert!(local.write(&own).is_err());
        assert_eq!(local.kept(&own), Some(true));
    }

    #[test]
    fn a_late_record_takes_its_own_note_and_not_that_of_the_next_call() {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::open(folder.path());
        local.note(&at("s1", "2025-10-09T08:53:20.100Z"));
        local.note(&at("s1", "2025-10-09T08:53:25.100Z"));
        local.write(&at("s1", "2025-10-09T08:53:20.101Z")).unwrap();
        crash(local, folder.path());
        let local = Local::open(folder.path());
        assert_eq!(local.recover("2025-10-09T09:00:00Z").len(), 1);
        let mut starts: Vec<_> = records(folder.path()).into_iter().map(|record| record.start_time).collect();
        starts.sort();
        assert_eq!(starts, ["2025-10-09T08:53:20.101Z", "2025-10-09T08:53:25.100Z"]);
    }

    #[test]
    fn a_server_that_stops_with_no_call_leaves_no_folder_of_notes() {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::open(folder.path());
        let note = local.note(&record("s1")).unwrap();
        local.forget("s1", &note);
        drop(local);
        let left = std::fs::read_dir(folder.path().join(journal::UP)).unwrap().flatten();
        assert!(left.filter(|entry| entry.path().is_dir()).count() == 0);
    }
}
