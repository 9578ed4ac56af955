//! `hangup`.

use protocol::command::Hangup;
use protocol::option::SipOption;
use protocol::reason::Initiator;
use protocol::{CallTime, HangupReason};

use crate::core::Core;
use crate::core::ending_initiator;
use crate::end::End;

impl Core {
    pub(super) fn hangup(&mut self, now: CallTime, hangup: Hangup) {
        if hangup.refer == Some(true) {
            return self.error(now, "command", "hangup: there is no referred leg", 409);
        }
        if let Some(headers) = hangup.headers {
            let sip = self.option.sip.get_or_insert_with(SipOption::default);
            sip.hangup_headers.get_or_insert_default().extend(headers);
        }
        let status = if self.answered.is_some() { 200 } else { DECLINED };
        let reason = hangup.reason.as_deref().map(HangupReason::from_word);
        let end = match hangup.initiator.as_deref().and_then(ending_initiator) {
            Some(Initiator::Caller) => End::new(HangupReason::Caller, status),
            Some(Initiator::Callee) => End::new(HangupReason::Callee, status),
            Some(Initiator::System) => End {
                initiator: Some(Initiator::System),
                ..End::new(reason.unwrap_or(HangupReason::Autohangup), status)
            },
            None => End::new(reason.unwrap_or(HangupReason::System), status),
        };
        self.end(now, end);
    }
}

/// Status of a call that was hung up before it was answered.
const DECLINED: u16 = 603;
