//! Packets to sound, and sound in place of those that were lost.

use std::time::Duration;

use audio::{Packet, Resampler};
use rtp::sdp::Payload;

use super::RtpLeg;

impl RtpLeg {
    /// Appends what a packet says.
    pub(super) fn decode(&mut self, packet: &Packet, frame: &mut Vec<i16>) {
        self.choose_decoder(packet.payload_type);
        self.append(frame, |leg, sound| leg.decoder.2.decode(&packet.payload, sound));
    }

    /// The decoder of a payload type that was agreed on.
    fn choose_decoder(&mut self, payload_type: u8) {
        if payload_type != self.decoder.0 {
            let Payload::Voice(codec) = self.media.payload(payload_type) else { return };
            self.decoder = (payload_type, codec, (codec.decoder)());
            self.resampler_in = Resampler::new(codec.rate, self.rate);
        }
    }

    /// Appends sound for a lost packet; whether it was said and is known from a copy.
    pub(super) fn conceal(&mut self, duration: Duration, sound: &mut Vec<i16>) -> bool {
        let samples = (duration.as_micros() * u128::from(self.decoder.1.rate) / 1_000_000) as usize;
        let before = sound.len();
        let said = match self.jitter.following() {
            Some(next) if next.payload_type == self.decoder.0 => {
                self.decoder.2.recover(&next.payload, samples, sound)
            }
            _ => {
                self.decoder.2.conceal(samples, sound);
                false
            }
        };
        if sound.len() == before {
            // A conceal that gives nothing must not keep the tick waiting.
            sound.resize(before + samples.max(1), 0);
        }
        said
    }

    /// Appends what `make` gives, sound at the codec's rate, at the media's rate to `frame`.
    pub(super) fn append<T>(
        &mut self,
        frame: &mut Vec<i16>,
        make: impl FnOnce(&mut Self, &mut Vec<i16>) -> T,
    ) -> T {
        if self.resampler_in.copies() {
            return make(self, frame);
        }
        let mut decoded = std::mem::take(&mut self.decoded);
        decoded.clear();
        let made = make(self, &mut decoded);
        self.resampler_in.process(&decoded, frame);
        self.decoded = decoded;
        made
    }
}
