//! A transfer by the far end itself: it is asked to call someone else (SIP REFER), tells how that goes, and we leave when
//! it has succeeded.

use std::time::Duration;

use protocol::event::{Event, TransferState};
use protocol::option::ReferOption;
use protocol::reason::{Initiator, Particulars};
use protocol::{CallTime, HangupReason};

use super::recording::Recording;
use super::{Core, State};
use crate::end::End;
use crate::legs::{LegId, LegRequest, Login, TransferOut};
use crate::media::order::ToMedia;

/// A transfer that the far end was asked for.
#[derive(Debug)]
pub(crate) struct Handover {
    target: String,
    /// The call goes on when it has succeeded.
    stay: bool,
    /// The second party has left meanwhile: what comes of that when the transfer fails.
    pub(super) afterwards: Option<Afterwards>,
}

/// What comes of a second party that has left.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Afterwards {
    /// The call ends too.
    End,
    /// The agent hears the caller again.
    Listen,
}

/// A step of a transfer, as clients are told of it.
#[derive(Clone, Debug)]
pub(crate) struct Passage<'a> {
    /// Whose place it is about.
    pub(crate) party: LegId,
    pub(crate) state: TransferState,
    /// Whom it goes to.
    pub(crate) target: &'a str,
    /// SIP status that says the same.
    pub(crate) code: u16,
    /// In words; may be empty.
    pub(crate) reason: &'a str,
    /// What else a refusal says.
    pub(crate) particulars: Particulars,
}

impl<'a> Passage<'a> {
    /// A step that is no refusal, or of which nothing more is said.
    pub(crate) fn new(party: LegId, state: TransferState, target: &'a str, code: u16) -> Self {
        Self { party, state, target, code, reason: "", particulars: Particulars::default() }
    }
}

impl Core {
    /// Asks the far end to call `target`: in our place on `with`, where that is given.
    pub(crate) fn hand_over(
        &mut self,
        now: CallTime,
        target: String,
        with: Option<LegId>,
        option: &ReferOption,
    ) {
        if with.is_none() {
            self.interrupt_voice(now, false, Duration::ZERO);
        }
        let login = option.sip.as_ref().and_then(Login::of);
        let sip = option.sip.clone().or_else(|| self.option.sip.clone()).unwrap_or_default();
        let headers = sip.headers.unwrap_or_default();
        let stay = option.auto_hangup == Some(false);
        self.handover = Some(Handover { target: target.clone(), stay, afterwards: None });
        let transfer = TransferOut { to: target, with, dialog: None, headers, login };
        self.request(LegRequest::Transfer(Box::new(transfer)));
    }

    /// The far end tells how the transfer goes, or could not be asked for it.
    pub(crate) fn handed_over(
        &mut self,
        now: CallTime,
        state: TransferState,
        (code, reason): (u16, &str),
        particulars: Particulars,
    ) {
        let Some(target) = self.handover.as_ref().map(|handover| handover.target.clone()) else { return };
        let passage = Passage::new(LegId::MAIN, state, &target, code);
        self.tell_transfer(now, Passage { reason, particulars: particulars.clone(), ..passage });
        match state {
            TransferState::Succeeded => {
                let stays = self.handover.take().is_some_and(|handover| handover.stay);
                if let State::Ending(end) = &mut self.state {
                    *end = End { message: end.message.take(), ..End::new(HangupReason::Refer, 200) };
                }
                if !stays || self.parted.is_some() {
                    self.end(now, End::new(HangupReason::Refer, 200));
                }
            }
            TransferState::Failed => {
                let afterwards = self.handover.take().and_then(|handover| handover.afterwards);
                self.tell_second_reject(now, (code, reason), particulars);
                self.error(now, "command", format!("refer to {target}: {code} {reason}"), code);
                match self.parted {
                    Some(_) => self.finish(now),
                    None => self.after_second(now, afterwards),
                }
            }
            TransferState::Accepted | TransferState::Ringing | TransferState::TakenOver => {}
        }
    }

    /// The far end has hung up and has not told how its transfer ends: the call is over, and its end is told when that
    /// is known.
    pub(crate) fn far_end_left(&mut self, now: CallTime, message: Option<String>) {
        let reason = if self.dialled { HangupReason::Callee } else { HangupReason::Caller };
        let end = End { message, ..End::new(reason, 200) };
        if self.handover.is_none() || !self.is_up() {
            return self.party_left(now, LegId::MAIN, end);
        }
        self.parted = Some(now);
        self.end(now, end);
        self.order(ToMedia::Remove(LegId::MAIN));
        if self.recording != Recording::Off {
            self.stop_recording(now);
        }
    }

    /// The call ends, and the far end has not told how its transfer ends.
    pub(super) fn handover_untold(&mut self, now: CallTime) {
        let Some(handover) = self.handover.take() else { return };
        let passage = Passage::new(LegId::MAIN, TransferState::Failed, handover.target.as_str(), 487);
        let reason = "the call has ended before the far end has told how the transfer ends";
        self.tell_transfer(now, Passage { reason, ..passage });
    }

    /// Does what comes of a second party that has left.
    pub(super) fn after_second(&mut self, now: CallTime, afterwards: Option<Afterwards>) {
        match afterwards {
            // It is the party that was called in who has hung up.
            Some(Afterwards::End) => {
                let initiator = Some(Initiator::Callee);
                self.end(now, End { initiator, ..End::new(HangupReason::Refer, 200) });
            }
            Some(Afterwards::Listen) => self.listen(now),
            None => {}
        }
    }

    /// Tells how a transfer goes.
    pub(crate) fn tell_transfer(&mut self, now: CallTime, passage: Passage<'_>) {
        let Passage { party, state, target, code, reason, particulars } = passage;
        let (track_id, refer) = self.track_of(party);
        let event = Event::Transfer {
            track_id,
            timestamp: self.unix_ms(now),
            state,
            target: target.to_owned(),
            code: Some(code),
            reason: (!reason.is_empty()).then(|| reason.to_owned()),
            refer,
            particulars: Box::new(particulars),
        };
        self.emit(event);
    }

    /// Under which names events tell of a party: the track, and whether it is the second.
    pub(crate) fn track_of(&self, party: LegId) -> (String, Option<bool>) {
        match party {
            LegId::MAIN => (self.facts.id.clone(), None),
            _ => (self.facts.rules.server_track.clone(), Some(true)),
        }
    }
}
