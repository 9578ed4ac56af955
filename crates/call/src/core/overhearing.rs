//! What the second party says: made clean, and recognized for the client that asked for it with `refer`.

use audio::Cleaning;
use protocol::CallTime;
use protocol::event::{Event, Transcript};
use protocol::option::Over;
use providers::Heard;

use super::ears::MOST_RESTARTS;
use super::realtime::Broken;
use super::{Core, Effect};
use crate::legs::LegId;
use crate::media::order::{DoorId, ToMedia};

/// The recognizer of the second party.
#[derive(Debug)]
pub(crate) struct Overhearing {
    leg: LegId,
    door: DoorId,
    restarts: u32,
    /// Number of the utterance that is heard.
    index: u32,
}

impl Core {
    /// Takes noise out of what the second party says, where that was asked for.
    pub(super) fn clean_second(&mut self, leg: LegId) {
        if self.referred_option().is_some_and(|option| option.denoise == Some(true)) {
            self.order(ToMedia::Clean(leg, Cleaning { noise: true, echo: false }));
        }
    }

    /// Has the second party, which has answered, recognized, where that was asked for. What its `asr` does not say is as
    /// for the first party.
    pub(super) fn overhear(&mut self, now: CallTime, leg: LegId) {
        if self.referred_option().is_none_or(|option| option.asr.is_none()) {
            return;
        }
        let (kind, settings) = self.detector(now);
        self.order(ToMedia::Vad(leg, kind, settings));
        self.open_second_door(leg, 0, 0);
    }

    fn open_second_door(&mut self, leg: LegId, restarts: u32, index: u32) {
        let Some(own) = self.referred_option().and_then(|option| option.asr.clone()) else { return };
        let base = self.option.asr.clone().unwrap_or_default();
        let door = self.next_door();
        self.overhearing = Some(Overhearing { leg, door, restarts, index });
        self.effect(Effect::Listen { leg, door, option: Box::new(own.over(&base)) });
    }

    /// The second party is gone.
    pub(super) fn overhear_no_more(&mut self) {
        if let Some(Overhearing { door, .. }) = self.overhearing.take() {
            self.order(ToMedia::Deaf(door));
            self.effect(Effect::Unlisten(door));
        }
    }

    /// What the recognizer of the second party heard.
    pub(super) fn overheard(&mut self, now: CallTime, door: DoorId, heard: Heard) {
        let Some(of) = self.overhearing.as_mut().filter(|of| of.door == door) else { return };
        let (words, last) = match heard {
            Heard::Partial(words) => (words, false),
            Heard::Final(words) => (words, true),
        };
        if words.text.trim().is_empty() {
            return;
        }
        let index = of.index;
        of.index += u32::from(last);
        if last {
            of.restarts = 0;
        }
        let transcript = Transcript {
            // The track that the first party hears the second on.
            track_id: self.facts.rules.server_track.clone(),
            timestamp: self.unix_ms(now),
            index,
            start_time: words.start.map(|at| self.unix_ms(at)),
            end_time: words.end.map(|at| self.unix_ms(at)),
            text: words.text,
            is_filler: None,
            confidence: words.confidence,
            task_id: words.task_id,
        };
        self.emit(if last { Event::AsrFinal(transcript) } else { Event::AsrDelta(transcript) });
    }

    /// The recognizer of the second party has ended, which it should not while it is there.
    pub(super) fn second_unheard(&mut self, now: CallTime, door: DoorId, broken: &Broken) {
        let Some(of) = self.overhearing.take_if(|of| of.door == door) else { return };
        self.order(ToMedia::Deaf(door));
        self.fail(now, "asr", &broken.failure);
        if broken.retryable && of.restarts < MOST_RESTARTS {
            self.open_second_door(of.leg, of.restarts + 1, of.index);
        }
    }
}
