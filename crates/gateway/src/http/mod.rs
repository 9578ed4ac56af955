//! The HTTP door: the WebSocket endpoints of calls, and what can be asked and done without one.
//!
//! `routes` is the table of everything there is, `guard` what stands before it, `listen` the socket, `unread` the
//! answer to what is no request. `query` reads the parameters of the WebSocket endpoints, `call_ws` decides what a
//! connection is for, `socket` carries commands, events and sound, `no_call` answers where no call can be. `rest`,
//! `calls`, `events`, `playbooks`, `records`, `tickets` and `metrics` are requests, `address` and `body` read what they
//! hold; `openapi` and `reference` describe all of it, and `pages` are for people.

mod address;
mod body;
mod call_ws;
mod calls;
mod events;
mod guard;
mod inlet;
mod listen;
mod metrics;
mod no_call;
mod openapi;
mod pages;
mod playbooks;
mod query;
mod records;
mod reference;
mod rest;
mod routes;
mod socket;
mod tickets;
mod unread;

use std::sync::Arc;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use protocol::rest::Problem;
use sip::SipHandle;
use tokio::net::TcpListener;

use crate::app::App;
pub use listen::Tls;
pub use openapi::describe;
pub use reference::reference;

/// What handlers share.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) app: Arc<App>,
    pub(crate) sip: SipHandle,
}

/// Method, path and meaning of everything that is served.
pub fn paths() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    routes::ROUTES.iter().map(|row| (row.method.as_str(), row.path, row.about))
}

/// Serves until the server closes.
pub async fn serve(app: Arc<App>, sip: SipHandle, listener: TcpListener, tls: Option<Tls>) {
    let (tasks, closing) = (app.tasks.clone(), app.closing.clone());
    let router = routes::router(Door { app, sip });
    listen::run(listener, tls, router, tasks, closing).await;
}

/// An error as RFC 9457 describes it.
pub(crate) fn problem(status: StatusCode, detail: impl Into<String>) -> Response {
    problem_at(status, detail, None)
}

/// The same with the path of the field that is wrong.
pub(crate) fn problem_at(status: StatusCode, detail: impl Into<String>, field: Option<String>) -> Response {
    let mut response = (status, Json(problem_of(status, detail.into(), field))).into_response();
    let kind = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

fn problem_of(status: StatusCode, detail: String, field: Option<String>) -> Problem {
    let title = status.canonical_reason().unwrap_or_default().into();
    Problem { kind: "about:blank".into(), title, status: status.as_u16(), detail, field }
}
