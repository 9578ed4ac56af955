//! The sound of two calls, connected by a wire that does what a test wants with its packets.

use std::net::SocketAddr;

use audio::codec::g711::PCMU;
use call::legs::LegId;
use call::media::order::{FromMedia, LegPlan, RtpPlan, Start, ToMedia};
use call::media::{Media, Transmit};
use protocol::CallTime;
use rtp::sdp::{Direction, Negotiated, TelephoneEvent};
use rtp::stream::Learning;

/// Addresses of both ends.
pub(crate) const ENDS: [&str; 2] = ["192.0.2.1:40000", "192.0.2.2:50000"];

/// Both ends and their time.
pub(crate) struct Pair {
    pub(crate) ends: [Media; 2],
    pub(crate) now: CallTime,
    /// What each end has told.
    pub(crate) told: [Vec<FromMedia>; 2],
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
        Pair { ends, now: CallTime::ZERO, told: [Vec::new(), Vec::new()] }
    }

    /// One tick of both ends. `wire` is given each datagram with the end it comes from, and says what arrives.
    pub(crate) fn tick(&mut self, mut wire: impl FnMut(usize, Vec<u8>) -> Vec<Vec<u8>>) {
        self.now += std::time::Duration::from_millis(20);
        for from in [0, 1] {
            self.ends[from].tick(self.now);
            self.told[from].extend(std::iter::from_fn(|| self.ends[from].poll()));
            let sent: Vec<Transmit> = std::iter::from_fn(|| self.ends[from].transmit()).collect();
            for transmit in sent {
                let (Transmit::Datagram(_, _, bytes)
                | Transmit::Report(_, _, bytes)
                | Transmit::Message(_, bytes)) = transmit;
                for mut bytes in wire(from, bytes) {
                    let address: SocketAddr = ENDS[from].parse().unwrap();
                    self.ends[1 - from].datagram(self.now, LegId::MAIN, address, &mut bytes);
                }
            }
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
