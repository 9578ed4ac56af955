//! The table of routes: one row each, from which the router and the description of the API are made, so that neither
//! can lack what the other has.

use axum::Router;
use axum::http::{Method, StatusCode};
use axum::middleware;
use axum::routing::{MethodRouter, get, post};
use protocol::Command;
use protocol::record::CallRecord;
use protocol::rest::{
    ActiveCalls, AskTicket, CallList, CallState, CallStates, CommandTaken, IceServer, Killed, ListedPlaybook,
    ListedRecord, PlaceCall, PlaybookStarted, PlaybookVerdict, Records, RunPlaybook, SipLadder, Ticket,
};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;
use tower_http::compression::CompressionLayer;

use super::{
    Door, call_ws, calls, events, guard, metrics, openapi, pages, playbooks, problem, records, rest, tickets,
};
use crate::accounts::Standing;
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
    handler: fn() -> MethodRouter<Door>,
    /// Parameters of the query, with their meaning.
    pub(super) query: &'static [(&'static str, &'static str)],
    /// The body it takes.
    pub(super) takes: Content,
    /// Status and body of the answer when all goes well.
    pub(super) gives: (u16, Content),
}

/// What a body is.
#[derive(Clone, Copy)]
pub(super) enum Content {
    /// There is none.
    Nothing,
    /// JSON of this shape.
    Json(fn(&mut SchemaGenerator) -> Schema),
    /// Text of this type.
    Text(&'static str),
}

/// JSON of the shape of `T`.
const fn json<T: JsonSchema>() -> Content {
    Content::Json(SchemaGenerator::subschema_for::<T>)
}

/// Open to everyone.
const OPEN: Option<Scope> = None;
const READ: Option<Scope> = Some(Scope::Read);
const CONTROL: Option<Scope> = Some(Scope::Control);
const ADMIN: Option<Scope> = Some(Scope::Admin);

const NONE: &[(&str, &str)] = &[];
const NOTHING: Content = Content::Nothing;
const MARKDOWN: Content = Content::Text("text/markdown");
/// Parameters of the WebSocket endpoints.
const SOCKET: &[(&str, &str)] = &[
    ("id", "id of the call"),
    ("dump", "write the event log; true"),
    ("ping", "seconds between pings; 20"),
    ("serverSideTrack", "track id of what the server plays"),
];

/// Parameters of questions about records.
const RECORDS: &[(&str, &str)] = &[
    ("id", "id of the call"),
    ("caller", "a part of From"),
    ("callee", "a part of To"),
    ("type", "sip, webSocket or webrtc"),
    ("status", "status code"),
    ("reason", "hang-up reason, as in events"),
    ("from", "calls that began then or later, RFC 3339"),
    ("to", "calls that began before, RFC 3339"),
    ("limit", "records of the answer; 100, at most 1000"),
    ("offset", "records that are passed over; 0"),
];

/// A row: method, path, scope, what it does, handler, parameters of the query,
/// body taken, status and body given.
macro_rules! route {
    ($method:ident $path:literal, $scope:ident, $about:literal,
     $verb:ident($handler:path), $query:ident, $takes:expr => $status:literal $gives:expr) => {
        Route {
            method: Method::$method,
            path: $path,
            scope: $scope,
            about: $about,
            handler: || $verb($handler),
            query: $query,
            takes: $takes,
            gives: ($status, $gives),
        }
    };
}

/// Every route, in the order in which they are described.
pub(super) const ROUTES: &[Route] = &[
    route!(GET "/call", CONTROL, "a call whose sound goes over this WebSocket",
        get(call_ws::audio), SOCKET, NOTHING => 101 NOTHING),
    route!(GET "/call/", CONTROL, "the same as /call",
        get(call_ws::audio), SOCKET, NOTHING => 101 NOTHING),
    route!(GET "/call/sip", CONTROL, "takes command of an inbound SIP call, over a WebSocket",
        get(call_ws::sip), SOCKET, NOTHING => 101 NOTHING),
    route!(GET "/call/webrtc", CONTROL, "a call from a browser, over a WebSocket",
        get(call_ws::webrtc), SOCKET, NOTHING => 101 NOTHING),
    route!(GET "/call/lists", READ, "calls that are up, oldest first",
        get(rest::lists), NONE, NOTHING => 200 json::<CallList>()),
    route!(POST "/call/kill/{*id}", CONTROL, "ends a call",
        post(rest::kill), NONE, NOTHING => 200 json::<bool>()),
    route!(POST "/call/{id}/command", CONTROL, "gives a call a command",
        post(calls::command), NONE, json::<Command>() => 202 json::<CommandTaken>()),
    route!(GET "/list", READ, "calls that are up, in the original's form",
        get(rest::list), NONE, NOTHING => 200 json::<ActiveCalls>()),
    route!(GET "/kill/{*id}", CONTROL, "ends a call, in the original's form",
        get(rest::kill_by_get), NONE, NOTHING => 200 json::<Killed>()),
    route!(GET "/api/v1/calls", READ, "how calls stand, oldest first",
        get(calls::list), NONE, NOTHING => 200 json::<CallStates>()),
    route!(POST "/api/v1/calls", CONTROL, "places a call",
        post(calls::place), NONE, json::<PlaceCall>() => 201 json::<CallState>()),
    route!(GET "/api/v1/calls/{id}", READ, "how a call stands",
        get(calls::one), NONE, NOTHING => 200 json::<CallState>()),
    route!(POST "/api/v1/calls/{id}/commands", CONTROL, "gives a call a command",
        post(calls::command), NONE, json::<Command>() => 202 json::<CommandTaken>()),
    route!(GET "/api/v1/calls/{id}/sip", READ, "the SIP messages of a call, and how good its sound is",
        get(calls::sip), NONE, NOTHING => 200 json::<SipLadder>()),
    route!(GET "/api/v1/calls/{id}/events", READ, "the events of a call as they happen",
        get(events::stream), NONE, NOTHING => 200 Content::Text("text/event-stream")),
    route!(POST "/api/v1/tickets", CONTROL, "makes a path that opens once, for browsers",
        post(tickets::issue), NONE, json::<AskTicket>() => 201 json::<Ticket>()),
    route!(GET "/api/playbooks", READ, "the playbooks of the folder",
        get(playbooks::list), NONE, NOTHING => 200 json::<Vec<ListedPlaybook>>()),
    route!(GET "/api/playbooks/{name}", READ, "a playbook",
        get(playbooks::read), NONE, NOTHING => 200 MARKDOWN),
    route!(POST "/api/playbooks/{name}", ADMIN, "saves a playbook that can be used",
        post(playbooks::save), NONE, MARKDOWN => 200 json::<PlaybookVerdict>()),
    route!(POST "/api/v1/playbooks/validate", READ, "whether a playbook can be used",
        post(playbooks::validate), NONE, MARKDOWN => 200 json::<PlaybookVerdict>()),
    route!(POST "/api/playbook/run", CONTROL, "has a playbook wait for a call, or places one",
        post(playbooks::run), NONE, json::<RunPlaybook>() => 200 json::<PlaybookStarted>()),
    route!(GET "/api/records", READ, "calls that have ended, youngest first, in the original's form",
        get(records::listed), RECORDS, NOTHING => 200 json::<Vec<ListedRecord>>()),
    route!(GET "/api/v1/records", READ, "records of calls, youngest first",
        get(records::whole), RECORDS, NOTHING => 200 json::<Records>()),
    route!(GET "/api/v1/records/{id}", READ, "the record of a call",
        get(records::one), NONE, NOTHING => 200 json::<CallRecord>()),
    route!(GET "/api/v1/registrations", READ, "how the accounts at registrars stand",
        get(rest::registrations), NONE, NOTHING => 200 json::<Vec<Standing>>()),
    route!(GET "/iceservers", READ, "servers for ICE, for browsers",
        get(rest::ice_servers), NONE, NOTHING => 200 json::<Vec<IceServer>>()),
    route!(GET "/health", OPEN, "whether calls are taken",
        get(rest::health), NONE, NOTHING => 200 json::<Value>()),
    route!(GET "/metrics", READ, "counters in the text format of Prometheus",
        get(metrics::text), NONE, NOTHING => 200 Content::Text("text/plain")),
    route!(GET "/openapi.json", OPEN, "this description",
        get(openapi::document), NONE, NOTHING => 200 json::<Value>()),
    route!(GET "/schemas", OPEN, "JSON Schema of commands, events and records",
        get(openapi::schemas), NONE, NOTHING => 200 json::<Value>()),
    route!(GET "/", OPEN, "a page for people",
        get(pages::index), NONE, NOTHING => 200 Content::Text("text/html")),
    route!(GET "/static/{*path}", OPEN, "a file of the folder of pages",
        get(pages::under), NONE, NOTHING => 200 Content::Text("application/octet-stream")),
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
    let mut routes: Router = routes
        .fallback_service(get(nothing).fallback(nothing).layer(read).with_state(()))
        .method_not_allowed_fallback(|| async {
            problem(StatusCode::METHOD_NOT_ALLOWED, "this path has no such method")
        })
        .with_state(door.clone());
    if door.app.config.http_gzip {
        routes = routes.layer(CompressionLayer::new());
    }
    // Layers of the outer router come before the inner one chooses a route, so a path can still be changed.
    Router::new()
        .fallback_service(routes)
        .layer(middleware::from_fn_with_state(door.clone(), guard::origin))
        .layer(middleware::from_fn_with_state(door.clone(), guard::access_log))
        .layer(middleware::from_fn_with_state(door, guard::ticket))
}
