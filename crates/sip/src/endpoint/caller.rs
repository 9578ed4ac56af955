//! We call: the INVITE, its responses from one callee or several, and the ACK (RFC 3261 section 13.2).
//! Giving it up is in `cancel`.

use bytes::Bytes;
use sipx_sip::headers::address::ContactValue;
use sipx_sip::{
    Address, CSeq, HeaderName, Headers, Method, Response, Scheme, TransactionKey, TuEvent, Uri, rel,
    validate_response,
};

use super::outgoing::Again;
use super::{Endpoint, wrong};
use crate::config::Time;
use crate::dialog::{Calling, Dialog, Fork, Shown, State};
use crate::digest::Authentication;
use crate::event::{DialogId, EndCause, Failure, SipEvent};
use crate::hop::{Hop, Transport};
use crate::message::{
    ALLOW, Draft, SUPPORTED, asks_by_sips, check_extra, from_tag, header_list, says_sips, sdp, text, to_tag,
    value,
};
use crate::order::{Outbound, SipError};
use crate::path::Path;
use crate::schedule::Chore;
use crate::transactions::{Errand, Happening, Job, Owner, TxId};
use crate::uris::{goal, has_maddr, without_way};

/// Most callees of one call that are told apart; the events of further ones still come.
const MAX_FORKS: usize = 16;
/// Most URIs of a redirection that are told, and the longest.
const MAX_REDIRECTIONS: usize = 8;
const MAX_REDIRECTION: usize = 512;
/// Longest URI of a `Referred-By` that is passed on.
const MAX_REFERRER: usize = 512;

impl Endpoint {
    /// Places a call.
    ///
    /// # Errors
    /// [`SipError::BadUri`], [`SipError::BadHeader`], [`SipError::NoTarget`], [`SipError::TooLarge`];
    /// [`SipError::Full`] if there is no room.
    pub fn invite(&mut self, now: Time, call: &Outbound) -> Result<DialogId, SipError> {
        check_extra(&call.headers)?;
        if !self.has_room() {
            return Err(SipError::Full);
        }
        let mut targets = self.avoided.last(now, &call.targets);
        let target = targets.pop_front().ok_or(SipError::NoTarget)?;
        let bytes = self.write_invite(call, target.transport)?;
        let id = self.dialogs.next_id();
        let tx = self.dispatch(now, (bytes, target.clone()), Job::of(id, Errand::Invite));
        let tx = tx.ok_or_else(|| SipError::BadUri(call.to.clone()))?;
        let Some((request, _)) = self.transactions.request(tx) else { return Err(SipError::Full) };
        let mut dialog = Dialog::from_call(id, request, target);
        dialog.auth = call.credentials.clone().map(Authentication::new);
        dialog.offerless = call.sdp.is_none();
        dialog.local_sdp.clone_from(&call.sdp);
        dialog.state = State::Calling(Calling::new(tx, targets));
        self.dialogs.insert(dialog);
        self.wire.remind(now.saturating_add(call.patience), id, Chore::GiveUpRinging);
        self.hasten(now, id, tx);
        Ok(id)
    }

    fn write_invite(&mut self, call: &Outbound, transport: Transport) -> Result<Vec<u8>, SipError> {
        let (to, from) = (callable(&call.to)?, callable(&call.from)?);
        let call_id = match &call.call_id {
            Some(id) if id.is_empty() || id.len() > 256 || !id.bytes().all(|b| b.is_ascii_graphic()) => {
                let why = "1 to 256 printable characters without spaces";
                return Err(SipError::BadHeader { name: "Call-ID".to_owned(), why });
            }
            Some(id) => id.clone(),
            None => self.random.word(),
        };
        let first = call.proxy.as_ref().or(call.route.first());
        let sips = [Some(&call.to), first].into_iter().flatten().any(|uri| says_sips(uri));
        let mut draft = Draft::request("INVITE", &to);
        draft.line("Via", self.identity.via(transport, &self.random.branch()));
        if let Some(proxy) = &call.proxy {
            draft.line("Route", loose(&callable(proxy)?));
        }
        for hop in &call.route {
            draft.line("Route", loose(&callable(hop)?));
        }
        let name = call.display_name.as_deref().map(quoted).unwrap_or_default();
        let tag = self.random.word();
        let (named, from) = (without_way(&to), without_way(&from));
        draft.line("From", [name.as_bytes(), b"<", &from[..], b">;tag=", tag.as_bytes()].concat());
        draft.line("To", [b"<", &named[..], b">"].concat());
        draft.line("Call-ID", call_id);
        draft.line("CSeq", "1 INVITE");
        draft.line("Contact", self.identity.contact(transport, sips));
        draft.line("Max-Forwards", "70");
        draft.line("Allow", ALLOW);
        if let Some(replaces) = &call.replaces {
            draft.line("Replaces", replaces);
            draft.line("Require", "replaces");
        }
        if let Some(by) = call.referred_by.as_deref().and_then(referrer) {
            draft.line("Referred-By", by);
        }
        // An offer in a reliable provisional response would have to be answered in its PRACK.
        let reliable = |tag: &&str| call.sdp.is_some() || *tag != rel::OPTION_TAG;
        let supported: Vec<&str> = SUPPORTED.iter().copied().filter(reliable).collect();
        draft.line("Supported", supported.join(", "));
        self.session_lines(&mut draft, None);
        draft.line("User-Agent", &self.identity.agent);
        draft.extra(&call.headers);
        draft.finish_with(call.sdp.as_deref())
    }

    /// Answers the offer that the peer made in its 200 because our INVITE had none, the first or a later one.
    ///
    /// # Errors
    /// [`SipError::WrongState`] if no such offer waits; [`SipError::TooLarge`].
    pub fn acknowledge(&mut self, now: Time, dialog: DialogId, sdp: &str) -> Result<(), SipError> {
        let found = self.dialog(dialog)?;
        let Some(seq) = found.owed_ack else { return Err(wrong(found, "acknowledge")) };
        self.write_ack(now, dialog, (seq, Some(sdp)))?;
        if let Ok(found) = self.dialog(dialog) {
            found.owed_ack = None;
            found.local_sdp = Some(sdp.to_owned());
        }
        self.offer_wanted(now, dialog);
        Ok(())
    }

    /// A response from the network.
    pub(super) fn response(&mut self, now: Time, from: &Hop, response: Response) {
        // More than one Via: it was meant for someone else (RFC 3261 section 8.1.3.3).
        let foreign = response.headers.typed_all::<sipx_sip::Via>().count() != 1;
        if foreign || !validate_response(&response).is_empty() {
            self.wire.counters.stray_responses += 1;
            return;
        }
        self.avoided.remove(from);
        match self.transactions.response(now, &mut self.wire, response) {
            Ok(happenings) => {
                self.stay(from, &happenings);
                self.happened(now, happenings);
            }
            Err(response) => self.late_response(now, from, &response),
        }
    }

    /// Further requests of a dialog go over the connection that brought the response.
    fn stay(&mut self, from: &Hop, happenings: &[Happening]) {
        for happening in happenings {
            if let Owner::Registration(id) = happening.job.owner
                && let Some(registration) = self.registrations.get_mut(id)
            {
                registration.flow = Some(from.clone());
            }
        }
        for happening in happenings.iter().filter(|_| from.transport.is_stream()) {
            let fits = happening.to.transport == from.transport && happening.job.errand != Errand::SendAway;
            if let Some(dialog) = self.owner(happening.job).filter(|_| fits) {
                dialog.path.peer = from.clone();
            }
        }
    }

    /// A 200 whose INVITE transaction is over is a copy whose ACK was lost, or the answer of a target that was given up
    /// for another one.
    fn late_response(&mut self, now: Time, from: &Hop, response: &Response) {
        let success = response.status.is_success() && method(response) == Some(Method::Invite);
        let headers = &response.headers;
        let dialog = self.dialogs.tagged(&from_tag(headers));
        match dialog.filter(|dialog| success && dialog.path.call_id == value(headers, &HeaderName::CallId)) {
            Some(dialog) if dialog.path.remote_tag == to_tag(headers) => {
                self.send_ack(now, dialog.id, response);
            }
            Some(dialog) if is_given_up(dialog, response) => {
                let (mut path, id) = (dialog.path.clone(), dialog.id);
                path.peer = from.clone();
                self.send_away(now, (id, path), response, &[]);
            }
            _ => self.wire.counters.stray_responses += 1,
        }
    }

    /// The INVITE that begins a dialog got a response, or none.
    pub(super) fn invite_happened(&mut self, now: Time, happening: &Happening) {
        match &happening.event {
            TuEvent::Response(response) => self.invite_response(now, happening, response),
            TuEvent::Timeout => self.invite_failed(now, happening, Failure::Timeout),
            TuEvent::TransportError => {
                self.invite_failed(now, happening, Failure::Unreachable(self.obstacle));
            }
            _ => {}
        }
    }

    fn invite_response(&mut self, now: Time, happening: &Happening, response: &Response) {
        let success = response.status.is_success();
        let Some(dialog) = self.owner(happening.job) else {
            if success {
                self.decline(now, happening, response);
            }
            return;
        };
        let id = dialog.id;
        match &mut dialog.state {
            State::Calling(calling) if response.status.is_provisional() => {
                calling.responded = true;
                self.provisional(now, id, response);
            }
            State::Calling(_) if success => self.answered(now, id, response),
            State::Calling(_) => self.refused(now, happening, response),
            _ if success && to_tag(&response.headers) == dialog.path.remote_tag => {
                self.send_ack(now, id, response);
            }
            _ if success => self.decline(now, happening, response),
            _ => {}
        }
    }

    pub(super) fn owner(&mut self, job: Job) -> Option<&mut Dialog> {
        match job.owner {
            Owner::Dialog(id) => self.dialogs.by_id.get_mut(&id),
            Owner::Nobody | Owner::Registration(_) => None,
        }
    }

    fn answered(&mut self, now: Time, id: DialogId, response: &Response) {
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        let State::Calling(calling) = &mut dialog.state else { return };
        let (cancelled, late) = (calling.is_cancelled(), calling.late);
        let farewell = std::mem::take(&mut calling.farewell);
        let tag = to_tag(&response.headers);
        let fork = calling.fork(&tag);
        // What the others have asked is nothing to this one (RFC 3261 section 12.2.2).
        dialog.remote_seq = fork.as_ref().and_then(|fork| fork.remote_seq);
        if let Some(fork) = fork {
            dialog.path.local_seq = dialog.path.local_seq.max(fork.path.local_seq);
        }
        dialog.path.adopt(response);
        let tx = calling.tx;
        dialog.state = State::Up { bye: None };
        self.keep_shown(id, tx);
        self.expect_others(now, id);
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        if dialog.offerless && !cancelled {
            dialog.owed_ack = crate::message::cseq(&response.headers);
        } else {
            self.send_ack(now, id, response);
        }
        self.adopt_session(now, id, response);
        if late {
            return self.too_late(now, id);
        }
        if cancelled {
            return self.send_bye(now, id, &farewell, EndCause::LocalBye);
        }
        let headers = header_list(&response.headers);
        let sdp = sdp(&response.headers, response.body());
        self.wire.tell(SipEvent::Answered { dialog: id, fork: text(&tag), sdp, headers });
    }

    /// The callee has answered when its time was over and the CANCEL on its way: it is hung up, and nobody has answered.
    /// The dialog stays until its BYE is answered, which may be challenged.
    fn too_late(&mut self, now: Time, id: DialogId) {
        let branch = self.random.branch();
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        dialog.state = State::Ending { cause: None };
        let (mut draft, way) = dialog.path.request("BYE", &self.identity, &branch);
        self.authorize(&mut draft, id, ("BYE", &way));
        if !self.send_inside(now, (draft.finish(), way), Job::of(id, Errand::Bye)) {
            self.forget_dialog(id);
        }
        self.wire.tell(SipEvent::Failed { dialog: id, why: Failure::NoAnswer });
    }

    /// A final refusal: the next target is tried if this one is only out of order.
    fn refused(&mut self, now: Time, happening: &Happening, response: &Response) {
        let code = response.status.code();
        let again = match code {
            503 => self.next_target(now, happening),
            422 => self.lengthened(now, happening, response),
            _ => false,
        };
        if again {
            return;
        }
        let Some(dialog) = self.owner(happening.job) else { return };
        let id = dialog.id;
        let late = matches!(&dialog.state, State::Calling(calling) if calling.late);
        self.forget_dialog(id);
        if late && code == 487 {
            return self.wire.tell(SipEvent::Failed { dialog: id, why: Failure::NoAnswer });
        }
        let headers = header_list(&response.headers);
        let contacts = if code < 400 { redirections(&response.headers) } else { Vec::new() };
        let reason = text(&response.reason);
        self.wire.tell(SipEvent::Rejected { dialog: id, code, contacts, reason, headers });
    }

    fn provisional(&mut self, now: Time, id: DialogId, response: &Response) {
        let code = response.status.code();
        if code > 100 && self.note_fork(now, id, response) {
            let (reason, sdp) = (text(&response.reason), sdp(&response.headers, response.body()));
            let (fork, headers) = (text(&to_tag(&response.headers)), header_list(&response.headers));
            self.wire.tell(SipEvent::Provisional { dialog: id, fork, code, reason, sdp, headers });
        }
        self.send_cancel(now, id);
    }

    /// Remembers the callee that speaks; whether what it says is to be told.
    fn note_fork(&mut self, now: Time, id: DialogId, response: &Response) -> bool {
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return false };
        let State::Calling(calling) = &mut dialog.state else { return false };
        let tag = to_tag(&response.headers);
        let Some(invite) = self.transactions.request(calling.tx).filter(|_| !tag.is_empty()) else {
            return true;
        };
        if calling.fork(&tag).is_none() && calling.forks.len() < MAX_FORKS {
            let mut path = Path::from_call(invite.0, dialog.path.peer.clone());
            path.adopt(response);
            let reliable = rel::Sequence::default();
            calling.forks.push(Fork { path, remote_seq: None, reliable, agreed: false });
        }
        self.confirm(now, id, response)
    }

    pub(super) fn send_ack(&mut self, now: Time, id: DialogId, answer: &Response) {
        let Some(dialog) = self.dialogs.by_id.get(&id) else { return };
        // Its owner has not answered the offer in this 200 yet.
        if dialog.owed_ack.is_some() {
            return;
        }
        let seq = crate::message::cseq(&answer.headers).unwrap_or(dialog.path.local_seq);
        if let Some((kept, bytes, way)) = &dialog.last_ack
            && *kept == seq
        {
            let kept = (bytes.clone(), way.clone());
            self.send_inside(now, kept, Job::of(id, Errand::Ack(seq)));
            return;
        }
        // Without a body it cannot be too large.
        let _ = self.write_ack(now, id, (seq, None));
    }

    /// Sends the ACK of the 200 with this number. One with a body is kept for copies of the 200.
    fn write_ack(
        &mut self,
        now: Time,
        id: DialogId,
        (seq, sdp): (u32, Option<&str>),
    ) -> Result<(), SipError> {
        let branch = self.random.branch();
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return Ok(()) };
        let (mut draft, way) = dialog.path.ack(seq, &self.identity, &branch);
        for (name, value) in dialog.shown.iter().filter(|(of, _)| *of == seq).flat_map(|(_, lines)| lines) {
            draft.line(&text(name.canonical()), value);
        }
        let bytes = draft.finish_with(sdp)?;
        if let Some(dialog) = self.dialogs.by_id.get_mut(&id).filter(|_| sdp.is_some()) {
            dialog.last_ack = Some((seq, bytes.clone(), way.clone()));
        }
        self.send_inside(now, (bytes, way), Job::of(id, Errand::Ack(seq)));
        Ok(())
    }

    /// Keeps what our INVITE had of credentials: a proxy that has asked for them wants the same in the ACK, which cannot
    /// be challenged (RFC 3261 section 22.1).
    pub(super) fn keep_shown(&mut self, id: DialogId, tx: TxId) {
        let Some((invite, _)) = self.transactions.request(tx) else { return };
        let seq = crate::message::cseq(&invite.headers);
        let shown = seq.map(|seq| (seq, credentials(&invite.headers)));
        if let Some(dialog) = self.dialogs.by_id.get_mut(&id) {
            dialog.shown = shown;
        }
    }

    /// Another answer to an INVITE that has one, or whose call is over: a forking proxy lets several
    /// callees answer. It is acknowledged and ended at once.
    fn decline(&mut self, now: Time, happening: &Happening, answer: &Response) {
        let Some((invite, to)) = self.transactions.request(happening.tx) else { return };
        let Owner::Dialog(id) = happening.job.owner else { return };
        let (path, shown) = (Path::from_call(invite, to), credentials(&invite.headers));
        self.send_away(now, (id, path), answer, &shown);
    }

    /// ACK and BYE to an answer to this call that is not wanted, on its own way. The BYE answers challenges by the call's
    /// credentials.
    fn send_away(
        &mut self,
        now: Time,
        (id, mut fork): (DialogId, Path),
        answer: &Response,
        shown: &[(HeaderName, Vec<u8>)],
    ) {
        if self.transactions.len() >= self.config.max_transactions {
            return;
        }
        fork.adopt(answer);
        let seq = crate::message::cseq(&answer.headers).unwrap_or(fork.local_seq);
        let (mut ack, way) = fork.ack(seq, &self.identity, &self.random.branch());
        for (name, value) in shown {
            ack.line(&text(name.canonical()), value);
        }
        self.send_inside(now, (ack.finish(), way), Job::new(Owner::Nobody, Errand::Ack(seq)));
        let (bye, way) = fork.request("BYE", &self.identity, &self.random.branch());
        self.send_inside(now, (bye.finish(), way), Job::of(id, Errand::SendAway));
    }

    fn invite_failed(&mut self, now: Time, happening: &Happening, why: Failure) {
        self.avoid(now, &happening.to);
        if self.next_target(now, happening) {
            return;
        }
        let Some(dialog) = self.owner(happening.job) else { return };
        let id = dialog.id;
        if let State::Calling(calling) = &dialog.state
            && calling.tx == happening.tx
        {
            let why = if calling.late { Failure::NoAnswer } else { why };
            self.forget_dialog(id);
            self.wire.tell(SipEvent::Failed { dialog: id, why });
        }
    }

    /// Sends the INVITE to the next target, if there is one and the call is still wanted.
    fn next_target(&mut self, now: Time, happening: &Happening) -> bool {
        let Some(request) = happening.request.as_deref() else { return false };
        let Some(dialog) = self.owner(happening.job) else { return false };
        let State::Calling(calling) = &mut dialog.state else { return false };
        if calling.is_cancelled() || calling.tx != happening.tx {
            return false;
        }
        let Some(to) = calling.targets.pop_front() else { return false };
        dialog.path.peer = to.clone();
        let seq = dialog.path.next_seq();
        let job = Job { rounds: 0, switched: false, plain: false, ..happening.job };
        let ours = self.identity.contact(to.transport, asks_by_sips(request));
        let contact = (HeaderName::Contact, ours);
        self.again(now, happening.tx, request, Again { to, seq, job, lines: vec![contact] })
    }
}

fn is_given_up(dialog: &Dialog, response: &Response) -> bool {
    TransactionKey::from_response(response).is_some_and(|key| dialog.given_up.contains(&key))
}

pub(super) fn method(response: &Response) -> Option<Method> {
    response.headers.typed::<CSeq>()?.ok().map(|cseq| cseq.method)
}

/// The lines that answer challenges.
fn credentials(headers: &Headers) -> Shown {
    let named = |header: &&sipx_sip::Header| {
        matches!(header.name(), HeaderName::Authorization | HeaderName::ProxyAuthorization)
    };
    let lines = headers.iter().filter(named);
    lines.map(|header| (header.name().clone(), header.value().to_vec())).collect()
}

/// A URI that can be called, as it goes onto the wire.
pub(super) fn callable(uri: &str) -> Result<Bytes, SipError> {
    let parsed = Uri::parse(Bytes::copy_from_slice(uri.as_bytes())).ok();
    let known = |uri: &Uri| matches!(uri.scheme(), Scheme::Sip | Scheme::Sips | Scheme::Tel);
    let leads = |uri: &Uri| !has_maddr(uri) || goal(uri).is_some();
    let mut parsed = parsed
        .filter(|uri| known(uri) && !uri.has_headers() && leads(uri))
        .ok_or_else(|| SipError::BadUri(uri.to_owned()))?;
    if !drop_method(&mut parsed) {
        return Err(SipError::OtherMethod(uri.to_owned()));
    }
    Ok(parsed.to_bytes())
}

/// Takes `method` out of a URI that is to be called, since no Request-URI has it (RFC 3261 section 19.1.1); `false` if
/// it asks for another request.
pub(super) fn drop_method(uri: &mut Uri) -> bool {
    let Some(method) = uri.params().and_then(|params| params.get("method")) else { return true };
    let calls = method.value().is_some_and(|method| method.eq_ignore_ascii_case(b"INVITE"));
    uri.remove_param("method") && calls
}

/// Where a redirection leads.
pub(super) fn redirections(headers: &Headers) -> Vec<String> {
    let contacts = headers.typed_all::<ContactValue>().filter_map(|contact| match contact {
        Ok(ContactValue::Address(address)) => Some(text(&address.uri.to_bytes())),
        _ => None,
    });
    contacts.filter(|uri| uri.len() <= MAX_REDIRECTION).take(MAX_REDIRECTIONS).collect()
}

/// The URI of a `Referred-By`, as it is passed on. What it may have beside that points to a body part of the REFER,
/// which does not come along (RFC 3892 section 2.1).
fn referrer(value: &str) -> Option<Vec<u8>> {
    let parsed = Address::parse(value.as_bytes(), "Referred-By").ok()?;
    let uri = parsed.uri.to_bytes();
    let sound = uri.len() <= MAX_REFERRER && !uri.iter().any(|b| b.is_ascii_control() || b"<> ".contains(b));
    sound.then(|| [b"<", &uri[..], b">"].concat())
}

/// A route to a proxy that keeps the Request-URI as it is.
pub(super) fn loose(proxy: &[u8]) -> Vec<u8> {
    let lr: &[u8] = if proxy.windows(3).any(|w| w.eq_ignore_ascii_case(b";lr")) { b"" } else { b";lr" };
    [b"<", proxy, lr, b">"].concat()
}

/// A display name with its quotes and a space behind.
pub(super) fn quoted(name: &str) -> String {
    let clean: String = name.chars().filter(|c| !c.is_control()).take(128).collect();
    format!("\"{}\" ", clean.replace('\\', "\\\\").replace('"', "\\\""))
}
