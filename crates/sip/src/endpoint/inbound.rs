//! Requests as they come in: absorbed, refused without state, or led to their dialog.

use std::net::SocketAddr;

use bytes::Bytes;
use sipx_sip::{HeaderName, Method, Request, TransactionKey};

use super::Endpoint;
use crate::answered::Answer;
use crate::config::{Admission, Time};
use crate::dialog::State;
use crate::digits::info_digit;
use crate::event::{DialogId, EndCause, Fault, Query, SipEvent};
use crate::hop::Hop;
use crate::message::{
    ALLOW, Refusal, SUPPORTED, came_by_sips, content_type, cseq, from_tag, header_list, reason_phrase,
    response, screen, sdp, stamp, to_tag, value,
};
use crate::order::Rejection;

/// Longest text about a fault, in characters.
const MAX_FAULT: usize = 200;

/// A request with what is known of its way.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) request: Request,
    pub(super) key: Option<TransactionKey>,
    pub(super) from: Hop,
    pub(super) reply_to: Hop,
}

impl Endpoint {
    pub(super) fn request(&mut self, now: Time, from: &Hop, request: Request) {
        if let Some(arrival) = self.arrival(from, request) {
            self.arrived(now, arrival);
        }
    }

    /// A request of a source that is not to be heard; whether it was taken all the same.
    pub(super) fn request_silenced(&mut self, now: Time, from: &Hop, request: Request) -> bool {
        let Some(arrival) = self.arrival(from, request) else { return false };
        let belongs = self.belongs(now, &arrival);
        if belongs {
            self.arrived(now, arrival);
        }
        belongs
    }

    fn arrival(&mut self, from: &Hop, mut request: Request) -> Option<Arrival> {
        let Some(reply_to) = stamp(&mut request.headers, from) else {
            self.wire.counters.parse_errors += 1;
            let why = "Missing or malformed Via header field".to_owned();
            self.fault = Some(Fault { source: from.address, code: None, why });
            return None;
        };
        let key = TransactionKey::from_request(&request);
        Some(Arrival { request, key, from: from.clone(), reply_to })
    }

    /// Whether a request is about something that stands: a dialog, a transaction, an account.
    fn belongs(&self, now: Time, arrival: &Arrival) -> bool {
        let Arrival { request, key, from, .. } = arrival;
        let known = |key: &TransactionKey| {
            self.transactions.server(key).is_some() || self.answered.get(key).is_some()
        };
        match request.method {
            // It is never answered.
            Method::Ack => return true,
            Method::Cancel => {
                return TransactionKey::for_cancelled_invite(request).is_some_and(|key| known(&key));
            }
            _ => {}
        }
        key.as_ref().is_some_and(known)
            || self.dialogs.tagged(&to_tag(&request.headers)).is_some_and(|d| d.is_peer(&request.headers))
            || self.registrations.called(now, from, &request.uri).is_some()
    }

    fn arrived(&mut self, now: Time, arrival: Arrival) {
        if arrival.request.method == Method::Ack {
            return self.acknowledged(now, arrival);
        }
        if self.absorb(now, &arrival) {
            return;
        }
        if let Err(refusal) = screen(&arrival.request) {
            return self.refuse(&arrival, &refusal);
        }
        let tag = to_tag(&arrival.request.headers);
        match arrival.request.method {
            Method::Cancel => self.cancelled(now, &arrival),
            _ if !tag.is_empty() => self.inside(now, arrival, &tag),
            Method::Invite => self.invited(now, arrival),
            Method::Options => self.queried(&arrival),
            _ => self.refuse(&arrival, &Refusal::plain(481)),
        }
    }

    /// Whether there is room for one more call.
    pub(super) fn has_room(&self) -> bool {
        self.dialogs.by_id.len() < self.config.max_dialogs
            && self.transactions.len() < self.config.max_transactions
    }

    /// 503 with `Retry-After`.
    pub(super) fn overload(&self) -> Refusal {
        Refusal::with(503, "Retry-After", self.config.retry_after.as_secs().max(1).to_string())
    }

    /// Answers without keeping anything: a copy of the request is refused again, the same way.
    pub(super) fn refuse(&mut self, arrival: &Arrival, refusal: &Refusal) {
        self.asks(arrival);
        self.note_fault(arrival.from.address, refusal);
        self.wire.counters.refused += 1;
        let headers = &arrival.request.headers;
        let tag = self.random.tag_for(&value(headers, &HeaderName::CallId), &from_tag(headers));
        let mut draft = response(&arrival.request, refusal.code, &refusal.reason, &tag);
        for (name, value) in &refusal.headers {
            draft.line(name, value);
        }
        draft.line("Server", &self.identity.product);
        self.wire.send(arrival.reply_to.clone(), draft.finish());
    }

    /// Keeps what is told of a request that nobody can do anything with.
    fn note_fault(&mut self, source: SocketAddr, refusal: &Refusal) {
        let why = match refusal.code {
            400 | 505 if refusal.reason.is_empty() => reason_phrase(refusal.code).to_owned(),
            400 | 505 => refusal.reason.clone(),
            420 => {
                let unknown = refusal.headers.iter().map(|(_, tags)| tags.as_str()).collect::<String>();
                format!("Extensions that are not known: {unknown}").chars().take(MAX_FAULT).collect()
            }
            _ => return,
        };
        self.fault = Some(Fault { source, code: Some(refusal.code), why });
    }

    fn asks(&mut self, arrival: &Arrival) {
        let Arrival { request, from, .. } = arrival;
        let stray =
            matches!(request.method, Method::Invite | Method::Cancel) || !to_tag(&request.headers).is_empty();
        self.query = Some(Query { source: from.address, stray });
    }

    /// Whether this is a copy of a request that was taken before; it gets the same answer.
    fn absorb(&mut self, now: Time, arrival: &Arrival) -> bool {
        let Some(key) = &arrival.key else { return false };
        if let Some(tx) = self.transactions.server(key) {
            self.transactions.absorb(now, &mut self.wire, tx, arrival.request.clone());
        } else if let Some(answer) = self.answered.get(key) {
            if let Answer::Repeat(to, bytes) = answer {
                self.wire.send(to.clone(), bytes.clone());
            }
        } else {
            return false;
        }
        self.wire.counters.absorbed += 1;
        true
    }

    /// ACK ends a refused INVITE's transaction, or the repetition of a 200. It is never answered.
    fn acknowledged(&mut self, now: Time, arrival: Arrival) {
        let Arrival { request, key, .. } = arrival;
        if let Some(tx) = key.as_ref().and_then(|key| self.transactions.server(key)) {
            return self.transactions.absorb(now, &mut self.wire, tx, request);
        }
        // A peer from before RFC 3261 puts the tag of our refusal into its ACK, whereas the key of
        // its INVITE holds the tag that the INVITE had: none.
        if let Some(TransactionKey::Legacy { .. }) = &key
            && let Some(tx) = key.and_then(untagged).and_then(|key| self.transactions.server(&key))
        {
            return self.conclude(now, tx, Answer::Silence);
        }
        let headers = &request.headers;
        let Some(dialog) = self.dialogs.tagged(&to_tag(headers)).filter(|d| d.is_peer(headers)) else {
            return;
        };
        let waits = dialog.unacked.as_ref().map(|unacked| unacked.seq);
        if waits.is_some() && waits == cseq(headers) {
            let (id, sdp) = (dialog.id, sdp(headers, request.body()));
            self.acked(now, id, sdp);
        }
    }

    fn cancelled(&mut self, now: Time, arrival: &Arrival) {
        let key = TransactionKey::for_cancelled_invite(&arrival.request);
        let tx = key.as_ref().and_then(|key| self.transactions.server(key));
        let answered = key.as_ref().is_some_and(|key| self.answered.get(key).is_some());
        if tx.is_none() && !answered {
            return self.refuse(arrival, &Refusal::plain(481));
        }
        let id = tx.and_then(|tx| self.transactions.dialog(tx));
        let dialog = id.and_then(|id| self.dialogs.by_id.get_mut(&id));
        let headers = &arrival.request.headers;
        let tag = match &dialog {
            Some(dialog) => dialog.path.local_tag.clone(),
            None => self.random.tag_for(&value(headers, &HeaderName::CallId), &from_tag(headers)),
        };
        let mut draft = response(&arrival.request, 200, "", &tag);
        draft.line("Server", &self.identity.agent);
        self.wire.send(arrival.reply_to.clone(), draft.finish());
        // After the final answer a CANCEL has no effect (RFC 3261 section 9.2).
        let (Some(tx), Some(dialog)) = (tx, dialog) else { return };
        if dialog.reoffer.as_ref().is_some_and(|reoffer| reoffer.tx == tx) {
            dialog.reoffer = None;
            self.refuse_invite(now, tx, &tag, &Rejection::new(487));
        } else if matches!(&dialog.state, State::Invited { tx: invited, .. } if *invited == tx) {
            let id = dialog.id;
            self.refuse_invite(now, tx, &tag, &Rejection::new(487));
            self.forget_dialog(id);
            self.wire.tell(SipEvent::Canceled { dialog: id, headers: header_list(headers) });
        }
    }

    /// OPTIONS outside a dialog: trunks ask by it whether we live and take calls.
    fn queried(&mut self, arrival: &Arrival) {
        self.asks(arrival);
        if self.admission == Admission::Refusing || !self.has_room() {
            let overload = self.overload();
            return self.refuse(arrival, &overload);
        }
        let headers = &arrival.request.headers;
        let tag = self.random.tag_for(&value(headers, &HeaderName::CallId), &from_tag(headers));
        let bytes = self.capabilities(arrival, &tag);
        self.wire.send(arrival.reply_to.clone(), bytes);
    }

    /// 200 to OPTIONS.
    fn capabilities(&self, arrival: &Arrival, tag: &str) -> Vec<u8> {
        let mut draft = response(&arrival.request, 200, "", tag);
        draft.line("Allow", ALLOW);
        draft.line("Accept", "application/sdp");
        draft.line("Supported", SUPPORTED.join(", "));
        let sips = came_by_sips(&arrival.request);
        draft.line("Contact", self.identity.contact(arrival.reply_to.transport, sips));
        draft.line("Server", &self.identity.product);
        draft.finish()
    }

    /// A request inside a dialog.
    fn inside(&mut self, now: Time, arrival: Arrival, tag: &[u8]) {
        let headers = &arrival.request.headers;
        let found = self.dialogs.tagged(tag).filter(|dialog| dialog.is_peer(headers)).map(|d| d.id);
        let seq = cseq(headers);
        let Some(dialog) = found.and_then(|id| self.dialogs.by_id.get_mut(&id)) else {
            let stray = self.confirmed_late(now, arrival, tag);
            return stray.map_or((), |arrival| self.refuse(&arrival, &Refusal::plain(481)));
        };
        let (calling, fork) = match &mut dialog.state {
            State::Calling(calling) => (true, calling.fork(&from_tag(headers))),
            _ => (false, None),
        };
        let last = fork.map_or(&mut dialog.remote_seq, |fork| &mut fork.remote_seq);
        if seq < *last {
            return self.refuse(&arrival, &Refusal::plain(500));
        }
        *last = seq;
        // Where one who is called is says nothing of the one that answers.
        if !calling {
            dialog.path.peer = arrival.from.clone();
        }
        let id = dialog.id;
        // Of a dialog whose end has been told nothing more is, though a BYE is answered.
        let told = matches!(dialog.state, State::Ending { cause: None });
        let left =
            matches!(dialog.state, State::Left { .. }) || told && arrival.request.method != Method::Bye;
        match arrival.request.method {
            Method::Notify => self.notified(now, id, arrival),
            _ if left => self.refuse(&arrival, &Refusal::plain(481)),
            Method::Bye => self.bye_received(now, id, arrival),
            Method::Prack => self.prack_received(now, id, arrival),
            Method::Refer => self.referred(now, id, arrival),
            Method::Info => self.info_received(now, id, arrival),
            Method::Invite | Method::Update => self.reoffered(now, id, arrival),
            _ => {
                let tag = self.local_tag(id);
                let bytes = self.capabilities(&arrival, &tag);
                self.accept(now, arrival, bytes);
            }
        }
    }

    fn bye_received(&mut self, now: Time, id: DialogId, arrival: Arrival) {
        let state = self.dialogs.by_id.get(&id).map(|dialog| &dialog.state);
        let invited = match state {
            Some(State::Calling(_) | State::Left { .. }) | None => {
                return self.refuse(&arrival, &Refusal::plain(481));
            }
            Some(State::Invited { tx, .. }) => Some(*tx),
            Some(State::Up { .. } | State::Ending { .. }) => None,
        };
        let headers = header_list(&arrival.request.headers);
        let tag = self.local_tag(id);
        // What the peer has asked before is answered as well (RFC 3261 section 15.1.2).
        let _ = self.answer_refer(now, id, Err(487));
        let bytes = response(&arrival.request, 200, "", &tag).finish();
        self.accept(now, arrival, bytes);
        if let Some(tx) = invited {
            self.refuse_invite(now, tx, &tag, &Rejection::new(487));
        }
        self.drop_reoffer(now, id);
        if let Some(headers) = self.leave_open(now, id, headers) {
            self.end(id, headers, EndCause::Bye);
        }
    }

    fn info_received(&mut self, now: Time, id: DialogId, arrival: Arrival) {
        let (content_type, body) = (content_type(&arrival.request.headers), arrival.request.body().to_vec());
        // Of the packages (RFC 6086 section 4.2.2) we have none, but digits are digits whatever they are called.
        let packaged =
            arrival.request.headers.get(&HeaderName::parse(&Bytes::from_static(b"Info-Package"))).is_some();
        if packaged && info_digit(&content_type, &body).is_none() {
            return self.refuse(&arrival, &Refusal::with(469, "Recv-Info", ""));
        }
        let bytes = response(&arrival.request, 200, "", &self.local_tag(id)).finish();
        self.accept(now, arrival, bytes);
        self.wire.tell(SipEvent::Info { dialog: id, content_type, body });
    }

    /// Sends the final answer of a request that was taken at once; its copies get it again.
    pub(super) fn accept(&mut self, now: Time, arrival: Arrival, bytes: Vec<u8>) {
        self.wire.send(arrival.reply_to.clone(), bytes.clone());
        if let Some(key) = arrival.key {
            self.remember(now, key, Answer::Repeat(arrival.reply_to, bytes));
        }
    }

    pub(super) fn local_tag(&self, id: DialogId) -> String {
        self.dialogs.by_id.get(&id).map(|dialog| dialog.path.local_tag.clone()).unwrap_or_default()
    }
}

/// The key of a legacy INVITE whose ACK has this key.
fn untagged(key: TransactionKey) -> Option<TransactionKey> {
    match key {
        TransactionKey::Legacy { request_uri, top_via, from_tag, call_id, cseq, method, .. } => {
            let to_tag = Vec::new();
            Some(TransactionKey::Legacy { request_uri, top_via, from_tag, to_tag, call_id, cseq, method })
        }
        TransactionKey::Rfc3261 { .. } => None,
    }
}
