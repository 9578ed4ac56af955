//! Someone else takes the far end's place: because the far end sends us on (a REFER that we take), or because a new call
//! says so (`Replaces`, RFC 3891). The conversation, its sound and its recording go on; only the leg is another.

use std::net::IpAddr;
use std::time::Duration;

use protocol::event::{Event, TransferState};
use protocol::option::SipOption;
use protocol::reason::Particulars;
use protocol::{CallTime, Headers};
use rtp::sdp::KeyRing;

use super::dialing::{host, uri};
use super::ending::saying;
use super::handing_over::Passage;
use super::keys::Keys;
use super::{Core, Due, Effect, State};
use crate::end::End;
use crate::legs::sip_media::{Agreed, SipMedia};
use crate::legs::{CallOut, Failed, LegEvent, LegId, LegRequest, TransferIn};
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
/// Refusal of a target that is neither `sip:`, `sips:` nor `tel:`.
const UNSUPPORTED_SCHEME: u16 = 416;

/// Who is to take the far end's place.
#[derive(Debug)]
pub(crate) enum Succession {
    /// A party wants to send us on, and a client is asked.
    Asked(Wish),
    /// The target is being called on this leg.
    Called(Called),
    /// A new call waits on this leg.
    Calling(Newcomer),
    /// Our answer to it is on its way; only when that has gone out is it known that it was not given up.
    Answering(Box<Answering>),
}

/// What a party wants that sends us on.
#[derive(Debug)]
pub(crate) struct Wish {
    /// Who it is.
    place: LegId,
    to: String,
    replaces: Option<String>,
    referred_by: Option<String>,
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

/// What the rules say to a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judged {
    /// It is done.
    Agreed,
    /// It is not, with this status.
    Refused(u16),
    /// A client decides.
    Asked,
}

impl Judged {
    /// SIP status of the answer that is given at once.
    fn code(self) -> Option<u16> {
        match self {
            Judged::Agreed => Some(202),
            Judged::Refused(code) => Some(code),
            Judged::Asked => None,
        }
    }
}

/// Such a call that is being answered.
#[derive(Debug)]
pub(crate) struct Answering {
    newcomer: Newcomer,
    media: SipMedia,
    plan: Option<RtpPlan>,
}

/// A target that a party has sent us to.
#[derive(Debug)]
pub(crate) struct Called {
    leg: LegId,
    wish: Wish,
    media: Option<Box<SipMedia>>,
    /// How the party's part ends if the target does not answer: it has not waited for that.
    left: Option<End>,
}

impl Succession {
    fn leg(&self) -> Option<LegId> {
        match self {
            Succession::Asked(_) => None,
            Succession::Called(Called { leg, .. }) | Succession::Calling(Newcomer { leg, .. }) => Some(*leg),
            Succession::Answering(answering) => Some(answering.newcomer.leg),
        }
    }

    /// Whose place it is about.
    fn place(&self) -> LegId {
        match self {
            Succession::Asked(wish) | Succession::Called(Called { wish, .. }) => wish.place,
            Succession::Calling(newcomer) => newcomer.place,
            Succession::Answering(answering) => answering.newcomer.place,
        }
    }
}

impl Core {
    /// Whether `leg` is that of a successor.
    pub(crate) fn succeeds(&self, leg: LegId) -> bool {
        self.succession.as_ref().and_then(Succession::leg) == Some(leg)
    }

    /// The party on `place` wants to send us on to someone else.
    pub(crate) fn sent_on(&mut self, now: CallTime, place: LegId, transfer: TransferIn) {
        let judged = self.judge_wish(place, &transfer.to);
        let ((track_id, refer), timestamp) = (self.track_of(place), self.unix_ms(now));
        let TransferIn { to, referred_by, replaces } = transfer;
        self.emit(Event::TransferRequest {
            track_id,
            timestamp,
            refer_to: to.clone(),
            referred_by: referred_by.clone(),
            replaces: replaces.is_some().then_some(true),
            code: judged.code(),
            refer,
        });
        let wish = Wish { place, to: uri(&to).unwrap_or(to), replaces, referred_by };
        match judged {
            Judged::Refused(code) => {
                self.effect(Effect::Request(place, LegRequest::AnswerTransfer(Err(code))));
            }
            Judged::Agreed => self.send_on(now, wish),
            Judged::Asked => {
                self.succession = Some(Succession::Asked(wish));
                self.deadlines.set(now + THINKING, Due::Succession);
            }
        }
    }

    /// What the rules say to the party on `place` that wants to send us to `to`.
    fn judge_wish(&self, place: LegId, to: &str) -> Judged {
        let up = if place == LegId::MAIN { self.is_up() } else { self.second_party().is_some() };
        if !up || self.handover.is_some() || self.succession.is_some() {
            return Judged::Refused(BUSY_WITH_ANOTHER);
        }
        let Ok(to) = uri(to) else { return Judged::Refused(UNSUPPORTED_SCHEME) };
        match (self.facts.rules.transfer_requests, &self.playbook) {
            (TransferRequests::Accept, _) => Judged::Agreed,
            (TransferRequests::Ask, Some(playbook)) if playbook.allowed.permits(&to) => Judged::Agreed,
            (TransferRequests::Ask, None) => Judged::Asked,
            (TransferRequests::Refuse | TransferRequests::Ask, _) => Judged::Refused(DECLINE),
        }
    }

    /// Whether a client is asked about a transfer.
    pub(crate) fn is_asked_to_go(&self) -> bool {
        matches!(self.succession, Some(Succession::Asked(_)))
    }

    /// Takes the transfer that a party wants, or refuses it.
    pub(crate) fn answer_sending_on(&mut self, now: CallTime, answer: Result<(), u16>) {
        let Some(Succession::Asked(wish)) = self.succession.take() else { return };
        self.deadlines.drop_where(|due| *due == Due::Succession);
        match answer {
            Ok(()) => self.send_on(now, wish),
            Err(code) => self.effect(Effect::Request(wish.place, LegRequest::AnswerTransfer(Err(code)))),
        }
    }

    /// Calls whom a party wants in its place.
    fn send_on(&mut self, now: CallTime, wish: Wish) {
        self.effect(Effect::Request(wish.place, LegRequest::AnswerTransfer(Ok(()))));
        let leg = self.next_leg();
        let dial = self.dial_for(self.own_uri_on(wish.place), wish.to.clone(), self.sip_option_at(&wish));
        self.succession = Some(Succession::Called(Called { leg, wish, media: None, left: None }));
        self.deadlines.set(now + PATIENCE + Duration::from_secs(2), Due::Succession);
        self.effect(Effect::Dial(leg, Box::new(dial)));
    }

    /// Who we are to the party on `place`, and so to whom it sends us.
    fn own_uri_on(&self, place: LegId) -> String {
        let second = self.second_ends().filter(|_| place != LegId::MAIN);
        let own = match second {
            Some((caller, _)) => caller.to_owned(),
            None if self.dialled => self.caller(),
            None => self.callee(),
        };
        uri(&own).unwrap_or_else(|_| "sip:active-call@127.0.0.1".to_owned())
    }

    /// Nobody has decided, or the target's leg has told nothing for longer than it may ring.
    pub(crate) fn succession_timed_out(&mut self, now: CallTime) {
        match &self.succession {
            Some(Succession::Asked(_)) => self.answer_sending_on(now, Err(DECLINE)),
            Some(Succession::Called(_)) => self.not_succeeded(now, 408, "no answer"),
            _ => {}
        }
    }

    /// What this call says to servers of the party that sends us on, and to no others: it must not learn a password or
    /// have it used elsewhere.
    fn sip_option_at(&self, wish: &Wish) -> SipOption {
        let (sip, far) = match self.second_ends().filter(|_| wish.place != LegId::MAIN) {
            Some((_, callee)) => (self.second_sip(), callee.to_owned()),
            None => (self.option.sip.as_ref(), if self.dialled { self.callee() } else { self.caller() }),
        };
        let to = host(&wish.to);
        sip.filter(|_| to.is_some() && to == host(&far)).cloned().unwrap_or_default()
    }

    /// A line to the target is there, or there is none.
    pub(crate) fn successor_line(&mut self, now: CallTime, line: Result<Box<SipMedia>, Undialled>) {
        let Some(Succession::Called(Called { wish, .. })) = &self.succession else { return };
        let encryption = self.encryption(self.second_sip().filter(|_| wish.place != LegId::MAIN));
        let headers = self.sip_option_at(wish).headers.unwrap_or_default();
        let caller = self.own_uri_on(wish.place);
        let Some(Succession::Called(called)) = &mut self.succession else { return };
        let mut media = match line {
            Ok(media) => media,
            Err(Undialled { code, reason }) => return self.not_succeeded(now, code, &reason),
        };
        media.encrypt(encryption);
        let invite = CallOut {
            caller,
            callee: called.wish.to.clone(),
            sdp: media.make_offer(),
            headers,
            patience: PATIENCE,
            replaces: called.wish.replaces.clone(),
            referred_by: called.wish.referred_by.clone(),
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
                let (party, target) = (called.wish.place, called.wish.to.clone());
                let progress = LegRequest::TransferProgress { code, reason: String::new() };
                self.effect(Effect::Request(party, progress));
                let state = TransferState::Ringing;
                self.tell_transfer(now, Passage::new(party, state, &target, code));
            }
            LegEvent::Answered { sdp } => self.target_answers(now, sdp.as_deref().unwrap_or_default()),
            LegEvent::Refused { code, reason, particulars } => {
                let refusal = (code, reason.as_str(), particulars);
                self.succession_failed(now, refusal, Headers::new());
            }
            LegEvent::AnswerSent => self.answer_sent(now),
            LegEvent::Ended { .. } | LegEvent::Canceled { .. } | LegEvent::Unreached => {
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
            Failed::Unsendable(_) => self.not_succeeded(now, 400, why),
            // The new call was given up in the moment in which it was answered; who was there stays.
            Failed::Gone | Failed::Answer => self.not_succeeded(now, 487, why),
            _ => self.error(now, "sip", why, 500),
        }
    }

    fn target_answers(&mut self, now: CallTime, answer: &str) {
        let Some(place) = self.succession.as_ref().map(Succession::place) else { return };
        let Some((_, start)) = self.media_of(place) else { return self.not_succeeded(now, 487, "given up") };
        let Some(Succession::Called(Called { media: Some(media), .. })) = &mut self.succession else {
            return;
        };
        let plan = match media.answered(answer, start) {
            Ok(plan) => plan,
            Err(error) => return self.successor_unusable(now, error.status(), &error.to_string()),
        };
        self.deadlines.drop_where(|due| *due == Due::Succession);
        let Some(Succession::Called(Called { leg, wish, media: Some(media), .. })) = self.succession.take()
        else {
            return;
        };
        self.step_in_on(now, place, (leg, *media), &wish.to);
        self.agreed(now, place, plan);
        // The two legs have changed their names: `leg` is who has sent us on.
        self.effect(Effect::Request(leg, LegRequest::TransferProgress { code: 200, reason: String::new() }));
        // As with a second party.
        let (headers, _) = self.bye_headers();
        self.effect(Effect::Request(leg, LegRequest::Hangup { headers }));
        self.effect(Effect::Drop(leg));
        let (state, target) = (TransferState::Succeeded, wish.to.as_str());
        self.tell_transfer(now, Passage::new(place, state, target, 200));
    }

    /// The leg of the party at `uri` takes the place of that of the party on `place`, which gets its name.
    fn step_in_on(&mut self, now: CallTime, place: LegId, (leg, media): (LegId, SipMedia), uri: &str) {
        if place == LegId::MAIN {
            self.step_in(now, leg, media);
        } else {
            self.second_steps_in(leg, media, uri);
        }
    }

    /// The leg becomes the main one, and the main one becomes `leg`.
    fn step_in(&mut self, now: CallTime, leg: LegId, media: SipMedia) {
        // What was under way with the party that leaves is not the new one's.
        let why = (487, "another party has taken over");
        self.handed_over(now, TransferState::Failed, why, Particulars::default());
        self.forget_digits();
        self.keys = Keys::default();
        self.order(ToMedia::Renew(LegId::MAIN));
        self.effect(Effect::Exchange(leg, LegId::MAIN));
        let direction = media.direction();
        self.sip = Some(media);
        self.hold_successor(now, direction);
    }

    /// The target has answered with media that are of no use: it is told so, as by a refusal.
    fn successor_unusable(&mut self, now: CallTime, code: u16, reason: &str) {
        let farewell = saying(Headers::new(), Some((code, reason)));
        self.succession_failed(now, (code, reason, Particulars::default()), farewell);
    }

    /// The target does not take the far end's place: the far end is told and stays.
    fn not_succeeded(&mut self, now: CallTime, code: u16, reason: &str) {
        self.succession_failed(now, (code, reason, Particulars::default()), Headers::new());
    }

    /// The same; `farewell` goes to the target.
    fn succession_failed(
        &mut self,
        now: CallTime,
        (code, reason, particulars): (u16, &str, Particulars),
        farewell: Headers,
    ) {
        self.deadlines.drop_where(|due| *due == Due::Succession);
        match self.succession.take() {
            Some(Succession::Called(Called { leg, wish, left, .. })) => {
                self.let_successor_go(leg, farewell);
                let (party, state, target) = (wish.place, TransferState::Failed, wish.to.as_str());
                let passage = Passage::new(party, state, target, code);
                self.tell_transfer(now, Passage { reason, particulars, ..passage });
                let reason = reason.to_owned();
                // Who has left is still told (RFC 5057 section 4.2).
                let progress = LegRequest::TransferProgress { code, reason };
                self.effect(Effect::Request(party, progress));
                match left {
                    Some(end) if party == LegId::MAIN => self.end(now, end),
                    Some(end) => self.second_ended(now, &end),
                    None => {}
                }
            }
            Some(succession) => {
                if let Some(leg) = succession.leg() {
                    self.let_successor_go(leg, farewell);
                }
            }
            None => {}
        }
    }

    fn let_successor_go(&mut self, leg: LegId, headers: Headers) {
        self.effect(Effect::Request(leg, LegRequest::Hangup { headers }));
        self.effect(Effect::Drop(leg));
    }

    /// The call ends, and with it what was to become of its far end.
    pub(crate) fn end_succession(&mut self) {
        let succession = self.succession.take();
        if let Some(Succession::Called(called)) = &succession {
            let progress = LegRequest::TransferProgress { code: 487, reason: String::new() };
            self.effect(Effect::Request(called.wish.place, progress));
        }
        if let Some(leg) = succession.and_then(|succession| succession.leg()) {
            self.let_successor_go(leg, Headers::new());
        }
    }

    /// The second party is no longer there to be replaced.
    pub(super) fn end_succession_of(&mut self, place: LegId) {
        if self.succession.as_ref().is_some_and(|succession| succession.place() == place) {
            self.deadlines.drop_where(|due| *due == Due::Succession);
            self.end_succession();
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
        self.effect(Effect::Request(leg, LegRequest::Reject { code, reason: String::new(), warning: None }));
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
            self.effect(Effect::Request(
                leg,
                LegRequest::Reject { code: 481, reason: String::new(), warning: None },
            ));
            return self.effect(Effect::Drop(leg));
        };
        let mut media = old.successor(offer, newcomer.source, keys);
        match media.answer(start) {
            Ok(Agreed { sdp, plan }) => {
                self.succession = Some(Succession::Answering(Box::new(Answering { newcomer, media, plan })));
                self.effect(Effect::Request(leg, LegRequest::Answer { sdp }));
            }
            Err(error) => {
                let (code, reason, warning) = (error.status(), String::new(), Some((&error).into()));
                self.effect(Effect::Request(leg, LegRequest::Reject { code, reason, warning }));
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
        self.step_in_on(now, place, (leg, media), &caller);
        self.effect(Effect::Drop(leg));
        if let Some(plan) = plan {
            self.agreed(now, place, plan);
        }
        let (state, target) = (TransferState::TakenOver, caller.as_str());
        self.tell_transfer(now, Passage::new(place, state, target, 200));
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

    /// The party on `place` has left. Where it has sent us to someone who is still being called, its part goes on for
    /// now.
    pub(crate) fn party_left(&mut self, now: CallTime, place: LegId, end: End) {
        match &mut self.succession {
            Some(Succession::Called(called)) if called.wish.place == place => called.left = Some(end),
            _ if place == LegId::MAIN => self.end(now, end),
            _ => {
                self.end_succession_of(place);
                self.second_ended(now, &end);
            }
        }
    }
}
