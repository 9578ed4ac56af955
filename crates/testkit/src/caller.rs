//! The far end of a simulated call: a voice of real speech, keys, and an ear that knows tones.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use audio::codec::{self, Codec, Decoder, Encoder};
use audio::{Frame, Resampler};
use call::media::order::Way;
use protocol::CallTime;
use rtp::{DigitSender, Digits, Keys, Outgoing, Rtp, Srtp};

use crate::cast::{LOWEST_TONE, PEAK, RATE, TONE_STEP, TONES};

/// Recorded speech, 16 kHz s16le.
const RECORDING: &[u8] = include_bytes!("../../audio/fixtures/silero_16k.s16");
/// The longest stretch of it without a pause, in samples. It is repeated for longer speech.
const SPEECH: std::ops::Range<usize> = 33 * 512..106 * 512;
/// Payload type of digits.
pub(crate) const DIGIT_PAYLOAD: u8 = 101;
/// A frame whose end is quieter than this is silence.
const LOUD: u16 = 300;
/// A tone whose peak is below this has been lowered on its way.
const LOW: u16 = (PEAK * 0.6) as u16;
const FRAME: Duration = Duration::from_millis(20);

/// Where the far end's sound comes from.
pub(crate) const ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), 40_000);

/// `length` of real speech without pauses, at [`RATE`].
pub fn speech(length: Duration) -> Vec<i16> {
    let samples = (length.as_micros() * u128::from(RATE) / 1_000_000) as usize;
    speech_from(0).take(samples).collect()
}

/// Speech without end from sample `start` on.
fn speech_from(start: usize) -> impl Iterator<Item = i16> {
    let sample = |n: usize| i16::from_le_bytes([RECORDING[n * 2], RECORDING[n * 2 + 1]]);
    (start..).map(move |n| sample(SPEECH.start + n % SPEECH.len()))
}

/// Something the caller says.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) from: CallTime,
    pub(crate) to: CallTime,
    pub(crate) text: String,
    /// Where in the recorded speech it begins, in samples.
    pub(crate) place: usize,
}

/// How the far end's sound travels.
pub(crate) enum Line {
    /// Bare codec bytes.
    Raw,
    /// RTP with this payload type.
    Rtp { payload_type: u8, stream: Outgoing, digit: Option<DigitSender> },
}

/// The caller.
pub(crate) struct Caller {
    pub(crate) said: Vec<Said>,
    /// Sends nothing at all: its network is gone.
    pub(crate) dead: bool,
    line: Line,
    /// The key that is pressed as a tone.
    tone: Option<audio::dtmf::Tone>,
    codec: &'static Codec,
    encoder: Box<dyn Encoder>,
    resampler: Resampler,
    ear: Ear,
    srtp: Option<Srtp>,
}

impl Caller {
    pub(crate) fn new(line: Line, codec: &'static Codec) -> Self {
        Caller {
            said: Vec::new(),
            dead: false,
            line,
            tone: None,
            codec,
            encoder: (codec.encoder)(),
            resampler: Resampler::new(RATE, codec.rate),
            ear: Ear::new(codec),
            srtp: None,
        }
    }

    /// Its sound is encrypted from now on.
    pub(crate) fn agree(&mut self, keys: &Keys) {
        match &mut self.srtp {
            Some(srtp) => drop(srtp.rekey(keys)),
            None => self.srtp = Srtp::new(keys).ok(),
        }
    }

    /// Presses a key, as an event only where digits travel as RTP.
    pub(crate) fn press(&mut self, digit: char, way: Way) {
        if way == Way::Tone {
            self.tone = audio::dtmf::Tone::new(digit, RATE, Duration::from_millis(100));
        } else if let Line::Rtp { stream, digit: pressed, .. } = &mut self.line {
            *pressed = DigitSender::new(digit, Duration::from_millis(100), 8_000, stream.timestamp());
        }
    }

    /// The packet that leaves at `now`: the 20 ms before it.
    pub(crate) fn packet(&mut self, now: CallTime) -> Option<Vec<u8>> {
        let mut sound = self.sound(now.back(FRAME));
        if let Some(tone) = &mut self.tone {
            tone.read(&mut sound);
        }
        let mut narrowed = Vec::new();
        self.resampler.process(&sound, &mut narrowed);
        let mut payload = Vec::new();
        self.encoder.encode(&narrowed, &mut payload);
        if self.dead {
            return None;
        }
        let clock = self.codec.rtp_clock / 50;
        match &mut self.line {
            Line::Raw => Some(payload),
            Line::Rtp { payload_type, stream, digit } => {
                let mut packet = Vec::new();
                match digit.as_mut().and_then(Iterator::next) {
                    Some(event) => {
                        stream.event(DIGIT_PAYLOAD, &event, &mut packet);
                        stream.skip(clock);
                    }
                    None => {
                        *digit = None;
                        stream.sound(*payload_type, clock, &payload, &mut packet);
                    }
                }
                if let Some(srtp) = &mut self.srtp {
                    srtp.protect(&mut packet).ok()?;
                }
                Some(packet)
            }
        }
    }

    /// Takes what the call sends; answers the tone that is heard, if that has changed. Keys are added to `keys`.
    pub(crate) fn hear(&mut self, bytes: &[u8], keys: &mut String) -> Option<Option<Tone>> {
        let mut opened = bytes.to_vec();
        if let Some(srtp) = &mut self.srtp {
            // What cannot be opened is not heard.
            let length = srtp.unprotect(&mut opened).unwrap_or_default();
            opened.truncate(length);
        }
        let payload = match &self.line {
            Line::Raw => bytes,
            Line::Rtp { .. } => match Rtp::parse(&opened) {
                Ok(Rtp { header, payload }) if header.payload_type == DIGIT_PAYLOAD => {
                    keys.extend(self.ear.events.push(&header, payload));
                    return self.ear.note(None);
                }
                Ok(rtp) => rtp.payload,
                Err(_) => &[],
            },
        };
        self.ear.hear(payload, keys)
    }

    /// Nothing was sent in a tick.
    pub(crate) fn hear_nothing(&mut self) -> Option<Option<Tone>> {
        self.ear.note(None)
    }

    fn sound(&self, from: CallTime) -> Vec<i16> {
        let mut frame = vec![0; Frame::len_at(RATE)];
        let at = |time: CallTime| (time.0.as_micros() * u128::from(RATE) / 1_000_000) as usize;
        let begin = at(from);
        for said in &self.said {
            let (start, end) = (at(said.from), at(said.to));
            let first = begin.max(start);
            let last = (begin + frame.len()).min(end);
            if first < last {
                let speech = speech_from(said.place + first - start);
                for (to, sample) in frame[first - begin..last - begin].iter_mut().zip(speech) {
                    *to = sample;
                }
            }
        }
        frame
    }
}

/// What is playing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tone {
    pub(crate) hz: u32,
    /// Less than 60 % of what was made.
    pub(crate) low: bool,
}

/// Hears which tone is playing, and whether it is low.
struct Ear {
    decoder: Box<dyn Decoder>,
    rate: u32,
    now: Option<Tone>,
    events: Digits,
    keys: audio::dtmf::Detector,
}

impl Ear {
    fn new(codec: &'static Codec) -> Self {
        let keys = audio::dtmf::Detector::new(codec.rate);
        Ear { decoder: (codec.decoder)(), rate: codec.rate, now: None, events: Digits::new(8_000), keys }
    }

    fn hear(&mut self, payload: &[u8], keys: &mut String) -> Option<Option<Tone>> {
        let mut sound = Vec::new();
        self.decoder.decode(payload, &mut sound);
        self.keys.push(&sound, keys);
        self.note(pitch(&sound[sound.len() / 2..], self.rate))
    }

    fn note(&mut self, tone: Option<Tone>) -> Option<Option<Tone>> {
        (self.now != tone).then(|| {
            self.now = tone;
            tone
        })
    }
}

/// The tone in a piece of sound, by its crossings of zero.
fn pitch(sound: &[i16], rate: u32) -> Option<Tone> {
    let tail = &sound[sound.len() / 2..];
    let peak = tail.iter().map(|sample| sample.unsigned_abs()).max().filter(|peak| *peak > LOUD)?;
    let crossings: Vec<usize> = (1..sound.len()).filter(|n| (sound[n - 1] < 0) != (sound[*n] < 0)).collect();
    let (first, last) = (*crossings.first()?, *crossings.last()?);
    let halves = crossings.len() as u32 - 1;
    let hz = halves * rate / (2 * (last - first).max(1) as u32);
    let step = (hz + TONE_STEP / 2).saturating_sub(LOWEST_TONE) / TONE_STEP;
    Some(Tone { hz: LOWEST_TONE + step.min(TONES - 1) * TONE_STEP, low: peak < LOW })
}

/// The codec that a script names, and its payload type; `None` for one that is not ours.
pub(crate) fn codec_named(name: &str) -> Option<(&'static Codec, u8)> {
    let codec = codec::by_name(name)?;
    Some((codec, codec.static_pt.unwrap_or(codec.dynamic_pt)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cast::{tone, tone_of};

    #[test]
    fn the_ear_tells_every_tone_from_the_others() {
        for name in ["pcmu", "g722"] {
            let (codec, _) = codec_named(name).unwrap();
            for n in 0..TONES as usize {
                let (mut encoder, mut ear) = ((codec.encoder)(), Ear::new(codec));
                let mut resampler = Resampler::new(RATE, codec.rate);
                let mut heard = Vec::new();
                for frame in tone(tone_of(n), Duration::from_millis(200)).chunks(320) {
                    let (mut sound, mut payload) = (Vec::new(), Vec::new());
                    resampler.process(frame, &mut sound);
                    encoder.encode(&sound, &mut payload);
                    heard.extend(ear.hear(&payload, &mut String::new()));
                }
                assert_eq!(heard.last(), Some(&Some(Tone { hz: tone_of(n), low: false })), "{name}");
            }
        }
    }

    #[test]
    fn the_voice_is_taken_for_speech_without_a_pause() {
        use audio::vad::{Scorer, Vad, VadEvent, VadSettings};
        let mut scorer = Scorer::new("silero", RATE).unwrap();
        let mut vad = Vad::new(VadSettings::default(), RATE, scorer.window(), CallTime::ZERO);
        let mut events = Vec::new();
        for frame in speech(Duration::from_secs(10)).chunks(320) {
            assert!(scorer.push(frame).is_empty());
            while scorer.ready() {
                events.extend(vad.scored(scorer.score()));
            }
        }
        assert!(matches!(events[..], [VadEvent::Onset { .. }, VadEvent::Speaking { .. }]), "{events:?}");
    }
}
