//! Records of calls over HTTP.

use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use chrono::DateTime;
use protocol::HangupReason;
use protocol::record::CallRecord;
use protocol::rest::{ListedRecord, Records};

use super::{Door, problem, problem_at};
use crate::sinks::store::{Found, MOST, Question};

/// Records of an answer when nothing is said.
const USUAL: usize = 100;
/// Header with the number of records that fit.
const TOTAL: &str = "x-total-count";

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
    let question = question(query)
        .map_err(|(field, why)| Box::new(problem_at(StatusCode::BAD_REQUEST, why, Some(field.into()))))?;
    let found = find(door, question.clone()).await?;
    Ok((question, found))
}

async fn find(door: &Door, question: Question) -> Result<Found, Box<Response>> {
    let Some(store) = door.app.records.as_ref().and_then(|archive| archive.store.clone()) else {
        return Ok(Found::default());
    };
    store.ask(question).await.map_err(|error| Box::new(problem(StatusCode::SERVICE_UNAVAILABLE, error)))
}

/// Reads the parameters; the error is the parameter and what is wrong with it.
fn question(query: &HashMap<String, String>) -> Result<Question, (&'static str, String)> {
    let text = |name: &str| query.get(name).filter(|value| !value.is_empty()).cloned();
    Ok(Question {
        id: text("id"),
        caller: text("caller"),
        callee: text("callee"),
        call_type: text("type"),
        status: number(query, "status")?,
        reason: text("reason"),
        from_ms: time(query, "from")?,
        to_ms: time(query, "to")?,
        offset: number(query, "offset")?.unwrap_or(0),
        limit: number(query, "limit")?.unwrap_or(USUAL).min(MOST),
    })
}

fn number<T: FromStr<Err: Display>>(
    query: &HashMap<String, String>,
    name: &'static str,
) -> Result<Option<T>, (&'static str, String)> {
    let Some(text) = query.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    let wrong = |e| (name, format!("{name}={}: {e}", protocol::read::shown(text)));
    text.parse().map(Some).map_err(wrong)
}

fn time(query: &HashMap<String, String>, name: &'static str) -> Result<Option<i64>, (&'static str, String)> {
    let Some(text) = query.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    let wrong = |_| {
        let shown = protocol::read::shown(text);
        (name, format!("{name}={shown}: write a time such as 2025-10-09T08:53:20Z"))
    };
    DateTime::parse_from_rfc3339(text).map(|time| Some(time.timestamp_millis())).map_err(wrong)
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
        (200, _) => "completed",
        (_, Some(reason)) => HangupReason::wire(reason),
        (_, None) => "failed",
    };
    ListedRecord {
        id: record.call_id.clone(),
        date: record.start_time.clone(),
        duration: format!("{seconds}s"),
        status: status.into(),
    }
}
