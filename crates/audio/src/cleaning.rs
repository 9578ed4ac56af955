//! What does not belong to a voice is taken out of it: noise, and the echo of what we say. The algorithms are those of
//! WebRTC's audio processing module, by `sonora`.

use sonora::config::{EchoCanceller, NoiseSuppression, NoiseSuppressionLevel};
use sonora::{AudioProcessing, Config, StreamConfig};

/// What is taken out of a stream; by default nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaning {
    /// Steady noise: after about a second of it, it is some 15 dB lower.
    pub noise: bool,
    /// The echo of what [`Cleaner::played`] was given, up to half a second after it. It is learned from what is played:
    /// after two or three seconds of that it is at least 30 dB lower.
    pub echo: bool,
}

impl Cleaning {
    /// Whether anything is to be taken out.
    pub fn any(self) -> bool {
        self.noise || self.echo
    }
}

/// Cleans one mono stream. It learns noise and echo while it runs.
pub struct Cleaner {
    inner: AudioProcessing,
    cleaning: Cleaning,
    /// Samples in the 10 ms that the algorithms work on.
    step: usize,
    /// What they give back.
    out: Vec<i16>,
}

impl Cleaner {
    /// A cleaner for sound at `rate` Hz: 8000, 16000, 24000, 32000 or 48000.
    pub fn new(rate: u32, cleaning: Cleaning) -> Self {
        let suppression =
            NoiseSuppression { level: NoiseSuppressionLevel::High, ..NoiseSuppression::default() };
        let config = Config {
            noise_suppression: cleaning.noise.then_some(suppression),
            echo_canceller: cleaning.echo.then(EchoCanceller::default),
            ..Config::default()
        };
        let stream = StreamConfig::new(rate, 1);
        let inner =
            AudioProcessing::builder().config(config).capture_config(stream).render_config(stream).build();
        let step = stream.num_samples().max(1);
        Cleaner { inner, cleaning, step, out: vec![0; step] }
    }

    /// What it takes out.
    pub fn cleaning(&self) -> Cleaning {
        self.cleaning
    }

    /// What the party is sent, whose echo may come back: a whole number of 10 ms, as much as [`Cleaner::process`] is
    /// given, in turn with it. What is more is not looked at.
    pub fn played(&mut self, pcm: &[i16]) {
        if !self.cleaning.echo {
            return;
        }
        for piece in pcm.chunks_exact(self.step) {
            // A rate that the algorithm does not know is cleaned of nothing.
            let _ = self.inner.process_render_i16(piece, &mut self.out);
        }
    }

    /// Cleans `pcm` in place. It is a whole number of 10 ms; what is more stays as it is.
    pub fn process(&mut self, pcm: &mut [i16]) {
        for piece in pcm.chunks_exact_mut(self.step) {
            // A rate that the algorithms do not know leaves the sound as it is.
            if self.inner.process_capture_i16(piece, &mut self.out).is_ok() {
                piece.copy_from_slice(&self.out);
            }
        }
    }
}
