//! Provisional responses that are acknowledged (RFC 3262).

use std::collections::VecDeque;

use sipx_sip::rel::{self, RAck, RSeq, Received, Reliability};
use sipx_sip::{HeaderName, Headers, Method, Response};

use super::Endpoint;
use super::inbound::Arrival;
use crate::config::Time;
use crate::dialog::{Dialog, Early, Next, Reliably, State};
use crate::event::{DialogId, EndCause, OfferMethod, SipEvent};
use crate::message::{Draft, Refusal, cseq, from_tag, response, sdp, text, to_tag, value};
use crate::order::{Rejection, SipError};
use crate::path::Path;
use crate::schedule::Chore;
use crate::transactions::{Errand, Job, TxId};

/// Provisional responses of calls that are over whose PRACK may still come. When full the oldest is forgotten.
const MOST_OUTSTANDING: usize = 1_024;

/// Provisional responses that were not acknowledged when their calls were refused.
#[derive(Debug, Default)]
pub(super) struct Outstanding(VecDeque<Unconfirmed>);

/// One of them.
#[derive(Debug)]
struct Unconfirmed {
    call_id: Vec<u8>,
    local_tag: String,
    remote_tag: Vec<u8>,
    invited_seq: u32,
    numbering: rel::Numbering,
    until: Time,
}

impl Outstanding {
    /// Keeps what a call that is forgotten still waits for. Once it has its final response nothing is repeated, yet a
    /// PRACK that is under way is to be taken (RFC 3262 section 3).
    pub(super) fn keep(&mut self, dialog: &Dialog) {
        let (State::Invited { .. }, Some(early)) = (&dialog.state, &dialog.early) else { return };
        let (Some(waiting), Some(invited_seq)) = (&early.waiting, dialog.invited_seq) else { return };
        if self.0.len() >= MOST_OUTSTANDING {
            self.0.pop_front();
        }
        let Path { call_id, local_tag, remote_tag, .. } = &dialog.path;
        self.0.push_back(Unconfirmed {
            call_id: call_id.clone(),
            local_tag: local_tag.clone(),
            remote_tag: remote_tag.clone(),
            invited_seq,
            numbering: early.numbering,
            until: waiting.until,
        });
    }

    /// Whether a PRACK is of one of them, once.
    fn take(&mut self, now: Time, headers: &Headers) -> bool {
        self.0.retain(|one| now < one.until);
        let (Some(ack), to) = (headers.typed::<RAck>().and_then(Result::ok), to_tag(headers)) else {
            return false;
        };
        let (from, call_id) = (from_tag(headers), value(headers, &HeaderName::CallId));
        let at = self.0.iter_mut().position(|one| {
            one.local_tag.as_bytes() == to
                && one.remote_tag == from
                && one.call_id == call_id
                && one.numbering.acknowledge(&ack, one.invited_seq, b"INVITE")
        });
        at.and_then(|at| self.0.remove(at)).is_some()
    }
}

impl Endpoint {
    /// A PRACK of a call that is over; gives back what is none that was waited for.
    pub(super) fn confirmed_late(&mut self, now: Time, arrival: Arrival, tag: &[u8]) -> Option<Arrival> {
        let late = arrival.request.method == Method::Prack;
        if !late || !self.outstanding.take(now, &arrival.request.headers) {
            return Some(arrival);
        }
        let bytes = response(&arrival.request, 200, "", &text(tag)).finish();
        self.accept(now, arrival, bytes);
        None
    }

    /// Acknowledges a provisional response to our INVITE if it wants that; whether it is to be told:
    /// a copy is not, nor one that has overtaken another.
    pub(super) fn confirm(&mut self, now: Time, id: DialogId, response: &Response) -> bool {
        let number = response.headers.typed::<RSeq>().and_then(Result::ok);
        let Some(RSeq(number)) = number.filter(|_| requires(&response.headers, rel::OPTION_TAG)) else {
            return true;
        };
        let branch = self.random.branch();
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return false };
        let State::Calling(calling) = &mut dialog.state else { return false };
        let Some(fork) = calling.fork(&to_tag(&response.headers)) else { return true };
        if fork.reliable.accept(number) != Received::Acknowledge {
            return false;
        }
        fork.agreed |= !dialog.offerless && sdp(&response.headers, response.body()).is_some();
        let (mut draft, way) = fork.path.request("PRACK", &self.identity, &branch);
        let invited = cseq(&response.headers).unwrap_or(1);
        draft.line("RAck", format!("{number} {invited} INVITE"));
        if let Some(auth) = dialog.auth.as_mut() {
            let uri = text(&fork.path.request_uri());
            for (name, value) in auth.lines("PRACK", &uri, &branch) {
                draft.line(&text(name.canonical()), value);
            }
        }
        self.send_inside(now, (draft.finish(), way), Job::of(id, Errand::Prack));
        true
    }

    /// What a new call says of provisional responses that are acknowledged.
    pub(super) fn early(&mut self, request: &sipx_sip::Request) -> Option<Box<Early>> {
        match rel::reliability(rel::Offered::in_request(request), true) {
            Reliability::Forbidden | Reliability::Refuse => None,
            mode => {
                let first = self.random.up_to(rel::MAX_FIRST_RSEQ / 2).saturating_add(1);
                let numbering = rel::Numbering::starting_at(first);
                Some(Box::new(Early {
                    required: mode == Reliability::Required,
                    numbering,
                    agreed: false,
                    waiting: None,
                    late_until: None,
                    next: None,
                }))
            }
        }
    }

    /// Sends a provisional response that is repeated until its PRACK comes. While one waits, the next
    /// waits behind it.
    pub(super) fn ring_reliably(
        &mut self,
        now: Time,
        (dialog, tx): (DialogId, TxId),
        mut draft: Draft,
        sdp: Option<&str>,
    ) -> Result<(), SipError> {
        let Some(found) = self.dialogs.by_id.get_mut(&dialog) else { return Ok(()) };
        let Some(early) = found.early.as_mut() else { return Ok(()) };
        let Some(number) = early.numbering.allocate() else {
            early.next = Some(Next::Ring(sdp.map(str::to_owned)));
            return Ok(());
        };
        draft.line("Require", rel::OPTION_TAG);
        draft.line("RSeq", number.to_string());
        let bytes = draft.finish_with(sdp)?;
        let interval = self.config.t1;
        let until = now.saturating_add(self.config.patience());
        early.waiting =
            Some(Reliably { number, bytes: bytes.clone(), interval, until, answers: sdp.is_some() });
        self.send_provisional(now, tx, bytes);
        self.wire.remind(now.saturating_add(interval), dialog, Chore::RepeatEarly(number));
        Ok(())
    }

    pub(super) fn send_provisional(&mut self, now: Time, tx: TxId, bytes: Vec<u8>) {
        let to = self.transactions.request(tx).map(|(_, to)| to);
        let sent = self.transactions.respond(now, &mut self.wire, tx, bytes);
        if let (Err(bytes), Some(to)) = (sent, to) {
            self.wire.send(to, bytes);
        }
    }

    /// Nobody has acknowledged a provisional response yet.
    pub(super) fn repeat_early(&mut self, now: Time, id: DialogId, number: u32) {
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        let State::Invited { tx, .. } = dialog.state else { return };
        let waiting = dialog.early.as_mut().and_then(|early| early.waiting.as_mut());
        let Some(waiting) = waiting.filter(|waiting| waiting.number == number) else { return };
        if now >= waiting.until {
            let tag = dialog.path.local_tag.clone();
            self.refuse_invite(now, tx, &tag, &Rejection::new(504));
            return self.end(id, Vec::new(), EndCause::PrackTimeout);
        }
        waiting.interval = waiting.interval.saturating_mul(2);
        let next = now.saturating_add(waiting.interval).min(waiting.until);
        let bytes = waiting.bytes.clone();
        self.wire.counters.retransmissions += 1;
        if let Some((_, to)) = self.transactions.request(tx) {
            self.wire.send(to, bytes);
        }
        self.wire.remind(next, id, Chore::RepeatEarly(number));
    }

    pub(super) fn prack_received(&mut self, now: Time, id: DialogId, arrival: Arrival) {
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        let ack = arrival.request.headers.typed::<RAck>().and_then(Result::ok);
        let (Some(early), Some(ack), Some(invited)) = (dialog.early.as_mut(), ack, dialog.invited_seq) else {
            return self.refuse(&arrival, &Refusal::plain(481));
        };
        let late = early.late_until.is_some_and(|until| now > until);
        if late || !early.numbering.acknowledge(&ack, invited, b"INVITE") {
            return self.refuse(&arrival, &Refusal::plain(481));
        }
        let answered = early.waiting.take().is_some_and(|waiting| waiting.answers);
        early.agreed |= answered && matches!(dialog.state, State::Invited { offered: true, .. });
        // A caller that has made no offer yet may make its first one here.
        let waits = match dialog.state {
            State::Invited { offered, .. } => early.agreed || !offered,
            _ => false,
        };
        let takes = waits && dialog.reoffer.is_none();
        let offer = sdp(&arrival.request.headers, arrival.request.body());
        if offer.is_some() && takes {
            return self.take_offer(now, id, arrival, (OfferMethod::Prack, offer));
        }
        // An offer while another is open may not be made (RFC 3262 section 5) and is not taken, but the PRACK has arrived,
        // which only a 2xx says (RFC 3262 section 3).
        let bytes = response(&arrival.request, 200, "", &self.local_tag(id)).finish();
        self.accept(now, arrival, bytes);
        self.send_next(now, id);
    }

    /// Sends what has waited until a provisional response was acknowledged and an offer of the caller answered.
    pub(super) fn send_next(&mut self, now: Time, id: DialogId) {
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        let Some(early) = dialog.early.as_mut() else { return };
        if dialog.reoffer.is_some() || early.waiting.is_some() {
            return;
        }
        // It was looked at when it was ordered.
        match early.next.take() {
            Some(Next::Ring(sdp)) => drop(self.ring(now, id, sdp.as_deref())),
            Some(Next::Answer(sdp, headers)) => {
                // Other media may have been agreed on meanwhile.
                let sdp = dialog.local_sdp.clone().unwrap_or(sdp);
                if self.answer(now, id, &sdp, &headers).is_ok() {
                    self.wire.tell(SipEvent::AnswerSent { dialog: id });
                }
            }
            None => {}
        }
    }
}

/// Whether `Require` names this extension.
pub(super) fn requires(headers: &Headers, tag: &str) -> bool {
    names(headers, &HeaderName::Require, tag)
}

/// Whether a header that lists option tags names this one.
pub(super) fn names(headers: &Headers, list: &HeaderName, tag: &str) -> bool {
    let rows = headers.get_all(list).map(|header| text(&header.value()));
    rows.into_iter().any(|row| row.split(',').any(|named| named.trim().eq_ignore_ascii_case(tag)))
}
