//! `record`: a recording by command, and what is left out of it.

use protocol::CallTime;
use protocol::command::{Record, RecordAction};
use protocol::option::Over;

use crate::core::{Core, Recording};

/// Recordings that commands may begin in one call: each is a file.
const MOST: u32 = 100;

impl Core {
    pub(super) fn record_command(&mut self, now: CallTime, record: Record) {
        if !self.audible(now, "record") {
            return;
        }
        match (record.action, self.recording) {
            (RecordAction::Start, Recording::Off) if self.recordings >= MOST => {
                self.error(now, "command", format!("record: {MOST} recordings are enough"), 429);
            }
            (RecordAction::Start, Recording::Off) => {
                self.recordings += 1;
                let usual = self.option.recorder.clone().unwrap_or_default();
                let option = record.recorder.map_or(usual.clone(), |wanted| wanted.over(&usual));
                self.open_recording(option, true);
            }
            (RecordAction::Start, _) => {
                self.error(now, "command", "record: the call is being recorded already", 409);
            }
            (_, Recording::Off) => {
                self.error(now, "command", "record: the call is not being recorded", 409);
            }
            (RecordAction::Pause, _) => self.pause_recording(now, true),
            (RecordAction::Resume, _) => self.pause_recording(now, false),
            (RecordAction::Stop, _) => self.stop_recording(now),
        }
    }
}
