//! A detector that never finds speech: for clients that want no word of it.

/// Samples of a window: 32 ms at 16 kHz.
const WINDOW: usize = 512;

/// Counts samples and scores every window with 0.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    rate: u32,
    samples: usize,
}

impl Stream {
    /// For samples at 8000 Hz, or 16000 Hz for any other `rate`.
    pub fn new(rate: u32) -> Self {
        Stream { rate: if rate == 8_000 { 8_000 } else { 16_000 }, samples: 0 }
    }

    /// Samples per second: 8000 or 16000.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Samples per score: 32 ms.
    pub fn window(&self) -> usize {
        if self.rate == 8_000 { WINDOW / 2 } else { WINDOW }
    }

    /// Takes all samples.
    pub fn push(&mut self, samples: &[i16]) {
        self.samples = self.samples.saturating_add(samples.len());
    }

    /// Whether a whole window is gathered.
    pub fn ready(&self) -> bool {
        self.samples >= self.window()
    }

    /// Lets go of the oldest window: 0.0.
    pub fn score(&mut self) -> f32 {
        if self.ready() {
            self.samples -= self.window();
        }
        0.0
    }

    /// Forgets everything heard.
    pub fn reset(&mut self) {
        self.samples = 0;
    }
}
