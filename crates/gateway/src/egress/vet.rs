//! The addresses inside commands of clients, judged before a call hears of them: what a provider or a media server
//! is reached at is nobody's business to choose freely.

use protocol::read::ReadError;
use protocol::{CallOption, Command};
use serde_json::Value;

use super::guard::Guard;

/// Keys whose value is where something is reached, wherever they stand in an option.
const ENDPOINTS: &[&str] = &["endpoint", "baseUrl", "base_url"];

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
    for (field, address) in found {
        if let Err(message) = guard.check(&address).await {
            return Err(ReadError { field, message });
        }
    }
    Ok(())
}

/// Every address of `value` with its path.
fn collect(value: &Value, path: &str, found: &mut Vec<(String, String)>) {
    let Value::Object(map) = value else { return };
    for (key, inner) in map {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let media = path.ends_with("mediaPass.url");
        // A realtime provider may be given as the address of its server.
        let server = path.ends_with("realtime.provider");
        match inner {
            Value::String(text)
                if media
                    || (ENDPOINTS.contains(&key.as_str()) && !text.is_empty())
                    || (server && text.contains("://")) =>
            {
                found.push((path, text.clone()));
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
}
