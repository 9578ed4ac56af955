//! `silence`: the recognizer's own pause ends the turn.

use super::Wait;
use super::end::Said;

/// Complete words are answered at once: the recognizer completes them after a pause of its own.
pub fn judge(_: &Said<'_>) -> Wait {
    Wait::No
}
