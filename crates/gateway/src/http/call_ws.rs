//! The WebSocket endpoints: `/call`, `/call/sip`, `/call/webrtc`.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use call::handle::{EVENTS, ToCall};
use call::legs::unsignalled::NoSignalling;
use call::media_thread::Wire;
use call::{Client, Setup};
use protocol::Extra;
use protocol::read::MAX_MESSAGE;
use protocol::rest::CallKind;
use tokio::sync::mpsc;

use super::address::Query;
use super::no_call;
use super::query::Parameters;
use super::socket::{self, Pipes};
use super::{Door, problem};
use crate::app::{self, App, Beginning};
use crate::calls::{NoClaim, NoPlace, Place};

/// Binary messages waiting for the media thread, which takes all each 20 ms. When half full small ones are joined; when full
/// the reader waits a little, then drops the new one.
const HEARD: usize = 50;
/// Bytes of each buffer of a socket, which are held for the whole call: a second of events and sound.
const SOCKET_BUFFER: usize = 8 * 1024;
/// Batches waiting for a client, of two frames each: a second. When full the media thread drops.
const SPOKEN: usize = 25;

/// What a handler of these endpoints is given.
type Asked = Query<HashMap<String, String>>;

/// A request that asks for a WebSocket. Any other is told what is missing.
pub(super) struct Upgrade(WebSocketUpgrade);

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let asked = WebSocketUpgrade::from_request_parts(parts, state).await;
        asked.map(Upgrade).map_err(|refused| problem(refused.status(), refused.body_text()))
    }
}

/// `GET /call`: a call whose sound goes over the WebSocket itself.
pub(super) async fn audio(
    State(door): State<Door>,
    Query(query): Asked,
    Upgrade(upgrade): Upgrade,
) -> Response {
    let (parameters, id) = match new_call(&query) {
        Ok(new) => new,
        Err(why) => return problem(StatusCode::BAD_REQUEST, why),
    };
    let place = match door.app.reserve(&id) {
        Ok(place) => place,
        Err(why) => return no_place(why),
    };
    let app = door.app;
    let tasks = app.tasks.clone();
    bounded(upgrade).on_upgrade(move |socket| {
        tasks.track_future(async move {
            let pipes = begin(&app, CallKind::WebSocket, (id, place), parameters).await;
            socket::run(socket, pipes).await;
        })
    })
}

/// `GET /call/sip`: takes command of an inbound call that waits under this id, or places one.
pub(super) async fn sip(
    State(door): State<Door>,
    Query(query): Asked,
    Upgrade(upgrade): Upgrade,
) -> Response {
    let parameters = match Parameters::read(&query) {
        Ok(parameters) => parameters,
        Err(why) => return problem(StatusCode::BAD_REQUEST, why),
    };
    let claimed = parameters.id.as_deref().map_or(Err(NoClaim::Unknown), |id| door.app.calls.claim(id));
    let tasks = door.app.tasks.clone();
    match claimed {
        Ok(call) => {
            let (events_in, events) = mpsc::channel(EVENTS);
            let (ping, guard) = (parameters.ping, door.app.egress.guard().clone());
            bounded(upgrade).on_upgrade(move |socket| {
                tasks.track_future(async move {
                    // A call that has just ended closes the events at once.
                    let (sound, spoken) = mpsc::channel(SPOKEN);
                    let client = Client { events: events_in, sound: Some(sound) };
                    let _ = call.send(ToCall::Attach(client)).await;
                    let pipes = Pipes {
                        call,
                        guard,
                        events,
                        heard: None,
                        spoken: Some(spoken),
                        ping,
                        invite_within: None,
                    };
                    socket::run(socket, pipes).await;
                })
            })
        }
        Err(NoClaim::Taken) => problem(StatusCode::CONFLICT, NoClaim::Taken.to_string()),
        // Nothing waits under this id, so the client is going to place a call.
        Err(NoClaim::Unknown) => place_call(door.app, upgrade, parameters),
    }
}

fn place_call(app: Arc<App>, upgrade: WebSocketUpgrade, parameters: Parameters) -> Response {
    let id = match parameters.new_id() {
        Ok(id) => id,
        Err(why) => return problem(StatusCode::BAD_REQUEST, why),
    };
    let place = match app.reserve(&id) {
        Ok(place) => place,
        Err(why) => return no_place(why),
    };
    let tasks = app.tasks.clone();
    bounded(upgrade).on_upgrade(move |socket| {
        tasks.track_future(async move {
            let pipes = begin(&app, CallKind::Sip, (id, place), parameters).await;
            socket::run(socket, pipes).await;
        })
    })
}

/// `GET /call/webrtc`.
pub(super) async fn webrtc(
    State(door): State<Door>,
    Query(query): Asked,
    Upgrade(upgrade): Upgrade,
) -> Response {
    let id = match new_call(&query) {
        Ok((_, id)) => id,
        Err(why) => return problem(StatusCode::BAD_REQUEST, why),
    };
    if door.app.calls.contains(&id) {
        return no_place(NoPlace::Taken);
    }
    let (tasks, closing) = (door.app.tasks.clone(), door.app.closing.clone());
    bounded(upgrade).on_upgrade(move |socket| tasks.track_future(no_call::run(socket, id, closing)))
}

/// The parser refuses what is larger and says so; twice as much is not even read.
fn bounded(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .read_buffer_size(SOCKET_BUFFER)
        .write_buffer_size(SOCKET_BUFFER)
        .max_message_size(2 * MAX_MESSAGE)
        .max_frame_size(2 * MAX_MESSAGE)
}

fn new_call(query: &HashMap<String, String>) -> Result<(Parameters, String), String> {
    let parameters = Parameters::read(query)?;
    let id = parameters.new_id()?;
    Ok((parameters, id))
}

/// The answer where there is no place for a call.
pub(super) fn no_place(why: NoPlace) -> Response {
    let status = match why {
        NoPlace::Full | NoPlace::Draining => StatusCode::SERVICE_UNAVAILABLE,
        NoPlace::Taken => StatusCode::CONFLICT,
    };
    problem(status, why.to_string())
}

/// A call that a client begins: with its own sound, or by calling someone.
async fn begin(app: &Arc<App>, kind: CallKind, new: (String, Place), parameters: Parameters) -> Pipes {
    let (id, place) = new;
    let (sound, spoken) = mpsc::channel(SPOKEN);
    let (wire, heard, sound) = if kind == CallKind::WebSocket {
        let (heard, inbound) = mpsc::channel(HEARD);
        (Wire::Socket { inbound, outbound: sound }, Some(heard), None)
    } else {
        (Wire::None, None, Some(sound))
    };
    let (events_in, events) = mpsc::channel(EVENTS);
    let mut rules = app.rules();
    let invite_within = Some(rules.accept_timeout);
    rules.server_track = parameters.server_track.unwrap_or(rules.server_track);
    tracing::info!(call = ?id, "a client has connected");
    let setup = Setup {
        kind,
        caller: String::new(),
        callee: String::new(),
        leg: Box::new(NoSignalling),
        wire,
        sip: None,
        vars: Extra::new(),
        playbook: app.parked.take(&id, app::now_ms()),
        client: Some(Client { events: events_in, sound }),
        log: parameters.dump.then(|| app.event_log(&id)),
        defaults: app.defaults(),
        rules,
        id,
    };
    let call = app.begin(Beginning { setup, place, port: None, unclaimed: false }).await;
    let guard = app.egress.guard().clone();
    Pipes { call, guard, events, heard, spoken: Some(spoken), ping: parameters.ping, invite_within }
}
