//! New media before a call is answered: UPDATE with an offer (RFC 3311), to whom a reliable provisional response has
//! agreed on the first ones. In an answered call a re-INVITE does it, as section 5.1 recommends: what has to be asked of
//! a person can take its time there.

use sipx_sip::{Response, TuEvent};

use super::Endpoint;
use crate::config::Time;
use crate::dialog::{Dialog, Offering, OwnOffer, State};
use crate::event::{DialogId, SipEvent};
use crate::message::{ALLOW, SUPPORTED, sdp, text, to_tag};
use crate::path::Path;
use crate::transactions::{Errand, Happening, Job};

/// What is told of an offer that found no way out.
const UNSENT: (u16, &str) = (503, "the offer could not be sent");

impl Dialog {
    /// The tag of the far end to which an offer may be made before the answer: its media are agreed on, and it takes
    /// UPDATE. Of several callees that ring it is the one that has described its media last, since that one is heard.
    pub(crate) fn updatable(&self) -> Option<&[u8]> {
        match &self.state {
            State::Invited { .. } => {
                let early = self.early.as_ref().filter(|early| early.agreed && early.updates)?;
                early.waiting.as_ref().is_none_or(|waiting| !waiting.answers).then_some(&self.path.remote_tag)
            }
            State::Calling(calling) if !calling.is_cancelled() => {
                let heard = calling.heard.as_deref()?;
                let fork = calling.forks.iter().find(|fork| fork.path.remote_tag == heard)?;
                (fork.agreed && fork.updates).then_some(heard)
            }
            State::Calling(_) | State::Up { .. } | State::Ending { .. } | State::Left { .. } => None,
        }
    }

    /// Whether no offer is open in either direction before the answer, so that we may make one.
    pub(super) fn is_quiet_early(&self) -> bool {
        self.updatable().is_some() && self.own.is_none() && self.reoffer.is_none()
    }

    /// The path to the far end with this tag: one of several callees, or the peer.
    fn path_to(&mut self, tag: &[u8]) -> Option<&mut Path> {
        match &mut self.state {
            State::Calling(calling) => calling.fork(tag).map(|fork| &mut fork.path),
            _ => Some(&mut self.path).filter(|path| path.remote_tag == tag),
        }
    }

    /// The far end does not take UPDATE, whatever it has said.
    fn forget_updates(&mut self, tag: &[u8]) {
        if let Some(early) = self.early.as_mut() {
            early.updates = false;
        }
        if let State::Calling(calling) = &mut self.state
            && let Some(fork) = calling.fork(tag)
        {
            fork.updates = false;
        }
    }
}

impl Endpoint {
    /// Makes an offer before the answer.
    pub(super) fn send_update(&mut self, now: Time, id: DialogId, mut offer: OwnOffer) {
        let (branch, cnonce) = (self.random.branch(), self.random.word());
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        let Some(tag) = dialog.updatable().map(<[u8]>::to_vec) else { return };
        let Offering::Ours(sdp) = &offer.what else { return };
        let Some(path) = dialog.path_to(&tag) else { return };
        let (mut draft, way) = path.request("UPDATE", &self.identity, &branch);
        draft.line("Contact", self.identity.contact(way.hop.transport, path.asks_by_sips()));
        draft.line("Allow", ALLOW);
        draft.line("Supported", SUPPORTED.join(", "));
        let (uri, seq) = (text(&path.request_uri()), path.local_seq);
        let addresses = self.foreseen(&way);
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        if let Some(auth) = dialog.auth_towards(&addresses) {
            for (name, value) in auth.lines("UPDATE", &uri, &cnonce) {
                draft.line(&text(name.canonical()), value);
            }
        }
        // It was measured when it was ordered.
        let Ok(bytes) = draft.finish_sdp(sdp) else { return };
        (offer.seq, offer.early) = (seq, Some(tag));
        dialog.own = Some(offer);
        if !self.send_inside(now, (bytes, way), Job::of(id, Errand::Update)) {
            let (code, reason) = UNSENT;
            self.update_refused(now, id, code, reason.to_owned());
        }
    }

    /// Our UPDATE with an offer got a response, or none.
    pub(super) fn update_happened(&mut self, now: Time, id: DialogId, happening: &Happening) {
        let tag = match &happening.event {
            TuEvent::Response(response) if response.status.is_provisional() => return,
            TuEvent::Response(response) => Some(to_tag(&response.headers)),
            _ => happening.request.as_deref().map(|request| to_tag(&request.headers)),
        };
        // An offer to a callee in whose place another one has answered is made anew to that one.
        let own = self.dialogs.by_id.get(&id).and_then(|dialog| dialog.own.as_ref());
        if own.is_none_or(|own| own.early.is_none() || own.early != tag) {
            return;
        }
        let TuEvent::Response(response) = &happening.event else {
            return self.update_refused(now, id, 408, "no answer".to_owned());
        };
        let code = response.status.code();
        if response.status.is_success() {
            return self.update_accepted(now, id, response);
        }
        if matches!(code, 491 | 500) && self.collided(now, id, response) {
            return;
        }
        if matches!(code, 405 | 501)
            && let Some(dialog) = self.dialogs.by_id.get_mut(&id)
        {
            dialog.forget_updates(&to_tag(&response.headers));
        }
        self.update_refused(now, id, code, text(&response.reason));
    }

    fn update_accepted(&mut self, now: Time, id: DialogId, response: &Response) {
        let answer = sdp(&response.headers, response.body());
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        if let Some(path) = dialog.path_to(&to_tag(&response.headers)) {
            path.refresh_target(&response.headers);
        }
        if let Some(OwnOffer { what: Offering::Ours(sdp), .. }) = dialog.own.take() {
            dialog.local_sdp = Some(sdp);
        }
        self.wire.tell(SipEvent::OfferAnswered { dialog: id, sdp: answer });
        self.updated(now, id);
    }

    /// What was agreed on before stands. A call that rings goes on ringing: its INVITE has an end of its own.
    fn update_refused(&mut self, now: Time, id: DialogId, code: u16, reason: String) {
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        dialog.own = None;
        self.wire.tell(SipEvent::OfferRefused { dialog: id, code, reason });
        self.lost_if(now, id, matches!(code, 408 | 481));
        self.updated(now, id);
    }

    /// What has waited for the end of our offer: the answer to the call, the next offer.
    fn updated(&mut self, now: Time, id: DialogId) {
        self.send_next(now, id);
        self.offer_wanted(now, id);
    }
}
