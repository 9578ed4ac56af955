//! Call records in an embedded database, for questions about them. The files are what counts: a database that cannot
//! be written is told in the log and holds up nothing.

use std::path::Path;
#[allow(
    clippy::disallowed_types,
    reason = "the database belongs to no call; one question at a time has it"
)]
use std::sync::Mutex;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use chrono::DateTime;
use protocol::HangupReason;
use protocol::record::CallRecord;
use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

/// How long a question waits for another process that has the database.
const BUSY: Duration = Duration::from_secs(5);
/// Most records of one answer.
pub const MOST: usize = 1000;

/// Times are Unix milliseconds. A call is known by its id and when it began, so that a record comes in once.
const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS records (
        number INTEGER PRIMARY KEY,
        call_id TEXT NOT NULL,
        call_type TEXT NOT NULL,
        start_ms INTEGER NOT NULL,
        end_ms INTEGER NOT NULL,
        caller TEXT NOT NULL,
        callee TEXT NOT NULL,
        status INTEGER NOT NULL,
        reason TEXT NOT NULL,
        record TEXT NOT NULL,
        UNIQUE (call_id, start_ms)
    );
    CREATE INDEX IF NOT EXISTS records_by_start ON records (start_ms);
";

/// The database. Clones share it.
#[derive(Clone, Debug)]
#[allow(clippy::disallowed_types, reason = "as above")]
pub struct Store {
    connection: Arc<Mutex<Connection>>,
}

/// What is asked for. An absent field asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// The call's id.
    pub id: Option<String>,
    /// A part of From.
    pub caller: Option<String>,
    /// A part of To.
    pub callee: Option<String>,
    /// `webrtc`, `sip`, `webSocket`.
    pub call_type: Option<String>,
    /// Status.
    pub status: Option<u16>,
    /// Hang-up reason as in events.
    pub reason: Option<String>,
    /// Calls that began then or later, Unix ms.
    pub from_ms: Option<i64>,
    /// Calls that began before, Unix ms.
    pub to_ms: Option<i64>,
    /// Records that are passed over.
    pub offset: usize,
    /// Records of the answer, at most [`MOST`].
    pub limit: usize,
}

/// Records, youngest first, and how many there are in all.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The records asked for.
    pub records: Vec<CallRecord>,
    /// How many fit the question.
    pub total: u64,
}

impl Store {
    /// The database at `path`, made when it is not there.
    ///
    /// # Errors
    /// Those of the file system and of the database, as a text.
    pub fn open(path: &Path) -> Result<Self, String> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| e.to_string())?;
        }
        let connection = Connection::open(path).map_err(|e| e.to_string())?;
        connection.busy_timeout(BUSY).map_err(|e| e.to_string())?;
        connection.execute_batch(SCHEMA).map_err(|e| e.to_string())?;
        #[allow(clippy::disallowed_types, reason = "as above")]
        let connection = Arc::new(Mutex::new(connection));
        Ok(Store { connection })
    }

    /// Takes a record in; one that is there already stays as it is.
    ///
    /// # Errors
    /// Those of the database, as a text.
    pub fn add(&self, record: &CallRecord) -> Result<(), String> {
        let text = serde_json::to_string(record).map_err(|e| e.to_string())?;
        let kind = serde_json::to_value(record.call_type).unwrap_or_default();
        let reason = record.hangup_reason.as_ref().map_or("", HangupReason::wire);
        self.with(|connection| {
            connection
                .prepare_cached(
                    "INSERT OR IGNORE INTO records
                     (call_id, call_type, start_ms, end_ms, caller, callee, status, reason, record)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                )?
                .execute(params![
                    record.call_id,
                    kind.as_str().unwrap_or_default(),
                    milliseconds(&record.start_time),
                    milliseconds(&record.end_time),
                    record.caller,
                    record.callee,
                    record.status_code,
                    reason,
                    text,
                ])
        })
        .map(drop)
    }

    /// What fits the question.
    ///
    /// # Errors
    /// Those of the database, as a text.
    pub fn ask(&self, question: &Question) -> Result<Found, String> {
        let (conditions, values) = conditions(question);
        let count = format!("SELECT count(*) FROM records{conditions}");
        let select = format!(
            "SELECT record FROM records{conditions} ORDER BY start_ms DESC, number DESC LIMIT {} OFFSET {}",
            question.limit.min(MOST),
            question.offset
        );
        self.with(|connection| {
            let total: i64 =
                connection.prepare_cached(&count)?.query_row(params_from_iter(&values), |row| row.get(0))?;
            let mut select = connection.prepare_cached(&select)?;
            let texts = select.query_map(params_from_iter(&values), |row| row.get::<_, String>(0))?;
            let texts = texts.collect::<Result<Vec<_>, _>>()?;
            // What an older version wrote and this one cannot read is passed over.
            let records = texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
            Ok(Found { records, total: u64::try_from(total).unwrap_or(0) })
        })
    }

    fn with<T>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, String> {
        ask(&self.connection.lock().unwrap_or_else(PoisonError::into_inner)).map_err(|e| e.to_string())
    }
}

/// The conditions of a question, and their values; texts of clients are values and never part of the language.
fn conditions(question: &Question) -> (String, Vec<Value>) {
    let text = |text: &Option<String>| text.clone().map(Value::Text);
    let all = [
        ("call_id = ?", text(&question.id)),
        ("instr(caller, ?) > 0", text(&question.caller)),
        ("instr(callee, ?) > 0", text(&question.callee)),
        ("call_type = ? COLLATE NOCASE", text(&question.call_type)),
        ("status = ?", question.status.map(|status| Value::Integer(status.into()))),
        ("reason = ? COLLATE NOCASE", text(&question.reason)),
        ("start_ms >= ?", question.from_ms.map(Value::Integer)),
        ("start_ms < ?", question.to_ms.map(Value::Integer)),
    ];
    let (asked, values): (Vec<_>, Vec<_>) =
        all.into_iter().filter_map(|(condition, value)| Some((condition, value?))).unzip();
    let conditions = if asked.is_empty() { String::new() } else { format!(" WHERE {}", asked.join(" AND ")) };
    (conditions, values)
}

fn milliseconds(time: &str) -> i64 {
    DateTime::parse_from_rfc3339(time).map_or(0, |time| time.timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, start: &str, caller: &str, status: u16) -> CallRecord {
        serde_json::from_value(serde_json::json!({
            "callType": "sip", "callId": id, "startTime": start, "endTime": start, "caller": caller,
            "callee": "sip:100@h", "statusCode": status, "hangupReason": "byCaller"
        }))
        .unwrap()
    }

    fn ids(found: &Found) -> Vec<&str> {
        found.records.iter().map(|record| record.call_id.as_str()).collect()
    }

    #[test]
    fn questions_are_answered_youngest_first_in_pages() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/records.db");
        let store = Store::open(&path).unwrap();
        for n in 0..5 {
            store
                .add(&record(&format!("c{n}"), &format!("2025-10-09T08:0{n}:00Z"), "sip:a'%@h", 200))
                .unwrap();
        }
        store.add(&record("busy", "2025-10-09T09:00:00Z", "sip:b@h", 486)).unwrap();
        store.add(&record("busy", "2025-10-09T09:00:00Z", "sip:other@h", 200)).unwrap();
        drop(store);
        let store = Store::open(&path).unwrap();
        let ask = |question: Question| store.ask(&question).unwrap();
        let page = ask(Question { limit: 2, offset: 1, ..Question::default() });
        assert_eq!((ids(&page), page.total), (vec!["c4", "c3"], 6), "a record comes in once");
        let fits = |question: Question| ids(&ask(Question { limit: 10, ..question })).len();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(fits(Question { caller: text("a'%"), ..Question::default() }), 5);
        assert_eq!(fits(Question { caller: text("%"), ..Question::default() }), 5, "% is no pattern");
        assert_eq!(fits(Question { status: Some(486), ..Question::default() }), 1);
        assert_eq!(
            fits(Question { call_type: text("SIP"), reason: text("caller"), ..Question::default() }),
            6
        );
        let from_ms = Some(milliseconds("2025-10-09T08:03:00Z"));
        let to_ms = Some(milliseconds("2025-10-09T08:59:00Z"));
        assert_eq!(fits(Question { from_ms, to_ms, ..Question::default() }), 2);
        assert_eq!(fits(Question { id: text("' OR 1=1 --"), ..Question::default() }), 0);
    }
}
