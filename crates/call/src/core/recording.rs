//! The recording of a call: when it begins and ends, and what is left out of it.

use protocol::CallTime;
use protocol::event::{Event, RecordingState};
use protocol::option::RecorderOption;

use super::{Core, Effect};
use crate::failure::Failure;
use crate::media::order::ToMedia;

/// How the recording of a call stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Recording {
    /// There is none, or none any more.
    #[default]
    Off,
    /// Its file is being made.
    Opening {
        /// By a command, which is told when it runs.
        asked: bool,
    },
    /// Sound is written.
    Runs,
    /// Silence is written.
    Paused,
}

impl Core {
    /// Begins the recording that the call's option or the configuration wants, once there is sound.
    pub(super) fn start_recording(&mut self) {
        let option = match &self.option.recorder {
            Some(option) => option.clone(),
            None if self.facts.rules.auto_record => RecorderOption::default(),
            None => return,
        };
        if self.recording == Recording::Off {
            self.open_recording(option, false);
        }
    }

    /// Begins a recording; without sound there is nothing to record.
    pub(crate) fn open_recording(&mut self, option: RecorderOption, asked: bool) {
        if let Some(rate) = self.rate {
            self.recording = Recording::Opening { asked };
            self.effect(Effect::Record(rate, Box::new(option)));
        }
    }

    /// Its file is there.
    pub(super) fn recording_runs(&mut self, now: CallTime) {
        let before = std::mem::replace(&mut self.recording, Recording::Runs);
        if before == (Recording::Opening { asked: true }) {
            self.tell_recording(now, RecordingState::Started);
        }
    }

    /// It could not be made, or its disk has failed.
    pub(super) fn recording_failed(&mut self, now: CallTime, failure: Failure) {
        let before = std::mem::take(&mut self.recording);
        self.order(ToMedia::StopRecording);
        let told = Failure { why: format!("recording failed: {}", failure.why), ..failure };
        // What whoever asked can mend is the name.
        let key = match before {
            Recording::Opening { asked: true } => "recorder.recorderFile",
            _ => "option.recorder.recorderFile",
        };
        self.fail(now, "media", &if told.code < 500 { told.at(key) } else { told });
    }

    /// Leaves out what follows, or not any more.
    pub(crate) fn pause_recording(&mut self, now: CallTime, on: bool) {
        let (to, state) = match on {
            true => (Recording::Paused, RecordingState::Paused),
            false => (Recording::Runs, RecordingState::Resumed),
        };
        if self.recording != to {
            self.recording = to;
            self.order(ToMedia::PauseRecording(on));
            self.tell_recording(now, state);
        }
    }

    /// Ends it while the call goes on.
    pub(crate) fn stop_recording(&mut self, now: CallTime) {
        self.recording = Recording::Off;
        self.effect(Effect::EndRecord);
        self.tell_recording(now, RecordingState::Stopped);
    }

    fn tell_recording(&mut self, now: CallTime, state: RecordingState) {
        let (track_id, timestamp) = (self.facts.id.clone(), self.unix_ms(now));
        self.emit(Event::Recording { track_id, timestamp, state });
    }
}
