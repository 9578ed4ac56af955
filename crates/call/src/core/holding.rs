//! Our own hold of the first party: asked for by a command, offered to the far end, in effect from its answer on. Where
//! there is no signalling it is in effect at once.

use protocol::CallTime;
use protocol::event::Holder;
use rtp::sdp::Direction;

use super::{Background, Core, Effect};
use crate::failure::Failure;
use crate::legs::{LegId, LegRequest};
use crate::media::order::ToMedia;

/// How our hold of the first party stands. A direction that receives holds nobody.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    /// What the last command wants.
    wanted: Direction,
    /// What is in effect.
    agreed: Direction,
    /// What the offer asks for that the far end has not answered.
    offered: Option<Direction>,
    /// The far end was told that no media are agreed on; what is wanted is to be offered again.
    stale: bool,
    /// What the far end is to hear meanwhile.
    music: Option<String>,
    /// Counts what it was to hear, so that a file that is loaded late is known as such.
    number: u32,
}

impl Holding {
    /// Whether we hold the first party.
    pub(crate) fn is_on(&self) -> bool {
        !self.agreed.receives()
    }
}

impl Core {
    /// Holds the first party, with music where there is a file. Asked again without one, all stays as it is; with
    /// another one, that is what it hears from then on.
    pub(crate) fn hold(&mut self, now: CallTime, music: Option<String>) {
        let again = !self.holding.wanted.receives();
        if again && (music.is_none() || music == self.holding.music) {
            return;
        }
        self.holding.wanted = if music.is_some() { Direction::SendOnly } else { Direction::Inactive };
        self.holding.music = music;
        if self.holding.is_on() {
            self.begin_music();
        }
        self.settle_hold(now);
    }

    /// Takes the first party back; `false` when it is not held.
    pub(crate) fn unhold(&mut self, now: CallTime) -> bool {
        let held = !self.holding.wanted.receives();
        self.holding.wanted = Direction::SendRecv;
        self.settle_hold(now);
        held
    }

    /// Offers what is wanted, one offer at a time.
    fn settle_hold(&mut self, now: CallTime) {
        let wanted = self.holding.wanted;
        if self.holding.offered.is_some() || self.holding.agreed == wanted && !self.holding.stale {
            return;
        }
        self.holding.stale = false;
        match &mut self.sip {
            Some(media) => {
                let sdp = media.offer_direction(wanted);
                self.holding.offered = Some(wanted);
                self.request(LegRequest::Offer { sdp });
            }
            None => self.hold_agreed(now, wanted),
        }
    }

    /// An offer of the first party was turned down, and with it what was agreed on.
    pub(super) fn media_turned_down(&mut self) {
        self.holding.stale = true;
    }

    /// Offers again what was agreed on, if that was turned down and the call is up.
    pub(super) fn renew_media(&mut self, now: CallTime) {
        if self.holding.stale && self.is_up() {
            self.settle_hold(now);
        }
    }

    /// The far end makes an offer while ours waits: ours comes after what is answered now, and says so by its version.
    pub(super) fn renew_hold_offer(&mut self, leg: LegId) {
        let Some(direction) = self.holding.offered.filter(|_| leg == LegId::MAIN) else { return };
        if let Some(media) = &mut self.sip {
            let sdp = media.offer_direction(direction);
            self.request(LegRequest::Offer { sdp });
        }
    }

    /// The far end has answered our offer.
    pub(super) fn hold_answered(&mut self, now: CallTime, answer: Option<&str>) {
        let Some(direction) = self.holding.offered.take() else { return };
        let start = self.start();
        let Some(media) = &mut self.sip else { return };
        match media.direction_answered(direction, answer.unwrap_or_default(), start) {
            Ok(plan) => {
                self.hold_agreed(now, direction);
                self.agreed(now, LegId::MAIN, plan);
                self.settle_hold(now);
            }
            Err(error) => self.hold_failed(now, error.status(), &error.to_string()),
        }
    }

    /// The far end has refused our offer, or it could not be made.
    pub(super) fn hold_refused(&mut self, now: CallTime, code: u16, reason: &str) {
        if self.holding.offered.take().is_some() {
            self.hold_failed(now, code, reason);
        }
    }

    /// All stays as it was, whatever was wanted.
    fn hold_failed(&mut self, now: CallTime, code: u16, reason: &str) {
        let what = match (self.holding.wanted == self.holding.agreed, self.holding.is_on()) {
            (true, _) => "renewed media",
            (false, true) => "unhold",
            (false, false) => "hold",
        };
        self.holding.wanted = self.holding.agreed;
        self.error(now, "sip", format!("{what}: {code} {reason}"), code);
    }

    /// Another party is there, with whom this direction was agreed on: what is wanted is wanted of it too.
    pub(super) fn hold_successor(&mut self, now: CallTime, direction: Direction) {
        self.holding.offered = None;
        self.hold_agreed(now, direction);
        self.settle_hold(now);
    }

    fn hold_agreed(&mut self, now: CallTime, direction: Direction) {
        let before = self.holding.is_on();
        self.holding.agreed = direction;
        let on = self.holding.is_on();
        if on == before {
            return;
        }
        if on {
            self.begin_music();
        } else {
            self.order(ToMedia::Hold(None));
        }
        self.emit_hold(now, on, Holder::System);
    }

    fn begin_music(&mut self) {
        self.holding.number = self.holding.number.wrapping_add(1);
        let number = self.holding.number;
        self.order(ToMedia::Hold(Some(number)));
        if let Some((path, rate)) = self.holding.music.clone().zip(self.rate) {
            self.effect(Effect::Music(number, path, rate));
        }
    }

    /// A sound cannot be played: the call goes on without it.
    pub(super) fn no_background(&mut self, now: CallTime, which: Background, failure: Failure) {
        match which {
            Background::Ambience => self.fail(now, "media", &failure.at("ambiance.path")),
            Background::Music(number) if self.holding.is_on() && self.holding.number == number => {
                self.fail(now, "media", &failure.at("music"));
            }
            // Another music is wanted by now, or none.
            Background::Music(_) => {}
        }
    }
}
