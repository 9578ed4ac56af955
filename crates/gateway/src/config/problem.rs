//! A place in a file, and what is wrong there.

use std::fmt;
use std::ops::Range;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};
use protocol::redact;

/// Something wrong in a file, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file as it was named.
    pub file: String,
    /// From 1; 0 when the place is not known.
    pub line: usize,
    /// From 1, in characters; 0 when the place is not known.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    span: Range<usize>,
}

impl Problem {
    /// A problem at `span`, in bytes, of `source`.
    pub(crate) fn at(source: &Source, span: Option<Range<usize>>, message: impl Into<String>) -> Self {
        let message = message.into();
        let (line, column) = span.as_ref().map_or((0, 0), |span| source.position(span.start));
        let span = span.unwrap_or(0..0);
        Problem { file: source.name.clone(), line, column, message, help: None, span }
    }

    /// The same problem with a suggestion.
    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// `file:line:column: message; help`, on one line.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.message.replace('\n', " "))?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, "; {help}"))
    }
}

/// A file's name and text.
#[derive(Clone, Debug)]
pub struct Source {
    /// As the user named it.
    pub name: String,
    /// Its text.
    pub text: String,
}

impl Source {
    /// Line and column, both from 1, of a byte.
    fn position(&self, byte: usize) -> (usize, usize) {
        let before = self.text.get(..byte).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (line, column)
    }

    /// The text with the values of secrets covered, byte for byte.
    fn covered(&self) -> String {
        let mut covered = String::with_capacity(self.text.len());
        for line in self.text.split_inclusive('\n') {
            match line.split_once('=').filter(|_| holds_secret(line)) {
                Some((key, value)) => {
                    covered.push_str(key);
                    covered.push('=');
                    covered.extend(
                        value.bytes().map(|b| if b.is_ascii_whitespace() { char::from(b) } else { '*' }),
                    );
                }
                None => covered.push_str(line),
            }
        }
        covered
    }
}

/// Whether a line has a name of a secret anywhere, since tables may stand in it, or an address with a password.
fn holds_secret(line: &str) -> bool {
    let part = |c: char| !c.is_alphanumeric() && c != '_' && c != '-';
    line.split(part).any(redact::names_secret) || redact::text(line) != line
}

/// A file that cannot be used.
#[derive(Debug)]
pub struct ConfigError {
    problem: Problem,
    source: NamedSource<String>,
}

impl ConfigError {
    /// An error that shows the line of `problem`.
    pub(crate) fn new(source: &Source, problem: Problem) -> Self {
        ConfigError { problem, source: NamedSource::new(&source.name, source.covered()) }
    }

    /// What is wrong and where.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

/// Without the suggestion, which whoever renders a diagnostic asks for by itself.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Problem { help: None, ..self.problem.clone() }.fmt(f)
    }
}

impl std::error::Error for ConfigError {}

impl Diagnostic for ConfigError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        (self.problem.line > 0).then_some(&self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::new_with_span(Some("here".into()), self.problem.span.clone());
        (self.problem.line > 0)
            .then(|| Box::new(std::iter::once(label)) as Box<dyn Iterator<Item = LabeledSpan>>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_file_has_no_secret_and_every_byte_in_its_place() {
        let text = "addr = \"1.2.3.4\"\npassphrase = \"hunter2\"\nrow = { user = \"u\", sip_password = \"hunter2\" }\n\
                    at = \"postgres://u:hunter2@h/db\"\nurl = \"https://h/?X-Amz-Signature=hunter2\"\nsecretKey = 'hunter2'\n";
        let covered = Source { name: "a.toml".into(), text: text.into() }.covered();
        assert!(!covered.contains("hunter2"), "{covered}");
        assert!(covered.contains("addr = \"1.2.3.4\"") && covered.contains("passphrase ="), "{covered}");
        assert_eq!(covered.len(), text.len());
    }
}
