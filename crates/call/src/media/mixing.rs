//! What each party hears: the server, the others, or the music of a hold.

use audio::mix;
use protocol::CallTime;

use super::leg::LegSound;
use super::{LONGEST_FRAME, Media, Transmit};
use crate::legs::LegId;

impl Media {
    /// Mixes for each leg what it is to hear, and encodes it. What the main leg gets goes to `sent` where that is kept.
    pub(super) fn send(&mut self, now: CallTime, any: bool, said: &mut [i16], sent: &mut [i16]) {
        let mut mixed = [0; LONGEST_FRAME];
        let bridged = self.legs.len() > 1;
        let kept = self.recording.is_some() || self.tap.is_some();
        for at in 0..self.legs.len() {
            // A party that is alone hears what is said and nothing else.
            let mixed = &mut mixed[..said.len()];
            let mut any = any || bridged;
            let held = self.held.as_mut().filter(|_| self.legs[at].0 == LegId::MAIN);
            let mixed = match held {
                Some(held) => {
                    any = held.fill(mixed) && !self.mute_server;
                    if self.mute_server {
                        mixed.fill(0);
                    }
                    mixed
                }
                None if bridged => {
                    mixed.copy_from_slice(said);
                    for (_, (_, leg)) in self.legs.iter().enumerate().filter(|(other, _)| *other != at) {
                        mix::add(mixed, &leg.heard);
                    }
                    mixed
                }
                None => &mut *said,
            };
            let (id, leg) = &mut self.legs[at];
            match &mut leg.sound {
                LegSound::Rtp(rtp) => {
                    let out = &mut self.out;
                    rtp.send(mixed, |to, bytes| out.push_back(Transmit::Datagram(*id, to, bytes)));
                    self.out.extend(rtp.report(now).map(|report| Transmit::report(*id, report)));
                }
                LegSound::Raw(raw) if any => {
                    self.out.push_back(Transmit::Message(*id, raw.send(mixed)));
                }
                // The client of `/call` gets sound only while there is some.
                LegSound::Raw(_) => {}
            }
            if let Some(listening) = self.listeners.known(*id) {
                listening.played(mixed);
            }
            if kept && *id == LegId::MAIN {
                sent.copy_from_slice(mixed);
            }
        }
    }
}
