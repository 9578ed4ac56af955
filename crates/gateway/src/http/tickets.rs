//! `POST /api/v1/tickets`: a path that opens once.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::uri::PathAndQuery;
use axum::response::{IntoResponse, Json, Response};
use protocol::rest::{AskTicket, Ticket};

use super::body::Body;
use super::rest::rfc3339;
use super::{Door, guard, problem, problem_at};
use crate::access::Who;
use crate::access::tickets::{Grant, LONGEST_LIFE, USUAL_LIFE};
use crate::app;
use crate::config::words::Scope;

/// A ticket for at most what the asking key may do.
pub(super) async fn issue(
    State(door): State<Door>,
    Extension(who): Extension<Who>,
    Body(asked, _): Body<AskTicket>,
) -> Response {
    let scope = match asked.scope.as_deref().map(Scope::from_word) {
        None => Scope::Control,
        Some(Some(scope)) => scope,
        Some(None) => {
            let told = "scope: write \"read\", \"control\" or \"admin\"";
            return problem_at(StatusCode::BAD_REQUEST, told, Some("scope".into()));
        }
    };
    if let Some(path) = asked.path.as_deref().filter(|path| !is_path(path)) {
        let told = format!(
            "path: {:?} is no path of this server; write one such as \"/call\", without parameters",
            protocol::read::shown(path)
        );
        return problem_at(StatusCode::BAD_REQUEST, told, Some("path".into()));
    }
    if asked.ttl == Some(0) {
        let told = format!("ttl: write seconds from 1 to {}", LONGEST_LIFE.as_secs());
        return problem_at(StatusCode::BAD_REQUEST, told, Some("ttl".into()));
    }
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

/// Whether a request can have this path, so that a ticket for it can open something. A ticket opens no other ticket.
fn is_path(text: &str) -> bool {
    let parsed = text.parse::<PathAndQuery>();
    let whole = parsed.is_ok_and(|parsed| parsed.path() == text && parsed.query().is_none());
    whole && text.starts_with('/') && !text.starts_with("//") && !text.starts_with(guard::TICKETS)
}

#[cfg(test)]
mod tests {
    use super::is_path;

    #[test]
    fn a_ticket_is_for_a_path_of_this_server() {
        assert!(is_path("/call") && is_path("/api/v1/calls/s.1%20x/events") && is_path("/"));
        for wrong in [
            "http://x",
            "http://x/call",
            "//x/call",
            "call",
            "",
            "*",
            "/call?id=1",
            "/a b",
            "/t/x/call",
            "/#x",
        ] {
            assert!(!is_path(wrong), "{wrong}");
        }
    }
}
