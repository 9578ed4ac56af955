//! Someone else takes the far end's place: because the far end sends us on (a REFER that we take), or because a new call
//! says so (`Replaces`, RFC 3891). The conversation, its sound and its recording go on; only the leg is another.

use std::net::IpAddr;
use std::time::Duration;

use protocol::CallTime;
use protocol::event::{Event, TransferState};
use protocol::option::SipOption;
use rtp::sdp::KeyRing;

use super::dialing::{host, uri};
use super::keys::Keys;
use super::{Core, Due, Effect, State};
use crate::end::End;
use crate::legs::sip_media::{Agreed, SipMedia};
use crate::legs::{CallOut, Failed, LegEvent, LegId, LegRequest};
use crate::media::order::{RtpPlan, ToMedia};
use crate::setup::{TransferRequests, Undialled};

/// How long a client may think about a transfer that the far end wants; the SIP endpoint waits ten seconds.
const THINKING: Duration = Duration::from_secs(8);
/// How long the target may let it ring.
const PATIENCE: Duration = Duration::from_secs(30);
/// Refusal of a transfer that nobody here wants.
const DECLINE: u16 = 603;
/// Refusal while another transfer is under way.
const BUSY_WITH_ANOTHER: u16 = 491;

/// Who is to take the far end's place.
#[derive(Debug)]
pub(crate) enum Succession {
    /// The far end wants to send us on, and a client is asked.
    Asked { to: String, replaces: Option<String> },
    /// The target is being called on this leg.
    Called(Called),
    /// A new call waits on this leg.
    Calling(Newcomer),
    /// Our answer to it is on its way; only when that has gone out is it known that it was not given up.
    Answering(Box<Answering>),
}

/// A call that wants to take the place of a party of ours.
#[derive(Debug)]
pub(crate) struct Newcomer {
    leg: LegId,
    /// The leg of the party whose place it takes.
    place: LegId,
    caller: String,
    offer: Option<String>,
    source: IpAddr,
}

/// Such a call that is being answered.
#[derive(Debug)]
pub(crate) struct Answering {
    newcomer: Newcomer,
    media: SipMedia,
    plan: Option<RtpPlan>,
}

/// A target that the far end has sent us to.
#[derive(Debug)]
pub(crate) struct Called {
    leg: LegId,
    to: String,
    replaces: Option<String>,
    media: Option<Box<SipMedia>>,
    /// How the call ends if the target does not answer: the far end has not waited for that.
    left: Option<End>,
}

impl Succession {
    fn leg(&self) -> Option<LegId> {
        match self {
            Succession::Asked { .. } => None,
            Succession::Called(Called { leg, .. }) | Succession::Calling(Newcomer { leg, .. }) => Some(*leg),
            Succession::Answering(answering) => Some(answering.newcomer.leg),
        }
    }
}

impl Core {
    /// Whether `leg` is that of a successor.
    pub(crate) fn succeeds(&self, leg: LegId) -> bool {
        self.succession.as_ref().and_then(Succession::leg) == Some(leg)
    }

    /// The far end wants to send us on to `to`.
    pub(crate) fn sent_on(&mut self, now: CallTime, to: &str, by: Option<String>, replaces: Option<String>) {
        let (track_id, timestamp) = (self.facts.id.clone(), self.unix_ms(now));
        self.emit(Event::TransferRequest { track_id, timestamp, refer_to: to.to_owned(), referred_by: by });
        if !self.is_up() || self.referred.is_some() || self.handover.is_some() || self.succession.is_some() {
            return self.request(LegRequest::AnswerTransfer(Err(BUSY_WITH_ANOTHER)));
        }
        let Ok(to) = uri(to) else { return self.request(LegRequest::AnswerTransfer(Err(416))) };
        let agreed = match (self.facts.rules.transfer_requests, &self.playbook) {
            (TransferRequests::Refuse, _) => Some(false),
            (TransferRequests::Accept, _) => Some(true),
            (TransferRequests::Ask, Some(playbook)) => Some(playbook.allowed.permits(&to)),
            (TransferRequests::Ask, None) => None,
        };
        self.succession = Some(Succession::Asked { to, replaces });
        match agreed {
            Some(agreed) => self.answer_sending_on(now, if agreed { Ok(()) } else { Err(DECLINE) }),
            None => self.deadlines.set(now + THINKING, Due::Succession),
        }
    }

    /// Whether a client is asked about a transfer.
    pub(crate) fn is_asked_to_go(&self) -> bool {
        matches!(self.succession, Some(Succession::Asked { .. }))
    }

    /// Takes the transfer that the far end wants, or refuses it.
    pub(crate) fn answer_sending_on(&mut self, now: CallTime, answer: Result<(), u16>) {
        let Some(Succession::Asked { to, replaces }) = self.succession.take() else { return };
        self.deadlines.drop_where(|due| *due == Due::Succession);
        self.request(LegRequest::AnswerTransfer(answer));
        if answer.is_err() {
            return;
        }
        let leg = self.next_leg();
        let own = if self.dialled { self.caller() } else { self.callee() };
        let own = uri(&own).unwrap_or_else(|_| "sip:active-call@127.0.0.1".to_owned());
        let dial = self.dial_for(own, to.clone(), self.sip_option_at(&to));
        self.succession = Some(Succession::Called(Called { leg, to, replaces, media: None, left: None }));
        self.deadlines.set(now + PATIENCE + Duration::from_secs(2), Due::Succession);
        self.effect(Effect::Dial(leg, Box::new(dial)));
    }

    /// Nobody has decided, or the target's leg has told nothing for longer than it may ring.
    pub(crate) fn succession_timed_out(&mut self, now: CallTime) {
        match &self.succession {
            Some(Succession::Asked { .. }) => self.answer_sending_on(now, Err(DECLINE)),
            Some(Succession::Called(_)) => self.not_succeeded(now, 408, "no answer"),
            _ => {}
        }
    }

    /// What this call says to servers of its far end, and to no others: a far end that sends us on must not learn a
    /// password or have it used elsewhere.
    fn sip_option_at(&self, to: &str) -> SipOption {
        let far = if self.dialled { self.callee() } else { self.caller() };
        let sip = self.option.sip.as_ref().filter(|_| host(to).is_some() && host(to) == host(&far));
        sip.cloned().unwrap_or_default()
    }

    /// A line to the target is there, or there is none.
    pub(crate) fn successor_line(&mut self, now: CallTime, line: Result<Box<SipMedia>, Undialled>) {
        let encryption = self.encryption(None);
        let Some(Succession::Called(Called { to, .. })) = &self.succession else { return };
        let headers = self.sip_option_at(to).headers.unwrap_or_default();
        let own = if self.dialled { self.caller() } else { self.callee() };
        let Some(Succession::Called(called)) = &mut self.succession else { return };
        let mut media = match line {
            Ok(media) => media,
            Err(Undialled { code, reason }) => return self.not_succeeded(now, code, &reason),
        };
        media.encrypt(encryption);
        let invite = CallOut {
            caller: uri(&own).unwrap_or_else(|_| "sip:active-call@127.0.0.1".to_owned()),
            callee: called.to.clone(),
            sdp: media.make_offer(),
            headers,
            patience: PATIENCE,
            replaces: called.replaces.clone(),
        };
        called.media = Some(media);
        let leg = called.leg;
        self.effect(Effect::Request(leg, LegRequest::Invite(Box::new(invite))));
    }

    /// Something happened on the successor's leg.
    pub(crate) fn successor_leg(&mut self, now: CallTime, event: LegEvent) {
        match event {
            LegEvent::Ringing { code, .. } => {
                let Some(Succession::Called(called)) = &self.succession else { return };
                let to = called.to.clone();
                self.request(LegRequest::TransferProgress { code, reason: String::new() });
                self.tell_transfer(now, TransferState::Ringing, &to, (code, ""));
            }
            LegEvent::Answered { sdp } => self.target_answers(now, sdp.as_deref().unwrap_or_default()),
            LegEvent::Refused { code, reason } => self.not_succeeded(now, code, &reason),
            LegEvent::AnswerSent => self.answer_sent(now),
            LegEvent::Ended { .. } | LegEvent::Canceled | LegEvent::Unreached => {
                self.not_succeeded(now, 487, "given up");
            }
            // Nobody takes the place of who is still being called to take one.
            LegEvent::TakenOver { .. } => {
                if let Some(place) = self.succession.as_ref().and_then(Succession::leg) {
                    self.turn_away(place, DECLINE);
                }
            }
            _ => {}
        }
    }

    /// The successor's leg could not do what was asked of it.
    pub(crate) fn successor_failed(&mut self, now: CallTime, failed: Failed, why: &str) {
        match failed {
            Failed::Invite => self.not_succeeded(now, 500, why),
            // The new call was given up in the moment in which it was answered; who was there stays.
            Failed::Gone | Failed::Answer => self.not_succeeded(now, 487, why),
            _ => self.error(now, "sip", why, 500),
        }
    }

    fn target_answers(&mut self, now: CallTime, answer: &str) {
        let start = self.start();
        let Some(Succession::Called(Called { media: Some(media), .. })) = &mut self.succession else {
            return;
        };
        let plan = match media.answered(answer, start) {
            Ok(plan) => plan,
            Err(error) => return self.not_succeeded(now, error.status(), &error.to_string()),
        };
        self.deadlines.drop_where(|due| *due == Due::Succession);
        let Some(Succession::Called(Called { leg, to, media: Some(media), .. })) = self.succession.take()
        else {
            return;
        };
        self.step_in(now, leg, *media);
        self.agreed(now, LegId::MAIN, plan);
        // The two legs have changed their names: `leg` is who has sent us on.
        self.effect(Effect::Request(leg, LegRequest::TransferProgress { code: 200, reason: String::new() }));
        // As with a second party.
        let (headers, _) = self.bye_headers();
        self.effect(Effect::Request(leg, LegRequest::Hangup { headers }));
        self.effect(Effect::Drop(leg));
        self.tell_transfer(now, TransferState::Succeeded, &to, (200, ""));
    }

    /// The leg becomes the main one, and the main one becomes `leg`.
    fn step_in(&mut self, now: CallTime, leg: LegId, media: SipMedia) {
        // What was under way with the party that leaves is not the new one's.
        self.handed_over(now, TransferState::Failed, 487, "another party has taken over");
        self.forget_digits();
        self.keys = Keys::default();
        self.order(ToMedia::Renew(LegId::MAIN));
        self.effect(Effect::Exchange(leg, LegId::MAIN));
        let direction = media.direction();
        self.sip = Some(media);
        self.hold_successor(now, direction);
    }

    /// The target does not take the far end's place: the far end is told and stays.
    fn not_succeeded(&mut self, now: CallTime, code: u16, reason: &str) {
        self.deadlines.drop_where(|due| *due == Due::Succession);
        match self.succession.take() {
            Some(Succession::Called(Called { leg, to, left, .. })) => {
                self.let_successor_go(leg);
                let reason = reason.to_owned();
                self.tell_transfer(now, TransferState::Failed, &to, (code, &reason));
                match left {
                    Some(end) => self.end(now, end),
                    None => self.request(LegRequest::TransferProgress { code, reason }),
                }
            }
            Some(succession) => {
                if let Some(leg) = succession.leg() {
                    self.let_successor_go(leg);
                }
            }
            None => {}
        }
    }

    fn let_successor_go(&mut self, leg: LegId) {
        self.effect(Effect::Request(leg, LegRequest::Hangup { headers: protocol::Headers::new() }));
        self.effect(Effect::Drop(leg));
    }

    /// The call ends, and with it what was to become of its far end.
    pub(crate) fn end_succession(&mut self) {
        if let Some(leg) = self.succession.take().and_then(|succession| succession.leg()) {
            self.let_successor_go(leg);
        }
    }

    /// A new call wants to take the place of the party on `place`.
    pub(crate) fn taken_over(
        &mut self,
        now: CallTime,
        place: LegId,
        (caller, offer): (String, Option<String>),
        source: IpAddr,
    ) {
        // The name of a call is told to many (records, lists, the other parties), so knowing it proves nothing.
        let wanted = self.facts.rules.transfer_requests == TransferRequests::Accept;
        let main = place == LegId::MAIN;
        let here = !main || self.is_up() || matches!(self.state, State::Dialing);
        if !wanted || !here || self.media_of(place).is_none() {
            return self.turn_away(place, DECLINE);
        }
        if !main && self.succession.is_some() {
            return self.turn_away(place, BUSY_WITH_ANOTHER);
        }
        // Where the far end has sent us on, it stays no longer; the new call is the one that counts.
        self.not_succeeded(now, 487, "another call has taken over");
        let leg = self.next_leg();
        self.succession = Some(Succession::Calling(Newcomer { leg, place, caller, offer, source }));
        self.effect(Effect::Adopt(place, leg));
    }

    /// Refuses the call that wants to take the place of the party on `place`.
    fn turn_away(&mut self, place: LegId, code: u16) {
        let leg = self.next_leg();
        self.effect(Effect::Adopt(place, leg));
        self.effect(Effect::Request(leg, LegRequest::Reject { code, reason: String::new() }));
        self.effect(Effect::Drop(leg));
    }

    fn next_leg(&mut self) -> LegId {
        self.legs_dialled += 1;
        LegId(self.legs_dialled)
    }

    /// The leg of the new call is there, with fresh keys for it, or it has given up.
    pub(crate) fn adopted(&mut self, now: CallTime, adopted: LegId, keys: Option<KeyRing>) {
        if !self.succeeds(adopted) {
            return;
        }
        let Some(Succession::Calling(newcomer)) = self.succession.take() else { return };
        let (leg, offer) = (newcomer.leg, newcomer.offer.clone());
        let Some(keys) = keys else { return };
        let Some((old, start)) = self.media_of(newcomer.place) else {
            self.effect(Effect::Request(leg, LegRequest::Reject { code: 481, reason: String::new() }));
            return self.effect(Effect::Drop(leg));
        };
        let mut media = old.successor(offer, newcomer.source, keys);
        match media.answer(start) {
            Ok(Agreed { sdp, plan }) => {
                self.succession = Some(Succession::Answering(Box::new(Answering { newcomer, media, plan })));
                self.effect(Effect::Request(leg, LegRequest::Answer { sdp }));
            }
            Err(error) => {
                let (code, reason) = (error.status(), String::new());
                self.effect(Effect::Request(leg, LegRequest::Reject { code, reason }));
                self.effect(Effect::Drop(leg));
                self.error(now, "sip", error.to_string(), code);
            }
        }
    }

    /// Our answer to the new call has gone out: it takes the place it wants. The endpoint ends the dialog in whose
    /// place it comes.
    fn answer_sent(&mut self, now: CallTime) {
        let Some(Succession::Answering(answering)) = self.succession.take() else { return };
        let Answering { newcomer: Newcomer { leg, place, caller, offer, .. }, media, plan } = *answering;
        if place == LegId::MAIN {
            self.step_in(now, leg, media);
        } else {
            self.second_steps_in(leg, media);
        }
        self.effect(Effect::Drop(leg));
        if let Some(plan) = plan {
            self.agreed(now, place, plan);
        }
        self.tell_transfer(now, TransferState::TakenOver, &caller, (200, ""));
        self.picked_up(now, place, &offer.unwrap_or_default());
    }

    /// Who has taken the place of a party that still rang has answered for it.
    fn picked_up(&mut self, now: CallTime, place: LegId, sdp: &str) {
        if place != LegId::MAIN {
            if self.second_party().is_none() {
                self.second_up(now, sdp);
            }
        } else if matches!(self.state, State::Dialing) {
            self.answered_for(now, sdp);
        }
    }

    /// The far end has left. Where it has sent us to someone who is still being called, the call goes on for now.
    pub(crate) fn far_end_left(&mut self, now: CallTime, end: End) {
        match &mut self.succession {
            Some(Succession::Called(called)) => called.left = Some(end),
            _ => self.end(now, end),
        }
    }
}
