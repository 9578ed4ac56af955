//! Other media within an answered call, for every party alike: a re-INVITE or UPDATE is answered, or refused without
//! harm to the call; and hold is told. When two offers meet (491) and when the session has to be refreshed is the SIP
//! endpoint's business.

use protocol::event::{Event, Holder};
use protocol::rest::LegMedia;
use protocol::{CallTime, Extra};
use rtp::sdp::Negotiated;

use super::{Core, Effect};
use crate::legs::sip_media::{Agreed, SipMedia};
use crate::legs::{LegId, LegRequest, Objection};
use crate::media::order::{LegPlan, RtpPlan, Start, ToMedia};

impl Core {
    /// Our side of a party's media, and where the stream that it is sent begins.
    pub(crate) fn media_of(&mut self, leg: LegId) -> Option<(&mut SipMedia, Start)> {
        let start = self.start();
        match leg {
            LegId::MAIN => self.sip.as_mut().map(|media| (media, start)),
            _ => self.second_media(leg),
        }
    }

    /// A party wants other media, or asks for an offer of ours: direction, address and codec may change, the call never
    /// ends by it.
    pub(crate) fn reoffered(&mut self, now: CallTime, leg: LegId, offer: Option<&str>) {
        let Some((media, start)) = self.media_of(leg) else {
            let no_sound = Objection { code: 488, warning: None };
            return self.effect(Effect::Request(leg, LegRequest::AnswerReoffer(Err(no_sound))));
        };
        match media.reoffer(offer, start) {
            Ok(Agreed { sdp, plan }) => {
                self.renew_hold_offer(leg);
                self.effect(Effect::Request(leg, LegRequest::AnswerReoffer(Ok(sdp))));
                if let Some(plan) = plan {
                    self.agreed(now, leg, plan);
                }
            }
            Err(error) => {
                let refusal = LegRequest::AnswerReoffer(Err((&error).into()));
                self.effect(Effect::Request(leg, refusal));
                self.error(now, "sip", error.to_string(), error.status());
            }
        }
    }

    /// The caller makes another offer as it confirms early media. One that cannot be met cannot be refused, and is turned
    /// down by its answer (RFC 6337 section 2.3): what was agreed on before is offered again once the call is up. A first
    /// offer leaves nothing to offer again, and gets its refusal.
    pub(crate) fn offered_early(&mut self, now: CallTime, offer: &str) {
        let start = self.start();
        let Some(media) = self.sip.as_mut() else { return self.reoffered(now, LegId::MAIN, Some(offer)) };
        let tried = media.clone().reoffer(Some(offer), start).err();
        let Some((error, answer)) = tried.and_then(|error| Some((error, media.turn_down(offer)?))) else {
            return self.reoffered(now, LegId::MAIN, Some(offer));
        };
        self.request(LegRequest::AnswerReoffer(Ok(answer)));
        self.media_turned_down();
        self.error(now, "sip", error.to_string(), error.status());
    }

    /// A party's answer to the offer that it had asked for. Where it is of no use, or was forgotten, what was agreed on
    /// before stands.
    pub(crate) fn reoffer_answered(&mut self, now: CallTime, leg: LegId, answer: Option<&str>) {
        let Some(answer) = answer else { return };
        let Some((media, start)) = self.media_of(leg) else { return };
        match media.answered(answer, start) {
            Ok(plan) => self.agreed(now, leg, plan),
            Err(error) => self.error(now, "sip", error.to_string(), error.status()),
        }
    }

    /// A party has described its media once more. As before, that changes nothing: a stream that runs is not begun anew.
    pub(crate) fn refreshed(&mut self, now: CallTime, leg: LegId, answer: &str) {
        let Some((media, start)) = self.media_of(leg) else { return };
        match media.refreshed(answer, start) {
            Ok(Some(plan)) => self.agreed(now, leg, plan),
            Ok(None) => {}
            Err(error) => self.error(now, "sip", error.to_string(), error.status()),
        }
    }

    /// Media were agreed on with a party, first or anew.
    pub(crate) fn agreed(&mut self, now: CallTime, leg: LegId, plan: RtpPlan) {
        let held = plan.media.held;
        if self.note_agreed(leg, &plan.media) {
            self.tell_clear(now, leg);
        }
        match leg {
            LegId::MAIN => self.sound_begins(plan),
            _ => self.order(ToMedia::Leg(leg, LegPlan::Rtp(Box::new(plan)))),
        }
        self.tell_hold(now, leg, held);
    }

    /// Keeps what was agreed on; whether a party whose sound was encrypted is spoken to in clear from now on.
    pub(crate) fn note_agreed(&mut self, leg: LegId, media: &Negotiated) -> bool {
        let local = self.media_of(leg).map(|(media, _)| media.local().to_string());
        let (track_id, refer) = self.track_of(leg);
        let agreed = LegMedia {
            track_id,
            refer: refer.unwrap_or(false),
            codec: media.codec.name.into(),
            payload_type: media.payload_type,
            heard_as: media.voices.iter().map(|(number, _)| *number).collect(),
            telephone_event: media.telephone_event.map(|event| event.payload_type),
            comfort_noise: media.comfort_noise,
            ptime: media.ptime_ms,
            local,
            remote: media.remote.map(|remote| remote.to_string()),
            rtcp_mux: media.rtcp_mux,
            encryption: media.keys.as_ref().map(|keys| keys.suite.name.into()),
            direction: media.direction.name().into(),
            held: media.held,
        };
        let encrypted = agreed.encryption.is_some();
        if leg != LegId::MAIN {
            self.agreements.retain(|known, _| [LegId::MAIN, leg].contains(known));
        }
        let before = self.agreements.insert(leg, agreed);
        self.info_changed = true;
        !encrypted && before.is_some_and(|before| before.encryption.is_some())
    }

    /// Tells that a party whose sound was encrypted is spoken to in clear from now on.
    fn tell_clear(&mut self, now: CallTime, leg: LegId) {
        let ((track_id, refer), timestamp) = (self.track_of(leg), self.unix_ms(now));
        let extra = Extra::from([
            ("encrypted".to_owned(), false.into()),
            ("refer".to_owned(), refer.unwrap_or(false).into()),
        ]);
        self.emit(Event::Other { track_id, timestamp, sender: "sip".into(), extra: Some(extra) });
    }

    fn tell_hold(&mut self, now: CallTime, leg: LegId, on_hold: bool) {
        let main = leg == LegId::MAIN;
        let known = if main { Some(&mut self.held) } else { self.second_held(leg) };
        let Some(known) = known.filter(|known| **known != on_hold) else { return };
        *known = on_hold;
        if main {
            return self.emit_hold(now, on_hold, Holder::Remote);
        }
        let (timestamp, by) = (self.unix_ms(now), Some(Holder::Remote));
        // The conversation is with the first party: it does not wait for another.
        let track_id = self.facts.rules.server_track.clone();
        self.effect(Effect::Emit(Event::Hold { track_id, timestamp, on_hold, by }));
    }

    /// The hold that a conversation finds as it begins: what was told of it was told before.
    pub(super) fn hold_so_far(&self, now: CallTime) -> Option<Event> {
        if !self.held && !self.holding.is_on() {
            return None;
        }
        let by = if self.held { Holder::Remote } else { Holder::System };
        Some(self.hold_of_the_first(now, true, by))
    }

    fn hold_of_the_first(&self, now: CallTime, on_hold: bool, by: Holder) -> Event {
        let (track_id, timestamp) = (self.facts.id.clone(), self.unix_ms(now));
        Event::Hold { track_id, timestamp, on_hold, by: Some(by) }
    }

    /// Tells that the first party's call is on hold or not. The conversation goes on only when nobody holds it any more.
    pub(super) fn emit_hold(&mut self, now: CallTime, on_hold: bool, by: Holder) {
        let event = self.hold_of_the_first(now, on_hold, by);
        if on_hold == (self.held || self.holding.is_on()) {
            self.emit(event);
        } else {
            self.effect(Effect::Emit(event));
        }
    }
}
