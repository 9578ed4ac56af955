//! Calls that this server begins by itself: on a request, and not on behalf of a WebSocket that stays.

use std::sync::Arc;
use std::time::Duration;

use call::handle::ToCall;
use call::legs::unsignalled::NoSignalling;
use call::media_thread::Wire;
use call::setup::Playbooks as _;
use call::{CallHandle, Setup};
use playbook::Playbook;
use protocol::command::Invite;
use protocol::rest::CallKind;
use protocol::{CallOption, Command, Extra};

use crate::app::{App, Beginning};
use crate::calls::NoPlace;
use crate::inbound::Route;

/// A call to be placed.
#[derive(Clone, Debug)]
pub struct Order {
    /// Its id.
    pub id: String,
    /// What `invite` says of it; `callee` is the URI to call.
    pub option: CallOption,
    /// Who talks there; absent: whoever sends commands.
    pub playbook: Option<Arc<Playbook>>,
}

/// Places a call. What becomes of it is told in its events and in its record.
///
/// # Errors
/// When there is no place for it.
pub async fn place(app: &Arc<App>, order: Order) -> Result<CallHandle, NoPlace> {
    let Order { id, option, playbook } = order;
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
        observers: Vec::new(),
        log: Some(app.event_log(&id)),
        defaults: app.defaults(),
        rules: app.rules(),
        id,
    };
    let call = app.begin(Beginning { setup, place, port: None, unclaimed: true }).await;
    let invite = Command::Invite(Invite { option: Box::new(option) });
    // A call that is over already has said why in its record.
    let _ = call.send(ToCall::Command(Box::new(invite))).await;
    Ok(call)
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
    let playbook = match app.routes.route("", &callee) {
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
    if let Err(error) = place(&app, Order { id, option, playbook }).await {
        tracing::error!(%error, "the call of --call is not placed");
    }
}
