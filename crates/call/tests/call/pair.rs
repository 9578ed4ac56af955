//! The sound of two calls, connected by a wire that does what a test wants with its packets.

use std::net::SocketAddr;

use audio::codec::g711::PCMU;
use call::legs::LegId;
use call::media::order::{FromMedia, LegPlan, RtpPlan, Start, ToMedia, UtteranceId};
use call::media::{Media, Transmit};
use protocol::CallTime;
use rtp::sdp::{Direction, Negotiated, TelephoneEvent};
use rtp::stream::Learning;

/// Addresses of both ends.
pub(crate) const ENDS: [&str; 2] = ["192.0.2.1:40000", "192.0.2.2:50000"];

/// Samples of a piece that is judged, at 8 kHz.
const PIECE: usize = 1_600;
/// How far a piece may lie from where the first one has it: a jitter buffer that slips shows.
const SLIP: usize = 640;

/// Both ends and their time.
pub(crate) struct Pair {
    pub(crate) ends: [Media; 2],
    pub(crate) now: CallTime,
    /// What each end has told.
    pub(crate) told: [Vec<FromMedia>; 2],
    /// Whom each end has sent to, the last one last.
    addressed: [Vec<SocketAddr>; 2],
}

/// What the end with this peer has agreed on: PCMU with telephone-events, 20 ms.
pub(crate) fn agreed(peer: &str) -> Negotiated {
    let remote: Option<SocketAddr> = peer.parse().ok();
    Negotiated {
        codec: &PCMU,
        payload_type: 0,
        voices: vec![(0, &PCMU)],
        fmtp: String::new(),
        telephone_event: Some(TelephoneEvent { payload_type: 101, heard_as: 101, clock: 8000 }),
        comfort_noise: None,
        keys: None,
        remote,
        rtcp: remote,
        rtcp_mux: true,
        direction: Direction::SendRecv,
        held: false,
        ptime_ms: 20,
    }
}

/// The order that begins or changes a leg.
pub(crate) fn plan(media: Negotiated, ssrc: u32) -> ToMedia {
    let start =
        Start { ssrc, sequence: 0x7ff0, timestamp: u32::MAX - 4_000, began_unix_ms: 1_700_000_000_000 };
    let plan = RtpPlan { media, learning: Learning::On, signalling: None, start };
    ToMedia::Leg(LegId::MAIN, LegPlan::Rtp(Box::new(plan)))
}

impl Pair {
    /// Two ends at `rate` Hz, each with what `change` makes of the usual agreement.
    pub(crate) fn new(rate: u32, change: impl Fn(Negotiated) -> Negotiated) -> Self {
        let mut ends = [Media::new(rate), Media::new(rate)];
        for (n, end) in ends.iter_mut().enumerate() {
            end.handle(CallTime::ZERO, plan(change(agreed(ENDS[1 - n])), n as u32 + 1));
        }
        Pair { ends, now: CallTime::ZERO, told: Default::default(), addressed: Default::default() }
    }

    /// One tick of both ends. `wire` is given each datagram with the end it comes from, and says what arrives.
    pub(crate) fn tick(&mut self, mut wire: impl FnMut(usize, Vec<u8>) -> Vec<Vec<u8>>) {
        self.now += std::time::Duration::from_millis(20);
        for from in [0, 1] {
            self.ends[from].tick(self.now);
            self.told[from].extend(std::iter::from_fn(|| self.ends[from].poll()));
            let sent: Vec<Transmit> = std::iter::from_fn(|| self.ends[from].transmit()).collect();
            for transmit in sent {
                let (Transmit::Datagram(_, to, bytes) | Transmit::Report(_, to, bytes)) = transmit else {
                    continue;
                };
                let last = self.addressed[from].last();
                if last != Some(&to) {
                    self.addressed[from].push(to);
                }
                for bytes in wire(from, bytes) {
                    self.deliver(1 - from, ENDS[from], bytes);
                }
            }
        }
    }

    /// A datagram arrives at an end, from this address.
    pub(crate) fn deliver(&mut self, end: usize, from: &str, mut bytes: Vec<u8>) {
        self.ends[end].datagram(self.now, LegId::MAIN, from.parse().unwrap(), &mut bytes);
    }

    /// Whom an end sends to now.
    pub(crate) fn answered(&self, end: usize) -> String {
        self.addressed[end].last().map(SocketAddr::to_string).unwrap_or_default()
    }

    /// Sees that nobody but the other end was ever sent to.
    pub(crate) fn only_each_other(&self) {
        for end in [0, 1] {
            assert_eq!(self.addressed[end], [ENDS[1 - end].parse().unwrap()]);
        }
    }

    /// Ticks on a good wire.
    pub(crate) fn run(&mut self, ticks: usize) {
        for _ in 0..ticks {
            self.tick(|_, bytes| vec![bytes]);
        }
    }

    /// The digits that an end was told of, in whichever way.
    pub(crate) fn digits(&self, end: usize) -> String {
        let digit = |event: &FromMedia| match event {
            FromMedia::Digit(_, digit, _) => Some(*digit),
            _ => None,
        };
        self.told[end].iter().filter_map(digit).collect()
    }
}

/// Speech to play, at 16 kHz.
pub(crate) fn speech(seconds: u64) -> Vec<i16> {
    testkit::caller::speech(std::time::Duration::from_secs(seconds))
}

impl Pair {
    /// Lets an end say `sound` (16 kHz) from now on.
    pub(crate) fn say(&mut self, end: usize, sound: &[i16]) {
        self.ends[end].handle(self.now, ToMedia::Play(UtteranceId(1), 16_000, sound.into()));
        self.ends[end].handle(self.now, ToMedia::End(UtteranceId(1)));
    }

    /// What an end has heard since it was told to record, at the rate of its sound.
    pub(crate) fn heard(&mut self, end: usize) -> Vec<i16> {
        self.ends[end].handle(self.now, ToMedia::StopRecording);
        let stereo: Vec<i16> = std::iter::from_fn(|| self.ends[end].poll_recording()).flatten().collect();
        stereo.chunks_exact(2).map(|both| both[0]).collect()
    }
}

/// How like `said` (16 kHz), which began at `began`, is to `heard` (at `rate`), 0 to 1: the mean over its pieces.
pub(crate) fn likeness(said: &[i16], began: CallTime, heard: &[i16], rate: u32) -> f64 {
    let likes = pieces(said, began, heard, rate);
    likes.iter().sum::<f64>() / likes.len().max(1) as f64
}

/// The same for each loud piece of 200 ms: its best correlation near the place of the first.
pub(crate) fn pieces(said: &[i16], began: CallTime, heard: &[i16], rate: u32) -> Vec<f64> {
    let (mut said_8k, mut heard_8k) = (Vec::new(), Vec::new());
    audio::Resampler::new(16_000, 8_000).process(said, &mut said_8k);
    audio::Resampler::new(rate, 8_000).process(heard, &mut heard_8k);
    let best = |piece: &[i16], places: std::ops::Range<usize>| {
        let like = |at: usize| alike(piece, heard_8k.get(at..).unwrap_or_default());
        places.map(|at| (at, like(at))).max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_default()
    };
    let from = began.as_ms() as usize * 8;
    let start = best(&said_8k[400..1_200], from..from + 3_200).0.saturating_sub(400);
    let loud = |piece: &[i16]| piece.iter().any(|sample| sample.unsigned_abs() > 2_000);
    said_8k
        .chunks_exact(PIECE)
        .enumerate()
        .filter(|(_, piece)| loud(piece))
        .map(|(n, piece)| best(piece, (start + n * PIECE).saturating_sub(SLIP)..start + n * PIECE + SLIP).1)
        .collect()
}

/// Correlation of `piece` with the beginning of `sound`.
fn alike(piece: &[i16], sound: &[i16]) -> f64 {
    let (mut product, mut ours, mut theirs) = (0.0, 0.0, 0.0);
    for (a, b) in piece.iter().zip(sound) {
        let (a, b) = (f64::from(*a), f64::from(*b));
        product += a * b;
        ours += a * a;
        theirs += b * b;
    }
    product / (ours * theirs).sqrt().max(1.0)
}
