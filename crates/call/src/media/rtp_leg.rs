//! The sound of a SIP leg: RTP packets to frames and back.

mod decoding;
mod origin;
mod reports;
mod sending;
#[cfg(test)]
mod spare;

use std::collections::VecDeque;
use std::net::SocketAddr;

use audio::frame::FRAME_MS;
use audio::jitter::{Jitter, Packet, Popped};
use audio::level;
use audio::noise::Noise;
use audio::{Codec, Decoder, Encoder, Resampler, prefetch};
use protocol::CallTime;
use rtp::dialer::Dialer;
use rtp::sdp::{Negotiated, Payload};
use rtp::stream::{Outgoing, Source};
use rtp::telephone_event::Digits;
use rtp::{Datagram, Reporter, Rtp};

pub(crate) use origin::Run;

use origin::Origin;
use reports::Unread;

use crate::media::guard::Guard;
use crate::media::keys::Tones;
use crate::media::order::RtpPlan;
use crate::media::pace::{Pace, Took};

/// Sound whose peak is below this is silence, in which the jitter buffer may shorten its delay unheard.
const QUIET_PEAK: u16 = 200;

/// The loudest noise that is played, in dBov below full scale: no line is worse, and what a peer says must not hurt.
const LOUDEST_NOISE: u8 = 35;
/// An RTP header without contributing sources or extension, as we send it.
const HEADER_BYTES: usize = 12;
/// A report of ours with its name, and what encryption adds.
const REPORT_BYTES: usize = 128;
/// The payload type of no packet: the numbers of RTP have seven bits.
const NO_TYPE: u8 = 255;

/// One RTP leg.
pub(crate) struct RtpLeg {
    media: Negotiated,
    guard: Guard,
    source: Source,
    pace: Pace,
    jitter: Jitter,
    /// For sound of this payload type, which is agreed on, or [`NO_TYPE`].
    decoder: (u8, &'static Codec, Box<dyn Decoder>),
    /// Decoded sound at the media's rate that no tick has taken yet.
    heard: VecDeque<i16>,
    /// Which of it was said, where keys come as tones.
    origin: Option<Origin>,
    /// Decoded sound at the codec's rate, where that is another.
    decoded: Vec<i16>,
    resampler_in: Resampler,
    digits_in: Digits,
    silence: Option<Silence>,
    noise: Noise,
    encoder: Box<dyn Encoder>,
    resampler_out: Resampler,
    /// Sound at the codec's rate that fills no packet yet.
    unsent: Vec<i16>,
    outgoing: Outgoing,
    reporter: Reporter,
    /// Wall time of the call's beginning, for reports.
    began_unix_ms: u64,
    dialer: Dialer,
    tones: Tones,
    /// Where packets under our own identity have come from last.
    collided: Option<SocketAddr>,
    unread: Unread,
    /// The report that ends the stream that we have sent up to now under another identity.
    parting: Option<Vec<u8>>,
    rate: u32,
}

/// The far end is silent, and has told how that sounds (RFC 3389).
#[derive(Clone, Copy)]
struct Silence {
    /// RTP time of the packet that told it.
    told: u32,
    amplitude: f32,
}

/// A report on its way.
pub(crate) struct Report {
    pub(crate) to: SocketAddr,
    /// By the socket of the sound (RFC 5761).
    pub(crate) shared: bool,
    pub(crate) bytes: Vec<u8>,
}

/// What came of a datagram.
#[derive(Clone, Copy)]
pub(crate) enum Arrived {
    /// Sound of the far end.
    Sound,
    /// The first packet of a digit.
    Digit(char),
    /// A further packet of a digit, comfort noise, a report: the far end is there.
    Sign,
    /// Nothing that concerns the call.
    Foreign,
}

impl RtpLeg {
    /// A leg for media at `rate` Hz.
    pub(crate) fn new(now: CallTime, plan: RtpPlan, rate: u32) -> Self {
        let media = plan.media;
        let codec = media.codec;
        let ssrc = plan.start.ssrc;
        let mut guard = Guard::default();
        guard.agree(media.keys.as_ref());
        let source = Source::new(media.remote, plan.learning);
        RtpLeg {
            guard,
            source: match plan.signalling {
                Some(host) => source.with_signalling_from(host),
                None => source,
            },
            pace: Pace::default(),
            jitter: Jitter::new(codec.rtp_clock),
            decoder: (agreed(&media, media.payload_type, codec), codec, (codec.decoder)()),
            heard: VecDeque::new(),
            origin: media.telephone_event.is_none().then(Origin::default),
            decoded: Vec::new(),
            resampler_in: Resampler::new(codec.rate, rate),
            digits_in: Digits::new(digit_clock(&media)),
            silence: None,
            noise: Noise::default(),
            encoder: (codec.encoder)(),
            resampler_out: Resampler::new(rate, codec.rate),
            unsent: Vec::new(),
            outgoing: plan.start.outgoing(),
            // A name by chance, as RFC 7022 section 4.2 wants it: it is the same for no other leg.
            reporter: Reporter::new(now, codec.rtp_clock, ssrc, &format!("{ssrc:08x}")),
            began_unix_ms: plan.start.began_unix_ms,
            dialer: Dialer::default(),
            tones: Tones::default(),
            collided: None,
            unread: Unread::default(),
            parting: None,
            media,
            rate,
        }
    }

    /// Asks for the memory of the next tick: `depth` 0 of what its parts point to, 1 of what lies behind.
    pub(crate) fn prefetch(&self, depth: usize) {
        self.jitter.prefetch(depth);
        match depth {
            0 => {
                prefetch(&*self.decoder.2);
                prefetch(&*self.encoder);
            }
            _ => self.decoder.2.prefetch(),
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
            self.reporter.reclock(media.codec.rtp_clock);
        }
        if digit_clock(&media) != digit_clock(&self.media) {
            self.digits_in = Digits::new(digit_clock(&media));
        }
        self.origin = match media.telephone_event {
            Some(_) => None,
            None => Some(self.origin.take().unwrap_or_else(|| Origin::of_said(self.heard.len()))),
        };
        if media.telephone_event.is_none() {
            self.dialer = Dialer::default();
        }
        self.source.retarget(media.remote, plan.signalling);
        self.guard.agree(media.keys.as_ref());
        self.decoder.0 = agreed(&media, self.decoder.0, self.decoder.1);
        self.media = media;
    }

    /// Does not hear what comes from `address` unless a description names it.
    pub(crate) fn without(mut self, address: SocketAddr) -> Self {
        self.source = self.source.without(address);
        self
    }

    /// Where the far end's packets come from, as far as is known.
    pub(crate) fn remote(&self) -> Option<SocketAddr> {
        self.source.remote()
    }

    /// Takes a datagram in; it is decrypted in place.
    pub(crate) fn receive(&mut self, now: CallTime, from: SocketAddr, datagram: &mut [u8]) -> Arrived {
        self.pace.came();
        match Datagram::classify(datagram) {
            Datagram::Rtp => {}
            Datagram::Rtcp if self.read_report(now, from, datagram) => return Arrived::Sign,
            Datagram::Rtcp => return Arrived::Foreign,
            _ => return self.unreadable(),
        }
        let Some(datagram) = self.guard.open(datagram).and_then(|length| datagram.get(..length)) else {
            return Arrived::Foreign;
        };
        let Ok(Rtp { header, payload }) = Rtp::parse(datagram) else { return self.unreadable() };
        let kind = match header.payload_type == self.decoder.0 {
            true => Payload::Voice(self.decoder.1),
            false => self.media.payload(header.payload_type),
        };
        if matches!(kind, Payload::Unknown) {
            return self.unreadable();
        }
        if !self.source.accept(now, from, &header) {
            return Arrived::Foreign;
        }
        if header.ssrc == self.outgoing.ssrc() {
            self.collide(now, from);
        }
        self.reporter.heard(now, &header);
        if !self.media.direction.receives() {
            return Arrived::Sign;
        }
        let (payload, arrived) = match kind {
            Payload::Noise => {
                let level = rtp::comfort_noise::level(payload).map(|level| level.max(LOUDEST_NOISE));
                let amplitude = level.map(|level| rtp::comfort_noise::amplitude(level) as f32);
                self.silence = amplitude.map(|amplitude| Silence { told: header.timestamp, amplitude });
                (&[][..], Arrived::Sign)
            }
            // An event keeps its place in the sequence and is never played.
            Payload::Digit => {
                (&[][..], self.digits_in.push(&header, payload).map_or(Arrived::Sign, Arrived::Digit))
            }
            Payload::Voice(_) | Payload::Unknown => {
                // Sound that was overtaken does not end the silence behind it.
                let later = |silence: &Silence| (header.timestamp.wrapping_sub(silence.told) as i32) > 0;
                self.silence = self.silence.filter(|silence| !later(silence));
                (payload, Arrived::Sound)
            }
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
        if matches!(arrived, Arrived::Sound) {
            self.pace.sound(&header, self.media.codec.rtp_clock / 1000 * FRAME_MS);
        }
        arrived
    }

    /// Fills `frame`, as long as it is, with the next 20 ms of the far end, concealing what is lost.
    pub(crate) fn hear(&mut self, now: CallTime, frame: &mut Vec<i16>) {
        let whole = frame.len();
        self.pace.tick();
        frame.clear();
        frame.extend(self.heard.drain(..whole.min(self.heard.len())));
        let mut empty = false;
        while frame.len() < whole && !empty {
            let before = frame.len();
            let said = match self.jitter.pop(now) {
                Popped::Packet(packet) => {
                    self.decode(&packet, frame);
                    true
                }
                Popped::Spare(packet) => {
                    self.decode(&packet, frame);
                    if is_quiet(frame.get(before..).unwrap_or_default()) {
                        frame.truncate(before);
                        self.jitter.leave_out(now);
                    }
                    true
                }
                Popped::Lost { duration } => self.append(frame, |leg, sound| leg.conceal(duration, sound)),
                Popped::Empty => {
                    let missing = whole - frame.len();
                    let samples = (missing * self.decoder.1.rate as usize / self.rate as usize).max(1);
                    empty = true;
                    self.append(frame, |leg, sound| match leg.silence {
                        Some(silence) => leg.noise.make(silence.amplitude, samples, sound),
                        None => leg.decoder.2.conceal(samples, sound),
                    });
                    self.silence.is_some()
                }
            };
            if let Some(origin) = &mut self.origin {
                origin.add(frame.len() - before, !said);
            }
        }
        if let Some(origin) = &mut self.origin {
            origin.take(whole);
        }
        if frame.len() > whole {
            self.heard.extend(frame.drain(whole..));
        }
        frame.resize(whole, 0);
        self.jitter.set_quiet(is_quiet(frame));
    }

    /// Of which kinds the frame is that was heard last; known where keys come as tones.
    pub(crate) fn runs(&self) -> &[Run] {
        self.origin.as_ref().map_or(&[], Origin::of_frame)
    }

    /// What the datagram was that has `arrived` last.
    pub(crate) fn took(&self, arrived: &Arrived) -> Took {
        match arrived {
            Arrived::Foreign => Took::Foreign,
            // A report may be behind it, and what that waits would count as part of the round trip.
            _ if self.media.rtcp_mux => Took::Own,
            _ if self.pace.is_served() => Took::Last,
            _ => Took::Own,
        }
    }

    /// Whether telephone-events are agreed on.
    pub(crate) fn has_events(&self) -> bool {
        self.media.telephone_event.is_some()
    }

    /// Whether the far end has to send: neither side holds the call.
    pub(crate) fn expects(&self) -> bool {
        self.media.direction.receives() && !self.media.held && self.media.remote.is_some()
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
}

fn is_quiet(sound: &[i16]) -> bool {
    level::peak(sound) < QUIET_PEAK
}

/// `payload_type`, as long as `media` has sound of `codec` in it.
fn agreed(media: &Negotiated, payload_type: u8, codec: &Codec) -> u8 {
    match media.payload(payload_type) {
        Payload::Voice(voice) if voice.name == codec.name => payload_type,
        Payload::Voice(_) | Payload::Digit | Payload::Noise | Payload::Unknown => NO_TYPE,
    }
}

fn digit_clock(media: &Negotiated) -> u32 {
    media.telephone_event.map_or(8000, |event| event.clock)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use audio::codec::g711::{PCMA, PCMU};
    use rtp::rtcp::{Rtcp, parse};
    use rtp::sdp::Direction;
    use rtp::stream::Learning;
    use rtp::{Keys, Outgoing, Srtp};

    use super::*;
    use crate::media::order::Start;

    pub(super) const PEER: &str = "192.0.2.7:40000";
    const PEER_REPORTS: &str = "192.0.2.7:40001";

    fn keys() -> Keys {
        let suite = &rtp::srtp::AES_CM_128_HMAC_SHA1_80;
        let master = |byte| rtp::srtp::Master::new(suite, &[byte; 30]).unwrap();
        Keys { suite, ours: master(1), theirs: master(2) }
    }

    pub(super) fn leg(keys: Option<Keys>, rtcp_mux: bool) -> RtpLeg {
        let media = Negotiated {
            codec: &PCMU,
            payload_type: 0,
            voices: vec![(0, &PCMU)],
            fmtp: String::new(),
            telephone_event: None,
            comfort_noise: None,
            keys,
            remote: PEER.parse().ok(),
            rtcp: if rtcp_mux { PEER.parse().ok() } else { PEER_REPORTS.parse().ok() },
            rtcp_mux,
            direction: Direction::SendRecv,
            held: false,
            ptime_ms: 20,
        };
        let start = Start { ssrc: 5, sequence: 40_000, timestamp: 0, began_unix_ms: 1_700_000_000_000 };
        let plan = RtpPlan { media, learning: Learning::Off, signalling: None, start };
        RtpLeg::new(CallTime::ZERO, plan, 8000)
    }

    pub(super) fn sound(stream: &mut Outgoing) -> Vec<u8> {
        let mut packet = Vec::new();
        stream.sound(0, 160, &[0x55; 160], &mut packet);
        packet
    }

    /// Lets `seconds` pass with sound both ways; the reports that went out.
    pub(super) fn talk(
        leg: &mut RtpLeg,
        stream: &mut Outgoing,
        seconds: u64,
        mut cipher: Option<Srtp>,
    ) -> Vec<Report> {
        let mut reports = Vec::new();
        for tick in 0..seconds * 50 {
            let now = CallTime::ms(tick * 20);
            let mut packet = sound(stream);
            if let Some(srtp) = &mut cipher {
                srtp.protect(&mut packet).unwrap();
            }
            assert!(matches!(leg.receive(now, PEER.parse().unwrap(), &mut packet), Arrived::Sound));
            leg.send(&mut [100; 160], |_, _| {});
            reports.extend(leg.report(now));
        }
        reports
    }

    #[test]
    fn reports_leave_every_few_seconds_by_their_own_port_or_by_that_of_the_sound() {
        for (shared, to) in [(false, PEER_REPORTS), (true, PEER)] {
            let (mut leg, mut stream) = (leg(None, shared), Outgoing::new(9, 0, 0));
            let reports = talk(&mut leg, &mut stream, 20, None);
            assert!((3..=10).contains(&reports.len()), "{}", reports.len());
            assert!(reports.iter().all(|report| report.shared == shared && report.to == to.parse().unwrap()));
            assert!(matches!(parse(&reports[1].bytes).next(), Some(Rtcp::Sender { ssrc: 5, .. })));
            let bye = leg.bye(CallTime::ms(20_000)).unwrap();
            assert!(parse(&bye.bytes).any(|packet| matches!(packet, Rtcp::Bye { ssrc: 5 })));
            assert_eq!(leg.quality().heard.packets, 1000);
            assert!(leg.quality().mos.unwrap() > 4.0);
        }
    }

    #[test]
    fn an_encrypted_leg_neither_hears_nor_sends_anything_in_clear() {
        let theirs = Keys { ours: keys().theirs, theirs: keys().ours, ..keys() };
        let (mut leg, mut stream) = (leg(Some(keys()), true), Outgoing::new(9, 0, 0));
        let clear = sound(&mut stream);
        assert!(matches!(
            leg.receive(CallTime::ZERO, PEER.parse().unwrap(), &mut clear.clone()),
            Arrived::Foreign
        ));
        let mut sent = Vec::new();
        leg.send(&mut [100; 160], |_, packet| sent.push(packet));
        let mut peer = Srtp::new(&theirs).unwrap();
        let packet = &mut sent[0];
        assert_eq!(packet.len(), 12 + 160 + 10);
        assert_eq!(peer.unprotect(packet), Ok(172));
        let reports = talk(&mut leg, &mut stream, 5, Srtp::new(&theirs).ok());
        let mut report = reports.into_iter().next().unwrap().bytes;
        assert!(peer.unprotect_report(&mut report).is_ok());
    }

    #[test]
    fn sound_of_a_type_that_is_agreed_on_no_more_is_not_heard() {
        let (mut leg, mut stream) = (leg(None, false), Outgoing::new(9, 0, 0));
        let mut heard = |leg: &mut RtpLeg, payload_type| {
            let mut packet = Vec::new();
            stream.sound(payload_type, 160, &[0x55; 160], &mut packet);
            matches!(leg.receive(CallTime::ZERO, PEER.parse().unwrap(), &mut packet), Arrived::Sound)
        };
        assert_eq!([0, 8].map(|payload_type| heard(&mut leg, payload_type)), [true, false]);
        let media =
            Negotiated { voices: vec![(8, &PCMA)], codec: &PCMA, payload_type: 8, ..leg.media.clone() };
        leg.retarget(RtpPlan { media, learning: Learning::Off, signalling: None, start: Start::default() });
        assert_eq!([0, 8].map(|payload_type| heard(&mut leg, payload_type)), [false, true]);
    }

    #[test]
    fn a_port_that_reports_share_is_read_to_its_end_in_each_tick() {
        for (shared, spared) in [(false, true), (true, false)] {
            let (mut leg, mut stream) = (leg(None, shared), Outgoing::new(9, 0, 0));
            let last = (0..20).filter(|tick| {
                let now = CallTime::ms(20 * tick);
                let arrived = leg.receive(now, PEER.parse().unwrap(), &mut sound(&mut stream));
                let took = leg.took(&arrived);
                leg.hear(now, &mut vec![0; 160]);
                took == Took::Last
            });
            assert_eq!(last.count() > 10, spared);
        }
    }

    #[test]
    fn a_stranger_s_report_is_not_read() {
        let (mut leg, mut stream) = (leg(None, false), Outgoing::new(9, 0, 0));
        talk(&mut leg, &mut stream, 5, None);
        let mut theirs = Reporter::new(CallTime::ZERO, 8000, 9, "peer");
        let mut bytes = Vec::new();
        let header = rtp::Header { marker: false, payload_type: 0, sequence: 1, timestamp: 0, ssrc: 5 };
        theirs.heard(CallTime::ZERO, &header);
        assert!(theirs.poll(CallTime::ms(9000), rtp::rtcp::ntp(Duration::ZERO), &stream, &mut bytes));
        leg.receive(CallTime::ms(9000), "203.0.113.9:40001".parse().unwrap(), &mut bytes.clone());
        assert!(leg.quality().told.is_none());
        leg.receive(CallTime::ms(9000), PEER_REPORTS.parse().unwrap(), &mut bytes);
        assert!(leg.quality().told.is_some());
    }
}
