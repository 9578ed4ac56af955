//! `hangup`.

use protocol::command::Hangup;
use protocol::reason::Initiator;
use protocol::{CallTime, HangupReason};

use crate::core::Core;
use crate::core::ending_initiator;
use crate::end::End;

impl Core {
    pub(super) fn hangup(&mut self, now: CallTime, hangup: Hangup) {
        if hangup.refer == Some(true) {
            if !self.hang_up_referred(now) {
                self.error(now, "command", "hangup: there is no referred leg", 409);
            }
            return;
        }
        if let Some(headers) = hangup.headers {
            self.farewell.extend(headers);
        }
        let status = match (self.answered.is_some(), self.dialled) {
            (true, _) => 200,
            (false, true) => CANCELLED,
            (false, false) => DECLINED,
        };
        let reason = hangup.reason.as_deref().map(HangupReason::from_word);
        let end = match hangup.initiator.as_deref().and_then(ending_initiator) {
            Some(Initiator::Caller) => End::new(HangupReason::Caller, status),
            Some(Initiator::Callee) => End::new(HangupReason::Callee, status),
            Some(Initiator::System) => End::new(HangupReason::Autohangup, status),
            None => {
                let end = End::new(reason.unwrap_or(HangupReason::System), status);
                // Whoever commands the call ends it, whatever it says about why.
                End { initiator: end.initiator.or(Some(Initiator::System)), ..end }
            }
        };
        self.end(now, end);
    }
}

/// Status of a call of ours that was given up before it was answered.
const CANCELLED: u16 = 487;
/// Status of a call that was hung up before we answered it.
const DECLINED: u16 = 603;
