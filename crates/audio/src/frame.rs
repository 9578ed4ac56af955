//! The only audio currency between rooms.

/// Length of a [`Frame`] in milliseconds.
pub const FRAME_MS: u32 = 20;

/// 20 ms of mono PCM at `rate` Hz.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Samples per second: 8000, 16000, 24000 or 48000.
    pub rate: u32,
    /// `rate / 50` samples.
    pub samples: Box<[i16]>,
}

impl Frame {
    /// Number of samples in 20 ms at `rate` Hz.
    pub const fn len_at(rate: u32) -> usize {
        (rate / 1000 * FRAME_MS) as usize
    }

    /// 20 ms of digital zero.
    pub fn silence(rate: u32) -> Self {
        Frame { rate, samples: vec![0; Self::len_at(rate)].into() }
    }
}
