//! What is wrong with a message, in words that quote nothing of it: for the reason phrase (RFC 3261 section 21.4.1) and
//! for the log.

use sipx_sip::Finding;
use sipx_sip::error::ParseError;

use super::MAX_MESSAGE;

/// Why bytes are no message that is read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// They are line ends that keep a way open, or come from nowhere.
    Idle,
    /// They are more than [`MAX_MESSAGE`].
    TooLong,
    /// They break the grammar.
    Broken(ParseError),
}

impl Unread {
    /// The status that answers it.
    pub(crate) fn code(&self) -> u16 {
        if matches!(self, Self::TooLong) { 513 } else { 400 }
    }

    /// The first fault, in words.
    pub(crate) fn phrase(&self) -> String {
        match self {
            Self::Idle => String::new(),
            Self::TooLong => format!("Message longer than {MAX_MESSAGE} bytes"),
            Self::Broken(error) => capital(&error.to_string()),
        }
    }
}

/// What a request lacks or has too much of.
pub(super) fn phrase(finding: &Finding) -> String {
    match finding {
        Finding::MissingRequiredHeader(name) => format!("Missing {name} header field"),
        Finding::MalformedRequiredHeader(name) => malformed(name),
        Finding::RepeatedSingleValueHeader(name) => format!("More than one {name} header field"),
        Finding::CSeqMethodMismatch => "CSeq names another method than the request line".to_owned(),
        Finding::RequestUriHasHeaders => "Request-URI with header fields".to_owned(),
        // The usual words of its status say it; so they do of what later versions of the library may find.
        _ => String::new(),
    }
}

/// A header field whose value cannot be read.
pub(super) fn malformed(name: &str) -> String {
    format!("Malformed {name} header field")
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
