//! The sound of a WebSocket leg: bare codec bytes in messages of any length.

use std::collections::VecDeque;
use std::time::Duration;

use audio::{Codec, Decoder, Encoder, Resampler};

/// Seconds of sound that are held at most. A client that sends faster loses the oldest, and is told.
pub(crate) const MOST_HELD_S: usize = 3;
/// The same in frames of 20 ms.
const MOST_FRAMES: usize = MOST_HELD_S * 50;
/// A burst is over, and what it lost is told, after so many frames in which nothing more was lost.
const CALM_FRAMES: u32 = 25;
/// With more frames than this waiting, beside one message, those that are silent are left out.
const LATE_FRAMES: usize = 5;
/// A frame whose peak is below this is silence.
const QUIET_PEAK: u16 = 100;
/// Frames that pass before sound in messages of no whole frames is heard: between two of them there is less than a frame
/// at times, and what else would be cut off there are holes in every word.
const UNEVEN_FRAMES: u32 = 2;
/// A client is on time until so many frames after the next message was due. Then a rest of less than a frame is heard.
const PATIENCE_FRAMES: usize = 3;
/// After so many frames without a message the next one begins anew.
const SILENT_FRAMES: usize = 25;

/// One WebSocket leg.
pub(crate) struct RawLeg {
    decoder: Box<dyn Decoder>,
    resampler_in: Resampler,
    /// A byte that belongs to a sample whose other half has not come.
    odd: Option<u8>,
    wide: bool,
    heard: VecDeque<i16>,
    flowing: bool,
    pace: Pace,
    frame_len: usize,
    /// Samples of 20 ms as they come.
    frame_in: usize,
    encoder: Box<dyn Encoder>,
    resampler_out: Resampler,
    scratch: Vec<i16>,
    /// Samples that the present burst has lost.
    dropped: usize,
    /// Frames since it has lost some.
    calm: u32,
}

/// How a client has sent since it began to.
#[derive(Debug, Default)]
struct Pace {
    /// Samples of its longest message.
    longest: usize,
    /// A message was no whole number of frames.
    uneven: bool,
    /// Frames for which it was waited though there was sound.
    waited: u32,
    /// Its sound was heard.
    begun: bool,
    /// Frames since its last message.
    idle: usize,
}

impl RawLeg {
    /// A leg for media at `rate` Hz.
    pub(crate) fn new(heard: &'static Codec, sent: &'static Codec, rate: u32) -> Self {
        RawLeg {
            decoder: (heard.decoder)(),
            resampler_in: Resampler::new(heard.rate, rate),
            odd: None,
            wide: heard.name.eq_ignore_ascii_case("pcm"),
            heard: VecDeque::new(),
            flowing: false,
            pace: Pace::default(),
            frame_in: audio::Frame::len_at(heard.rate),
            frame_len: audio::Frame::len_at(rate),
            encoder: (sent.encoder)(),
            resampler_out: Resampler::new(rate, sent.rate),
            scratch: Vec::new(),
            dropped: 0,
            calm: 0,
        }
    }

    /// Takes a message in; `true` when it held sound.
    pub(crate) fn receive(&mut self, message: &[u8]) -> bool {
        let mut joined = Vec::new();
        let mut bytes = message;
        if self.wide {
            if let Some(first) = self.odd.take() {
                joined.reserve(message.len() + 1);
                joined.push(first);
                joined.extend_from_slice(message);
                bytes = &joined;
            }
            if bytes.len() % 2 == 1 {
                self.odd = bytes.last().copied();
                bytes = &bytes[..bytes.len() - 1];
            }
        }
        self.scratch.clear();
        self.decoder.decode(bytes, &mut self.scratch);
        let mut converted = Vec::with_capacity(self.scratch.len() * 2);
        self.resampler_in.process(&self.scratch, &mut converted);
        self.pace.idle = 0;
        self.pace.longest = self.pace.longest.max(converted.len());
        self.pace.uneven |= !self.scratch.len().is_multiple_of(self.frame_in);
        self.heard.extend(converted);
        let over = self.heard.len().saturating_sub(MOST_FRAMES * self.frame_len);
        if over > 0 {
            self.heard.drain(..over);
            self.dropped += over;
            self.calm = 0;
        }
        !message.is_empty()
    }

    /// Fills `frame` with the next 20 ms of the client; silence when it sends nothing. Tells how much a burst has lost, once
    /// it is over.
    pub(crate) fn hear(&mut self, frame: &mut [i16]) -> Option<Duration> {
        self.catch_up(frame.len());
        self.flowing |= self.may_begin();
        if self.flowing && self.heard.len() >= frame.len() {
            self.pace.begun = true;
            super::take(&mut self.heard, frame);
        } else {
            // A client that is on time sends the rest of the frame: held back it costs one pause, cut off one each time.
            let late = self.pace.idle > self.pace.longest / self.frame_len + PATIENCE_FRAMES;
            let rest = if late { self.heard.len().min(frame.len()) } else { 0 };
            super::take(&mut self.heard, &mut frame[..rest]);
            frame[rest..].fill(0);
            self.flowing = false;
        }
        self.pace.idle = self.pace.idle.saturating_add(1);
        if self.pace.idle > SILENT_FRAMES && self.heard.is_empty() {
            self.pace = Pace { idle: self.pace.idle, ..Pace::default() };
        }
        self.lost()
    }

    /// Whether there is enough to begin with, or to go on with after a pause.
    fn may_begin(&mut self) -> bool {
        let Pace { longest, uneven, begun, .. } = self.pace;
        let longest = if uneven && !begun { longest.min(MOST_FRAMES * self.frame_len) } else { 0 };
        let enough = self.heard.len() >= longest.max(self.frame_len);
        if enough && uneven && !begun {
            self.pace.waited += 1;
        }
        enough && (!uneven || begun || self.pace.waited > UNEVEN_FRAMES)
    }

    fn lost(&mut self) -> Option<Duration> {
        self.calm = self.calm.saturating_add(1);
        if self.dropped == 0 || self.calm < CALM_FRAMES {
            return None;
        }
        let frames = std::mem::take(&mut self.dropped) as u64 * 20_000 / self.frame_len.max(1) as u64;
        Some(Duration::from_micros(frames))
    }

    /// Gives up delay in silence: what a client sent too early would else be late for the rest of the call.
    fn catch_up(&mut self, frame: usize) {
        let quiet = |sample: &i16| sample.unsigned_abs() < QUIET_PEAK;
        let usual = LATE_FRAMES * frame + self.pace.longest;
        if self.heard.len() > usual && self.heard.iter().take(frame).all(quiet) {
            self.heard.drain(..frame);
        }
    }

    /// The message for 20 ms of sound.
    pub(crate) fn send(&mut self, frame: &[i16]) -> Vec<u8> {
        self.scratch.clear();
        self.resampler_out.process(frame, &mut self.scratch);
        let mut message = Vec::with_capacity(self.scratch.len() * 2);
        self.encoder.encode(&self.scratch, &mut message);
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg() -> RawLeg {
        let pcm = &audio::codec::pcm::PCM_16000;
        RawLeg::new(pcm, pcm, 16_000)
    }

    fn bytes(samples: &[i16]) -> Vec<u8> {
        samples.iter().flat_map(|s| s.to_le_bytes()).collect()
    }

    /// What is heard in `ticks` of a client that sends a piece of `bytes` each time it is as long as has passed, from
    /// `phase` ms before the first tick on.
    fn paced(leg: &mut RawLeg, sizes: &[usize], phase: f64, ticks: u32) -> Vec<i16> {
        let (mut sent, mut due) = (0_usize, -phase);
        let mut heard = Vec::new();
        let mut sizes = sizes.iter().cycle();
        // No sample of it is zero.
        let sound: Vec<u8> = bytes(&(0..160_000).map(|n: i32| (n % 9000 + 1000) as i16).collect::<Vec<_>>());
        for tick in 0..ticks {
            while due <= f64::from(tick) * 20.0 {
                let size = *sizes.next().unwrap();
                leg.receive(&sound[sent..sent + size]);
                sent += size;
                due += size as f64 / 32.0;
            }
            let mut frame = [0; 320];
            leg.hear(&mut frame);
            heard.extend(frame);
        }
        heard
    }

    #[test]
    fn messages_of_any_size_on_time_leave_no_hole() {
        let rows: [&[usize]; 8] =
            [&[640], &[3200], &[1280], &[639], &[100], &[999, 1000, 1001, 1002], &[1000], &[8000, 7]];
        for sizes in rows {
            for phase in [0.0, 0.3, 5.0, 10.0, 19.9] {
                let heard = paced(&mut leg(), sizes, phase, 200);
                let begin = heard.iter().position(|sample| *sample != 0).unwrap();
                assert!(begin <= 320 * (sizes[0] / 640 + 5), "{sizes:?} at {phase}: begins after {begin}");
                assert!(heard[begin..].iter().all(|sample| *sample != 0), "{sizes:?} at {phase}: a hole");
                let step = |pair: &[i16]| pair[1] == pair[0] + 1 || pair[1] == 1000;
                assert!(heard[begin..].windows(2).all(step), "{sizes:?} at {phase}: lost or turned round");
            }
        }
    }

    #[test]
    fn a_rest_of_less_than_a_frame_is_heard_once_nothing_follows() {
        let mut leg = leg();
        leg.receive(&bytes(&[7; 330]));
        let mut heard = Vec::new();
        for _ in 0..10 {
            let mut frame = [0; 320];
            leg.hear(&mut frame);
            heard.extend(frame);
        }
        assert_eq!(heard.iter().filter(|sample| **sample == 7).count(), 330);
    }

    #[test]
    fn what_a_burst_loses_is_told_once_it_is_over() {
        let mut leg = leg();
        let mut frame = [0; 320];
        for _ in 0..2 {
            for _ in 0..200 {
                leg.receive(&bytes(&[2000; 320]));
            }
            assert_eq!(leg.hear(&mut frame), None);
        }
        let told: Vec<Duration> = (0..200).filter_map(|_| leg.hear(&mut frame)).collect();
        assert_eq!(told, [Duration::from_millis(1000 + 4000 - 20)]);
    }

    #[test]
    fn a_client_that_floods_loses_the_oldest_sound() {
        let mut leg = leg();
        for n in 0..200 {
            leg.receive(&bytes(&[n * 150; 320]));
        }
        let mut frame = [0; 320];
        leg.hear(&mut frame);
        assert_eq!(frame[0], 50 * 150);
    }

    #[test]
    fn a_client_that_pauses_is_silent() {
        let mut leg = leg();
        let mut frame = [1; 320];
        leg.hear(&mut frame);
        assert_eq!(frame, [0; 320]);
    }
}
