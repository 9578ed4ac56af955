//! `dtmf`: digits to the far end.

use std::time::Duration;

use protocol::CallTime;
use protocol::command::Dtmf;

use crate::core::Core;

/// Length of a digit when none is given.
const USUAL_MS: u32 = 160;
const LENGTHS_MS: std::ops::RangeInclusive<u32> = 40..=2_000;
const MOST: usize = 64;

impl Core {
    pub(super) fn send_digits(&mut self, now: CallTime, dtmf: &Dtmf) {
        if !self.audible(now, "dtmf") {
            return;
        }
        let legal =
            |c: char| c.is_ascii_digit() || matches!(c.to_ascii_uppercase(), '*' | '#' | ',' | 'A'..='D');
        if dtmf.digits.is_empty() || dtmf.digits.len() > MOST || !dtmf.digits.chars().all(legal) {
            let why = format!("expected 1 to {MOST} of 0-9 * # A-D and comma");
            return self.wrong(now, "command", "digits", why);
        }
        let length = dtmf.duration_ms.unwrap_or(USUAL_MS);
        if !LENGTHS_MS.contains(&length) {
            return self.wrong(now, "command", "durationMs", "expected 40 to 2000");
        }
        if self.sip.is_none() {
            return self.error(now, "command", "dtmf: this call's connection carries no digits", 409);
        }
        let length = Duration::from_millis(u64::from(length));
        self.dial_digits(now, &dtmf.digits, length, dtmf.method.unwrap_or(self.facts.rules.dtmf));
    }
}
