//! Who is there: one row a provider. `--list-providers` and the documentation print these tables.

use protocol::option::{LlmOption, RealtimeOption, SynthesisOption, TranscriptionOption};

use crate::offline::{espeak, flite, pocketsphinx};
use crate::{ChatModel, ProviderError, Realtime, Recognizer, Synthesizer, openai, openai_realtime, rules};

/// Makes a provider of an option. It opens nothing; errors are about the option or a missing program.
pub type Make<T, O> = fn(&O) -> Result<Box<T>, ProviderError>;

/// One provider.
pub struct Row<T: ?Sized, O> {
    /// Name in `provider`, lower case.
    pub name: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
    /// Options it reads, as written on the wire.
    pub options: &'static [&'static str],
    /// Environment variables it reads where an option is absent.
    pub environment: &'static [&'static str],
    /// Makes one.
    pub make: Make<T, O>,
}

/// Speech to text.
pub static RECOGNIZERS: &[Row<dyn Recognizer, TranscriptionOption>] = &[Row {
    name: "pocketsphinx",
    about: "English on this machine, best with a word list; needs wideband speech (16 kHz)",
    options: pocketsphinx::OPTIONS,
    environment: &[],
    make: pocketsphinx::recognizer,
}];

/// Text to speech.
pub static SYNTHESIZERS: &[Row<dyn Synthesizer, SynthesisOption>] = &[
    Row {
        name: "espeak",
        about: "espeak-ng on this machine: many languages, a machine's voice",
        options: espeak::OPTIONS,
        environment: &[],
        make: espeak::synthesizer,
    },
    Row {
        name: "flite",
        about: "flite on this machine: English, voices slt, rms, awb, kal16, kal",
        options: flite::OPTIONS,
        environment: &[],
        make: flite::synthesizer,
    },
];

/// Synthesizers that speak a text as a whole, so that pieces of one had better be gathered to sentences for them.
const WHOLE_TEXTS: &[&str] = &["espeak", "flite"];

/// Whether the synthesizer of this name, in any case, speaks a text as a whole and not as its words come.
pub fn speaks_whole_texts(provider: &str) -> bool {
    WHOLE_TEXTS.iter().any(|name| name.eq_ignore_ascii_case(provider.trim()))
}

/// Language models.
pub static CHAT_MODELS: &[Row<dyn ChatModel, LlmOption>] = &[
    Row {
        name: "openai",
        about: "chat completions of OpenAI or any compatible server, streamed",
        options: openai::OPTIONS,
        environment: openai::ENVIRONMENT,
        make: openai::chat_model,
    },
    Row {
        name: "rules",
        about: "patterns to fixed replies, without a model",
        options: rules::OPTIONS,
        environment: &[],
        make: rules::chat_model,
    },
];

/// Speech-to-speech models.
pub static REALTIMES: &[Row<dyn Realtime, RealtimeOption>] = &[
    Row {
        name: "openai",
        about: "OpenAI's Realtime API, or with a WebSocket address as its name any compatible server",
        options: openai_realtime::OPTIONS,
        environment: openai_realtime::ENVIRONMENT,
        make: openai_realtime::openai,
    },
    Row {
        name: "azure",
        about: "the same of Azure OpenAI, where `model` names the deployment",
        options: openai_realtime::OPTIONS,
        environment: &[],
        make: openai_realtime::azure,
    },
];

/// The recognizer that `option.provider` names, in any case.
///
/// # Errors
/// The name is unknown, an option is bad, or a program is missing.
pub fn recognizer(option: &TranscriptionOption) -> Result<Box<dyn Recognizer>, ProviderError> {
    made("asr", RECOGNIZERS, option.provider.as_deref(), option)
}

/// The synthesizer that `option.provider` names, in any case.
///
/// # Errors
/// Those of [`recognizer`].
pub fn synthesizer(option: &SynthesisOption) -> Result<Box<dyn Synthesizer>, ProviderError> {
    made("tts", SYNTHESIZERS, option.provider.as_deref(), option)
}

/// What only asking the machine can tell of a voice, for those who look a configuration over: it may start a program,
/// and no call waits for it.
///
/// # Errors
/// Those of [`synthesizer`], and the voice is not there.
pub fn probe_voice(option: &SynthesisOption) -> Result<(), ProviderError> {
    synthesizer(option)?;
    let espeak = option.provider.as_deref().is_some_and(|name| name.trim().eq_ignore_ascii_case("espeak"));
    if espeak { espeak::probe(option) } else { Ok(()) }
}

/// The language model that `option.provider` names, in any case.
///
/// # Errors
/// Those of [`recognizer`].
pub fn chat_model(option: &LlmOption) -> Result<Box<dyn ChatModel>, ProviderError> {
    made("llm", CHAT_MODELS, option.provider.as_deref(), option)
}

/// The speech-to-speech model that `option.provider` names, in any case, or that answers at that address.
///
/// # Errors
/// Those of [`recognizer`].
pub fn realtime(option: &RealtimeOption) -> Result<Box<dyn Realtime>, ProviderError> {
    if option.provider.as_deref().is_some_and(|name| name.contains("://")) {
        return openai_realtime::at_address(option);
    }
    made("realtime", REALTIMES, option.provider.as_deref(), option)
}

fn made<T: ?Sized, O>(
    kind: &'static str,
    table: &[Row<T, O>],
    name: Option<&str>,
    option: &O,
) -> Result<Box<T>, ProviderError> {
    let name = name.unwrap_or_default().trim();
    match table.iter().find(|row| row.name.eq_ignore_ascii_case(name)) {
        Some(row) => (row.make)(option),
        None => Err(ProviderError::UnknownProvider {
            kind,
            name: name.chars().take(40).collect(),
            known: if table.is_empty() {
                "none, there is no provider of this kind".to_owned()
            } else {
                table.iter().map(|row| row.name).collect::<Vec<_>>().join(", ")
            },
        }),
    }
}
