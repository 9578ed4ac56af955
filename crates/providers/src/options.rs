//! What options and the environment give, checked in one place.

use protocol::value::{Extra, Secret};

use crate::ProviderError;

/// Longest key, address or name that is taken.
const LONGEST: usize = 4096;

/// A variable of the environment; empty counts as absent.
pub(crate) fn environment(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the one place where providers read the environment")]
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// What `option` gives, else what the environment gives.
pub(crate) fn text_or(option: Option<&String>, variable: &str) -> Option<String> {
    option.filter(|text| !text.trim().is_empty()).cloned().or_else(|| environment(variable))
}

/// The key that `option` gives, else that of the environment.
pub(crate) fn secret_or(option: Option<&Secret>, variable: &str) -> Option<Secret> {
    option.filter(|key| !key.is_empty()).cloned().or_else(|| environment(variable).map(Secret::new))
}

/// `text` without blanks around it, refused when it is too long or holds control characters.
pub(crate) fn plain(field: &'static str, text: &str) -> Result<String, ProviderError> {
    let text = text.trim();
    if text.len() > LONGEST || text.chars().any(char::is_control) {
        return Err(ProviderError::Option { field, why: "expected one short line of text".to_owned() });
    }
    Ok(text.to_owned())
}

/// Longest message of a vendor that is repeated, in characters.
pub(crate) const LONGEST_MESSAGE: usize = 300;

/// A vendor's message, cut short, in one line, and without the key.
pub(crate) fn redacted(key: Option<&Secret>, message: &str) -> String {
    let message: String =
        message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_MESSAGE).collect();
    let message = match key {
        Some(key) if !key.is_empty() => message.replace(key.expose().trim(), "***"),
        _ => message,
    };
    // Vendors repeat a wrong key in part.
    message
        .split(' ')
        .map(|word| if word.starts_with("sk-") || word.contains("***") { "***" } else { word })
        .collect::<Vec<_>>()
        .join(" ")
}

/// `speed` of a voice, where 1.0 is its own.
pub(crate) fn speed(speed: Option<f32>) -> Result<f32, ProviderError> {
    match speed.unwrap_or(1.0) {
        speed if (0.25..=4.0).contains(&speed) => Ok(speed),
        other => Err(ProviderError::Option {
            field: "speed",
            why: format!("{other} is out of range: expected 0.25 to 4, where 1 is the voice's own"),
        }),
    }
}

/// `volume` of a voice as a factor, where 5 of 10 is its own.
pub(crate) fn gain(volume: Option<u32>) -> Result<f32, ProviderError> {
    match volume.unwrap_or(5) {
        volume @ 0..=10 => Ok(volume as f32 / 5.0),
        other => Err(ProviderError::Option {
            field: "volume",
            why: format!("{other} is out of range: expected 1 to 10, where 5 is the voice's own"),
        }),
    }
}

/// A span of milliseconds in `extra`, or `default`. Numbers and texts of digits are read.
pub(crate) fn extra_ms(extra: &Extra, field: &'static str, default: u64) -> Result<u64, ProviderError> {
    let key = field.trim_start_matches("extra.");
    let Some(value) = extra.get(key) else { return Ok(default) };
    protocol::value::extra_string(value)
        .trim()
        .parse::<u64>()
        .ok()
        .filter(|ms| *ms <= 60_000)
        .ok_or_else(|| ProviderError::Option { field, why: "expected milliseconds up to 60000".to_owned() })
}
