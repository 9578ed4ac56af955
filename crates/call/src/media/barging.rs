//! The armed rule: what happens to the agent's voice in the tick in which the caller is heard.

mod yielding;

use std::time::Duration;

use audio::vad::VadEvent;
use protocol::CallTime;

use self::yielding::Yielding;
use super::order::{BargeIn, UtteranceId};
use super::speaking::Speaking;

/// A lowered voice waits so long after speech for the words that would stop it. Recognizers give them within half a
/// second of silence; without words it was a noise, and the voice comes back.
const WORDS_TAKE: Duration = Duration::from_millis(500);

/// The rule with what it has done.
#[derive(Debug, Default)]
pub(crate) struct Barging {
    rule: Option<BargeIn>,
    /// The voice is down.
    down: bool,
    /// What was heard last was no speech.
    dismissed: bool,
    /// Since when nobody speaks.
    quiet: Option<CallTime>,
    /// What is not said while the caller goes on.
    yielding: Yielding,
}

impl Barging {
    /// Another rule, or none.
    pub(crate) fn arm(&mut self, rule: Option<BargeIn>) {
        self.rule = rule;
    }

    /// This utterance does not begin over a caller who has gone on since the words it answers.
    pub(crate) fn give_way(&mut self, id: UtteranceId, since: CallTime) {
        self.yielding.give_way(id, since);
    }

    /// Takes what the detector says.
    pub(crate) fn heard(&mut self, event: &VadEvent) {
        self.yielding.heard(event);
        self.dismissed = matches!(event, VadEvent::Dismissed { .. });
    }

    /// Lowers, brings back or stops the voice; `voice` tells since when the caller is heard.
    pub(crate) fn tick(&mut self, now: CallTime, voice: Option<CallTime>, speaking: &mut Speaking) {
        self.yielding.tick(now, voice, speaking);
        let Some(rule) = self.rule else { return self.release(speaking) };
        let Some(since) = voice else { return self.wait(now, speaking) };
        self.quiet = None;
        let Some((_, played)) = speaking.playing() else { return };
        if played < rule.ignore_first {
            return;
        }
        if now.since(since) >= rule.min_speech {
            self.down = false;
            return speaking.interrupt(speaking.end_of_queue(), rule.fade, true);
        }
        if let Some(level) = rule.duck {
            self.down = true;
            speaking.duck(level);
        }
    }

    /// Nobody speaks: the voice comes back at once after what was no speech, and after speech when no words stop it.
    fn wait(&mut self, now: CallTime, speaking: &mut Speaking) {
        let quiet = *self.quiet.get_or_insert(now);
        if self.dismissed || now.since(quiet) >= WORDS_TAKE {
            self.release(speaking);
        }
    }

    fn release(&mut self, speaking: &mut Speaking) {
        if std::mem::take(&mut self.down) {
            speaking.unduck();
        }
    }
}
