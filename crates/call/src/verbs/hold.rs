//! `hold` and `unhold`.

use protocol::CallTime;
use protocol::command::Hold;

use crate::core::Core;

impl Core {
    pub(super) fn hold_command(&mut self, now: CallTime, hold: Hold) {
        if self.can_hold(now, "hold") {
            self.hold(now, hold.music.filter(|file| !file.is_empty()));
        }
    }

    pub(super) fn unhold_command(&mut self, now: CallTime) {
        if self.can_hold(now, "unhold") && !self.unhold(now) {
            self.error(now, "command", "unhold: the call is not on hold", 409);
        }
    }

    /// A call that only rings, be it with sound, has nobody to be held yet.
    fn can_hold(&mut self, now: CallTime, verb: &str) -> bool {
        if self.is_up() {
            return self.audible(now, verb);
        }
        self.error(now, "command", format!("{verb}: the call is not answered yet"), 409);
        false
    }
}
