//! What the agent says: a queue of utterances, each with what was played of it.

use std::collections::VecDeque;
use std::time::Duration;

use audio::mix::Gain;
use audio::{Frame, Resampler, prefetch};
use protocol::CallTime;

use crate::media::order::{FromMedia, UtteranceId};

/// Less sound than this left of an unfinished utterance asks for more.
const LOW: Duration = Duration::from_millis(1500);
/// After running dry, so much is gathered before sound goes on, so that it does not stutter.
const REFILL: Duration = Duration::from_millis(60);
/// Longest sound of one utterance that is held. A synthesizer that sends more is not read (the rules stop at
/// five seconds); this bounds models that speak themselves, whose sound cannot be left unread since the same
/// connection tells that the caller speaks. The sound that does not fit, and all behind it, is dropped and told.
const LONGEST: Duration = Duration::from_secs(60);
/// The way down to the level under the caller's speech: half a frame, so that the voice is down at its end and yet
/// does not click.
const DOWN: Duration = Duration::from_millis(10);
/// The way back: a voice that jumps up startles whoever has just said "mm-hm".
const BACK: Duration = Duration::from_millis(120);
/// A fade may last so much longer than it was asked for, when a word ends there. What follows it is half said
/// anyway, and the caller who speaks up must not be kept waiting for more.
const WORD_REACH: Duration = Duration::from_millis(200);
/// Ends of words known of one utterance; more are not looked for.
const MOST_WORDS: usize = 8192;
/// Utterances that may wait; more are refused.
const MOST: usize = 64;

/// The queue of one call, at the rate of its media.
pub(crate) struct Speaking {
    rate: u32,
    queue: VecDeque<Utterance>,
    /// Utterances before this id are no longer wanted.
    below: UtteranceId,
    paused: bool,
    /// The utterance that must not begin yet.
    held_back: Option<UtteranceId>,
    /// Loudness of what is said now.
    gain: Gain,
    stopping: Option<Stopping>,
    events: Vec<FromMedia>,
}

/// What plays fades out, and what is before `below` ends with it.
#[derive(Clone, Copy)]
struct Stopping {
    below: UtteranceId,
    barged: bool,
}

struct Utterance {
    id: UtteranceId,
    sound: VecDeque<i16>,
    resampler: Option<(u32, Resampler)>,
    received: u64,
    played: u64,
    started: bool,
    ended: bool,
    /// Ran dry: waits for [`REFILL`].
    dry: bool,
    /// More was asked for since the last sound came.
    asked: bool,
    /// Sound of it was dropped: what comes behind would follow a gap.
    full: bool,
    /// Samples up to the ends of its words that are not played yet, in order.
    word_ends: Vec<u64>,
}

impl Speaking {
    pub(crate) fn new(rate: u32) -> Self {
        Speaking {
            rate,
            queue: VecDeque::new(),
            below: UtteranceId(0),
            paused: false,
            held_back: None,
            gain: Gain::new(1.0),
            stopping: None,
            events: Vec::new(),
        }
    }

    /// Asks for the memory of the next tick: `depth` 0 of the utterances, 1 of the sound of the first.
    pub(crate) fn prefetch(&self, depth: usize) {
        match (depth, self.queue.front()) {
            (0, Some(front)) => prefetch(front),
            (1, Some(front)) => {
                let (sound, _) = front.sound.as_slices();
                prefetch(&sound[..sound.len().min(Frame::len_at(self.rate))]);
            }
            _ => {}
        }
    }

    /// Adds sound to an utterance. Sound of utterances that are no longer wanted is dropped.
    pub(crate) fn push(&mut self, id: UtteranceId, rate: u32, samples: &[i16]) {
        let (own_rate, longest) = (self.rate, self.samples(LONGEST));
        let Some(utterance) = self.entry(id).filter(|utterance| !utterance.full) else { return };
        if utterance.resampler.as_ref().is_none_or(|(from, _)| *from != rate) {
            utterance.resampler = Some((rate, Resampler::new(rate, own_rate)));
        }
        let mut converted = Vec::new();
        let samples = match &mut utterance.resampler {
            Some((_, resampler)) if !resampler.copies() => {
                converted.reserve_exact(samples.len() * own_rate as usize / rate.max(1) as usize + 8);
                resampler.process(samples, &mut converted);
                &converted
            }
            _ => samples,
        };
        let room = longest.saturating_sub(utterance.sound.len());
        let full = samples.len() > room;
        let samples = &samples[..room.min(samples.len())];
        utterance.full = full;
        utterance.received += samples.len() as u64;
        utterance.asked = false;
        utterance.ended = false;
        let sound = &mut utterance.sound;
        if sound.capacity() - sound.len() < samples.len() {
            // A second at a time: doubling would hold twice of what plays, for every call.
            sound.reserve_exact(samples.len().max(own_rate as usize));
        }
        sound.extend(samples);
        if full {
            self.events.push(FromMedia::Full(id));
        }
    }

    /// Words of an utterance end at these positions.
    pub(crate) fn words_end(&mut self, id: UtteranceId, ends: &[Duration]) {
        let ends: Vec<u64> = ends.iter().map(|end| self.samples(*end) as u64).collect();
        let Some(utterance) = self.queue.iter_mut().find(|utterance| utterance.id == id) else { return };
        let known = &mut utterance.word_ends;
        known.extend(ends);
        known.retain(|end| *end > utterance.played);
        known.sort_unstable();
        known.dedup();
        known.truncate(MOST_WORDS);
    }

    /// No more sound comes for an utterance. One that had none ends at its turn.
    pub(crate) fn end(&mut self, id: UtteranceId) {
        if let Some(utterance) = self.entry(id) {
            utterance.ended = true;
        }
    }

    /// Drops every utterance before `below`; the one that plays fades out over `fade`, or until a word ends near then.
    pub(crate) fn interrupt(&mut self, below: UtteranceId, fade: Duration, barged: bool) {
        let playing = self.queue.front().is_some_and(|u| u.started && u.id < below);
        if fade.is_zero() || !playing || self.paused {
            return self.drop_below(below, barged);
        }
        self.below = self.below.max(below);
        match &mut self.stopping {
            Some(stopping) => stopping.below = stopping.below.max(below),
            None => {
                self.gain.fade_to(0.0, self.to_word_end(fade), self.rate);
                self.stopping = Some(Stopping { below, barged });
            }
        }
    }

    /// The fade that ends where a word of what plays ends: the one nearest to the end of `fade`, not before half of it
    /// and at most [`WORD_REACH`] behind it. Without such a word `fade` itself.
    fn to_word_end(&self, fade: Duration) -> Duration {
        let Some(front) = self.queue.front() else { return fade };
        let length = |span| self.samples(span) as u64;
        let wanted = front.played + length(fade);
        let within = front.played + length(fade / 2)..=wanted + length(WORD_REACH);
        let near = front.word_ends.iter().filter(|end| within.contains(end));
        let nearest = near.min_by_key(|end| end.abs_diff(wanted));
        nearest.map_or(fade, |end| self.span(end - front.played))
    }

    /// Lowers the voice to `level`, as long as nothing stops it.
    pub(crate) fn duck(&mut self, level: f32) {
        if self.stopping.is_none() && self.gain.goal() != level {
            self.gain.fade_to(level, DOWN, self.rate);
        }
    }

    /// Brings a lowered voice back.
    pub(crate) fn unduck(&mut self) {
        if self.stopping.is_none() && self.gain.goal() != 1.0 {
            self.gain.fade_to(1.0, BACK, self.rate);
        }
    }

    /// Ends an utterance at `at` and drops all later ones. What has already gone out stays out.
    pub(crate) fn cut(&mut self, id: UtteranceId, at: Duration) {
        let keep = (self.samples(at)) as u64;
        let Some(index) = self.queue.iter().position(|u| u.id == id) else { return };
        while self.queue.len() > index + 1 {
            if let Some(dropped) = self.queue.pop_back() {
                self.events.push(self.stopped(&dropped, false));
            }
        }
        if let Some(utterance) = self.queue.back_mut() {
            let left = keep.saturating_sub(utterance.played) as usize;
            utterance.sound.truncate(left);
            utterance.ended = true;
        }
        self.below = self.below.max(UtteranceId(id.0));
    }

    pub(crate) fn pause(&mut self, on: bool) {
        self.paused = on;
    }

    /// The first id behind everything that waits: dropping all before it empties the queue.
    pub(crate) fn end_of_queue(&self) -> UtteranceId {
        self.queue.back().map_or(self.below, |last| UtteranceId(last.id.0 + 1))
    }

    /// Keeps an utterance from beginning, or none any more. One that has begun goes on.
    pub(crate) fn hold_back(&mut self, id: Option<UtteranceId>) {
        self.held_back = id;
    }

    /// The utterance whose sound is to go out next, if it has not begun.
    pub(crate) fn next(&self) -> Option<UtteranceId> {
        self.queue.front().filter(|front| !front.started && !front.sound.is_empty()).map(|front| front.id)
    }

    /// What plays now, with how much of it has been played.
    pub(crate) fn playing(&self) -> Option<(UtteranceId, Duration)> {
        let front = self.queue.front().filter(|u| u.started && self.stopping.is_none())?;
        Some((front.id, self.span(front.played)))
    }

    /// Fills `frame` with the next sound; `true` when there is any. The rest of the frame stays as it was.
    pub(crate) fn fill(&mut self, now: CallTime, frame: &mut [i16]) -> bool {
        if self.paused {
            return false;
        }
        let mut filled = 0;
        while filled < frame.len() {
            match self.draw(now, &mut frame[filled..]) {
                Some(0) | None => break,
                Some(count) => filled += count,
            }
        }
        // A fade whose sound has run dry waits for nothing more.
        if let Some(Stopping { below, barged }) = self.stopping.filter(|_| filled == 0 || self.gain.settled())
        {
            self.drop_below(below, barged);
        }
        filled > 0
    }

    pub(crate) fn poll(&mut self) -> Option<FromMedia> {
        (!self.events.is_empty()).then(|| self.events.remove(0))
    }

    /// Moves sound of the first utterance out; `None` when the queue has nothing to give now.
    fn draw(&mut self, now: CallTime, out: &mut [i16]) -> Option<usize> {
        let (refill, low) = (self.samples(REFILL), self.samples(LOW));
        let front = self.queue.front_mut()?;
        if !front.started && self.held_back == Some(front.id) {
            return None;
        }
        if front.dry && !front.ended && front.sound.len() < refill {
            return None;
        }
        front.dry = false;
        if front.sound.is_empty() {
            if !front.ended {
                front.dry = front.started;
                return None;
            }
            return self.finish().then_some(0).or_else(|| self.draw(now, out));
        }
        // A whole frame or, at the end, what is left: an unfinished utterance does not send part of a frame.
        if front.sound.len() < out.len() && !front.ended {
            front.dry = front.started;
            return None;
        }
        let count = out.len().min(front.sound.len());
        super::take(&mut front.sound, &mut out[..count]);
        self.gain.apply(&mut out[..count]);
        if !front.started {
            front.started = true;
            self.events.push(FromMedia::Started(front.id, now));
        }
        front.played += count as u64;
        if !front.ended && !front.asked && front.sound.len() < low {
            front.asked = true;
            self.events.push(FromMedia::Low(front.id));
        }
        if front.ended && front.sound.is_empty() {
            self.finish();
        }
        Some(count)
    }

    /// Takes the first utterance off as played; answers whether the queue is now empty.
    fn finish(&mut self) -> bool {
        if let Some(done) = self.queue.pop_front() {
            self.below = self.below.max(UtteranceId(done.id.0 + 1));
            self.events.push(match self.stopping {
                Some(stopping) if done.id < stopping.below => self.stopped(&done, stopping.barged),
                _ => FromMedia::Ended(done.id, self.span(done.played)),
            });
        }
        if let Some(stopping) = self.stopping
            && self.queue.front().is_none_or(|next| next.id >= stopping.below)
        {
            // It was over before it was silent; what is still wanted begins as loud as ever.
            self.loud();
        }
        self.queue.is_empty()
    }

    fn loud(&mut self) {
        self.stopping = None;
        self.gain = Gain::new(1.0);
    }

    fn drop_below(&mut self, below: UtteranceId, barged: bool) {
        self.below = self.below.max(below);
        while self.queue.front().is_some_and(|u| u.id < below) {
            if let Some(dropped) = self.queue.pop_front() {
                self.events.push(self.stopped(&dropped, barged));
            }
        }
        self.loud();
    }

    fn stopped(&self, utterance: &Utterance, barged: bool) -> FromMedia {
        FromMedia::Stopped {
            utterance: utterance.id,
            played: self.span(utterance.played),
            total: self.span(utterance.received),
            barged,
        }
    }

    /// The utterance of this id, made at the end of the queue if it is new and wanted.
    fn entry(&mut self, id: UtteranceId) -> Option<&mut Utterance> {
        if id < self.below {
            return None;
        }
        if let Some(index) = self.queue.iter().position(|u| u.id == id) {
            return self.queue.get_mut(index);
        }
        if self.queue.len() >= MOST || self.queue.back().is_some_and(|u| u.id > id) {
            return None;
        }
        self.queue.push_back(Utterance {
            id,
            sound: VecDeque::new(),
            resampler: None,
            received: 0,
            played: 0,
            started: false,
            ended: false,
            dry: false,
            asked: false,
            full: false,
            word_ends: Vec::new(),
        });
        self.queue.back_mut()
    }

    fn samples(&self, span: Duration) -> usize {
        (span.as_micros() * u128::from(self.rate) / 1_000_000) as usize
    }

    fn span(&self, samples: u64) -> Duration {
        Duration::from_micros(samples * 1_000_000 / u64::from(self.rate.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: UtteranceId = UtteranceId(1);
    const B: UtteranceId = UtteranceId(2);

    fn tick(speaking: &mut Speaking) -> ([i16; 160], bool, Vec<FromMedia>) {
        let mut frame = [0; 160];
        let any = speaking.fill(CallTime::ZERO, &mut frame);
        (frame, any, std::iter::from_fn(|| speaking.poll()).collect())
    }

    #[test]
    fn two_utterances_play_without_a_gap_and_each_ends_once() {
        let mut speaking = Speaking::new(8000);
        speaking.push(A, 8000, &[5; 200]);
        speaking.end(A);
        speaking.push(B, 8000, &[7; 120]);
        speaking.end(B);
        let (frame, any, events) = tick(&mut speaking);
        assert!(any && frame.iter().all(|s| *s == 5));
        assert_eq!(events, [FromMedia::Started(A, CallTime::ZERO)]);
        let (frame, _, events) = tick(&mut speaking);
        assert_eq!((frame[39], frame[40], frame[159]), (5, 7, 7));
        assert_eq!(
            events,
            [
                FromMedia::Ended(A, Duration::from_millis(25)),
                FromMedia::Started(B, CallTime::ZERO),
                FromMedia::Ended(B, Duration::from_millis(15))
            ]
        );
        assert!(!tick(&mut speaking).1);
    }

    #[test]
    fn an_interruption_silences_the_next_frame_and_tells_what_was_played() {
        let mut speaking = Speaking::new(8000);
        speaking.push(A, 8000, &[5; 1600]);
        speaking.push(B, 8000, &[5; 1600]);
        tick(&mut speaking);
        speaking.interrupt(UtteranceId(3), Duration::ZERO, false);
        let (_, any, events) = tick(&mut speaking);
        assert!(!any);
        let stopped = |utterance, played| FromMedia::Stopped {
            utterance,
            played: Duration::from_millis(played),
            total: Duration::from_millis(200),
            barged: false,
        };
        assert_eq!(events, [stopped(A, 20), stopped(B, 0)]);
        speaking.push(A, 8000, &[5; 1600]);
        assert!(!tick(&mut speaking).1, "sound of a dropped utterance comes too late");
    }

    #[test]
    fn a_fade_ends_in_silence_and_lets_later_utterances_play() {
        let mut speaking = Speaking::new(8000);
        speaking.push(A, 8000, &[1000; 1600]);
        tick(&mut speaking);
        speaking.interrupt(B, Duration::from_millis(40), true);
        let first = tick(&mut speaking).0;
        assert!(first[0] > 900 && first[159] < 600);
        let (second, _, mut events) = tick(&mut speaking);
        assert!(second[159] < 20);
        events.extend(tick(&mut speaking).2);
        assert!(matches!(events[0], FromMedia::Stopped { utterance: A, barged: true, .. }));
        speaking.push(B, 8000, &[7; 160]);
        assert!(tick(&mut speaking).1);
    }

    #[test]
    fn a_slow_synthesizer_is_waited_for_until_there_is_enough_to_go_on() {
        let mut speaking = Speaking::new(8000);
        speaking.push(A, 8000, &[5; 160]);
        assert!(tick(&mut speaking).1);
        assert!(!tick(&mut speaking).1);
        speaking.push(A, 8000, &[5; 320]);
        assert!(!tick(&mut speaking).1, "40 ms are not enough after running dry");
        speaking.push(A, 8000, &[5; 160]);
        assert!(tick(&mut speaking).1);
    }

    #[test]
    fn a_cut_ends_the_utterance_at_its_new_length() {
        let mut speaking = Speaking::new(8000);
        speaking.push(A, 8000, &[5; 1600]);
        speaking.push(B, 8000, &[5; 1600]);
        tick(&mut speaking);
        speaking.cut(A, Duration::from_millis(40));
        let events = tick(&mut speaking).2;
        assert!(events.contains(&FromMedia::Ended(A, Duration::from_millis(40))));
        assert!(!tick(&mut speaking).1);
    }

    #[test]
    fn a_pause_holds_the_position() {
        let mut speaking = Speaking::new(8000);
        speaking.push(A, 8000, &[5; 1600]);
        tick(&mut speaking);
        speaking.pause(true);
        assert!(!tick(&mut speaking).1);
        assert_eq!(speaking.playing(), Some((A, Duration::from_millis(20))));
        speaking.pause(false);
        assert!(tick(&mut speaking).1);
    }

    /// Frames until a fade of 100 ms, begun after 20 ms, is over, where words end at `ends`; and what was played.
    fn faded(ends: &[u64]) -> (usize, Duration) {
        let mut speaking = Speaking::new(8000);
        speaking.push(A, 8000, &[10_000; 8000]);
        speaking.words_end(A, &ends.iter().map(|ms| Duration::from_millis(*ms)).collect::<Vec<_>>());
        tick(&mut speaking);
        speaking.interrupt(B, Duration::from_millis(100), true);
        for frames in 1.. {
            if let Some(FromMedia::Stopped { played, .. }) = tick(&mut speaking).2.first() {
                return (frames, *played);
            }
            assert!(frames < 50, "the fade ends");
        }
        unreachable!()
    }

    #[test]
    fn a_fade_ends_with_the_word_that_ends_nearest_to_its_end() {
        let ms = Duration::from_millis;
        assert_eq!(faded(&[]), (5, ms(120)));
        assert_eq!(faded(&[10, 90, 200, 400]), (4, ms(100)), "the frame in which the word ends is the last");
        assert_eq!(faded(&[60, 260]), (12, ms(260)), "60 ms are less than half the fade");
        assert_eq!(faded(&[40, 330]), (5, ms(120)), "no word ends near: as it was asked for");
    }

    #[test]
    fn ends_of_words_are_bounded_and_forgotten_when_they_are_played() {
        let mut speaking = Speaking::new(8000);
        speaking.words_end(A, &[Duration::from_secs(1)]);
        speaking.push(A, 8000, &[1; 800]);
        speaking.words_end(A, &vec![Duration::MAX; 2 * MOST_WORDS]);
        speaking.words_end(A, &(0..20_000).map(Duration::from_millis).collect::<Vec<_>>());
        let known = |speaking: &Speaking| speaking.queue[0].word_ends.len();
        assert_eq!(known(&speaking), MOST_WORDS);
        tick(&mut speaking);
        speaking.words_end(A, &[]);
        assert_eq!(known(&speaking), MOST_WORDS - 20);
    }

    #[test]
    fn sound_beyond_a_minute_is_dropped_from_there_on_and_told_once() {
        let mut speaking = Speaking::new(8000);
        for _ in 0..4 {
            speaking.push(A, 8000, &vec![5; 8000 * 25]);
        }
        let (_, _, events) = tick(&mut speaking);
        assert_eq!(events, [FromMedia::Full(A), FromMedia::Started(A, CallTime::ZERO)]);
        speaking.push(A, 8000, &[7; 160]);
        speaking.end(A);
        let mut last = Vec::new();
        while last.is_empty() {
            let (frame, _, events) = tick(&mut speaking);
            assert!(frame.iter().all(|sample| *sample == 5), "what follows a gap is not played");
            last = events;
        }
        assert_eq!(last, [FromMedia::Ended(A, LONGEST)]);
    }

    /// The largest step from one sample to the next.
    fn steepest(sound: &[i16]) -> u16 {
        sound.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap_or(0)
    }

    #[test]
    fn a_lowered_voice_is_down_within_a_frame_goes_on_and_comes_back_without_a_click() {
        let mut speaking = Speaking::new(8000);
        speaking.push(A, 8000, &[10_000; 8000]);
        let mut sound = tick(&mut speaking).0.to_vec();
        speaking.duck(0.2);
        sound.extend(tick(&mut speaking).0);
        assert_eq!(sound[319], 2_000);
        sound.extend(tick(&mut speaking).0);
        speaking.unduck();
        for _ in 0..7 {
            sound.extend(tick(&mut speaking).0);
        }
        assert_eq!(*sound.last().unwrap(), 10_000);
        assert!(steepest(&sound) <= 101, "{}", steepest(&sound));
        assert_eq!(speaking.playing(), Some((A, Duration::from_millis(200))));
    }

    #[test]
    fn a_lowered_voice_that_is_stopped_fades_out_from_where_it_is_and_the_next_is_loud() {
        let mut speaking = Speaking::new(8000);
        speaking.push(A, 8000, &[10_000; 8000]);
        speaking.duck(0.2);
        tick(&mut speaking);
        speaking.interrupt(B, Duration::from_millis(40), true);
        speaking.duck(0.9);
        speaking.unduck();
        let (first, _, _) = tick(&mut speaking);
        let (second, _, events) = tick(&mut speaking);
        assert!(first[0] == 2_000 && first[159] > 900 && second[159] < 20);
        assert!(steepest(&[first, second].concat()) <= 7);
        let played = Duration::from_millis(60);
        assert!(matches!(events[..], [FromMedia::Stopped { utterance: A, played: p, .. }] if p == played));
        speaking.push(B, 8000, &[7_000; 160]);
        assert_eq!(tick(&mut speaking).0, [7_000; 160]);
    }

    #[test]
    fn what_follows_a_voice_that_ends_while_it_fades_is_loud() {
        let mut speaking = Speaking::new(8000);
        speaking.push(A, 8000, &[10_000; 240]);
        speaking.end(A);
        speaking.push(B, 8000, &[7_000; 320]);
        tick(&mut speaking);
        speaking.interrupt(B, Duration::from_millis(100), false);
        let (sound, _, events) = tick(&mut speaking);
        assert!(sound[79] < 9_100 && sound[80..] == [7_000; 80]);
        assert!(matches!(events[0], FromMedia::Stopped { utterance: A, barged: false, .. }));
    }
}
