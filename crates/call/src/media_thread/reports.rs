//! Which calls have reports to read: the kernel tells, for all sockets of a thread at once.
//!
//! A peer sends a report in some seconds. A read of each socket in each tick would nearly always find nothing, and would
//! touch memory that nothing else needs.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::event::{Timespec, epoll};

use super::{SeatId, Wire};

/// Sockets told of at a time. The rest is told of in the next turn, since what was not read is told of again.
const TOLD: usize = 64;

/// The report sockets of one thread.
pub(super) struct Reports {
    epoll: OwnedFd,
}

impl Reports {
    /// Watches nothing yet.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Reports { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Watches the report socket of a wire, where it has one, for the call of this seat: legs of a call change their
    /// wires among themselves. The kernel lets go of the socket when the wire is dropped, which has its only descriptor.
    pub(super) fn watch(&self, seat: SeatId, wire: &Wire) {
        let Wire::Udp { reports: Some(socket), .. } = wire else { return };
        let data = epoll::EventData::new_u64(seat.0);
        if let Err(refused) = epoll::add(&self.epoll, socket, data, epoll::EventFlags::IN) {
            tracing::warn!(%refused, "a call's reports are not read");
        }
    }

    /// The seats whose wires have reports now; one with two such wires may come twice.
    pub(super) fn come(&self) -> Vec<SeatId> {
        let mut told = [MaybeUninit::uninit(); TOLD];
        match epoll::wait(&self.epoll, &mut told[..], Some(&Timespec::default())) {
            Ok((told, _)) => told.iter().map(|event| SeatId(event.data.u64())).collect(),
            // An interruption says nothing; what is there is told of in the next turn.
            Err(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, UdpSocket};
    use std::os::fd::AsRawFd;
    use std::sync::Arc;
    use std::time::Instant;

    use audio::codec::g711::PCMU;
    use protocol::CallTime;
    use rtp::sdp::{Direction, Negotiated};
    use rtp::stream::Learning;
    use rtp::{Header, Outgoing, Reporter};
    use tokio::sync::mpsc;

    use super::*;
    use crate::legs::LegId;
    use crate::media::order::{LegPlan, RtpPlan, Start, ToMedia};
    use crate::media_thread::{Order, Seat, Wheel};

    const SEAT: SeatId = SeatId(7);
    const SECOND: LegId = LegId(1);

    fn wire() -> (Wire, UdpSocket) {
        let [sound, reports, peer] = [(); 3].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        for socket in [&sound, &reports] {
            socket.set_nonblocking(true).unwrap();
        }
        peer.connect(reports.local_addr().unwrap()).unwrap();
        (Wire::Udp { sound, reports: Some(reports) }, peer)
    }

    fn read(wire: &Wire) -> usize {
        let Wire::Udp { reports: Some(reports), .. } = wire else { panic!("no socket") };
        reports.recv(&mut [0; 8]).unwrap()
    }

    /// Sockets watched now.
    fn watched(reports: &Reports) -> usize {
        let path = format!("/proc/self/fdinfo/{}", reports.epoll.as_raw_fd());
        std::fs::read_to_string(path).unwrap().lines().filter(|line| line.starts_with("tfd:")).count()
    }

    #[test]
    fn a_call_is_named_while_a_report_waits_for_it_and_no_longer() {
        let reports = Reports::new().unwrap();
        let (wires, peers): (Vec<_>, Vec<_>) = (0..3).map(|_| wire()).unzip();
        for (seat, wire) in (7..).zip(&wires) {
            reports.watch(SeatId(seat), wire);
        }
        assert!(reports.come().is_empty());
        peers[1].send(b"report").unwrap();
        for _ in 0..2 {
            assert_eq!(reports.come(), [SeatId(8)]);
        }
        assert_eq!(read(&wires[1]), 6);
        assert!(reports.come().is_empty());
    }

    #[test]
    fn more_calls_than_are_named_at_a_time_all_get_their_turn() {
        let reports = Reports::new().unwrap();
        let (wires, peers): (Vec<_>, Vec<_>) = (0..TOLD + 9).map(|_| wire()).unzip();
        for ((seat, wire), peer) in (0..).zip(&wires).zip(&peers) {
            reports.watch(SeatId(seat), wire);
            peer.send(b"report").unwrap();
        }
        let mut named = std::collections::HashSet::new();
        for _ in 0..3 {
            for seat in reports.come() {
                named.insert(seat);
                read(&wires[seat.0 as usize]);
            }
        }
        assert_eq!(named.len(), wires.len());
    }

    fn plan(ssrc: u32) -> LegPlan {
        let address: SocketAddr = "127.0.0.1:40000".parse().unwrap();
        let media = Negotiated {
            codec: &PCMU,
            payload_type: 0,
            voices: vec![(0, &PCMU)],
            fmtp: String::new(),
            telephone_event: None,
            comfort_noise: None,
            keys: None,
            remote: Some(address),
            rtcp: Some(address),
            rtcp_mux: false,
            direction: Direction::SendRecv,
            held: false,
            ptime_ms: 20,
        };
        let start = Start { ssrc, ..Start::default() };
        LegPlan::Rtp(Box::new(RtpPlan { media, learning: Learning::Off, signalling: None, start }))
    }

    /// What a peer reports of the stream `ssrc`.
    fn report(ssrc: u32) -> Vec<u8> {
        let now = CallTime::ms(9_000);
        let mut theirs = Reporter::new(CallTime::ZERO, 8000, 99, "peer");
        theirs.heard(now, &Header { marker: false, payload_type: 0, sequence: 1, timestamp: 0, ssrc });
        let mut bytes = Vec::new();
        assert!(theirs.poll(now, 0, &Outgoing::new(99, 0, 0), &mut bytes));
        bytes
    }

    /// The legs whose peers have reported.
    fn told(wheel: &Wheel) -> Vec<LegId> {
        let (slot, at) = wheel.find(SEAT).unwrap();
        let quality = wheel.slots[slot][at].media.quality();
        quality.filter(|(_, quality)| quality.told.is_some()).map(|(leg, _)| leg).collect()
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a media thread is the clock of all sound")]
    fn reports_come_to_the_leg_that_has_the_wire_now_and_none_is_watched_that_is_gone() {
        let (_orders, inbox) = mpsc::channel(1);
        let mut wheel = Wheel::new(inbox, Reports::new().unwrap(), Arc::default(), Arc::default());
        let (first, first_peer) = wire();
        let (second, second_peer) = wire();
        let (events, _call) = mpsc::channel(64);
        let seat = Seat::new(SEAT, 8000, (LegId::MAIN, first), events, Instant::now());
        wheel.calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        wheel.obey(Order::Seat(Box::new(seat)));
        wheel.obey(Order::Wire(SEAT, SECOND, second));
        for (leg, ssrc) in [(LegId::MAIN, 5), (SECOND, 6)] {
            wheel.obey(Order::Media(SEAT, ToMedia::Leg(leg, plan(ssrc))));
        }
        assert_eq!(watched(&wheel.reports), 2);
        second_peer.send(&report(6)).unwrap();
        wheel.read_reports(Instant::now());
        assert_eq!(told(&wheel), [SECOND]);

        wheel.obey(Order::Exchange(SEAT, SECOND, LegId::MAIN));
        second_peer.send(&report(5)).unwrap();
        wheel.read_reports(Instant::now());
        assert_eq!(told(&wheel), [LegId::MAIN, SECOND]);
        wheel.obey(Order::Unwire(SEAT, SECOND));
        assert_eq!(watched(&wheel.reports), 1);
        // Its socket is closed: the peer may hear of that, we hear nothing of it.
        let _ = first_peer.send(&report(6));
        assert!(wheel.reports.come().is_empty());
        wheel.obey(Order::Leave(SEAT));
        assert_eq!(watched(&wheel.reports), 0);
    }
}
