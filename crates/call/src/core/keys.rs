//! Digits: those of the far end, each told once however many ways it came, and ours.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::CallTime;
use protocol::command::DtmfMethod;
use protocol::event::Event;

use super::{Core, Due, Effect};
use crate::legs::{DigitBody, LegId, LegRequest};
use crate::media::order::{Dialled, Manner, ToMedia, Way};

/// A far end that sends a press in two ways sends both within this: tones are known late, INFO is sent again after
/// half a second.
const SAME_PRESS: Duration = Duration::from_millis(1500);
/// Presses that are remembered: more than fingers press within [`SAME_PRESS`].
const REMEMBERED: usize = 32;
/// Digits that may wait for INFO. More is refused with an `error` event.
const MOST_WAITING: usize = 256;
/// Pause between two digits by INFO.
const GAP: Duration = Duration::from_millis(100);
/// Length of a digit that is passed on from one party to the other.
const PASSED_ON: Duration = Duration::from_millis(120);
/// A comma among digits.
const COMMA: Duration = Duration::from_millis(500);

/// Digits of one call.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// The main leg carries telephone-events.
    pub(crate) events: bool,
    presses: Presses,
    waiting: VecDeque<Press>,
    current: Option<Current>,
    /// The far end knows no INFO.
    refused: bool,
}

/// The digits that one party has pressed lately.
#[derive(Debug, Default)]
pub(crate) struct Presses(VecDeque<Pressed>);

/// A digit that was told.
#[derive(Debug)]
struct Pressed {
    digit: char,
    at: CallTime,
    ways: Vec<Way>,
}

/// A digit that is to go by INFO.
#[derive(Clone, Copy, Debug)]
struct Press {
    digit: char,
    length: Duration,
    body: DigitBody,
    /// Tones may take its place.
    free: bool,
}

/// The digit under way: the next one goes when it has been answered and its time is over.
#[derive(Debug)]
struct Current {
    press: Press,
    answered: bool,
    over: bool,
}

impl Presses {
    /// Whether a digit is a new press, and not one that has come another way before.
    fn is_new(&mut self, now: CallTime, digit: char, way: Way) -> bool {
        self.0.retain(|pressed| now.since(pressed.at) <= SAME_PRESS);
        let same = |pressed: &&mut Pressed| pressed.digit == digit && !pressed.ways.contains(&way);
        if let Some(pressed) = self.0.iter_mut().find(same) {
            pressed.ways.push(way);
            return false;
        }
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(Pressed { digit, at: now, ways: vec![way] });
        true
    }
}

impl Core {
    /// A digit of a party: told once, and passed on to whom it is joined with.
    pub(crate) fn digit(&mut self, now: CallTime, leg: LegId, digit: char, way: Way) {
        let main = leg == LegId::MAIN;
        let presses = if main { Some(&mut self.keys.presses) } else { self.second_presses(leg) };
        if !presses.is_some_and(|presses| presses.is_new(now, digit, way)) {
            return;
        }
        self.pass_on(leg, digit, way);
        let (timestamp, digit) = (self.unix_ms(now), digit.to_string());
        if !main {
            // The playbook's menu is for the first party's keys.
            let track_id = self.facts.rules.server_track.clone();
            return self.effect(Effect::Emit(Event::Dtmf { track_id, timestamp, digit }));
        }
        self.input_came();
        self.tell_progress(now);
        self.emit(Event::Dtmf { track_id: self.facts.id.clone(), timestamp, digit });
    }

    /// A key that one party presses reaches the one it is joined with, which may be a menu. A tone is in the sound.
    fn pass_on(&mut self, from: LegId, digit: char, way: Way) {
        let Some((second, _)) = self.second_party().filter(|_| way != Way::Tone) else { return };
        let to = if from == LegId::MAIN { second } else { LegId::MAIN };
        let dialled = Dialled { digits: digit.to_string(), length: PASSED_ON, manner: Manner::Events };
        self.order(ToMedia::Digits(to, dialled));
    }

    /// Sends digits to the far end, which are known to be some.
    pub(crate) fn dial_digits(&mut self, now: CallTime, digits: &str, length: Duration, how: DtmfMethod) {
        let free = how == DtmfMethod::Auto;
        let manner = match how {
            DtmfMethod::Auto | DtmfMethod::Rtp if self.keys.events => Ok(Manner::Events),
            DtmfMethod::InBand => Ok(Manner::Tones),
            DtmfMethod::Auto if self.keys.refused => Ok(Manner::Tones),
            DtmfMethod::InfoPlain => Err(DigitBody::Plain),
            DtmfMethod::Auto | DtmfMethod::Rtp | DtmfMethod::Info => Err(DigitBody::Relay),
        };
        let body = match manner {
            Ok(manner) => {
                let dialled = Dialled { digits: digits.to_owned(), length, manner };
                return self.order(ToMedia::Digits(LegId::MAIN, dialled));
            }
            Err(body) => body,
        };
        if self.keys.waiting.len() + digits.len() > MOST_WAITING {
            return self.error(now, "command", format!("dtmf: more than {MOST_WAITING} digits wait"), 429);
        }
        let press = |digit: char| Press { digit: digit.to_ascii_uppercase(), length, body, free };
        self.keys.waiting.extend(digits.chars().map(press));
        self.press(now);
    }

    /// Sends the next digit by INFO, unless one is under way.
    fn press(&mut self, now: CallTime) {
        if self.keys.current.is_some() {
            return;
        }
        let Some(press) = self.keys.waiting.pop_front() else { return };
        let Press { digit, length, body, .. } = press;
        let comma = digit == ',';
        self.keys.current = Some(Current { press, answered: comma, over: false });
        self.deadlines.set(now + if comma { COMMA } else { length + GAP }, Due::Digit);
        if !comma {
            self.request(LegRequest::Digit { digit, length, body });
        }
    }

    /// The time of the digit under way is over.
    pub(crate) fn digit_over(&mut self, now: CallTime) {
        if let Some(current) = &mut self.keys.current {
            current.over = true;
        }
        self.next_press(now);
    }

    /// The far end has answered the digit under way.
    pub(crate) fn digit_answered(&mut self, now: CallTime, code: u16) {
        let Some(current) = &mut self.keys.current else { return };
        current.answered = true;
        if code < 300 {
            return self.next_press(now);
        }
        let press = current.press;
        self.keys.refused = true;
        let left: Vec<Press> = std::iter::once(press).chain(self.keys.waiting.drain(..)).collect();
        self.forget_digits();
        if press.free {
            // Tones are the last way that is left; nothing else was asked for.
            let digits = left.iter().map(|press| press.digit).collect();
            let dialled = Dialled { digits, length: press.length, manner: Manner::Tones };
            return self.order(ToMedia::Digits(LegId::MAIN, dialled));
        }
        let text = format!("dtmf: the far end takes no digits by INFO; {} were not sent", left.len());
        self.error(now, "sip", text, code);
    }

    /// No digit is under way or waits any more.
    pub(crate) fn forget_digits(&mut self) {
        self.keys.current = None;
        self.keys.waiting.clear();
        self.deadlines.drop_where(|due| *due == Due::Digit);
    }

    fn next_press(&mut self, now: CallTime) {
        if self.keys.current.as_ref().is_some_and(|current| current.answered && current.over) {
            self.keys.current = None;
            self.press(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_press_that_comes_in_three_ways_is_one() {
        let mut keys = Presses::default();
        let told: Vec<bool> = [Way::Event, Way::Signalling, Way::Tone, Way::Event, Way::Tone]
            .iter()
            .zip([0, 30, 90, 200, 290])
            .map(|(way, ms)| keys.is_new(CallTime::ms(ms), '1', *way))
            .collect();
        assert_eq!(told, [true, false, false, true, false]);
        assert!(keys.is_new(CallTime::ms(2_000), '1', Way::Signalling), "too late for the same press");
    }

    proptest! {
        #[test]
        fn digits_that_come_two_ways_with_any_delay_are_told_once_each(
            digits in "[0-9*#]{1,30}", lag in 0u64..1_000, gap in 100u64..600,
        ) {
            let mut arrivals: Vec<(u64, char, Way)> = Vec::new();
            for (n, digit) in (0..).zip(digits.chars()) {
                arrivals.push((n * gap, digit, Way::Event));
                arrivals.push((n * gap + lag, digit, Way::Signalling));
            }
            arrivals.sort_by_key(|(at, ..)| *at);
            let mut keys = Presses::default();
            let told: String = arrivals
                .into_iter()
                .filter(|(at, digit, way)| keys.is_new(CallTime::ms(*at), *digit, *way))
                .map(|(_, digit, _)| digit)
                .collect();
            prop_assert_eq!(told, digits);
        }
    }
}
