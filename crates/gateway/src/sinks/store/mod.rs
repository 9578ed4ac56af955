//! Call records in a database, for questions about them: an embedded one, or Postgres. The files are what counts; both
//! databases hold the same columns and are asked in the same words.

pub mod embedded;
pub mod postgres;

use std::time::Duration;

use chrono::DateTime;
use protocol::HangupReason;
use protocol::record::CallRecord;
use tokio::time::timeout;

use embedded::Embedded;
use postgres::Rows;

/// Most records of one answer.
pub const MOST: usize = 1000;
/// How long a database may take over a question.
const PATIENCE: Duration = Duration::from_secs(20);

/// How lists tell of a call that was answered and ended.
pub const COMPLETED: &str = "completed";
/// How lists tell of a call that was not answered, for no reason that is known.
pub const FAILED: &str = "failed";
/// The same of a row: that of a crash is [`ABORTED`](super::records::ABORTED).
const LISTED: &str = "CASE WHEN reason = 'aborted' THEN 'aborted' WHEN status = 200 THEN 'completed' \
                      WHEN reason = '' THEN 'failed' ELSE reason END";

/// What is asked. Clones share the database.
#[derive(Clone, Debug)]
pub enum Store {
    /// A file of our own.
    Embedded(Embedded),
    /// A Postgres server.
    Postgres(Rows),
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
    /// How lists tell that it ended: [`ABORTED`](super::records::ABORTED), [`COMPLETED`], [`FAILED`] or a hang-up reason.
    pub listed: Option<String>,
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
    /// What fits the question.
    ///
    /// # Errors
    /// Those of the database, as a text.
    pub async fn ask(&self, question: Question) -> Result<Found, String> {
        let answer = async {
            match self {
                Store::Postgres(rows) => rows.ask(&question).await,
                Store::Embedded(file) => {
                    let file = file.clone();
                    let asked = tokio::task::spawn_blocking(move || file.ask(&question)).await;
                    asked.unwrap_or_else(|e| Err(e.to_string()))
                }
            }
        };
        timeout(PATIENCE, answer).await.unwrap_or_else(|_| Err("the database takes too long".into()))
    }
}

/// A record as a database holds it.
struct Row<'a> {
    call_type: String,
    start_ms: i64,
    end_ms: i64,
    reason: &'a str,
    /// The record as JSON.
    text: String,
}

impl<'a> Row<'a> {
    fn of(record: &'a CallRecord) -> Result<Self, String> {
        let kind = serde_json::to_value(record.call_type).unwrap_or_default();
        Ok(Row {
            call_type: kind.as_str().unwrap_or_default().to_owned(),
            start_ms: milliseconds(&record.start_time),
            end_ms: milliseconds(&record.end_time),
            reason: record.hangup_reason.as_ref().map_or("", HangupReason::wire),
            text: serde_json::to_string(record).map_err(|e| e.to_string())?,
        })
    }
}

/// A value of a question.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Text(String),
    Number(i64),
}

/// A question in the language of a database.
struct Query {
    /// Gives the number of records that fit.
    count: String,
    /// Gives them as texts, youngest first.
    select: String,
    /// `$1`, `$2` and so on; texts of clients are values and never part of the language.
    values: Vec<Value>,
}

impl Question {
    /// The question to `table`; `find` is the function that finds a text in another, `text` how a record is read.
    fn query(&self, table: &str, find: &str, text: &str) -> Query {
        let word = |text: &Option<String>| text.clone().map(Value::Text);
        let all = [
            ("call_id = {}".to_owned(), word(&self.id)),
            (format!("{find}(caller, {{}}) > 0"), word(&self.caller)),
            (format!("{find}(callee, {{}}) > 0"), word(&self.callee)),
            ("lower(call_type) = lower({})".to_owned(), word(&self.call_type)),
            ("status = {}".to_owned(), self.status.map(|status| Value::Number(status.into()))),
            (format!("lower({LISTED}) = lower({{}})"), word(&self.listed)),
            ("lower(reason) = lower({})".to_owned(), word(&self.reason)),
            ("start_ms >= {}".to_owned(), self.from_ms.map(Value::Number)),
            ("start_ms < {}".to_owned(), self.to_ms.map(Value::Number)),
        ];
        let asked = all.into_iter().filter_map(|(condition, value)| Some((condition, value?)));
        let (conditions, values): (Vec<_>, Vec<_>) = asked
            .enumerate()
            .map(|(n, (condition, value))| (condition.replace("{}", &format!("${}", n + 1)), value))
            .unzip();
        let filter = if conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", conditions.join(" AND "))
        };
        let (limit, offset) = (self.limit.min(MOST), self.offset);
        Query {
            count: format!("SELECT count(*) FROM {table}{filter}"),
            select: format!(
                "SELECT {text} FROM {table}{filter} ORDER BY start_ms DESC, number DESC \
                 LIMIT {limit} OFFSET {offset}"
            ),
            values,
        }
    }
}

impl Found {
    fn new(texts: &[String], total: i64) -> Self {
        // What an older version wrote and this one cannot read is passed over.
        let records = texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
        Found { records, total: u64::try_from(total).unwrap_or(0) }
    }
}

fn milliseconds(time: &str) -> i64 {
    DateTime::parse_from_rfc3339(time).map_or(0, |time| time.timestamp_millis())
}
