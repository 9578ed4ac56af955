//! What a called line sounds like before the answer, and who has answered.
//!
//! Fed with 20 ms of sound ([`Progress::hear`]) and with what the voice detector says of them ([`Progress::tick`]);
//! drained by [`Progress::poll`]. It costs some 30 thousand multiplications a frame while it listens.

mod answer;
mod line;
mod tones;

use std::collections::VecDeque;
use std::time::Duration;

use protocol::CallTime;

use crate::level::power;

use answer::Answer;
pub use answer::{Verdict, Who};
use line::Cadence;
pub use line::Line;
use tones::{Ear, Tone};

/// Findings that may wait; more are dropped. They are drained every frame.
const MOST_FINDINGS: usize = 16;
/// Power of what is more than the noise of a quiet line: -47 dBFS.
const LOUD: f32 = 22_500.0;

/// How a line is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProgressSettings {
    /// Sound before the first judgement of the line.
    pub first_after: Duration,
    /// Between judgements.
    pub every: Duration,
    /// Judgements less sure than this, 0 to 1, are kept back.
    pub confidence: f32,
    /// Tell only what differs from what was told before.
    pub changes_only: bool,
}

impl Default for ProgressSettings {
    fn default() -> Self {
        ProgressSettings {
            first_after: Duration::from_secs(6),
            every: Duration::from_secs(1),
            confidence: 0.7,
            changes_only: true,
        }
    }
}

/// Something that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Finding {
    /// What the line sounds like.
    Line {
        /// What.
        line: Line,
        /// How sure that is, 0 to 1.
        confidence: f32,
        /// The same as it was told before.
        before: Option<(Line, f32)>,
    },
    /// Who has answered.
    Answer(Verdict),
}

/// Listens to one line.
pub struct Progress {
    settings: ProgressSettings,
    ear: Ear,
    tone: Option<Tone>,
    /// The last frame was louder than the noise of a line.
    loud: bool,
    cadence: Cadence,
    answer: Option<Answer>,
    began: CallTime,
    judged: CallTime,
    told: Option<(Line, f32)>,
    findings: VecDeque<Finding>,
}

impl Progress {
    /// Listens to sound of `rate` Hz, a multiple of 8000, from `now` on.
    pub fn new(settings: ProgressSettings, rate: u32, now: CallTime) -> Self {
        Progress {
            settings,
            ear: Ear::new(rate),
            tone: None,
            loud: false,
            cadence: Cadence::new(now),
            answer: None,
            began: now,
            judged: now,
            told: None,
            findings: VecDeque::new(),
        }
    }

    /// Takes 20 ms of sound, as it came: without noise suppression, to which a tone is noise.
    pub fn hear(&mut self, frame: &[i16]) {
        self.tone = self.ear.hear(frame);
        self.loud = power(frame) >= LOUD;
    }

    /// The call is answered: from now on the line's own tones are told, and who has answered.
    pub fn answered(&mut self, now: CallTime) {
        self.answer = Some(Answer::new(now, self.settings.confidence));
    }

    /// Judges the frame that ends at `now`, in which the detector hears no voice, or one since `voice`.
    pub fn tick(&mut self, now: CallTime, voice: Option<CallTime>) {
        let tone = self.tone.take();
        self.cadence.hear(now, (tone, self.loud), voice.is_some());
        let (line, confidence) = self.cadence.judge(now);
        if let Some(answer) = &mut self.answer {
            let voice = voice.filter(|_| tone.is_none());
            let verdict = answer.hear(now, line, voice, self.cadence.last_pulse());
            if let Some(verdict) = verdict {
                self.push(Finding::Answer(verdict));
            }
        }
        self.tell_line(now, line, confidence);
    }

    /// The next finding.
    pub fn poll(&mut self) -> Option<Finding> {
        self.findings.pop_front()
    }

    fn tell_line(&mut self, now: CallTime, line: Line, confidence: f32) {
        let ripe = now.since(self.began) >= self.settings.first_after;
        if !ripe || now.since(self.judged) < self.settings.every {
            return;
        }
        self.judged = now;
        // What people say after the answer is for the detector and the recognizer to tell.
        let ours = self.answer.is_none() || line.of_network();
        let news = !self.settings.changes_only || self.told.is_none_or(|(told, _)| told != line);
        if confidence < self.settings.confidence || !ours || !news {
            return;
        }
        let before = self.told.replace((line, confidence));
        self.push(Finding::Line { line, confidence, before });
    }

    fn push(&mut self, finding: Finding) {
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push_back(finding);
        }
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress")
            .field("told", &self.told)
            .field("answer", &self.answer)
            .finish_non_exhaustive()
    }
}
