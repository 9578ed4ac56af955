//! What is written about a call: the call record and the lines of the event log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::option::CallOption;
use crate::reason::{HangupReason, Particulars};
use crate::rest::CallKind;
use crate::value::Extra;

/// The record of a call. Times are RFC 3339.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallRecord {
    /// What carried the call.
    pub call_type: CallKind,
    /// Its option, secrets redacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub option: Option<CallOption>,
    /// The call's id.
    pub call_id: String,
    /// When it began.
    pub start_time: String,
    /// When it rang.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring_time: Option<String>,
    /// When it was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_time: Option<String>,
    /// When it ended.
    pub end_time: String,
    /// From.
    pub caller: String,
    /// To.
    pub callee: String,
    /// SIP status that tells how it went: 200 for a call that was answered and hung up.
    pub status_code: u16,
    /// Why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hangup_reason: Option<HangupReason>,
    /// What peers said about the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hangup_messages: Vec<HangupMessage>,
    /// Recordings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recorder: Vec<Recording>,
    /// Variables of the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extras: Option<Extra>,
    /// The event log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dump_event_file: Option<String>,
    /// Record of the referred leg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refer_callrecord: Option<Box<CallRecord>>,
    /// What was said and heard.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transcript: Vec<Line>,
    /// Turns with their times.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turns: Vec<TurnRecord>,
    /// What the talk has used, and how it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub talk: Option<TalkRecord>,
    /// How good the sound was, where it went as RTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
}

/// How good the sound of a leg was, by its packets and the peer's reports (RFC 3550).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quality {
    /// Packets that arrived.
    pub packets: u64,
    /// Packets that should have arrived and did not.
    pub lost: u64,
    /// Share of packets lost, 0 to 1.
    pub loss: f64,
    /// Mean deviation of the time between arrivals, in milliseconds.
    pub jitter_ms: f64,
    /// From here to the peer and back, in milliseconds; absent where the peer sends no reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_ms: Option<f64>,
    /// Mean opinion score of what is heard, 1 to 4.5, estimated from loss and delay; absent before the first packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mos: Option<f64>,
    /// What came to its port and was dropped.
    #[serde(default)]
    pub dropped: Dropped,
    /// What the peer says that it hears; absent where it sends no reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<RemoteQuality>,
}

/// Packets of sound and reports that came to the port of a leg and were dropped, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Dropped {
    /// From another address than the peer's; the first ones of a peer behind a NAT too, until its address is known.
    pub foreign: u64,
    /// Of an encrypted call: in clear, with another key, changed on the way, cut short.
    pub unauthentic: u64,
    /// Of an encrypted call: heard before, or too old to tell.
    pub replayed: u64,
    /// Neither a report nor sound that was agreed on.
    pub unreadable: u64,
}

/// What a peer says that it hears of us, in its last report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemoteQuality {
    /// Packets lost since the beginning.
    pub lost: u32,
    /// Share lost since its report before, 0 to 1.
    pub loss: f64,
    /// Mean deviation of the time between arrivals, in milliseconds.
    pub jitter_ms: f64,
}

/// What a talk has used, and how it went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TalkRecord {
    /// The playbook's scene at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scene: Option<String>,
    /// Utterances of the agent that were cut off.
    pub interruptions: u32,
    /// Tools and tags that the model used.
    pub tool_calls: u32,
    /// Questions that were asked at the caller's first pause and whose answer was of use.
    pub speculation_hits: u32,
    /// Those whose answer was dropped.
    pub speculations_wasted: u32,
    /// Tokens of all questions to models, where they tell.
    pub prompt_tokens: u64,
    /// Tokens of all answers.
    pub completion_tokens: u64,
    /// Characters given to synthesizers.
    pub spoken_characters: u64,
}

/// What a peer said about the end of a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HangupMessage {
    /// SIP status.
    pub code: u16,
    /// Its text; of a BYE or CANCEL what it says in `Reason` (RFC 3326).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What it says beside it, where it is a refusal.
    #[serde(flatten)]
    pub particulars: Particulars,
}

/// A recording of a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Recording {
    /// Whose sound.
    pub track_id: String,
    /// The file.
    pub path: String,
    /// Its bytes.
    pub size: u64,
    /// What is particular, such as a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Extra>,
}

/// One line of what was said and heard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// `caller` or `agent`.
    pub speaker: String,
    /// The words: for the agent those that were heard.
    pub text: String,
    /// Milliseconds since the call began.
    pub at: u64,
    /// The agent was cut off here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
}

/// Times of one turn, in milliseconds since the call began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TurnRecord {
    /// When the caller stopped speaking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speech_end: Option<u64>,
    /// When the final transcript came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transcript: Option<u64>,
    /// When the model's first text came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_text: Option<u64>,
    /// When the first sound of the reply was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_audio: Option<u64>,
}

/// One line of `<id>.events.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// `event`, `command` or `sip`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Unix ms.
    pub timestamp: u64,
    /// The event or command as JSON text.
    pub content: String,
}
