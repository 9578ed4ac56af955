//! The far ends of a simulated call that it has dialled.

use call::core::Input;
use call::legs::{LegEvent, LegId};
use call::media::order::{FromMedia, Way};

use super::World;

/// What a dialled party does.
#[derive(Clone, Debug)]
pub enum Party {
    /// It rings, with sound or without.
    Rings(bool),
    /// It answers.
    Answers,
    /// It refuses.
    Refuses(u16, String),
    /// It answers without a description.
    AnswersBare,
    /// It presses a key, which travels so.
    Presses(char, Way),
    /// It holds us, or takes us back.
    Holds(bool),
    /// It wants an offer of ours, and answers that.
    WantsAnOffer,
    /// It hangs up.
    HangsUp,
}

impl World {
    pub(super) fn party(&mut self, leg: LegId, party: Party) {
        let sdp = || self.terms.answer(&self.ours);
        let event = match party {
            Party::Rings(early) => {
                LegEvent::Ringing { code: if early { 183 } else { 180 }, sdp: early.then(sdp) }
            }
            Party::Answers => LegEvent::Answered { sdp: Some(sdp()) },
            Party::Refuses(code, reason) => LegEvent::Refused { code, reason },
            Party::AnswersBare => LegEvent::Answered { sdp: None },
            Party::Presses(digit, Way::Signalling) => LegEvent::Digit(digit),
            Party::Presses(digit, way) => {
                return self.feed(Input::Media(FromMedia::Digit(leg, digit, way)));
            }
            Party::Holds(on) => {
                let direction = if on { "sendonly" } else { "sendrecv" };
                LegEvent::Reoffered { sdp: Some(self.terms.offer(direction, self.now.as_ms() + 2)) }
            }
            Party::WantsAnOffer => {
                self.feed(Input::Leg(leg, LegEvent::Reoffered { sdp: None }));
                LegEvent::ReofferAnswered { sdp: Some(self.terms.answer(&self.ours)) }
            }
            Party::HangsUp => LegEvent::Ended { remote: true, message: None },
        };
        self.feed(Input::Leg(leg, event));
    }
}
