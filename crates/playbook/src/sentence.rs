//! From streamed words to sentences, so that speech begins before a reply is complete.

/// From so many bytes on, a sentence may also end after a comma or between words.
const LONG: usize = 240;
/// A piece without spaces ends after so many bytes wherever it is.
const LONGEST: usize = 600;

/// Words with a full stop that does not end a sentence, in lower case.
const ABBREVIATIONS: &[&str] = &[
    "mr", "mrs", "ms", "dr", "prof", "st", "sr", "jr", "nr", "vs", "etc", "e.g", "i.e", "a.m", "p.m", "inc",
    "ltd", "co", "corp", "dept", "approx", "ca", "ext", "tel", "fig", "jan", "feb", "mar", "apr", "jun",
    "jul", "aug", "sep", "sept", "oct", "nov", "dec", "z.b", "d.h", "bzw", "hr", "fr", "rev", "gen",
];

/// Cuts a text that comes piece by piece into sentences.
///
/// The sentences joined are the text, but for white space (runs of it become one space) and signs that are
/// not spoken. A full stop in a number, an address or an abbreviation does not end a sentence; a Chinese or
/// Japanese one ends it without a space after it.
#[derive(Clone, Debug, Default)]
pub struct Sentences {
    /// Text of the sentence under way.
    open: String,
    /// Whether a sentence was given out, so that the next is set apart by a space.
    begun: bool,
}

impl Sentences {
    /// Takes the next piece and appends sentences that are complete to `out`.
    pub fn push(&mut self, piece: &str, out: &mut Vec<String>) {
        for c in piece.chars().filter(|c| !matches!(c, '*' | '`' | '\u{200b}' | '\u{fe0f}')) {
            if self.ends_before(c) {
                out.extend(self.flush());
            }
            let c = if c.is_whitespace() { ' ' } else { c };
            if c != ' ' || !self.open.ends_with(' ') {
                self.open.push(c);
            }
            if c == ' ' && self.open.len() > LONG && self.open.trim_end().ends_with([',', ';', ':']) {
                out.extend(self.flush());
            }
        }
    }

    /// The text is complete: what is left of it.
    pub fn flush(&mut self) -> Option<String> {
        let taken = std::mem::take(&mut self.open);
        let spaced = taken.starts_with(' ') && self.begun;
        if taken.ends_with(' ') {
            self.open.push(' ');
        }
        let words = taken.trim();
        if !words.chars().any(char::is_alphanumeric) {
            return None;
        }
        self.begun = true;
        Some(if spaced { format!(" {words}") } else { words.to_owned() })
    }

    /// Whether the open sentence is complete when `c` comes next.
    fn ends_before(&self, c: char) -> bool {
        if c == '\n' || self.open.len() >= LONGEST {
            return true;
        }
        if c.is_whitespace() && self.open.len() >= 2 * LONG {
            return true;
        }
        if is_closer(c) || is_ender(c) {
            return false;
        }
        let wide = self.open.trim_end_matches(is_closer).ends_with(is_wide_ender);
        wide || c.is_whitespace() && is_complete(&self.open)
    }
}

/// Whether `words` end as a sentence does: with its sign, and with what closes quotations behind it. A full stop that is
/// part of an abbreviation, an initial, or the number of a list ends nothing.
pub fn is_complete(words: &str) -> bool {
    let words = words.trim_end_matches(is_closer);
    match words.chars().next_back() {
        Some('.') => !stop_belongs_to_word(words),
        Some(last) => is_ender(last),
        None => false,
    }
}

/// Whether the last full stop is part of an abbreviation, an initial, or the number of a list.
fn stop_belongs_to_word(words: &str) -> bool {
    let words = words.strip_suffix('.').unwrap_or(words);
    let word = words.rsplit([' ', '(', '"']).next().unwrap_or_default();
    let lower = word.to_lowercase();
    let initial = word.chars().count() == 1 && word.chars().all(|c| c.is_alphabetic() && c != 'I');
    let numbered = word == words.trim_start() && !word.is_empty() && word.chars().all(|c| c.is_ascii_digit());
    initial || numbered || ABBREVIATIONS.contains(&lower.as_str())
}

fn is_ender(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '…') || is_wide_ender(c)
}

/// Whether `c` ends a sentence without white space behind it.
pub fn is_wide_ender(c: char) -> bool {
    matches!(c, '。' | '！' | '？' | '；' | '｡')
}

fn is_closer(c: char) -> bool {
    matches!(c, '"' | '\'' | ')' | ']' | '”' | '’' | '」' | '』' | '）' | '》')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<String> {
        let (mut sentences, mut out) = (Sentences::default(), Vec::new());
        for c in text.chars() {
            sentences.push(&c.to_string(), &mut out);
        }
        out.extend(sentences.flush());
        out
    }

    #[test]
    fn sentences_end_at_their_signs() {
        assert_eq!(split("Hello. How are you?  Fine!\nGood"), ["Hello.", " How are you?", " Fine!", " Good"]);
        assert_eq!(split("He said \"no.\" Then he left."), ["He said \"no.\"", " Then he left."]);
    }

    #[test]
    fn numbers_names_and_addresses_stay_whole() {
        for text in [
            "Pi is 3.14 or so.",
            "Ask Mr. Brown or Dr. J. Smith.",
            "See www.example.com/a.b?c=d for more.",
            "We open at 9 a.m. on Monday, e.g. tomorrow.",
            "1. First things first.",
        ] {
            assert_eq!(split(text), [text]);
        }
    }

    #[test]
    fn chinese_needs_no_space() {
        assert_eq!(split("你好。请问您需要什么？好的！"), ["你好。", "请问您需要什么？", "好的！"]);
        assert_eq!(split("他说：“好。”然后走了。"), ["他说：“好。”", "然后走了。"]);
    }

    #[test]
    fn endless_text_is_cut() {
        let pieces = split(&"word ".repeat(500));
        assert!(pieces.len() > 3 && pieces.iter().all(|piece| piece.len() <= LONGEST));
        assert!(split(&"字".repeat(1000)).iter().all(|piece| piece.len() <= LONGEST));
    }

    #[test]
    fn signs_alone_are_not_spoken() {
        assert_eq!(split("** - ** ..."), Vec::<String>::new());
    }
}
