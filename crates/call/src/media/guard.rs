//! Encryption of one RTP leg: none, or SRTP with the keys agreed on last.

use rtp::srtp::Refused;
use rtp::{Keys, Srtp};

/// Opens what comes in and protects what goes out. What has been agreed to be encrypted never passes in clear, in
/// neither direction, even where the cipher library refuses a key.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    /// Kept through agreements on clear sound, for no index may come twice under one key.
    srtp: Option<Srtp>,
    agreed: bool,
}

impl Guard {
    /// A new agreement: with these keys from now on, or in clear.
    pub(crate) fn agree(&mut self, keys: Option<&Keys>) {
        self.agreed = keys.is_some();
        let Some(keys) = keys else { return };
        match &mut self.srtp {
            // The old keys stay where new ones are refused: the peer's packets are then not heard.
            Some(srtp) => drop(srtp.rekey(keys)),
            None => self.srtp = Srtp::new(keys).ok(),
        }
    }

    /// Opens a packet of sound in place; its length, or `None` when it is not to be heard.
    pub(crate) fn open(&mut self, packet: &mut [u8]) -> Option<usize> {
        self.pass(packet.len(), |srtp| srtp.unprotect(packet).ok())
    }

    /// Protects a packet of sound in place; `false` when it must not be sent.
    pub(crate) fn close(&mut self, packet: &mut Vec<u8>) -> bool {
        self.pass(0, |srtp| srtp.protect(packet).ok().map(|()| 0)).is_some()
    }

    /// Opens a report in place; its length, or `None` when it is not to be read.
    pub(crate) fn open_report(&mut self, report: &mut [u8]) -> Option<usize> {
        self.pass(report.len(), |srtp| srtp.unprotect_report(report).ok())
    }

    /// Protects a report in place; `false` when it must not be sent.
    pub(crate) fn close_report(&mut self, report: &mut Vec<u8>) -> bool {
        self.pass(0, |srtp| srtp.protect_report(report).ok().map(|()| 0)).is_some()
    }

    /// What was not opened since the beginning.
    pub(crate) fn refused(&self) -> Refused {
        self.srtp.as_ref().map(Srtp::refused).unwrap_or_default()
    }

    /// Bytes by which a packet of sound grows.
    pub(crate) fn growth(&self) -> usize {
        self.srtp.as_ref().filter(|_| self.agreed).map_or(0, |srtp| srtp.suite().tag_len)
    }

    fn pass(&mut self, clear: usize, keyed: impl FnOnce(&mut Srtp) -> Option<usize>) -> Option<usize> {
        if self.agreed { self.srtp.as_mut().and_then(keyed) } else { Some(clear) }
    }
}
