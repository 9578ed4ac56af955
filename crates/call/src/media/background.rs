//! Sound that goes on by itself: what lies under everything that is said, and what a held party hears.

use audio::Resampler;
use audio::mix::{self, Ducker};

/// Sound that is repeated for ever.
pub(super) struct Loop {
    sound: Box<[i16]>,
    at: usize,
}

impl Loop {
    /// `None` for sound that is not there.
    pub(super) fn new(sound: Box<[i16]>) -> Option<Self> {
        (!sound.is_empty()).then_some(Loop { sound, at: 0 })
    }

    fn next(&mut self, length: usize) -> Vec<i16> {
        let piece = self.sound.iter().cycle().skip(self.at).take(length).copied().collect();
        self.at = (self.at + length) % self.sound.len();
        piece
    }
}

/// Background sound, lower while the agent speaks.
pub(super) struct Ambience {
    sound: Loop,
    ducker: Ducker,
}

impl Ambience {
    /// `sound` is at the first of `rates` in Hz, the call's sound at the second. `None` without sound.
    pub(super) fn new(sound: &[i16], rates: (u32, u32), ducker: Ducker) -> Option<Self> {
        let mut converted = Vec::new();
        Resampler::new(rates.0, rates.1).process(sound, &mut converted);
        Loop::new(converted.into()).map(|sound| Ambience { sound, ducker })
    }

    /// Adds the next 20 ms to `said`.
    pub(super) fn add(&mut self, speaking: bool, said: &mut [i16]) {
        let mut piece = self.sound.next(said.len());
        self.ducker.apply(speaking, &mut piece);
        mix::add(said, &piece);
    }
}

/// The main leg is held by us.
pub(super) struct Held {
    /// Of the music that it waits for.
    pub(super) number: u32,
    pub(super) music: Option<Loop>,
}

impl Held {
    /// Fills `frame` with what the held party hears; whether there is any.
    pub(super) fn fill(&mut self, frame: &mut [i16]) -> bool {
        match &mut self.music {
            Some(music) => frame.copy_from_slice(&music.next(frame.len())),
            None => frame.fill(0),
        }
        self.music.is_some()
    }
}
