//! From written to spoken text: what Markdown adds for the eye is taken away.
//!
//! A link `[words](address)` is its words, and an address that begins with `http://` or `https://` is its host without
//! `www.`. Marks of headings go, and rows of a table are their cells with commas between.

/// Longest words of a link, in bytes; longer ones are no link.
const MAX_WORDS: usize = 200;
/// Longest address, in bytes; what follows is dropped up to its end.
const MAX_ADDRESS: usize = 2000;
/// How an address begins.
const SCHEMES: [&str; 2] = ["http://", "https://"];

/// Takes a text that comes piece by piece, each character once.
#[derive(Clone, Debug)]
pub struct Plain {
    state: State,
    /// From the character on that may begin something.
    held: String,
    line: Line,
    /// The last character that was given out.
    last: char,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Words,
    /// Marks of a heading.
    Heading,
    /// The words of a link.
    Label,
    /// Behind the words of a link.
    LabelEnd,
    /// The address of a link, and how many parentheses are open in it.
    Target { label: String, open: usize },
    /// What may become an address.
    Scheme,
    /// An address.
    Address,
}

/// Where in a line the text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// Nothing but white space so far.
    Start,
    Words,
    /// A row of a table.
    Row(Cell),
}

/// A cell of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cell {
    /// It has words.
    filled: bool,
    /// A cell before it has.
    after: bool,
    /// White space was behind its last word.
    spaced: bool,
}

impl Default for Plain {
    fn default() -> Self {
        Plain { state: State::Words, held: String::new(), line: Line::Start, last: ' ' }
    }
}

impl Plain {
    /// Takes the next piece and appends what is spoken of it to `out`.
    pub fn push(&mut self, piece: &str, out: &mut String) {
        for c in piece.chars() {
            self.take(c, out);
        }
    }

    /// No more comes of what is held back: gives it out.
    pub fn flush(&mut self, out: &mut String) {
        match std::mem::take(&mut self.state) {
            State::Words | State::Heading => self.held.clear(),
            State::Label | State::LabelEnd | State::Scheme => self.release(out),
            State::Target { label, .. } => self.say_label(&label, out),
            State::Address => self.say_host(out),
        }
    }

    fn take(&mut self, c: char, out: &mut String) {
        match &mut self.state {
            State::Words => self.words(c, out),
            State::Heading if c == '#' => {}
            State::Heading => {
                self.state = State::Words;
                if !c.is_whitespace() || c == '\n' {
                    self.words(c, out);
                }
            }
            State::Label => match c {
                ']' => {
                    self.held.push(c);
                    self.state = State::LabelEnd;
                }
                '[' | '\n' => self.retake(c, out),
                _ if self.held.len() > MAX_WORDS => self.retake(c, out),
                _ => self.held.push(c),
            },
            State::LabelEnd if c == '(' => {
                let held = std::mem::take(&mut self.held);
                let label = held.trim_start_matches('[').trim_end_matches(']').to_owned();
                self.state = State::Target { label, open: 0 };
            }
            State::LabelEnd => self.retake(c, out),
            State::Target { label, open } => {
                self.held.push(c);
                match c {
                    ')' if *open > 0 => *open -= 1,
                    '(' => *open += 1,
                    ')' | '\n' => {
                        let label = std::mem::take(label);
                        self.state = State::Words;
                        self.say_label(&label, out);
                    }
                    _ if self.held.len() > MAX_ADDRESS => {
                        self.held.clear();
                    }
                    _ => {}
                }
            }
            State::Scheme => {
                let begun = format!("{}{c}", self.held).to_ascii_lowercase();
                if SCHEMES.contains(&begun.as_str()) {
                    self.held.push(c);
                    self.state = State::Address;
                } else if SCHEMES.iter().any(|scheme| scheme.starts_with(&begun)) {
                    self.held.push(c);
                } else {
                    self.retake(c, out);
                }
            }
            State::Address => {
                if c.is_ascii_graphic() && !matches!(c, '<' | '>' | '"' | '|' | ')' | ']' | '}' | '`' | '*') {
                    if self.held.len() < MAX_ADDRESS {
                        self.held.push(c);
                    }
                } else {
                    self.state = State::Words;
                    self.say_host(out);
                    self.words(c, out);
                }
            }
        }
    }

    fn words(&mut self, c: char, out: &mut String) {
        match (c, self.line) {
            ('\n', _) => {
                self.line = Line::Start;
                self.give(c, out);
            }
            ('#', Line::Start) => {
                self.line = Line::Words;
                self.state = State::Heading;
            }
            ('|', Line::Start) => self.line = Line::Row(Cell::default()),
            ('|', Line::Row(cell)) => {
                self.line = Line::Row(Cell { after: cell.filled || cell.after, ..Cell::default() });
            }
            ('[', _) => self.hold(c, State::Label),
            ('h' | 'H', _) if !self.last.is_alphanumeric() => self.hold(c, State::Scheme),
            _ => self.say(c, out),
        }
    }

    /// A character of the line; white space at the edges of a cell is dropped.
    fn say(&mut self, c: char, out: &mut String) {
        if let Line::Row(cell) = &mut self.line {
            if c.is_whitespace() {
                cell.spaced = true;
                return;
            }
            if !cell.filled && matches!(c, '-' | ':') {
                return;
            }
            match *cell {
                Cell { filled: false, after: true, .. } => out.push_str(", "),
                Cell { filled: true, spaced: true, .. } => out.push(' '),
                _ => {}
            }
            (cell.filled, cell.spaced) = (true, false);
        } else if self.line == Line::Start && !c.is_whitespace() {
            self.line = Line::Words;
        }
        self.give(c, out);
    }

    fn give(&mut self, c: char, out: &mut String) {
        self.last = c;
        out.push(c);
    }

    fn hold(&mut self, c: char, state: State) {
        self.held.clear();
        self.held.push(c);
        self.state = state;
    }

    /// What was held is words after all.
    fn release(&mut self, out: &mut String) {
        self.state = State::Words;
        for (at, c) in std::mem::take(&mut self.held).chars().enumerate() {
            // The first is what was held for; within the words of no link may be an address.
            if at == 0 { self.say(c, out) } else { self.take(c, out) }
        }
    }

    /// What was held is words after all, and `c` follows it.
    fn retake(&mut self, c: char, out: &mut String) {
        self.release(out);
        self.take(c, out);
    }

    /// The words of a link, of which one that is an address says its host.
    fn say_label(&mut self, label: &str, out: &mut String) {
        self.held.clear();
        match SCHEMES.iter().find_map(|scheme| host_behind(label, scheme)) {
            Some(host) => host.chars().for_each(|c| self.say(c, out)),
            None => label.chars().for_each(|c| self.say(c, out)),
        }
    }

    fn say_host(&mut self, out: &mut String) {
        let address = std::mem::take(&mut self.held);
        let trimmed = address.trim_end_matches(['.', ',', ';', ':', '!', '?', '\'', '_']);
        let rest = address.get(trimmed.len()..).unwrap_or_default();
        let host = SCHEMES.iter().find_map(|scheme| host_behind(trimmed, scheme)).unwrap_or(trimmed);
        host.chars().chain(rest.chars()).for_each(|c| self.say(c, out));
    }
}

/// The host of an address, without `www.`, name of a user and port.
fn host_behind<'a>(address: &'a str, scheme: &str) -> Option<&'a str> {
    let begins = address.get(..scheme.len())?.eq_ignore_ascii_case(scheme);
    let rest = address.get(scheme.len()..).filter(|_| begins)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default();
    Some(host.strip_prefix("www.").unwrap_or(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(text: &str, size: usize) -> String {
        let (mut plain, mut out) = (Plain::default(), String::new());
        let chars: Vec<char> = text.chars().collect();
        for piece in chars.chunks(size) {
            plain.push(&piece.iter().collect::<String>(), &mut out);
        }
        plain.flush(&mut out);
        out
    }

    #[test]
    fn what_is_for_the_eye_is_not_spoken() {
        for (text, words) in [
            ("See [our page](https://www.example.com/a_(b)?c=d \"title\") now.", "See our page now."),
            ("See https://www.example.com/a/b?c=d.", "See example.com."),
            ("Go to (HTTPS://shop.example:8443/x), please.", "Go to (shop.example), please."),
            ("[https://example.com/x](https://example.com/x) it is", "example.com it is"),
            ("# Hours\nWe open.\n## More\n", "Hours\nWe open.\nMore\n"),
            ("| Day | Hours |\n|---|:-:|\n| Monday | 9-6 |\n", "Day, Hours\n\nMonday, 9-6\n"),
            ("half [a link](https://exa", "half a link"),
            ("half https://exa", "half exa"),
        ] {
            assert_eq!(plain(text, usize::MAX), words, "{text}");
        }
    }

    #[test]
    fn other_text_stays() {
        for text in
            ["He has [1] and [maybe] this.", "a | b", "number #1 how", "the hall, http is old", "[", "h"]
        {
            assert_eq!(plain(text, usize::MAX), text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

        #[test]
        fn one_character_at_a_time_equals_all_at_once(
            text in "([a-c h#|()\\[\\]\n.-]{0,4}|https?://|www\\.|\\]\\(|é){0,12}",
        ) {
            prop_assert_eq!(plain(&text, 1), plain(&text, usize::MAX));
        }
    }
}
