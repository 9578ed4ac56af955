//! The table of routes: one row each, from which the router and the description of the API are made.

use axum::Router;
use axum::http::{Method, StatusCode};
use axum::middleware;
use axum::routing::{MethodRouter, get, post};

use super::{Door, call_ws, guard, metrics, problem, rest, tickets};
use crate::config::words::Scope;

/// One method at one path.
pub(super) struct Route {
    /// The method.
    pub(super) method: Method,
    /// The path, as the router reads it.
    pub(super) path: &'static str,
    /// Who may; absent: everyone.
    pub(super) scope: Option<Scope>,
    /// What it does, in a few words.
    pub(super) about: &'static str,
    /// What does it.
    pub(super) handler: fn() -> MethodRouter<Door>,
}

/// Open to everyone.
const OPEN: Option<Scope> = None;
const READ: Option<Scope> = Some(Scope::Read);
const CONTROL: Option<Scope> = Some(Scope::Control);

/// A row: method, path, scope, what it does, handler.
macro_rules! route {
    ($method:ident $path:literal, $scope:ident, $about:literal, $verb:ident($handler:path)) => {
        Route {
            method: Method::$method,
            path: $path,
            scope: $scope,
            about: $about,
            handler: || $verb($handler),
        }
    };
}

/// Every route, in the order in which they are described.
pub(super) const ROUTES: &[Route] = &[
    route!(GET "/call", CONTROL, "a call whose sound goes over this WebSocket", get(call_ws::audio)),
    route!(GET "/call/", CONTROL, "the same as /call", get(call_ws::audio)),
    route!(GET "/call/sip", CONTROL, "takes command of an inbound SIP call, over a WebSocket", get(call_ws::sip)),
    route!(GET "/call/webrtc", CONTROL, "a call from a browser, over a WebSocket", get(call_ws::webrtc)),
    route!(GET "/call/lists", READ, "calls that are up, oldest first", get(rest::lists)),
    route!(POST "/call/kill/{*id}", CONTROL, "ends a call", post(rest::kill)),
    route!(GET "/list", READ, "calls that are up, in the original's form", get(rest::list)),
    route!(GET "/kill/{*id}", CONTROL, "ends a call, in the original's form", get(rest::kill_by_get)),
    route!(POST "/api/v1/tickets", CONTROL, "makes a path that opens once, for browsers", post(tickets::issue)),
    route!(GET "/iceservers", READ, "servers for ICE, for browsers", get(rest::ice_servers)),
    route!(GET "/health", OPEN, "whether calls are taken", get(rest::health)),
    route!(GET "/metrics", READ, "counters in the text format of Prometheus", get(metrics::text)),
];

/// The router of [`ROUTES`] and what stands before them.
pub(super) fn router(door: Door) -> Router {
    let mut routes = Router::new();
    for row in ROUTES {
        let guard = middleware::from_fn_with_state((door.clone(), row.scope), guard::scope);
        routes = routes.route(row.path, (row.handler)().layer(guard));
    }
    let nothing = || async { problem(StatusCode::NOT_FOUND, "there is nothing at this path") };
    let read = middleware::from_fn_with_state((door.clone(), READ), guard::scope);
    let routes = routes
        .fallback_service(get(nothing).fallback(nothing).layer(read).with_state(()))
        .method_not_allowed_fallback(|| async {
            problem(StatusCode::METHOD_NOT_ALLOWED, "this path has no such method")
        })
        .with_state(door.clone());
    // Layers of the outer router come before the inner one chooses a route, so a path can still be changed.
    Router::new()
        .fallback_service(routes)
        .layer(middleware::from_fn_with_state(door.clone(), guard::origin))
        .layer(middleware::from_fn_with_state(door.clone(), guard::access_log))
        .layer(middleware::from_fn_with_state(door, guard::ticket))
}
