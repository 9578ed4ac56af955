//! The HTTP door: the WebSocket endpoints of calls, and what can be asked and done without one.
//!
//! `query` reads the parameters of the endpoints, `call_ws` decides what a connection is for, `socket`
//! carries commands, events and sound, `no_call` answers where no call can be; `rest` and `metrics` are
//! requests.

mod call_ws;
mod metrics;
mod no_call;
mod query;
mod rest;
mod socket;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde_json::json;
use sip::SipHandle;
use tokio::net::TcpListener;

use crate::app::App;

/// What handlers share.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) app: Arc<App>,
    pub(crate) sip: SipHandle,
}

/// Serves until the server closes.
pub async fn serve(app: Arc<App>, sip: SipHandle, listener: TcpListener) {
    let closing = app.closing.clone();
    let served =
        axum::serve(listener, router(Door { app, sip })).with_graceful_shutdown(closing.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "HTTP has ended");
    }
}

fn router(door: Door) -> Router {
    Router::new()
        .route("/call", get(call_ws::audio))
        .route("/call/", get(call_ws::audio))
        .route("/call/sip", get(call_ws::sip))
        .route("/call/webrtc", get(call_ws::webrtc))
        .route("/call/lists", get(rest::lists))
        .route("/call/kill/{*id}", post(rest::kill))
        .route("/list", get(rest::list))
        .route("/kill/{*id}", get(rest::kill_by_get))
        .route("/iceservers", get(rest::ice_servers))
        .route("/health", get(rest::health))
        .route("/metrics", get(metrics::text))
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "there is nothing at this path") })
        .layer(middleware::from_fn_with_state(door.clone(), access_log))
        .with_state(door)
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

/// One line for each request. The query is left out: it may hold a key.
async fn access_log(State(door): State<Door>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    if !door.app.config.http_access_skip_paths.iter().any(|pattern| skips(pattern, &path)) {
        tracing::info!(%method, ?path, status = response.status().as_u16(), "request");
    }
    response
}

fn skips(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => pattern == path,
    }
}

#[cfg(test)]
mod tests {
    use super::skips;

    #[test]
    fn a_star_at_the_end_stands_for_any_rest() {
        assert!(skips("/metrics*", "/metrics/x") && skips("/metrics*", "/metrics"));
        assert!(skips("/health", "/health") && !skips("/health", "/healthy"));
    }
}
