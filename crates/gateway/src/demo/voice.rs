//! The caller's voice: sentences as sound.

use std::sync::Arc;

use protocol::option::SynthesisOption;
use providers::{ProviderError, Spoken, Text};
use tokio::sync::mpsc;

/// Rate of the phone.
const RATE: u32 = 16_000;

/// `text` spoken by `speaker` of flite, at 16 kHz, with a breath of silence at both ends.
///
/// # Errors
/// [`ProviderError`] when flite is missing or fails.
pub(super) async fn speech(text: &str, speaker: &str) -> Result<Arc<[i16]>, ProviderError> {
    let option = SynthesisOption {
        provider: Some("flite".into()),
        speaker: Some(speaker.into()),
        ..SynthesisOption::default()
    };
    let synthesizer = providers::synthesizer(&option)?;
    let mut resampler = audio::Resampler::new(synthesizer.rate(), RATE);
    let (texts, to_say) = mpsc::channel(1);
    let (spoken, mut sounds) = mpsc::channel(16);
    // The channel has room for the one text.
    let _ = texts.try_send(Text { piece: 0, text: text.to_owned() });
    drop(texts);
    let gather = async {
        let mut sound = vec![0; RATE as usize / 10];
        while let Some(spoken) = sounds.recv().await {
            if let Spoken::Audio { samples, .. } = spoken {
                resampler.process(&samples, &mut sound);
            }
        }
        sound
    };
    let (result, sound) = tokio::join!(synthesizer.run(to_say, spoken), gather);
    result.map(|()| sound.into())
}
