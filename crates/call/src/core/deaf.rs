//! A playbook's agent that cannot hear any more: nobody is left to talk to it in vain.

use std::time::Duration;

use protocol::{CallTime, HangupReason};

use super::{Core, Due};
use crate::end::End;
use crate::failure::Failure;

/// Between looks at whether the agent still has something to say before the call is ended.
const PATIENCE: Duration = Duration::from_secs(2);

impl Core {
    /// The recognizer has failed for good. An agent that takes keys can still be answered, and a client that has command
    /// decides for itself.
    pub(super) fn cease_to_hear(&mut self, now: CallTime, failure: &Failure) {
        let takes_keys = self.playbook.as_ref().is_some_and(|playbook| playbook.takes_keys());
        if self.conversation.is_none() || self.mute.is_attended() || takes_keys {
            return;
        }
        self.ears.lost = Some(failure.to_string());
        self.deadlines.drop_where(|due| *due == Due::Deaf);
        self.deadlines.set(now + PATIENCE, Due::Deaf);
    }

    /// It has not been heard again. What the agent says meanwhile is said to its end, and a caller who is being put
    /// through needs no agent.
    pub(super) fn stay_deaf(&mut self, now: CallTime) {
        let Some(why) = self.ears.lost.clone().filter(|_| self.is_up()) else { return };
        if self.referred.is_some() || self.handover.is_some() || !self.voice.utterances.is_empty() {
            return self.deadlines.set(now + PATIENCE, Due::Deaf);
        }
        let why = format!("the agent cannot hear: {why}");
        self.end(now, End::new(HangupReason::Failed, 500).because(why));
    }
}
