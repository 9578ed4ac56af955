//! What happened in a call.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::reason::Particulars;
use crate::value::Extra;

/// An event, as sent in a WebSocket text message with its name in `event`.
///
/// `track_id` says whose sound or signalling it is about: the call's id for the remote party,
/// `server-side-track` for what the server plays. Times are milliseconds since the Unix epoch, durations
/// milliseconds; times in `hangup` are RFC 3339.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[allow(
    missing_docs,
    reason = "the fields are those of the wire contract; the variants say what is particular"
)]
pub enum Event {
    /// An inbound call waits to be accepted by the client that has just attached to it.
    Incoming { track_id: String, timestamp: u64, caller: String, callee: String, sdp: String },
    /// The call is answered. `sdp` is our answer, or the peer's on outbound SIP; empty on `/call`.
    Answer {
        track_id: String,
        timestamp: u64,
        sdp: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refer: Option<bool>,
    },
    /// The call was refused.
    Reject(Box<RejectEvent>),
    /// The callee rings. `early_media`: the provisional answer carried SDP.
    Ringing {
        track_id: String,
        timestamp: u64,
        early_media: bool,
        /// Its status: 180 rings, 181 is forwarded, 182 waits in a queue, 183 is on its way.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<u16>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refer: Option<bool>,
    },
    /// The call has ended; the last event of a call.
    Hangup(Box<HangupEvent>),
    /// Who has answered a call of ours, heard between `start_time` and `end_time`.
    AnswerMachineDetection {
        track_id: String,
        timestamp: u64,
        start_time: u64,
        end_time: u64,
        /// `human`, `machine`, `beep` (of a machine that is known), `fax` or `silence`.
        text: String,
        /// How sure that is, 0 to 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confidence: Option<f32>,
    },
    /// A realtime model was told to stop.
    Interrupt {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        receiver: Option<String>,
    },
    /// A model calls a function; `arguments` is JSON as text.
    FunctionCall { track_id: String, call_id: String, name: String, arguments: String, timestamp: u64 },
    /// The remote party speaks since `start_time`.
    Speaking {
        track_id: String,
        timestamp: u64,
        start_time: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        is_filler: Option<bool>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confidence: Option<f32>,
    },
    /// The remote party has stopped speaking: start and length of the speech. Also sent while nobody speaks
    /// (`silenceTimeout`) and when no input came after a playback (`waitInputTimeout`): start and length of
    /// the silence.
    Silence { track_id: String, timestamp: u64, start_time: u64, duration: u64 },
    /// A detector says whether the utterance is complete. Both spellings are in use.
    Eou {
        track_id: String,
        timestamp: u64,
        completed: bool,
        #[serde(default)]
        complete: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interrupt_point: Option<String>,
    },
    /// No audio came from the peer for `inactivityTimeout`.
    Inactivity { track_id: String, timestamp: u64 },
    /// The remote party pressed a key.
    Dtmf { track_id: String, timestamp: u64, digit: String },
    /// The call is on hold, or is so no more; `by` says which of the two holds it means.
    Hold {
        track_id: String,
        timestamp: u64,
        on_hold: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Holder>,
    },
    /// Something begins to play; or, with the call's own track id, the call's sound begins.
    TrackStart {
        track_id: String,
        timestamp: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        play_id: Option<String>,
    },
    /// A playback or the call's sound has ended.
    TrackEnd {
        track_id: String,
        timestamp: u64,
        duration: u64,
        #[serde(default)]
        ssrc: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        play_id: Option<String>,
    },
    /// A playback was cut off, or commands of it were dropped. `current` of `total_duration` milliseconds were played;
    /// `position` is the index of the first character of `subtitle` that was not heard. A file has neither.
    Interruption {
        track_id: String,
        timestamp: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        play_id: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subtitle: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        position: Option<u32>,
        total_duration: u64,
        current: u64,
        /// Texts of `tts` commands of the same `playId` of which nothing was heard, in their order: the first 64, and 4 KB
        /// of them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        dropped: Vec<String>,
    },
    /// What was said, for good.
    AsrFinal(Transcript),
    /// What was said so far.
    AsrDelta(Transcript),
    /// A measurement: `duration` in milliseconds.
    Metrics { timestamp: u64, key: String, duration: u64, data: Value },
    /// Something went wrong in `sender`; the call goes on unless `hangup` follows.
    Error {
        track_id: String,
        timestamp: u64,
        sender: String,
        error: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<u16>,
        /// Path of the offending key of a command, such as `option.tts.speed`, where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        field: Option<String>,
    },
    /// An entry was added to the transcript.
    AddHistory {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sender: Option<String>,
        timestamp: u64,
        speaker: String,
        text: String,
    },
    /// Anything else worth telling, such as unknown keys of a command.
    Other {
        track_id: String,
        timestamp: u64,
        sender: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        extra: Option<Extra>,
    },
    /// The server is alive. Sent beside the WebSocket control frame.
    Ping {
        timestamp: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        payload: Option<String>,
    },
    /// An event of a playbook or an integration.
    Custom {
        track_id: String,
        timestamp: u64,
        #[serde(rename = "name")]
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        extra: Option<Extra>,
    },
    /// What an outbound call sounds like before the answer.
    RingbackState {
        track_id: String,
        timestamp: u64,
        state: String,
        state_index: u32,
        confidence: f32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prev_state: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prev_confidence: Option<f32>,
        #[serde(default)]
        refer: bool,
    },
    /// The model's whole answer.
    LlmFinal { timestamp: u64, text: String },
    /// A piece of the model's answer.
    LlmDelta { timestamp: u64, word: String },
    /// A party asks to be replaced by someone else (SIP REFER in its dialog): the remote party, or, with `refer`, the
    /// second party of a `refer`.
    TransferRequest {
        track_id: String,
        timestamp: u64,
        /// The URI to call.
        refer_to: String,
        /// `Referred-By` as it came.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        referred_by: Option<String>,
        /// Whether our call is to take the place of one that the target has already (`Replaces`): it was consulted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<bool>,
        /// SIP status with which it was answered at once: 202, or a refusal. Absent while `accept` or `reject` decides.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<u16>,
        /// Whether the second party asks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refer: Option<bool>,
    },
    /// How a transfer of the remote party goes, or, with `refer`, of the second party: ours by SIP REFER, one that it
    /// asked for, or another party that took its place (`Replaces`). `target` is the URI of whom it goes to.
    Transfer {
        track_id: String,
        timestamp: u64,
        state: TransferState,
        target: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<u16>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Whether it is the second party's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refer: Option<bool>,
        /// What the refusal says beside it that has failed it.
        #[serde(flatten)]
        particulars: Box<Particulars>,
    },
    /// What a `record` command has done to the recording.
    Recording { track_id: String, timestamp: u64, state: RecordingState },
}

/// Who holds a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Holder {
    /// The party that the event is about.
    Remote,
    /// This server, by `hold`.
    System,
}

/// How a recording stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RecordingState {
    /// It has begun.
    Started,
    /// Silence is written in place of the sound.
    Paused,
    /// Sound is written again.
    Resumed,
    /// It has ended.
    Stopped,
}

/// How far a transfer has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TransferState {
    /// Whoever is asked will try.
    Accepted,
    /// The target rings, or is being called.
    Ringing,
    /// The target has answered. Nothing follows.
    Succeeded,
    /// It was refused, by whom it was asked of or by the target. Nothing follows.
    Failed,
    /// Another party has taken the place of the remote one. Nothing follows.
    TakenOver,
}

/// Fields of `asrFinal` and `asrDelta`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Transcript {
    /// Whose words: the call's id.
    pub track_id: String,
    /// When the text arrived, Unix ms.
    pub timestamp: u64,
    /// Counts utterances of a call from 0; deltas and the final of one utterance share it.
    #[serde(default)]
    pub index: u32,
    /// When the speech began, Unix ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<u64>,
    /// When the speech ended, Unix ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<u64>,
    /// The words.
    pub text: String,
    /// The words are only a filler such as "um".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_filler: Option<bool>,
    /// 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f32>,
    /// The vendor's id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
}

/// Fields of `reject`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RejectEvent {
    /// The call's id, or `server-side-track` for a second party.
    pub track_id: String,
    /// Unix ms.
    pub timestamp: u64,
    /// In words.
    pub reason: String,
    /// SIP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// It was a second party who refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refer: Option<bool>,
    /// What the refusal says beside it.
    #[serde(flatten)]
    pub particulars: Particulars,
}

/// Fields of `hangup`. Times are RFC 3339.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HangupEvent {
    /// The call's id.
    pub track_id: String,
    /// Unix ms.
    pub timestamp: u64,
    /// A word of [`crate::HangupReason`] or free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `caller`, `callee` or `system`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initiator: Option<String>,
    /// When the call began.
    pub start_time: String,
    /// When it ended.
    pub hangup_time: String,
    /// When it was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_time: Option<String>,
    /// When it rang.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ringing_time: Option<String>,
    /// The calling party.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Attendee>,
    /// The called party.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Attendee>,
    /// Variables of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra: Option<Extra>,
    /// Only the referred leg has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refer: Option<bool>,
}

/// A party of a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Attendee {
    /// User part of the URI.
    pub username: String,
    /// Host of the URI, without port.
    pub realm: String,
    /// The URI as it came, a password in it as `***`.
    pub source: String,
}

impl Attendee {
    /// The parts of a SIP URI or bare address; a text that is no URI is kept as the source.
    pub fn from_uri(uri: &str) -> Self {
        let bare = uri.split(['<', '>']).nth(usize::from(uri.contains('<'))).unwrap_or(uri);
        let bare = bare.strip_prefix("sips:").or_else(|| bare.strip_prefix("sip:")).unwrap_or(bare);
        let (user, host) = bare.rsplit_once('@').unwrap_or(("", bare));
        let host = host.split([';', '?', '>']).next().unwrap_or_default();
        let realm = match host.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
            Some((v6, _)) => v6,
            None => host.split(':').next().unwrap_or_default(),
        };
        let username = user.split([':', ';']).next().unwrap_or_default();
        Attendee {
            username: username.to_owned(),
            realm: realm.to_owned(),
            source: crate::redact::text(uri).into_owned(),
        }
    }
}
