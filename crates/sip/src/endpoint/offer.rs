//! New offers of ours inside an answered call: re-INVITE, and what happens when both ends make one
//! at the same time (RFC 3261 section 14.1).

use std::time::Duration;

use sipx_sip::{HeaderName, Response, TuEvent};

use super::{Endpoint, RINGING, wrong};
use crate::config::Time;
use crate::dialog::{Offering, OwnOffer, State};
use crate::event::{DialogId, SipEvent};
use crate::hop::Way;
use crate::message::{ALLOW, Draft, SUPPORTED, cseq, sdp, text, value};
use crate::order::SipError;
use crate::schedule::Chore;
use crate::transactions::{Errand, Happening, Job};

/// Collisions after which an offer is given up: with a peer that keeps to its waits the second try
/// goes through.
const MAX_COLLISIONS: u8 = 5;

impl Endpoint {
    /// Offers other media by a re-INVITE: hold, resume, other codecs. `OfferAnswered` or
    /// `OfferRefused` follows. While another offer is open in either direction it waits; of several
    /// that wait only the last is made.
    ///
    /// # Errors
    /// [`SipError::WrongState`] before the answer and after the end; [`SipError::TooLarge`].
    pub fn reoffer(&mut self, now: Time, dialog: DialogId, sdp: &str) -> Result<(), SipError> {
        if sdp.len() > crate::message::MAX_MESSAGE {
            return Err(SipError::TooLarge(sdp.len()));
        }
        self.want(now, dialog, Offering::Ours(sdp.to_owned()))
    }

    /// Asks the peer for an offer by a re-INVITE without one. `OfferAnswered` brings it, and `acknowledge` answers it;
    /// or `OfferRefused` follows. It waits as [`reoffer`](Self::reoffer) does.
    ///
    /// # Errors
    /// [`SipError::WrongState`] before the answer and after the end.
    pub fn ask_for_offer(&mut self, now: Time, dialog: DialogId) -> Result<(), SipError> {
        self.want(now, dialog, Offering::Theirs)
    }

    fn want(&mut self, now: Time, dialog: DialogId, what: Offering) -> Result<(), SipError> {
        let found = self.dialog(dialog)?;
        if !matches!(found.state, State::Up { bye: None }) {
            return Err(wrong(found, "offer other media"));
        }
        found.wanted = Some(what);
        self.offer_wanted(now, dialog);
        Ok(())
    }

    /// Makes the offer that waits, if nothing stands in its way.
    pub(super) fn offer_wanted(&mut self, now: Time, id: DialogId) {
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        if !dialog.is_quiet() {
            return;
        }
        if let Some(what) = dialog.wanted.take() {
            self.send_offer(now, id, OwnOffer { what, told: true, collisions: 0, waits: None, seq: 0 });
        }
    }

    /// Makes the last offer again to show that the call stands. Without one there is nothing to show.
    pub(super) fn repeat_offer(&mut self, now: Time, id: DialogId) {
        let Some(dialog) = self.dialogs.by_id.get(&id).filter(|dialog| dialog.is_quiet()) else { return };
        if let Some(sdp) = dialog.local_sdp.clone() {
            let what = Offering::Ours(sdp);
            self.send_offer(now, id, OwnOffer { what, told: false, collisions: 0, waits: None, seq: 0 });
        }
    }

    fn send_offer(&mut self, now: Time, id: DialogId, mut offer: OwnOffer) {
        let Some((mut draft, way)) = self.inside_draft(id, "INVITE") else { return };
        draft.line("Contact", self.contact_in(id, &way));
        draft.line("Allow", ALLOW);
        draft.line("Supported", SUPPORTED.join(", "));
        self.session_lines(&mut draft, self.dialogs.by_id.get(&id));
        // It was measured when it was ordered.
        let written = match &offer.what {
            Offering::Ours(sdp) => draft.finish_sdp(sdp),
            Offering::Theirs => Ok(draft.finish()),
        };
        let Ok(bytes) = written else { return };
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        let seq = dialog.path.local_seq;
        offer.seq = seq;
        dialog.own = Some(offer);
        if self.send_inside(now, (bytes, way), Job::of(id, Errand::Reoffer)) {
            self.wire.remind(now.saturating_add(RINGING), id, Chore::GiveUpOffer(seq));
        }
    }

    /// Begins a request inside a dialog, with what its peer wants to know of us and has asked for.
    pub(super) fn inside_draft(&mut self, id: DialogId, method: &str) -> Option<(Draft, Way)> {
        let (mut draft, way) = self.bare_draft(id, method)?;
        self.authorize(&mut draft, id, (method, &way));
        Some((draft, way))
    }

    /// Our `Contact` in a request of a dialog.
    pub(super) fn contact_in(&self, id: DialogId, way: &Way) -> String {
        let sips = self.dialogs.by_id.get(&id).is_some_and(|dialog| dialog.path.asks_by_sips());
        self.identity.contact(way.hop.transport, sips)
    }

    /// The same without credentials.
    pub(super) fn bare_draft(&mut self, id: DialogId, method: &str) -> Option<(Draft, Way)> {
        let branch = self.random.branch();
        let dialog = self.dialogs.by_id.get_mut(&id)?;
        let sips = dialog.path.asks_by_sips();
        let (mut draft, way) = dialog.path.request(method, &self.identity, &branch);
        if method == "UPDATE" {
            draft.line("Contact", self.identity.contact(way.hop.transport, sips));
            draft.line("Supported", SUPPORTED.join(", "));
        }
        Some((draft, way))
    }

    /// Our re-INVITE got a response, or none.
    pub(super) fn offer_happened(&mut self, now: Time, id: DialogId, happening: &Happening) {
        let response = match &happening.event {
            TuEvent::Response(response) if response.status.is_provisional() => return,
            TuEvent::Response(response) => response,
            _ => return self.offer_unanswered(now, id),
        };
        let code = response.status.code();
        if response.status.is_success() {
            self.keep_shown(id, happening.tx);
            return self.offer_accepted(now, id, response);
        }
        if code == 422 && self.lengthened(now, happening, response) {
            return;
        }
        if matches!(code, 491 | 500) && self.collided(now, id, response) {
            return;
        }
        let Some(offer) = self.dialogs.by_id.get_mut(&id).and_then(|dialog| dialog.own.take()) else {
            return;
        };
        if offer.told {
            let reason = text(&response.reason);
            self.wire.tell(SipEvent::OfferRefused { dialog: id, code, reason });
            self.lost_if(now, id, matches!(code, 408 | 481));
        } else {
            self.refresh_refused(now, id, response);
        }
        self.offer_wanted(now, id);
    }

    fn offer_accepted(&mut self, now: Time, id: DialogId, response: &Response) {
        let sdp = sdp(&response.headers, response.body());
        if let Some(dialog) = self.dialogs.by_id.get_mut(&id) {
            dialog.path.refresh_target(&response.headers);
            // The ACK waits for its owner's answer to the offer in this 200.
            let theirs = dialog.own.as_ref().is_some_and(|own| matches!(own.what, Offering::Theirs));
            if theirs && sdp.is_some() {
                dialog.owed_ack = cseq(&response.headers);
            }
        }
        self.send_ack(now, id, response);
        self.adopt_session(now, id, response);
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        // A copy of the 200 only wants its ACK.
        let Some(offer) = dialog.own.take() else { return };
        if let Offering::Ours(sdp) = offer.what {
            dialog.local_sdp = Some(sdp);
        }
        if offer.told {
            self.wire.tell(SipEvent::OfferAnswered { dialog: id, sdp });
        } else if let Some(sdp) = sdp {
            self.wire.tell(SipEvent::Refreshed { dialog: id, sdp });
        }
        self.offer_wanted(now, id);
    }

    /// The peer makes an offer as well: ours waits, as long as whose call it is says, and is made
    /// again. Whether it waits.
    fn collided(&mut self, now: Time, id: DialogId, response: &Response) -> bool {
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return false };
        let Some(offer) = dialog.own.as_mut() else { return false };
        offer.collisions += 1;
        let asked = value(&response.headers, &HeaderName::RetryAfter);
        let asked = std::str::from_utf8(&asked).ok().and_then(|s| s.trim().parse::<u64>().ok());
        let wait = match (response.status.code(), asked) {
            (500, Some(seconds)) => Duration::from_secs(seconds.min(10)),
            (500, None) => return false,
            // Steps of 10 ms; the caller's range begins where the callee's ends.
            _ if dialog.invited_seq.is_none() => {
                Duration::from_millis(2_100 + 10 * u64::from(self.random.up_to(190)))
            }
            _ => Duration::from_millis(10 * u64::from(self.random.up_to(200))),
        };
        if offer.collisions > MAX_COLLISIONS {
            return false;
        }
        let number = dialog.path.local_seq;
        offer.waits = Some(number);
        self.wire.remind(now.saturating_add(wait), id, Chore::OfferAgain(number));
        true
    }

    /// The wait after a collision is over.
    pub(super) fn offer_again(&mut self, now: Time, id: DialogId, number: u32) {
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        if dialog.own.as_ref().and_then(|offer| offer.waits) != Some(number) {
            return;
        }
        let Some(mut offer) = dialog.own.take() else { return };
        if !dialog.is_quiet() {
            // Another offer of the peer came meanwhile: ours goes when that is over.
            if offer.told {
                dialog.wanted.get_or_insert(offer.what);
            }
            return;
        }
        // What was wanted last counts.
        if let Some(what) = dialog.wanted.take() {
            (offer.what, offer.told) = (what, true);
        }
        offer.waits = None;
        self.send_offer(now, id, offer);
    }

    pub(super) fn give_up_offer(&mut self, now: Time, id: DialogId, seq: u32) {
        let own = self.dialogs.by_id.get(&id).and_then(|dialog| dialog.own.as_ref());
        if own.is_some_and(|own| own.waits.is_none() && own.seq == seq) {
            self.offer_unanswered(now, id);
        }
    }

    /// A peer that does not answer a re-INVITE is gone (RFC 3261 section 14.1).
    fn offer_unanswered(&mut self, now: Time, id: DialogId) {
        let Some(offer) = self.dialogs.by_id.get_mut(&id).and_then(|dialog| dialog.own.take()) else {
            return;
        };
        if offer.told {
            let reason = "no answer".to_owned();
            self.wire.tell(SipEvent::OfferRefused { dialog: id, code: 408, reason });
        }
        self.lost_if(now, id, true);
    }
}
