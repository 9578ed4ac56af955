//! We call: INVITE, CANCEL and its races, answers and their ACKs (RFC 3261 sections 9.1 and 13.2).

use bytes::Bytes;
use sipx_sip::{CSeq, HeaderName, Method, Response, Scheme, TuEvent, Uri, validate_response};

use super::{Endpoint, RINGING, wrong};
use crate::config::Time;
use crate::dialog::{Calling, Cancel, Dialog, State};
use crate::event::{DialogId, EndCause, Failure, SipEvent};
use crate::message::{ALLOW, Draft, check_extra, from_tag, header_list, sdp, text, to_tag};
use crate::order::{Outbound, SipError};
use crate::schedule::Chore;
use crate::transactions::{Happening, TxId};

impl Endpoint {
    /// Places a call.
    ///
    /// # Errors
    /// [`SipError::BadUri`], [`SipError::BadHeader`], [`SipError::TooLarge`]; [`SipError::Full`] if
    /// there is no room.
    pub fn invite(&mut self, now: Time, call: &Outbound) -> Result<DialogId, SipError> {
        check_extra(&call.headers)?;
        if !self.has_room() {
            return Err(SipError::Full);
        }
        let bytes = self.write_invite(call)?;
        let id = self.dialogs.next_id();
        let tx = self.transactions.send(now, &mut self.wire, (bytes, call.target), Some(id));
        let tx = tx.ok_or_else(|| SipError::BadUri(call.to.clone()))?;
        let Some((request, _)) = self.transactions.request(tx) else { return Err(SipError::Full) };
        let mut dialog = Dialog::from_call(id, request, call.target);
        dialog.state = State::Calling(Calling { tx, responded: false, cancel: Cancel::No });
        self.dialogs.insert(dialog);
        self.wire.remind(now.saturating_add(RINGING), id, Chore::GiveUpRinging);
        Ok(id)
    }

    /// Gives up a call that is not answered yet. `Rejected` with 487 follows; if the answer was on
    /// its way, it is acknowledged and ended with BYE, and `Ended` follows.
    ///
    /// # Errors
    /// [`SipError::WrongState`] after the answer, or if we were called.
    pub fn cancel(&mut self, now: Time, dialog: DialogId) -> Result<(), SipError> {
        let found = self.dialog(dialog)?;
        match &mut found.state {
            State::Calling(calling) if calling.cancel == Cancel::No => {
                calling.cancel = Cancel::Wanted;
                self.send_cancel(now, dialog);
                Ok(())
            }
            _ => Err(wrong(found, "cancel")),
        }
    }

    fn write_invite(&mut self, call: &Outbound) -> Result<Vec<u8>, SipError> {
        let (to, from) = (callable(&call.to)?, callable(&call.from)?);
        let call_id = match &call.call_id {
            Some(id) if id.is_empty() || id.len() > 256 || !id.bytes().all(|b| b.is_ascii_graphic()) => {
                let why = "1 to 256 printable characters without spaces";
                return Err(SipError::BadHeader { name: "Call-ID".to_owned(), why });
            }
            Some(id) => id.clone(),
            None => self.random.word(),
        };
        let mut draft = Draft::request("INVITE", &to);
        draft.line("Via", self.identity.via(&self.random.branch()));
        draft.line("From", [b"<", &from[..], b">;tag=", self.random.word().as_bytes()].concat());
        draft.line("To", [b"<", &to[..], b">"].concat());
        draft.line("Call-ID", call_id);
        draft.line("CSeq", "1 INVITE");
        draft.line("Contact", &self.identity.contact);
        draft.line("Max-Forwards", "70");
        draft.line("Allow", ALLOW);
        draft.line("User-Agent", &self.identity.agent);
        draft.extra(&call.headers);
        match &call.sdp {
            Some(sdp) => draft.finish_sdp(sdp),
            None => Ok(draft.finish()),
        }
    }

    /// A response from the network.
    pub(super) fn response(&mut self, now: Time, response: Response) {
        // More than one Via: it was meant for someone else (RFC 3261 section 8.1.3.3).
        let foreign = response.headers.typed_all::<sipx_sip::Via>().count() != 1;
        if foreign || !validate_response(&response).is_empty() {
            self.wire.counters.stray_responses += 1;
            return;
        }
        match self.transactions.response(now, &mut self.wire, response) {
            Ok(happenings) => self.happened(now, happenings),
            Err(response) => self.late_response(&response),
        }
    }

    /// A 200 whose INVITE transaction is over is a copy whose ACK was lost.
    fn late_response(&mut self, response: &Response) {
        let dialog = self.dialogs.tagged(&from_tag(&response.headers));
        let known = dialog.filter(|dialog| dialog.remote_tag == to_tag(&response.headers)).map(|d| d.id);
        match known {
            Some(id) if response.status.is_success() && method(response) == Some(Method::Invite) => {
                self.send_ack(id, response);
            }
            _ => self.wire.counters.stray_responses += 1,
        }
    }

    /// A transaction of ours tells something.
    pub(super) fn client_happened(&mut self, now: Time, happening: Happening) {
        let Happening { tx, dialog, event, .. } = happening;
        match event {
            TuEvent::Response(response) => match method(&response) {
                Some(Method::Invite) => self.invite_response(now, (tx, dialog), &response),
                Some(Method::Bye) if response.status.is_final() => self.bye_over(dialog),
                // CANCEL is only a wish: what counts is the final response to its INVITE.
                _ => {}
            },
            TuEvent::Timeout | TuEvent::TransportError => {
                self.invite_failed(tx, dialog);
                self.bye_over(dialog);
            }
            _ => {}
        }
    }

    fn invite_response(&mut self, now: Time, (tx, id): (TxId, Option<DialogId>), response: &Response) {
        let found = id.and_then(|id| self.dialogs.by_id.get_mut(&id));
        let success = response.status.is_success();
        let Some(dialog) = found else {
            if success {
                self.decline(now, tx, response);
            }
            return;
        };
        let id = dialog.id;
        match &mut dialog.state {
            State::Calling(calling) if response.status.is_provisional() => {
                calling.responded = true;
                self.provisional(now, id, response);
            }
            State::Calling(calling) if success => {
                let cancelled = calling.cancel != Cancel::No;
                dialog.adopt(response);
                dialog.state = State::Up { bye: None };
                self.send_ack(id, response);
                if cancelled {
                    return self.send_bye(now, id, &[], EndCause::LocalBye);
                }
                let headers = header_list(&response.headers);
                let sdp = sdp(&response.headers, response.body());
                self.wire.tell(SipEvent::Answered { dialog: id, sdp, headers });
            }
            State::Calling(_) => {
                self.dialogs.remove(id);
                let (code, reason) = (response.status.code(), text(&response.reason));
                let headers = header_list(&response.headers);
                self.wire.tell(SipEvent::Rejected { dialog: id, code, reason, headers });
            }
            _ if success && to_tag(&response.headers) == dialog.remote_tag => self.send_ack(id, response),
            _ if success => self.decline(now, tx, response),
            _ => {}
        }
    }

    fn provisional(&mut self, now: Time, id: DialogId, response: &Response) {
        let code = response.status.code();
        if code > 100 {
            let (reason, sdp) = (text(&response.reason), sdp(&response.headers, response.body()));
            self.wire.tell(SipEvent::Provisional { dialog: id, code, reason, sdp });
        }
        self.send_cancel(now, id);
    }

    /// CANCEL, if it is wanted and the callee has shown that it has the INVITE.
    fn send_cancel(&mut self, now: Time, id: DialogId) {
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        let State::Calling(calling) = &mut dialog.state else { return };
        if !calling.responded || calling.cancel != Cancel::Wanted {
            return;
        }
        calling.cancel = Cancel::Sent;
        let Some((invite, to)) = self.transactions.request(calling.tx) else { return };
        let mut draft = Draft::request("CANCEL", &invite.uri.to_bytes());
        let copied =
            [HeaderName::Via, HeaderName::Route, HeaderName::From, HeaderName::To, HeaderName::CallId];
        for name in &copied {
            draft.copy(&invite.headers, name);
        }
        draft.line("CSeq", "1 CANCEL");
        draft.line("Max-Forwards", "70");
        draft.line("User-Agent", &self.identity.agent);
        self.transactions.send(now, &mut self.wire, (draft.finish(), to), Some(id));
        self.wire.remind(now.saturating_add(self.config.patience()), id, Chore::GiveUpCancel);
    }

    pub(super) fn give_up_cancel(&mut self, id: DialogId) {
        let state = self.dialogs.by_id.get(&id).map(|dialog| &dialog.state);
        if let Some(State::Calling(Calling { tx, .. })) = state {
            self.transactions.forget(*tx);
            self.dialogs.remove(id);
            self.wire.tell(SipEvent::Failed { dialog: id, why: Failure::CancelUnanswered });
        }
    }

    fn send_ack(&mut self, id: DialogId, answer: &Response) {
        let branch = self.random.branch();
        if let Some(dialog) = self.dialogs.by_id.get(&id) {
            let (bytes, to) = dialog.ack(answer, &self.identity, &branch);
            self.wire.send(to, bytes);
        }
    }

    /// Another answer to an INVITE that has one, or whose call is over: a forking proxy lets several
    /// callees answer. It is acknowledged and ended at once.
    fn decline(&mut self, now: Time, tx: TxId, answer: &Response) {
        if self.transactions.len() >= self.config.max_transactions {
            return;
        }
        let Some((invite, to)) = self.transactions.request(tx) else { return };
        let mut fork = Dialog::from_call(DialogId(0), invite, to);
        fork.adopt(answer);
        let (bytes, to) = fork.ack(answer, &self.identity, &self.random.branch());
        self.wire.send(to, bytes);
        let (bye, to) = fork.request("BYE", &self.identity, &self.random.branch());
        self.transactions.send(now, &mut self.wire, (bye.finish(), to), None);
    }

    fn invite_failed(&mut self, failed: TxId, id: Option<DialogId>) {
        let Some(dialog) = id.and_then(|id| self.dialogs.by_id.get(&id)) else { return };
        let id = dialog.id;
        if matches!(&dialog.state, State::Calling(Calling { tx, .. }) if *tx == failed) {
            self.dialogs.remove(id);
            self.wire.tell(SipEvent::Failed { dialog: id, why: Failure::Timeout });
        }
    }

    /// Our BYE is answered or given up. Whatever the answer is, a challenge included, the dialog is
    /// over: credentials are never given for ending a call.
    fn bye_over(&mut self, id: Option<DialogId>) {
        let Some(dialog) = id.and_then(|id| self.dialogs.by_id.get(&id)) else { return };
        if let State::Ending { cause } = dialog.state {
            self.end(dialog.id, Vec::new(), cause);
        }
    }
}

fn method(response: &Response) -> Option<Method> {
    response.headers.typed::<CSeq>()?.ok().map(|cseq| cseq.method)
}

/// A URI that can be called, as it goes onto the wire.
fn callable(uri: &str) -> Result<Bytes, SipError> {
    let parsed = Uri::parse(Bytes::copy_from_slice(uri.as_bytes())).ok();
    parsed
        .filter(|uri| matches!(uri.scheme(), Scheme::Sip | Scheme::Sips | Scheme::Tel) && !uri.has_headers())
        .map(|uri| uri.to_bytes())
        .ok_or_else(|| SipError::BadUri(uri.to_owned()))
}
