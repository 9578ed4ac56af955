//! `refer`.

use protocol::CallTime;
use protocol::command::Refer;

use crate::core::Core;
use crate::core::dialing_uri as uri;

impl Core {
    /// Calls a second party in and joins it with the first. Nothing waits for it: other commands act meanwhile, and
    /// what becomes of it is told by events with `refer: true`.
    pub(super) fn refer(&mut self, now: CallTime, refer: Refer) {
        if !self.audible(now, "refer") {
            return;
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
            Err(why) => return self.error(now, "command", format!("callee: {why}"), 400),
        };
        // Without a caller the number that was called calls on.
        let caller = if refer.caller.trim().is_empty() { self.callee() } else { refer.caller };
        let caller = uri(&caller).unwrap_or_else(|_| "sip:active-call@127.0.0.1".to_owned());
        self.refer_to(now, caller, callee, refer.options.map(|option| *option).unwrap_or_default());
    }
}
