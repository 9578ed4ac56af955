//! What can be asked and done without a WebSocket.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use call::{CallHandle, StopReason};
use chrono::{DateTime, SecondsFormat};
use protocol::rest::{ActiveCall, ActiveCalls, CallList, IceServer, Killed, ListedCall};
use serde_json::json;

use super::address::Path;
use super::{Door, problem};
use crate::accounts::Standing;
use crate::{app, turn};

/// `GET /call/lists`.
pub(super) async fn lists(State(door): State<Door>) -> Json<CallList> {
    let calls = oldest_first(&door).into_iter().map(|call| {
        let info = call.info();
        let kind = call.kind().lower().to_owned();
        ListedCall {
            id: call.id().to_owned(),
            call_type: kind.clone(),
            call_type_camel: kind,
            created_at: rfc3339(info.started_ms),
            option: info.option,
        }
    });
    Json(CallList { calls: calls.collect() })
}

/// The original's `GET /list`.
pub(super) async fn list(State(door): State<Door>) -> Json<ActiveCalls> {
    let calls = oldest_first(&door).into_iter().map(|call| {
        let info = call.info();
        ActiveCall {
            id: call.id().to_owned(),
            call_type: call.kind(),
            option: Some(info.option),
            ring_time: info.rang_ms.map(rfc3339),
            start_time: info.answered_ms.map(rfc3339),
        }
    });
    Json(ActiveCalls { active_calls: calls.collect() })
}

pub(super) fn oldest_first(door: &Door) -> Vec<CallHandle> {
    let mut calls = door.app.calls.all();
    calls.sort_by_key(|call| call.info().started_ms);
    calls
}

/// `POST /call/kill/{id}`.
pub(super) async fn kill(State(door): State<Door>, Path(id): Path<String>) -> Response {
    match door.app.calls.find(&id) {
        Some(call) => {
            call.stop(StopReason::Killed).await;
            Json(true).into_response()
        }
        None => problem(StatusCode::NOT_FOUND, "no call has this id"),
    }
}

/// The original's `GET /kill/{id}`, which always answers 200.
pub(super) async fn kill_by_get(State(door): State<Door>, Path(id): Path<String>) -> Json<Killed> {
    let call = door.app.calls.find(&id);
    if let Some(call) = &call {
        call.stop(StopReason::Killed).await;
    }
    let status = if call.is_some() { "killed" } else { "not_found" };
    Json(Killed { status: status.into(), id })
}

/// `GET /api/v1/registrations`.
pub(super) async fn registrations(State(door): State<Door>) -> Json<Vec<Standing>> {
    Json(door.app.accounts.standings())
}

/// `GET /iceservers`.
pub(super) async fn ice_servers(State(door): State<Door>) -> Json<Vec<IceServer>> {
    let now_ms = app::now_ms();
    Json(door.app.config.ice_servers.iter().map(|server| turn::told(server, now_ms)).collect())
}

/// `GET /health`: 200 while calls are taken, 503 while the server stops.
pub(super) async fn health(State(door): State<Door>) -> Response {
    let draining = door.app.calls.draining();
    let status = if draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let word = if draining { "stopping" } else { "ok" };
    let body =
        json!({"status": word, "calls": door.app.calls.counts().now, "version": env!("CARGO_PKG_VERSION")});
    (status, Json(body)).into_response()
}

/// Unix milliseconds as RFC 3339 in UTC.
pub(super) fn rfc3339(ms: u64) -> String {
    i64::try_from(ms)
        .ok()
        .and_then(DateTime::from_timestamp_millis)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn milliseconds_are_told_as_rfc_3339() {
        assert_eq!(rfc3339(1_760_000_000_123), "2025-10-09T08:53:20.123Z");
        assert_eq!(rfc3339(u64::MAX), "1970-01-01T00:00:00.000Z");
    }
}
