//! Calls by id: how one stands, commands for it without its WebSocket, and new ones.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use call::CallHandle;
use call::handle::{Phase, ToCall};
use call::setup::Playbooks as _;
use protocol::rest::{CallPhase, CallState, CallStates, CommandTaken, PlaceCall, SipLadder};
use protocol::{Command, limits};

use super::address::Path;
use super::body::{Body, Text, wrong_field};
use super::call_ws::no_place;
use super::playbooks::asked_playbook;
use super::query::new_id;
use super::rest::{oldest_first, rfc3339};
use super::{Door, problem, problem_at};
use crate::app;
use crate::egress::vet;
use crate::originate::{self, Order, Unplaced};

/// `GET /api/v1/calls`.
pub(super) async fn list(State(door): State<Door>) -> Json<CallStates> {
    Json(CallStates { calls: oldest_first(&door).iter().map(state).collect() })
}

/// `GET /api/v1/calls/{id}`.
pub(super) async fn one(State(door): State<Door>, Path(id): Path<String>) -> Response {
    match door.app.calls.find(&id) {
        Some(call) => Json(state(&call)).into_response(),
        None => no_call(),
    }
}

/// `GET /api/v1/calls/{id}/sip`.
pub(super) async fn sip(State(door): State<Door>, Path(id): Path<String>) -> Response {
    let Some((messages, more)) = door.app.ladders.of(&id) else { return no_call() };
    let (media, quality) = match door.app.calls.find(&id).map(|call| call.info()) {
        Some(info) => (info.media, info.quality),
        None => door.app.ladders.sound_of(&id),
    };
    Json(SipLadder { id, messages, more, media, quality }).into_response()
}

fn state(call: &CallHandle) -> CallState {
    let info = call.info();
    CallState {
        id: call.id().to_owned(),
        call_type: call.kind(),
        state: match info.phase {
            Phase::Idle => CallPhase::Idle,
            Phase::Ringing => CallPhase::Ringing,
            Phase::Up => CallPhase::Up,
            Phase::Over => CallPhase::Over,
        },
        caller: info.caller,
        callee: info.callee,
        started_at: rfc3339(info.started_ms),
        rang_at: info.rang_ms.map(rfc3339),
        answered_at: info.answered_ms.map(rfc3339),
        duration: info.answered_ms.map(|at| app::now_ms().saturating_sub(at)),
        option: info.option,
        unknown: Vec::new(),
    }
}

/// `POST /api/v1/calls/{id}/commands` and `POST /call/{id}/command`: the body is a command as the WebSocket takes
/// it.
pub(super) async fn command(State(door): State<Door>, Path(id): Path<String>, Text(text): Text) -> Response {
    let Some(call) = door.app.calls.find(&id) else { return no_call() };
    let read = match Command::parse(&text) {
        Ok(read) => read,
        Err(error) => return wrong_field(&error),
    };
    if let Err(error) = vet::command(door.app.egress.guard(), &read.value).await {
        return wrong_field(&error);
    }
    let command = read.value.name().to_owned();
    match call.send(ToCall::Command(Box::new(read.value))).await {
        Ok(()) => {
            (StatusCode::ACCEPTED, Json(CommandTaken { id, command, unknown: read.unknown })).into_response()
        }
        Err(over) => problem(StatusCode::CONFLICT, over.to_string()),
    }
}

/// `POST /api/v1/calls`.
pub(super) async fn place(State(door): State<Door>, Body(asked, unknown): Body<PlaceCall>) -> Response {
    if asked.to.is_empty() {
        return problem_at(StatusCode::BAD_REQUEST, "to: the URI to call is missing", Some("to".into()));
    }
    let id = match new_id(asked.id.as_deref()) {
        Ok(id) => id,
        Err(why) => return problem_at(StatusCode::BAD_REQUEST, why, Some("id".into())),
    };
    let playbook = match (&asked.playbook, &asked.content) {
        (None, None) => None,
        _ => match asked_playbook(&door, asked.playbook, asked.content).await {
            Ok(held) => Some(held.playbook),
            Err(refused) => return *refused,
        },
    };
    let mut option = asked.option.map(|option| *option).unwrap_or_default();
    option.callee = Some(asked.to);
    option.caller = asked.caller.or(option.caller);
    if let Some(name) = &option.playbook
        && let Err(failure) = door.app.playbooks.find(name).await
    {
        let failure = failure.at("option.playbook");
        return problem_at(StatusCode::BAD_REQUEST, failure.to_string(), Some(failure.field));
    }
    let order = Order { id, option, playbook, unknown: unknown.clone() };
    if let Err(error) = limits::option("option", &order.option) {
        return wrong_field(&error);
    }
    if let Err(error) = vet::option(door.app.egress.guard(), &order.option).await {
        return wrong_field(&error);
    }
    match originate::place(&door.app, order).await {
        Ok(call) => (StatusCode::CREATED, Json(CallState { unknown, ..state(&call) })).into_response(),
        Err(why) => not_placed(&why),
    }
}

/// The answer where a call is not placed.
pub(super) fn not_placed(why: &Unplaced) -> Response {
    match why {
        Unplaced::NoPlace(why) => no_place(*why),
        Unplaced::Address { field, .. } => {
            problem_at(StatusCode::BAD_REQUEST, why.to_string(), Some((*field).into()))
        }
        Unplaced::NotBegun => problem(StatusCode::INTERNAL_SERVER_ERROR, why.to_string()),
    }
}

pub(super) fn no_call() -> Response {
    problem(StatusCode::NOT_FOUND, "no call has this id")
}
