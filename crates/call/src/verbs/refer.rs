//! `refer`.

use protocol::CallTime;
use protocol::command::{Refer, ReferMethod};
use protocol::rest::CallKind;

use crate::core::Core;
use crate::core::{dialing_uri as uri, display_name};
use crate::failure::Failure;

impl Core {
    /// Calls a second party in and joins it with the first. Nothing waits for it: other commands act meanwhile, and
    /// what becomes of it is told by events with `refer: true`.
    pub(super) fn refer(&mut self, now: CallTime, refer: Refer) {
        if let Err(failure) = self.begin_refer(now, refer) {
            self.fail(now, "command", &failure);
        }
    }

    /// The same for who must know at once whether it has begun.
    ///
    /// # Errors
    /// It cannot be tried, and nothing will be told of it later.
    pub(crate) fn begin_refer(&mut self, now: CallTime, refer: Refer) -> Result<(), Failure> {
        self.heard_by("refer")?;
        if self.handover.is_some() || self.succession.is_some() {
            return Err(Failure::new(409, "refer: another transfer is under way"));
        }
        let method = refer.method.unwrap_or_default();
        if method != ReferMethod::Bridge {
            return self.refer_away(now, refer, method);
        }
        if self.referred.is_some() {
            return Err(Failure::new(409, "refer: another party is being called or is there already"));
        }
        let callee = uri(&refer.callee).map_err(wrong_callee)?;
        // Without a caller the number that was called calls on.
        let caller = if refer.caller.trim().is_empty() { self.callee() } else { refer.caller };
        let option = refer.options.map(|option| *option).unwrap_or_default();
        let sip = option.sip.as_ref().or(self.option.sip.as_ref()).cloned().unwrap_or_default();
        let name = display_name(&caller);
        let caller = self.caller_uri(&caller, &sip, &callee);
        let caller = caller.unwrap_or_else(|_| "sip:active-call@127.0.0.1".to_owned());
        self.refer_to(now, (caller, name), callee, option);
        Ok(())
    }

    /// Has the far end call the target itself: alone, or in our place in the call with the second party.
    fn refer_away(&mut self, now: CallTime, refer: Refer, method: ReferMethod) -> Result<(), Failure> {
        if self.facts.kind != CallKind::Sip {
            let why = "only a SIP party can be asked to call someone";
            return Err(Failure::new(400, why).at("method"));
        }
        let option = refer.options.map(|option| *option).unwrap_or_default();
        let (target, with) = match method {
            ReferMethod::Attended => {
                let none = || Failure::new(409, "refer: there is no second party that has answered");
                self.second_party().map(|(leg, callee)| (callee, Some(leg))).ok_or_else(none)?
            }
            _ => (uri(&refer.callee).map_err(wrong_callee)?, None),
        };
        self.hand_over(now, target, with, &option);
        Ok(())
    }
}

fn wrong_callee(why: impl Into<String>) -> Failure {
    Failure::new(400, why).at("callee")
}
