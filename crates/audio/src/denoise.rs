//! Noise suppression: the WebRTC algorithm, by `sonora`.

use sonora::config::{NoiseSuppression, NoiseSuppressionLevel};
use sonora::{AudioProcessing, Config, StreamConfig};

/// Takes steady noise out of one mono stream.
///
/// It learns the noise while it runs: after about a second of it, noise is some 15 dB lower.
pub struct Denoiser {
    inner: AudioProcessing,
    /// Samples in the 10 ms that the algorithm works on.
    step: usize,
    clean: Vec<i16>,
}

impl Denoiser {
    /// A denoiser for sound at `rate` Hz: 8000, 16000, 24000, 32000 or 48000.
    pub fn new(rate: u32) -> Self {
        let suppression =
            NoiseSuppression { level: NoiseSuppressionLevel::High, ..NoiseSuppression::default() };
        let config = Config { noise_suppression: Some(suppression), ..Config::default() };
        let stream = StreamConfig::new(rate, 1);
        let inner =
            AudioProcessing::builder().config(config).capture_config(stream).render_config(stream).build();
        let step = stream.num_samples().max(1);
        Denoiser { inner, step, clean: vec![0; step] }
    }

    /// Cleans `pcm` in place. It is a whole number of 10 ms; what is more stays as it is.
    pub fn process(&mut self, pcm: &mut [i16]) {
        for piece in pcm.chunks_exact_mut(self.step) {
            // A rate that the algorithm does not know leaves the sound as it is.
            if self.inner.process_capture_i16(piece, &mut self.clean).is_ok() {
                piece.copy_from_slice(&self.clean);
            }
        }
    }
}
