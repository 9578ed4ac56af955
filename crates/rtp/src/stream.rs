//! Both ends of a stream: the numbering of what we send, and the address we hear and answer.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use protocol::CallTime;

use crate::packet::{self, Header};
use crate::telephone_event::EventPacket;

/// Numbers the packets we send. One per stream and for its whole life, through changes of codec and holds:
/// the peer's jitter buffer sees one unbroken sequence.
#[derive(Clone, Debug)]
pub struct Outgoing {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    silent: bool,
    packets: u32,
    octets: u32,
}

impl Outgoing {
    /// A stream that has sent nothing. RFC 3550 section 5.1 wants all three numbers random, so that a
    /// stranger cannot guess them and a known plain text does not help against SRTP.
    pub fn new(ssrc: u32, sequence: u16, timestamp: u32) -> Self {
        Outgoing { ssrc, sequence, timestamp, silent: true, packets: 0, octets: 0 }
    }

    /// Appends a packet of sound to `out`. `samples` is its length in units of the RTP clock; the time of
    /// the stream advances by it. The first packet after silence carries the marker.
    pub fn sound(&mut self, payload_type: u8, samples: u32, payload: &[u8], out: &mut Vec<u8>) {
        self.encoded(payload_type, samples, out, |out| out.extend_from_slice(payload));
    }

    /// As [`Outgoing::sound`], with a payload that `encode` appends to the packet.
    pub fn encoded(
        &mut self,
        payload_type: u8,
        samples: u32,
        out: &mut Vec<u8>,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        let header = self.number(payload_type, self.silent, self.timestamp);
        self.silent = false;
        self.skip_time(samples);
        out.extend_from_slice(&header.bytes());
        let start = out.len();
        encode(out);
        self.count(out.len().saturating_sub(start));
    }

    /// Lets `samples` of the RTP clock pass without a packet: the next one starts a talk spurt.
    pub fn skip(&mut self, samples: u32) {
        self.silent = true;
        self.skip_time(samples);
    }

    /// Appends a packet of a digit to `out`. It does not advance the time of the stream: while a digit is
    /// sent, each tick also calls [`Outgoing::skip`] in place of the sound that it replaces.
    pub fn event(&mut self, payload_type: u8, event: &EventPacket, out: &mut Vec<u8>) {
        let header = self.number(payload_type, event.marker, event.timestamp);
        packet::write(&header, &event.payload, out);
        self.count(event.payload.len());
    }

    /// Goes on under another identity, because the peer has ours: to those who hear it a new stream, of which nothing
    /// has been sent yet (RFC 3550 section 8.2).
    pub fn rename(&mut self, ssrc: u32) {
        *self = Outgoing { ssrc, silent: true, packets: 0, octets: 0, ..*self };
    }

    /// RTP time of the next sample to be sent.
    pub fn timestamp(&self) -> u32 {
        self.timestamp
    }

    /// The identity of this stream.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Packets sent so far, wrapping as in a sender report.
    pub fn packets(&self) -> u32 {
        self.packets
    }

    /// Payload bytes sent so far, wrapping as in a sender report.
    pub fn octets(&self) -> u32 {
        self.octets
    }

    fn number(&mut self, payload_type: u8, marker: bool, timestamp: u32) -> Header {
        let header = Header { marker, payload_type, sequence: self.sequence, timestamp, ssrc: self.ssrc };
        self.sequence = self.sequence.wrapping_add(1);
        header
    }

    fn skip_time(&mut self, samples: u32) {
        self.timestamp = self.timestamp.wrapping_add(samples);
    }

    fn count(&mut self, octets: usize) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(octets as u32);
    }
}

/// Whether a stream may come from another address than the SDP names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learning {
    /// Only the address of the SDP is heard.
    Off,
    /// While the address of the SDP keeps silent, another one is learned after probation: the peer sits
    /// behind a NAT that its SDP does not know of.
    On,
}

/// Consecutive packets of one stream from one address that make it trustworthy.
const PROBATION_PACKETS: u8 = 4;
/// How long the expected address has to keep silent before one of the same [`Scope`] takes its place. It is
/// probably reachable and about to send, so that a stranger who is quicker must not win. When the scopes
/// differ the SDP was written behind a NAT and there is nothing to wait for, unless the host is known that
/// the signalling comes from: then whoever is not that host waits.
const PROBATION_TIME: Duration = Duration::from_secs(1);
/// Addresses on probation at a time. When full, the one with the shortest run makes place.
const CANDIDATES: usize = 4;
/// Of these, ports of one host: a stranger who changes its port with every packet cannot push out others.
const PER_HOST: usize = 2;
/// A step in the sequence up to this is loss in the same stream, not another one.
const LOSS: u16 = 50;

/// The one address a stream is heard from and answered to: symmetric RTP without RTP bleed.
///
/// It starts as the address of the SDP. Where [`Learning`] allows it, another address replaces it after
/// four consecutive packets, as long as the expected one has sent nothing. An SDP that names the host its
/// signalling comes from knows its own address: of such a peer only another port is learned. Once the source is known
/// it stays, whatever a re-INVITE repeats; only the address of the SDP itself still wins over a learned one, and
/// after a re-INVITE another port of the same host. Packets on probation are not heard.
#[derive(Clone, Debug)]
pub struct Source {
    signalled: Option<SocketAddr>,
    expected: Option<SocketAddr>,
    confirmed: bool,
    /// Another port of the known host may take its place.
    may_move: bool,
    learning: Learning,
    signalling: Option<IpAddr>,
    refused: Option<SocketAddr>,
    candidates: Vec<Candidate>,
    foreign: u64,
}

impl Source {
    /// A source at the address of the SDP. `None` (hold by `0.0.0.0` or port 0) is heard from nowhere.
    pub fn new(signalled: Option<SocketAddr>, learning: Learning) -> Self {
        let signalled = signalled.map(canonical);
        Source {
            signalled,
            expected: signalled,
            confirmed: false,
            may_move: false,
            learning,
            signalling: None,
            refused: None,
            candidates: Vec::new(),
            foreign: 0,
        }
    }

    /// Tells the host that the peer's signalling comes from. Behind one NAT its sound comes from there too:
    /// it is learned without waiting, while others have to outlast a second of silence.
    pub fn with_signalling_from(mut self, host: IpAddr) -> Self {
        self.signalling = Some(host.to_canonical());
        self
    }

    /// Names an address whose packets prove nothing, whoever sends them: a party that had this stream before. It is
    /// heard again only where a description names it.
    pub fn without(mut self, address: SocketAddr) -> Self {
        self.refused = Some(canonical(address));
        self
    }

    /// Packets that came from elsewhere and were dropped, those on probation included.
    pub fn foreign(&self) -> u64 {
        self.foreign
    }

    /// Whether a packet that came from `from` is to be heard. Everything else is to be dropped unanswered.
    ///
    /// Only well-formed packets of an agreed payload type are to be shown to it: others prove nothing.
    pub fn accept(&mut self, now: CallTime, from: SocketAddr, header: &Header) -> bool {
        let from = canonical(from);
        let accepted = self.is_peer(now, from, header);
        if accepted {
            self.settle(from);
        } else {
            self.foreign += 1;
        }
        accepted
    }

    fn is_peer(&mut self, now: CallTime, from: SocketAddr, header: &Header) -> bool {
        let (Some(signalled), Some(expected)) = (self.signalled, self.expected) else { return false };
        if from == signalled || from == expected {
            return true;
        }
        let port_only = self.confirmed && self.may_move || Some(signalled.ip()) == self.signalling;
        if self.confirmed && !self.may_move || port_only && from.ip() != expected.ip() {
            return false;
        }
        if self.learning == Learning::Off || Some(from) == self.refused {
            return false;
        }
        let wait = self.probation(from.ip(), expected);
        let candidate = self.candidate(now, from, header);
        candidate.run >= PROBATION_PACKETS && now.since(candidate.since) >= wait
    }

    /// How long `host` has to keep on sending while the `expected` address is silent. One that was learned
    /// before is known to be reachable, so that a re-INVITE is no moment in which a stranger is quicker than
    /// it; a new port of that host is its NAT's doing.
    fn probation(&self, host: IpAddr, expected: SocketAddr) -> Duration {
        let learned = Some(expected) != self.signalled;
        let known = Some(host) == self.signalling || learned && host == expected.ip();
        let stranger = self.signalling.is_some() || Scope::of(host) == Scope::of(expected.ip());
        if stranger && !known { PROBATION_TIME } else { Duration::ZERO }
    }

    /// Whether a report that came from `from` is to be read: its port may differ from that of the sound, its
    /// host may not.
    pub fn accepts_report(&self, from: SocketAddr) -> bool {
        self.expected.is_some_and(|expected| expected.ip() == canonical(from).ip())
    }

    /// Where to send to: the learned address, else the one of the SDP; `None` while on hold.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.expected
    }

    /// A new SDP has come, with the same address or another, and the host of its signalling where that is known. A new
    /// address counts at once, and a new host means that the peer has moved. Where both are the same, which is most
    /// re-INVITEs (hold, resume, refresh), a known source stays known, for its silence may be a muted microphone; but
    /// its new port behind the NAT may be learned.
    pub fn retarget(&mut self, signalled: Option<SocketAddr>, signalling: Option<IpAddr>) {
        let signalled = signalled.map(canonical);
        let signalling = signalling.map(|host| host.to_canonical());
        let moved = signalling.is_some() && self.signalling.is_some() && signalling != self.signalling;
        self.signalling = signalling.or(self.signalling);
        self.may_move = signalled == self.signalled && !moved;
        self.confirmed &= self.may_move;
        if signalled != self.signalled {
            self.signalled = signalled;
            self.expected = signalled;
        }
        self.candidates.clear();
    }

    fn settle(&mut self, from: SocketAddr) {
        self.expected = Some(from);
        self.confirmed = true;
        self.may_move = false;
        self.candidates.clear();
    }

    fn candidate(&mut self, now: CallTime, from: SocketAddr, header: &Header) -> &Candidate {
        let known = self.candidates.iter().position(|c| c.address == from);
        let at = match known {
            Some(at) => {
                self.candidates[at].hear(now, header);
                at
            }
            None => self.admit(Candidate::new(now, from, header)),
        };
        &self.candidates[at]
    }

    /// Puts a new address on probation; when there is no room, in place of the one with the shortest run.
    fn admit(&mut self, new: Candidate) -> usize {
        let host = new.address.ip();
        let crowded = self.candidates.iter().filter(|c| c.address.ip() == host).count() >= PER_HOST;
        let full = crowded || self.candidates.len() >= CANDIDATES;
        let replaceable = |at: &usize| !crowded || self.candidates[*at].address.ip() == host;
        let shortest =
            (0..self.candidates.len()).filter(replaceable).min_by_key(|&at| self.candidates[at].run);
        match shortest {
            Some(at) if full => {
                self.candidates[at] = new;
                at
            }
            _ => {
                self.candidates.push(new);
                self.candidates.len() - 1
            }
        }
    }
}

/// An address on probation.
#[derive(Clone, Debug)]
struct Candidate {
    address: SocketAddr,
    ssrc: u32,
    sequence: u16,
    run: u8,
    since: CallTime,
}

impl Candidate {
    fn new(now: CallTime, address: SocketAddr, header: &Header) -> Self {
        Candidate { address, ssrc: header.ssrc, sequence: header.sequence, run: 1, since: now }
    }

    /// Loss breaks the run but keeps the stream; another SSRC or a leap is a new stream.
    fn hear(&mut self, now: CallTime, header: &Header) {
        let step = header.sequence.wrapping_sub(self.sequence);
        if header.ssrc != self.ssrc || step > LOSS {
            *self = Candidate::new(now, self.address, header);
            return;
        }
        self.run = match step {
            0 => self.run,
            1 => self.run.saturating_add(1),
            _ => 1,
        };
        self.sequence = header.sequence;
    }
}

/// How far an address reaches. Two addresses of different scope cannot both name the same way to a peer.
#[derive(PartialEq, Eq)]
enum Scope {
    Loopback,
    Private,
    Global,
}

impl Scope {
    fn of(ip: IpAddr) -> Scope {
        match ip {
            _ if ip.is_loopback() => Scope::Loopback,
            IpAddr::V4(v4) if v4.is_private() || v4.is_link_local() || is_shared(v4.octets()) => {
                Scope::Private
            }
            IpAddr::V6(v6) if v6.is_unique_local() || v6.is_unicast_link_local() => Scope::Private,
            IpAddr::V4(_) | IpAddr::V6(_) => Scope::Global,
        }
    }
}

/// 100.64.0.0/10, the carriers' own NAT (RFC 6598).
fn is_shared(octets: [u8; 4]) -> bool {
    octets[0] == 100 && octets[1] & 0xc0 == 64
}

/// A dual-stack socket reports IPv4 peers as mapped IPv6 addresses; scope and flow do not name a peer.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
