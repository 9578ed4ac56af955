//! What is wrong with a playbook, and where.

use std::fmt;

/// Why a text is no playbook. Every variant that has a place in the file names its line, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaybookError {
    /// The text is larger than [`crate::parse::MAX_BYTES`].
    #[error("the playbook has {bytes} bytes; at most {max} are read")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The text does not begin with a fence.
    #[error(
        "line {line}: a playbook begins with a line `---`, then settings in YAML, then a line `---`, then Markdown"
    )]
    NoFrontMatter {
        /// First line that has text.
        line: usize,
    },
    /// The first fence has no second.
    #[error("line {line}: the settings that begin here are not closed by a line `---`")]
    Unclosed {
        /// Line of the first fence.
        line: usize,
    },
    /// The front matter is no YAML.
    #[error("line {line}, column {column}: {message}")]
    Yaml {
        /// Line in the file.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the reader expected.
        message: String,
    },
    /// A key has a value that does not fit.
    #[error("line {line}, key `{key}`: {message}{}", Nearest(.nearest.as_deref()))]
    Key {
        /// Line of the key.
        line: usize,
        /// Column of the key when known, from 1.
        column: Option<usize>,
        /// Path of the key, such as `interruption.strategy`.
        key: String,
        /// What is expected.
        message: String,
        /// A valid value or name that is spelled alike.
        nearest: Option<String>,
    },
    /// There are more scenes than a call can need.
    #[error("line {line}: more than {max} scenes")]
    TooManyScenes {
        /// Line of the first scene that is too many.
        line: usize,
        /// The limit.
        max: usize,
    },
}

impl PlaybookError {
    /// Line in the file, from 1; 1 when the whole text is at fault.
    pub fn line(&self) -> usize {
        match self {
            PlaybookError::TooLarge { .. } => 1,
            PlaybookError::NoFrontMatter { line }
            | PlaybookError::Unclosed { line }
            | PlaybookError::Yaml { line, .. }
            | PlaybookError::Key { line, .. }
            | PlaybookError::TooManyScenes { line, .. } => *line,
        }
    }

    /// Column in the line when it is known, from 1.
    pub fn column(&self) -> Option<usize> {
        match self {
            PlaybookError::Yaml { column, .. } => Some(*column),
            PlaybookError::Key { column, .. } => *column,
            PlaybookError::TooLarge { .. }
            | PlaybookError::NoFrontMatter { .. }
            | PlaybookError::Unclosed { .. }
            | PlaybookError::TooManyScenes { .. } => None,
        }
    }
}

/// Something in a playbook that is probably a mistake; calls are served all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Line in the file, from 1.
    pub line: usize,
    /// What is odd about it.
    pub message: String,
    /// The valid name that is spelled most alike.
    pub nearest: Option<String>,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}{}", self.line, self.message, Nearest(self.nearest.as_deref()))
    }
}

struct Nearest<'a>(Option<&'a str>);

impl fmt::Display for Nearest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, "; did you mean `{name}`?"),
            None => Ok(()),
        }
    }
}

/// The name among `names` that is spelled most like `word`, when it is near enough to be a slip.
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let word: String = word.chars().take(64).collect::<String>().to_lowercase();
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&word, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= 1 + name.chars().count() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name.to_owned())
}
