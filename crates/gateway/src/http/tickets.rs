//! `POST /api/v1/tickets`: a path that opens once.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use protocol::rest::{AskTicket, Ticket};

use super::body::Body;
use super::rest::rfc3339;
use super::{Door, guard, problem};
use crate::access::Who;
use crate::access::tickets::{Grant, LONGEST_LIFE, USUAL_LIFE};
use crate::app;
use crate::config::words::Scope;

/// A ticket for at most what the asking key may do.
pub(super) async fn issue(
    State(door): State<Door>,
    Extension(who): Extension<Who>,
    Body(asked): Body<AskTicket>,
) -> Response {
    let scope = match asked.scope.as_deref().map(Scope::from_word) {
        None => Scope::Control,
        Some(Some(scope)) => scope,
        Some(None) => {
            return problem(StatusCode::BAD_REQUEST, "scope: write \"read\", \"control\" or \"admin\"");
        }
    };
    if let Err(refusal) = who.may(scope) {
        return problem(StatusCode::FORBIDDEN, refusal.to_string());
    }
    let life = asked.ttl.map_or(USUAL_LIFE, Duration::from_secs).min(LONGEST_LIFE);
    let now = app::now_ms();
    let until = now.saturating_add(u64::try_from(life.as_millis()).unwrap_or(u64::MAX));
    let grant = Grant { name: who.name, scope, path: asked.path, id: asked.id };
    let inner = grant.path.clone().unwrap_or_default();
    let ticket = door.app.access.tickets.issue(grant, now, until);
    let path = format!("{}{ticket}{inner}", guard::TICKETS);
    (StatusCode::CREATED, Json(Ticket { path, expires: rfc3339(until) })).into_response()
}
