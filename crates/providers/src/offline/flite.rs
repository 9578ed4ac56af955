//! flite: English only, sounds more like a person than espeak-ng.

use protocol::option::SynthesisOption;

use super::speech::{Input, SpeechProgram};
use crate::options::{gain, speed};
use crate::{ProviderError, Synthesizer};

/// Options read.
pub(crate) const OPTIONS: &[&str] = &["speaker", "speed", "volume"];

/// Voices built into the program. It takes any other name for a file or an address to load, so no other
/// reaches it.
const VOICES: &[&str] = &["slt", "rms", "awb", "kal16", "kal"];

/// flite with `option`'s voice. Errors: a bad option, or the program is missing.
pub(crate) fn synthesizer(option: &SynthesisOption) -> Result<Box<dyn Synthesizer>, ProviderError> {
    let path = super::find("flite", "flite")?;
    let speaker = option.speaker.as_deref().map(str::trim).filter(|speaker| !speaker.is_empty());
    let voice = match speaker {
        None => "slt",
        Some(name) => {
            VOICES.iter().copied().find(|voice| voice.eq_ignore_ascii_case(name)).ok_or_else(|| {
                ProviderError::Option {
                    field: "speaker",
                    why: format!("flite has no such voice: expected one of {}", VOICES.join(", ")),
                }
            })?
        }
    };
    let language = option.language.as_deref().unwrap_or("en").to_ascii_lowercase();
    if !language.starts_with("en") && !language.is_empty() {
        let why = "flite speaks English only: expected en, or another provider".to_owned();
        return Err(ProviderError::Option { field: "language", why });
    }
    let stretch = 1.0 / speed(option.speed)?;
    let arguments = vec![
        "-voice".to_owned(),
        voice.to_owned(),
        "--setf".to_owned(),
        format!("duration_stretch={stretch:.3}"),
        "-o".to_owned(),
        "/dev/stdout".to_owned(),
    ];
    // With text on its standard input the program reads its own output back, which no pipe gives.
    let input = Input::Argument("-t");
    Ok(Box::new(SpeechProgram { name: "flite", path, arguments, input, gain: gain(option.volume)? }))
}
