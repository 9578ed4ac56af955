//! The sound of a call as it is recorded: both sides of one tick side by side.

/// Frames of a piece. Whoever writes looks for pieces from time to time: with that a file lacks less than a second of what
/// was said, however the program ends.
const PIECE_FRAMES: usize = 45;

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
