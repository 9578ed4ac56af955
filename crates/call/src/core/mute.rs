//! A playbook's agent that cannot speak: nobody is kept waiting in silence for it.

use std::time::Duration;

use protocol::{CallTime, HangupReason};

use super::{Core, Due};
use crate::end::End;
use crate::failure::Failure;

/// What the agent may still say, play or arrange in another way, before the call is ended.
const PATIENCE: Duration = Duration::from_secs(2);
/// After it was heard once, so many answers in a row must find no voice: one may fail by chance.
const MOST_FAILED: u32 = 3;

/// Whether the agent can be heard.
#[derive(Debug, Default)]
pub(crate) struct Muteness {
    /// A client has command and decides for itself.
    attended: bool,
    /// Something of the agent's was heard.
    heard: bool,
    /// Utterances in a row of which nothing could be heard.
    failed: u32,
    /// Why the last of them did.
    why: String,
}

impl Muteness {
    pub(super) fn is_attended(&self) -> bool {
        self.attended
    }
}

impl Core {
    /// A client takes command: that the agent is mute or deaf is then told and nothing else.
    pub(crate) fn be_attended(&mut self) {
        self.mute.attended = true;
        self.deadlines.drop_where(|due| matches!(due, Due::Mute | Due::Deaf));
    }

    /// Something of the agent's goes out.
    pub(crate) fn be_heard(&mut self) {
        (self.mute.heard, self.mute.failed) = (true, 0);
        self.deadlines.drop_where(|due| *due == Due::Mute);
    }

    /// Nothing can be heard of an utterance. A file that is not there makes nobody mute who has a voice.
    pub(crate) fn fail_to_speak(&mut self, now: CallTime, file: bool, failure: &Failure) {
        let voiced = self.option.tts.as_ref().is_some_and(|tts| tts.provider.is_some());
        let other = self.conversation.is_none() || self.option.realtime.is_some();
        if self.mute.attended || other || (file && voiced) {
            return;
        }
        self.mute.failed += 1;
        self.mute.why = failure.to_string();
        if self.mute.failed == 1 && !self.mute.heard || self.mute.failed == MOST_FAILED {
            self.deadlines.set(now + PATIENCE, Due::Mute);
        }
    }

    /// The agent has not been heard since. A caller who is being put through needs no agent.
    pub(super) fn stay_mute(&mut self, now: CallTime) {
        if !self.is_up() || self.referred.is_some() || self.handover.is_some() {
            return;
        }
        let why = format!("the agent cannot speak: {}", self.mute.why);
        self.end(now, End::new(HangupReason::Failed, 500).because(why));
    }
}
