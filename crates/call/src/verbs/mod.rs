//! What commands do: one file each. `Core::command` is the only door, for clients and playbooks alike.

mod answer;
mod hangup;
mod history;
mod hold;
mod interrupt;
mod mute;
mod play;
mod record;
mod refer;
mod send_digits;
mod tts;

use protocol::{CallTime, Command};

use crate::core::{Core, State};
use crate::failure::Failure;

/// Commands that may wait for the far end's answer to our offer; those beyond are refused.
const MOST_WAITING: usize = 64;

impl Core {
    /// Carries out a command. What takes long goes on beside the call; only before the far end has said what the sound is
    /// do commands wait, in their order.
    pub(crate) fn command(&mut self, now: CallTime, command: Command) {
        if matches!(self.state, State::Ending(_) | State::Over) {
            return;
        }
        if self.waits_for_sound(&command) {
            return self.wait(now, command);
        }
        match command {
            Command::Invite(invite) => self.invite(now, invite),
            Command::Accept(accept) => self.accepted(now, accept),
            Command::Reject(reject) => self.reject(now, &reject),
            Command::Ringing(ringing) => self.ringing(now, ringing),
            Command::Tts(tts) => self.tts(now, tts),
            Command::Play(play) => self.play(now, play),
            Command::Interrupt(interrupt) => self.interrupt(now, &interrupt),
            Command::Pause(_) => self.pause(true),
            Command::Resume(_) => self.pause(false),
            Command::Hangup(hangup) => self.hangup(now, hangup),
            Command::Mute(mute) => self.mute(now, &mute, true),
            Command::Unmute(mute) => self.mute(now, &mute, false),
            Command::History(history) => self.history(now, history),
            Command::Dtmf(dtmf) => self.send_digits(now, &dtmf),
            Command::Refer(refer) => self.refer(now, refer),
            Command::Record(record) => self.record_command(now, record),
            Command::Hold(hold) => self.hold_command(now, hold),
            Command::Unhold(_) => self.unhold_command(now),
            other @ Command::Candidate(_) => self.not_built(now, &other),
        }
    }

    /// Whether the call is answered and has no sound yet, and a command wants it, or comes behind one that does: a caller
    /// whose INVITE had no offer says with its ACK what the sound is to be (RFC 3261 section 13.2.2.4).
    fn waits_for_sound(&self, command: &Command) -> bool {
        use Command::{Dtmf, Hangup, Hold, Play, Record, Refer, Tts, Unhold};
        let wants =
            matches!(command, Tts(_) | Play(_) | Dtmf(_) | Record(_) | Hold(_) | Unhold(_) | Refer(_));
        let answered = self.sip.is_some() && matches!(self.state, State::Answering(_) | State::Up);
        let first = answered && self.rate.is_none() && wants;
        let behind = !self.waiting.is_empty() && !matches!(command, Hangup(_));
        first || behind
    }

    /// Keeps a command until there is sound.
    fn wait(&mut self, now: CallTime, command: Command) {
        if self.waiting.len() < MOST_WAITING {
            return self.waiting.push(command);
        }
        let name = command.name();
        let why = format!("{name}: {MOST_WAITING} commands wait for the far end to say what the sound is");
        self.error(now, "command", why, 409);
    }

    /// What has waited for the sound is done, if it has begun.
    pub(crate) fn sound_is_there(&mut self, now: CallTime) {
        if self.rate.is_none() {
            return;
        }
        for command in std::mem::take(&mut self.waiting) {
            self.command(now, command);
        }
    }

    /// A command whose behaviour this server does not have.
    fn not_built(&mut self, now: CallTime, command: &Command) {
        let name = command.name();
        self.error(now, "command", format!("{name} is not implemented by this server"), 501);
    }

    /// Whether the call can be heard; else says so.
    fn audible(&mut self, now: CallTime, verb: &str) -> bool {
        let heard = self.heard_by(verb);
        if let Err(failure) = &heard {
            self.fail(now, "command", failure);
        }
        heard.is_ok()
    }

    fn heard_by(&self, verb: &str) -> Result<(), Failure> {
        let failure = || Failure::new(409, format!("{verb}: the call is not answered yet"));
        self.rate.map(|_| ()).ok_or_else(failure)
    }
}
