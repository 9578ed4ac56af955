//! Texts that stream in pieces to voices which speak whole texts: a voice that is given word by word speaks each as if
//! nothing followed. Pieces are gathered until a sentence or a long clause is there, and no longer than the caller can
//! be left without sound.

use std::time::Duration;

use playbook::sentence;
use protocol::CallTime;
use protocol::option::SynthesisOption;

use super::Core;
use super::clock::Due;
use super::voice::Utterance;
use crate::media::order::UtteranceId;

/// From so many bytes on a clause is spoken though its sentence goes on.
const CLAUSE: usize = 60;
/// What is longer is spoken wherever it can be cut.
const LONGEST: usize = 600;
/// Nothing more came for so long: what is there is spoken.
const QUIET: Duration = Duration::from_millis(250);
/// The first words wait no longer, whatever follows them.
const PATIENCE: Duration = Duration::from_millis(500);
/// While something plays it is gathered on until so much before its end.
const BEFORE_END: Duration = Duration::from_millis(400);

/// Text that waits to become a sentence.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    text: String,
    /// When the first of it came.
    first: CallTime,
    /// When the last of it came.
    last: CallTime,
    option: SynthesisOption,
}

impl Gathered {
    /// Takes the next piece, to be spoken as `option` says.
    fn push(&mut self, now: CallTime, piece: &str, option: SynthesisOption) {
        if self.text.is_empty() {
            self.first = now;
        }
        self.text.push_str(piece);
        self.last = now;
        self.option = option;
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// Forgets what waits.
    pub(super) fn clear(&mut self) {
        self.text.clear();
    }

    /// The sentences and long clauses that are complete, after the last `piece`.
    fn ready(&mut self, piece: &str) -> Option<String> {
        let mut end = 0;
        for (at, c) in self.text.char_indices() {
            let (words, behind) = (self.text.get(..at).unwrap_or_default(), at + c.len_utf8());
            if sentence::is_wide_ender(c) {
                end = behind;
            } else if c.is_whitespace() {
                let clause = at >= end + CLAUSE && words.ends_with([',', ';', ':']);
                if clause || c == '\n' || at >= end + LONGEST || sentence::is_complete(words) {
                    end = behind;
                }
            }
        }
        if self.text.len() > end + LONGEST || ends_here(&self.text, piece) {
            end = self.text.len();
        }
        self.take(end)
    }

    /// What has waited long enough at `now`: all after a silence, else the words that are whole.
    fn late(&mut self, now: CallTime) -> Option<String> {
        let all = self.text.len();
        let words = self.text.rfind(char::is_whitespace).map_or(all, |at| at + 1);
        self.take(if now.since(self.last) >= QUIET { all } else { words.min(all) })
    }

    /// Everything.
    fn all(&mut self) -> Option<String> {
        self.take(self.text.len())
    }

    fn take(&mut self, end: usize) -> Option<String> {
        // White space of several bytes may end behind a place that was counted in single ones.
        let end = self.text.ceil_char_boundary(end);
        let rest = self.text.split_off(end);
        let taken = std::mem::replace(&mut self.text, rest);
        self.first = self.last;
        (!taken.is_empty()).then_some(taken)
    }

    /// When what waits is late, if nothing plays.
    fn due(&self) -> Option<CallTime> {
        (!self.text.is_empty()).then(|| (self.last + QUIET).min(self.first + PATIENCE))
    }
}

/// Whether a sentence ends with the last `piece` of `text`, though nothing follows yet. A number may go on behind its full
/// stop when words come piece by piece.
fn ends_here(text: &str, piece: &str) -> bool {
    let words = text.trim_end();
    let number = words.trim_end_matches('.').ends_with(|c: char| c.is_ascii_digit());
    let bare = !piece.trim().contains(char::is_whitespace);
    sentence::is_complete(words) && !(number && bare)
}

impl Utterance {
    /// When gathered text is to be spoken: late text waits while there is sound before it.
    fn gathered_due(&self) -> Option<CallTime> {
        let due = self.gathered.due().filter(|_| !self.cut)?;
        let end = self.started.map(|at| at + self.given);
        Some(end.map_or(due, |end| due.max(end.back(BEFORE_END))))
    }
}

impl Core {
    /// Takes a piece of a stream for a voice that speaks whole texts.
    pub(super) fn gather(&mut self, now: CallTime, id: UtteranceId, text: &str, option: SynthesisOption) {
        let Some(utterance) = self.voice.utterance(id) else { return };
        utterance.gathered.push(now, text, option);
        let ready = utterance.gathered.ready(text);
        self.speak_gathered(now, id, ready);
    }

    /// No more comes of a stream: what was gathered is spoken.
    pub(super) fn gathered_all(&mut self, now: CallTime, id: UtteranceId) {
        let all = self.voice.utterance(id).and_then(|utterance| utterance.gathered.all());
        self.speak_gathered(now, id, all);
    }

    /// Text may have waited long enough.
    pub(super) fn gathered_late(&mut self, now: CallTime) {
        let late = |utterance: &&mut Utterance| utterance.gathered_due().is_some_and(|at| at <= now);
        let due: Vec<(UtteranceId, Option<String>)> =
            self.voice.utterances.iter_mut().filter(late).map(|u| (u.id, u.gathered.late(now))).collect();
        for (id, text) in due {
            self.speak_gathered(now, id, text);
        }
        self.watch_gathered();
    }

    fn speak_gathered(&mut self, now: CallTime, id: UtteranceId, text: Option<String>) {
        let option = self.voice.utterance(id).map(|utterance| utterance.gathered.option.clone());
        if let Some((text, option)) = text.zip(option) {
            self.speak_piece(now, id, text, option);
        }
        self.watch_gathered();
    }

    fn watch_gathered(&mut self) {
        self.deadlines.drop_where(|due| *due == Due::Gathered);
        if let Some(at) = self.voice.utterances.iter().filter_map(Utterance::gathered_due).min() {
            self.deadlines.set(at, Due::Gathered);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> CallTime {
        CallTime(Duration::from_millis(ms))
    }

    /// What is spoken of pieces that come 50 ms apart, without the end of the stream, and what then waits.
    fn spoken(pieces: &[&str]) -> (Vec<String>, String) {
        let (mut gathered, mut out) = (Gathered::default(), Vec::new());
        for (n, piece) in pieces.iter().enumerate() {
            gathered.push(at(n as u64 * 50), piece, SynthesisOption::default());
            out.extend(gathered.ready(piece));
        }
        (out, gathered.text)
    }

    #[test]
    fn words_become_sentences() {
        let (out, rest) = spoken(&["We ", "open ", "at ", "nine. ", "And ", "close"]);
        assert_eq!((out, rest.as_str()), (vec!["We open at nine. ".to_owned()], "And close"));
    }

    #[test]
    fn a_whole_sentence_does_not_wait_for_what_follows_it() {
        for sentence in ["Hello.", "I was born in 1990.", "Hello. How are you?", "你好。", "Well!\" "] {
            assert_eq!(spoken(&[sentence]), (vec![sentence.to_owned()], String::new()));
        }
    }

    #[test]
    fn a_full_stop_within_a_number_or_behind_a_title_ends_nothing() {
        let (out, rest) = spoken(&["It costs ", "3", ".", "50 ", "says Dr.", " Who"]);
        assert_eq!((out.len(), rest.as_str()), (0, "It costs 3.50 says Dr. Who"));
    }

    #[test]
    fn a_long_clause_and_a_long_text_are_spoken_before_their_end() {
        let clause = "This is a clause of the usual length that goes on for a while, and ";
        let (out, rest) = spoken(&[clause]);
        assert_eq!((out.len(), rest.as_str()), (1, "and "));
        assert_eq!(spoken(&["Short, "]).0.len(), 0);
        let (out, rest) = spoken(&[&"é".repeat(2000)]);
        assert_eq!((out.len(), rest.len()), (1, 0));
    }

    #[test]
    fn what_waits_is_late_after_a_silence_and_first_words_after_a_while() {
        let mut gathered = Gathered::default();
        assert_eq!(gathered.due(), None);
        gathered.push(at(0), "We op", SynthesisOption::default());
        assert_eq!(gathered.due(), Some(at(250)));
        gathered.push(at(200), "en at", SynthesisOption::default());
        gathered.push(at(400), " ni", SynthesisOption::default());
        assert_eq!(gathered.due(), Some(at(500)));
        assert_eq!(gathered.late(at(500)).as_deref(), Some("We open at "));
        assert_eq!(gathered.due(), Some(at(650)));
        assert_eq!(gathered.late(at(650)).as_deref(), Some("ni"));
        assert_eq!((gathered.late(at(700)), gathered.due()), (None, None));
    }

    proptest! {
        #[test]
        fn nothing_of_the_text_is_lost_or_said_twice(pieces in prop::collection::vec("\\PC{0,40}", 0..40)) {
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let (out, rest) = spoken(&pieces);
            prop_assert_eq!(out.concat() + &rest, pieces.concat());
            prop_assert!(rest.len() <= LONGEST + 40 * 4);
        }
    }
}
