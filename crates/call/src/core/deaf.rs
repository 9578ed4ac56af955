//! A playbook's agent that does not understand, or cannot hear any more: nobody is left to talk to it in vain.

use std::time::Duration;

use protocol::{CallTime, HangupReason};

use super::realtime::Broken;
use super::{Core, Due, Effect};
use crate::end::End;
use crate::failure::Failure;
use crate::media::order::ToMedia;

/// Between looks at whether the agent still has something to say before the call is ended.
const PATIENCE: Duration = Duration::from_secs(2);

/// Speech of less is not missed: a noise may be as long.
const SPEECH: Duration = Duration::from_millis(500);
/// How long the words of speech that has ended are awaited. A recognizer that can tell gives up before.
const WORDS: Duration = Duration::from_millis(4500);

impl Core {
    /// Speech has ended: its words are to come in time. A recognizer tells also that there are none.
    pub(super) fn await_words(&mut self, now: CallTime, spoken: Duration) {
        self.deadlines.drop_where(|due| *due == Due::Words);
        if self.conversation.is_some() && self.ears.door.is_some() && spoken >= SPEECH {
            self.ears.wordless = true;
            self.deadlines.set(now + WORDS, Due::Words);
        }
    }

    /// Speech goes on: its words are awaited when it ends.
    pub(super) fn speech_goes_on(&mut self) {
        self.deadlines.drop_where(|due| *due == Due::Words);
    }

    /// The words of what was spoken are there, or there are none.
    pub(super) fn words_came(&mut self) {
        self.ears.wordless = false;
        self.deadlines.drop_where(|due| *due == Due::Words);
    }

    /// No words have come: the recognizer hangs.
    pub(super) fn wait_no_more(&mut self, now: CallTime) {
        let Some(door) = self.ears.door.filter(|_| self.is_up()) else { return };
        self.order(ToMedia::Deaf(door));
        self.effect(Effect::Unlisten(door));
        self.ears.door = None;
        let why = format!("no words came of what the caller said within {} ms", WORDS.as_millis());
        self.lose_hearing(now, &Broken { failure: Failure::new(504, why), retryable: true });
    }

    /// What the caller has said is lost: the agent asks for it.
    pub(super) fn ask_again(&mut self) {
        if self.ears.wordless {
            self.words_came();
            self.tell(playbook::Input::NotUnderstood);
        }
    }

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
