//! We are called: INVITE, ringing, the 200 until its ACK (RFC 3261 section 13.3).

use sipx_sip::headers::misc::Expires;
use sipx_sip::headers::{From, To};
use sipx_sip::{HeaderName, Headers, Request};

use super::inbound::Arrival;
use super::session::terms_lines;
use super::{Endpoint, Origin, RINGING, wrong};
use crate::answered::Answer;
use crate::config::{Admission, Time};
use crate::dialog::{Dialog, Next, State, Unacked};
use crate::event::{DialogId, EndCause, Invite, SipEvent};
use crate::message::{
    ALLOW, Draft, Extra, Refusal, SUPPORTED, came_by_sips, check_extra, cseq, from_tag, header_list,
    response, sdp, text, value,
};
use crate::order::{Answering, Rejection, SipError};
use crate::registration::Registration;
use crate::schedule::Chore;
use crate::transactions::TxId;

impl Endpoint {
    pub(super) fn invited(&mut self, now: Time, arrival: Arrival) {
        let headers = &arrival.request.headers;
        let (call_id, from_tag) = (value(headers, &HeaderName::CallId), from_tag(headers));
        let seq = cseq(headers).unwrap_or_default();
        if !from_tag.is_empty() && self.dialogs.by_origin.contains_key(&Origin { call_id, from_tag, seq }) {
            return self.refuse(&arrival, &Refusal::plain(482));
        }
        if self.admission == Admission::Refusing || !self.has_room() {
            let overload = self.overload();
            return self.refuse(&arrival, &overload);
        }
        let terms = match self.session_terms(&arrival.request.headers) {
            Ok(terms) => terms,
            Err(refusal) => return self.refuse(&arrival, &refusal),
        };
        let replaces = match self.replaced(&arrival.request.headers) {
            Ok(replaces) => replaces,
            Err(refusal) => return self.refuse(&arrival, &refusal),
        };
        let id = self.dialogs.next_id();
        let tag = self.random.word();
        let account = self.registrations.called(now, &arrival.from, &arrival.request.uri);
        let address = account.map(|registration| registration.account.address.clone());
        let invite = Invite { replaces, account: address, ..describe(&arrival, &tag) };
        let auth = account.and_then(Registration::auth_for_call);
        let mut dialog = Dialog::from_invite(id, &arrival.request, arrival.from, tag);
        let offered = invite.sdp.is_some();
        (dialog.auth, dialog.early, dialog.terms) = (auth, self.early(&arrival.request), terms);
        dialog.replaces = replaces;
        let span = patience(&arrival.request.headers);
        let begun = (arrival.request, arrival.reply_to);
        let Some(tx) = self.transactions.begin(now, &mut self.wire, begun, id) else { return };
        dialog.state = State::Invited { tx, offered };
        self.dialogs.insert(dialog);
        self.wire.remind(now.saturating_add(RINGING), id, Chore::GiveUpRinging);
        if let Some(span) = span {
            self.wire.remind(now.saturating_add(span), id, Chore::Expire);
        }
        self.wire.tell(SipEvent::Invited { dialog: id, invite: Box::new(invite) });
    }

    /// 180, or 183 with early media if `sdp` is given, which is left out if the INVITE made no offer
    /// that it could answer. May be repeated before the answer. A caller that acknowledges early
    /// media gets it repeated until it does, and one that wants every provisional response
    /// acknowledged, every one.
    ///
    /// # Errors
    /// [`SipError::WrongState`] after the answer or in a call of ours; [`SipError::TooLarge`].
    pub fn ring(&mut self, now: Time, dialog: DialogId, sdp: Option<&str>) -> Result<(), SipError> {
        let (tx, offered) = self.unanswered(dialog, "ring")?;
        let sdp = sdp.filter(|_| offered);
        let code = if sdp.is_some() { 183 } else { 180 };
        let Some(draft) = self.answer_draft(dialog, tx, code) else {
            return Err(SipError::NoSuchDialog(dialog));
        };
        let early = self.dialogs.by_id.get(&dialog).and_then(|found| found.early.as_ref());
        if early.is_some_and(|early| early.required || sdp.is_some()) {
            return self.ring_reliably(now, (dialog, tx), draft, sdp);
        }
        self.send_provisional(now, tx, draft.finish_with(sdp)?);
        Ok(())
    }

    /// 200 to the INVITE, sent again until its ACK comes. It waits while early media has to be acknowledged or an offer
    /// of the caller answered, which the return value tells. `sdp` is the answer, or our offer if the INVITE had none.
    ///
    /// # Errors
    /// [`SipError::WrongState`] after the answer or in a call of ours; [`SipError::NoSuchDialog`]
    /// after a CANCEL; [`SipError::BadHeader`], [`SipError::TooLarge`].
    pub fn answer(
        &mut self,
        now: Time,
        dialog: DialogId,
        sdp: &str,
        headers: &Extra,
    ) -> Result<Answering, SipError> {
        check_extra(headers)?;
        let (tx, offered) = self.unanswered(dialog, "answer")?;
        let found = self.dialog(dialog)?;
        let open = found.reoffer.is_some();
        if let Some(early) = found.early.as_mut()
            && (open || early.waiting.as_ref().is_some_and(|waiting| waiting.answers))
        {
            early.next = Some(Next::Answer(sdp.to_owned(), headers.to_vec()));
            return Ok(Answering::Waits);
        }
        let Some(mut draft) = self.answer_draft(dialog, tx, 200) else {
            return Err(SipError::NoSuchDialog(dialog));
        };
        draft.extra(headers);
        let bytes = draft.finish_sdp(sdp)?;
        let late = now.saturating_add(self.config.patience());
        if let Some(found) = self.dialogs.by_id.get_mut(&dialog) {
            found.state = State::Up { bye: None };
            // The 200 ends what is repeated, yet its PRACK is on its way (RFC 3262 section 3).
            found.early = found.early.take().filter(|early| early.waiting.is_some());
            if let Some(early) = found.early.as_mut() {
                (early.waiting, early.next, early.late_until) = (None, None, Some(late));
            }
            found.local_sdp = Some(sdp.to_owned());
        }
        self.send_answer(now, dialog, tx, Answered200 { bytes, first: true, offers: !offered });
        self.take_place(now, dialog);
        Ok(Answering::Sent)
    }

    /// Refuses the INVITE; `Ended` follows at once.
    ///
    /// # Errors
    /// [`SipError::WrongState`] after the answer or in a call of ours; [`SipError::BadCode`],
    /// [`SipError::BadHeader`].
    pub fn reject(&mut self, now: Time, dialog: DialogId, rejection: &Rejection) -> Result<(), SipError> {
        check_rejection(rejection)?;
        let (tx, _) = self.unanswered(dialog, "reject")?;
        let tag = self.local_tag(dialog);
        self.refuse_invite(now, tx, &tag, rejection);
        self.end(dialog, Vec::new(), EndCause::LocalReject);
        Ok(())
    }

    /// Refuses the INVITE as [`reject`](Self::reject) does and keeps nothing of it: a copy of it comes as a new call
    /// and is judged anew (RFC 3261 section 8.2.7). For those who are to cost nothing: a refusal that waits for its
    /// ACK holds 4 kB for 32 seconds and is sent eleven times to a stranger who never acknowledges.
    ///
    /// # Errors
    /// As [`reject`](Self::reject).
    pub fn turn_away(&mut self, dialog: DialogId, rejection: &Rejection) -> Result<(), SipError> {
        check_rejection(rejection)?;
        let (tx, _) = self.unanswered(dialog, "turn away")?;
        let Some((request, to)) = self.transactions.request(tx) else {
            return Err(SipError::NoSuchDialog(dialog));
        };
        let headers = &request.headers;
        let tag = self.random.tag_for(&value(headers, &HeaderName::CallId), &from_tag(headers));
        let mut draft = response(request, rejection.code, &rejection.reason, &tag);
        draft.extra(&rejection.headers);
        draft.line("Server", &self.identity.product);
        self.wire.send(to, draft.finish());
        self.wire.counters.refused += 1;
        self.transactions.forget(tx);
        self.end(dialog, Vec::new(), EndCause::LocalReject);
        Ok(())
    }

    /// The transaction of an INVITE that we have not answered, and whether it brought an offer.
    fn unanswered(&mut self, dialog: DialogId, verb: &'static str) -> Result<(TxId, bool), SipError> {
        let found = self.dialog(dialog)?;
        match found.state {
            State::Invited { tx, offered } => Ok((tx, offered)),
            _ => Err(wrong(found, verb)),
        }
    }

    /// A response that may begin a dialog: with `Contact` and the route (RFC 3261 section 12.1.1).
    pub(super) fn answer_draft(&self, dialog: DialogId, tx: TxId, code: u16) -> Option<Draft> {
        let (request, to) = self.transactions.request(tx)?;
        let mut draft = response(request, code, "", &self.dialogs.by_id.get(&dialog)?.path.local_tag);
        draft.copy(&request.headers, &HeaderName::RecordRoute);
        draft.line("Contact", self.identity.contact(to.transport, came_by_sips(request)));
        draft.line("Allow", ALLOW);
        draft.line("Supported", SUPPORTED.join(", "));
        if let Some(terms) = self.dialogs.by_id.get(&dialog)?.terms.filter(|_| code == 200) {
            terms_lines(&mut draft, &terms);
        }
        draft.line("Server", &self.identity.agent);
        Some(draft)
    }

    /// Sends a 200 to an INVITE and goes on sending it until its ACK comes.
    pub(super) fn send_answer(&mut self, now: Time, dialog: DialogId, tx: TxId, answer: Answered200) {
        let Some((request, to)) = self.transactions.request(tx) else { return };
        let seq = cseq(&request.headers).unwrap_or_default();
        let headers = request.headers.clone();
        let terms = self.dialogs.by_id.get_mut(&dialog).and_then(|found| found.terms.take());
        self.agree(now, dialog, terms, &headers);
        self.wire.send(to.clone(), answer.bytes.clone());
        let interval = self.config.t1;
        self.wire.remind(now.saturating_add(interval), dialog, Chore::RepeatAnswer(seq));
        if let Some(found) = self.dialogs.by_id.get_mut(&dialog) {
            let until = now.saturating_add(self.config.patience());
            let Answered200 { bytes, first, offers } = answer;
            found.unacked = Some(Unacked { seq, bytes, to, interval, until, first, offers });
        }
        self.conclude(now, tx, Answer::Silence);
    }

    pub(super) fn repeat_answer(&mut self, now: Time, dialog: DialogId, seq: u32) {
        let Some(found) = self.dialogs.by_id.get_mut(&dialog) else { return };
        let Some(unacked) = found.unacked.as_mut().filter(|unacked| unacked.seq == seq) else { return };
        if now >= unacked.until {
            self.wire.tell(SipEvent::AckTimeout { dialog });
            return self.send_bye(now, dialog, &[], EndCause::AckTimeout);
        }
        self.wire.counters.retransmissions += 1;
        self.wire.send(unacked.to.clone(), unacked.bytes.clone());
        unacked.interval = unacked.interval.saturating_mul(2).min(self.config.t2);
        let next = now.saturating_add(unacked.interval).min(unacked.until);
        self.wire.remind(next, dialog, Chore::RepeatAnswer(seq));
    }

    /// The ACK of our 200 has come.
    pub(super) fn acked(&mut self, now: Time, dialog: DialogId, sdp: Option<String>) {
        let Some(found) = self.dialogs.by_id.get_mut(&dialog) else { return };
        let Some(unacked) = found.unacked.take() else { return };
        let sdp = sdp.filter(|_| unacked.offers);
        if unacked.first {
            self.wire.tell(SipEvent::Established { dialog, sdp });
        } else if unacked.offers {
            self.wire.tell(SipEvent::ReofferAnswered { dialog, sdp });
        }
        if let State::Up { bye } = &mut found.state
            && let Some(headers) = bye.take()
        {
            return self.send_bye(now, dialog, &headers, EndCause::LocalBye);
        }
        self.offer_wanted(now, dialog);
    }

    /// The caller's own time for its call is over: it counts as if it had hung up (RFC 3261 section 13.3.1).
    pub(super) fn expire(&mut self, now: Time, dialog: DialogId) {
        let Some(found) = self.dialogs.by_id.get(&dialog) else { return };
        if let State::Invited { tx, .. } = found.state {
            let tag = found.path.local_tag.clone();
            self.refuse_invite(now, tx, &tag, &Rejection::new(487));
            self.forget_dialog(dialog);
            self.wire.tell(SipEvent::Canceled { dialog, headers: Vec::new() });
        }
    }

    pub(super) fn give_up_ringing(&mut self, now: Time, dialog: DialogId) {
        let Some(found) = self.dialogs.by_id.get(&dialog) else { return };
        match found.state {
            State::Invited { tx, .. } => {
                let tag = found.path.local_tag.clone();
                self.refuse_invite(now, tx, &tag, &Rejection::new(480));
                self.end(dialog, Vec::new(), EndCause::Unanswered);
            }
            // A call of ours that is being cancelled already has its own alarm.
            State::Calling(_) => self.give_up_calling(now, dialog),
            State::Up { .. } | State::Ending { .. } | State::Left { .. } => {}
        }
    }
}

/// For how long a caller wants to ring, by `Expires`; nobody means to ring for no time at all by 0.
fn patience(headers: &Headers) -> Option<Time> {
    let span = headers.typed::<Expires>()?.ok()?.0;
    (span > 0).then(|| Time::from_secs(span.into()))
}

pub(super) fn check_rejection(rejection: &Rejection) -> Result<(), SipError> {
    if !(300..700).contains(&rejection.code) {
        return Err(SipError::BadCode(rejection.code));
    }
    check_extra(&rejection.headers)
}

/// A 200 to an INVITE that is about to be sent.
#[derive(Debug)]
pub(super) struct Answered200 {
    pub(super) bytes: Vec<u8>,
    /// Whether to the first INVITE of the dialog.
    pub(super) first: bool,
    /// Whether it makes an offer.
    pub(super) offers: bool,
}

fn describe(arrival: &Arrival, tag: &str) -> Invite {
    let Request { headers, uri, .. } = &arrival.request;
    let call_id = text(&value(headers, &HeaderName::CallId));
    let from_tag = text(&from_tag(headers));
    let from = headers.typed::<From>().and_then(Result::ok);
    let to = headers.typed::<To>().and_then(Result::ok);
    Invite {
        dialog_id: format!("{call_id}-{tag}-{from_tag}"),
        from_uri: from.map(|from| text(&from.uri.to_bytes())).unwrap_or_default(),
        to_uri: to.map(|to| text(&to.uri.to_bytes())).unwrap_or_default(),
        local_tag: tag.to_owned(),
        request_uri: text(&uri.to_bytes()),
        headers: header_list(headers),
        sdp: sdp(headers, arrival.request.body()),
        replaces: None,
        account: None,
        source: arrival.from.address,
        transport: arrival.from.transport,
        call_id,
        from_tag,
    }
}
