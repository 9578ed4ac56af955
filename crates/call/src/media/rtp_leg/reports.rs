//! The reports of a leg: when ours leave and where they go, whose are read, and what becomes of two streams with one
//! identity.

use std::net::SocketAddr;
use std::time::Duration;

use protocol::CallTime;
use rtp::Quality;
use rtp::quality::Dropped;

use super::{Arrived, REPORT_BYTES, Report, RtpLeg};

/// Datagrams that were dropped and that neither source nor encryption counts.
#[derive(Clone, Copy, Default)]
pub(super) struct Unread {
    /// Reports from elsewhere.
    foreign: u64,
    /// Neither sound that was agreed on nor a report.
    unreadable: u64,
}

impl RtpLeg {
    /// The far end sends under our own identity: ours becomes another one, and the old stream is said to be over (RFC
    /// 3550 section 8.2). What comes back under the new one from the same place is our own sound, which someone
    /// reflects: that changes nothing.
    pub(super) fn collide(&mut self, now: CallTime, from: SocketAddr) {
        if self.collided.replace(from) == Some(from) {
            return;
        }
        let old = self.outgoing.ssrc();
        // As much by chance as the two numbers that it is made of.
        let new = old.rotate_left(13) ^ self.outgoing.timestamp();
        let new = if new == old { !old } else { new };
        let ntp = self.ntp(now);
        let mut bytes = Vec::with_capacity(REPORT_BYTES);
        self.reporter.rename(now, ntp, (&self.outgoing, new), &mut bytes);
        self.outgoing.rename(new);
        self.parting = Some(bytes);
    }

    /// The report that is due, if one is.
    pub(crate) fn report(&mut self, now: CallTime) -> Option<Report> {
        if let Some(parting) = self.parting.take() {
            return self.addressed(parting);
        }
        if now < self.reporter.timeout() {
            return None;
        }
        let mut bytes = Vec::with_capacity(REPORT_BYTES);
        let ntp = self.ntp(now);
        self.reporter.poll(now, ntp, &self.outgoing, &mut bytes);
        self.addressed(bytes)
    }

    /// The last report, which says that our stream is over.
    pub(crate) fn bye(&mut self, now: CallTime) -> Option<Report> {
        let mut bytes = Vec::with_capacity(REPORT_BYTES);
        let ntp = self.ntp(now);
        self.reporter.bye(now, ntp, &self.outgoing, &mut bytes);
        self.addressed(bytes)
    }

    /// The figures so far.
    pub(crate) fn quality(&self) -> Quality {
        let refused = self.guard.refused();
        let dropped = Dropped {
            foreign: self.source.foreign() + self.unread.foreign,
            unauthentic: refused.unauthentic + refused.malformed,
            replayed: refused.replayed + refused.stale,
            unreadable: self.unread.unreadable,
        };
        Quality { dropped, ..self.reporter.quality() }
    }

    /// Counts a datagram in which there is nothing for a call.
    pub(super) fn unreadable(&mut self) -> Arrived {
        self.unread.unreadable += 1;
        Arrived::Foreign
    }

    /// Reads a report; `false` when it is none of the far end's.
    pub(super) fn read_report(&mut self, now: CallTime, from: SocketAddr, datagram: &mut [u8]) -> bool {
        if !self.source.accepts_report(from) && !self.is_told_reporter(from) {
            self.unread.foreign += 1;
            return false;
        }
        let ntp = self.ntp(now);
        let Some(report) = self.guard.open_report(datagram).and_then(|length| datagram.get(..length)) else {
            return false;
        };
        // That its stream is over is told by its signalling too.
        self.reporter.receive(now, ntp, report);
        let told = rtp::rtcp::parse(report).next().is_some();
        self.unread.unreadable += u64::from(!told);
        told
    }

    /// Whether the description names this host for reports (RFC 3605), and has told the truth of the sound.
    fn is_told_reporter(&self, from: SocketAddr) -> bool {
        let host = self.media.rtcp.map(|told| told.ip());
        self.source.remote() == self.media.remote && host == Some(from.ip().to_canonical())
    }

    /// Where a report goes: where the description says (RFC 3605); where the sound's address was learned, to that host,
    /// on the port above it, as RFC 3550 section 11 has it, where the description names another one.
    fn addressed(&mut self, mut bytes: Vec<u8>) -> Option<Report> {
        let sound = self.source.remote()?;
        let shared = self.media.rtcp_mux;
        let to = match self.media.rtcp {
            _ if shared => sound,
            Some(told) if told.ip() == sound.ip() || self.media.remote == Some(sound) => told,
            _ => SocketAddr::new(sound.ip(), sound.port().checked_add(1)?),
        };
        self.guard.close_report(&mut bytes).then_some(Report { to, shared, bytes })
    }

    fn ntp(&self, now: CallTime) -> u64 {
        rtp::rtcp::ntp(Duration::from_millis(self.began_unix_ms) + now.0)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use protocol::CallTime;
    use rtp::rtcp::{Rtcp, parse};
    use rtp::{Datagram, Outgoing, Reporter, Rtp};

    use super::super::tests::{PEER, leg, sound, talk};
    use super::super::{Arrived, RtpLeg};

    fn ssrc_of(datagram: &[u8]) -> u32 {
        Rtp::parse(datagram).unwrap().header.ssrc
    }

    /// The identity of the next packet of ours.
    fn sent(leg: &mut RtpLeg) -> (u32, Vec<u8>) {
        let mut out = Vec::new();
        leg.send(&mut [100; 160], |_, packet| out.push(packet));
        (ssrc_of(&out[0]), out.remove(0))
    }

    #[test]
    fn a_stream_that_has_our_identity_makes_ours_another_one_and_one_that_reflects_us_does_so_once() {
        let (mut leg, peer) = (leg(None, false), PEER.parse::<SocketAddr>().unwrap());
        let mut theirs = Outgoing::new(5, 100, 0);
        assert_eq!(sent(&mut leg).0, 5);
        assert!(matches!(leg.receive(CallTime::ZERO, peer, &mut sound(&mut theirs)), Arrived::Sound));
        let (ours, mut packet) = sent(&mut leg);
        assert_ne!(ours, 5);
        let parting = leg.report(CallTime::ms(20)).unwrap().bytes;
        assert!(parse(&parting).any(|packet| matches!(packet, Rtcp::Bye { ssrc: 5 })));
        assert!(leg.report(CallTime::ms(20)).is_none(), "it is said once");
        for _ in 0..50 {
            assert!(matches!(leg.receive(CallTime::ms(20), peer, &mut packet.clone()), Arrived::Sound));
            packet = sent(&mut leg).1;
        }
        assert_eq!(ssrc_of(&packet), ours, "what comes back changes nothing");
        let due = talk(&mut leg, &mut theirs, 5, None);
        assert!(matches!(parse(&due[0].bytes).next(), Some(Rtcp::Sender { ssrc, .. }) if ssrc == ours));
        assert!(
            parse(&leg.bye(CallTime::ms(9_000)).unwrap().bytes)
                .any(|packet| matches!(packet, Rtcp::Bye { ssrc } if ssrc == ours))
        );
    }

    #[test]
    fn a_stranger_that_sends_under_our_identity_changes_nothing() {
        let mut leg = leg(None, false);
        let stranger = "203.0.113.9:4000".parse().unwrap();
        let mut packet = sound(&mut Outgoing::new(5, 100, 0));
        assert!(matches!(leg.receive(CallTime::ZERO, stranger, &mut packet), Arrived::Foreign));
        assert_eq!(sent(&mut leg).0, 5);
    }

    #[test]
    fn what_is_no_sound_that_was_agreed_on_and_reports_of_strangers_are_counted() {
        let mut leg = leg(None, false);
        let receiver_report = [0x81, 201, 0, 1, 0, 0, 0, 9];
        let mut other_type = sound(&mut Outgoing::new(9, 0, 0));
        other_type[1] = 77;
        let mut garbage = vec![0x80, 0, 1];
        let mut empty_report = [0x80, 255, 0, 0, 0, 0, 0, 0].to_vec();
        for datagram in [&mut other_type, &mut garbage, &mut Vec::new(), &mut empty_report] {
            assert!(matches!(leg.receive(CallTime::ZERO, PEER.parse().unwrap(), datagram), Arrived::Foreign));
        }
        let stranger = "203.0.113.9:4001".parse().unwrap();
        leg.receive(CallTime::ZERO, stranger, &mut receiver_report.to_vec());
        let dropped = leg.quality().dropped;
        assert_eq!((dropped.unreadable, dropped.foreign), (4, 1), "{dropped:?}");
    }

    #[test]
    fn reports_go_to_another_host_that_the_description_names_and_are_read_from_there() {
        let elsewhere: SocketAddr = "192.0.2.50:4500".parse().unwrap();
        let (mut leg, mut stream) = (leg(None, false), Outgoing::new(9, 0, 0));
        leg.media.rtcp = Some(elsewhere);
        let reports = talk(&mut leg, &mut stream, 20, None);
        assert!(reports.len() > 2 && reports.iter().all(|report| report.to == elsewhere));
        let mut theirs = Reporter::new(CallTime::ZERO, 8000, 9, "peer");
        let header = rtp::Header { marker: false, payload_type: 0, sequence: 1, timestamp: 0, ssrc: 5 };
        theirs.heard(CallTime::ZERO, &header);
        let mut bytes = Vec::new();
        assert!(theirs.poll(CallTime::ms(9000), 0, &stream, &mut bytes));
        assert!(matches!(Datagram::classify(&bytes), Datagram::Rtcp));
        let mut told = |from: &str| {
            leg.receive(CallTime::ms(9000), from.parse().unwrap(), &mut bytes.clone());
            leg.quality().told.is_some()
        };
        assert!(!told("203.0.113.9:4500") && told("192.0.2.50:4500"));
    }
}
