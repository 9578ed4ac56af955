//! Why a description cannot be agreed on.

use thiserror::Error;

/// Why an offer or answer is refused. Pieces of the peer's text in it are cut short and printable.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SdpError {
    /// A line that matters cannot be read.
    #[error("SDP line {line}: {what}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What is wrong, and what belongs there.
        what: &'static str,
    },
    /// Neither the session nor its audio has a `c=` line.
    #[error("SDP has no c= line for its audio; it needs `c=IN IP4 <address>`")]
    NoConnection,
    /// Larger than any description of a phone call.
    #[error("SDP too large: at most {limit} {what} are read")]
    TooLarge {
        /// The limit that is passed.
        limit: usize,
        /// What it counts.
        what: &'static str,
    },
    /// No `m=audio` line with a port.
    #[error("SDP has no m=audio line with a port")]
    NoAudio,
    /// None of the codecs is ours.
    #[error("no common codec: the peer has {theirs}, we allow {ours}")]
    NoCodec {
        /// The peer's, as far as they are named.
        theirs: String,
        /// Ours.
        ours: String,
    },
    /// The audio is wanted on a transport that is not spoken or not switched on here.
    #[error(
        "audio is wanted as {protocol}; spoken are RTP/AVP, and RTP/SAVP where encryption is switched on"
    )]
    Transport {
        /// The transport wanted.
        protocol: String,
    },
    /// Sound has to be encrypted, and the peer has it in clear only.
    #[error("the peer has no a=crypto key for its audio, and sound in clear is not allowed")]
    Unencrypted,
    /// None of the peer's crypto suites is ours.
    #[error("crypto suite {suite} is not spoken here")]
    Suite {
        /// The first suite named.
        suite: String,
    },
    /// A key line of the peer's cannot be met.
    #[error("encryption cannot be agreed on: {what}")]
    Crypto {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The address is a name that has not been replaced by an address ([`located`](super::located)).
    #[error(
        "media address `{name}` is no IPv4 or IPv6 address and no name of a host that has one of the kind it says"
    )]
    HostName {
        /// The name given.
        name: String,
    },
    /// The address belongs to no single peer: multicast or broadcast.
    #[error("media address {address} is multicast or broadcast; an address of one peer is needed")]
    NotOnePeer {
        /// The address given.
        address: String,
    },
    /// The peer is on IPv6 and we on IPv4, or the other way round.
    #[error("media address {address} is of another IP version than ours")]
    AddressFamily {
        /// The address given.
        address: String,
    },
    /// The peer's answer rejects the audio that we offered.
    #[error("the peer rejected our audio (port 0 in its answer)")]
    Refused,
}

impl SdpError {
    /// The SIP status that answers such an offer.
    pub fn status(&self) -> u16 {
        match self {
            SdpError::Malformed { .. } | SdpError::NoConnection => 400,
            _ => 488,
        }
    }

    /// Code for a `Warning` header beside a 488 (RFC 3261 section 20.43).
    pub fn warning(&self) -> u16 {
        match self {
            SdpError::AddressFamily { .. } => 301,
            SdpError::Transport { .. } => 302,
            SdpError::NoAudio | SdpError::Refused => 304,
            SdpError::NoCodec { .. } => 305,
            SdpError::Unencrypted | SdpError::Suite { .. } | SdpError::Crypto { .. } => 306,
            SdpError::NotOnePeer { .. } => 330,
            _ => 399,
        }
    }
}

/// Longest piece of the peer's text in an error.
const EXCERPT: usize = 64;

/// A piece of the peer's text that is safe in a log line and in a header.
pub(super) fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT).map(|c| if c.is_ascii_graphic() && c != '"' { c } else { '?' }).collect()
}
