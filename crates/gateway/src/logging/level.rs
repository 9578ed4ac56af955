//! What of the log is written: the words of `log_level` and `RUST_LOG`, and the most that is written of the programs
//! of others.

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;

use crate::config::words::nearest;

/// Words for how much is written.
const LEVELS: &[&str] = &["trace", "debug", "info", "warn", "error", "off"];
/// What other programs call some of them.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("warning", "warn"),
    ("information", "info"),
    ("notice", "info"),
    ("verbose", "debug"),
    ("fatal", "error"),
    ("critical", "error"),
    ("none", "off"),
];
/// Rooms of this program, by the names that their lines have.
const OURS: &[&str] = &["active_call", "audio", "call", "playbook", "protocol", "providers", "rtp", "sip"];
/// What is written where only single rooms are named.
pub(crate) const REST: &str = "info";

/// What decoders say of a client's broken file is not written: they know no call, and the call tells it.
const DECODERS: &str = "symphonia=off";

/// Words that are none, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoLevel {
    /// What is wrong.
    pub(crate) message: String,
    /// What to write.
    pub(crate) help: String,
}

/// Reads levels and directives such as `info,sip=debug`. A word that is no level is refused: it would name a room
/// that does not exist, and nothing at all would be written, not even errors.
pub(crate) fn filter(text: &str) -> Result<EnvFilter, NoLevel> {
    let words: Vec<&str> = text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    if words.is_empty() {
        return Err(NoLevel { message: "names no level".into(), help: format!("write \"{REST}\"") });
    }
    let mut directives = Vec::new();
    for word in &words {
        match word.rsplit_once('=') {
            // Fields of spans are in brackets, and may have a `=` of their own.
            Some((room, how)) if !how.ends_with(']') => {
                directives.push(format!("{}={}", room.trim(), level(how.trim())?));
            }
            _ if word.contains('[') => directives.push((*word).to_owned()),
            _ => directives.push(level(word)?.to_owned()),
        }
    }
    if !words.iter().any(|word| level(word).is_ok()) {
        directives.push(REST.to_owned());
    }
    directives.push(DECODERS.to_owned());
    EnvFilter::try_new(directives.join(",")).map_err(|error| NoLevel {
        message: format!("cannot be read: {error}"),
        help: format!("write a level such as \"{REST}\", or \"{REST},sip=debug\""),
    })
}

fn level(word: &str) -> Result<&'static str, NoLevel> {
    let lower = word.to_ascii_lowercase();
    if let Some(level) = LEVELS.iter().find(|level| **level == lower) {
        return Ok(level);
    }
    let other = OTHER_WORDS.iter().find(|(other, _)| *other == lower).map(|(_, level)| *level);
    let help = match other.or_else(|| nearest(&lower, LEVELS.iter().copied())) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None if OURS.contains(&word) => format!("write \"{word}=debug\""),
        None => format!("write one of {}", LEVELS.join(", ")),
    };
    Err(NoLevel { message: format!("\"{}\" is no level", protocol::read::shown(word)), help })
}

/// Whether a line may be written at all. Libraries trace the messages that they carry, with the keys and passwords in
/// them: of what is not ours nothing below `debug` is written, whatever the directives say.
pub(crate) fn permitted(line: &Metadata<'_>) -> bool {
    let room = line.target().split("::").next().unwrap_or_default();
    *line.level() <= Level::DEBUG || OURS.contains(&room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_refused_with_the_nearest() {
        for (text, help) in [
            ("debgu", "did you mean \"debug\"?"),
            ("WARNING", "did you mean \"warn\"?"),
            ("info,sip=debgu", "did you mean \"debug\"?"),
            ("loud", "write one of trace, debug, info, warn, error, off"),
            ("sip", "write \"sip=debug\""),
            ("", "write \"info\""),
            (" , ", "write \"info\""),
        ] {
            assert_eq!(filter(text).unwrap_err().help, help, "{text:?}");
        }
    }

    #[test]
    fn levels_are_read_in_any_case_and_rooms_leave_the_rest_as_usual() {
        for (text, read) in [
            ("DEBUG", "symphonia=off,debug"),
            ("info, sip=Debug", "symphonia=off,sip=debug,info"),
            ("sip=debug", "symphonia=off,sip=debug,info"),
            ("off,sip=trace", "symphonia=off,sip=trace,off"),
        ] {
            assert_eq!(filter(text).unwrap().to_string(), read);
        }
    }
}
