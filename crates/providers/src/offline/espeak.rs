//! espeak-ng: small, quick, many languages, sounds like a machine.

use std::process::{Command, Stdio};

use protocol::option::SynthesisOption;

use super::speech::{Input, SpeechProgram};
use crate::options::{gain, speed};
use crate::{ProviderError, Synthesizer};

/// Options read.
pub(crate) const OPTIONS: &[&str] = &["speaker", "language", "speed", "volume"];

/// Words per minute at speed 1.
const WORDS_PER_MINUTE: f32 = 175.0;
/// Amplitude at volume 5.
const AMPLITUDE: f32 = 100.0;

/// espeak-ng with `option`'s voice. Errors: a bad option, or the program is missing.
pub(crate) fn synthesizer(option: &SynthesisOption) -> Result<Box<dyn Synthesizer>, ProviderError> {
    let path = super::find("espeak-ng", "espeak-ng")?;
    let words = (WORDS_PER_MINUTE * speed(option.speed)?).clamp(80.0, 450.0);
    let amplitude = AMPLITUDE * gain(option.volume)?;
    let arguments = vec![
        "--stdout".to_owned(),
        "--stdin".to_owned(),
        "-b1".to_owned(),
        format!("-v{}", voice(option)?),
        format!("-s{words:.0}"),
        format!("-a{amplitude:.0}"),
    ];
    Ok(Box::new(SpeechProgram { name: "espeak-ng", path, arguments, input: Input::Stdin, gain: 1.0 }))
}

/// Asks the program whether it has `option`'s voice, which takes it some milliseconds: a list of its own would be that of
/// another machine. Errors: those of [`synthesizer`], and there is no such voice.
pub(crate) fn probe(option: &SynthesisOption) -> Result<(), ProviderError> {
    synthesizer(option)?;
    let path = super::find("espeak-ng", "espeak-ng")?;
    let (field, name) = (named(option).0, voice(option)?);
    let asked = Command::new(path)
        .args([&format!("-v{name}"), "-q", "--stdin"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    // A program that does not start says nothing of its voices.
    if asked.is_ok_and(|status| !status.success()) {
        let why = format!(
            "espeak-ng has no voice `{name}`: expected one that `espeak-ng --voices` lists, such as en-us"
        );
        return Err(ProviderError::Option { field, why });
    }
    Ok(())
}

/// The voice: `speaker` as espeak-ng names it (`en-us+f3`), else that of the language.
fn voice(option: &SynthesisOption) -> Result<String, ProviderError> {
    let (field, name) = named(option);
    let name = name.trim().to_ascii_lowercase().replace('_', "-");
    let fits = name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+'));
    if !fits {
        let why = "expected a voice that `espeak-ng --voices` lists, such as en-us or en-us+f3".to_owned();
        return Err(ProviderError::Option { field, why });
    }
    // Chinese is listed under its code for Mandarin.
    Ok(if name == "zh" || name.starts_with("zh-") { "cmn".to_owned() } else { name })
}

/// What is asked for, and the key that does.
fn named(option: &SynthesisOption) -> (&'static str, &str) {
    match (option.speaker.as_deref(), option.language.as_deref()) {
        (Some(speaker), _) if !speaker.trim().is_empty() => ("speaker", speaker),
        (_, Some(language)) if !language.trim().is_empty() => ("language", language),
        _ => ("speaker", "en-us"),
    }
}
