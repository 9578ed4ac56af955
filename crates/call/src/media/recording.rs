//! The sound of a call as it is recorded: both sides of one tick side by side.

use audio::Resampler;

/// Gathers stereo sound into one-second buffers: the remote party left, what it is sent right.
pub(crate) struct Recording {
    left: Resampler,
    right: Resampler,
    scratch: [Vec<i16>; 2],
    second: Vec<i16>,
    /// Values of one second: two a sample.
    full: usize,
}

impl Recording {
    /// A recording at `to` Hz of sound at `from` Hz.
    pub(crate) fn new(from: u32, to: u32) -> Self {
        let full = to as usize * 2;
        Recording {
            left: Resampler::new(from, to),
            right: Resampler::new(from, to),
            scratch: [Vec::new(), Vec::new()],
            second: Vec::with_capacity(full),
            full,
        }
    }

    /// Takes both sides of one tick, equally long. Gives a second when one is full.
    pub(crate) fn tick(&mut self, heard: &[i16], sent: &[i16]) -> Option<Vec<i16>> {
        let [left, right] = &mut self.scratch;
        left.clear();
        right.clear();
        self.left.process(heard, left);
        self.right.process(sent, right);
        let start = self.second.len();
        self.second.resize(start + left.len().min(right.len()) * 2, 0);
        for ((pair, l), r) in self.second[start..].chunks_exact_mut(2).zip(left.iter()).zip(right.iter()) {
            pair.copy_from_slice(&[*l, *r]);
        }
        (self.second.len() >= self.full)
            .then(|| std::mem::replace(&mut self.second, Vec::with_capacity(self.full)))
    }

    /// What is left of the last second.
    pub(crate) fn finish(self) -> Vec<i16> {
        self.second
    }
}
