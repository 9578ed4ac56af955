//! From streamed text to words and tags.
//!
//! The scanner takes each character once and keeps what may still become a tag, so that a text gives the same
//! result in one piece and in pieces of one character, in time linear in its length. A tag or a part of one
//! is never words: what a cut-off reply leaves of a tag is dropped. Tags within code fences are dropped too.

use crate::tags::{self, Tag};

/// Longest tag, in bytes. A longer one is dropped up to its end.
pub const MAX_TAG: usize = 4096;
/// Longest markup that is no tag of ours, such as `<b class="x">`; beyond it the text is words.
const MAX_MARKUP: usize = 256;
/// Longest name after `<`.
const MAX_NAME: usize = 32;
/// Longest emotion mark, with its brackets.
const MAX_MARK: usize = 24;

/// Emotions a model may mark, as in `[happy]Good news![/happy]`.
const EMOTIONS: &[&str] = &[
    "neutral",
    "sad",
    "happy",
    "angry",
    "fear",
    "news",
    "story",
    "radio",
    "poetry",
    "call",
    "sajiao",
    "disgusted",
    "amaze",
    "peaceful",
    "exciting",
    "aojiao",
    "jieshuo",
    "excited",
    "calm",
    "surprised",
    "serious",
    "gentle",
    "cheerful",
    "worried",
    "laugh",
    "laughs",
    "sigh",
    "sighs",
    "whisper",
];

/// What a text consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scan {
    /// Words.
    Text(String),
    /// A tag of [`tags::TAGS`].
    Tag(Tag),
    /// The words from here on have this emotion, or none any more.
    Emotion(Option<&'static str>),
}

/// Finds tags in a text that comes piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    state: State,
    /// Words not given out yet.
    text: String,
    /// What may still become a tag or a mark, from its first character.
    held: String,
    /// Backticks just seen, 0 to 2.
    ticks: usize,
    fenced: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Words,
    /// After `<`, while a name may follow.
    Name,
    /// In a tag of ours; the quote that is open.
    Tag(Option<char>),
    /// In other markup.
    Markup(Option<char>),
    /// In a tag that is too long.
    Overlong,
    /// After `[`.
    Mark,
    /// After an opening code fence, where the language stands.
    FenceWord,
}

impl Scanner {
    /// Takes the next piece and appends what is certain by now to `out`.
    pub fn push(&mut self, piece: &str, out: &mut Vec<Scan>) {
        for c in piece.chars() {
            self.take(c, out);
        }
        self.emit_text(out);
    }

    /// The text is complete: gives out what was held back, except parts of tags.
    pub fn finish(&mut self, out: &mut Vec<Scan>) {
        match self.state {
            State::Mark | State::Markup(_) => self.release(),
            State::Name if !tags::begins_name(name_in(&self.held)) => self.release(),
            State::Words | State::Name | State::Tag(_) | State::Overlong | State::FenceWord => {}
        }
        self.emit_text(out);
        *self = Scanner::default();
    }

    fn take(&mut self, c: char, out: &mut Vec<Scan>) {
        match self.state {
            State::Words => self.words(c),
            State::Name => self.name(c, out),
            State::Tag(quote) => self.tag(c, quote, out),
            State::Markup(quote) => self.markup(c, quote),
            State::Overlong if c == '>' => self.state = State::Words,
            State::Overlong => {}
            State::Mark => self.mark(c, out),
            State::FenceWord => self.fence_word(c),
        }
    }

    fn words(&mut self, c: char) {
        if c == '`' {
            self.tick();
            return;
        }
        self.text.extend(std::iter::repeat_n('`', std::mem::take(&mut self.ticks)));
        match c {
            '<' => self.hold(c, State::Name),
            '[' => self.hold(c, State::Mark),
            _ => self.text.push(c),
        }
    }

    fn tick(&mut self) {
        self.ticks += 1;
        if self.ticks == 3 {
            self.ticks = 0;
            self.fenced = !self.fenced;
            if self.fenced {
                self.held.clear();
                self.state = State::FenceWord;
            }
        }
    }

    fn name(&mut self, c: char, out: &mut Vec<Scan>) {
        let name = name_in(&self.held);
        let goes_on = if name.is_empty() {
            c.is_ascii_alphabetic() || (c == '/' && self.held == "<")
        } else {
            c.is_ascii_alphanumeric() || c == '_' || c == '-'
        };
        if goes_on && self.held.len() < MAX_NAME {
            self.held.push(c);
        } else if !name.is_empty() && (c == '>' || c == '/' || c.is_whitespace()) {
            if tags::row(name).is_some() {
                self.state = State::Tag(None);
                self.tag(c, None, out);
            } else {
                self.state = State::Markup(None);
                self.markup(c, None);
            }
        } else if c == '<' && tags::begins_name(name) {
            self.hold(c, State::Name);
        } else {
            self.retake(c);
        }
    }

    fn tag(&mut self, c: char, quote: Option<char>, out: &mut Vec<Scan>) {
        match (quote, c) {
            (None, '<') => return self.hold(c, State::Name),
            (None, '>') => return self.complete_tag(out),
            _ => self.state = State::Tag(next_quote(&self.held, quote, c)),
        }
        self.held.push(c);
        if self.held.len() > MAX_TAG {
            self.held.clear();
            self.state = State::Overlong;
        }
    }

    fn complete_tag(&mut self, out: &mut Vec<Scan>) {
        self.state = State::Words;
        let held = std::mem::take(&mut self.held);
        if self.fenced {
            return;
        }
        if let Some(tag) = tags::parse(&held) {
            self.emit_text(out);
            out.push(Scan::Tag(tag));
        }
    }

    fn markup(&mut self, c: char, quote: Option<char>) {
        if c == '<' || c == '`' || self.held.len() >= MAX_MARKUP {
            return self.retake(c);
        }
        if c == '>' && quote.is_none() {
            if tags::is_markup(&self.held) {
                self.held.clear();
                self.state = State::Words;
            } else {
                self.retake(c);
            }
            return;
        }
        self.state = State::Markup(next_quote(&self.held, quote, c));
        self.held.push(c);
    }

    fn mark(&mut self, c: char, out: &mut Vec<Scan>) {
        if c == ']' {
            let word = self.held.trim_start_matches(['[', '/']);
            let known = EMOTIONS.iter().find(|emotion| word.trim().eq_ignore_ascii_case(emotion));
            if let Some(emotion) = known {
                let ends = self.held.starts_with("[/");
                self.held.clear();
                self.state = State::Words;
                self.emit_text(out);
                out.push(Scan::Emotion((!ends).then_some(emotion)));
                return;
            }
        }
        if (c.is_ascii_alphabetic() || c == '/' || c == ' ') && self.held.len() < MAX_MARK {
            self.held.push(c);
        } else {
            self.retake(c);
        }
    }

    fn fence_word(&mut self, c: char) {
        if c == '\n' {
            self.held.clear();
            self.text.push('\n');
            self.state = State::Words;
        } else if (c.is_ascii_alphanumeric() || "+-_.".contains(c)) && self.held.len() < MAX_MARK {
            self.held.push(c);
        } else {
            self.retake(c);
        }
    }

    fn hold(&mut self, c: char, state: State) {
        self.held.clear();
        self.held.push(c);
        self.state = state;
    }

    /// What was held is words after all.
    fn release(&mut self) {
        self.text.push_str(&self.held);
        self.held.clear();
        self.state = State::Words;
    }

    /// What was held is words after all, and `c` follows it.
    fn retake(&mut self, c: char) {
        self.release();
        self.words(c);
    }

    fn emit_text(&mut self, out: &mut Vec<Scan>) {
        if !self.text.is_empty() {
            out.push(Scan::Text(std::mem::take(&mut self.text)));
        }
    }
}

fn name_in(held: &str) -> &str {
    held.trim_start_matches('<').trim_start_matches('/')
}

/// The quote that is open after `c`. A quote opens a value only after `=`, so that an apostrophe does not.
fn next_quote(held: &str, quote: Option<char>, c: char) -> Option<char> {
    match quote {
        Some(open) if open == c => None,
        Some(open) => Some(open),
        None if (c == '"' || c == '\'') && held.trim_end().ends_with('=') => Some(c),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> String {
        let (mut scanner, mut out) = (Scanner::default(), Vec::new());
        scanner.push(text, &mut out);
        scanner.finish(&mut out);
        out.iter()
            .map(|scan| match scan {
                Scan::Text(text) => text.clone(),
                Scan::Tag(tag) => format!("({tag})"),
                Scan::Emotion(_) => String::new(),
            })
            .collect()
    }

    #[test]
    fn tags_are_found_whatever_their_order_and_quotes() {
        assert_eq!(scan("Bye.<hangup/>"), "Bye.(hangup)");
        assert_eq!(scan("<set_var value='a \"b\" c' key=\"k\" />x"), "(set_var value=a \"b\" c key=k)x");
        assert_eq!(scan("<GOTO scene = b>"), "(goto scene=b)");
        assert_eq!(scan("<http url='u' body='{\"a\": \"x > y\"}'/>"), "(http url=u body={\"a\": \"x > y\"})");
    }

    #[test]
    fn what_is_no_tag_is_words() {
        for text in ["3 < 5 and 7 > 2", "a<b and c>d", "I <3 you", "<http://example.com>", "[1] and [maybe]"]
        {
            assert_eq!(scan(text), text);
        }
    }

    #[test]
    fn half_tags_are_never_words() {
        assert_eq!(scan("Bye <hang"), "Bye ");
        assert_eq!(scan("Bye <goto scene=\"x"), "Bye ");
        assert_eq!(scan("Bye <goto <hangup/>"), "Bye (hangup)");
        assert_eq!(scan(&format!("a<set_var value=\"{}\"/>b", "x".repeat(5000))), "ab");
    }

    #[test]
    fn markup_and_emotion_marks_are_dropped() {
        assert_eq!(scan("[happy]<b>Good</b> news[/happy]"), "Good news");
        assert_eq!(scan("<a href='x'>here</a></hangup>"), "here");
    }

    #[test]
    fn nothing_in_a_code_fence_acts() {
        assert_eq!(scan("Say:\n```xml\n<hangup/>\n```\nor <hangup/>"), "Say:\n\n\n\nor (hangup)");
    }
}
