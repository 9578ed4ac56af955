//! `provider`: the recognizer, or a detector in the call, says in an `eou` event that the turn has ended.

use super::Wait;
use super::end::Said;

/// Words wait for the event; a provider that sends none must not leave the caller without an answer.
pub fn judge(said: &Said<'_>) -> Wait {
    Wait::For(said.bounds.max)
}
