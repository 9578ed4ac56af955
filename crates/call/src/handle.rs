//! How others reach a call.

use bytes::Bytes;
use protocol::option::CallOption;
use protocol::record::Quality;
use protocol::rest::{CallKind, LegMedia};
use protocol::{Command, Event, Extra};
use tokio::sync::{mpsc, watch};

use crate::end::StopReason;
use crate::failure::Failure;
use crate::observers::Observer;

/// Commands waiting for a call. When full the sender waits: a WebSocket reader stops reading and TCP pushes back.
pub const COMMANDS: usize = 64;
/// Events waiting for a client. When full the client is dropped as too slow.
pub const EVENTS: usize = 256;

/// The only way to reach a call from outside. Clones share it; the call does not end with them.
#[derive(Clone, Debug)]
pub struct CallHandle {
    id: String,
    kind: CallKind,
    orders: mpsc::Sender<ToCall>,
    info: watch::Receiver<CallInfo>,
}

/// What a call is told through its handle.
#[derive(Debug)]
pub enum ToCall {
    /// A command of the client.
    Command(Box<Command>),
    /// The client sent what has no effect: told as an `error` event of this sender.
    Refused(&'static str, Failure),
    /// The client sent a key that nobody reads, at this path: told once, as `other`.
    UnknownKey(String),
    /// A client takes command of the call.
    Attach(Client),
    /// Someone wants to hear the events, without a say in the call.
    Observe(Observer),
    /// End the call.
    Stop(StopReason),
}

/// The client in command of a call.
#[derive(Debug)]
pub struct Client {
    /// Its events; of size [`EVENTS`]. The call closes it after `hangup`, or at once when it is full.
    pub events: mpsc::Sender<Event>,
    /// Where batches of messages go when it subscribes to the sound of both sides. When full they are dropped.
    pub sound: Option<mpsc::Sender<Vec<Bytes>>>,
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Waits for `invite`.
    #[default]
    Idle,
    /// Waits for an answer.
    Ringing,
    /// Answered.
    Up,
    /// Has ended.
    Over,
}

/// What lists of calls show.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallInfo {
    /// How far the call has come.
    pub phase: Phase,
    /// When it began, Unix ms.
    pub started_ms: u64,
    /// When it rang, Unix ms.
    pub rang_ms: Option<u64>,
    /// When it was answered, Unix ms.
    pub answered_ms: Option<u64>,
    /// Its option; secrets write themselves as `***`.
    pub option: CallOption,
    /// From.
    pub caller: String,
    /// To.
    pub callee: String,
    /// Its variables, as its record would have them.
    pub extras: Extra,
    /// What was agreed on last with each party.
    pub media: Vec<LegMedia>,
    /// How good the main leg's sound was so far.
    pub quality: Option<Quality>,
    /// Files that it is or was recorded into.
    pub recordings: Vec<String>,
    /// It is over, and its record was handed over; a call that never began has none.
    pub recorded: bool,
}

/// The call has ended; what was sent to it had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the call has ended")]
pub struct CallOver;

impl CallHandle {
    pub(crate) fn new(
        id: String,
        kind: CallKind,
        orders: mpsc::Sender<ToCall>,
        info: watch::Receiver<CallInfo>,
    ) -> Self {
        CallHandle { id, kind, orders, info }
    }

    /// The call's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What carries the call.
    pub fn kind(&self) -> CallKind {
        self.kind
    }

    /// How the call stands.
    pub fn info(&self) -> CallInfo {
        self.info.borrow().clone()
    }

    /// How far the call has come.
    pub fn phase(&self) -> Phase {
        self.info.borrow().phase
    }

    /// How the call stands, to be told of each change.
    pub fn watch(&self) -> watch::Receiver<CallInfo> {
        self.info.clone()
    }

    /// Hands something to the call, waiting while its queue is full.
    ///
    /// # Errors
    /// [`CallOver`] when the call has ended.
    pub async fn send(&self, order: ToCall) -> Result<(), CallOver> {
        self.orders.send(order).await.map_err(|_| CallOver)
    }

    /// Ends the call; does nothing when it has ended.
    pub async fn stop(&self, reason: StopReason) {
        // A call that is over needs no end.
        let _ = self.send(ToCall::Stop(reason)).await;
    }

    /// Waits until the call has ended and its record is handed over.
    pub async fn over(&self) {
        let mut info = self.info.clone();
        // The sender's end comes after the record, so an error means the same as the phase.
        let _ = info.wait_for(|info| info.phase == Phase::Over).await;
    }
}
