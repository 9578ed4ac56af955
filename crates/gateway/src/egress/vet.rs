//! The addresses inside commands of clients, judged before a call hears of them: what a provider or a media server
//! is reached at is nobody's business to choose freely.

use protocol::read::{self, ReadError};
use protocol::{CallOption, Command};
use serde_json::Value;

use super::guard::Guard;

/// Where an address may stand in an option.
struct Place {
    /// The end of its path.
    path: &'static str,
    /// What it may begin with.
    schemes: &'static [&'static str],
    /// How else it may be given.
    otherwise: Otherwise,
}

/// What an address may be that has no scheme.
#[derive(Clone, Copy, PartialEq)]
enum Otherwise {
    /// Nothing else.
    Nothing,
    /// The name of a server, as vendors tell theirs: `asr.vendor.example`, `localhost:8000`.
    Server,
    /// A word that leads nowhere.
    Word,
}

const PLACES: &[Place] = &[
    Place { path: "mediaPass.url", schemes: &["ws", "wss"], otherwise: Otherwise::Nothing },
    // A realtime provider may be given as the address of its server.
    Place { path: "realtime.provider", schemes: ENDPOINT, otherwise: Otherwise::Word },
    Place { path: "eou.endpoint", schemes: &["http", "https"], otherwise: Otherwise::Nothing },
    Place { path: "endpoint", schemes: ENDPOINT, otherwise: Otherwise::Server },
    Place { path: "baseUrl", schemes: &["http", "https"], otherwise: Otherwise::Nothing },
    Place { path: "base_url", schemes: &["http", "https"], otherwise: Otherwise::Nothing },
];
const ENDPOINT: &[&str] = &["http", "https", "ws", "wss"];

impl Place {
    /// The place that a path names.
    fn of(path: &str) -> Option<&'static Place> {
        PLACES.iter().find(|place| {
            path.strip_suffix(place.path).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    }

    /// Whether what stands here leads anywhere. Only then is it to be judged.
    fn leads(&self, text: &str) -> Result<bool, String> {
        match self.otherwise {
            Otherwise::Word if !text.contains("://") => return Ok(false),
            Otherwise::Server if !text.contains("://") && text.contains(['.', ':']) => return Ok(true),
            _ => {}
        }
        read::address(text, self.schemes).map(|()| true)
    }
}

/// Whether every address in `command` may be reached. Files and sounds to play are judged when they are opened.
///
/// # Errors
/// The field, and why not.
pub async fn command(guard: &Guard, command: &Command) -> Result<(), ReadError> {
    let has_options = match command {
        Command::Invite(_) | Command::Accept(_) | Command::Refer(_) => true,
        Command::Tts(tts) => tts.option.is_some(),
        _ => false,
    };
    if !has_options {
        return Ok(());
    }
    // Its own text cannot fail to be written.
    let value = serde_json::to_value(command).unwrap_or_default();
    addresses(guard, &value).await
}

/// Whether every address in the option of a call may be reached.
///
/// # Errors
/// The field, and why not.
pub async fn option(guard: &Guard, option: &CallOption) -> Result<(), ReadError> {
    // Its own text cannot fail to be written.
    addresses(guard, &serde_json::json!({ "option": option })).await
}

/// Whether every address in `option` may be reached, at any depth.
///
/// # Errors
/// The field, and why not.
pub async fn addresses(guard: &Guard, option: &Value) -> Result<(), ReadError> {
    let mut found = Vec::new();
    collect(option, "", &mut found);
    for (field, place, address) in found {
        let judged = match place.leads(&address) {
            Ok(true) => guard.check(&address).await,
            Ok(false) => Ok(()),
            Err(why) => Err(why),
        };
        judged.map_err(|message| ReadError { field, message })?;
    }
    Ok(())
}

/// Every address of `value` with its path. One that is left empty is none.
fn collect(value: &Value, path: &str, found: &mut Vec<(String, &'static Place, String)>) {
    let Value::Object(map) = value else { return };
    for (key, inner) in map {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (inner, Place::of(&path)) {
            (Value::String(text), Some(place)) if !text.trim().is_empty() => {
                found.push((path, place, text.clone()));
            }
            _ => collect(inner, &path, found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn vetted(text: &str, allow: &[String]) -> Result<(), String> {
        let read = Command::parse(text).unwrap();
        command(&Guard::new(allow), &read.value).await.map_err(|error| error.field)
    }

    #[tokio::test]
    async fn each_endpoint_is_judged_and_named() {
        let here = "http://127.0.0.1:9";
        for (text, field) in [
            (format!(r#"{{"command":"invite","option":{{"asr":{{"endpoint":"{here}"}}}}}}"#), "option.asr.endpoint"),
            (format!(r#"{{"command":"accept","option":{{"tts":{{"baseUrl":"{here}"}}}}}}"#), "option.tts.endpoint"),
            (
                r#"{"command":"invite","option":{"mediaPass":{"url":"ws://[::1]:9/","inputSampleRate":16000,"outputSampleRate":16000}}}"#.to_owned(),
                "option.mediaPass.url",
            ),
            (format!(r#"{{"command":"tts","text":"x","option":{{"endpoint":"{here}"}}}}"#), "option.endpoint"),
        ] {
            assert_eq!(vetted(&text, &[]).await, Err(field.to_owned()), "{text}");
            assert_eq!(vetted(&text, &["127.0.0.0/8".into(), "::1".into()]).await, Ok(()), "{text}");
        }
        assert_eq!(vetted(r#"{"command":"tts","text":"x"}"#, &[]).await, Ok(()));
        assert_eq!(vetted(r#"{"command":"invite","option":{"tts":{"provider":"x"}}}"#, &[]).await, Ok(()));
    }

    #[tokio::test]
    async fn what_is_no_address_is_told_with_what_to_write() {
        let ws = "expected an address that begins with ws:// or wss://";
        let http = "expected an address that begins with http:// or https://";
        let any = "expected an address that begins with http:// or https:// or ws:// or wss://";
        for (option, told) in [
            (r#"{"mediaPass":{"url":"x"}}"#, format!("option.mediaPass.url: {ws}")),
            (r#"{"mediaPass":{"url":"https://8.8.8.8/"}}"#, format!("option.mediaPass.url: {ws}")),
            (r#"{"eou":{"endpoint":"x"}}"#, format!("option.eou.endpoint: {http}")),
            (r#"{"tts":{"baseUrl":"x"}}"#, format!("option.tts.endpoint: {any}")),
            (r#"{"asr":{"endpoint":"ftp://8.8.8.8/"}}"#, format!("option.asr.endpoint: {any}")),
            (r#"{"realtime":{"provider":"htp://8.8.8.8/"}}"#, format!("option.realtime.provider: {any}")),
            (r#"{"realtime":{"endpoint":"x"}}"#, format!("option.realtime.endpoint: {any}")),
        ] {
            let read = Command::parse(&format!(r#"{{"command":"invite","option":{option}}}"#)).unwrap();
            let error = command(&Guard::new(&["*".into()]), &read.value).await.unwrap_err();
            assert_eq!(error.to_string(), told);
        }
        for option in [
            r#"{"mediaPass":{"url":""},"asr":{"endpoint":" "},"realtime":{"provider":"openai"}}"#,
            r#"{"asr":{"endpoint":"8.8.8.8:443"},"tts":{"endpoint":"wss://8.8.8.8"}}"#,
        ] {
            assert_eq!(vetted(&format!(r#"{{"command":"invite","option":{option}}}"#), &[]).await, Ok(()));
        }
    }
}
