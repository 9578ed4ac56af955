//! `invite`, `accept`, `reject`, `ringing`.

use std::time::Duration;

use protocol::CallTime;
use protocol::command::{Invite, Reject, Ringing};
use protocol::option::Over;
use protocol::reason::Particulars;
use protocol::rest::CallKind;

use crate::core::{Core, State};
use crate::end::End;

/// Status of a `reject` without code.
const DECLINE: u16 = 603;

impl Core {
    pub(super) fn invite(&mut self, now: CallTime, invite: Invite) {
        match (&self.state, self.facts.kind) {
            (State::Idle, CallKind::WebSocket) => self.accept(now, *invite.option),
            (State::Idle, CallKind::Sip) => self.dial(now, *invite.option),
            (State::Idle, kind) => {
                let what =
                    format!("invite: outbound {} calls are not implemented by this server", kind.lower());
                self.error(now, "invite", what, 501);
            }
            // The client of a waiting call means `accept`.
            (State::Pending, _) => self.accept(now, *invite.option),
            _ => self.error(now, "invite", "the call has already begun", 409),
        }
    }

    pub(super) fn accepted(&mut self, now: CallTime, accept: Invite) {
        if matches!(self.state, State::Pending) {
            return self.accept(now, *accept.option);
        }
        if self.is_asked_to_go() {
            return self.answer_sending_on(now, Ok(()));
        }
        if self.is_up() || matches!(self.state, State::Answering(_)) {
            return self.error(
                now,
                "accept",
                "the call is already answered, and no transferRequest waits for an answer",
                409,
            );
        }
        self.tell_reject(now, (486, "no pending call"), Particulars::default());
        self.error(now, "accept", "no pending call", 486);
        self.end(now, End::new(protocol::HangupReason::Failed, 486).because("no pending call"));
    }

    pub(super) fn reject(&mut self, now: CallTime, reject: &Reject) {
        if !matches!(self.state, State::Pending) && !self.is_asked_to_go() {
            return self.error(now, "command", "reject: no pending call", 409);
        }
        let code = reject.code.unwrap_or(DECLINE);
        if !(400..700).contains(&code) {
            return self.wrong(now, "command", "code", format!("{code} is no refusal; use 400 to 699"));
        }
        if self.is_asked_to_go() {
            return self.answer_sending_on(now, Err(code));
        }
        self.refuse(now, code, &reject.reason);
    }

    pub(super) fn ringing(&mut self, now: CallTime, ringing: Ringing) {
        if !matches!(self.state, State::Pending) {
            return self.error(now, "ringing", "no pending call", 409);
        }
        if let Some(recorder) = ringing.recorder {
            // What is set here stays, whatever `accept` brings.
            self.recorder_fixed = true;
            self.option.recorder = Some(match self.option.recorder.take() {
                Some(earlier) => earlier.over(&recorder),
                None => recorder,
            });
        }
        let early = ringing.early_media == Some(true) || ringing.ringtone.is_some();
        self.ring(now, early);
        if early {
            self.start_taking();
        }
        if let Some(url) = ringing.ringtone
            && self.rate.is_some()
        {
            let id = self.begin_utterance(now, Some(url.clone()), true);
            self.say_file(now, id, ("ringtone", url));
            self.voice.ringtone = Some(id);
        }
    }

    /// Nothing rings in a call that is answered.
    pub(crate) fn stop_ringtone(&mut self, now: CallTime) {
        let rings = self.voice.ringtone.take().is_some_and(|id| self.voice.utterance(id).is_some());
        if rings {
            self.interrupt_voice(now, false, Duration::ZERO);
        }
    }
}
