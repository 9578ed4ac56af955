//! From probabilities of speech to events.

use protocol::CallTime;
use std::time::Duration;

/// How far below the threshold a score must fall before it counts as silence.
const HYSTERESIS: f32 = 0.15;
/// Silence must stay reachable however low the threshold is set.
const LOWEST_QUIET: f32 = 0.01;

/// What decides when speech begins and ends. The names on the wire are in brackets.
#[derive(Clone, Debug, PartialEq)]
pub struct VadSettings {
    /// Speech this long is reported as [`VadEvent::Speaking`] (`speechPadding`, ms).
    pub speech_padding: Duration,
    /// Silence this long closes a segment of speech (`silencePadding`, ms).
    pub silence_padding: Duration,
    /// A score from here on is speech, 0.0..=1.0 (`voiceThreshold`).
    pub voice_threshold: f32,
    /// While nobody speaks, [`VadEvent::Quiet`] repeats after every span of this length; `None` for never
    /// (`silenceTimeout`, ms).
    pub silence_timeout: Option<Duration>,
}

impl Default for VadSettings {
    fn default() -> Self {
        VadSettings {
            speech_padding: Duration::from_millis(250),
            silence_padding: Duration::from_millis(100),
            voice_threshold: 0.5,
            silence_timeout: None,
        }
    }
}

/// What the listener of a call learns from the detector. All times are in call time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum VadEvent {
    /// The first window of what may become speech: early enough for ducking or a barge-in.
    ///
    /// `Speaking` or `Dismissed` follows. With a speech padding of at most one window `Speaking` comes at once,
    /// without an `Onset`.
    Onset {
        /// Beginning of that window.
        start: CallTime,
        /// Its score.
        confidence: f32,
    },
    /// The onset ended before it was long enough to be speech.
    Dismissed {
        /// The time its `Onset` named.
        start: CallTime,
    },
    /// Speech has lasted for the speech padding.
    Speaking {
        /// Beginning of the speech.
        start: CallTime,
        /// Mean score of its windows at or above the threshold.
        confidence: f32,
    },
    /// Speech has ended: silence has lasted for the silence padding.
    Silence {
        /// Beginning of the speech, as its `Speaking` named it.
        start: CallTime,
        /// Length of the speech, without the silence that closed it.
        duration: Duration,
    },
    /// Nobody has spoken for another silence timeout.
    Quiet {
        /// End of the last speech, or the beginning of listening.
        since: CallTime,
        /// Time since then.
        duration: Duration,
    },
}

/// The state machine of one listener.
///
/// Its clock is the number of samples it was told of, by [`scored`](Vad::scored) and [`skip`](Vad::skip), counted
/// from the call time given at construction.
#[derive(Clone, Debug)]
pub struct Vad {
    settings: VadSettings,
    rate: u32,
    window: usize,
    origin: CallTime,
    consumed: u64,
    state: State,
    /// End of the last speech, or the origin.
    quiet_since: CallTime,
    /// When the next `Quiet` is due, if any.
    quiet_due: Option<CallTime>,
    level: Level,
    /// Whether the last window scored as silence.
    last_quiet: bool,
}

/// How loud the sound is, frame by frame: it tells where within the windows speech stopped, and lets silence be
/// counted in frames. A score covers 32 ms and remembers speech for about as long; the level falls at once.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    /// Samples told of.
    samples: u64,
    /// Mean square of the loudest frame lately.
    peak: f32,
    /// End of the last loud frame.
    loud_until: CallTime,
}

/// A frame this much weaker than the loudest one, as a ratio of powers (25 dB), holds no speech.
const FALLEN: f32 = 0.003;
/// What is weaker than this, as a mean square (an amplitude of 30), holds none in any case.
const FLOOR: f32 = 900.0;
/// Loss of the peak per frame: half in about a second and a half.
const FORGETTING: f32 = 0.99;
/// Windows by which the beginning of silence may lie before the first window that scored as silence.
const BACKDATED: u32 = 2;
/// The same where the padding is long: a score remembers a vowel that breaks off for up to so many windows, on narrow
/// lines above all. At most half of the padding is backdated, so that the rest is silence by the score as well.
const MOST_BACKDATED: u32 = 6;

#[derive(Clone, Copy, Debug)]
enum State {
    Idle,
    Candidate(Segment),
    Speech(Segment),
}

/// A stretch of speech that is still open.
#[derive(Clone, Copy, Debug)]
struct Segment {
    start: CallTime,
    /// Beginning of the silence that may close it.
    quiet: Option<CallTime>,
    /// Windows at or above the threshold, and the sum of their scores.
    voiced: u32,
    total: f32,
}

impl Vad {
    /// Listens from call time `start` to windows of `window` samples at `rate` Hz (both as the scorer says).
    pub fn new(settings: VadSettings, rate: u32, window: usize, start: CallTime) -> Self {
        let mut vad = Vad {
            settings,
            rate: rate.max(1),
            window,
            origin: start,
            consumed: 0,
            state: State::Idle,
            quiet_since: start,
            quiet_due: None,
            level: Level::default(),
            last_quiet: true,
        };
        vad.be_quiet(start);
        vad
    }

    /// The score of the next window; answers what it means, if anything new.
    pub fn scored(&mut self, speech: f32) -> Option<VadEvent> {
        let speech = if speech.is_nan() { 0.0 } else { speech };
        self.advance(self.window as u64, speech)
    }

    /// Passes over `samples` that were never heard (lost, muted, on hold). They count as silence.
    pub fn skip(&mut self, samples: u64) -> Option<VadEvent> {
        self.advance(samples, 0.0)
    }

    /// Ends the stream: closes what is open, with its end at the last speech known.
    pub fn close(&mut self) -> Option<VadEvent> {
        let now = self.now();
        match self.state {
            State::Idle => None,
            State::Candidate(segment) | State::Speech(segment) => self.end(segment.quiet.unwrap_or(now)),
        }
    }

    /// Starts afresh at call time `start`, as after a change of rate or a long gap. [`close`](Vad::close) first,
    /// or the end of an open segment is never reported.
    pub fn reset(&mut self, rate: u32, window: usize, start: CallTime) {
        *self = Vad::new(self.settings.clone(), rate, window, start);
    }

    /// Whether a segment reported by [`VadEvent::Speaking`] is open.
    pub fn speaking(&self) -> bool {
        matches!(self.state, State::Speech(_))
    }

    /// Takes the level of the next frame: `samples` samples with this mean square. Frames run ahead of windows;
    /// a listener that is told of no levels counts silence in whole windows.
    pub fn level(&mut self, mean_square: f32, samples: u64) -> Option<VadEvent> {
        self.level.samples = self.level.samples.saturating_add(samples);
        self.level.peak = (self.level.peak * FORGETTING).max(mean_square);
        let now = self.time_at(self.level.samples);
        if mean_square > (self.level.peak * FALLEN).max(FLOOR) {
            self.level.loud_until = now;
            return None;
        }
        let (State::Candidate(segment) | State::Speech(segment)) = self.state else { return None };
        let since = segment.quiet.filter(|_| self.last_quiet)?;
        (now.since(since) >= self.settings.silence_padding).then(|| self.end(since)).flatten()
    }

    /// Call time up to which samples were consumed.
    pub fn now(&self) -> CallTime {
        self.time_at(self.consumed)
    }

    fn time_at(&self, samples: u64) -> CallTime {
        let rate = u64::from(self.rate);
        let nanos = (samples % rate).saturating_mul(1_000_000_000) / rate;
        self.origin + Duration::from_secs(samples / rate) + Duration::from_nanos(nanos)
    }

    /// Where the silence began that the window from `begin` on is the first of.
    fn quiet_from(&self, begin: CallTime, start: CallTime) -> CallTime {
        if self.level.samples == 0 {
            return begin;
        }
        let window = Duration::from_nanos(self.window as u64 * 1_000_000_000 / u64::from(self.rate));
        let half = self.settings.silence_padding / 2;
        let back = half.clamp(window * BACKDATED, window * MOST_BACKDATED);
        self.level.loud_until.clamp(begin.back(back), begin).max(start)
    }

    fn advance(&mut self, samples: u64, speech: f32) -> Option<VadEvent> {
        let begin = self.now();
        self.consumed = self.consumed.saturating_add(samples);
        let threshold = self.settings.voice_threshold;
        if speech >= threshold {
            return self.voiced(begin, speech);
        }
        let quiet = speech < (threshold - HYSTERESIS).max(LOWEST_QUIET);
        self.last_quiet = quiet;
        match self.state {
            State::Idle => self.quiet_tick(),
            State::Candidate(segment) | State::Speech(segment) => {
                if !quiet {
                    return None;
                }
                let since = segment.quiet.unwrap_or_else(|| self.quiet_from(begin, segment.start));
                if let State::Candidate(open) | State::Speech(open) = &mut self.state {
                    open.quiet = Some(since);
                }
                if self.now().since(since) < self.settings.silence_padding {
                    return None;
                }
                self.end(since)
            }
        }
    }

    /// A window that began at `begin` holds speech.
    fn voiced(&mut self, begin: CallTime, speech: f32) -> Option<VadEvent> {
        let now = self.now();
        let (mut segment, candidate, fresh) = match self.state {
            State::Idle => (Segment { start: begin, quiet: None, voiced: 0, total: 0.0 }, true, true),
            State::Candidate(segment) => (segment, true, false),
            State::Speech(segment) => (segment, false, false),
        };
        segment.quiet = None;
        self.last_quiet = false;
        segment.voiced = segment.voiced.saturating_add(1);
        segment.total += speech;
        if candidate && now.since(segment.start) < self.settings.speech_padding {
            self.state = State::Candidate(segment);
            return fresh.then_some(VadEvent::Onset { start: segment.start, confidence: speech });
        }
        self.state = State::Speech(segment);
        let confidence = segment.total / segment.voiced as f32;
        candidate.then_some(VadEvent::Speaking { start: segment.start, confidence })
    }

    /// Closes the open segment, whose last speech was before `end`.
    fn end(&mut self, end: CallTime) -> Option<VadEvent> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => None,
            State::Candidate(segment) => Some(VadEvent::Dismissed { start: segment.start }),
            State::Speech(segment) => {
                self.be_quiet(end);
                Some(VadEvent::Silence { start: segment.start, duration: end.since(segment.start) })
            }
        }
    }

    fn be_quiet(&mut self, since: CallTime) {
        self.quiet_since = since;
        self.quiet_due =
            self.settings.silence_timeout.filter(|span| !span.is_zero()).map(|span| since + span);
    }

    /// Reports a silence timeout that has passed; timeouts that passed at once, in a long gap, are one.
    fn quiet_tick(&mut self) -> Option<VadEvent> {
        let now = self.now();
        let due = self.quiet_due.filter(|due| *due <= now)?;
        let span = self.settings.silence_timeout?;
        let missed = now.since(due).as_nanos().checked_div(span.as_nanos())?;
        let missed = u32::try_from(missed).unwrap_or(u32::MAX);
        self.quiet_due = Some(due + span.saturating_mul(missed.saturating_add(1)));
        Some(VadEvent::Quiet { since: self.quiet_since, duration: now.since(self.quiet_since) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Windows of 32 ms.
    const WINDOW: usize = 512;
    const RATE: u32 = 16_000;

    fn vad(settings: VadSettings) -> Vad {
        Vad::new(settings, RATE, WINDOW, CallTime::ZERO)
    }

    /// One window per letter: `#` speech, `-` neither, `.` silence. One line per event.
    fn script(vad: &mut Vad, windows: &str) -> Vec<String> {
        let score = |letter| match letter {
            '#' => 0.9,
            '-' => 0.4,
            _ => 0.1,
        };
        windows.chars().filter_map(|letter| vad.scored(score(letter)).map(text)).collect()
    }

    fn text(event: VadEvent) -> String {
        match event {
            VadEvent::Onset { start, .. } => format!("onset {}", start.as_ms()),
            VadEvent::Dismissed { start } => format!("dismissed {}", start.as_ms()),
            VadEvent::Speaking { start, confidence } => {
                format!("speaking {} ({confidence:.2})", start.as_ms())
            }
            VadEvent::Silence { start, duration } => {
                format!("silence {} +{}", start.as_ms(), duration.as_millis())
            }
            VadEvent::Quiet { since, duration } => {
                format!("quiet {} +{}", since.as_ms(), duration.as_millis())
            }
        }
    }

    #[test]
    fn speech_is_reported_after_its_padding_and_ends_after_that_of_silence() {
        let events = script(&mut vad(VadSettings::default()), "..##########....");
        assert_eq!(events, ["onset 64", "speaking 64 (0.90)", "silence 64 +320"]);
    }

    #[test]
    fn speech_is_known_with_the_window_that_completes_its_padding() {
        let mut vad = vad(VadSettings::default());
        assert_eq!(script(&mut vad, "#######"), ["onset 0"]);
        assert!(!vad.speaking());
        assert_eq!(script(&mut vad, "#"), ["speaking 0 (0.90)"]);
        assert!(vad.speaking());
    }

    #[test]
    fn silence_is_known_with_the_window_that_completes_its_padding() {
        let mut vad = vad(VadSettings::default());
        assert_eq!(script(&mut vad, "##########...").len(), 2);
        assert_eq!(vad.now(), CallTime::ms(13 * 32));
        assert_eq!(script(&mut vad, "."), ["silence 0 +320"]);
    }

    #[test]
    fn a_click_is_dismissed() {
        assert_eq!(script(&mut vad(VadSettings::default()), ".#......"), ["onset 32", "dismissed 32"]);
    }

    #[test]
    fn a_short_pause_does_not_end_speech() {
        let events = script(&mut vad(VadSettings::default()), "########...####...##....");
        assert_eq!(events, ["onset 0", "speaking 0 (0.90)", "silence 0 +640"]);
    }

    #[test]
    fn a_score_between_the_thresholds_neither_ends_speech_nor_begins_it() {
        assert_eq!(script(&mut vad(VadSettings::default()), "---------"), [""; 0]);
        let events = script(&mut vad(VadSettings::default()), "########---------....");
        assert_eq!(events, ["onset 0", "speaking 0 (0.90)", "silence 0 +544"]);
    }

    #[test]
    fn a_padding_of_zero_reports_speech_at_once() {
        let settings = VadSettings {
            speech_padding: Duration::ZERO,
            silence_padding: Duration::ZERO,
            ..VadSettings::default()
        };
        assert_eq!(script(&mut vad(settings), "#."), ["speaking 0 (0.90)", "silence 0 +32"]);
    }

    #[test]
    fn silence_stays_reachable_with_the_lowest_threshold() {
        let mut vad = vad(VadSettings { voice_threshold: 0.0, ..VadSettings::default() });
        let ends = |event: Option<VadEvent>| matches!(event, Some(VadEvent::Silence { .. }));
        assert!((0..20).all(|_| !ends(vad.scored(0.005))), "every score is speech");
        let mut vad = self::vad(VadSettings { voice_threshold: 0.1, ..VadSettings::default() });
        script(&mut vad, "##########");
        assert!((0..5).any(|_| ends(vad.scored(0.005))));
    }

    #[test]
    fn quiet_repeats_while_nobody_speaks_and_starts_anew_after_speech() {
        let timeout = Some(Duration::from_millis(320));
        let mut vad = vad(VadSettings { silence_timeout: timeout, ..VadSettings::default() });
        assert_eq!(script(&mut vad, &".".repeat(20)), ["quiet 0 +320", "quiet 0 +640"]);
        assert_eq!(script(&mut vad, "##########....").last().unwrap(), "silence 640 +320");
        assert_eq!(script(&mut vad, "......"), ["quiet 960 +320"]);
    }

    /// Frames of 20 ms: speech for 350 ms, then nothing, while windows of 32 ms score high until `remembered`. The frame
    /// in which the end of speech is told, and how it is.
    fn broken_off(silence_padding: Duration, remembered: u64) -> (u64, String) {
        let mut vad = vad(VadSettings { silence_padding, ..VadSettings::default() });
        let mut events = Vec::new();
        for frame in 0..60_u64 {
            let loud = frame * 20 < 350;
            events.extend(vad.level(if loud { 1e6 } else { 10.0 }, 320).map(|e| (frame, text(e))));
            while vad.now() + Duration::from_millis(32) <= CallTime::ms((frame + 1) * 20) {
                let score = if vad.now().as_ms() < remembered { 0.9 } else { 0.01 };
                events.extend(vad.scored(score).map(|e| (frame, text(e))));
            }
        }
        events.into_iter().find(|(_, event)| event.starts_with("silence")).unwrap()
    }

    #[test]
    fn the_level_tells_when_silence_began_and_counts_it_in_frames() {
        assert_eq!(broken_off(Duration::from_millis(100), 384), (22, "silence 0 +360".to_owned()));
    }

    #[test]
    fn a_score_that_remembers_speech_for_long_does_not_lengthen_a_long_padding() {
        for remembered in [384, 416, 448, 480] {
            let told = broken_off(Duration::from_millis(300), remembered);
            assert_eq!(told, (32, "silence 0 +360".to_owned()), "{remembered}");
        }
        let (_, short) = broken_off(Duration::from_millis(100), 480);
        assert_eq!(short, "silence 0 +416", "a pause of 100 ms is not made of what scored as speech");
    }

    #[test]
    fn missing_sound_counts_as_silence_of_its_length() {
        let mut vad = vad(VadSettings::default());
        script(&mut vad, "##########");
        assert_eq!(vad.skip(320), None);
        assert_eq!(vad.skip(16_000).map(text).unwrap(), "silence 0 +320");
        assert_eq!(vad.now(), CallTime::ms(1340));
    }

    #[test]
    fn a_long_gap_is_one_quiet() {
        let timeout = Some(Duration::from_millis(100));
        let mut vad = vad(VadSettings { silence_timeout: timeout, ..VadSettings::default() });
        assert_eq!(vad.skip(16_000).map(text).unwrap(), "quiet 0 +1000");
        assert_eq!(vad.skip(160), None);
        assert_eq!(vad.skip(1_440).map(text).unwrap(), "quiet 0 +1100");
    }

    #[test]
    fn closing_ends_what_is_open_at_its_last_speech() {
        let mut vad = vad(VadSettings::default());
        assert_eq!(vad.close(), None);
        script(&mut vad, "##########..");
        assert_eq!(vad.close().map(text).unwrap(), "silence 0 +320");
        assert_eq!(vad.close(), None);
        script(&mut vad, "#");
        assert_eq!(vad.close().map(text).unwrap(), "dismissed 384");
    }

    #[test]
    fn a_reset_goes_on_at_the_time_it_is_given() {
        let mut vad = vad(VadSettings::default());
        script(&mut vad, "####");
        vad.reset(8_000, 256, CallTime::ms(5_000));
        assert_eq!(script(&mut vad, ".#"), ["onset 5032"]);
    }

    proptest! {
        /// Onset, then dismissal or speech, then silence; times never run backwards.
        #[test]
        fn events_come_in_their_order(
            scores in prop::collection::vec(prop_oneof![Just(f32::NAN), 0.0_f32..1.0], 0..400),
            skips in prop::collection::vec(0_u64..4_000, 1..8),
        ) {
            let timeout = Some(Duration::from_millis(200));
            let mut vad = vad(VadSettings { silence_timeout: timeout, ..VadSettings::default() });
            let mut last = "silence";
            let mut time = CallTime::ZERO;
            let mut check = |event: VadEvent| {
                let (name, allowed, start): (_, &[&str], _) = match event {
                    VadEvent::Onset { start, .. } => ("onset", &["silence", "dismissed"], start),
                    VadEvent::Dismissed { start } => ("dismissed", &["onset"], start),
                    VadEvent::Speaking { start, .. } => ("speaking", &["onset"], start),
                    VadEvent::Silence { start, .. } => ("silence", &["speaking"], start),
                    VadEvent::Quiet { since, .. } => (last, &["silence", "dismissed"], since),
                };
                assert!(allowed.contains(&last), "{event:?} after {last}");
                if !matches!(event, VadEvent::Quiet { .. }) {
                    assert!(start >= time);
                    time = start;
                }
                last = name;
            };
            for (index, score) in scores.into_iter().enumerate() {
                let event = match index % 29 {
                    0 => vad.skip(skips[index / 29 % skips.len()]),
                    _ => vad.scored(score),
                };
                if let Some(event) = event {
                    check(event);
                }
            }
            vad.close().into_iter().for_each(check);
            prop_assert!(!vad.speaking());
        }
    }
}
