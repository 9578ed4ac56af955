//! What the line of a call of ours sounds like, and who answers it (`ringbackDetection`).

use std::time::Duration;

use audio::progress::{Finding, ProgressSettings};
use audio::vad::{DEFAULT_VAD, VadSettings};
use protocol::CallTime;
use protocol::event::Event;
use protocol::option::RingbackDetectionOption;

use super::Core;
use crate::legs::LegId;
use crate::media::order::ToMedia;

/// Least sound before the first judgement of a line: shorter than the longest ring with its pause it is a guess.
const LEAST: Duration = Duration::from_secs(4);
/// Most time that is taken for a wait, whatever the option says.
const MOST: Duration = Duration::from_secs(60);
/// Least time between judgements.
const CLOSEST: Duration = Duration::from_millis(100);

impl Core {
    /// Follows the line of a call of ours from its first sound, where the option asks for it.
    pub(super) fn follow_line(&mut self) {
        let Some(option) =
            self.option.ringback_detection.clone().filter(|o| self.dialled && o.enabled == Some(true))
        else {
            return;
        };
        self.order(ToMedia::Vad(LegId::MAIN, DEFAULT_VAD, VadSettings::default()));
        self.order(ToMedia::Follow(settings(&option)));
        self.following = true;
    }

    /// The far end has answered: whoever it is speaks now.
    pub(super) fn judge_answer(&mut self) {
        if self.following {
            self.order(ToMedia::Answered);
        }
    }

    /// Tells what was found.
    pub(super) fn found(&mut self, now: CallTime, finding: Finding) {
        let (track_id, timestamp) = (self.facts.id.clone(), self.unix_ms(now));
        let event = match finding {
            Finding::Line { line, confidence, before } => Event::RingbackState {
                track_id,
                timestamp,
                state: line.name().into(),
                state_index: line.index(),
                confidence,
                prev_state: before.map(|(line, _)| line.name().into()),
                prev_confidence: before.map(|(_, confidence)| confidence),
                refer: false,
            },
            Finding::Answer(verdict) => Event::AnswerMachineDetection {
                track_id,
                timestamp,
                start_time: self.unix_ms(verdict.start),
                end_time: self.unix_ms(verdict.end),
                text: verdict.who.name().into(),
                confidence: Some(verdict.confidence),
            },
        };
        self.emit(event);
    }
}

fn settings(option: &RingbackDetectionOption) -> ProgressSettings {
    let default = ProgressSettings::default();
    let span = |seconds: Option<f32>, usual: Duration| {
        let wanted = seconds.and_then(|seconds| Duration::try_from_secs_f32(seconds).ok());
        wanted.unwrap_or(usual).min(MOST)
    };
    ProgressSettings {
        first_after: span(option.min_buffer_secs, default.first_after).max(LEAST),
        every: span(option.detection_interval_secs, default.every).max(CLOSEST),
        confidence: option
            .confidence_threshold
            .filter(|c| c.is_finite())
            .map_or(default.confidence, |c| c.clamp(0.0, 1.0)),
        changes_only: option.on_state_change_only.unwrap_or(default.changes_only),
    }
}
