//! The whole of SIP for one address: `receive`, `handle_timeout`, `poll`, `timeout`, and the verbs.
//!
//! This file holds what is common; `inbound` takes requests, `callee` and `caller` are the two sides
//! of an INVITE, `reoffer` is new media inside a dialog.

mod bygone;
mod callee;
mod caller;
mod cancel;
mod failover;
mod inbound;
mod inside;
mod names;
mod offer;
mod outgoing;
mod parting;
mod register;
mod reliable;
mod reoffer;
mod session;
mod transfer;

use bygone::Bygone;
use bytes::Bytes;
use failover::Avoided;
use names::Names;
use reliable::Outstanding;
pub(crate) use session::Refreshing;
use sipx_sip::{Limits, Message, Timers, TransactionKey, TuEvent, parse_datagram};
pub(crate) use transfer::Waiting;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::answered::{Answer, Answered};
use crate::config::{Admission, Config, Time};
use crate::dialog::{Calling, Cancel, Dialog, State};
use crate::event::{Counters, DialogId, EndCause, Fault, HeaderList, Obstacle, Output, Query, SipEvent};
use crate::hop::{ConnectionId, Hop};
use crate::message::{Extra, Identity, MAX_MESSAGE, Unread, check_extra, is_sip, raw_refusal, response};
use crate::order::{Rejection, SipError};
use crate::path::Path;
use crate::random::Random;
use crate::registration::Registrations;
use crate::schedule::{Chore, Due};
use crate::transactions::{Errand, Happening, Job, Owner, Transactions, TxId};
use crate::wire::Wire;

/// Longest time that an INVITE stays unanswered, in either direction: what a proxy between would
/// wait (timer C of RFC 3261 section 16.6).
const RINGING: Time = Time::from_secs(180);

/// A SIP endpoint: every transaction and dialog of one address.
///
/// After each call drain [`poll`](Self::poll) to `None`; then wait until [`timeout`](Self::timeout)
/// or the next datagram.
///
/// ```
/// use std::time::Duration;
/// use sip::{Config, Endpoint, Output, SipEvent};
///
/// let mut endpoint = Endpoint::new(Config::new("192.0.2.2:5060".parse()?, [7; 32]));
/// let now = Duration::ZERO;
/// let peer: std::net::SocketAddr = "192.0.2.1:5060".parse()?;
/// endpoint.receive(now, peer, b"OPTIONS sip:us SIP/2.0\r\n\
///     Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1\r\nFrom: <sip:a@192.0.2.1>;tag=1\r\n\
///     To: <sip:us@192.0.2.2>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n");
/// while let Some(output) = endpoint.poll() {
///     match output {
///         Output::Send { to, bytes } => assert!(bytes.starts_with(b"SIP/2.0 200 OK"), "to {to}"),
///         Output::Event(SipEvent::Invited { dialog, .. }) => endpoint.ring(now, dialog, None)?,
///         Output::Event(_) | Output::Registration { .. } | Output::Locate { .. } => {}
///     }
/// }
/// assert_eq!(endpoint.timeout(), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Endpoint {
    config: Config,
    identity: Identity,
    random: Random,
    admission: Admission,
    wire: Wire,
    transactions: Transactions,
    answered: Answered,
    dialogs: Dialogs,
    registrations: Registrations,
    avoided: Avoided,
    names: Names,
    outstanding: Outstanding,
    bygone: Bygone,
    /// Why the way was gone that was lost last.
    obstacle: Obstacle,
    /// What the last message asked.
    query: Option<Query>,
    /// What was wrong with it.
    fault: Option<Fault>,
}

/// The dialogs, by id and by what the peers know of them.
#[derive(Debug, Default)]
struct Dialogs {
    by_id: HashMap<DialogId, Dialog>,
    by_local_tag: HashMap<String, DialogId>,
    by_origin: HashMap<Origin, DialogId>,
    begun: u64,
}

/// What two copies of one INVITE share that came on two ways (RFC 3261 section 8.2.2.2).
#[derive(Debug, PartialEq, Eq, Hash)]
struct Origin {
    call_id: Vec<u8>,
    from_tag: Vec<u8>,
    seq: u32,
}

impl Endpoint {
    /// An endpoint without any call.
    pub fn new(mut config: Config) -> Self {
        // With a distance of nothing between two retransmissions no time would ever pass.
        config.t1 = config.t1.max(Time::from_millis(1));
        config.t2 = config.t2.max(config.t1);
        let timers = Timers { t1: config.t1, t2: config.t2, t4: config.t4 };
        Self {
            identity: Identity::new(&config),
            random: Random::new(config.seed),
            admission: Admission::Open,
            wire: Wire::default(),
            transactions: Transactions::new(timers),
            answered: Answered::new(config.max_transactions.saturating_mul(4)),
            dialogs: Dialogs::default(),
            registrations: Registrations::default(),
            avoided: Avoided::default(),
            names: Names::default(),
            outstanding: Outstanding::default(),
            bygone: Bygone::default(),
            obstacle: Obstacle::NoWay,
            query: None,
            fault: None,
            config,
        }
    }

    /// Takes one datagram as it came from the network, or one message as it was cut from a stream. Whether it was a
    /// message.
    pub fn receive(&mut self, now: Time, from: impl Into<Hop>, datagram: &[u8]) -> bool {
        self.take(now, &from.into(), datagram)
    }

    /// The same from a source that is not to be heard: what would begin something is dropped without an answer. What
    /// belongs to a dialog, to a transaction or to an account that is registered there is taken as ever, because who
    /// floods may share the address of a good peer, or forge it. Whether the message was taken.
    pub fn receive_silenced(&mut self, now: Time, from: impl Into<Hop>, datagram: &[u8]) -> bool {
        let from = from.into();
        match self.read(now, &from, datagram) {
            Ok(Message::Request(request)) => self.request_silenced(now, &from, request),
            Ok(Message::Response(response)) => {
                self.response(now, &from, response);
                true
            }
            Err(_) => false,
        }
    }

    /// What the message that was received last asked that belongs to nothing, once.
    pub fn take_query(&mut self) -> Option<Query> {
        self.query.take()
    }

    /// What was wrong with the message that was received last, if nobody can do anything with it, once.
    pub fn take_fault(&mut self) -> Option<Fault> {
        self.fault.take()
    }

    /// Whether a call is up with this address, or an account is registered there.
    pub fn deals_with(&self, now: Time, source: IpAddr) -> bool {
        let source = source.to_canonical();
        let called = |dialog: &Dialog| dialog.path.peer.address.ip().to_canonical() == source;
        self.registrations.is_held_at(now, source) || self.dialogs.by_id.values().any(called)
    }

    fn take(&mut self, now: Time, from: &Hop, datagram: &[u8]) -> bool {
        (self.query, self.fault) = (None, None);
        match self.read(now, from, datagram) {
            Ok(Message::Request(request)) => self.request(now, from, request),
            Ok(Message::Response(response)) => self.response(now, from, response),
            Err(Unread::Idle) => return false,
            Err(unread) => {
                self.unreadable(from, datagram, &unread);
                return false;
            }
        }
        true
    }

    /// The connections on which a call or an account is reached.
    pub fn connections(&self) -> HashSet<ConnectionId> {
        let dialogs = self.dialogs.by_id.values().filter_map(|dialog| dialog.path.peer.connection);
        dialogs.chain(self.registrations.connections()).collect()
    }

    /// Counts and parses.
    fn read(&mut self, now: Time, from: &Hop, datagram: &[u8]) -> Result<Message, Unread> {
        self.wire.counters.received += 1;
        self.answered.expire(now);
        if is_keep_alive(datagram) || from.address.port() == 0 {
            return Err(Unread::Idle);
        }
        if datagram.len() > MAX_MESSAGE {
            return Err(Unread::TooLong);
        }
        let limits = Limits { max_message_bytes: MAX_MESSAGE, ..Limits::datagram() };
        // The parsed message keeps the whole buffer alive, so it gets one of exactly its size.
        parse_datagram(Bytes::copy_from_slice(datagram), &limits).map_err(Unread::Broken)
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Time) {
        self.answered.expire(now);
        while let Some(due) = self.wire.schedule.pop(now) {
            match due {
                Due::Transaction(tx, timer) => {
                    let happenings = self.transactions.timer(now, &mut self.wire, tx, timer);
                    self.happened(now, happenings);
                }
                Due::Dialog(dialog, chore) => self.chore(now, dialog, chore),
                Due::Registration(id, alarm) => self.register_due(now, id, alarm),
                Due::KeepAlive(id, alarm) => self.keep_alive(now, id, alarm),
                Due::Registrar(id, tx) => self.registrar_silent(now, id, tx),
                Due::Name(number) => self.not_located(now, number),
                Due::Others(id) => self.no_others(id),
            }
        }
        self.sweep_schedule();
    }

    /// The next thing to send or to tell, until `None`.
    pub fn poll(&mut self) -> Option<Output> {
        self.wire.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called next.
    pub fn timeout(&self) -> Option<Time> {
        // Answers are forgotten in batches, a second late, or each would wake the driver.
        let forget = self.answered.next().map(|at| at.saturating_add(Time::from_secs(1)));
        [self.wire.schedule.next(), forget].into_iter().flatten().min()
    }

    /// Opens or closes the door for new calls.
    pub fn set_admission(&mut self, admission: Admission) {
        self.admission = admission;
    }

    /// What has been counted.
    pub fn counters(&self) -> Counters {
        Counters {
            transactions: self.transactions.len().saturating_add(self.answered.len()),
            dialogs: self.dialogs.by_id.len(),
            dialogs_total: self.dialogs.begun,
            ..self.wire.counters
        }
    }

    /// Every dialog that has not ended.
    pub fn dialogs(&self) -> impl Iterator<Item = DialogId> {
        self.dialogs.by_id.keys().copied()
    }

    /// The `Call-ID` of a dialog that has not ended, as its messages have it.
    pub fn call_id(&self, dialog: DialogId) -> Option<String> {
        let dialog = self.dialogs.by_id.get(&dialog)?;
        Some(String::from_utf8_lossy(&dialog.path.call_id).into_owned())
    }

    /// Ends an answered call; `Ended` follows when the peer has answered or is given up. Before the
    /// ACK of our 200 the BYE waits for it (RFC 3261 section 15).
    ///
    /// # Errors
    /// [`SipError::WrongState`] before the answer and after the end; [`SipError::BadHeader`].
    pub fn bye(&mut self, now: Time, dialog: DialogId, headers: &Extra) -> Result<(), SipError> {
        check_extra(headers)?;
        let found = self.dialog(dialog)?;
        let waits = found.unacked.as_ref().is_some_and(|unacked| unacked.first);
        match &mut found.state {
            State::Up { bye: bye @ None } if waits => *bye = Some(headers.to_vec()),
            State::Up { bye: None } => self.send_bye(now, dialog, headers, EndCause::LocalBye),
            _ => return Err(wrong(found, "send BYE")),
        }
        Ok(())
    }

    /// Ends the dialog by what its state calls for: `reject` with 480, `cancel` or `bye`. Does
    /// nothing in a dialog that is ending already. Of the headers a CANCEL carries `Reason` (RFC 3326).
    ///
    /// # Errors
    /// [`SipError::NoSuchDialog`], [`SipError::BadHeader`].
    pub fn hangup(&mut self, now: Time, dialog: DialogId, headers: &Extra) -> Result<(), SipError> {
        match &self.dialog(dialog)?.state {
            State::Invited { .. } => {
                let rejection = Rejection { headers: headers.to_vec(), ..Rejection::new(480) };
                self.reject(now, dialog, &rejection)
            }
            State::Calling(Calling { cancel: Cancel::No, .. }) => self.cancel_because(now, dialog, headers),
            State::Up { bye: None } => self.bye(now, dialog, headers),
            State::Left { .. } => {
                self.part(dialog);
                Ok(())
            }
            State::Calling(_) | State::Up { .. } | State::Ending { .. } => Ok(()),
        }
    }

    fn dialog(&mut self, dialog: DialogId) -> Result<&mut Dialog, SipError> {
        self.dialogs.by_id.get_mut(&dialog).ok_or(SipError::NoSuchDialog(dialog))
    }

    /// BYE now, whatever waits in the dialog.
    fn send_bye(&mut self, now: Time, dialog: DialogId, headers: &Extra, cause: EndCause) {
        self.drop_reoffer(now, dialog);
        let branch = self.random.branch();
        let Some(found) = self.dialogs.by_id.get_mut(&dialog) else { return };
        found.unacked = None;
        found.state = State::Ending { cause: Some(cause) };
        let (mut draft, way) = found.path.request("BYE", &self.identity, &branch);
        draft.extra(headers);
        self.authorize(&mut draft, dialog, ("BYE", &way));
        if !self.send_inside(now, (draft.finish(), way), Job::of(dialog, Errand::Bye)) {
            self.end(dialog, Vec::new(), cause);
        }
    }

    /// Forgets a dialog, and an offer of the peer in it that nobody will answer; whether there was one.
    fn forget_dialog(&mut self, dialog: DialogId) -> bool {
        let Some(mut dialog) = self.dialogs.remove(dialog) else { return false };
        self.outstanding.keep(&dialog);
        self.bygone.keep(&mut dialog);
        if let Some(reoffer) = &dialog.reoffer {
            self.transactions.forget(reoffer.tx);
        }
        true
    }

    /// Forgets a dialog and tells why, unless its end has been told.
    fn end(&mut self, dialog: DialogId, headers: HeaderList, cause: EndCause) {
        let state = self.dialogs.by_id.get(&dialog).map(|dialog| &dialog.state);
        let told = matches!(state, Some(State::Ending { cause: None }));
        if self.forget_dialog(dialog) && !told {
            self.wire.tell(SipEvent::Ended { dialog, headers, cause });
        }
    }

    fn unreadable(&mut self, from: &Hop, datagram: &[u8], unread: &Unread) {
        self.wire.counters.parse_errors += 1;
        let head = datagram.get(..MAX_MESSAGE).unwrap_or(datagram);
        let (code, why) = (unread.code(), unread.phrase());
        let tag = self.random.tag_for(&from.address.to_string().into_bytes(), b"");
        let refusal = raw_refusal(head, from, (code, &why), &tag);
        // What is no SIP at all comes from those who try every port.
        if is_sip(head) {
            let code = refusal.as_ref().map(|_| code);
            self.fault = Some(Fault { source: from.address, code, why });
        }
        if let Some((to, bytes)) = refusal {
            self.wire.counters.refused += 1;
            self.wire.send(to, bytes);
        }
    }

    /// Ends a server transaction with this answer; copies of its request get it again.
    fn conclude(&mut self, now: Time, tx: TxId, answer: Answer) {
        if let Some(key) = self.transactions.forget(tx) {
            self.remember(now, key, answer);
        }
    }

    fn remember(&mut self, now: Time, key: TransactionKey, answer: Answer) {
        self.answered.remember(now.saturating_add(self.config.patience()), key, answer);
    }

    /// Refuses an INVITE that has a transaction; it repeats the response until the ACK comes.
    fn refuse_invite(&mut self, now: Time, tx: TxId, tag: &str, refusal: &Rejection) {
        let Some((request, to)) = self.transactions.request(tx) else { return };
        let mut draft = response(request, refusal.code, &refusal.reason, tag);
        draft.extra(&refusal.headers);
        draft.line("Server", &self.identity.product);
        let sent = self.transactions.respond(now, &mut self.wire, tx, draft.finish());
        if let Err(bytes) = sent {
            // Without its state machine it is sent once, and again for every copy of the INVITE.
            self.wire.send(to.clone(), bytes.clone());
            self.conclude(now, tx, Answer::Repeat(to, bytes));
        }
    }

    fn happened(&mut self, now: Time, happenings: Vec<Happening>) {
        for happening in happenings {
            self.inform(&happening);
            if !self.retried(now, &happening) {
                self.client_happened(now, &happening);
            }
        }
    }

    /// What a request of ours came to.
    fn client_happened(&mut self, now: Time, happening: &Happening) {
        let over = match &happening.event {
            TuEvent::Response(response) => response.status.is_final(),
            _ => true,
        };
        if let Owner::Registration(id) = happening.job.owner {
            return self.register_happened(now, id, happening);
        }
        self.told(now, happening, over);
    }

    /// What a request of a dialog came to.
    fn told(&mut self, now: Time, happening: &Happening, over: bool) {
        let id = match happening.job.owner {
            Owner::Dialog(id) => id,
            Owner::Nobody | Owner::Registration(_) => return,
        };
        match happening.job.errand {
            Errand::Invite => self.invite_happened(now, happening),
            Errand::Request => self.request_happened(now, happening),
            Errand::Reoffer => self.offer_happened(now, id, happening),
            Errand::Refresh => self.refresh_happened(now, id, happening),
            Errand::Refer => self.refer_happened(now, id, happening),
            Errand::Bye if over => self.bye_over(id),
            // CANCEL is only a wish: what counts is the final response to its INVITE. Without PRACK
            // the callee gives up by itself, and who does not want a NOTIFY need not have it.
            Errand::Notify if over => self.notify_over(id, happening),
            Errand::Bye | Errand::SendAway | Errand::Cancel | Errand::Prack | Errand::Notify => {}
            Errand::Register | Errand::Ack(_) => {}
        }
    }

    fn chore(&mut self, now: Time, dialog: DialogId, chore: Chore) {
        match chore {
            Chore::RepeatAnswer(seq) => self.repeat_answer(now, dialog, seq),
            Chore::GiveUpRinging => self.give_up_ringing(now, dialog),
            Chore::GiveUpReoffer(seq) => self.give_up_reoffer(now, dialog, seq),
            Chore::GiveUpCancel => self.give_up_cancel(dialog),
            Chore::RepeatEarly(number) => self.repeat_early(now, dialog, number),
            Chore::Session(alarm) => self.session_due(now, dialog, alarm),
            Chore::OfferAgain(number) => self.offer_again(now, dialog, number),
            Chore::GiveUpTransfer(seq) => self.give_up_transfer(dialog, seq),
            Chore::GiveUpReferred(seq) => self.give_up_referred(now, dialog, seq),
            Chore::GiveUpLeft => self.give_up_left(dialog),
            Chore::GiveUpOffer(seq) => self.give_up_offer(now, dialog, seq),
            Chore::TryNext(tx) => self.try_next(now, dialog, tx),
            Chore::Expire => self.expire(now, dialog),
        }
    }

    /// Alarms of what has ended stay until their time; this keeps their number near that of what
    /// lives, each of which has a handful at most.
    fn sweep_schedule(&mut self) {
        let living = self.transactions.len().saturating_add(self.dialogs.by_id.len());
        let slack = if living == 0 { 0 } else { living.saturating_mul(8).saturating_add(4_096) };
        if self.wire.schedule.len() > slack {
            let (transactions, dialogs) = (&self.transactions, &self.dialogs);
            let (registrations, names) = (&self.registrations, &self.names);
            let others = |id| self.bygone.holds(id) || dialogs.by_id.get(&id).is_some_and(|d| d.may_fork);
            self.wire.schedule.retain(|due| match due {
                Due::Transaction(tx, _) | Due::Registrar(_, tx) => transactions.contains(*tx),
                Due::Dialog(dialog, chore) => dialogs.by_id.get(dialog).is_some_and(|d| d.awaits(*chore)),
                Due::Registration(id, alarm) | Due::KeepAlive(id, alarm) => {
                    registrations.get(*id).is_some_and(|r| r.alarm == *alarm)
                }
                Due::Name(number) => names.awaits(*number),
                Due::Others(id) => others(*id),
            });
        }
    }
}

impl Dialogs {
    fn next_id(&mut self) -> DialogId {
        self.begun += 1;
        DialogId(self.begun)
    }

    fn insert(&mut self, dialog: Dialog) {
        if let Some(origin) = Origin::of(&dialog) {
            self.by_origin.insert(origin, dialog.id);
        }
        self.by_local_tag.insert(dialog.path.local_tag.clone(), dialog.id);
        self.by_id.insert(dialog.id, dialog);
    }

    fn remove(&mut self, id: DialogId) -> Option<Dialog> {
        let dialog = self.by_id.remove(&id)?;
        self.by_local_tag.remove(&dialog.path.local_tag);
        if let Some(origin) = Origin::of(&dialog) {
            self.by_origin.remove(&origin);
        }
        Some(dialog)
    }

    /// The dialog whose local end has this tag.
    fn tagged(&self, tag: &[u8]) -> Option<&Dialog> {
        let id = self.by_local_tag.get(std::str::from_utf8(tag).ok()?)?;
        self.by_id.get(id)
    }
}

impl Origin {
    fn of(dialog: &Dialog) -> Option<Self> {
        let seq = dialog.invited_seq?;
        let Path { call_id, remote_tag, .. } = &dialog.path;
        Some(Self { call_id: call_id.clone(), from_tag: remote_tag.clone(), seq })
    }
}

fn is_keep_alive(datagram: &[u8]) -> bool {
    datagram.iter().all(|b| matches!(b, b'\r' | b'\n' | 0))
}

fn wrong(dialog: &Dialog, verb: &'static str) -> SipError {
    SipError::WrongState { dialog: dialog.id, verb, state: dialog.state.name() }
}
