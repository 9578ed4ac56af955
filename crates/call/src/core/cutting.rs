//! What clients are told of a playback that was cut off, and of texts whose turn never came.

use std::time::Duration;

use protocol::CallTime;
use protocol::event::Event;

use super::Core;
use super::voice::Utterance;

/// Texts of one utterance that an event names, and bytes of them. What is more is not named.
const MOST_NAMED: usize = 64;
const MOST_BYTES: usize = 4096;

/// Texts of commands that were dropped before anything of them was heard, in their order.
#[derive(Debug, Default)]
pub(crate) struct Unsaid(Vec<String>);

impl Unsaid {
    /// Adds texts that would have come before those that it has.
    pub(super) fn before(&mut self, texts: impl Iterator<Item = String>) {
        self.0.splice(0..0, texts);
        let mut bytes = 0;
        let fits = |text: &&String| {
            bytes += text.len();
            bytes <= MOST_BYTES
        };
        let named = self.0.iter().take(MOST_NAMED).take_while(fits).count();
        self.0.truncate(named);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Utterance {
    /// The texts of its commands from the piece of this number on, of which nothing was heard.
    pub(super) fn texts_from(&self, piece: usize) -> Vec<String> {
        let behind = self.pieces.iter().skip(piece).filter(|_| !self.streaming);
        behind.map(|piece| piece.text.trim_start().to_owned()).filter(|text| !text.is_empty()).collect()
    }
}

impl Core {
    /// Tells that an utterance was cut off, after `played` of it and with `heard` of its words, or that commands of it were
    /// dropped. Music behind a transfer and ringtones are no playbacks of anyone's.
    pub(super) fn tell_interruption(
        &mut self,
        now: CallTime,
        utterance: &mut Utterance,
        played: Duration,
        heard: &str,
    ) {
        if !self.is_up() || (utterance.file && !utterance.commanded) {
            return;
        }
        let mut subtitle = None;
        let mut position = None;
        if !utterance.file {
            self.draft.talk.interruptions += 1;
            let at = utterance.current_piece(played);
            utterance.unsaid.before(utterance.texts_from(at + 1).into_iter());
            let (text, heard) = utterance.current(played).unwrap_or(("", heard));
            subtitle = Some(text.to_owned());
            position = Some(u32::try_from(heard.chars().count()).unwrap_or(u32::MAX));
        }
        let event = Event::Interruption {
            track_id: self.facts.rules.server_track.clone(),
            timestamp: self.unix_ms(now),
            play_id: utterance.play_id.clone(),
            subtitle,
            position,
            total_duration: utterance.given.max(played).as_millis() as u64,
            current: played.as_millis() as u64,
            dropped: std::mem::take(&mut utterance.unsaid).0,
        };
        self.emit(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_is_bounded_and_in_its_order() {
        let texts = |from: usize, count: usize| (from..from + count).map(|n| n.to_string());
        let mut unsaid = Unsaid::default();
        unsaid.before(texts(3, 100));
        unsaid.before(texts(0, 3));
        assert_eq!(unsaid.0, texts(0, 64).collect::<Vec<_>>());
        unsaid.before(std::iter::once("x".repeat(MOST_BYTES)));
        assert_eq!(unsaid.0.len(), 1);
        unsaid.before(std::iter::once("x".repeat(MOST_BYTES + 1)));
        assert!(unsaid.is_empty());
    }
}
