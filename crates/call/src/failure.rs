//! Why something that was asked for cannot be had, as an `error` event tells it.

use std::fmt;

use providers::ProviderError;

/// What an `error` event says of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// As in HTTP: 4xx when whoever asked can mend it, else 5xx.
    pub code: u16,
    /// Path of the key that is wrong in a command, or in the call's option; empty where none is.
    pub field: String,
    /// What is wrong, in words.
    pub why: String,
}

impl Failure {
    /// A failure that is nobody's field.
    pub fn new(code: u16, why: impl Into<String>) -> Self {
        Failure { code, field: String::new(), why: why.into() }
    }

    /// The same, by the key `field`, unless it has one already.
    #[must_use]
    pub fn at(mut self, field: &str) -> Self {
        if self.field.is_empty() {
            field.clone_into(&mut self.field);
        }
        self
    }

    /// What a provider says, whose option stands under `option` in that of the call.
    pub fn of_provider(option: &str, error: &ProviderError) -> Self {
        match error {
            ProviderError::UnknownProvider { .. } => {
                Failure::new(400, error.to_string()).at(&format!("{option}.provider"))
            }
            ProviderError::Option { field, why } => {
                Failure::new(400, why.as_str()).at(&format!("{option}.{field}"))
            }
            _ => Failure::new(500, error.to_string()),
        }
    }
}

/// The field, where there is one, before what is wrong with it.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() { f.write_str(&self.why) } else { write!(f, "{}: {}", self.field, self.why) }
    }
}

/// A fault of ours.
impl From<&str> for Failure {
    fn from(why: &str) -> Self {
        Failure::new(500, why)
    }
}

impl From<protocol::read::ReadError> for Failure {
    fn from(error: protocol::read::ReadError) -> Self {
        Failure::new(400, error.message).at(&error.field)
    }
}
