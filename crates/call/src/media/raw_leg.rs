//! The sound of a WebSocket leg: bare codec bytes in messages of any length.

use std::collections::VecDeque;

use audio::{Codec, Decoder, Encoder, Resampler};

/// Sound that is held at most, in frames of 20 ms. A client that sends faster loses the oldest.
const MOST_FRAMES: usize = 50;
/// With more frames than this waiting, those that are silent are left out.
const LATE_FRAMES: usize = 5;
/// A frame whose peak is below this is silence.
const QUIET_PEAK: u16 = 100;
/// Sound that is gathered before it is heard, in frames, so that an uneven network does not tear it.
const PREFILL_FRAMES: usize = 1;

/// One WebSocket leg.
pub(crate) struct RawLeg {
    decoder: Box<dyn Decoder>,
    resampler_in: Resampler,
    /// A byte that belongs to a sample whose other half has not come.
    odd: Option<u8>,
    wide: bool,
    heard: VecDeque<i16>,
    flowing: bool,
    frame_len: usize,
    encoder: Box<dyn Encoder>,
    resampler_out: Resampler,
    scratch: Vec<i16>,
    dropped: u64,
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
            frame_len: audio::Frame::len_at(rate),
            encoder: (sent.encoder)(),
            resampler_out: Resampler::new(rate, sent.rate),
            scratch: Vec::new(),
            dropped: 0,
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
        self.heard.extend(converted);
        let most = MOST_FRAMES * self.frame_len;
        if self.heard.len() > most {
            let over = self.heard.len() - most;
            self.heard.drain(..over);
            self.dropped += over as u64;
        }
        !message.is_empty()
    }

    /// Fills `frame` with the next 20 ms of the client; silence when it sends nothing.
    pub(crate) fn hear(&mut self, frame: &mut [i16]) {
        if !self.flowing && self.heard.len() >= PREFILL_FRAMES * self.frame_len {
            self.flowing = true;
        }
        self.catch_up(frame.len());
        if !self.flowing || self.heard.len() < frame.len() {
            // The tail of a message shorter than the prefill is heard once nothing more has come.
            let rest = if self.flowing { self.heard.len() } else { 0 };
            let rest = rest.min(frame.len());
            super::take(&mut self.heard, &mut frame[..rest]);
            frame[rest..].fill(0);
            self.flowing = false;
            return;
        }
        super::take(&mut self.heard, frame);
    }

    /// Gives up delay in silence: what a client sent too early would else be late for the rest of the call.
    fn catch_up(&mut self, frame: usize) {
        let quiet = |sample: &i16| sample.unsigned_abs() < QUIET_PEAK;
        if self.heard.len() > LATE_FRAMES * frame && self.heard.iter().take(frame).all(quiet) {
            self.heard.drain(..frame);
        }
    }

    /// Appends the message for 20 ms of sound to `out`.
    pub(crate) fn send(&mut self, frame: &[i16], out: &mut Vec<Vec<u8>>) {
        self.scratch.clear();
        self.resampler_out.process(frame, &mut self.scratch);
        let mut message = Vec::with_capacity(self.scratch.len() * 2);
        self.encoder.encode(&self.scratch, &mut message);
        out.push(message);
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

    #[test]
    fn messages_of_odd_sizes_are_reframed_without_loss() {
        let mut leg = leg();
        let sound: Vec<i16> = (0..960).collect();
        for piece in bytes(&sound).chunks(333) {
            leg.receive(piece);
        }
        let mut heard = Vec::new();
        for _ in 0..3 {
            let mut frame = [0; 320];
            leg.hear(&mut frame);
            heard.extend(frame);
        }
        assert_eq!(heard, sound);
    }

    #[test]
    fn a_client_that_floods_loses_the_oldest_sound() {
        let mut leg = leg();
        for n in 0..100 {
            leg.receive(&bytes(&[n * 200; 320]));
        }
        let mut frame = [0; 320];
        leg.hear(&mut frame);
        assert_eq!(frame[0], 10_000);
    }

    #[test]
    fn a_client_that_pauses_is_silent() {
        let mut leg = leg();
        let mut frame = [1; 320];
        leg.hear(&mut frame);
        assert_eq!(frame, [0; 320]);
    }
}
