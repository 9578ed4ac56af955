//! Encrypted sound and reports: SRTP and SRTCP (RFC 3711, RFC 6188, RFC 7714), with keys from `a=crypto` (RFC 4568).
//!
//! The ciphers are those of `aws-lc-rs`, which TLS brings along anyway; everything works in the caller's
//! buffer. `sipx-rtp`'s own SRTP is not used: it returns each packet in a new allocation.

mod cipher;
mod suite;
#[cfg(test)]
mod vectors;
mod window;

use std::fmt;

use thiserror::Error;

use cipher::{Place, Session, Shape};
pub use suite::{
    AEAD_AES_128_GCM, AEAD_AES_256_GCM, AES_256_CM_HMAC_SHA1_32, AES_256_CM_HMAC_SHA1_80,
    AES_CM_128_HMAC_SHA1_32, AES_CM_128_HMAC_SHA1_80, Keys, Master, Mki, SUITES, Suite,
};
use window::{Windows, nearest};

use crate::packet;

/// The readable front of a report: its first header word and the reporter's SSRC.
const REPORT_CLEAR: usize = 8;
/// Mark of an encrypted report in its index word.
const ENCRYPTED: u32 = 0x8000_0000;
/// Reports that one key protects (RFC 3711 section 9.2).
const REPORT_LIMIT: u32 = 0x7fff_ffff;
/// Packets of sound that one key protects (RFC 3711 section 9.2).
const SOUND_LIMIT: u64 = 1 << 48;

/// Protection of one leg in both directions. One per leg and for its whole life: a later offer or answer
/// changes its keys by [`Srtp::rekey`], so that no key ever protects two packets at the same index.
pub struct Srtp {
    keys: Keys,
    outbound: Outbound,
    inbound: Inbound,
    refused: Refused,
}

impl Srtp {
    /// Protection with freshly agreed keys.
    ///
    /// # Errors
    /// [`SrtpError::Cipher`] when the cipher library takes no key of this suite.
    pub fn new(keys: &Keys) -> Result<Srtp, SrtpError> {
        Ok(Srtp {
            keys: *keys,
            outbound: Outbound::new(Session::new(keys.suite, &keys.ours)?),
            inbound: Inbound::new(Session::new(keys.suite, &keys.theirs)?),
            refused: Refused::default(),
        })
    }

    /// Goes on with the keys of a later agreement; the same keys change nothing. The indices of what we
    /// send run on in any case (RFC 3711 section 3.3.1). Those of a peer with a new key may run on or begin
    /// anew: both are understood.
    ///
    /// # Errors
    /// As [`Srtp::new`]; the old keys then stay.
    pub fn rekey(&mut self, keys: &Keys) -> Result<(), SrtpError> {
        let other_suite = keys.suite != self.keys.suite;
        let ours = match other_suite || keys.ours != self.keys.ours {
            true => Some(Session::new(keys.suite, &keys.ours)?),
            false => None,
        };
        if other_suite || keys.theirs != self.keys.theirs {
            let before = std::mem::take(&mut self.inbound.sound);
            self.inbound = Inbound { before, ..Inbound::new(Session::new(keys.suite, &keys.theirs)?) };
        }
        if let Some(session) = ours {
            self.outbound.session = session;
            self.outbound.reports = 0;
        }
        self.keys = *keys;
        Ok(())
    }

    /// Protects one RTP packet in place; it grows by [`Suite::tag_len`] and the name of the key, where it has one.
    ///
    /// # Errors
    /// [`SrtpError::Malformed`] for what is no RTP packet, [`SrtpError::Reused`] for a sequence number that
    /// has been sent before. The packet must then not be sent.
    pub fn protect(&mut self, packet: &mut Vec<u8>) -> Result<(), SrtpError> {
        let front = Front::of_sound(packet)?;
        let index = self.outbound.index(&front)?;
        let place = Place { ssrc: front.ssrc, index };
        let Session { sound, mki, .. } = &self.outbound.session;
        sound.seal(Shape { place, clear: front.clear }, packet)?;
        sound.name(mki, packet);
        Ok(())
    }

    /// Protects one compound RTCP datagram in place; it grows by [`Suite::report_tag_len`], four bytes and the name
    /// of the key, where it has one.
    ///
    /// # Errors
    /// [`SrtpError::Malformed`] for fewer than eight bytes, [`SrtpError::Exhausted`] after 2^31 reports.
    pub fn protect_report(&mut self, report: &mut Vec<u8>) -> Result<(), SrtpError> {
        let ssrc = reporter(report)?;
        let index = self.outbound.reports;
        if index == REPORT_LIMIT {
            return Err(SrtpError::Exhausted);
        }
        self.outbound.reports += 1;
        let place = Place { ssrc, index: u64::from(index) };
        let word = (index | ENCRYPTED).to_be_bytes();
        let shape = Shape { place, clear: REPORT_CLEAR };
        let Session { reports, mki, .. } = &self.outbound.session;
        reports.seal_report(shape, word, report)?;
        reports.name(mki, report);
        Ok(())
    }

    /// Opens one RTP packet in place and gives its length without the tag. Whatever a stranger, a replay,
    /// a peer in clear or a wrong key sends is an error, counted, and to be dropped; its bytes may have
    /// been overwritten.
    ///
    /// # Errors
    /// Says why the packet is not heard.
    pub fn unprotect(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let opened = self.inbound.open(packet);
        self.count(opened)
    }

    /// Opens one compound RTCP datagram in place and gives its length without index and tag.
    ///
    /// # Errors
    /// As [`Srtp::unprotect`].
    pub fn unprotect_report(&mut self, report: &mut [u8]) -> Result<usize, SrtpError> {
        let opened = self.inbound.open_report(report);
        self.count(opened)
    }

    /// What has been refused since the beginning.
    pub fn refused(&self) -> Refused {
        self.refused
    }

    /// The suite in use.
    pub fn suite(&self) -> &'static Suite {
        self.keys.suite
    }

    fn count(&mut self, opened: Result<usize, SrtpError>) -> Result<usize, SrtpError> {
        if let Err(error) = opened {
            self.refused.count(error);
        }
        opened
    }
}

impl fmt::Debug for Srtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Srtp").field("suite", &self.keys.suite.name).field("refused", &self.refused).finish()
    }
}

/// What we send.
struct Outbound {
    session: Session,
    /// SSRC and index of the last packet.
    last: Option<(u32, u64)>,
    reports: u32,
}

impl Outbound {
    fn new(session: Session) -> Self {
        Outbound { session, last: None, reports: 0 }
    }

    /// The index of the next packet; each is used once, for two packets under one give their sound away.
    fn index(&mut self, front: &Front) -> Result<u64, SrtpError> {
        let index = match self.last {
            Some((ssrc, last)) if ssrc == front.ssrc => {
                let index = nearest(last, front.sequence);
                if index <= last {
                    return Err(SrtpError::Reused);
                }
                index
            }
            _ => u64::from(front.sequence),
        };
        if index >= SOUND_LIMIT {
            return Err(SrtpError::Exhausted);
        }
        self.last = Some((front.ssrc, index));
        Ok(index)
    }
}

/// What we hear.
struct Inbound {
    session: Session,
    sound: Windows,
    reports: Windows,
    /// The streams under the key before this one, for their indices may run on.
    before: Windows,
    /// Copy of a packet of which the index has to be tried out.
    trial: Vec<u8>,
}

impl Inbound {
    fn new(session: Session) -> Self {
        Inbound {
            session,
            sound: Windows::default(),
            reports: Windows::default(),
            before: Windows::default(),
            trial: Vec::new(),
        }
    }

    fn open(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let front = Front::of_sound(packet)?;
        let Session { sound, mki, .. } = &self.session;
        let named = sound.unname(mki, packet).map_err(|_| SrtpError::Unauthentic)?;
        let packet = packet.get_mut(..named).ok_or(SrtpError::Malformed)?;
        if packet.len() < front.clear + self.session.sound.tag_len() {
            return Err(SrtpError::Malformed);
        }
        let (index, left) = match self.sound.of(front.ssrc) {
            Some(window) => {
                let index = window.index(front.sequence);
                window.check(index)?;
                let place = Place { ssrc: front.ssrc, index };
                let opened = self.session.sound.open(Shape { place, clear: front.clear }, packet);
                (index, opened.map_err(|_| SrtpError::Unauthentic)?)
            }
            None => self.open_first(&front, packet)?,
        };
        self.sound.hear(front.ssrc, index);
        Ok(left)
    }

    /// Opens the first packet of a stream. Its roll-over counter is zero, or one when the stream began
    /// shortly before the sequence wrapped and its first packets were lost, or goes on from before a change
    /// of keys.
    fn open_first(&mut self, front: &Front, packet: &mut [u8]) -> Result<(u64, usize), SrtpError> {
        let first = u64::from(front.sequence);
        let before = self.before.of(front.ssrc).map(|window| nearest(window.highest(), front.sequence));
        let mut tried = None;
        for index in [before, Some(first), Some(first + (1 << 16))].into_iter().flatten() {
            if tried == Some(index) {
                continue;
            }
            tried = Some(index);
            self.trial.clear();
            self.trial.extend_from_slice(packet);
            let place = Place { ssrc: front.ssrc, index };
            let shape = Shape { place, clear: front.clear };
            if let Ok(left) = self.session.sound.open(shape, &mut self.trial) {
                packet.copy_from_slice(&self.trial);
                return Ok((index, left));
            }
        }
        Err(SrtpError::Unauthentic)
    }

    fn open_report(&mut self, report: &mut [u8]) -> Result<usize, SrtpError> {
        let ssrc = reporter(report)?;
        let Session { reports, mki, .. } = &self.session;
        let named = reports.unname(mki, report).map_err(|_| SrtpError::Unauthentic)?;
        let report = report.get_mut(..named).ok_or(SrtpError::Malformed)?;
        let at = self.session.reports.word_at(report.len()).filter(|at| *at >= REPORT_CLEAR);
        let word = at.and_then(|at| report.get(at..)?.first_chunk::<4>()).ok_or(SrtpError::Malformed)?;
        let (word, number) = (*word, u32::from_be_bytes(*word));
        // Reports in clear are not agreed on, authentic or not.
        if number & ENCRYPTED == 0 {
            return Err(SrtpError::Unauthentic);
        }
        let index = u64::from(number & !ENCRYPTED);
        if let Some(window) = self.reports.of(ssrc) {
            window.check(index)?;
        }
        let shape = Shape { place: Place { ssrc, index }, clear: REPORT_CLEAR };
        let opened = self.session.reports.open_report(shape, word, report);
        let left = opened.map_err(|_| SrtpError::Unauthentic)?;
        self.reports.hear(ssrc, index);
        Ok(left)
    }
}

/// What is readable of a protected packet of sound.
struct Front {
    ssrc: u32,
    sequence: u16,
    /// Length of header, contributing sources and extension, all of which stay readable.
    clear: usize,
}

impl Front {
    fn of_sound(packet: &[u8]) -> Result<Front, SrtpError> {
        let (ssrc, sequence, clear) = packet::front(packet).map_err(|_| SrtpError::Malformed)?;
        Ok(Front { ssrc, sequence, clear })
    }
}

/// The SSRC of whoever reports.
fn reporter(report: &[u8]) -> Result<u32, SrtpError> {
    match report {
        [first, _, _, _, s0, s1, s2, s3, ..] if first >> 6 == 2 => {
            Ok(u32::from_be_bytes([*s0, *s1, *s2, *s3]))
        }
        _ => Err(SrtpError::Malformed),
    }
}

/// Why a packet is neither sent nor heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SrtpError {
    /// It is cut short or no RTP at all.
    #[error("no protected RTP packet: cut short, or not RTP")]
    Malformed,
    /// It was not protected with the agreed key: in clear, by a stranger, or changed on the way.
    #[error("packet is not authentic: sent in clear, with another key, or changed on the way")]
    Unauthentic,
    /// It has been heard before.
    #[error("packet has been received before")]
    Replayed,
    /// It is so old that nobody can tell whether it has been heard.
    #[error("packet is older than the replay window")]
    Stale,
    /// We would send a second packet under a sequence number.
    #[error("sequence number has been used under this key")]
    Reused,
    /// The key has protected as much as it may.
    #[error("the key has reached the end of its life")]
    Exhausted,
    /// The cipher library refuses the key or the packet.
    #[error("the cipher refuses the key or the packet")]
    Cipher,
}

impl From<aws_lc_rs::error::Unspecified> for SrtpError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        SrtpError::Cipher
    }
}

/// Packets refused by cause, sound and reports together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Cut short or no RTP.
    pub malformed: u64,
    /// In clear, with a wrong key, or changed.
    pub unauthentic: u64,
    /// Heard before.
    pub replayed: u64,
    /// Older than the replay window.
    pub stale: u64,
}

impl Refused {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.malformed + self.unauthentic + self.replayed + self.stale
    }

    fn count(&mut self, error: SrtpError) {
        match error {
            SrtpError::Malformed => self.malformed += 1,
            SrtpError::Replayed => self.replayed += 1,
            SrtpError::Stale => self.stale += 1,
            SrtpError::Unauthentic | SrtpError::Reused | SrtpError::Exhausted | SrtpError::Cipher => {
                self.unauthentic += 1;
            }
        }
    }
}
