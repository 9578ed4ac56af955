//! Records of calls over HTTP.

use std::collections::HashMap;
use std::fmt::Display;
use std::ops::RangeInclusive;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use chrono::DateTime;
use protocol::HangupReason;
use protocol::record::CallRecord;
use protocol::rest::{CallKind, ListedRecord, Records};

use super::address::{Path, Query};
use super::{Door, problem, problem_at};
use crate::sinks::records::ABORTED;
use crate::sinks::store::{COMPLETED, FAILED, Found, MOST, Question};

/// Records of an answer when nothing is said.
const USUAL: usize = 100;
/// Header with the number of records that fit.
pub(super) const TOTAL: &str = "x-total-count";
/// Status codes of SIP and HTTP.
const STATUSES: RangeInclusive<u16> = 100..=699;
/// What `status` may be in a question.
const STATUS_RULE: &str = "write a status code, 100 to 699, or what stands as status in the list: completed, aborted, failed or a reason";

/// `GET /api/records`: the original's form, with what was asked for.
pub(super) async fn listed(
    State(door): State<Door>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    match asked(&door, &query).await {
        Ok((_, found)) => {
            let list: Vec<ListedRecord> = found.records.iter().map(listed_record).collect();
            ([(TOTAL, found.total.to_string())], Json(list)).into_response()
        }
        Err(refused) => *refused,
    }
}

/// `GET /api/v1/records`.
pub(super) async fn whole(
    State(door): State<Door>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    match asked(&door, &query).await {
        Ok((question, found)) => {
            let next = question.offset + found.records.len();
            let next = (!found.records.is_empty() && (next as u64) < found.total).then_some(next as u64);
            Json(Records { records: found.records, total: found.total, next }).into_response()
        }
        Err(refused) => *refused,
    }
}

/// `GET /api/v1/records/{id}`: of calls with one id the last.
pub(super) async fn one(State(door): State<Door>, Path(id): Path<String>) -> Response {
    let question = Question { id: Some(id), limit: 1, ..Question::default() };
    match find(&door, question).await {
        Ok(mut found) => match found.records.pop() {
            Some(record) => Json(record).into_response(),
            None => problem(StatusCode::NOT_FOUND, "no call that has ended has this id"),
        },
        Err(refused) => *refused,
    }
}

async fn asked(door: &Door, query: &HashMap<String, String>) -> Result<(Question, Found), Box<Response>> {
    let refused =
        |(field, why): Wrong| Box::new(problem_at(StatusCode::BAD_REQUEST, why, Some(field.into())));
    let question = question(query).map_err(refused)?;
    let found = find(door, question.clone()).await?;
    if let Some(HangupReason::Other(word)) = question.reason.as_deref().map(HangupReason::from_word)
        && found.total == 0
    {
        // A client may hang up for a reason of its own, so a word is right when any record has it.
        let alike = Question { reason: Some(word.clone()), limit: 1, ..Question::default() };
        if find(door, alike).await?.total == 0 {
            let known = HangupReason::words().collect::<Vec<_>>().join(", ");
            let told = format!("no record has it; write {known}, aborted, or what a client gave in hangup");
            return Err(refused(wrong("reason", &word, told)));
        }
    }
    Ok((question, found))
}

async fn find(door: &Door, question: Question) -> Result<Found, Box<Response>> {
    let Some(store) = door.app.records.as_ref().and_then(|archive| archive.store.clone()) else {
        return Ok(Found::default());
    };
    store.ask(question).await.map_err(|error| Box::new(problem(StatusCode::SERVICE_UNAVAILABLE, error)))
}

/// A parameter, and what is wrong with it.
type Wrong = (&'static str, String);

fn wrong(name: &'static str, text: &str, told: impl Display) -> Wrong {
    (name, format!("{name}={}: {told}", protocol::read::shown(text)))
}

/// Reads the parameters.
fn question(query: &HashMap<String, String>) -> Result<Question, Wrong> {
    let text = |name: &str| query.get(name).filter(|value| !value.is_empty()).cloned();
    let (status, listed) = match read(query, "status", standing)? {
        Some(Standing::Code(code)) => (Some(code), None),
        Some(Standing::Word(word)) => (None, Some(word)),
        None => (None, None),
    };
    Ok(Question {
        id: text("id"),
        caller: text("caller"),
        callee: text("callee"),
        call_type: read(query, "type", kind)?,
        status,
        listed,
        reason: text("reason").map(|word| HangupReason::from_word(&word).wire().to_owned()),
        from_ms: read(query, "from", time)?,
        to_ms: read(query, "to", time)?,
        offset: read(query, "offset", number)?.unwrap_or(0),
        limit: read(query, "limit", limit)?.unwrap_or(USUAL),
    })
}

/// A parameter as `reader` has it; an empty one asks for nothing.
fn read<T>(
    query: &HashMap<String, String>,
    name: &'static str,
    reader: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, Wrong> {
    let text = query.get(name).filter(|text| !text.is_empty());
    text.map(|text| reader(text).map_err(|told| wrong(name, text, told))).transpose()
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "write a number".into())
}

fn limit(text: &str) -> Result<usize, String> {
    let limit = text.parse().ok().filter(|limit| (1..=MOST).contains(limit));
    limit.ok_or_else(|| format!("write a number from 1 to {MOST}"))
}

/// How a call ended, as `status` asks for it.
enum Standing {
    /// Of SIP or HTTP.
    Code(u16),
    /// What stands as `status` in the list.
    Word(String),
}

fn standing(text: &str) -> Result<Standing, String> {
    if let Ok(code) = text.parse() {
        return if STATUSES.contains(&code) { Ok(Standing::Code(code)) } else { Err(STATUS_RULE.into()) };
    }
    let mut words = HangupReason::words().chain([COMPLETED, FAILED, ABORTED]);
    let word = words.find(|word| word.eq_ignore_ascii_case(text)).ok_or(STATUS_RULE)?;
    Ok(Standing::Word(word.to_owned()))
}

fn kind(text: &str) -> Result<String, String> {
    let kind = CallKind::from_word(text).map(|kind| kind.as_str().to_owned());
    kind.ok_or_else(|| format!("there are {}", CallKind::WORDS.join(", ")))
}

fn time(text: &str) -> Result<i64, String> {
    let time = DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_millis());
    time.map_err(|_| "write a time such as 2025-10-09T08:53:20Z".into())
}

/// The original's shape.
fn listed_record(record: &CallRecord) -> ListedRecord {
    let at = |time: &str| DateTime::parse_from_rfc3339(time).ok();
    let answered = record.answer_time.as_deref().and_then(at);
    let seconds = match (answered, at(&record.end_time)) {
        (Some(answered), Some(end)) => (end - answered).num_seconds().max(0),
        _ => 0,
    };
    let status = match (record.status_code, &record.hangup_reason) {
        (_, Some(HangupReason::Other(word))) if word == ABORTED => ABORTED,
        (200, _) => COMPLETED,
        (_, Some(reason)) => HangupReason::wire(reason),
        (_, None) => FAILED,
    };
    ListedRecord {
        id: record.call_id.clone(),
        date: record.start_time.clone(),
        duration: format!("{seconds}s"),
        status: status.into(),
    }
}
