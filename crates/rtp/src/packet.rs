//! The RTP packet (RFC 3550 section 5.1) and the sorting of what arrives on a media port (RFC 7983).
//!
//! The packet is our own hundred lines and not `sipx-rtp`'s, because that one decodes from and encodes to
//! `Bytes`: one allocation and one copy per packet in each direction. Here a received packet is a view into
//! the receive buffer and a sent one is appended to a buffer that is used again, so neither allocates.

use thiserror::Error;

/// Length of the fixed part of the header in bytes.
pub const HEADER_LEN: usize = 12;

const VERSION: u8 = 2;
const PADDING_BIT: u8 = 0x20;
const EXTENSION_BIT: u8 = 0x10;
const CSRC_COUNT: u8 = 0x0f;
const MARKER_BIT: u8 = 0x80;
const PAYLOAD_TYPE: u8 = 0x7f;

/// A received RTP packet: its header, and its payload as a view into the datagram.
///
/// Contributing sources and header extensions are skipped: nothing here uses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtp<'a> {
    /// The fixed header.
    pub header: Header,
    /// What the packet carries, without padding. May be empty.
    pub payload: &'a [u8],
}

impl<'a> Rtp<'a> {
    /// Reads a datagram as an RTP packet.
    ///
    /// # Errors
    /// Says what is wrong with a datagram that is none; such a datagram is to be dropped and counted.
    pub fn parse(datagram: &'a [u8]) -> Result<Rtp<'a>, BadPacket> {
        let (fixed, mut rest) = datagram.split_first_chunk::<HEADER_LEN>().ok_or(BadPacket::Short)?;
        let [first, second, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3] = *fixed;
        rest = rest.get(behind_header(first, rest)?..).ok_or(BadPacket::Extension)?;
        if first & PADDING_BIT != 0 {
            rest = without_padding(rest).ok_or(BadPacket::Padding)?;
        }
        let header = Header {
            marker: second & MARKER_BIT != 0,
            payload_type: second & PAYLOAD_TYPE,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([i0, i1, i2, i3]),
        };
        Ok(Rtp { header, payload: rest })
    }
}

/// Bytes of contributing sources and extension between the fixed header and the payload. What stands behind
/// may still be encrypted.
fn behind_header(first: u8, rest: &[u8]) -> Result<usize, BadPacket> {
    if first >> 6 != VERSION {
        return Err(BadPacket::Version);
    }
    let csrcs = usize::from(first & CSRC_COUNT) * 4;
    let rest = rest.get(csrcs..).ok_or(BadPacket::Csrc)?;
    if first & EXTENSION_BIT == 0 {
        return Ok(csrcs);
    }
    let (&[_, _, l0, l1], after) = rest.split_first_chunk::<4>().ok_or(BadPacket::Extension)?;
    let extension = usize::from(u16::from_be_bytes([l0, l1])) * 4;
    after.get(extension..).ok_or(BadPacket::Extension)?;
    Ok(csrcs + 4 + extension)
}

/// What is readable of a packet whose payload is encrypted: SSRC, sequence number, and where the payload
/// begins.
pub(crate) fn front(packet: &[u8]) -> Result<(u32, u16, usize), BadPacket> {
    let (fixed, rest) = packet.split_first_chunk::<HEADER_LEN>().ok_or(BadPacket::Short)?;
    let [first, _, s0, s1, _, _, _, _, i0, i1, i2, i3] = *fixed;
    let clear = HEADER_LEN + behind_header(first, rest)?;
    Ok((u32::from_be_bytes([i0, i1, i2, i3]), u16::from_be_bytes([s0, s1]), clear))
}

/// The last byte of a padded packet counts the padding, itself included, so it is never zero.
fn without_padding(padded: &[u8]) -> Option<&[u8]> {
    let padding = usize::from(*padded.last()?);
    if padding == 0 {
        return None;
    }
    padded.get(..padded.len().checked_sub(padding)?)
}

/// The fixed RTP header. We write neither contributing sources nor extensions nor padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// First packet after silence, or of an event.
    pub marker: bool,
    /// 0 to 127; the highest bit is not sent.
    pub payload_type: u8,
    /// Grows by one with each packet and wraps.
    pub sequence: u16,
    /// In units of the codec's RTP clock, wraps.
    pub timestamp: u32,
    /// Which stream the packet belongs to.
    pub ssrc: u32,
}

impl Header {
    /// The twelve bytes of this header.
    pub fn bytes(&self) -> [u8; HEADER_LEN] {
        let marker = if self.marker { MARKER_BIT } else { 0 };
        let [s0, s1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [i0, i1, i2, i3] = self.ssrc.to_be_bytes();
        [VERSION << 6, marker | (self.payload_type & PAYLOAD_TYPE), s0, s1, t0, t1, t2, t3, i0, i1, i2, i3]
    }
}

/// Appends a packet to `out`. A buffer that has once held a packet of this size does not allocate again.
pub fn write(header: &Header, payload: &[u8], out: &mut Vec<u8>) {
    out.reserve(HEADER_LEN + payload.len());
    out.extend_from_slice(&header.bytes());
    out.extend_from_slice(payload);
}

/// Why a datagram is not an RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadPacket {
    /// Fewer bytes than the fixed header.
    #[error("RTP packet shorter than its 12-byte header")]
    Short,
    /// The version field is not 2.
    #[error("RTP version is not 2")]
    Version,
    /// The list of contributing sources runs past the end.
    #[error("RTP contributing sources run past the end of the packet")]
    Csrc,
    /// The header extension runs past the end.
    #[error("RTP header extension runs past the end of the packet")]
    Extension,
    /// The padding is zero or longer than the packet.
    #[error("RTP padding is zero or longer than the packet")]
    Padding,
}

/// What a datagram on a media port claims to be, by its first two bytes (RFC 7983 section 7, RFC 5761
/// section 4). A claim only: the parser of that kind has the last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// Sound or a telephone-event.
    Rtp,
    /// Reports.
    Rtcp,
    /// Connectivity checks.
    Stun,
    /// A key exchange.
    Dtls,
    /// Anything else, the empty datagram included.
    Other,
}

impl Datagram {
    /// Sorts a datagram by its first two bytes.
    pub fn classify(datagram: &[u8]) -> Datagram {
        match *datagram {
            [0..=3, ..] => Datagram::Stun,
            [20..=63, ..] => Datagram::Dtls,
            [128..=191, 192..=223, ..] => Datagram::Rtcp,
            [128..=191, _, ..] => Datagram::Rtp,
            _ => Datagram::Other,
        }
    }
}
