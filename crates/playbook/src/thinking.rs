//! Thoughts that a model writes into its answer: `<think>...</think>` and the like, which no caller hears.
//!
//! Some servers cut the opening off, so that an answer begins within a thought and only `</think>` tells. What was
//! given out until then is taken back, and [`Thinking::veiled`] serves the answers that follow: it keeps everything
//! until the thought has ended, or the text.

/// Names of tags around a thought, in any case.
const NAMES: &[&str] = &["think", "thinking", "thought", "reasoning"];
/// Longest such tag, in bytes.
const MAX_TAG: usize = 24;
/// Most text that is kept behind the veil, in bytes; what is longer is a thought.
const MAX_VEILED: usize = 64 * 1024;

/// What an answer consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Words, with the tags that act.
    Words(String),
    /// All words so far were a thought whose opening was cut off.
    Retracted,
}

/// Parts thoughts from words, in a text that comes piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Thinking {
    state: State,
    words: String,
    /// What may still become a tag, from its `<` on.
    held: String,
    /// Whether a thought has ended; another end is only dropped then.
    thought: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Words,
    Thought,
    /// It may have begun within a thought; the text so far.
    Veil(String),
}

/// What the text from `<` on is.
enum Tag {
    Opening,
    Closing,
    /// One of them, or something else.
    Partial,
    Other,
}

impl Thinking {
    /// For an answer that may begin within a thought.
    pub fn veiled() -> Self {
        Thinking { state: State::Veil(String::new()), ..Thinking::default() }
    }

    /// Takes the next piece and appends what is certain by now to `out`.
    pub fn push(&mut self, piece: &str, out: &mut Vec<Piece>) {
        for c in piece.chars() {
            self.take(c, out);
        }
        self.emit(out);
    }

    /// The text is complete: gives out what was held back and is no thought.
    pub fn finish(&mut self, out: &mut Vec<Piece>) {
        self.release();
        if let State::Veil(text) = std::mem::take(&mut self.state) {
            self.words.push_str(&text);
        }
        self.emit(out);
        *self = Thinking::default();
    }

    fn take(&mut self, c: char, out: &mut Vec<Piece>) {
        if self.held.is_empty() {
            return if c == '<' { self.held.push(c) } else { self.keep(c) };
        }
        if c == '<' {
            self.release();
            self.held.push(c);
            return;
        }
        self.held.push(c);
        match tag_in(&self.held) {
            Tag::Partial => {}
            Tag::Other => self.release(),
            Tag::Opening => {
                self.held.clear();
                if let State::Veil(text) = std::mem::replace(&mut self.state, State::Thought) {
                    self.words.push_str(&text);
                }
            }
            Tag::Closing => {
                self.held.clear();
                let before = std::mem::replace(&mut self.state, State::Words);
                if before == State::Words && !self.thought {
                    self.words.clear();
                    out.push(Piece::Retracted);
                }
                self.thought = true;
            }
        }
    }

    /// What was held is no tag around a thought.
    fn release(&mut self) {
        for c in std::mem::take(&mut self.held).chars() {
            self.keep(c);
        }
    }

    fn keep(&mut self, c: char) {
        match &mut self.state {
            State::Words => self.words.push(c),
            State::Thought => {}
            State::Veil(text) if text.len() < MAX_VEILED => text.push(c),
            State::Veil(_) => self.state = State::Thought,
        }
    }

    fn emit(&mut self, out: &mut Vec<Piece>) {
        if !self.words.is_empty() {
            out.push(Piece::Words(std::mem::take(&mut self.words)));
        }
    }
}

/// A whole text without its thoughts.
pub fn without_thoughts(text: &str) -> String {
    let (mut thinking, mut out) = (Thinking::default(), Vec::new());
    thinking.push(text, &mut out);
    thinking.finish(&mut out);
    let mut words = String::with_capacity(text.len());
    for piece in out {
        match piece {
            Piece::Words(text) => words.push_str(&text),
            Piece::Retracted => words.clear(),
        }
    }
    words
}

fn tag_in(held: &str) -> Tag {
    let inner = held.trim_start_matches('<').to_ascii_lowercase();
    let (closing, inner) = match inner.strip_prefix('/') {
        Some(inner) => (true, inner),
        None => (false, inner.as_str()),
    };
    let known = |name: &str| NAMES.contains(&name.trim_end());
    match inner.strip_suffix('>') {
        Some(name) if known(name) => {
            if closing {
                Tag::Closing
            } else {
                Tag::Opening
            }
        }
        Some(_) => Tag::Other,
        None if NAMES.iter().any(|name| name.starts_with(inner)) => Tag::Partial,
        None if known(inner) && held.len() < MAX_TAG => Tag::Partial,
        None => Tag::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thoughts_are_no_words() {
        for (text, words) in [
            ("<think>They ask for hours.</think>We open at nine.", "We open at nine."),
            ("<Thinking >a < b</THINKING>Yes.<reasoning>x</reasoning> No.", "Yes. No."),
            ("<think>It never ends", ""),
            ("They ask for hours.</think>We open at nine.", "We open at nine."),
            ("<think>a<think>b</think>c</think>d", "cd"),
            ("I <thinker> so, <b>really</b> <3 </p>", "I <thinker> so, <b>really</b> <3 </p>"),
            ("Bye <thi", "Bye <thi"),
        ] {
            assert_eq!(without_thoughts(text), words, "{text}");
        }
    }

    #[test]
    fn behind_the_veil_nothing_is_words_before_the_thought_has_ended() {
        let (mut thinking, mut out) = (Thinking::veiled(), Vec::new());
        thinking.push("They ask for hours. So I say: ", &mut out);
        assert_eq!(out, []);
        thinking.push("</think>Nine.", &mut out);
        assert_eq!(out, [Piece::Words("Nine.".into())]);
        let (mut thinking, mut out) = (Thinking::veiled(), Vec::new());
        thinking.push("No thought at all.", &mut out);
        thinking.finish(&mut out);
        assert_eq!(out, [Piece::Words("No thought at all.".into())]);
        let (mut thinking, mut out) = (Thinking::veiled(), Vec::new());
        thinking.push(&"x".repeat(2 * MAX_VEILED), &mut out);
        thinking.finish(&mut out);
        assert_eq!(out, []);
    }
}
