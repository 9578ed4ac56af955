//! The parameters of the WebSocket endpoints, in every spelling clients use.

use std::collections::HashMap;
use std::time::Duration;

/// Longest id a client may choose.
const LONGEST_ID: usize = 128;
/// Longest track id a client may choose.
const LONGEST_TRACK: usize = 64;
/// Time between pings when the client says nothing.
const PING: Duration = Duration::from_secs(20);
/// Longest time between pings that counts: a day.
const LONGEST_PING_S: u64 = 86_400;

/// What a client says when it connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parameters {
    /// Id of the call, as the client chose it. Not yet checked: the id of an inbound call is the phone's.
    pub(super) id: Option<String>,
    /// Write the event log.
    pub(super) dump: bool,
    /// Time between pings; `None` for none.
    pub(super) ping: Option<Duration>,
    /// Track id of what the server plays.
    pub(super) server_track: Option<String>,
}

impl Parameters {
    /// Reads decoded query parameters; unknown ones have no effect.
    ///
    /// # Errors
    /// A text that names the parameter.
    pub(super) fn read(query: &HashMap<String, String>) -> Result<Self, String> {
        let any =
            |names: &[&str]| names.iter().find_map(|name| query.get(*name)).filter(|value| !value.is_empty());
        let dump = match any(&["dump"]).map(|value| value.to_ascii_lowercase()).as_deref() {
            None | Some("true" | "1" | "yes") => true,
            Some("false" | "0" | "no") => false,
            Some(other) => return Err(format!("dump={}: write true or false", protocol::read::shown(other))),
        };
        let ping = match any(&["ping", "pingInterval", "ping_interval"]) {
            None => Some(PING),
            Some(text) => {
                let seconds: u64 = text
                    .trim_end_matches('s')
                    .parse()
                    .ok()
                    .filter(|seconds| *seconds <= LONGEST_PING_S)
                    .ok_or_else(|| {
                        format!("ping={}: write a number of seconds", protocol::read::shown(text))
                    })?;
                (seconds > 0).then(|| Duration::from_secs(seconds))
            }
        };
        let server_track = any(&["serverSideTrack", "server_side_track", "serverSideTrackId"]).cloned();
        if let Some(track) = server_track.as_ref().filter(|track| !plain(track, LONGEST_TRACK)) {
            return Err(format!("serverSideTrack={}: {RULE}", protocol::read::shown(track)));
        }
        Ok(Parameters { id: any(&["id"]).cloned(), dump, ping, server_track })
    }

    /// The id of a new call.
    ///
    /// # Errors
    /// Those of [`new_id`].
    pub(super) fn new_id(&self) -> Result<String, String> {
        new_id(self.id.as_deref())
    }
}

/// The id of a new call: the client's when it is fit for one, else a new one.
///
/// # Errors
/// A text that says which ids are fit.
pub(super) fn new_id(asked: Option<&str>) -> Result<String, String> {
    match asked {
        None => Ok(format!("s.{}", uuid::Uuid::new_v4())),
        Some(id) if plain(id, LONGEST_ID) => Ok(id.to_owned()),
        Some(id) => Err(format!("id={}: {RULE}", protocol::read::shown(id))),
    }
}

const RULE: &str = "an id begins with a letter or digit, goes on with letters, digits and . _ @ : + = -, and has at most 128 characters";

/// Whether a name can stand in logs, files and URLs as it is.
fn plain(name: &str, longest: usize) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '@' | ':' | '+' | '=' | '-');
    name.len() <= longest && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Parameters, String> {
        Parameters::read(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn the_ping_reads_in_every_spelling_and_zero_is_none() {
        for name in ["ping", "pingInterval", "ping_interval"] {
            assert_eq!(read(&[(name, "7")]).unwrap().ping, Some(Duration::from_secs(7)));
        }
        assert_eq!(read(&[]).unwrap().ping, Some(PING));
        assert_eq!(read(&[("ping", "0")]).unwrap().ping, None);
        assert!(read(&[("ping", "soon")]).is_err());
    }

    #[test]
    fn the_event_log_is_on_unless_told_otherwise() {
        assert!(read(&[]).unwrap().dump && read(&[("dump", "true")]).unwrap().dump);
        assert!(!read(&[("dump", "False")]).unwrap().dump);
        assert!(read(&[("dump", "perhaps")]).is_err());
    }

    #[test]
    fn an_id_that_is_no_name_is_refused() {
        for id in ["../x", "a/b", ".hidden", "a b", "a\0", "a\nb", "é", &"x".repeat(129)] {
            assert!(read(&[("id", id)]).unwrap().new_id().is_err(), "{id:?}");
        }
        assert_eq!(read(&[("id", "s.1-a@b")]).unwrap().new_id().unwrap(), "s.1-a@b");
        assert!(read(&[]).unwrap().new_id().unwrap().starts_with("s."));
    }
}
