//! Calls that this server begins by itself: on a request, and not on behalf of a WebSocket that stays.

use std::sync::Arc;

use call::handle::ToCall;
use call::legs::unsignalled::NoSignalling;
use call::media_thread::Wire;
use call::{CallHandle, Setup};
use playbook::Playbook;
use protocol::command::Invite;
use protocol::rest::CallKind;
use protocol::{CallOption, Command, Extra};

use crate::app::{App, Beginning};
use crate::calls::NoPlace;

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
