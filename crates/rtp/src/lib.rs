//! RTP, SRTP, RTCP, telephone-event and SDP offer/answer for SIP audio, computed without a socket.
//!
//! Must not: open a socket or file, read a clock, start a task, draw random numbers, resolve a name. Time,
//! addresses and the random starting points of a stream are arguments; all input is taken to be hostile.
//!
//! Rooms in reading order:
//! - [`packet`]: what kind of datagram this is, and the RTP header in both directions.
//! - [`srtp`]: encryption of packets and reports, with the keys that offer and answer agree on.
//! - [`stream`]: numbering of what we send ([`Outgoing`]) and whom we hear and answer ([`Source`]).
//! - [`telephone_event`]: digits by RFC 4733, received once each and sent.
//! - [`comfort_noise`]: how loud the silence of a peer is.
//! - [`dialer`]: digits to be sent, in step with sound.
//! - [`watch`]: media timeouts.
//! - [`rtcp`]: reports of loss, jitter and round trip; [`reporter`] sends and reads them, [`quality`] is what they
//!   come to.
//! - [`sdp`]: offer and answer, giving one [`Negotiated`] stream.
#![forbid(unsafe_code)]

pub mod comfort_noise;
pub mod dialer;
pub mod packet;
pub mod quality;
pub mod reporter;
pub mod rtcp;
pub mod sdp;
pub mod srtp;
pub mod stream;
pub mod telephone_event;
pub mod watch;

pub use dialer::Dialer;
pub use packet::{BadPacket, Datagram, Header, Rtp};
pub use quality::Quality;
pub use reporter::Reporter;
pub use sdp::{Answer, Direction, Local, Negotiated, SdpError, TelephoneEvent};
pub use srtp::{Keys, Srtp, SrtpError};
pub use stream::{Learning, Outgoing, Source};
pub use telephone_event::{DigitSender, Digits};
pub use watch::Watch;
