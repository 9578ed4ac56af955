//! Calls that this server begins by itself: on a request, and not on behalf of a WebSocket that stays.

use std::sync::Arc;
use std::time::Duration;

use call::handle::ToCall;
use call::legs::unsignalled::NoSignalling;
use call::media_thread::Wire;
use call::setup::Playbooks as _;
use call::{CallHandle, Phase, Setup, StopReason};
use playbook::Playbook;
use protocol::command::Invite;
use protocol::rest::CallKind;
use protocol::value::Headers;
use protocol::{CallOption, Command, Extra};
use tokio::time::timeout;

use crate::app::{App, Beginning};
use crate::calls::NoPlace;
use crate::inbound::{Parties, Route};
use crate::outbound;

/// A call to be placed.
#[derive(Clone, Debug)]
pub struct Order {
    /// Its id.
    pub id: String,
    /// What `invite` says of it; `callee` is the URI to call.
    pub option: CallOption,
    /// Who talks there; absent: whoever sends commands.
    pub playbook: Option<Arc<Playbook>>,
    /// Keys of the request that are unknown, of which the call tells.
    pub unknown: Vec<String>,
}

/// Why a call is not placed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unplaced {
    /// There is no place for it.
    #[error(transparent)]
    NoPlace(#[from] NoPlace),
    /// An address is none, or a header none that can be sent.
    #[error("{field}: {why}")]
    Address {
        /// `to`, `caller`, or the path of headers.
        field: &'static str,
        /// What is wrong and what to write instead.
        why: String,
    },
    /// It has not begun; why is in the log.
    #[error("the call has not begun")]
    NotBegun,
}

/// Most unknown keys that are told.
const MOST_UNKNOWN: usize = 100;

/// How long a call may take to begin.
const BEGIN: Duration = Duration::from_secs(5);

/// Places a call, and waits until it has begun: it is dialled or over then. What becomes of it is told in its events and
/// in its record.
///
/// # Errors
/// When an address is none, when there is no place for the call, or when it does not begin.
pub async fn place(app: &Arc<App>, order: Order) -> Result<CallHandle, Unplaced> {
    let Order { id, option, playbook, unknown } = order;
    let address = |field, text: &str| call::dialable(text).map_err(|why| Unplaced::Address { field, why });
    address("to", option.callee.as_deref().unwrap_or_default())?;
    if let Some(caller) = option.caller.as_deref().filter(|caller| !caller.is_empty()) {
        address("caller", caller)?;
    }
    let wrong = |field, why| Unplaced::Address { field, why };
    if let Some(why) = outbound::leads_nowhere(&app.config, option.callee.as_deref().unwrap_or_default()) {
        return Err(wrong("to", why));
    }
    for (field, headers) in headers_of(&option) {
        if let Some(name) = headers.iter().find_map(unsendable) {
            let why = format!("{:?} is no header that can be sent on one line", protocol::read::shown(name));
            return Err(wrong(field, why));
        }
    }
    let place = app.reserve(&id)?;
    tracing::info!(call = ?id, "a call is placed");
    let setup = Setup {
        kind: CallKind::Sip,
        caller: String::new(),
        callee: String::new(),
        leg: Box::new(NoSignalling),
        wire: Wire::None,
        sip: None,
        vars: Extra::new(),
        playbook,
        client: None,
        log: Some(app.event_log(&id)),
        defaults: app.defaults(),
        rules: app.rules(),
        id,
    };
    let call = app.begin(Beginning { setup, place, port: None, unclaimed: true }).await;
    for key in unknown.into_iter().take(MOST_UNKNOWN) {
        let _ = call.send(ToCall::UnknownKey(key)).await;
    }
    let invite = Command::Invite(Invite { option: Box::new(option) });
    // A call that is over already has said why in its record.
    let _ = call.send(ToCall::Command(Box::new(invite))).await;
    let mut info = call.watch();
    let begun =
        timeout(BEGIN, info.wait_for(|info| info.phase != Phase::Idle)).await.is_ok_and(|info| info.is_ok());
    if begun {
        return Ok(call);
    }
    // Nobody holds it who would end it.
    call.stop(StopReason::Killed).await;
    Err(Unplaced::NotBegun)
}

/// The headers in `option` that SIP messages get, with their paths.
fn headers_of(option: &CallOption) -> impl Iterator<Item = (&'static str, &Headers)> {
    let (first, last) =
        option.sip.as_ref().map_or((None, None), |sip| (sip.headers.as_ref(), sip.hangup_headers.as_ref()));
    let first = first.map(|headers| ("option.sip.headers", headers));
    first.into_iter().chain(last.map(|headers| ("option.sip.hangupHeaders", headers)))
}

/// The name of a header that cannot be one, or whose value is not one line.
fn unsendable<'a>((name, value): (&'a String, &String)) -> Option<&'a str> {
    let token = |c: char| c.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(c);
    let sound = !name.is_empty() && name.chars().all(token);
    let line = !value.chars().any(|c| c.is_control() && c != '\t');
    (!sound || !line).then_some(name.as_str())
}

/// How long after the start the call of `--call` is placed: accounts are registered by then, mostly.
const AFTER_START: Duration = Duration::from_secs(1);

/// Places the call of `--call`: with the playbook that the handler has for it, else for whoever takes command of it by
/// its id. What prevents it is logged.
#[allow(clippy::disallowed_methods, reason = "the command line is a driver: it waits in real time")]
pub async fn at_start(app: Arc<App>, callee: String) {
    if app.closing.run_until_cancelled(tokio::time::sleep(AFTER_START)).await.is_none() {
        return;
    }
    let playbook = match app.routes.route(&Parties { callee: &callee, ..Parties::default() }) {
        Route::Playbook(name) => match app.playbooks.find(&name).await {
            Ok(playbook) => Some(playbook),
            Err(error) => return tracing::error!(%error, "the call of --call is not placed"),
        },
        Route::Webhook | Route::Refuse(_) => None,
    };
    let id = uuid::Uuid::new_v4().to_string();
    if playbook.is_none() {
        tracing::info!(call = ?id, "no playbook talks in the call of --call; a client of /call/sip may");
    }
    let option = CallOption { callee: Some(callee), ..CallOption::default() };
    if let Err(error) = place(&app, Order { id, option, playbook, unknown: Vec::new() }).await {
        tracing::error!(%error, "the call of --call is not placed");
    }
}
