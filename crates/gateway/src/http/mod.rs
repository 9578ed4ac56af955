//! The HTTP door: the WebSocket endpoints of calls, and what can be asked and done without one.
//!
//! `routes` is the table of everything there is, `guard` what stands before it, `listen` the socket. `query`
//! reads the parameters of the WebSocket endpoints, `call_ws` decides what a connection is for, `socket` carries
//! commands, events and sound, `no_call` answers where no call can be; `rest`, `tickets` and `metrics` are
//! requests, and `body` reads what they hold.

mod body;
mod call_ws;
mod guard;
mod listen;
mod metrics;
mod no_call;
mod query;
mod rest;
mod routes;
mod socket;
mod tickets;

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde_json::json;
use sip::SipHandle;
use tokio::net::TcpListener;

use crate::app::App;
pub use listen::Tls;

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
    let title = status.canonical_reason().unwrap_or_default();
    let body =
        json!({"type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail.into()});
    let mut response = (status, Json(body)).into_response();
    let kind = axum::http::HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(axum::http::header::CONTENT_TYPE, kind);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let later = axum::http::HeaderValue::from_static("5");
        response.headers_mut().insert(axum::http::header::RETRY_AFTER, later);
    }
    response
}
