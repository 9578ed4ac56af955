//! The sound of a SIP leg: RTP packets to frames and back.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use audio::frame::FRAME_MS;
use audio::jitter::{Jitter, Packet, Popped};
use audio::{Codec, Decoder, Encoder, Resampler};
use protocol::CallTime;
use rtp::sdp::{Negotiated, Payload};
use rtp::stream::{Outgoing, Source};
use rtp::telephone_event::{DigitSender, Digits, EventPacket};
use rtp::{Datagram, Rtp};

use crate::media::guard::Guard;
use crate::media::order::RtpPlan;

/// Pause between two digits, so that the far end hears two.
const DIGIT_GAP_FRAMES: u32 = 4;
/// A frame whose peak is below this is silence, in which the jitter buffer may shorten its delay unheard.
const QUIET_PEAK: u16 = 200;

/// An RTP header without contributing sources or extension, as we send it.
const HEADER_BYTES: usize = 12;
/// A packet of a digit.
const EVENT_BYTES: usize = HEADER_BYTES + 4;

/// One RTP leg.
pub(crate) struct RtpLeg {
    media: Negotiated,
    guard: Guard,
    source: Source,
    jitter: Jitter,
    decoder: (u8, &'static Codec, Box<dyn Decoder>),
    /// Decoded sound at the media's rate that no tick has taken yet.
    heard: VecDeque<i16>,
    decoded: Vec<i16>,
    up: Vec<i16>,
    resampler_in: Resampler,
    digits_in: Digits,
    encoder: Box<dyn Encoder>,
    resampler_out: Resampler,
    /// Sound at the codec's rate that fills no packet yet.
    unsent: Vec<i16>,
    outgoing: Outgoing,
    digits_out: DigitsOut,
    rate: u32,
}

/// Digits to be sent, one after the other.
#[derive(Default)]
struct DigitsOut {
    waiting: VecDeque<(char, Duration)>,
    current: Option<DigitSender>,
    pause: u32,
}

/// What came of a datagram.
#[derive(Clone, Copy)]
pub(crate) enum Arrived {
    /// Sound of the far end.
    Sound,
    /// The first packet of a digit.
    Digit(char),
    /// A further packet of a digit; the far end is there.
    Sign,
    /// Nothing that concerns the call.
    Foreign,
}

impl RtpLeg {
    /// A leg for media at `rate` Hz.
    pub(crate) fn new(plan: RtpPlan, rate: u32) -> Self {
        let media = plan.media;
        let codec = media.codec;
        let mut guard = Guard::default();
        guard.agree(media.keys.as_ref());
        let source = Source::new(media.remote, plan.learning);
        RtpLeg {
            guard,
            source: match plan.signalling {
                Some(host) => source.with_signalling_from(host),
                None => source,
            },
            jitter: Jitter::new(codec.rtp_clock),
            decoder: (media.payload_type, codec, (codec.decoder)()),
            heard: VecDeque::new(),
            decoded: Vec::new(),
            up: Vec::new(),
            resampler_in: Resampler::new(codec.rate, rate),
            digits_in: Digits::new(digit_clock(&media)),
            encoder: (codec.encoder)(),
            resampler_out: Resampler::new(rate, codec.rate),
            unsent: Vec::new(),
            outgoing: plan.start.outgoing(),
            digits_out: DigitsOut::default(),
            media,
            rate,
        }
    }

    /// A new agreement: the stream goes on, with another codec, address or direction where they differ.
    pub(crate) fn retarget(&mut self, plan: RtpPlan) {
        let media = plan.media;
        if media.codec.name != self.media.codec.name {
            self.encoder = (media.codec.encoder)();
            self.resampler_out = Resampler::new(self.rate, media.codec.rate);
            self.unsent.clear();
        }
        if media.codec.rtp_clock != self.media.codec.rtp_clock {
            self.jitter = Jitter::new(media.codec.rtp_clock);
        }
        if digit_clock(&media) != digit_clock(&self.media) {
            self.digits_in = Digits::new(digit_clock(&media));
        }
        self.source.retarget(media.remote);
        self.guard.agree(media.keys.as_ref());
        self.media = media;
    }

    /// Takes a datagram in; it is decrypted in place.
    pub(crate) fn receive(&mut self, now: CallTime, from: SocketAddr, datagram: &mut [u8]) -> Arrived {
        if Datagram::classify(datagram) != Datagram::Rtp {
            return Arrived::Foreign;
        }
        let Some(datagram) = self.guard.open(datagram).and_then(|length| datagram.get(..length)) else {
            return Arrived::Foreign;
        };
        let Ok(Rtp { header, payload }) = Rtp::parse(datagram) else { return Arrived::Foreign };
        let kind = self.media.payload(header.payload_type);
        if matches!(kind, Payload::Unknown) || !self.source.accept(now, from, &header) {
            return Arrived::Foreign;
        }
        if !self.media.direction.receives() {
            return Arrived::Sign;
        }
        let (payload, arrived) = match kind {
            // Noise says no more than that the far end is silent.
            Payload::Noise => (&[][..], Arrived::Sign),
            // An event keeps its place in the sequence and is never played.
            Payload::Digit => {
                (&[][..], self.digits_in.push(&header, payload).map_or(Arrived::Sign, Arrived::Digit))
            }
            Payload::Voice(_) | Payload::Unknown => (payload, Arrived::Sound),
        };
        let packet = Packet {
            sequence: header.sequence,
            timestamp: header.timestamp,
            ssrc: header.ssrc,
            marker: header.marker,
            payload_type: header.payload_type,
            payload: payload.into(),
        };
        self.jitter.push(now, packet);
        arrived
    }

    /// Fills `frame` with the next 20 ms of the far end, concealing what is lost.
    pub(crate) fn hear(&mut self, now: CallTime, frame: &mut [i16]) {
        while self.heard.len() < frame.len() {
            let missing = frame.len() - self.heard.len();
            self.decoded.clear();
            match self.jitter.pop(now) {
                Popped::Packet(packet) => self.decode(&packet),
                Popped::Lost { duration } => self.conceal(duration),
                Popped::Empty => {
                    let samples = missing * self.decoder.1.rate as usize / self.rate as usize;
                    self.decoder.2.conceal(samples.max(1), &mut self.decoded);
                    self.keep();
                    break;
                }
            }
            self.keep();
        }
        let given = frame.len().min(self.heard.len());
        super::take(&mut self.heard, &mut frame[..given]);
        frame[given..].fill(0);
        self.jitter.set_quiet(frame.iter().all(|s| s.unsigned_abs() < QUIET_PEAK));
    }

    /// Appends datagrams for 20 ms of sound to `out`. While held, or without an address, time passes silently.
    pub(crate) fn send(&mut self, frame: &[i16], out: &mut Vec<(SocketAddr, Vec<u8>)>) {
        let clock_step = self.media.codec.rtp_clock / 1000 * FRAME_MS;
        let Some(remote) = self.source.remote().filter(|_| self.media.direction.sends()) else {
            self.unsent.clear();
            self.outgoing.skip(clock_step);
            return;
        };
        if let Some(event) = self.digits_out.next(&self.media, &self.outgoing) {
            self.unsent.clear();
            if let (Some(packet), Some(kind)) = (event, self.media.telephone_event) {
                let mut datagram = Vec::with_capacity(EVENT_BYTES + self.guard.growth());
                self.outgoing.event(kind.payload_type, &packet, &mut datagram);
                if self.guard.close(&mut datagram) {
                    out.push((remote, datagram));
                }
            }
            self.outgoing.skip(clock_step);
            return;
        }
        self.resampler_out.process(frame, &mut self.unsent);
        let codec = self.media.codec;
        let length = (codec.rate / 1000 * self.media.ptime_ms) as usize;
        let ticks = codec.rtp_clock / 1000 * self.media.ptime_ms;
        let mut start = 0;
        while self.unsent.len() - start >= length {
            self.up.clear();
            let mut payload = Vec::with_capacity(length);
            self.encoder.encode(&self.unsent[start..start + length], &mut payload);
            start += length;
            let mut datagram = Vec::with_capacity(payload.len() + HEADER_BYTES + self.guard.growth());
            self.outgoing.sound(self.media.payload_type, ticks, &payload, &mut datagram);
            if self.guard.close(&mut datagram) {
                out.push((remote, datagram));
            }
        }
        self.unsent.drain(..start);
    }

    /// Sends digits, after those that still wait.
    pub(crate) fn dial(&mut self, digits: &str, length: Duration) {
        let room = MAX_DIGITS.saturating_sub(self.digits_out.waiting.len());
        self.digits_out.waiting.extend(digits.chars().take(room).map(|digit| (digit, length)));
    }

    /// Whether the far end is to be heard at all now.
    pub(crate) fn receives(&self) -> bool {
        self.media.direction.receives() && self.media.remote.is_some()
    }

    /// Whether the far end hears us now.
    pub(crate) fn sends(&self) -> bool {
        self.media.direction.sends() && self.media.remote.is_some()
    }

    /// The identity of the stream we send.
    pub(crate) fn ssrc(&self) -> u32 {
        self.outgoing.ssrc()
    }

    /// What the jitter buffer has seen.
    pub(crate) fn stats(&self) -> audio::jitter::Stats {
        self.jitter.stats()
    }

    fn decode(&mut self, packet: &Packet) {
        if packet.payload_type != self.decoder.0 {
            let Payload::Voice(codec) = self.media.payload(packet.payload_type) else { return };
            self.decoder = (packet.payload_type, codec, (codec.decoder)());
            self.resampler_in = Resampler::new(codec.rate, self.rate);
        }
        self.decoder.2.decode(&packet.payload, &mut self.decoded);
    }

    fn conceal(&mut self, duration: Duration) {
        let samples = (duration.as_micros() * u128::from(self.decoder.1.rate) / 1_000_000) as usize;
        match self.jitter.following() {
            Some(next) if next.payload_type == self.decoder.0 => {
                self.decoder.2.recover(&next.payload, samples, &mut self.decoded);
            }
            _ => self.decoder.2.conceal(samples, &mut self.decoded),
        }
        if self.decoded.is_empty() {
            // A conceal that gives nothing must not keep the tick waiting.
            self.decoded.resize(samples.max(1), 0);
        }
    }

    /// Brings what was decoded to the media's rate.
    fn keep(&mut self) {
        self.up.clear();
        self.resampler_in.process(&self.decoded, &mut self.up);
        self.heard.extend(&self.up);
    }
}

/// Digits that may wait to be sent.
const MAX_DIGITS: usize = 128;

impl DigitsOut {
    /// `None` when no digit is under way; else the event to send in this tick, if any.
    fn next(&mut self, media: &Negotiated, outgoing: &Outgoing) -> Option<Option<EventPacket>> {
        let clock = media.telephone_event?.clock;
        if self.pause > 0 {
            self.pause -= 1;
            return Some(None);
        }
        loop {
            if let Some(packet) = self.current.as_mut().and_then(Iterator::next) {
                return Some(Some(packet));
            }
            if self.current.take().is_some() {
                self.pause = DIGIT_GAP_FRAMES;
                return Some(None);
            }
            let (digit, length) = self.waiting.pop_front()?;
            if digit == ',' {
                self.pause = 25;
                return Some(None);
            }
            self.current = DigitSender::new(digit, length, clock, outgoing.timestamp());
        }
    }
}

fn digit_clock(media: &Negotiated) -> u32 {
    media.telephone_event.map_or(8000, |event| event.clock)
}
