//! Call records in an embedded database. One that cannot be written is told in the log and holds up nothing.

use std::path::Path;
#[allow(
    clippy::disallowed_types,
    reason = "the database belongs to no call; one question at a time has it"
)]
use std::sync::Mutex;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use protocol::record::CallRecord;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, params, params_from_iter};

use super::{Found, Question, Row, Value};

/// How long a question waits for another process that has the database.
const BUSY: Duration = Duration::from_secs(5);

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
pub struct Embedded {
    connection: Arc<Mutex<Connection>>,
}

impl Embedded {
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
        Ok(Embedded { connection })
    }

    /// Takes a record in; one that is there already stays as it is.
    ///
    /// # Errors
    /// Those of the database, as a text.
    pub fn add(&self, record: &CallRecord) -> Result<(), String> {
        let row = Row::of(record)?;
        self.with(|connection| {
            connection
                .prepare_cached(
                    "INSERT OR IGNORE INTO records
                     (call_id, call_type, start_ms, end_ms, caller, callee, status, reason, record)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                )?
                .execute(params![
                    record.call_id,
                    row.call_type,
                    row.start_ms,
                    row.end_ms,
                    record.caller,
                    record.callee,
                    record.status_code,
                    row.reason,
                    row.text,
                ])
        })
        .map(drop)
    }

    /// What fits the question.
    ///
    /// # Errors
    /// Those of the database, as a text.
    pub fn ask(&self, question: &Question) -> Result<Found, String> {
        let query = question.query("records", "instr", "record");
        self.with(|connection| {
            let values = || params_from_iter(&query.values);
            let total = connection.prepare_cached(&query.count)?.query_row(values(), |row| row.get(0))?;
            let mut select = connection.prepare_cached(&query.select)?;
            let texts = select.query_map(values(), |row| row.get::<_, String>(0))?;
            Ok(Found::new(&texts.collect::<Result<Vec<_>, _>>()?, total))
        })
    }

    fn with<T>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, String> {
        ask(&self.connection.lock().unwrap_or_else(PoisonError::into_inner)).map_err(|e| e.to_string())
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Number(number) => ValueRef::Integer(*number),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::store::milliseconds;

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
        let store = Embedded::open(&path).unwrap();
        for n in 0..5 {
            store
                .add(&record(&format!("c{n}"), &format!("2025-10-09T08:0{n}:00Z"), "sip:a'%@h", 200))
                .unwrap();
        }
        store.add(&record("busy", "2025-10-09T09:00:00Z", "sip:b@h", 486)).unwrap();
        store.add(&record("busy", "2025-10-09T09:00:00Z", "sip:other@h", 200)).unwrap();
        drop(store);
        let store = Embedded::open(&path).unwrap();
        let ask = |question: Question| store.ask(&question).unwrap();
        let page = ask(Question { limit: 2, offset: 1, ..Question::default() });
        assert_eq!((ids(&page), page.total), (vec!["c4", "c3"], 6), "a record comes in once");
        let fits = |question: Question| ids(&ask(Question { limit: 10, ..question })).len();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(fits(Question { caller: text("a'%"), ..Question::default() }), 5);
        assert_eq!(fits(Question { caller: text("%"), ..Question::default() }), 5, "% is no pattern");
        assert_eq!(fits(Question { status: Some(486), ..Question::default() }), 1);
        for (listed, count) in [("completed", 5), ("Caller", 1), ("aborted", 0), ("failed", 0)] {
            assert_eq!(fits(Question { listed: text(listed), ..Question::default() }), count, "{listed}");
        }
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
