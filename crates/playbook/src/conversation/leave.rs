//! The end of the call and transfers.

use protocol::chat::Role;
use protocol::command::{Hangup, Refer};
use protocol::option::ReferOption;
use protocol::value::Headers;
use protocol::{CallTime, Command};

use super::heard::{After, Reason};
use super::{Action, Conversation, Mode, Note};

impl Conversation {
    pub(super) fn hang_up(&mut self, reason: Reason, out: &mut Vec<Action>) {
        self.mode = Mode::Over;
        let headers = self.hangup_headers(out);
        let headers = Some(headers).filter(|headers| !headers.is_empty());
        let Reason { reason, initiator } = reason;
        let hangup = Hangup { reason, initiator, headers, refer: None };
        out.push(Action::Do(Command::Hangup(hangup)));
    }

    /// Says goodbye, which the caller cannot cut off, and ends the call for `reason`.
    pub(super) fn take_leave(&mut self, now: CallTime, reason: &str, out: &mut Vec<Action>) {
        let leaves = self.reply.as_ref().is_some_and(|reply| reply.after.hangup.is_some());
        if leaves || self.mode == Mode::Over {
            return;
        }
        let after = After::hangup(reason);
        if self.mode != Mode::Talking {
            return self.hang_up(after.hangup.unwrap_or_default(), out);
        }
        self.waiting = None;
        self.stop_reply(out);
        let goodbye = self.phrases.goodbye.clone();
        self.speech.manner.protected = true;
        self.say_fixed(now, &goodbye, after, out);
    }

    /// The playbook's headers for the BYE, as they are sent.
    fn hangup_headers(&self, out: &mut Vec<Action>) -> Headers {
        let sip = self.playbook.option.sip.as_ref();
        let templates = sip.and_then(|sip| sip.hangup_headers.as_ref());
        let (headers, faults) = self.vars.hangup_headers(templates.unwrap_or(&Headers::new()));
        out.extend(faults.into_iter().map(|fault| Action::Note(Note::Trouble(fault.to_string()))));
        headers
    }

    pub(super) fn transfer(&mut self, callee: String, out: &mut Vec<Action>) {
        self.mode = Mode::Transferred;
        self.silence.end();
        let options = ReferOption { pause_parent_asr: Some(true), ..ReferOption::default() };
        out.push(Action::Do(Command::Refer(Refer {
            caller: String::new(),
            method: None,
            callee,
            options: Some(Box::new(options)),
        })));
    }

    /// The transfer did not succeed: the caller is back.
    pub(super) fn transfer_failed(&mut self, now: CallTime, why: &str, out: &mut Vec<Action>) {
        if self.mode != Mode::Transferred {
            return;
        }
        self.mode = Mode::Talking;
        self.history.push(self.last_turn, Role::System, format!("The transfer failed: {why}"));
        let text = self.phrases.unreachable.clone();
        self.say_fixed(now, &text, After::default(), out);
    }
}
