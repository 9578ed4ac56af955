//! The texts of an utterance, where their sound lies, and what of them was heard.

use std::time::Duration;

use super::voice::Utterance;

/// Speech of one character where nothing better is known: about 15 characters a second.
const CHARACTER: Duration = Duration::from_millis(65);

/// Text of an utterance and where its sound lies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Piece {
    pub(crate) text: String,
    /// Where its sound begins in the utterance.
    pub(crate) from: Option<Duration>,
    /// How much sound of it there is.
    pub(crate) length: Duration,
    /// All its sound is there.
    pub(crate) done: bool,
}

impl Utterance {
    /// The text whose sound lies before `at`: whole pieces, and of the piece that was cut the words that fit,
    /// by their share of its sound. Without word times of the voice this is an estimate within a word.
    pub(crate) fn heard_until(&self, at: Duration) -> String {
        let mut heard = String::new();
        for piece in &self.pieces {
            let Some(from) = piece.from.filter(|from| *from < at) else { break };
            let part = (at - from).as_secs_f64() / piece.whole().as_secs_f64().max(1e-3);
            heard.push_str(words_within(&piece.text, part));
            if part < 1.0 {
                break;
            }
        }
        heard.trim_end().to_owned()
    }

    /// The text of which there was sound: a piece that no voice could make was not heard, and of one that was
    /// broken off only the words that fit its sound.
    pub(crate) fn audible_text(&self) -> String {
        let part = |piece: &Piece| piece.length.as_secs_f64() / piece.whole().as_secs_f64().max(1e-3);
        let sounded = self.pieces.iter().filter(|piece| !piece.length.is_zero());
        sounded.map(|piece| words_within(&piece.text, part(piece))).collect()
    }

    pub(crate) fn text(&self) -> String {
        self.pieces.iter().map(|piece| piece.text.as_str()).collect()
    }
}

impl Piece {
    /// How long its sound is, or will be by the length of its text.
    fn whole(&self) -> Duration {
        let estimate = CHARACTER * u32::try_from(self.text.chars().count()).unwrap_or(u32::MAX);
        if self.done { self.length } else { self.length.max(estimate) }
    }

    /// Where its sound ends in the utterance, once all of it is there.
    pub(crate) fn end(&self) -> Option<Duration> {
        self.from.filter(|_| self.done).map(|from| from + self.length)
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
    use super::*;

    #[test]
    fn heard_words_are_whole_words() {
        assert_eq!(words_within("We open at nine", 0.0), "");
        assert_eq!(words_within("We open at nine", 0.5), "We open");
        assert_eq!(words_within("We open at nine", 0.99), "We open at");
        assert_eq!(words_within("We open at nine", 1.0), "We open at nine");
        assert_eq!(words_within("我们九点开门", 0.5), "我们九");
    }
}
