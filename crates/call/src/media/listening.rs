//! How a party is heard: what is taken out of its sound, the voice detector and the doors to recognizers.

use std::collections::VecDeque;

use audio::frame::FRAME_MS;
use audio::level;
use audio::vad::{Scorer, Vad, VadEvent, VadSettings};
use audio::{Cleaner, Cleaning, Resampler, prefetch};
use protocol::CallTime;
use providers::Hearing;

use crate::legs::LegId;
use crate::media::order::DoorId;

/// Frames of one chunk for a recognizer: 100 ms, so that another thread is woken ten times a second and not
/// fifty.
pub(crate) const CHUNK_FRAMES: usize = 5;

/// How one party is heard.
pub(crate) struct Listening {
    leg: LegId,
    /// Tens of kilobytes, which calls without it do not hold.
    cleaner: Option<Box<Cleaner>>,
    detector: Option<Detector>,
    doors: Vec<Door>,
}

impl Listening {
    /// A party that nothing is done about yet.
    pub(crate) fn new(leg: LegId) -> Self {
        Listening { leg, cleaner: None, detector: None, doors: Vec::new() }
    }

    /// Takes this out of what the party says, at `rate` Hz. What was learned of its line is forgotten when it is something
    /// else than before.
    pub(crate) fn clean_of(&mut self, cleaning: Cleaning, rate: u32) {
        let same = self.cleaner.as_ref().map(|cleaner| cleaner.cleaning()).unwrap_or_default() == cleaning;
        if !same {
            self.cleaner = cleaning.any().then(|| Box::new(Cleaner::new(rate, cleaning)));
        }
    }

    pub(crate) fn detect(&mut self, detector: Option<Detector>) {
        self.detector = detector;
    }

    pub(crate) fn open(&mut self, door: Door) {
        self.doors.push(door);
    }

    pub(crate) fn close(&mut self, door: DoorId) {
        self.doors.retain(|open| open.id != door);
    }

    /// Takes out of a frame what is not to be heard.
    pub(crate) fn clean(&mut self, frame: &mut [i16]) {
        if let Some(cleaner) = &mut self.cleaner {
            cleaner.process(frame);
        }
    }

    /// What the party is sent, whose echo may come back.
    pub(crate) fn played(&mut self, frame: &[i16]) {
        if let Some(cleaner) = &mut self.cleaner {
            cleaner.played(frame);
        }
    }

    /// Takes a clean frame that ended at `now`; sound for recognizers goes to `out`.
    pub(crate) fn hear(
        &mut self,
        now: CallTime,
        frame: &[i16],
        out: &mut VecDeque<(DoorId, Hearing)>,
    ) -> Option<VadEvent> {
        let ended = self.detector.as_mut().and_then(|detector| detector.hear(frame));
        for door in &mut self.doors {
            door.hear(now.back(FRAME), frame, out);
        }
        self.mark(ended, out)
    }

    fn scorer(&mut self) -> Option<&mut Scorer> {
        self.detector.as_mut()?.ready()
    }

    fn scored(&mut self, speech: f32, out: &mut VecDeque<(DoorId, Hearing)>) -> Option<VadEvent> {
        let event = self.detector.as_mut()?.scored(speech);
        self.mark(event, out)
    }

    /// Tells the recognizers what the detector found.
    fn mark(&mut self, event: Option<VadEvent>, out: &mut VecDeque<(DoorId, Hearing)>) -> Option<VadEvent> {
        let found = event.as_ref()?;
        for door in &mut self.doors {
            door.mark(found, out);
        }
        event
    }

    /// Whose sound it is.
    pub(crate) fn leg(&self) -> LegId {
        self.leg
    }

    /// Since when there is a voice, if there is one.
    pub(crate) fn voice(&self) -> Option<CallTime> {
        self.detector.as_ref().and_then(Detector::voice)
    }
}

/// Those who are listened to: the main leg and, where it is to be, the second.
#[derive(Default)]
pub(crate) struct Listeners {
    all: Vec<Listening>,
    /// Which of them waits for a score.
    scoring: usize,
}

impl Listeners {
    /// How this party is heard; from now on, where nothing was done about it.
    pub(crate) fn of(&mut self, leg: LegId) -> &mut Listening {
        let known = self.all.iter().position(|listening| listening.leg == leg);
        let at = known.unwrap_or_else(|| {
            self.all.push(Listening::new(leg));
            self.all.len() - 1
        });
        &mut self.all[at]
    }

    /// How this party is heard, if anything is done about it.
    pub(crate) fn known(&mut self, leg: LegId) -> Option<&mut Listening> {
        self.all.iter_mut().find(|listening| listening.leg == leg)
    }

    pub(crate) fn all(&mut self) -> impl Iterator<Item = &mut Listening> {
        self.all.iter_mut()
    }

    /// Asks for the memory of the next tick: `depth` 0 of who listens, 1 of the detectors' state.
    pub(crate) fn prefetch(&self, depth: usize) {
        match depth {
            0 => prefetch(&self.all[..]),
            1 => {
                let detectors = self.all.iter().flat_map(|listening| &listening.detector);
                detectors.for_each(|detector| detector.scorer.prefetch());
            }
            _ => {}
        }
    }

    /// Nobody listens to this party any more.
    pub(crate) fn forget(&mut self, leg: LegId) {
        self.all.retain(|listening| listening.leg != leg);
    }

    /// The next scorer with a full window to score.
    pub(crate) fn scorer(&mut self) -> Option<&mut Scorer> {
        self.scoring = self.all.iter_mut().position(|listening| listening.scorer().is_some())?;
        self.all.get_mut(self.scoring)?.scorer()
    }

    /// The score of that window; answers what it says and of whom.
    pub(crate) fn scored(
        &mut self,
        speech: f32,
        out: &mut VecDeque<(DoorId, Hearing)>,
    ) -> Option<(LegId, VadEvent)> {
        let listening = self.all.get_mut(self.scoring)?;
        Some((listening.leg, listening.scored(speech, out)?))
    }
}

/// The detector of one party with its memory of whether someone speaks.
pub(crate) struct Detector {
    scorer: Scorer,
    vad: Vad,
    /// Beginning of the sound that may be or is speech.
    voice: Option<CallTime>,
}

impl Detector {
    /// A detector of a known type for sound at `rate`, listening from `now` on.
    pub(crate) fn new(kind: &str, settings: VadSettings, rate: u32, now: CallTime) -> Option<Self> {
        let scorer = Scorer::new(kind, rate).ok()?;
        let vad = Vad::new(settings, scorer.rate(), scorer.window(), now);
        Some(Detector { scorer, vad, voice: None })
    }

    /// Takes one frame. Windows that become ready wait for [`Detector::ready`].
    pub(crate) fn hear(&mut self, frame: &[i16]) -> Option<VadEvent> {
        let ended = self.vad.level(level::power(frame), frame.len() as u64);
        let mut rest = self.scorer.push(frame);
        // Windows are scored between frames, so there is room; if a score was skipped, time must not stand still.
        while !rest.is_empty() && self.scorer.ready() {
            let speech = self.scorer.score();
            self.scored(speech);
            rest = self.scorer.push(rest);
        }
        if matches!(ended, Some(VadEvent::Dismissed { .. } | VadEvent::Silence { .. })) {
            self.voice = None;
        }
        ended
    }

    /// The scorer when it has a full window to score.
    pub(crate) fn ready(&mut self) -> Option<&mut Scorer> {
        self.scorer.ready().then_some(&mut self.scorer)
    }

    /// The score of the window that was ready.
    pub(crate) fn scored(&mut self, speech: f32) -> Option<VadEvent> {
        let event = self.vad.scored(speech);
        match event {
            Some(VadEvent::Onset { start, .. } | VadEvent::Speaking { start, .. }) => {
                self.voice = Some(start);
            }
            Some(VadEvent::Dismissed { .. } | VadEvent::Silence { .. }) => self.voice = None,
            Some(VadEvent::Quiet { .. }) | None => {}
        }
        event
    }

    /// Since when there is a voice, if there is one.
    pub(crate) fn voice(&self) -> Option<CallTime> {
        self.voice
    }
}

/// A recognizer's door: gathers frames into chunks at the rate it wants.
pub(crate) struct Door {
    pub(crate) id: DoorId,
    resampler: Resampler,
    chunk: Vec<i16>,
    frames: usize,
    /// Frames of a chunk.
    whole: usize,
    since: CallTime,
}

impl Door {
    /// A door for sound at `from` Hz, opening at `to` Hz.
    pub(crate) fn new(id: DoorId, from: u32, to: u32) -> Self {
        Door {
            id,
            resampler: Resampler::new(from, to),
            chunk: Vec::new(),
            frames: 0,
            whole: CHUNK_FRAMES,
            since: CallTime::ZERO,
        }
    }

    /// Gives chunks of so many frames: at least one, and no more than a recognizer is given.
    pub(crate) fn in_chunks_of(self, frames: usize) -> Self {
        Door { whole: frames.clamp(1, CHUNK_FRAMES), ..self }
    }

    /// Takes a frame that began at `at`.
    pub(crate) fn hear(&mut self, at: CallTime, frame: &[i16], out: &mut VecDeque<(DoorId, Hearing)>) {
        if self.frames == 0 {
            self.since = at;
        }
        self.resampler.process(frame, &mut self.chunk);
        self.frames += 1;
        if self.frames >= self.whole {
            self.flush(out);
        }
    }

    /// Tells what the detector found; what was heard before goes first.
    pub(crate) fn mark(&mut self, event: &VadEvent, out: &mut VecDeque<(DoorId, Hearing)>) {
        let mark = match *event {
            VadEvent::Speaking { start, .. } => Hearing::SpeechStarted { at: start },
            VadEvent::Silence { start, duration } => Hearing::SpeechEnded { at: start + duration },
            VadEvent::Onset { .. } | VadEvent::Dismissed { .. } | VadEvent::Quiet { .. } => return,
        };
        self.flush(out);
        out.push_back((self.id, mark));
    }

    fn flush(&mut self, out: &mut VecDeque<(DoorId, Hearing)>) {
        if self.frames == 0 {
            return;
        }
        let samples = std::mem::take(&mut self.chunk).into_boxed_slice();
        self.frames = 0;
        out.push_back((self.id, Hearing::Audio { at: self.since, samples }));
    }
}

/// Length of a frame as a span.
pub(crate) const FRAME: std::time::Duration = std::time::Duration::from_millis(FRAME_MS as u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_gives_chunks_of_the_frames_it_was_asked_for_within_limits() {
        for (asked, given) in [(0, 1), (1, 1), (3, 3), (5, 5), (50, 5)] {
            let mut door = Door::new(DoorId(1), 16_000, 16_000).in_chunks_of(asked);
            let mut out = VecDeque::new();
            for frame in 0..15 {
                door.hear(CallTime::ms(frame * 20), &[7; 320], &mut out);
                assert_eq!(
                    out.len() as u64,
                    (frame + 1) / given,
                    "chunks of {asked} frames after {}",
                    frame + 1
                );
            }
            let first = out.pop_front().map(|(_, hearing)| hearing);
            let whole = 320 * given as usize;
            assert!(matches!(first, Some(Hearing::Audio { samples, .. }) if samples.len() == whole));
        }
    }
}
