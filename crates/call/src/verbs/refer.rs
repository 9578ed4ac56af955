//! `refer`.

use protocol::CallTime;
use protocol::command::{Refer, ReferMethod};
use protocol::rest::CallKind;

use crate::core::Core;
use crate::core::dialing_uri as uri;

impl Core {
    /// Calls a second party in and joins it with the first. Nothing waits for it: other commands act meanwhile, and
    /// what becomes of it is told by events with `refer: true`.
    pub(super) fn refer(&mut self, now: CallTime, refer: Refer) {
        if !self.audible(now, "refer") {
            return;
        }
        if self.handover.is_some() || self.succession.is_some() {
            return self.error(now, "command", "refer: another transfer is under way", 409);
        }
        let method = refer.method.unwrap_or_default();
        if method != ReferMethod::Bridge {
            return self.refer_away(now, refer, method);
        }
        if self.referred.is_some() {
            return self.error(
                now,
                "command",
                "refer: another party is being called or is there already",
                409,
            );
        }
        let callee = match uri(&refer.callee) {
            Ok(callee) => callee,
            Err(why) => return self.wrong(now, "command", "callee", why),
        };
        // Without a caller the number that was called calls on.
        let caller = if refer.caller.trim().is_empty() { self.callee() } else { refer.caller };
        let caller = uri(&caller).unwrap_or_else(|_| "sip:active-call@127.0.0.1".to_owned());
        self.refer_to(now, caller, callee, refer.options.map(|option| *option).unwrap_or_default());
    }

    /// Has the far end call the target itself: alone, or in our place in the call with the second party.
    fn refer_away(&mut self, now: CallTime, refer: Refer, method: ReferMethod) {
        if self.facts.kind != CallKind::Sip {
            return self.wrong(now, "command", "method", "only a SIP party can be asked to call someone");
        }
        let option = refer.options.map(|option| *option).unwrap_or_default();
        if method == ReferMethod::Attended {
            return match self.second_party() {
                Some((leg, callee)) => self.hand_over(now, callee, Some(leg), &option),
                None => self.error(now, "command", "refer: there is no second party that has answered", 409),
            };
        }
        match uri(&refer.callee) {
            Ok(target) => self.hand_over(now, target, None, &option),
            Err(why) => self.wrong(now, "command", "callee", why),
        }
    }
}
