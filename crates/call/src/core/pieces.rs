//! The texts of an utterance, where their sound lies, and what of them was heard.

use std::time::Duration;

use providers::WordTime;

use super::Core;
use super::voice::{Utterance, span};
use crate::media::order::{ToMedia, UtteranceId};

/// Speech of one character where nothing better is known: about 15 characters a second.
const CHARACTER: Duration = Duration::from_millis(65);
/// Times of words taken of one piece; its later words are estimated.
const MOST_WORDS: usize = 1024;
/// Samples below this are silence: it belongs to no word.
const QUIET: u16 = 60;
/// Speech of less sound for a character, none of it loud, is none.
const FEWEST: Duration = Duration::from_millis(30);
/// A word that is estimated to end within this time of a position ends there: what is rounded on the way there and
/// back must not lose it.
const ROUNDING: Duration = Duration::from_millis(1);

/// Text of an utterance and where its sound lies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Piece {
    pub(crate) text: String,
    /// Where its sound begins in the utterance.
    pub(crate) from: Option<Duration>,
    /// How much sound of it there is.
    pub(crate) length: Duration,
    /// Where in it something is heard, where that was looked for: from the first to behind the last loud sample so far.
    pub(crate) loud: Option<(Duration, Duration)>,
    /// All its sound is there.
    pub(crate) done: bool,
    /// Where its words end, where the voice tells, in order.
    pub(crate) words: Vec<WordEnd>,
}

/// The end of a word.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WordEnd {
    /// Bytes of the piece's text up to here.
    text: usize,
    /// Sound of the piece up to here.
    sound: Duration,
}

impl Core {
    /// Tells Media where the words of a piece end, as far as that is known: a voice that stops had better stop there.
    pub(crate) fn tell_word_ends(&mut self, id: UtteranceId, piece: usize) {
        let Some(utterance) = self.voice.utterance(id) else { return };
        let (earlier, piece) = (utterance.earlier, utterance.pieces.get(piece));
        let ends = piece.map(Piece::word_ends).unwrap_or_default();
        let ends: Box<[Duration]> = ends.iter().filter_map(|end| end.checked_sub(earlier)).collect();
        if !ends.is_empty() {
            self.order(ToMedia::WordEnds(id, ends));
        }
    }
}

impl Utterance {
    /// The text whose sound lies before `at`: whole pieces, and of the piece that was cut the words that fit: by
    /// their times where the voice tells them, else by their share of its sound, which is an estimate.
    pub(crate) fn heard_until(&self, at: Duration) -> String {
        let mut heard = String::new();
        for piece in &self.pieces {
            let Some(from) = piece.from.filter(|from| *from < at) else { break };
            if !piece.is_silent() {
                heard.push_str(piece.within(at - from));
            }
            if at - from < piece.whole() {
                break;
            }
        }
        heard.trim_end().to_owned()
    }

    /// The text of which there was sound: a piece that no voice could make was not heard, and of one that was
    /// broken off only the words that fit its sound.
    pub(crate) fn audible_text(&self) -> String {
        let sounded = self.pieces.iter().filter(|piece| !piece.length.is_zero() && !piece.is_silent());
        sounded.map(|piece| piece.within(piece.length)).collect()
    }

    /// Whether anything can be heard of it. What is no text is taken as sound.
    pub(super) fn is_audible(&self) -> bool {
        let mut spoken = self.pieces.iter().filter(|piece| !piece.length.is_zero()).peekable();
        spoken.peek().is_none() || spoken.any(|piece| piece.loud.is_some())
    }

    /// The number of the piece that sounds at `at`.
    pub(super) fn current_piece(&self, at: Duration) -> usize {
        self.pieces.iter().rposition(|piece| piece.from.is_some_and(|from| from < at)).unwrap_or(0)
    }

    /// The text of the command that sounds at `at`, and what of it lies before that.
    pub(crate) fn current(&self, at: Duration) -> Option<(&str, &str)> {
        let piece = self.pieces.get(self.current_piece(at))?;
        let heard = piece.from.map_or("", |from| piece.within(at.saturating_sub(from)));
        // The space that keeps the words of two commands apart belongs to neither.
        Some((piece.text.trim_start(), heard.trim()))
    }
}

impl Piece {
    /// Takes the next sound of it, at `rate` Hz.
    pub(crate) fn take_sound(&mut self, samples: &[i16], rate: u32) {
        let is_loud = |sample: &i16| sample.unsigned_abs() > QUIET;
        if let Some(last) = samples.iter().rposition(is_loud) {
            let begin = self
                .loud
                .map(|(begin, _)| begin)
                .unwrap_or_else(|| self.length + span(samples.iter().position(is_loud).unwrap_or(0), rate));
            self.loud = Some((begin, self.length + span(last + 1, rate)));
        }
        self.length += span(samples.len(), rate);
    }

    /// Whether the voice made nothing audible of its words, as one does of a script that it does not know.
    pub(super) fn is_silent(&self) -> bool {
        let characters = self.text.chars().filter(|c| c.is_alphanumeric()).count();
        let fewest = FEWEST.saturating_mul(u32::try_from(characters).unwrap_or(u32::MAX));
        self.done && self.loud.is_none() && !self.length.is_zero() && self.length < fewest
    }

    /// Where its words begin.
    fn begin(&self) -> Duration {
        self.loud.map_or(Duration::ZERO, |(begin, _)| begin)
    }

    /// Where its words end in its sound, or will by the length of its text.
    fn whole(&self) -> Duration {
        if self.done {
            return self.loud.map_or(self.length, |(_, end)| end);
        }
        let estimate = CHARACTER * u32::try_from(self.text.chars().count()).unwrap_or(u32::MAX);
        self.length.max(self.begin().saturating_add(estimate))
    }

    /// Where its sound ends in the utterance, once all of it is there.
    pub(crate) fn end(&self) -> Option<Duration> {
        self.from.filter(|_| self.done).map(|from| from + self.length)
    }

    /// Takes the times of its next words. A word that is not in the text as it is spoken ("9" for "nine"), and one
    /// whose time is before that of an earlier word, tells nothing.
    pub(crate) fn take_times(&mut self, words: &[WordTime]) {
        for word in words.iter().take(MOST_WORDS.saturating_sub(self.words.len())) {
            let last = self.words.last().copied().unwrap_or_default();
            let (name, rest) = (word.text.trim(), self.text.get(last.text..).unwrap_or_default());
            let Some(at) = rest.find(name).filter(|_| !name.is_empty() && word.end >= last.sound) else {
                continue;
            };
            // The sign behind a word is said with it.
            let behind = rest.get(at + name.len()..).unwrap_or_default();
            let signs =
                behind.find(|c: char| c.is_alphanumeric() || c.is_whitespace()).unwrap_or(behind.len());
            let text = last.text + at + name.len() + signs;
            self.words.push(WordEnd { text, sound: word.end });
        }
    }

    /// The text that is said within its first `sound`.
    fn within(&self, sound: Duration) -> &str {
        let whole = self.whole();
        if sound >= whole {
            return &self.text;
        }
        let known = self.words.partition_point(|word| word.sound <= sound);
        let first = WordEnd { text: 0, sound: self.begin() };
        let last = known.checked_sub(1).and_then(|at| self.words.get(at)).copied().unwrap_or(first);
        let end = WordEnd { text: self.text.len(), sound: whole };
        let next = self.words.get(known).copied().unwrap_or(end);
        let between = self.text.get(last.text..next.text).unwrap_or_default();
        let span = next.sound.saturating_sub(last.sound).as_secs_f64().max(1e-3);
        let more = words_within(between, sound.saturating_sub(last.sound).as_secs_f64() / span);
        self.text.get(..last.text + more.len()).unwrap_or(&self.text)
    }

    /// Where its words end in the utterance: as the voice tells, or estimated once all its sound is there.
    fn word_ends(&self) -> Vec<Duration> {
        let Some(from) = self.from else { return Vec::new() };
        if !self.words.is_empty() || !self.done {
            return self.words.iter().map(|word| from.saturating_add(word.sound)).collect();
        }
        let count = self.text.chars().count().max(1) as f64;
        let (begin, whole) = (self.begin(), self.whole());
        let spoken = whole.saturating_sub(begin);
        let mut ends: Vec<Duration> = Vec::new();
        let mut before = ' ';
        for (at, c) in self.text.trim_end().chars().enumerate().take(super::voice::MOST_TEXT) {
            if c.is_whitespace() && !before.is_whitespace() && ends.len() < MOST_WORDS {
                ends.push(from + begin + spoken.mul_f64(at as f64 / count) + ROUNDING);
            }
            before = c;
        }
        ends.push(from + whole);
        ends
    }
}

/// The words of `text` that lie wholly within its first `part` (0 to 1).
fn words_within(text: &str, part: f64) -> &str {
    if part >= 1.0 {
        return text;
    }
    let count = text.chars().count();
    let reach = (count as f64 * part.max(0.0)) as usize;
    let mut end = 0;
    for (n, (at, c)) in text.char_indices().enumerate() {
        if n > reach {
            break;
        }
        // Scripts without spaces are cut at a character.
        if c.is_whitespace() || !c.is_ascii() && c.is_alphanumeric() && c as u32 >= 0x2e80 {
            end = at;
        }
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn word(text: &str, end: u64) -> WordTime {
        let end = Duration::from_millis(end);
        WordTime { text: text.into(), start: end, end }
    }

    fn piece(text: &str, length: u64) -> Piece {
        let length = Duration::from_millis(length);
        Piece { text: text.into(), from: Some(Duration::ZERO), length, done: true, ..Piece::default() }
    }

    #[test]
    fn heard_words_are_whole_words() {
        assert_eq!(words_within("We open at nine", 0.0), "");
        assert_eq!(words_within("We open at nine", 0.5), "We open");
        assert_eq!(words_within("We open at nine", 0.99), "We open at");
        assert_eq!(words_within("We open at nine", 1.0), "We open at nine");
        assert_eq!(words_within("我们九点开门", 0.5), "我们九");
    }

    #[test]
    fn times_of_the_voice_go_before_the_share_of_the_sound() {
        let mut piece = piece("We open at nine, daily.", 1000);
        piece.take_times(&[word("We", 600), word("open", 700), word("at", 720), word("nine", 800)]);
        let within = |ms| piece.within(Duration::from_millis(ms));
        assert_eq!(within(599), "");
        assert_eq!(within(600), "We");
        assert_eq!(within(799), "We open at");
        assert_eq!(within(800), "We open at nine,");
        assert_eq!(within(1000), "We open at nine, daily.");
        assert_eq!(piece.word_ends().len(), 4);
    }

    #[test]
    fn silence_around_the_words_is_no_word() {
        let mut piece =
            Piece { text: "One more sentence".into(), from: Some(Duration::ZERO), ..Piece::default() };
        let silence = [0; 1600];
        piece.take_sound(&[&silence[..], &silence[..], &[900; 8000], &silence[..]].concat(), 8000);
        piece.take_sound(&silence, 8000);
        piece.done = true;
        let within = |ms| piece.within(Duration::from_millis(ms));
        assert_eq!(piece.length, Duration::from_millis(1800));
        assert_eq!(within(399), "");
        assert_eq!(within(700), "One");
        assert_eq!(within(900), "One more");
        assert_eq!(within(1400), "One more sentence");
        let ends: Vec<u128> = piece.word_ends().iter().map(Duration::as_millis).collect();
        assert_eq!(ends, [577, 871, 1400]);
    }

    #[test]
    fn times_that_say_nothing_are_left_out() {
        let mut piece = piece("It costs 9 euros.", 1000);
        piece.take_times(&[
            word("It", 100),
            word("costs", 50),
            word("nine", 500),
            word("", 600),
            word("euros", 900),
        ]);
        assert_eq!(piece.words.len(), 2, "what is out of order, unknown or empty");
        assert_eq!(piece.within(Duration::from_millis(950)), "It costs 9 euros.");
        piece.take_times(&vec![word("It", 1000); 2 * MOST_WORDS]);
        assert_eq!(piece.words.len(), 2);
    }

    proptest! {
        /// Stopping where a word is said to end leaves that word heard, however its end was found.
        #[test]
        fn a_word_that_ends_where_the_sound_stops_was_heard(
            words in prop::collection::vec("[a-zé]{1,9}", 1..12),
            length in 200u64..20_000,
            timed in prop::option::of(prop::collection::vec(1u64..400, 12)),
        ) {
            let mut piece = piece(&words.join(" "), length);
            if let Some(spans) = timed {
                let mut at = 0;
                for (name, span) in words.iter().zip(spans) {
                    at += span;
                    piece.take_times(&[word(name, at)]);
                }
            }
            for (n, end) in piece.word_ends().into_iter().enumerate() {
                let heard = piece.within(end);
                prop_assert!(heard.split(' ').count() > n, "{heard:?} holds fewer than {} words", n + 1);
                prop_assert!(heard.is_empty() || piece.text.starts_with(heard));
            }
        }
    }
}
