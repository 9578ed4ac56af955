//! The transactions of RFC 3261 section 17, with what the state machines leave to their driver:
//! where each one sends, its timers, and whose it is.
//!
//! Client and server transactions have a layer each, since a call to ourselves gives both the same
//! key.

use crate::hop::Hop;
use std::collections::HashMap;

use bytes::Bytes;
use sipx_sip::transaction::Dispatch;
use sipx_sip::{
    Limits, Message, Output, Reliability, Request, Response, Timer, Timers, TransactionKey, TransactionLayer,
    TuEvent, parse_datagram,
};

use crate::config::Time;
use crate::event::DialogId;
use crate::message::MAX_DATAGRAM;
use crate::registration::RegistrationId;
use crate::schedule::Due;
use crate::wire::Wire;

/// Bounds for reading what we wrote ourselves: the peer's lines that a response copies passed
/// tighter ones.
const OWN: Limits = Limits {
    max_message_bytes: MAX_DATAGRAM,
    max_body_bytes: MAX_DATAGRAM,
    max_headers: 1_024,
    max_header_bytes: MAX_DATAGRAM,
    max_folding_lines: 0,
};

/// Names one transaction of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TxId(u64);

/// Which side of a transaction we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Server,
    Client,
}

/// Whose a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Nobody,
    Dialog(DialogId),
    Registration(RegistrationId),
}

/// What a request of ours is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errand {
    /// The INVITE that begins a dialog.
    Invite,
    Cancel,
    Bye,
    /// The BYE of another callee's answer than the one that counts: of the call only its credentials concern it.
    SendAway,
    Prack,
    Register,
    /// A re-INVITE.
    Reoffer,
    Refer,
    Notify,
    /// An UPDATE without offer.
    Refresh,
    /// One whose answer is told to the dialog's owner.
    Request,
    /// The ACK of the 200 with this CSeq; it has no transaction.
    Ack(u32),
}

/// Whose a request of ours is, and how far it has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) owner: Owner,
    pub(crate) errand: Errand,
    /// Challenges that it has answered.
    pub(crate) rounds: u8,
    /// Whether it goes by TCP only because it is too large for a datagram.
    pub(crate) switched: bool,
    /// Whether TCP has failed it, so that it stays in a datagram.
    pub(crate) plain: bool,
    /// Addresses of its host that have failed it.
    pub(crate) failed: u8,
}

impl Job {
    pub(crate) fn new(owner: Owner, errand: Errand) -> Self {
        Self { owner, errand, rounds: 0, switched: false, plain: false, failed: 0 }
    }

    pub(crate) fn of(dialog: DialogId, errand: Errand) -> Self {
        Self::new(Owner::Dialog(dialog), errand)
    }
}

/// What a transaction of ours tells.
#[derive(Debug)]
pub(crate) struct Happening {
    pub(crate) tx: TxId,
    pub(crate) job: Job,
    pub(crate) to: Hop,
    /// The request, if it failed.
    pub(crate) request: Option<Box<Request>>,
    pub(crate) event: TuEvent,
}

#[derive(Debug)]
struct Entry {
    key: TransactionKey,
    role: Role,
    to: Hop,
    job: Job,
    heard: Heard,
}

/// What the peer has responded to a transaction of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    Nothing,
    Provisional,
    /// It is over, and stays only for copies of the response.
    Final,
}

#[derive(Debug)]
struct Half {
    layer: TransactionLayer,
    ids: HashMap<TransactionKey, TxId>,
}

/// Every transaction of an endpoint.
#[derive(Debug)]
pub(crate) struct Transactions {
    server: Half,
    client: Half,
    entries: HashMap<TxId, Entry>,
    begun: u64,
}

impl Transactions {
    pub(crate) fn new(timers: Timers) -> Self {
        let half = || Half { layer: TransactionLayer::new(timers), ids: HashMap::new() };
        Self { server: half(), client: half(), entries: HashMap::new(), begun: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn contains(&self, tx: TxId) -> bool {
        self.entries.contains_key(&tx)
    }

    /// The server transaction with this key.
    pub(crate) fn server(&self, key: &TransactionKey) -> Option<TxId> {
        self.server.ids.get(key).copied()
    }

    pub(crate) fn dialog(&self, tx: TxId) -> Option<DialogId> {
        match self.entries.get(&tx)?.job.owner {
            Owner::Dialog(id) => Some(id),
            Owner::Nobody | Owner::Registration(_) => None,
        }
    }

    /// What a transaction of ours is for.
    pub(crate) fn job(&self, tx: TxId) -> Option<Job> {
        self.entries.get(&tx).filter(|entry| entry.role == Role::Client).map(|entry| entry.job)
    }

    /// Whether nobody has responded to a transaction of ours.
    pub(crate) fn is_unheard(&self, tx: TxId) -> bool {
        self.entries.get(&tx).is_some_and(|entry| entry.heard == Heard::Nothing)
    }

    /// Our transactions that wait for a final response and whose messages go this way: over its connection if it has
    /// one, else to its address.
    pub(crate) fn towards(&self, hop: &Hop) -> Vec<TxId> {
        let same = |to: &Hop| match (hop.connection, to.connection) {
            (Some(lost), Some(used)) => lost == used,
            _ => hop.is_same_peer(to),
        };
        // Those of the peers may be many: a flood ends here.
        let waits = |entry: &Entry| entry.heard != Heard::Final && same(&entry.to);
        let ours = self.client.ids.values().filter(|tx| self.entries.get(tx).is_some_and(waits));
        let mut found: Vec<TxId> = ours.copied().collect();
        found.sort_by_key(|tx| tx.0);
        found
    }

    /// The request of a transaction, and where its messages go.
    pub(crate) fn request(&self, tx: TxId) -> Option<(&Request, Hop)> {
        let entry = self.entries.get(&tx)?;
        let request = match entry.role {
            Role::Server => self.server.layer.server_request(&entry.key),
            Role::Client => self.client.layer.client_request(&entry.key),
        };
        Some((request?, entry.to.clone()))
    }

    /// Begins a server transaction. `None` if the request has no key.
    pub(crate) fn begin(
        &mut self,
        now: Time,
        wire: &mut Wire,
        (request, reply_to): (Request, Hop),
        dialog: DialogId,
    ) -> Option<TxId> {
        let reliability = reply_to.transport.reliability();
        let dispatch = self.server.layer.receive(Message::Request(request), reliability);
        let Dispatch::Created { key, outputs } = dispatch else { return None };
        let job = Job::of(dialog, Errand::Invite);
        let tx = self.enter(Entry { key, role: Role::Server, to: reply_to, job, heard: Heard::Nothing });
        self.perform(now, wire, tx, outputs);
        Some(tx)
    }

    /// A copy of the request of a server transaction, or the ACK that ends it.
    pub(crate) fn absorb(&mut self, now: Time, wire: &mut Wire, tx: TxId, request: Request) {
        let dispatch = self.server.layer.receive(Message::Request(request), Reliability::Unreliable);
        if let Dispatch::Matched { outputs, .. } = dispatch {
            self.perform(now, wire, tx, outputs);
        }
    }

    /// Sends a response of ours through its transaction, which repeats it as its state asks.
    ///
    /// # Errors
    /// The response, if the grammar does not take it, which what it copies from an odd request can
    /// bring about.
    pub(crate) fn respond(
        &mut self,
        now: Time,
        wire: &mut Wire,
        tx: TxId,
        response: Vec<u8>,
    ) -> Result<(), Vec<u8>> {
        let Some(entry) = self.entries.get(&tx) else { return Ok(()) };
        let bytes = Bytes::from(response);
        let Ok(Message::Response(response)) = parse_datagram(bytes.clone(), &OWN) else {
            return Err(bytes.to_vec());
        };
        let outputs = self.server.layer.send_response(&entry.key, response);
        self.perform(now, wire, tx, outputs);
        Ok(())
    }

    /// Takes a transaction out before its end and returns its key.
    pub(crate) fn forget(&mut self, tx: TxId) -> Option<TransactionKey> {
        let entry = self.entries.remove(&tx)?;
        match entry.role {
            Role::Server => {
                self.server.layer.abandon(&entry.key);
                self.server.ids.remove(&entry.key);
            }
            Role::Client => {
                let _ = self.client.layer.on_transport_error(&entry.key);
                self.client.ids.remove(&entry.key);
            }
        }
        Some(entry.key)
    }

    /// Sends a request of ours. `None` if it cannot be parsed or has no key; nothing is sent then.
    pub(crate) fn send(
        &mut self,
        now: Time,
        wire: &mut Wire,
        (request, to): (Vec<u8>, Hop),
        job: Job,
    ) -> Option<TxId> {
        let Ok(Message::Request(request)) = parse_datagram(Bytes::from(request), &OWN) else {
            return None;
        };
        let (key, outputs) = self.client.layer.send_request(request, to.transport.reliability())?;
        let tx = self.enter(Entry { key, role: Role::Client, to, job, heard: Heard::Nothing });
        self.perform(now, wire, tx, outputs);
        Some(tx)
    }

    /// Takes a response; `Err` gives back one that belongs to no transaction.
    pub(crate) fn response(
        &mut self,
        now: Time,
        wire: &mut Wire,
        response: Response,
    ) -> Result<Vec<Happening>, Box<Response>> {
        let heard = if response.status.is_final() { Heard::Final } else { Heard::Provisional };
        // Over a connection the transaction ends with its failure, and its request with it.
        let request = TransactionKey::from_response(&response)
            .filter(|_| response.status.code() >= 300)
            .and_then(|key| self.client.layer.client_request(&key).cloned().map(Box::new));
        match self.client.layer.receive(Message::Response(response), Reliability::Unreliable) {
            Dispatch::Matched { key, outputs } => Ok(match self.client.ids.get(&key) {
                Some(&tx) => {
                    if let Some(entry) = self.entries.get_mut(&tx) {
                        entry.heard = heard;
                    }
                    with_request(self.perform(now, wire, tx, outputs), request)
                }
                None => Vec::new(),
            }),
            Dispatch::Unmatched(message) => match *message {
                Message::Response(response) => Err(Box::new(response)),
                Message::Request(_) => Ok(Vec::new()),
            },
            Dispatch::Created { .. } => Ok(Vec::new()),
        }
    }

    /// Ends a transaction of ours whose messages cannot be sent.
    pub(crate) fn fail(&mut self, now: Time, wire: &mut Wire, tx: TxId) -> Vec<Happening> {
        let Some(entry) = self.entries.get(&tx).filter(|entry| entry.role == Role::Client) else {
            return Vec::new();
        };
        let request = self.client.layer.client_request(&entry.key).cloned().map(Box::new);
        let outputs = self.client.layer.on_transport_error(&entry.key);
        let happenings = self.perform(now, wire, tx, outputs);
        self.leave(tx);
        with_request(happenings, request)
    }

    pub(crate) fn timer(&mut self, now: Time, wire: &mut Wire, tx: TxId, timer: Timer) -> Vec<Happening> {
        let Some(entry) = self.entries.get(&tx) else { return Vec::new() };
        let gives_up = entry.role == Role::Client && matches!(timer, Timer::B | Timer::F);
        let request = self.client.layer.client_request(&entry.key).filter(|_| gives_up).cloned();
        let outputs = match entry.role {
            Role::Server => self.server.layer.on_timer(&entry.key, timer),
            Role::Client => self.client.layer.on_timer(&entry.key, timer),
        };
        let again = matches!(timer, Timer::A | Timer::E | Timer::G);
        if again && outputs.iter().any(|o| matches!(o, Output::Send(_))) {
            wire.counters.retransmissions += 1;
        }
        with_request(self.perform(now, wire, tx, outputs), request.map(Box::new))
    }

    fn enter(&mut self, entry: Entry) -> TxId {
        self.begun += 1;
        let tx = TxId(self.begun);
        let half = match entry.role {
            Role::Server => &mut self.server,
            Role::Client => &mut self.client,
        };
        half.ids.insert(entry.key.clone(), tx);
        self.entries.insert(tx, entry);
        tx
    }

    fn perform(&mut self, now: Time, wire: &mut Wire, tx: TxId, outputs: Vec<Output>) -> Vec<Happening> {
        let Some(entry) = self.entries.get(&tx) else { return Vec::new() };
        let (to, role, job) = (entry.to.clone(), entry.role, entry.job);
        let mut happenings = Vec::new();
        let mut over = false;
        for output in outputs {
            match output {
                Output::Send(message) => wire.send(to.clone(), message.to_bytes().to_vec()),
                Output::SetTimer { timer, after } => {
                    wire.schedule.set(now.saturating_add(after), Due::Transaction(tx, timer));
                }
                // A server transaction has nothing new to tell: its request was taken when it began,
                // and a refusal that is never acknowledged changes nothing.
                Output::ToTu(event) if role == Role::Client => {
                    happenings.push(Happening { tx, job, to: to.clone(), request: None, event: *event });
                }
                Output::Terminated(_) => over = true,
                // A timer that rings in a state that does not know it does nothing.
                _ => {}
            }
        }
        if over {
            self.leave(tx);
        }
        happenings
    }

    fn leave(&mut self, tx: TxId) {
        if let Some(entry) = self.entries.remove(&tx) {
            match entry.role {
                Role::Server => self.server.ids.remove(&entry.key),
                Role::Client => self.client.ids.remove(&entry.key),
            };
        }
    }
}

fn with_request(mut happenings: Vec<Happening>, request: Option<Box<Request>>) -> Vec<Happening> {
    if let Some(happening) = happenings.last_mut() {
        happening.request = request;
    }
    happenings
}
