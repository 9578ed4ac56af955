//! Digits in RTP (RFC 4733): received once each whatever is lost, and sent.

use std::time::Duration;

use crate::packet::Header;

/// The digits by event code (RFC 4733 section 3.2, table 3).
const DIGITS: [u8; 16] = *b"0123456789*#ABCD";
const END_BIT: u8 = 0x80;
const VOLUME_BITS: u8 = 0x3f;
/// Events remembered, so that a packet that was overtaken is not taken for a new press.
const REMEMBERED: usize = 8;
/// A duration cannot grow past this; a longer press goes on in a new segment (RFC 4733 section 2.5.1.3).
const FULL_SEGMENT: u32 = 0xffff;

/// Finds digits in the telephone-event packets of a stream.
///
/// A digit is reported with the first packet of it that arrives, be it the start, an update or one of the
/// three ends, and its other packets are known by timestamp and event code. The marker is not relied on.
#[derive(Clone, Debug)]
pub struct Digits {
    clock: u32,
    heard: [Option<Press>; REMEMBERED],
    newest: usize,
}

impl Digits {
    /// A receiver for events with an RTP clock of `clock` Hz: 8000, 16000 or 48000.
    pub fn new(clock: u32) -> Self {
        Digits { clock, heard: [None; REMEMBERED], newest: 0 }
    }

    /// Takes one telephone-event packet. Gives the digit, `0` to `9`, `*`, `#` or `A` to `D`, when this
    /// packet is the first of it. Other events and short payloads give nothing.
    pub fn push(&mut self, header: &Header, payload: &[u8]) -> Option<char> {
        let (&[code, flags, d0, d1], _) = payload.split_first_chunk::<4>()?;
        let digit = *DIGITS.get(usize::from(code))?;
        let press = Press {
            ssrc: header.ssrc,
            code,
            timestamp: header.timestamp,
            duration: u32::from(u16::from_be_bytes([d0, d1])),
            ended: flags & END_BIT != 0,
        };
        let clock = self.clock;
        if let Some(known) = self.heard.iter_mut().flatten().find(|known| known.goes_on_as(&press, clock)) {
            known.update(&press);
            return None;
        }
        self.newest = (self.newest + 1) % REMEMBERED;
        self.heard[self.newest] = Some(press);
        Some(char::from(digit))
    }
}

/// One key held down, as far as its packets have told.
#[derive(Clone, Copy, Debug)]
struct Press {
    ssrc: u32,
    code: u8,
    timestamp: u32,
    duration: u32,
    ended: bool,
}

impl Press {
    /// Whether `other` belongs to this press: by the same timestamp, by a timestamp inside the time the key
    /// is known to have been held (some senders move the timestamp with every packet; while the end is
    /// unknown that time is one packet longer, and nobody presses again within 20 ms), or as the next
    /// segment of a long press, which begins where a full duration ends, give or take 100 ms.
    fn goes_on_as(&self, other: &Press, clock: u32) -> bool {
        if self.ssrc != other.ssrc || self.code != other.code {
            return false;
        }
        let later = other.timestamp.wrapping_sub(self.timestamp);
        if later == 0 || later < self.duration {
            return true;
        }
        let next_segment = FULL_SEGMENT.saturating_sub(clock / 10)..=FULL_SEGMENT;
        !self.ended && (later <= self.duration + clock / 50 || next_segment.contains(&later))
    }

    fn update(&mut self, other: &Press) {
        self.duration = match other.timestamp == self.timestamp {
            true => self.duration.max(other.duration),
            false => other.duration,
        };
        self.timestamp = other.timestamp;
        self.ended |= other.ended;
    }
}

/// Time between two packets of a digit.
pub(crate) const INTERVAL_MS: u32 = 20;
/// The last packet is sent three times, since its loss would leave the key down (RFC 4733 section 2.5.1.4).
pub(crate) const ENDS: u8 = 3;
/// Level of the tone that the far end may make of it, in dBm0 below zero.
const VOLUME: u8 = 10;
/// Q.24 asks receivers to recognise 40 ms.
pub(crate) const SHORTEST: Duration = Duration::from_millis(40);

/// Whether `character` is a digit in any case.
pub(crate) fn is_digit(character: char) -> bool {
    code_of(character).is_some()
}

/// The event code of a digit.
fn code_of(digit: char) -> Option<u8> {
    let wanted = digit.to_ascii_uppercase();
    DIGITS.iter().position(|&digit| char::from(digit) == wanted).and_then(|code| u8::try_from(code).ok())
}

/// The packets of one digit to send, one for each 20 ms: growing duration, then three ends.
#[derive(Clone, Debug)]
pub struct DigitSender {
    code: u8,
    timestamp: u32,
    step: u32,
    total: u32,
    sent: u32,
    ends: u8,
}

impl DigitSender {
    /// `digit` (`0` to `9`, `*`, `#`, `A` to `D` in any case) held for `length`, starting at the RTP time
    /// `timestamp` ([`crate::Outgoing::timestamp`]) of a stream with a clock of `clock` Hz. `None` for a
    /// character that is no digit.
    ///
    /// The length is at least 40 ms and at most one segment: 8.1 s at 8000 Hz, 1.3 s at 48000 Hz.
    pub fn new(digit: char, length: Duration, clock: u32, timestamp: u32) -> Option<Self> {
        let code = code_of(digit)?;
        let step = (clock / 1000).saturating_mul(INTERVAL_MS).clamp(1, FULL_SEGMENT);
        let packets = length.max(SHORTEST).as_millis().div_ceil(u128::from(INTERVAL_MS));
        let packets = u32::try_from(packets).unwrap_or(u32::MAX).min(FULL_SEGMENT / step);
        Some(DigitSender { code, timestamp, step, total: packets * step, sent: 0, ends: 0 })
    }
}

impl Iterator for DigitSender {
    type Item = EventPacket;

    fn next(&mut self) -> Option<EventPacket> {
        if self.ends == ENDS {
            return None;
        }
        let marker = self.sent == 0;
        if self.sent < self.total {
            self.sent += self.step;
        }
        let end = self.sent == self.total;
        self.ends += u8::from(end);
        let flags = if end { END_BIT } else { 0 } | (VOLUME & VOLUME_BITS);
        let [d0, d1] = (self.sent as u16).to_be_bytes();
        Some(EventPacket { marker, timestamp: self.timestamp, payload: [self.code, flags, d0, d1] })
    }
}

/// One telephone-event packet, to be numbered by [`crate::Outgoing::event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventPacket {
    /// Set on the first packet of a digit.
    pub marker: bool,
    /// RTP time at which the digit began, the same in all its packets.
    pub timestamp: u32,
    /// Event code, end bit and volume, duration (RFC 4733 section 2.3).
    pub payload: [u8; 4],
}
