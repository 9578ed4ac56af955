//! The sound of a call as it is recorded: both sides of one tick side by side.

/// Gathers stereo sound into one-second buffers: the remote party left, what it is sent right. It stays at the rate
/// of the call's sound; whoever writes it brings it to the rate of the file, away from the clock.
pub(crate) struct Recording {
    second: Vec<i16>,
    /// Values of one second: two a sample.
    full: usize,
    paused: bool,
}

impl Recording {
    /// A recording of sound at `rate` Hz.
    pub(crate) fn new(rate: u32) -> Self {
        let full = rate as usize * 2;
        Recording { second: Vec::with_capacity(full), full, paused: false }
    }

    /// Takes silence in place of what is given, or not any more.
    pub(crate) fn pause(&mut self, on: bool) {
        self.paused = on;
    }

    /// Takes both sides of one tick, equally long. Gives a second when one is full.
    pub(crate) fn tick(&mut self, heard: &[i16], sent: &[i16]) -> Option<Vec<i16>> {
        let start = self.second.len();
        self.second.resize(start + heard.len().min(sent.len()) * 2, 0);
        if !self.paused {
            let pairs = self.second[start..].as_chunks_mut::<2>().0.iter_mut();
            for ((pair, l), r) in pairs.zip(heard).zip(sent) {
                *pair = [*l, *r];
            }
        }
        (self.second.len() >= self.full)
            .then(|| std::mem::replace(&mut self.second, Vec::with_capacity(self.full)))
    }

    /// What is left of the last second.
    pub(crate) fn finish(self) -> Vec<i16> {
        self.second
    }
}
