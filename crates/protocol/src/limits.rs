//! The numbers that options may hold. A number outside of its limits is told with its field and what is allowed, and
//! never taken silently: whoever takes options from outside asks here.

use std::fmt::{self, Display};

use crate::command::Command;
use crate::option::{CallOption, RecorderOption, SynthesisOption};
use crate::read::ReadError;
use crate::value::Millis;

/// One number of a call's option.
pub struct Limit {
    /// Its path in the option, such as `vad.voiceThreshold`.
    pub key: &'static str,
    /// Its value, where the option has one.
    pub of: fn(&CallOption) -> Option<f64>,
    /// What it may be.
    pub allowed: Allowed,
}

/// What a number may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Allowed {
    /// From the first to the second, both included.
    Between(f64, f64),
    /// An even whole number from the first to the second.
    Even(f64, f64),
    /// One of these.
    OneOf(&'static [u32]),
}

impl Allowed {
    /// Whether `number` is allowed. What is no number is not.
    pub fn holds(&self, number: f64) -> bool {
        match *self {
            Allowed::Between(least, most) => (least..=most).contains(&number),
            Allowed::Even(least, most) => (least..=most).contains(&number) && number % 2.0 == 0.0,
            Allowed::OneOf(all) => all.iter().any(|one| f64::from(*one) == number),
        }
    }
}

/// In words that stand after "expected".
impl Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Allowed::Between(least, most) => write!(f, "{least} to {most}"),
            Allowed::Even(least, most) => write!(f, "an even number from {least} to {most}"),
            Allowed::OneOf(all) => {
                let words: Vec<String> = all.iter().map(u32::to_string).collect();
                f.write_str(&words.join(", "))
            }
        }
    }
}

/// Rates of sound that calls compute in, in Hz.
pub const RATES: &[u32] = &[8_000, 16_000, 24_000, 48_000];

const HOUR_MS: f64 = 3_600_000.0;

const fn between(key: &'static str, least: f64, most: f64, of: fn(&CallOption) -> Option<f64>) -> Limit {
    Limit { key, of, allowed: Allowed::Between(least, most) }
}

const fn rate(key: &'static str, of: fn(&CallOption) -> Option<f64>) -> Limit {
    Limit { key, of, allowed: Allowed::OneOf(RATES) }
}

fn ms(span: Option<Millis>) -> Option<f64> {
    span.map(|span| span.0.as_secs_f64() * 1000.0)
}

/// Every number of an option that has limits. Times in seconds and `waitInputTimeout` have the longest that any span
/// has, a year.
pub const LIMITS: &[Limit] = &[
    rate("sampleRate", |own| own.sample_rate.map(f64::from)),
    between("vad.voiceThreshold", 0.0, 1.0, |own| own.vad.as_ref()?.voice_threshold.map(f64::from)),
    between("vad.speechPadding", 0.0, 10_000.0, |own| ms(own.vad.as_ref()?.speech_padding)),
    between("vad.silencePadding", 0.0, 10_000.0, |own| ms(own.vad.as_ref()?.silence_padding)),
    between("vad.silenceTimeout", 0.0, HOUR_MS, |own| ms(own.vad.as_ref()?.silence_timeout)),
    between("tts.samplerate", 8_000.0, 48_000.0, |own| own.tts.as_ref()?.samplerate.map(f64::from)),
    between("tts.speed", 0.25, 4.0, |own| own.tts.as_ref()?.speed.map(f64::from)),
    between("tts.volume", 0.0, 10.0, |own| own.tts.as_ref()?.volume.map(f64::from)),
    between("tts.maxConcurrentTasks", 1.0, 1000.0, |own| {
        own.tts.as_ref()?.max_concurrent_tasks.map(f64::from)
    }),
    between("eou.timeout", 0.0, 60_000.0, |own| ms(own.eou.as_ref()?.timeout)),
    between("ambiance.duckLevel", 0.0, 1.0, |own| own.ambiance.as_ref()?.duck_level.map(f64::from)),
    between("ambiance.normalLevel", 0.0, 1.0, |own| own.ambiance.as_ref()?.normal_level.map(f64::from)),
    between("ambiance.transitionSpeed", 0.0001, 1.0, |own| {
        own.ambiance.as_ref()?.transition_speed.map(f64::from)
    }),
    rate("recorder.samplerate", |own| own.recorder.as_ref()?.samplerate.map(f64::from)),
    between("recorder.ptime", 10.0, 10_000.0, |own| own.recorder.as_ref()?.ptime.map(f64::from)),
    rate("mediaPass.inputSampleRate", |own| own.media_pass.as_ref()?.input_sample_rate.map(f64::from)),
    rate("mediaPass.outputSampleRate", |own| own.media_pass.as_ref()?.output_sample_rate.map(f64::from)),
    Limit {
        key: "mediaPass.packetSize",
        of: |own| own.media_pass.as_ref()?.packet_size.map(f64::from),
        allowed: Allowed::Even(2.0, 64_000.0),
    },
    between("mediaPass.ptime", 0.0, 1000.0, |own| own.media_pass.as_ref()?.ptime.map(f64::from)),
    between("ringbackDetection.minBufferSecs", 4.0, 60.0, |own| {
        own.ringback_detection.as_ref()?.min_buffer_secs.map(f64::from)
    }),
    between("ringbackDetection.detectionIntervalSecs", 0.1, 60.0, |own| {
        own.ringback_detection.as_ref()?.detection_interval_secs.map(f64::from)
    }),
    between("ringbackDetection.confidenceThreshold", 0.0, 1.0, |own| {
        own.ringback_detection.as_ref()?.confidence_threshold.map(f64::from)
    }),
];

/// A number that is outside of its limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Outside {
    /// Its path in the option.
    pub key: &'static str,
    /// What it is.
    pub number: f64,
    /// What it may be.
    pub allowed: Allowed,
}

/// What is expected, and what came.
impl Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, got ", self.allowed)?;
        // A number that was one of 32 bits is shown with their precision.
        match self.number as f32 {
            short if f64::from(short) == self.number => short.fmt(f),
            _ => self.number.fmt(f),
        }
    }
}

/// The numbers of `option` that are outside of their limits, in the order of [`LIMITS`].
pub fn outside(option: &CallOption) -> impl Iterator<Item = Outside> + '_ {
    LIMITS.iter().filter_map(|limit| {
        let number = (limit.of)(option).filter(|number| !limit.allowed.holds(*number))?;
        Some(Outside { key: limit.key, number, allowed: limit.allowed })
    })
}

/// Whether every number of the option at `path` is within its limits.
///
/// # Errors
/// The first that is not.
pub fn option(path: &str, option: &CallOption) -> Result<(), ReadError> {
    refused(option, |key| format!("{path}.{key}"))
}

/// Whether every number in the options of a command is within its limits.
///
/// # Errors
/// As [`option`].
pub fn command(command: &Command) -> Result<(), ReadError> {
    match command {
        Command::Invite(invite) | Command::Accept(invite) => option("option", &invite.option),
        Command::Tts(tts) => synthesis(tts.option.as_deref()),
        Command::Ringing(ringing) => recorder(ringing.recorder.as_ref()),
        Command::Record(record) => recorder(record.recorder.as_ref()),
        _ => Ok(()),
    }
}

/// The option of a `tts` command stands for that of the call.
fn synthesis(own: Option<&SynthesisOption>) -> Result<(), ReadError> {
    let Some(own) = own else { return Ok(()) };
    let whole = CallOption { tts: Some(own.clone()), ..CallOption::default() };
    refused(&whole, |key| key.replacen("tts.", "option.", 1))
}

fn recorder(own: Option<&RecorderOption>) -> Result<(), ReadError> {
    let Some(own) = own else { return Ok(()) };
    let whole = CallOption { recorder: Some(own.clone()), ..CallOption::default() };
    refused(&whole, str::to_owned)
}

fn refused(option: &CallOption, path: impl Fn(&str) -> String) -> Result<(), ReadError> {
    match outside(option).next() {
        Some(found) => Err(ReadError { field: path(found.key), message: found.to_string() }),
        None => Ok(()),
    }
}
