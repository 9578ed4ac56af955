//! Wall time at the edge of a call, and its deadlines.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use protocol::CallTime;
use protocol::record::LogLine;

/// Adds wall time to call time: the clock was read once, when the call began.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// When the call began, Unix ms.
    pub began_unix_ms: u64,
}

impl Clock {
    /// Milliseconds since the Unix epoch.
    pub(crate) fn unix_ms(self, at: CallTime) -> u64 {
        self.began_unix_ms.saturating_add(at.as_ms())
    }

    /// A line of the event log: its time is the call's, however the wall clock is set meanwhile.
    pub(crate) fn line(self, at: CallTime, kind: &str, content: String) -> LogLine {
        LogLine { kind: kind.into(), timestamp: self.unix_ms(at), content }
    }

    /// RFC 3339 with milliseconds and `+00:00`, as events have it.
    pub(crate) fn rfc3339(self, at: CallTime) -> String {
        rfc3339(self.unix_ms(at), false)
    }

    /// RFC 3339 with milliseconds and `Z`, as records have it.
    pub(crate) fn recorded(self, at: CallTime) -> String {
        rfc3339(self.unix_ms(at), true)
    }
}

/// `unix_ms` as RFC 3339 with milliseconds, UTC, with a `Z` or in digits.
fn rfc3339(unix_ms: u64, letter: bool) -> String {
    let ms = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    DateTime::from_timestamp_millis(ms).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, letter)
}

/// What is due at a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nobody accepted the inbound call.
    Accept,
    /// The far end has not confirmed the answer; the conversation begins all the same.
    Unconfirmed,
    /// No input came after a playback.
    Input {
        /// End of the playback.
        since: CallTime,
        /// How long input was waited for.
        limit: Duration,
    },
    /// The caller's turn is over: no verdict has come, or nothing more after one that said no.
    TurnEnd,
    /// The model does not say what it was told to.
    Lent,
    /// The agent had no voice and was not heard since.
    Mute,
    /// The agent cannot hear any more.
    Deaf,
    /// The words of what the caller has said have not come.
    Words,
    /// The model that was lost is connected anew.
    Model,
    /// Text that was gathered for a voice waits no longer.
    Gathered,
    /// Barge-in may be armed again.
    Rearm,
    /// The digit that goes by INFO has lasted long enough.
    Digit,
    /// The callee has had the time to answer.
    Callee,
    /// The second party has had the time to answer.
    Refer,
    /// Who is to take the far end's place has not answered, or nobody has said whether it may.
    Succession,
    /// The goodbye at the end of the server has had its time.
    Leave,
    /// The sound has not said in time what was heard last.
    Settle,
}

/// The deadlines of a call: few, so a list.
#[derive(Debug, Default)]
pub(crate) struct Deadlines(Vec<(CallTime, Due)>);

impl Deadlines {
    pub(crate) fn set(&mut self, at: CallTime, due: Due) {
        self.0.push((at, due));
    }

    pub(crate) fn drop_where(&mut self, unwanted: impl Fn(&Due) -> bool) {
        self.0.retain(|(_, due)| !unwanted(due));
    }

    pub(crate) fn next(&self) -> Option<CallTime> {
        self.0.iter().map(|(at, _)| *at).min()
    }

    /// The earliest that is due.
    pub(crate) fn pop(&mut self, now: CallTime) -> Option<Due> {
        let (at, _) =
            self.0.iter().enumerate().filter(|(_, (at, _))| *at <= now).min_by_key(|(_, (at, _))| *at)?;
        Some(self.0.swap_remove(at).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_log_follow_the_call_and_no_other_clock() {
        // Whatever the wall says by now: it said 2001 when the call began.
        let clock = Clock { began_unix_ms: 1_000_000_000_000 };
        let at = |ms| clock.line(CallTime::ms(ms), "event", "{}".into()).timestamp;
        assert_eq!(
            [at(0), at(20), at(86_400_000)],
            [1_000_000_000_000, 1_000_000_000_020, 1_000_086_400_000]
        );
        assert_eq!(clock.rfc3339(CallTime::ms(20)), "2001-09-09T01:46:40.020+00:00");
        assert_eq!(clock.recorded(CallTime::ms(20)), "2001-09-09T01:46:40.020Z");
    }
}
