//! New media inside a dialog: re-INVITE (RFC 3261 section 14) and UPDATE (RFC 3311).

use sipx_sip::Method;

use super::callee::{Answered200, check_rejection};
use super::inbound::Arrival;
use super::session::terms_lines;
use super::{Endpoint, wrong};
use crate::answered::Answer;
use crate::config::Time;
use crate::dialog::{Dialog, Reoffer, State};
use crate::event::{DialogId, OfferMethod, SipEvent};
use crate::message::{Refusal, came_by_sips, cseq, from_tag, response, sdp};
use crate::order::{Rejection, SipError};
use crate::schedule::Chore;
use crate::transactions::TxId;

impl Endpoint {
    pub(super) fn reoffered(&mut self, now: Time, id: DialogId, arrival: Arrival) {
        let method = match arrival.request.method {
            Method::Update => OfferMethod::Update,
            _ => OfferMethod::Invite,
        };
        let sdp = sdp(&arrival.request.headers, arrival.request.body());
        let plain_update = method == OfferMethod::Update && sdp.is_none();
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        if let Some(code) =
            obstacle(dialog, method, &from_tag(&arrival.request.headers)).filter(|_| !plain_update)
        {
            return self.refuse_reoffer(&arrival, code);
        }
        let terms = match self.session_terms(&arrival.request.headers) {
            Ok(terms) => terms,
            Err(refusal) => return self.refuse(&arrival, &refusal),
        };
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        let headers = &arrival.request.headers;
        let fork = match &mut dialog.state {
            State::Calling(calling) => calling.fork(&from_tag(headers)),
            _ => None,
        };
        fork.map_or(&mut dialog.path, |fork| &mut fork.path).refresh_target(headers);
        // A first INVITE that is not answered yet keeps its own.
        if matches!(dialog.state, State::Up { .. }) {
            dialog.terms = terms;
        }
        if plain_update {
            return self.refresh(now, id, arrival);
        }
        let state = |endpoint: &Self, wanted: fn(&State) -> bool| {
            endpoint.dialogs.by_id.get(&id).is_some_and(|dialog| wanted(&dialog.state))
        };
        let early = state(self, |state| matches!(state, State::Invited { .. } | State::Calling(_)));
        if !early {
            // Only who has our 200 can ask for more, so its ACK is no longer waited for.
            self.acked(now, id, None);
        }
        if !early && !state(self, |state| matches!(state, State::Up { .. })) {
            // A BYE of ours had waited for that ACK.
            return self.refuse_reoffer(&arrival, 481);
        }
        self.take_offer(now, id, arrival, (method, sdp));
    }

    /// Tells an offer that nothing stands against, and waits for its answer.
    pub(super) fn take_offer(
        &mut self,
        now: Time,
        id: DialogId,
        arrival: Arrival,
        (method, sdp): (OfferMethod, Option<String>),
    ) {
        let Some(seq) = cseq(&arrival.request.headers) else { return };
        let begun = (arrival.request, arrival.reply_to);
        let Some(tx) = self.transactions.begin(now, &mut self.wire, begun, id) else { return };
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        dialog.reoffer = Some(Reoffer { tx, method, seq, offered: sdp.is_some() });
        let late = now.saturating_add(self.config.patience());
        self.wire.remind(late, id, Chore::GiveUpReoffer(seq));
        self.wire.tell(SipEvent::Reoffered { dialog: id, sdp, method });
    }

    /// Answers `Reoffered`: our SDP (the answer, or our offer if the re-INVITE had none), or a refusal; 488 leaves the
    /// call as it was.
    ///
    /// # Errors
    /// [`SipError::WrongState`] if no offer waits; [`SipError::BadCode`], [`SipError::BadHeader`],
    /// [`SipError::TooLarge`].
    pub fn answer_reoffer(
        &mut self,
        now: Time,
        dialog: DialogId,
        answer: Result<&str, Rejection>,
    ) -> Result<(), SipError> {
        let found = self.dialog(dialog)?;
        let Some(Reoffer { tx, method, offered, .. }) = found.reoffer else {
            return Err(wrong(found, "answer an offer"));
        };
        let sdp = match answer {
            Ok(sdp) => sdp,
            Err(rejection) => {
                check_rejection(&rejection)?;
                self.close_reoffer(now, dialog, &rejection);
                return Ok(());
            }
        };
        // The first offer of a caller whose INVITE had none is answered: ours in the 200 of the call repeats that.
        if let (OfferMethod::Prack, State::Invited { offered: had, .. }) = (method, &mut found.state) {
            *had = true;
            if let Some(early) = found.early.as_mut() {
                early.agreed = true;
            }
        }
        // The session timer's terms are those of the first INVITE until that is answered.
        let early = matches!(found.state, State::Invited { .. } | State::Calling(_));
        let kept = if early { found.terms.take() } else { None };
        let draft = self.answer_draft(dialog, tx, 200);
        if early && let Some(found) = self.dialogs.by_id.get_mut(&dialog) {
            found.terms = kept;
        }
        let bytes = draft.ok_or(SipError::NoSuchDialog(dialog))?.finish_sdp(sdp)?;
        if let Some(found) = self.dialogs.by_id.get_mut(&dialog) {
            found.reoffer = None;
            found.local_sdp = Some(sdp.to_owned());
        }
        match method {
            OfferMethod::Invite => {
                self.send_answer(now, dialog, tx, Answered200 { bytes, first: false, offers: !offered });
            }
            OfferMethod::Update | OfferMethod::Prack if early => {
                self.send_final(now, tx, bytes);
                self.send_next(now, dialog);
            }
            OfferMethod::Update | OfferMethod::Prack => {
                let headers = self.transactions.request(tx).map(|(request, _)| request.headers.clone());
                self.send_final(now, tx, bytes);
                let terms = self.dialogs.by_id.get_mut(&dialog).and_then(|found| found.terms.take());
                self.agree(now, dialog, terms, &headers.unwrap_or_default());
                self.offer_wanted(now, dialog);
            }
        }
        Ok(())
    }

    /// Ends an offer that waits because the call ends.
    pub(super) fn drop_reoffer(&mut self, now: Time, id: DialogId) {
        self.close_reoffer(now, id, &Rejection::new(487));
    }

    pub(super) fn give_up_reoffer(&mut self, now: Time, id: DialogId, seq: u32) {
        let waits = self.dialogs.by_id.get(&id).and_then(|dialog| dialog.reoffer.as_ref());
        if waits.is_some_and(|reoffer| reoffer.seq == seq) {
            self.close_reoffer(now, id, &Rejection::new(500));
        }
    }

    fn close_reoffer(&mut self, now: Time, id: DialogId, rejection: &Rejection) {
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        let Some(reoffer) = dialog.reoffer.take() else { return };
        let tag = dialog.path.local_tag.clone();
        match reoffer.method {
            OfferMethod::Invite => self.refuse_invite(now, reoffer.tx, &tag, rejection),
            OfferMethod::Update | OfferMethod::Prack => {
                if let Some(mut draft) = self.answer_draft(id, reoffer.tx, rejection.code) {
                    draft.extra(&rejection.headers);
                    self.send_final(now, reoffer.tx, draft.finish());
                }
            }
        }
        self.send_next(now, id);
        self.offer_wanted(now, id);
    }

    /// The final answer of an UPDATE or PRACK.
    fn send_final(&mut self, now: Time, tx: TxId, bytes: Vec<u8>) {
        if let Some((_, to)) = self.transactions.request(tx) {
            self.wire.send(to.clone(), bytes.clone());
            self.conclude(now, tx, Answer::Repeat(to, bytes));
        }
    }

    /// An UPDATE without offer only refreshes the target.
    fn refresh(&mut self, now: Time, id: DialogId, arrival: Arrival) {
        let mut draft = response(&arrival.request, 200, "", &self.local_tag(id));
        let sips = came_by_sips(&arrival.request);
        draft.line("Contact", self.identity.contact(arrival.reply_to.transport, sips));
        draft.line("Server", &self.identity.agent);
        let up = self.dialogs.by_id.get_mut(&id).filter(|dialog| matches!(dialog.state, State::Up { .. }));
        if let Some(dialog) = up {
            let terms = dialog.terms.take();
            if let Some(terms) = &terms {
                terms_lines(&mut draft, terms);
            }
            self.agree(now, id, terms, &arrival.request.headers);
        }
        let bytes = draft.finish();
        self.accept(now, arrival, bytes);
    }

    /// A peer whose offer comes too early tries again: after 491 by its own rule (RFC 3261 section
    /// 14.1), after 500 when `Retry-After` says.
    fn refuse_reoffer(&mut self, arrival: &Arrival, code: u16) {
        let refusal = match code {
            500 => Refusal::with(500, "Retry-After", self.random.up_to(10).to_string()),
            _ => Refusal::plain(code),
        };
        self.refuse(arrival, &refusal);
    }
}

/// Why an offer of the peer cannot be taken now: 491 if one of ours is open, 500 if one of its own
/// is (RFC 3261 section 14.2, RFC 3311 section 5.2), 481 if the call is ending.
///
/// Before the answer an UPDATE may change what a reliable provisional response has agreed on (RFC 3311 section 5.1).
fn obstacle(dialog: &Dialog, method: OfferMethod, from_tag: &[u8]) -> Option<u16> {
    let update = method == OfferMethod::Update && dialog.reoffer.is_none();
    match &dialog.state {
        State::Invited { .. } if update && dialog.early.as_ref().is_some_and(|early| early.agreed) => None,
        State::Invited { .. } => Some(500),
        State::Calling(calling) if update && calling.agreed_with(from_tag) => None,
        State::Calling(_) if dialog.reoffer.is_some() => Some(500),
        State::Calling(_) => Some(491),
        State::Ending { .. } | State::Left { .. } => Some(481),
        State::Up { .. } if dialog.reoffer.is_some() => Some(500),
        State::Up { .. } if dialog.offers() => Some(491),
        State::Up { .. } if dialog.unacked.as_ref().is_some_and(|unacked| unacked.offers) => Some(491),
        State::Up { .. } => None,
    }
}
