//! What a leg sends: sound, and digits in its place.

use std::net::SocketAddr;
use std::time::Duration;

use audio::Codec;
use audio::frame::FRAME_MS;
use rtp::dialer::Tick;
use rtp::telephone_event::EventPacket;

use super::{HEADER_BYTES, RtpLeg};
use crate::media::order::{Dialled, Manner};

/// Pause between two digits, so that the far end hears two.
const DIGIT_GAP: Duration = Duration::from_millis(80);
/// A packet of a digit.
const EVENT_BYTES: usize = HEADER_BYTES + 4;

impl RtpLeg {
    /// Gives `out` the datagrams for 20 ms of sound; digits that are tones are written over it. While held, or without
    /// an address, time passes silently.
    pub(crate) fn send(&mut self, frame: &mut [i16], mut out: impl FnMut(SocketAddr, Vec<u8>)) {
        let clock_step = self.media.codec.rtp_clock / 1000 * FRAME_MS;
        let Some(remote) = self.source.remote().filter(|_| self.media.direction.sends()) else {
            self.drop_unsent();
            self.outgoing.skip(clock_step);
            return;
        };
        if let Some(kind) = self.media.telephone_event
            && !self.dialer.is_idle()
        {
            self.drop_unsent();
            match self.dialer.tick(kind.clock, self.outgoing.timestamp()) {
                Tick::Event(packet) => {
                    if let Some(bytes) = self.event(kind.payload_type, &packet) {
                        out(remote, bytes);
                    }
                }
                // The pause behind the last digit is over with this tick.
                Tick::Quiet | Tick::Sound => {}
            }
            self.outgoing.skip(clock_step);
            return;
        }
        self.tones.cover(frame, self.rate);
        let length = (self.media.codec.rate / 1000 * self.media.ptime_ms) as usize;
        if frame.len() == length && self.unsent.is_empty() && self.resampler_out.copies() {
            if let Some(bytes) = self.packet(frame) {
                out(remote, bytes);
            }
            return;
        }
        let mut unsent = std::mem::take(&mut self.unsent);
        self.resampler_out.process(frame, &mut unsent);
        let whole = unsent.chunks_exact(length);
        let left = whole.remainder().len();
        for sound in whole {
            if let Some(bytes) = self.packet(sound) {
                out(remote, bytes);
            }
        }
        unsent.drain(..unsent.len() - left);
        self.unsent = unsent;
    }

    /// A packet of sound at the codec's rate, unless it cannot be protected.
    fn packet(&mut self, sound: &[i16]) -> Option<Vec<u8>> {
        let mut datagram = Vec::with_capacity(sound.len() + HEADER_BYTES + self.guard.growth());
        let ticks = self.media.codec.rtp_clock / 1000 * self.media.ptime_ms;
        let encode = |out: &mut Vec<u8>| self.encoder.encode(sound, out);
        self.outgoing.encoded(self.media.payload_type, ticks, &mut datagram, encode);
        self.guard.close(&mut datagram).then_some(datagram)
    }

    /// Sound that fills no packet yet is not sent any more; its time passes.
    fn drop_unsent(&mut self) {
        let Codec { rate, rtp_clock, .. } = *self.media.codec;
        if !self.unsent.is_empty() {
            self.outgoing.skip((self.unsent.len() as u64 * u64::from(rtp_clock) / u64::from(rate)) as u32);
            self.unsent.clear();
        }
    }

    fn event(&mut self, payload_type: u8, event: &EventPacket) -> Option<Vec<u8>> {
        let mut datagram = Vec::with_capacity(EVENT_BYTES + self.guard.growth());
        self.outgoing.event(payload_type, event, &mut datagram);
        self.guard.close(&mut datagram).then_some(datagram)
    }

    /// Sends digits, after those that still wait; those for which there is no room are left out as a whole.
    pub(crate) fn dial(&mut self, dialled: &Dialled) {
        let Dialled { digits, length, manner } = dialled;
        match manner {
            Manner::Events if self.has_events() => drop(self.dialer.dial(digits, *length, DIGIT_GAP)),
            Manner::Events | Manner::Tones => self.tones.dial(digits, *length),
        }
    }
}
