//! The far ends of a simulated call that it has dialled.

use call::core::Input;
use call::legs::{LegEvent, LegId};
use call::media::order::{FromMedia, Way};
use protocol::reason::Particulars;
use providers::{Heard, Words};

use super::{ACK, Act, From, What, World};

/// What a dialled party does.
#[derive(Clone, Debug)]
pub enum Party {
    /// It rings, with sound or without.
    Rings(bool),
    /// It answers.
    Answers,
    /// It refuses; a redirection leads to Carol.
    Refuses(u16, String, Option<String>),
    /// It answers without a description.
    AnswersBare,
    /// It says something, which its recognizer understands.
    Speaks(String),
    /// It presses a key, which travels so.
    Presses(char, Way),
    /// It holds us, or takes us back.
    Holds(bool),
    /// It wants an offer of ours, and answers that.
    WantsAnOffer,
    /// It hangs up.
    HangsUp,
    /// Something else happens on its leg.
    Says(LegEvent),
}

/// What becomes of an answer of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes out.
    Taken,
    /// Whoever calls, or takes a place, has given up in this moment.
    GivenUp,
    /// It waits.
    Waits,
}

impl World {
    /// The far end answers an offer of ours, or refuses it; one that took its place before is not answered.
    pub(super) fn offered(&mut self, ours: &str) {
        let event = match self.terms.manner.immovable {
            true => LegEvent::OfferRefused { code: 488, reason: "Not Acceptable Here".into() },
            false => LegEvent::OfferAnswered { sdp: Some(self.terms.answer(ours)) },
        };
        let pending = |act: &Act| {
            matches!(act, Act::Leg(LegEvent::OfferRefused { .. } | LegEvent::OfferAnswered { .. }))
        };
        self.agenda.retain(|due| !matches!(&due.what, What::Act(act) if pending(act)));
        self.due(self.now + ACK, From::Script, What::Act(Act::Leg(event)));
    }

    pub(super) fn party(&mut self, leg: LegId, party: Party) {
        let sdp = || self.terms.answer(&self.ours);
        let event = match party {
            Party::Rings(early) => {
                LegEvent::Ringing { code: if early { 183 } else { 180 }, sdp: early.then(sdp) }
            }
            Party::Answers => LegEvent::Answered { sdp: Some(sdp()) },
            Party::Refuses(code, reason, cause) => {
                let leads = (300..400).contains(&code);
                let contacts = leads.then(|| "sip:carol@example.com".to_owned()).into_iter().collect();
                LegEvent::Refused {
                    code,
                    reason,
                    particulars: Particulars { contacts, cause, ..Particulars::default() },
                }
            }
            Party::AnswersBare => LegEvent::Answered { sdp: None },
            Party::Speaks(text) => {
                let Some(door) = self.ears.iter().find(|ears| ears.leg == leg).map(|ears| ears.door) else {
                    return;
                };
                return self.feed(Input::Heard(door, Heard::Final(Words { text, ..Words::default() })));
            }
            Party::Presses(digit, Way::Signalling) => LegEvent::Digit(digit),
            Party::Presses(digit, way) => {
                return self.feed(Input::Media(FromMedia::Digit(leg, digit, way)));
            }
            Party::Holds(on) => {
                let direction = if on { "sendonly" } else { "sendrecv" };
                LegEvent::Reoffered {
                    sdp: Some(self.terms.offer(direction, self.now.as_ms() + 2)),
                    refusable: true,
                }
            }
            Party::WantsAnOffer => {
                self.feed(Input::Leg(leg, LegEvent::Reoffered { sdp: None, refusable: true }));
                LegEvent::ReofferAnswered { sdp: Some(self.terms.answer(&self.ours)) }
            }
            Party::Says(event) => event,
            Party::HangsUp => LegEvent::Ended { remote: true, message: None },
        };
        self.feed(Input::Leg(leg, event));
    }
}
