//! Offer and answer for one stream of audio (RFC 3264, RFC 8866).
//!
//! The grammar is our own and not `sipx-sdp`'s: that one refuses a whole description for a fault in a line
//! that does not concern us (an `o=` id of more than 64 bits, a bad port of a video line), copies every
//! token, has no limits, and brings hashes and random numbers along.

mod answer;
mod crypto;
mod error;
mod hosts;
mod offer;
mod parse;
mod write;

use std::net::{IpAddr, SocketAddr};

use audio::Codec;

use crate::srtp::Keys;

pub use answer::{answer, answer_by_candidate, turn_down};
pub use crypto::{KeyRing, RING_BYTES, Security, redacted};
pub use error::SdpError;
pub use hosts::{Host, hosts, located};
pub use offer::{offer, read_answer, read_answer_by_candidate};
pub use write::standing_again;

/// Packet lengths we send and accept, in milliseconds.
const PTIME_MS: std::ops::RangeInclusive<u32> = 10..=60;
/// Name of RFC 3389 payloads in `a=rtpmap`.
const COMFORT_NOISE: &str = "CN";
/// Their number and clock where they have a static one (RFC 3551 section 4.1).
const STATIC_NOISE: (u8, u32) = (13, 8000);
/// Name of RFC 4733 payloads in `a=rtpmap`.
const TELEPHONE_EVENT: &str = "telephone-event";

/// Our side of a negotiation.
#[derive(Clone, Copy, Debug)]
pub struct Local<'a> {
    /// The address that the peer is to send to, as it sees it (`external_ip`).
    pub address: IpAddr,
    /// The RTP port.
    pub port: u16,
    /// Id of the `o=` line: the same through the whole dialog.
    pub origin_id: u64,
    /// The description we sent last in this dialog. Its version is kept while nothing changes and counted
    /// up when something does (RFC 3264 section 8); a new offer keeps its media lines and payload numbers.
    pub previous: Option<&'a str>,
    /// The codecs we allow, best first. At least one.
    pub codecs: &'a [&'static Codec],
    /// Whether digits by RFC 4733 are allowed.
    pub telephone_event: bool,
    /// Whether comfort noise (RFC 3389) may come in place of silence. It only goes with 8000 Hz clocks.
    pub comfort_noise: bool,
    /// Whether our offers let reports share the port of the sound (RFC 5761). Answers do what the peer asks.
    pub rtcp_mux: bool,
    /// Whether the sound is encrypted.
    pub security: Security<'a>,
    /// What we want: `SendRecv`, or less to put the peer on hold.
    pub direction: Direction,
    /// Packet length we like best, in milliseconds; brought into 10 to 60.
    pub ptime_ms: u32,
    /// The `s=` line; printable ASCII, anything else makes it `-`.
    pub name: &'a str,
}

/// Our answer to an offer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The description to send.
    pub sdp: String,
    /// What has been agreed.
    pub media: Negotiated,
}

/// What both sides have agreed on.
#[derive(Clone, Debug)]
pub struct Negotiated {
    /// The codec we send, and the first one we hear.
    pub codec: &'static Codec,
    /// Payload type to send it as.
    pub payload_type: u8,
    /// Every payload type on which the peer may send sound. More than one when the peer's answer leaves it
    /// a choice, or when it numbers a codec differently from our offer.
    pub voices: Vec<(u8, &'static Codec)>,
    /// The peer's `a=fmtp` parameters for the codec; empty for none.
    pub fmtp: String,
    /// How digits travel, if both sides can.
    pub telephone_event: Option<TelephoneEvent>,
    /// Payload type of comfort noise, if both sides have it.
    pub comfort_noise: Option<u8>,
    /// What to encrypt with; `None` for sound in clear.
    pub keys: Option<Keys>,
    /// Where to send, by the peer's SDP. `None` when it wants nothing: hold by `0.0.0.0` or port 0.
    pub remote: Option<SocketAddr>,
    /// Where to send reports. `None` with [`Negotiated::remote`].
    pub rtcp: Option<SocketAddr>,
    /// Whether reports share the port of the sound in both directions (RFC 5761).
    pub rtcp_mux: bool,
    /// What we may do now.
    pub direction: Direction,
    /// Whether the peer holds us: it wants to hear nothing (`sendonly`, `inactive`, `0.0.0.0`, port 0).
    pub held: bool,
    /// Length of the packets to send, in milliseconds: 10 to 60, a multiple of 10.
    pub ptime_ms: u32,
}

impl Negotiated {
    /// What a received payload type is.
    pub fn payload(&self, payload_type: u8) -> Payload {
        let voice = self.voices.iter().find(|(number, _)| *number == payload_type);
        match (voice, self.telephone_event) {
            (Some((_, codec)), _) => Payload::Voice(codec),
            (None, Some(event)) if event.heard_as == payload_type || event.payload_type == payload_type => {
                Payload::Digit
            }
            (None, _) if self.comfort_noise == Some(payload_type) => Payload::Noise,
            (None, _) => Payload::Unknown,
        }
    }
}

/// What a packet carries by its payload type.
#[derive(Clone, Copy, Debug)]
pub enum Payload {
    /// Sound of this codec.
    Voice(&'static Codec),
    /// A telephone-event.
    Digit,
    /// Comfort noise: the peer is silent, see [`crate::comfort_noise`].
    Noise,
    /// Nothing that was agreed on: to be dropped and counted.
    Unknown,
}

/// How digits travel (RFC 4733).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// Payload type to send them as.
    pub payload_type: u8,
    /// Payload type we announced for hearing them; differs only when the peer renumbers our offer.
    pub heard_as: u8,
    /// Their clock in Hz; that of the codec unless the peer has no other.
    pub clock: u32,
}

/// Which way a stream flows, seen from the side whose direction it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    #[default]
    SendRecv,
    /// From us to the peer only: the peer is on hold.
    SendOnly,
    /// From the peer to us only: we are on hold.
    RecvOnly,
    /// Neither way.
    Inactive,
}

impl Direction {
    /// A direction by what is allowed.
    pub fn new(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Direction::SendRecv,
            (true, false) => Direction::SendOnly,
            (false, true) => Direction::RecvOnly,
            (false, false) => Direction::Inactive,
        }
    }

    /// Whether we may send.
    pub fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// Whether we may hear.
    pub fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    /// The same stream seen from the other side.
    pub fn reversed(self) -> Self {
        Direction::new(self.receives(), self.sends())
    }

    /// What both directions allow.
    pub fn and(self, other: Self) -> Self {
        Direction::new(self.sends() && other.sends(), self.receives() && other.receives())
    }

    /// The attribute's name.
    pub fn name(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }

    fn by_name(name: &str) -> Option<Self> {
        use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
        [SendRecv, SendOnly, RecvOnly, Inactive].into_iter().find(|d| d.name() == name)
    }
}
