//! The sound of both sides for a client that subscribed to it (`subscribe`).

use std::collections::VecDeque;

use audio::Resampler;

use super::Transmit;
use crate::legs::LegId;

/// Hz of what a client gets, whatever the call's sound has.
const RATE: u32 = 16_000;
/// First byte of what the far end is sent: the agent and a second party.
const SERVER: u8 = 0;
/// First byte of what the far end says.
const REMOTE: u8 = 1;

/// Makes messages of 20 ms: one byte that says whose sound it is, then s16le mono at 16 kHz.
pub(crate) struct Tap {
    sides: [(u8, Resampler); 2],
    converted: Vec<i16>,
}

impl Tap {
    /// A tap of sound at `rate` Hz.
    pub(crate) fn new(rate: u32) -> Self {
        let sides = [SERVER, REMOTE].map(|index| (index, Resampler::new(rate, RATE)));
        Tap { sides, converted: Vec::new() }
    }

    /// Takes one tick of both sides.
    pub(crate) fn tick(&mut self, server: &[i16], remote: &[i16], out: &mut VecDeque<Transmit>) {
        for ((index, resampler), sound) in self.sides.iter_mut().zip([server, remote]) {
            self.converted.clear();
            resampler.process(sound, &mut self.converted);
            let mut message = Vec::with_capacity(1 + self.converted.len() * 2);
            message.push(*index);
            message.extend(self.converted.iter().flat_map(|sample| sample.to_le_bytes()));
            out.push_back(Transmit::Message(LegId::OBSERVER, message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tick_gives_one_message_a_side_at_16_khz() {
        let (mut tap, mut out) = (Tap::new(8000), VecDeque::new());
        for _ in 0..3 {
            tap.tick(&[1000; 160], &[-1000; 160], &mut out);
        }
        assert_eq!(out.len(), 6);
        let Some(Transmit::Message(LegId::OBSERVER, last)) = out.pop_back() else { panic!("no message") };
        assert_eq!((last[0], last.len()), (REMOTE, 641));
        assert_eq!(i16::from_le_bytes([last[639], last[640]]), -1000);
    }
}
