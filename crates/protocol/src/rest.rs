//! Bodies of HTTP requests and answers, ours and those we send.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::chat::Message;
use crate::option::CallOption;
use crate::record::CallRecord;

crate::value::words! {
    /// What carries a call.
    CallKind {
        /// A browser.
        Webrtc = "webrtc",
        /// A second leg.
        B2bua = "b2bua",
        /// Audio over `/call`.
        WebSocket = "webSocket",
        /// SIP.
        Sip = "sip",
    }
}

impl CallKind {
    /// The all-lower-case word of `GET /call/lists` and of the variable `call_type`.
    pub const fn lower(self) -> &'static str {
        match self {
            CallKind::Webrtc => "webrtc",
            CallKind::B2bua => "b2bua",
            CallKind::WebSocket => "websocket",
            CallKind::Sip => "sip",
        }
    }
}

/// Answer of `GET /call/lists`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct CallList {
    /// Calls that are up.
    pub calls: Vec<ListedCall>,
}

/// One call of [`CallList`].
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListedCall {
    /// The call's id.
    pub id: String,
    /// `webrtc`, `sip` or `websocket`.
    pub call_type: String,
    /// The same; clients read either spelling.
    #[serde(rename = "callType")]
    pub call_type_camel: String,
    /// RFC 3339.
    pub created_at: String,
    /// Its option, secrets redacted.
    pub option: CallOption,
}

/// Answer of the original's `GET /list`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ActiveCalls {
    /// Calls that are up.
    pub active_calls: Vec<ActiveCall>,
}

/// One call of [`ActiveCalls`]; absent times are `null`, as the original writes them.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActiveCall {
    /// The call's id.
    pub id: String,
    /// What carries it.
    pub call_type: CallKind,
    /// Its option, secrets redacted.
    #[serde(rename = "cs.option")]
    pub option: Option<CallOption>,
    /// When it rang, RFC 3339.
    pub ring_time: Option<String>,
    /// When it was answered, RFC 3339.
    pub start_time: Option<String>,
}

/// Answer of the original's `GET /kill/{id}`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Killed {
    /// `killed` or `not_found`.
    pub status: String,
    /// The call's id.
    pub id: String,
}

/// One entry of `GET /iceservers`; absent values are `null`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct IceServer {
    /// `stun:` and `turn:` addresses.
    pub urls: Vec<String>,
    /// User of a TURN server.
    pub username: Option<String>,
    /// Password of a TURN server; browsers need it, so it is sent.
    pub credential: Option<String>,
    /// `password` or `oauth`.
    #[serde(alias = "credentialType")]
    pub credential_type: Option<String>,
}

/// Body of the webhook that announces an inbound call.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InviteWebhook {
    /// Always `invite`.
    pub event: String,
    /// What the client attaches to with `/call/sip?id=`.
    pub dialog_id: String,
    /// From URI.
    pub caller: String,
    /// To URI.
    pub callee: String,
    /// Request-URI: the contact that the call was sent to, such as that of an account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_uri: Option<String>,
    /// RFC 3339.
    pub created_at: String,
    /// All headers of the INVITE as `Name: value`.
    pub headers: Vec<String>,
    /// SDP offer.
    pub offer: String,
    /// Call-ID.
    #[serde(rename = "call_id")]
    pub call_id: String,
    /// Tag of From.
    #[serde(rename = "from_tag")]
    pub from_tag: String,
    /// Tag of To, ours.
    #[serde(rename = "to_tag")]
    pub to_tag: String,
    /// `call_id` in the spelling of the other keys, as the next two are.
    #[serde(rename = "callId", default, skip_serializing_if = "Option::is_none")]
    pub camel_call_id: Option<String>,
    /// `from_tag`.
    #[serde(rename = "fromTag", default, skip_serializing_if = "Option::is_none")]
    pub camel_from_tag: Option<String>,
    /// `to_tag`.
    #[serde(rename = "toTag", default, skip_serializing_if = "Option::is_none")]
    pub camel_to_tag: Option<String>,
}

/// Body of the webhook sent after a call.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Posthook {
    /// The call's id.
    pub session_id: String,
    /// What the model made of it.
    pub summary: Option<String>,
    /// What was said and heard.
    pub history: Option<Vec<Message>>,
    /// RFC 3339.
    pub timestamp: String,
}

/// Body of `POST /api/playbook/run`: one of `playbook` and `content`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RunPlaybook {
    /// File under the playbook folder.
    pub playbook: Option<String>,
    /// The playbook itself.
    pub content: Option<String>,
    /// Kind of call.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// URI to call.
    pub to: Option<String>,
}

/// Answer of `POST /api/playbook/run`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PlaybookStarted {
    /// Id to attach to.
    pub session_id: String,
}

/// One entry of `GET /api/playbooks`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListedPlaybook {
    /// File name.
    pub name: String,
    /// When it was last changed, RFC 3339.
    pub updated: String,
}

/// Body of `POST /api/v1/tickets`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AskTicket {
    /// `read`, `control` or `admin`, and no more than the asking key may; absent: `control`.
    pub scope: Option<String>,
    /// The only path it opens, such as `/call`; absent: any.
    pub path: Option<String>,
    /// The only value of the parameter `id` it opens with; absent: any.
    pub id: Option<String>,
    /// Seconds it is good for; absent: 60, at most 3600.
    pub ttl: Option<u64>,
}

/// Answer of `POST /api/v1/tickets`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Ticket {
    /// Opens once: `/t/<ticket>` and the path it is for. Parameters may be added.
    pub path: String,
    /// Until when, RFC 3339.
    pub expires: String,
}

/// Answer of `POST /api/playbooks/{name}` and `POST /api/v1/playbooks/validate`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct PlaybookVerdict {
    /// Calls can be sent to it.
    pub valid: bool,
    /// What is wrong, with the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What is odd.
    pub warnings: Vec<String>,
}

crate::value::words! {
    /// How far a call has come.
    CallPhase {
        /// Waits for its first command.
        Idle = "idle",
        /// Waits for an answer.
        Ringing = "ringing",
        /// Answered.
        Up = "up",
        /// Has ended.
        Over = "over",
    }
}

/// How a call stands: answer of `GET /api/v1/calls/{id}`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallState {
    /// The call's id.
    pub id: String,
    /// What carries it.
    pub call_type: CallKind,
    /// How far it has come.
    pub state: CallPhase,
    /// From.
    pub caller: String,
    /// To.
    pub callee: String,
    /// When it began, RFC 3339.
    pub started_at: String,
    /// When it rang, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rang_at: Option<String>,
    /// When it was answered, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<String>,
    /// Milliseconds since it was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<u64>,
    /// Its option, secrets redacted.
    pub option: CallOption,
    /// Keys of the request that placed it which nobody reads, such as misspelt ones; in its answer alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}

/// The SIP messages of a call: answer of `GET /api/v1/calls/{id}/sip`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SipLadder {
    /// The call's id.
    pub id: String,
    /// The messages of all its dialogs, oldest first; at most 64.
    pub messages: Vec<SipMessage>,
    /// Messages that did not fit.
    pub more: u64,
    /// What was agreed on last with each party: the first, and the last that `refer` has called in; without those
    /// with whom nothing is agreed on yet.
    #[serde(default)]
    pub media: Vec<LegMedia>,
    /// How good the sound of its main leg was so far; absent before the first report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<crate::record::Quality>,
}

/// The sound that a party of a call and we have agreed on by offer and answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LegMedia {
    /// Track of the party.
    pub track_id: String,
    /// It is one that `refer` has called in.
    pub refer: bool,
    /// The codec that we send, as SDP names it.
    pub codec: String,
    /// Payload type that we send it as.
    pub payload_type: u8,
    /// Payload types on which its sound may come.
    pub heard_as: Vec<u8>,
    /// Payload type of digits (RFC 4733); absent where they do not travel so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telephone_event: Option<u8>,
    /// Payload type of comfort noise; absent without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comfort_noise: Option<u8>,
    /// Length of the packets that we send, in milliseconds.
    pub ptime: u32,
    /// Address and port that it was told to send to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<String>,
    /// Address and port that its description names; absent where it wants to hear nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// Whether reports share the port of the sound (RFC 5761).
    pub rtcp_mux: bool,
    /// Suite of SDES-SRTP, such as `AES_CM_128_HMAC_SHA1_80`; absent in clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<String>,
    /// What we may do: `sendrecv`, `sendonly`, `recvonly`, `inactive`.
    pub direction: String,
    /// Whether it holds us.
    pub held: bool,
}

/// A SIP message that has passed, without its secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SipMessage {
    /// Unix ms.
    pub at: u64,
    /// By us, and not to us.
    pub sent: bool,
    /// Transport, address and port of the other end.
    pub peer: String,
    /// `Call-ID` of its dialog.
    pub call_id: String,
    /// The start line.
    pub summary: String,
    /// The first 4 kB of the message, each line ended by a line feed.
    pub text: String,
}

/// Answer of `GET /api/v1/calls`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct CallStates {
    /// Calls that are up, oldest first.
    pub calls: Vec<CallState>,
}

/// Body of `POST /api/v1/calls`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PlaceCall {
    /// Id of the call; absent: a new one.
    pub id: Option<String>,
    /// URI to call.
    pub to: String,
    /// URI that calls; absent: as `invite` has it.
    pub caller: Option<String>,
    /// What `invite` would say of the call.
    pub option: Option<Box<CallOption>>,
    /// File under the playbook folder.
    pub playbook: Option<String>,
    /// The playbook itself.
    pub content: Option<String>,
}

/// Answer of `POST /api/v1/calls/{id}/commands`: the call was given the command. What came of it is told in events.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CommandTaken {
    /// The call's id.
    pub id: String,
    /// The command's name.
    pub command: String,
    /// Paths of keys that are not known and had no effect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}

/// One entry of `GET /api/records`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListedRecord {
    /// The call's id.
    pub id: String,
    /// When it began, RFC 3339.
    pub date: String,
    /// How long it was up, in seconds with an `s`.
    pub duration: String,
    /// `completed`, or why it did not come to that.
    pub status: String,
}

/// Answer of `GET /api/v1/records`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Records {
    /// Records, youngest first.
    pub records: Vec<CallRecord>,
    /// How many there are in all.
    pub total: u64,
    /// `offset` of those that follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// An error as RFC 9457 describes it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Always `about:blank`: `status` says what kind it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What is wrong, and what to do.
    pub detail: String,
    /// Path of the field that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}
