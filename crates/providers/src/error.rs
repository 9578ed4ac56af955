//! What can go wrong between us and a vendor.

use std::time::Duration;

use thiserror::Error;

/// What [`ProviderError::Timeout`] says where a recognizer was awaited to the limit: its caller has waited too, and it is
/// not asked for the same words again.
pub(crate) const WORDS: &str = "words";

/// Why a provider could not be made or did not do its work. No text of it repeats a key or what a caller said.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ProviderError {
    /// A program or its data is not on this machine.
    #[error("{program} is not installed: apt-get install {package}")]
    MissingProgram {
        /// The program or the data.
        program: String,
        /// Debian package that brings it.
        package: &'static str,
    },
    /// No row of the table has this name.
    #[error("unknown {kind} provider {name:?}: expected one of {known}")]
    UnknownProvider {
        /// Which table: `asr`, `tts`, `llm` or `realtime`.
        kind: &'static str,
        /// The name as given, cut short.
        name: String,
        /// The names there are, with commas.
        known: String,
    },
    /// An option has a value that cannot be used.
    #[error("option {field}: {why}")]
    Option {
        /// Key of the option.
        field: &'static str,
        /// What is wrong and what to write instead.
        why: String,
    },
    /// The vendor could not be reached, or the connection broke.
    #[error("cannot reach the provider: {0}")]
    Connect(String),
    /// The vendor answered with an error.
    #[error("the provider answered with status {code}: {body}")]
    Status {
        /// HTTP status.
        code: u16,
        /// The vendor's message, cut short and without secrets.
        body: String,
    },
    /// The vendor has no room for the question now.
    #[error("the provider answered with status {code}: {body}; it is to be asked again in {again:?}")]
    Busy {
        /// HTTP status.
        code: u16,
        /// The vendor's message, cut short and without secrets.
        body: String,
        /// How long it wants to be left alone.
        again: Duration,
    },
    /// What answers is another kind of server than was looked for.
    #[error("that is no {0}")]
    Foreign(String),
    /// The vendor took too long.
    #[error("the provider gave no {what} for {after:?}")]
    Timeout {
        /// What was awaited.
        what: &'static str,
        /// The limit that passed.
        after: Duration,
    },
    /// What the vendor sent could not be understood, or a program failed.
    #[error("the provider misbehaved: {0}")]
    Protocol(String),
    /// Whoever asked does not listen any more: the work is cancelled, which is no failure.
    #[error("nobody listens any more")]
    Gone,
}

impl ProviderError {
    /// Whether the same request may succeed when it is made again shortly.
    pub fn retryable(&self) -> bool {
        match self {
            ProviderError::Connect(_) | ProviderError::Timeout { .. } | ProviderError::Protocol(_) => true,
            ProviderError::Status { code, .. } | ProviderError::Busy { code, .. } => {
                matches!(code, 408 | 409 | 425 | 429 | 500..=599)
            }
            ProviderError::MissingProgram { .. }
            | ProviderError::UnknownProvider { .. }
            | ProviderError::Option { .. }
            | ProviderError::Foreign(_)
            | ProviderError::Gone => false,
        }
    }
}
