//! An answer that is about to begin waits for a caller who goes on speaking.
//!
//! Decided here and not by the rules: what the detector hears is known here a quarter of a second earlier, and nothing of
//! the answer may be heard meanwhile. What the caller adds cancels the answer by its words; a noise lets it begin.

use std::time::Duration;

use audio::vad::VadEvent;
use protocol::CallTime;

use crate::media::order::UtteranceId;
use crate::media::speaking::Speaking;

/// Speech that has ended is followed by its words within so long; without them it was none.
const WORDS_TAKE: Duration = Duration::from_millis(600);
/// An answer waits no longer than this: what is heard may be another conversation.
const LONGEST: Duration = Duration::from_secs(5);

/// Which utterance waits, and for what.
#[derive(Debug, Default)]
pub(crate) struct Yielding {
    /// It answers words that ended at this time.
    answer: Option<(UtteranceId, CallTime)>,
    /// The beginning of the last speech that has ended, and when its end was told.
    ended: Option<(CallTime, CallTime)>,
    /// The beginning of speech whose end was told last, until the next tick says when that is.
    ending: Option<CallTime>,
    /// Since when the answer waits.
    waits: Option<CallTime>,
}

impl Yielding {
    /// This utterance answers words that ended at `since`.
    pub(crate) fn give_way(&mut self, id: UtteranceId, since: CallTime) {
        self.answer = Some((id, since));
        self.waits = None;
    }

    /// Takes what the detector says.
    pub(crate) fn heard(&mut self, event: &VadEvent) {
        if let VadEvent::Silence { start, .. } = event {
            self.ending = Some(*start);
        }
    }

    /// Holds the answer back or lets it begin; `voice` tells since when the caller is heard.
    pub(crate) fn tick(&mut self, now: CallTime, voice: Option<CallTime>, speaking: &mut Speaking) {
        if let Some(start) = self.ending.take() {
            self.ended = Some((start, now));
        }
        let Some((id, since)) = self.answer else { return };
        if speaking.playing().is_some_and(|(playing, _)| playing >= id) {
            self.answer = None;
            return speaking.hold_back(None);
        }
        let goes_on = voice.is_some_and(|start| start >= since);
        let words_due =
            self.ended.is_some_and(|(start, told)| start >= since && now.since(told) < WORDS_TAKE);
        let hold = (goes_on || words_due) && self.waits.is_none_or(|begun| now.since(begun) < LONGEST);
        if hold && speaking.next() == Some(id) {
            self.waits.get_or_insert(now);
        }
        speaking.hold_back(hold.then_some(id));
    }
}
