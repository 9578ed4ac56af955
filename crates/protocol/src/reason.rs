//! Why a call ended, in the two spellings the wire has.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a call ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HangupReason {
    /// The calling party hung up.
    Caller,
    /// The called party hung up.
    Callee,
    /// The referred leg ended and took the call with it.
    Refer,
    /// The server ended the call: a command, a limit, a stop.
    System,
    /// A playback with `autoHangup` ended.
    Autohangup,
    /// No audio came from the peer for `inactivityTimeout`.
    InactivityTimeout,
    /// Nobody answered.
    NoAnswer,
    /// The account has no balance.
    NoBalance,
    /// A machine answered.
    AnswerMachine,
    /// The peer or we were out of service.
    ServerUnavailable,
    /// The caller gave up before the answer.
    Canceled,
    /// The call was refused.
    Rejected,
    /// The call failed.
    Failed,
    /// Any other text a client gave.
    Other(String),
}

/// The reason, its word in commands and events, and its word in call records.
const TABLE: &[(HangupReason, &str, &str)] = &[
    (HangupReason::Caller, "caller", "byCaller"),
    (HangupReason::Callee, "callee", "byCallee"),
    (HangupReason::Refer, "refer", "byRefer"),
    (HangupReason::System, "system", "bySystem"),
    (HangupReason::Autohangup, "autohangup", "autohangup"),
    (HangupReason::InactivityTimeout, "inactivityTimeout", "inactivityTimeout"),
    (HangupReason::NoAnswer, "noAnswer", "noAnswer"),
    (HangupReason::NoBalance, "noBalance", "noBalance"),
    (HangupReason::AnswerMachine, "answerMachine", "answerMachine"),
    (HangupReason::ServerUnavailable, "serverUnavailable", "serverUnavailable"),
    (HangupReason::Canceled, "canceled", "canceled"),
    (HangupReason::Rejected, "rejected", "rejected"),
    (HangupReason::Failed, "failed", "failed"),
];

impl HangupReason {
    /// The reason a client's word means: either spelling in any case, else [`HangupReason::Other`].
    pub fn from_word(word: &str) -> Self {
        let same = |name: &str| word.eq_ignore_ascii_case(name);
        TABLE
            .iter()
            .find(|(_, wire, record)| same(wire) || same(record))
            .map_or_else(|| HangupReason::Other(word.to_owned()), |(reason, ..)| reason.clone())
    }

    /// The words that commands and events have for reasons, beside those that clients give.
    pub fn words() -> impl Iterator<Item = &'static str> {
        TABLE.iter().map(|(_, wire, _)| *wire)
    }

    /// The word in commands and events.
    pub fn wire(&self) -> &str {
        match self {
            HangupReason::Other(text) => text,
            known => TABLE.iter().find(|(reason, ..)| reason == known).map_or("failed", |row| row.1),
        }
    }

    /// The word in call records; `None` for free text, which is written as `{"other": text}`.
    fn record(&self) -> Option<&'static str> {
        TABLE.iter().find(|(reason, ..)| reason == self).map(|row| row.2)
    }
}

/// The spelling of call records: a word, or `{"other": text}`.
impl Serialize for HangupReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.record() {
            Some(word) => serializer.serialize_str(word),
            None => serializer.collect_map([("other", self.wire())]),
        }
    }
}

impl<'de> Deserialize<'de> for HangupReason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a word, or {other}")]
        enum Shape {
            Word(String),
            Other { other: String },
        }
        Ok(match Shape::deserialize(deserializer)? {
            Shape::Word(word) => HangupReason::from_word(&word),
            Shape::Other { other } => HangupReason::Other(other),
        })
    }
}

impl JsonSchema for HangupReason {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HangupReason".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let words: Vec<&str> = TABLE.iter().map(|row| row.2).collect();
        schemars::json_schema!({
            "oneOf": [
                {"type": "string", "enum": words},
                {"type": "object", "properties": {"other": {"type": "string"}}, "required": ["other"]}
            ]
        })
    }
}

/// Who ended a call, as `hangup.initiator` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Initiator {
    /// The calling party.
    Caller,
    /// The called party.
    Callee,
    /// This server.
    System,
}

impl Initiator {
    /// The word in commands and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Initiator::Caller => "caller",
            Initiator::Callee => "callee",
            Initiator::System => "system",
        }
    }
}

/// What a refusal says beyond its status and its words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Particulars {
    /// Where a redirection (`code` 300 to 399) leads, best first: at most 8 URIs. It is not followed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<String>,
    /// What a refusal says in `Reason` (RFC 3326), such as `Q.850;cause=17;text="User busy"`: at most 512 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What it says in `Warning` (RFC 3261), such as `370 pbx "Insufficient bandwidth"`: at most 512 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// After how many seconds it may be tried again (`Retry-After`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back_in_any_case() {
        for (reason, wire, record) in TABLE {
            assert_eq!(&HangupReason::from_word(wire), reason);
            assert_eq!(&HangupReason::from_word(&record.to_uppercase()), reason);
            let json = serde_json::to_value(reason).unwrap();
            assert_eq!(json, serde_json::json!(record));
            assert_eq!(&serde_json::from_value::<HangupReason>(json).unwrap(), reason);
        }
    }

    #[test]
    fn free_text_is_kept() {
        let reason = HangupReason::from_word("customer satisfied");
        assert_eq!(reason.wire(), "customer satisfied");
        assert_eq!(
            serde_json::to_value(&reason).unwrap(),
            serde_json::json!({"other": "customer satisfied"})
        );
    }
}
