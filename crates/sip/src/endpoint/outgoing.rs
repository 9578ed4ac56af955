//! Requests of ours on their way: sent, sent again with an answer to a challenge, or by another way
//! when the first one fails.

use sipx_sip::{HeaderName, Request, Response, TuEvent};

use super::Endpoint;
use crate::config::Time;
use crate::dialog::State;
use crate::digest::{Asked, Authentication};
use crate::event::{DialogId, Obstacle};
use crate::hop::{Hop, Transport, Way};
use crate::message::{Draft, cseq, text, to_tag};
use crate::registration::Registration;
use crate::transactions::{Errand, Happening, Job, Owner, TxId};

/// Largest request in a datagram, in bytes, where TCP is at hand (RFC 3261 section 18.1.1).
const MAX_PLAIN: usize = 1_300;

/// A request to send once more under a new number.
#[derive(Debug)]
pub(super) struct Again {
    pub(super) to: Hop,
    pub(super) seq: u32,
    pub(super) job: Job,
    /// Lines that replace those of the same name.
    pub(super) lines: Vec<(HeaderName, String)>,
}

impl Endpoint {
    /// Sends a request that is written; by TCP if it is too large for a datagram, and the peer took a connection when that
    /// was tried last.
    pub(super) fn dispatch(&mut self, now: Time, (bytes, to): (Vec<u8>, Hop), job: Job) -> Option<TxId> {
        let large = to.transport == Transport::Udp && bytes.len() > MAX_PLAIN && self.config.tcp;
        let stream = Hop::new(Transport::Tcp, to.address);
        if !large || job.plain || self.avoided.holds(now, &stream) {
            return self.transactions.send(now, &mut self.wire, (bytes, to), job);
        }
        let to = stream;
        let bytes = by_tcp(bytes);
        self.transactions.send(now, &mut self.wire, (bytes, to), Job { switched: true, ..job })
    }

    /// Sends a request again as a new transaction.
    pub(super) fn resend(&mut self, now: Time, request: &Request, again: Again) -> Option<TxId> {
        let Again { to, seq, job, lines } = again;
        let method = request.method.to_string();
        let mut draft = Draft::request(&method, &request.uri.to_bytes());
        draft.line("Via", self.identity.via(to.transport, &self.random.branch()));
        for header in request.headers.iter() {
            let name = header.name();
            let written = matches!(name, HeaderName::Via | HeaderName::CSeq | HeaderName::ContentLength);
            if !written && !lines.iter().any(|(replaced, _)| replaced == name) {
                draft.line(&text(name.canonical()), header.value());
            }
            if *name == HeaderName::CSeq {
                draft.line("CSeq", format!("{seq} {method}"));
            }
        }
        for (name, value) in &lines {
            draft.line(&text(name.canonical()), value);
        }
        // With what it has got it may have become too large for a datagram.
        self.dispatch(now, (draft.finish_raw(request.body()), to), job)
    }

    /// A way is gone: a connection has broken or cannot be opened. What waits for answers on it goes
    /// on by another way or fails, because of the obstacle.
    pub fn unreachable(&mut self, now: Time, hop: &Hop, obstacle: Obstacle) {
        self.obstacle = obstacle;
        self.registrations_cut_off(now, hop);
        for tx in self.transactions.towards(hop) {
            let happenings = self.transactions.fail(now, &mut self.wire, tx);
            self.happened(now, happenings);
        }
    }

    /// A datagram to this address cannot leave this host, or the network says that one did not arrive (RFC 3261 section
    /// 18.4), because of the obstacle. An INVITE and a REGISTER to which nobody has said anything yet go on to the next
    /// target at once, or fail (RFC 3263 section 4.3); so does a request inside a call if its host has another address.
    /// What else belongs to a call that is up is repeated as ever: a peer or a network that is away for a moment ends no
    /// call.
    pub fn undelivered(&mut self, now: Time, hop: &Hop, obstacle: Obstacle) {
        self.obstacle = obstacle;
        for tx in self.transactions.towards(hop) {
            let goes = self.begins_something(tx) || self.has_elsewhere(now, tx);
            if goes && self.transactions.is_unheard(tx) {
                let happenings = self.transactions.fail(now, &mut self.wire, tx);
                self.happened(now, happenings);
            }
        }
    }

    /// Whether a transaction of ours is the INVITE of a call, or a REGISTER.
    fn begins_something(&self, tx: TxId) -> bool {
        self.transactions.job(tx).is_some_and(|job| matches!(job.errand, Errand::Register | Errand::Invite))
    }

    /// Whether a failed request was sent once more: with credentials, or in a datagram after TCP has
    /// been refused.
    pub(super) fn retried(&mut self, now: Time, happening: &Happening) -> bool {
        let Some(request) = happening.request.as_deref() else { return false };
        let mut job = happening.job;
        match &happening.event {
            TuEvent::TransportError | TuEvent::Timeout if job.switched => {
                (job.switched, job.plain) = (false, true);
                self.avoid_stream(now, &happening.to);
                let to = Hop::from(happening.to.address);
                let again = Again { to, seq: self.seq_after(job, request), job, lines: Vec::new() };
                self.again(now, happening.tx, request, again)
            }
            TuEvent::TransportError | TuEvent::Timeout => self.sent_elsewhere(now, happening, request),
            TuEvent::Response(response) if response.status.code() == 503 => {
                self.sent_elsewhere(now, happening, request)
            }
            TuEvent::Response(response) if matches!(response.status.code(), 401 | 407) => {
                let Some(lines) = self.answer_challenge((job, &happening.to), request, response) else {
                    return false;
                };
                job.rounds = job.rounds.saturating_add(1);
                let seq = self.seq_after(job, request);
                let again = Again { to: happening.to.clone(), seq, job, lines };
                self.again(now, happening.tx, request, again)
            }
            _ => false,
        }
    }

    /// Sends again and lets the new transaction stand for the old one.
    pub(super) fn again(&mut self, now: Time, old: TxId, request: &Request, again: Again) -> bool {
        let owner = again.job.owner;
        let Some(new) = self.resend(now, request, again) else { return false };
        self.replace(owner, old, new);
        match owner {
            Owner::Dialog(id) => self.hasten(now, id, new),
            Owner::Registration(id) => self.hasten_registrar(now, id, new),
            Owner::Nobody => {}
        }
        true
    }

    fn answer_challenge(
        &mut self,
        (job, to): (Job, &Hop),
        request: &Request,
        response: &Response,
    ) -> Option<Vec<(HeaderName, String)>> {
        let cnonce = self.random.word();
        let gives_up = self.gives_up(job);
        let auth = self.authentication(job, to).filter(|_| !gives_up)?;
        let begins = matches!(job.errand, Errand::Invite | Errand::Register);
        let asked = Asked { headers: &request.headers, rounds: job.rounds, begins };
        auth.challenged(response, &asked).ok()?;
        Some(auth.lines(&request.method.to_string(), &text(&request.uri.to_bytes()), &cnonce))
    }

    /// Keeps what a response says of the next request's credentials.
    pub(super) fn inform(&mut self, happening: &Happening) {
        if let TuEvent::Response(response) = &happening.event
            && response.status.is_success()
            && let Some(auth) = self.authentication(happening.job, &happening.to)
        {
            auth.informed(response);
        }
    }

    /// Whether the request is of a call that is being cancelled.
    fn gives_up(&self, job: Job) -> bool {
        let Owner::Dialog(id) = job.owner else { return false };
        let state = self.dialogs.by_id.get(&id).map(|dialog| &dialog.state);
        matches!(state, Some(State::Calling(calling)) if calling.is_cancelled())
            && job.errand == Errand::Invite
    }

    fn authentication(&mut self, job: Job, to: &Hop) -> Option<&mut Authentication> {
        match job.owner {
            Owner::Nobody => None,
            Owner::Dialog(id) => {
                let Some(dialog) = self.dialogs.by_id.get_mut(&id) else {
                    return self.bygone.auth_at(id, to).filter(|_| job.errand == Errand::SendAway);
                };
                let refers = job.errand == Errand::Refer && dialog.refers_by_itself();
                if refers { dialog.referral.as_mut()?.auth.as_mut() } else { dialog.auth_at(to) }
            }
            Owner::Registration(id) => self.registrations.get_mut(id)?.auth.as_mut(),
        }
    }

    /// The number of a request that is sent once more.
    fn seq_after(&mut self, job: Job, request: &Request) -> u32 {
        match job.errand {
            // Its dialog is not its owner's.
            Errand::SendAway => cseq(&request.headers).map_or(1, |seq| seq.saturating_add(1)),
            // It is in that of one of the callees that ring.
            Errand::Prack => self.next_early_seq(job, &to_tag(&request.headers)),
            _ => self.next_seq(job.owner),
        }
    }

    /// The number of the next request to the callee with this tag.
    fn next_early_seq(&mut self, job: Job, tag: &[u8]) -> u32 {
        let fork = match self.owner(job).map(|dialog| &mut dialog.state) {
            Some(State::Calling(calling)) => calling.fork(tag),
            _ => None,
        };
        match fork {
            Some(fork) => fork.path.next_seq(),
            None => self.next_seq(job.owner),
        }
    }

    /// The number of the owner's next request.
    pub(super) fn next_seq(&mut self, owner: Owner) -> u32 {
        match owner {
            Owner::Nobody => 1,
            Owner::Dialog(id) => self.dialogs.by_id.get_mut(&id).map_or(1, |dialog| dialog.path.next_seq()),
            Owner::Registration(id) => self.registrations.get_mut(id).map_or(1, Registration::next_seq),
        }
    }

    fn replace(&mut self, owner: Owner, old: TxId, new: TxId) {
        match owner {
            Owner::Nobody | Owner::Registration(_) => {}
            Owner::Dialog(id) => {
                if let Some(dialog) = self.dialogs.by_id.get_mut(&id) {
                    dialog.replace(old, new);
                }
            }
        }
    }

    /// The lines that answer what the dialog's peer has asked before, so that it need not ask again.
    pub(super) fn authorize(&mut self, draft: &mut Draft, id: DialogId, (method, way): (&str, &Way)) {
        let cnonce = self.random.word();
        let addresses = self.foreseen(way);
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        let uri = dialog.path.request_uri();
        let Some(auth) = dialog.auth_towards(&addresses) else { return };
        for (name, value) in auth.lines(method, &text(&uri), &cnonce) {
            draft.line(&text(name.canonical()), value);
        }
    }
}

/// The request with the topmost `Via` of a stream.
fn by_tcp(bytes: Vec<u8>) -> Vec<u8> {
    const VIA: &[u8] = b"\r\nVia: SIP/2.0/UDP ";
    match bytes.windows(VIA.len()).position(|window| window == VIA) {
        Some(at) => {
            let mut bytes = bytes;
            let transport = at + VIA.len() - 4..at + VIA.len() - 1;
            bytes.splice(transport, *b"TCP");
            bytes
        }
        None => bytes,
    }
}
