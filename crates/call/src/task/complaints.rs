//! What the log has of a client's mistakes.

use protocol::{Event, redact};

/// Most complaints of one call in the log, so that no client fills it.
const MOST: u32 = 50;

/// How many complaints of a call the log has.
#[derive(Debug, Default)]
pub(super) struct Complaints(u32);

impl Complaints {
    /// Logs an event that tells of something wrong with a command, or with what it asks for.
    pub(super) fn note(&mut self, event: &Event) {
        if self.0 >= MOST {
            return;
        }
        match event {
            Event::Error { sender, error, code, .. } => {
                let error = redact::text(error);
                tracing::warn!(?sender, ?error, code, "told to the client");
            }
            Event::Other { sender, extra: Some(extra), .. } if extra.contains_key("unknownKey") => {
                let key = extra.get("unknownKey").and_then(|key| key.as_str()).unwrap_or_default();
                tracing::warn!(?sender, ?key, "a key of a command is unknown and has no effect");
            }
            _ => return,
        }
        self.0 += 1;
    }
}
