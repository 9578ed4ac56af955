//! Which packets of a stream have been heard: the index that a sequence number stands for, and replays.

use super::SrtpError;

/// Packets behind the newest one that are told apart (RFC 3711 section 3.3.2 asks for 64 at least).
const WINDOW: u64 = 128;

/// The newest packets of one stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    highest: u64,
    /// Bit n stands for the packet n before the highest.
    seen: u128,
}

impl Window {
    /// A stream of which the packet `index` has been heard.
    pub(super) fn new(index: u64) -> Self {
        Window { highest: index, seen: 1 }
    }

    /// The 48-bit index that lies nearest to the highest one (RFC 3711 section 3.3.1).
    pub(super) fn index(&self, sequence: u16) -> u64 {
        nearest(self.highest, sequence)
    }

    /// Refuses what has been heard or is too old to tell.
    pub(super) fn check(&self, index: u64) -> Result<(), SrtpError> {
        let Some(behind) = self.highest.checked_sub(index) else { return Ok(()) };
        if behind >= WINDOW {
            return Err(SrtpError::Stale);
        }
        if self.seen >> behind & 1 == 1 { Err(SrtpError::Replayed) } else { Ok(()) }
    }

    /// Notes an authentic packet.
    pub(super) fn hear(&mut self, index: u64) {
        match index.checked_sub(self.highest) {
            Some(ahead) => {
                let shifted =
                    u32::try_from(ahead).ok().and_then(|ahead| self.seen.checked_shl(ahead)).unwrap_or(0);
                self.seen = shifted | 1;
                self.highest = index;
            }
            None => {
                let behind = u32::try_from(self.highest - index).unwrap_or(u32::MAX);
                self.seen |= 1u128.checked_shl(behind).unwrap_or(0);
            }
        }
    }

    pub(super) fn highest(&self) -> u64 {
        self.highest
    }
}

/// The index nearest to `highest` whose lower half is `sequence`.
pub(super) fn nearest(highest: u64, sequence: u16) -> u64 {
    let step = sequence.wrapping_sub(highest as u16);
    // Half the range ahead, half behind; before the first packet of all there is nothing.
    match highest.checked_add_signed(i64::from(step as i16)) {
        Some(index) => index,
        None => highest + u64::from(step),
    }
}

/// Streams told apart under one key. When full the one that began first is forgotten.
const STREAMS: usize = 32;

/// The windows of the streams heard under one key, the youngest last.
#[derive(Clone, Debug, Default)]
pub(super) struct Windows(Vec<(u32, Window)>);

impl Windows {
    pub(super) fn of(&self, ssrc: u32) -> Option<&Window> {
        self.0.iter().rev().find(|(known, _)| *known == ssrc).map(|(_, window)| window)
    }

    /// Notes an authentic packet.
    pub(super) fn hear(&mut self, ssrc: u32, index: u64) {
        match self.0.iter_mut().rev().find(|(known, _)| *known == ssrc) {
            Some((_, window)) => window.hear(index),
            None => {
                if self.0.len() == STREAMS {
                    self.0.remove(0);
                }
                self.0.push((ssrc, Window::new(index)));
            }
        }
    }
}
