//! `interrupt`, `pause`, `resume`.

use std::time::Duration;

use protocol::CallTime;
use protocol::command::Interrupt;

use crate::core::Core;
use crate::media::order::ToMedia;

/// Longest fade-out.
const MAX_FADE_MS: u32 = 10_000;

impl Core {
    pub(super) fn interrupt(&mut self, now: CallTime, interrupt: &Interrupt) {
        let wanted = interrupt.fade_out_ms.unwrap_or(0);
        if wanted > MAX_FADE_MS {
            let why =
                format!("{wanted} is too long; a fade takes {MAX_FADE_MS} ms at most, as this one does");
            self.wrong(now, "interrupt", "fadeOutMs", why);
        }
        let fade = Duration::from_millis(u64::from(wanted.min(MAX_FADE_MS)));
        self.interrupt_voice(now, interrupt.graceful == Some(true), fade);
    }

    pub(super) fn pause(&mut self, on: bool) {
        self.order(ToMedia::Pause(on));
    }
}
