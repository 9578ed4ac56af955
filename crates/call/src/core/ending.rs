//! The end of a call: once, in order, with everything told and written.

use std::time::Duration;

use protocol::event::{Attendee, Event, HangupEvent};
use protocol::reason::Initiator;
use protocol::rest::CallKind;
use protocol::{CallTime, HangupReason, Headers};

use super::{Core, Due, Effect, State};
use crate::end::{End, StopReason};
use crate::legs::LegRequest;
use crate::media::order::ToMedia;

/// How long the sound may take to say what was heard last: two ticks and some.
const SETTLE: Duration = Duration::from_millis(60);

/// How long the far end, which has hung up, may take to tell how a transfer ends. Its leg gives up a little sooner, after
/// 64 T1.
const PARTING: Duration = Duration::from_secs(35);

/// Most headers of a BYE that are told of one by one.
const MOST_FAULTS: usize = 20;

/// How long the agent may say goodbye to a caller when the server stops.
const GOODBYE: Duration = Duration::from_secs(5);

impl Core {
    /// Someone outside ends the call. When the server stops, the agent says goodbye first; a second order waits for
    /// nothing.
    pub(super) fn stop(&mut self, now: CallTime, reason: StopReason) {
        let polite = reason == StopReason::Shutdown && self.leaving.is_none() && self.is_up();
        let end = reason.end(self.answered.is_some());
        // A party that was called in talks with the caller: the agent does not break in.
        if !polite || self.conversation.is_none() || self.referred.is_some() {
            self.leaving = None;
            return self.end(now, end);
        }
        let why = end.message.clone().unwrap_or_default();
        self.leaving = Some(end);
        self.deadlines.set(now + GOODBYE, Due::Leave);
        self.tell(playbook::Input::Leave(why));
    }

    pub(super) fn left_late(&mut self, now: CallTime) {
        if let Some(end) = self.leaving.take() {
            self.end(now, end);
        }
    }

    /// Ends the call. The first end counts.
    pub(crate) fn end(&mut self, now: CallTime, end: End) {
        if matches!(self.state, State::Ending(_) | State::Over) {
            if self.parted.is_some() {
                self.finish(now);
            }
            return;
        }
        if self.parted.is_none() {
            self.handover_untold(now);
        }
        // The agent has said goodbye for this reason, unless the caller was faster.
        let by_us = !matches!(end.initiator, Some(Initiator::Caller | Initiator::Callee));
        let end = self.leaving.take().filter(|_| by_us).unwrap_or(end);
        self.end_referred(now);
        self.end_succession();
        let gone = matches!(end.reason, HangupReason::Canceled | HangupReason::Caller);
        let request = match &self.state {
            State::Pending if !gone && end.status >= 300 => {
                let said = end.message.clone().filter(|_| end.reason == HangupReason::Rejected);
                LegRequest::Reject {
                    code: end.status,
                    reason: said.unwrap_or_default(),
                    warning: end.warning.clone(),
                }
            }
            _ => {
                let (headers, faults) = self.bye_headers();
                self.tell_unsendable(now, &faults);
                let why = end.warning.as_ref().map(|warning| (end.status, warning.text.as_str()));
                LegRequest::Hangup { headers: saying(headers, why) }
            }
        };
        if self.parted.is_none() {
            self.request(request);
        }
        self.state = State::Ending(end);
        self.info_changed = true;
        self.deafen();
        self.order(ToMedia::Arm(None));
        self.interrupt_voice(now, false, Duration::ZERO);
        if self.sound_settles() {
            self.order(ToMedia::Settle);
        }
        self.deadlines = super::Deadlines::default();
        self.deadlines.set(now + if self.parted.is_some() { PARTING } else { SETTLE }, Due::Settle);
        self.settled(now);
    }

    /// Headers of the BYE that cannot be sent, each with the reason; the others go out.
    fn tell_unsendable(&mut self, now: CallTime, faults: &[String]) {
        if self.facts.kind != CallKind::Sip {
            return;
        }
        for fault in faults.iter().take(MOST_FAULTS) {
            self.error(now, "hangup", format!("the BYE goes out without {fault}"), 400);
        }
    }

    /// Ends the call at once after an error inside it: the playbook is not asked any more, and what was still
    /// to be done is forgotten.
    pub(crate) fn break_off(&mut self, now: CallTime) {
        // A record that is on its way is kept: it is the one of this call.
        self.effects.retain(|effect| matches!(effect, Effect::Finish(_)));
        self.inbox.clear();
        self.conversation = None;
        self.end(now, StopReason::MediaLost("internal error".into()).end(true));
        self.finish(now);
    }

    /// Finishes an ending call once nothing plays any more and its sound has told how good it was.
    pub(crate) fn settled(&mut self, now: CallTime) {
        let silent = self.voice.utterances.is_empty() && !self.sound_settles() && self.parted.is_none();
        if matches!(self.state, State::Ending(_)) && silent {
            self.finish(now);
        }
    }

    /// Tells the end and hands the record over.
    pub(crate) fn finish(&mut self, now: CallTime) {
        if !matches!(self.state, State::Ending(_)) {
            return;
        }
        self.cut_all(now);
        if self.parted.is_some() {
            self.handover_untold(now);
            // Whatever its leg still waits for.
            self.request(LegRequest::Hangup { headers: protocol::Headers::new() });
        }
        let State::Ending(end) = std::mem::replace(&mut self.state, State::Over) else { return };
        // What the playbook has to say about the last words comes before `hangup`, which is the last event.
        self.converse(now);
        self.deadlines = super::Deadlines::default();
        let (track_id, timestamp) = (self.facts.id.clone(), self.unix_ms(now));
        let over = self.parted.unwrap_or(now);
        if self.answered.is_some() || self.dialled {
            let duration = self.answered.map_or(0, |answered| (over - answered).as_millis() as u64);
            let ssrc = self.facts.random.0;
            self.emit(Event::TrackEnd { track_id, timestamp, duration, ssrc, play_id: None });
        }
        let hangup = self.hangup_event(now, &end);
        self.emit(Event::Hangup(Box::new(hangup)));
        if let Some(report) = self.report() {
            self.effect(Effect::Report(Box::new(report)));
        }
        let record = self.record(over, &end);
        self.info_changed = true;
        self.effect(Effect::Finish(Box::new(record)));
    }

    fn hangup_event(&self, now: CallTime, end: &End) -> HangupEvent {
        let clock = &self.facts.clock;
        let attendee = |uri: String| (!uri.is_empty()).then(|| Attendee::from_uri(&uri));
        HangupEvent {
            track_id: self.facts.id.clone(),
            timestamp: self.unix_ms(now),
            reason: Some(end.reason.wire().to_owned()),
            initiator: end.initiator.map(|who| who.as_str().to_owned()),
            start_time: clock.rfc3339(CallTime::ZERO),
            hangup_time: clock.rfc3339(self.parted.unwrap_or(now)),
            answer_time: self.answered.map(|at| clock.rfc3339(at)),
            ringing_time: self.rang.map(|at| clock.rfc3339(at)),
            from: attendee(self.caller()),
            to: attendee(self.callee()),
            extra: Some(self.public_vars()),
            refer: Some(false),
        }
    }
}

/// The headers of a BYE that stands for a refusal, if it does, with its status and what is wrong. A `Reason` that was
/// asked for stays.
pub(super) fn saying(mut headers: Headers, why: Option<(u16, &str)>) -> Headers {
    if let Some((status, text)) = why
        && !headers.keys().any(|name| name.eq_ignore_ascii_case("reason"))
    {
        headers.insert("Reason".to_owned(), refusal(status, text));
    }
    headers
}

/// The `Reason` of a BYE that stands for a refusal with this status (RFC 3326).
fn refusal(status: u16, text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control() && !"\"\\".contains(*c)).take(200).collect();
    format!("SIP;cause={status};text=\"{text}\"")
}

/// The party that a command names as the one that ends the call.
pub(crate) fn initiator(word: &str) -> Option<Initiator> {
    [Initiator::Caller, Initiator::Callee, Initiator::System]
        .into_iter()
        .find(|who| who.as_str().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use protocol::rest::CallKind;
    use protocol::{CallOption, CallTime, Command, Extra};

    use crate::core::clock::Clock;
    use crate::core::{Core, Effect, Facts, Input};
    use crate::media::order::FromMedia;
    use crate::setup::Rules;

    #[test]
    fn a_call_whose_sound_dies_while_it_speaks_is_over_at_once() {
        let facts = Facts {
            id: "a".into(),
            reference: "a".into(),
            kind: CallKind::WebSocket,
            caller: String::new(),
            callee: String::new(),
            clock: Clock { began_unix_ms: 0 },
            rules: Rules::default(),
            vars: Extra::new(),
            random: (1, 2, 3),
            dump: None,
        };
        let mut core = Core::new(facts, CallOption::default(), None, None);
        let invite = r#"{"command":"invite","option":{}}"#;
        let tts = r#"{"command":"tts","text":"AQD//w==","base64":true}"#;
        for text in [invite, tts] {
            core.handle(CallTime::ZERO, Input::Command(Command::parse(text).unwrap().value));
        }
        core.handle(CallTime::ms(20), Input::Media(FromMedia::Gone));
        let finished = std::iter::from_fn(|| core.poll()).filter(|e| matches!(e, Effect::Finish(_))).count();
        assert_eq!(finished, 1);
        assert_eq!(core.timeout(), None);
    }
}
