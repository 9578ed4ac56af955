//! `refer`.

use protocol::CallTime;
use protocol::command::Refer;
use protocol::event::Event;

use crate::core::Core;

/// SIP status of a transfer that this server cannot place.
const NOT_IMPLEMENTED: u16 = 501;

impl Core {
    /// A second party cannot be called by this server. That is said as the failure of a transfer, so that a
    /// playbook takes the caller back and a client need not wait.
    pub(super) fn refer(&mut self, now: CallTime, refer: &Refer) {
        let event = Event::Reject {
            track_id: self.facts.rules.server_track.clone(),
            timestamp: self.unix_ms(now),
            reason: "refer is not implemented by this server".into(),
            code: Some(NOT_IMPLEMENTED),
            refer: Some(true),
        };
        self.emit(event);
        let callee: String = refer.callee.chars().take(128).collect();
        self.error(
            now,
            "command",
            format!("refer to {callee} is not implemented by this server"),
            NOT_IMPLEMENTED,
        );
    }
}
