//! From the text of a file to a [`Playbook`].

use crate::error::PlaybookError;
use crate::playbook::Playbook;

/// Largest playbook that is read, in bytes.
pub const MAX_BYTES: usize = 1024 * 1024;

pub(crate) fn playbook(markdown: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Playbook, PlaybookError> {
    let _ = env;
    Err(PlaybookError::TooLarge { bytes: markdown.len(), max: MAX_BYTES })
}
