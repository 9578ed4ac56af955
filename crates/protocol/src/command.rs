//! What someone wants of a call.

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::limits;
use crate::option::{CallOption, RecorderOption, ReferOption, SynthesisOption};
use crate::read::{self, Read, ReadError};
use crate::value::{Headers, InputTimeout};

/// A command, as sent in a WebSocket text message with its name in `command`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "command", rename_all = "camelCase")]
#[schemars(transform = with_all_names)]
pub enum Command {
    /// Begin the call: place it, or answer the WebSocket or WebRTC client.
    Invite(Invite),
    /// Answer the pending inbound call.
    Accept(Invite),
    /// Refuse the pending inbound call.
    Reject(Reject),
    /// Let the pending inbound call ring.
    Ringing(Ringing),
    /// Speak.
    Tts(Tts),
    /// Play a file.
    Play(Play),
    /// Stop what is being spoken or played.
    Interrupt(Interrupt),
    /// Hold what is being spoken or played.
    Pause(Nothing),
    /// Go on after `pause`.
    Resume(Nothing),
    /// End the call.
    Hangup(Hangup),
    /// Call a second party and join it to the call.
    Refer(Refer),
    /// Silence a track.
    Mute(Mute),
    /// Let a muted track be heard again.
    Unmute(Mute),
    /// Add an entry to the transcript.
    History(History),
    /// ICE candidates of a WebRTC client.
    Candidate(Candidate),
    /// Send digits to the far end.
    Dtmf(Dtmf),
    /// Begin or end a recording, or leave a part out of it.
    Record(Record),
    /// Put the remote party on hold.
    Hold(Hold),
    /// Take the remote party back from hold.
    Unhold(Nothing),
}

/// `invite` and `accept`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Invite {
    /// What the call is to be.
    pub option: Box<CallOption>,
}

/// `reject`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reject {
    /// Text for the status line.
    pub reason: String,
    /// SIP status, 400 to 699. Default 603.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
}

/// `ringing`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Ringing {
    /// Record from now on; a recorder given with `accept` does not replace it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorder: Option<RecorderOption>,
    /// Answer 183 with SDP, so that the caller hears us before the answer.
    #[serde(alias = "early_media", skip_serializing_if = "Option::is_none")]
    pub early_media: Option<bool>,
    /// File to play before the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ringtone: Option<String>,
}

/// `tts`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tts {
    /// What to say; may be empty to send only `endOfStream` or `autoHangup`.
    pub text: String,
    /// Voice; else the call's.
    #[serde(default, alias = "voice", skip_serializing_if = "Option::is_none")]
    pub speaker: Option<String>,
    /// Commands with the same id make one utterance, or one behind the other once a stream has ended; another id
    /// interrupts the one that plays.
    #[serde(default, alias = "play_id", skip_serializing_if = "Option::is_none")]
    pub play_id: Option<String>,
    /// Hang up when the utterance ends.
    #[serde(default, alias = "auto_hangup", skip_serializing_if = "Option::is_none")]
    pub auto_hangup: Option<bool>,
    /// Text pieces go to one synthesizer stream per `playId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streaming: Option<bool>,
    /// No more text for this `playId`.
    #[serde(default, alias = "end_of_stream", skip_serializing_if = "Option::is_none")]
    pub end_of_stream: Option<bool>,
    /// Send `silence` when the caller says nothing for so long after the utterance.
    #[serde(default, alias = "wait_input_timeout", skip_serializing_if = "Option::is_none")]
    pub wait_input_timeout: Option<InputTimeout>,
    /// Laid over the call's `tts` option.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub option: Option<Box<SynthesisOption>>,
    /// `text` is base64 of s16le mono PCM at 16000 Hz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<bool>,
    /// Stands for the text in the cache of rendered speech: what was said under it before is heard again, as long as the
    /// voice and its parameters are the same.
    #[serde(default, alias = "cache_key", skip_serializing_if = "Option::is_none")]
    pub cache_key: Option<String>,
}

/// `play`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Play {
    /// Path under the configured roots, or http(s) address.
    pub url: String,
    /// Default: the url.
    #[serde(default, alias = "play_id", skip_serializing_if = "Option::is_none")]
    pub play_id: Option<String>,
    /// Hang up when the file ends.
    #[serde(default, alias = "auto_hangup", skip_serializing_if = "Option::is_none")]
    pub auto_hangup: Option<bool>,
    /// Send `silence` when the caller says nothing for so long after the file.
    #[serde(default, alias = "wait_input_timeout", skip_serializing_if = "Option::is_none")]
    pub wait_input_timeout: Option<InputTimeout>,
}

/// `interrupt`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Interrupt {
    /// Let the command that plays end, drop those that wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graceful: Option<bool>,
    /// Fade out over so many milliseconds instead of stopping at once.
    #[serde(alias = "fade_out_ms", skip_serializing_if = "Option::is_none")]
    pub fade_out_ms: Option<u32>,
}

/// A command without fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Nothing {}

/// `hangup`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Hangup {
    /// A word of [`crate::HangupReason`] or free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `caller`, `callee` or `system`; overrides the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initiator: Option<String>,
    /// Headers for the BYE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Headers>,
    /// Hang up only the referred leg.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refer: Option<bool>,
}

/// `refer`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Refer {
    /// Our URI towards the second party; empty: the called number.
    #[serde(default)]
    pub caller: String,
    /// URI to call; may be empty for `attended`.
    #[serde(default)]
    pub callee: String,
    /// Who makes the call. Default `bridge`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<ReferMethod>,
    /// How to call it.
    #[serde(default, alias = "option", skip_serializing_if = "Option::is_none")]
    pub options: Option<Box<ReferOption>>,
}

/// Who makes the call of a `refer`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ReferMethod {
    /// We do, and join both parties here.
    #[default]
    Bridge,
    /// The remote party does (SIP REFER), and we leave when it has succeeded.
    Blind,
    /// The same with the second party that a `bridge` has called: the remote party takes our place in that call.
    Attended,
}

/// `mute` and `unmute`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Mute {
    /// Which track; absent: all.
    #[serde(alias = "track_id", skip_serializing_if = "Option::is_none")]
    pub track_id: Option<String>,
}

/// `history`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct History {
    /// Who said it.
    pub speaker: String,
    /// What was said.
    pub text: String,
}

/// `candidate`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// ICE candidate lines.
    pub candidates: Vec<String>,
}

/// `dtmf`: send digits to the far end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dtmf {
    /// `0` to `9`, `*`, `#`, `A` to `D`, and `,` for half a second's pause.
    #[serde(alias = "digit")]
    pub digits: String,
    /// Milliseconds of each digit. Default 160.
    #[serde(default, alias = "duration_ms", alias = "duration", skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u32>,
    /// How they travel. Default: what the configuration says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<DtmfMethod>,
}

/// `record`: what of the call is recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// What is to be done.
    pub action: RecordAction,
    /// With `start`: laid over the call's `recorder` option.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorder: Option<RecorderOption>,
}

/// `hold`: the remote party is neither heard nor spoken to until `unhold`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Hold {
    /// What it hears meanwhile, over and over: path under the configured roots, or http(s) address. Absent: silence.
    #[serde(alias = "moh", skip_serializing_if = "Option::is_none")]
    pub music: Option<String>,
}

crate::value::words! {
    /// What is to be done with a recording.
    RecordAction {
        /// Begin one; after one has ended, another in a file of its own.
        Start = "start",
        /// Write silence from now on, so that the rest of the file stays where it belongs in time.
        Pause = "pause",
        /// Write sound again.
        Resume = "resume",
        /// End it.
        Stop = "stop",
    }
}

crate::value::words! {
    /// How digits travel to the far end.
    DtmfMethod {
        /// By RFC 4733 where that is agreed on, else by INFO, and as tones where INFO is refused.
        Auto = "auto",
        /// By RFC 4733; by INFO where that is not agreed on.
        Rtp = "rtp" | "rfc4733" | "rfc2833",
        /// By SIP INFO with `application/dtmf-relay`.
        Info = "info" | "dtmf-relay",
        /// By SIP INFO with `application/dtmf`.
        InfoPlain = "info-plain" | "info_plain" | "infoPlain",
        /// As tones in the sound.
        InBand = "inband" | "in-band" | "tones",
    }
}

/// Reads one kind of command.
type Reader = fn(Value) -> Result<Read<Command>, ReadError>;

fn reader<T: serde::de::DeserializeOwned>(
    value: Value,
    make: fn(T) -> Command,
) -> Result<Read<Command>, ReadError> {
    let read: Read<T> = read::value(value)?;
    Ok(Read { value: make(read.value), unknown: read.unknown })
}

/// Every command: its names (the first is emitted) and how it is read.
const COMMANDS: &[(&[&str], Reader)] = &[
    (&["invite", "start"], |v| reader(v, Command::Invite)),
    (&["accept"], |v| reader(v, Command::Accept)),
    (&["reject"], |v| reader(v, Command::Reject)),
    (&["ringing"], |v| reader(v, Command::Ringing)),
    (&["tts"], |v| reader(v, Command::Tts)),
    (&["play"], |v| reader(v, Command::Play)),
    (&["interrupt"], |v| reader(v, Command::Interrupt)),
    (&["pause"], |v| reader(v, Command::Pause)),
    (&["resume"], |v| reader(v, Command::Resume)),
    (&["hangup"], |v| reader(v, Command::Hangup)),
    (&["refer"], |v| reader(v, Command::Refer)),
    (&["mute"], |v| reader(v, Command::Mute)),
    (&["unmute"], |v| reader(v, Command::Unmute)),
    (&["history"], |v| reader(v, Command::History)),
    (&["candidate"], |v| reader(v, Command::Candidate)),
    (&["dtmf", "sendDtmf", "send_dtmf"], |v| reader(v, Command::Dtmf)),
    (&["record", "recorder", "recording"], |v| reader(v, Command::Record)),
    (&["hold"], |v| reader(v, Command::Hold)),
    (&["unhold"], |v| reader(v, Command::Unhold)),
];

/// Adds the other names of commands to their description.
fn with_all_names(schema: &mut Schema) {
    let variants = schema.get_mut("oneOf").and_then(Value::as_array_mut).into_iter().flatten();
    for tag in variants.filter_map(|variant| variant.pointer_mut("/properties/command")) {
        let name = tag["const"].as_str().unwrap_or_default();
        let row = COMMANDS.iter().find(|(names, _)| names.len() > 1 && names.contains(&name));
        if let (Some((names, _)), Some(tag)) = (row, tag.as_object_mut()) {
            tag.remove("const");
            tag.insert("enum".into(), Value::from(names.to_vec()));
        }
    }
}

impl Command {
    /// Reads a command from the text of a WebSocket message or the body of a request.
    ///
    /// # Errors
    /// Names the field that does not fit, or the commands that exist when the name is unknown.
    pub fn parse(text: &str) -> Result<Read<Command>, ReadError> {
        Self::from_value(read::json(text)?)
    }

    /// Reads a command from JSON.
    ///
    /// # Errors
    /// As [`Command::parse`].
    pub fn from_value(mut value: Value) -> Result<Read<Command>, ReadError> {
        let wrong = |message: String| ReadError { field: "command".into(), message };
        let Some(object) = value.as_object_mut() else {
            return Err(ReadError { field: String::new(), message: "expected an object".into() });
        };
        let name = match object.remove("command") {
            Some(Value::String(name)) => name,
            Some(_) => return Err(wrong("expected a string".into())),
            None => return Err(wrong("missing; it names what to do".into())),
        };
        let row = COMMANDS.iter().find(|(names, _)| names.iter().any(|n| n.eq_ignore_ascii_case(&name)));
        let Some((_, read)) = row else {
            let known: Vec<&str> = COMMANDS.iter().map(|(names, _)| names[0]).collect();
            let shown: String = name.chars().take(40).collect();
            return Err(wrong(format!("unknown command \"{shown}\"; known: {}", known.join(", "))));
        };
        let read = read(value)?;
        limits::command(&read.value)?;
        Ok(read)
    }

    /// The name as written on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Invite(_) => "invite",
            Command::Accept(_) => "accept",
            Command::Reject(_) => "reject",
            Command::Ringing(_) => "ringing",
            Command::Tts(_) => "tts",
            Command::Play(_) => "play",
            Command::Interrupt(_) => "interrupt",
            Command::Pause(_) => "pause",
            Command::Resume(_) => "resume",
            Command::Hangup(_) => "hangup",
            Command::Refer(_) => "refer",
            Command::Mute(_) => "mute",
            Command::Unmute(_) => "unmute",
            Command::History(_) => "history",
            Command::Candidate(_) => "candidate",
            Command::Dtmf(_) => "dtmf",
            Command::Record(_) => "record",
            Command::Hold(_) => "hold",
            Command::Unhold(_) => "unhold",
        }
    }
}

impl Command {
    /// The playbook that the command's option names, if any.
    pub fn playbook(&self) -> Option<&str> {
        match self {
            Command::Invite(invite) | Command::Accept(invite) => invite.option.playbook.as_deref(),
            _ => None,
        }
    }
}
