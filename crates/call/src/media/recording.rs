//! The sound of a call as it is recorded: both sides of one tick side by side.

use crate::setup::TAPE_PIECE;

/// Frames of a piece.
const PIECE_FRAMES: usize = TAPE_PIECE.as_millis() as usize / 20;

/// Gathers stereo sound into pieces of nearly a second: the remote party left, what it is sent right. It stays at the rate
/// of the call's sound; whoever writes it brings it to the rate of the file, away from the clock.
pub(crate) struct Recording {
    piece: Vec<i16>,
    /// Values of one piece: two a sample.
    full: usize,
    paused: bool,
}

impl Recording {
    /// A recording of sound at `rate` Hz.
    pub(crate) fn new(rate: u32) -> Self {
        let full = audio::Frame::len_at(rate) * PIECE_FRAMES * 2;
        Recording { piece: Vec::with_capacity(full), full, paused: false }
    }

    /// Takes silence in place of what is given, or not any more.
    pub(crate) fn pause(&mut self, on: bool) {
        self.paused = on;
    }

    /// Takes both sides of one tick, equally long. Gives a piece when one is full.
    pub(crate) fn tick(&mut self, heard: &[i16], sent: &[i16]) -> Option<Vec<i16>> {
        let start = self.piece.len();
        self.piece.resize(start + heard.len().min(sent.len()) * 2, 0);
        if !self.paused {
            let pairs = self.piece[start..].as_chunks_mut::<2>().0.iter_mut();
            for ((pair, l), r) in pairs.zip(heard).zip(sent) {
                *pair = [*l, *r];
            }
        }
        (self.piece.len() >= self.full)
            .then(|| std::mem::replace(&mut self.piece, Vec::with_capacity(self.full)))
    }

    /// What is left of the last piece.
    pub(crate) fn finish(self) -> Vec<i16> {
        self.piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_given_with_the_frame_that_makes_it_whole() {
        for rate in [8_000, 16_000] {
            let frame = vec![7; audio::Frame::len_at(rate)];
            let mut recording = Recording::new(rate);
            for _ in 0..3 {
                let frames = (1..).find_map(|n| Some((n, recording.tick(&frame, &frame)?)));
                let (frames, piece) = frames.unwrap();
                assert_eq!(frames * 20, TAPE_PIECE.as_millis(), "at {rate} Hz");
                assert_eq!(piece.len() as u128, 2 * u128::from(rate) * TAPE_PIECE.as_millis() / 1000);
            }
        }
    }
}
