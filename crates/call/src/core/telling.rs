//! What clients are told beside what happens to the call: what went wrong, and how long things took.

use std::time::Duration;

use protocol::event::{Event, RejectEvent};
use protocol::reason::Particulars;
use protocol::{CallTime, Extra, redact};

use super::Core;
use crate::failure::Failure;

/// Unknown keys that are told in one call.
const MOST_COMPLAINTS: usize = 32;

impl Core {
    /// Tells an error that is no field's.
    pub(crate) fn error(&mut self, now: CallTime, sender: &str, error: impl Into<String>, code: u16) {
        self.fail(now, sender, &Failure::new(code, error));
    }

    /// Tells that the key `field` of a command or of the call's option is wrong.
    pub(crate) fn wrong(&mut self, now: CallTime, sender: &str, field: &str, why: impl Into<String>) {
        self.fail(now, sender, &Failure::new(400, why).at(field));
    }

    /// Tells a failure.
    pub(crate) fn fail(&mut self, now: CallTime, sender: &str, failure: &Failure) {
        let field = Some(&failure.field).filter(|field| !field.is_empty());
        let event = Event::Error {
            track_id: self.facts.id.clone(),
            timestamp: self.unix_ms(now),
            sender: redact::text(sender).into_owned(),
            error: redact::text(&failure.to_string()).into_owned(),
            code: Some(failure.code),
            field: field.map(|field| redact::text(field).into_owned()),
        };
        self.emit(event);
    }

    /// Tells that who was called has refused, or could not be called.
    pub(crate) fn tell_reject(&mut self, now: CallTime, told: (u16, &str), particulars: Particulars) {
        let event = self.refusal(now, told, particulars);
        self.emit(Event::Reject(Box::new(event)));
    }

    /// Tells the same of the second party.
    pub(super) fn tell_second_reject(&mut self, now: CallTime, told: (u16, &str), particulars: Particulars) {
        let event = self.second_reject(now, told, particulars);
        self.emit(event);
    }

    /// The event that tells that the second party has refused.
    pub(super) fn second_reject(&self, now: CallTime, told: (u16, &str), particulars: Particulars) -> Event {
        let track_id = self.facts.rules.server_track.clone();
        let first = self.refusal(now, told, particulars);
        Event::Reject(Box::new(RejectEvent { track_id, refer: Some(true), ..first }))
    }

    /// A refusal of the first party.
    fn refusal(&self, now: CallTime, (code, reason): (u16, &str), particulars: Particulars) -> RejectEvent {
        RejectEvent {
            track_id: self.facts.id.clone(),
            timestamp: self.unix_ms(now),
            reason: reason.to_owned(),
            code: Some(code),
            refer: Some(false),
            particulars,
        }
    }

    /// A key of a client's command that nobody reads.
    pub(super) fn unknown_key(&mut self, now: CallTime, key: &str) {
        // Each key is told once: a client that streams must not drown in the same complaint.
        if self.complained.len() >= MOST_COMPLAINTS || !self.complained.insert(key.to_owned()) {
            return;
        }
        let told = [("unknownKey", key), ("message", "unknown key, ignored")];
        let extra = Extra::from(told.map(|(name, value)| (name.to_owned(), value.into())));
        let event = Event::Other {
            track_id: self.facts.id.clone(),
            timestamp: self.unix_ms(now),
            sender: "command".into(),
            extra: Some(extra),
        };
        self.emit(event);
    }

    /// How long something took.
    pub(crate) fn metric(&mut self, now: CallTime, key: &str, duration: Duration, data: serde_json::Value) {
        let event = Event::Metrics {
            timestamp: self.unix_ms(now),
            key: key.into(),
            duration: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            data,
        };
        self.emit(event);
    }
}
