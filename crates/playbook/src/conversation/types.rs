//! What goes into a conversation and what comes out of it.

use std::time::Duration;

use protocol::chat::{Ask, ModelOutput, ToolSpec, TurnId};
use protocol::value::Headers;
use protocol::{Command, Event};
use serde_json::Value;

use crate::tools::McpServer;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The call is up; the first input that has an effect.
    Answered,
    /// An event of the call, as a client would hear it: `asrDelta`, `asrFinal`, `speaking`, `silence`, `eou`,
    /// `dtmf`, `hold`, `answer` and `reject` and `hangup` of a referred leg. Others are ignored.
    Call(Event),
    /// How much of an utterance the caller has heard. Reported for everything spoken or played under a
    /// `playId` of this conversation; for a file, `text` is empty. Every utterance ends with exactly one
    /// report that is not [`Ended::Playing`], also when nothing of it could be made audible.
    Heard {
        /// The utterance.
        play_id: String,
        /// The text heard so far, from the beginning of the utterance.
        text: String,
        /// Whether there is more to come.
        ended: Ended,
    },
    /// The caller spoke, and what was said is lost: the recognizer failed.
    NotUnderstood,
    /// A piece of a model's answer.
    Model(TurnId, ModelOutput),
    /// The tools of a server: the answer to [`Action::ListTools`].
    Tools {
        /// Name of the server.
        server: String,
        /// Its tools, or what went wrong in a few words.
        tools: Result<Vec<ToolSpec>, String>,
    },
    /// The answer to [`Action::Fetch`] or [`Action::CallTool`].
    Fetched {
        /// Of the request.
        id: u32,
        /// The body of a 2xx answer, or what went wrong in a few words.
        body: Result<String, String>,
    },
    /// A speech-to-speech model begins to be heard, or is not heard any more. Of what a conversation says itself
    /// [`Input::Heard`] tells.
    Agent {
        /// Which.
        speaks: bool,
    },
    /// The call has to end soon: the agent says goodbye and hangs up, for this reason.
    Leave(String),
    /// The time of [`crate::Conversation::timeout`] has come.
    Tick,
}

/// Whether an utterance goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It goes on.
    Playing,
    /// It was played to its end, or failed.
    Finished,
    /// It was cut off.
    Interrupted,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Carry out a command, as if a client had sent it.
    Do(Command),
    /// Ask the model.
    Ask(Ask),
    /// Stop asking; answers of this turn are of no use any more.
    Abandon(TurnId),
    /// Fetch a URL and report it as [`Input::Fetched`].
    Fetch {
        /// To tell answers apart.
        id: u32,
        /// What to fetch. Its address may come from a model: which hosts may be reached is for the one who
        /// fetches to decide.
        request: HttpRequest,
    },
    /// Start the server of tools, list its tools and report them as [`Input::Tools`]. Sent once when the call is
    /// answered.
    ListTools(McpServer),
    /// Call a tool of a server and report its result as [`Input::Fetched`].
    CallTool {
        /// To tell answers apart; no [`Action::Fetch`] has the same.
        id: u32,
        /// Name of the server.
        server: String,
        /// Name of the tool as the server gave it.
        name: String,
        /// Its arguments, an object.
        arguments: Value,
        /// After so long it has failed.
        timeout: Duration,
    },
    /// The answer to a request is not wanted any more. An answer that comes all the same is dropped.
    CancelFetch(u32),
    /// Arm the call's sound for the utterances that begin from now on: what it does by itself in the tick in which
    /// the caller is heard; `None`: nothing. Sent when it changes, before the utterance it is for.
    Arm(Option<Arming>),
    /// Let the speech-to-speech model of the call speak without being spoken to, told this.
    Prompt(String),
    /// Tell those who watch the call.
    Note(Note),
}

/// What the call's sound does by itself when the caller is heard while the agent is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arming {
    /// Gain, 0 to 1, to which the voice goes down within a frame when speech begins. It comes back when the speech
    /// turns out to be none, or a little after it ends. Absent: the voice stays as it is.
    pub duck: Option<f32>,
    /// When speech has lasted so long the voice stops, and the utterance is reported as interrupted.
    pub stop_after: Duration,
    /// Neither happens before so much of the utterance was heard.
    pub ignore_first: Duration,
    /// The voice that stops fades out over so long; zero stops at once.
    pub fade: Duration,
}

/// Who has written the address of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// The model, and with it perhaps the caller: only hosts that are allowed may be reached.
    #[default]
    Model,
    /// The author of the playbook.
    Playbook,
}

/// A request over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// Address, http or https.
    pub url: String,
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: String,
    /// Headers.
    pub headers: Headers,
    /// Body; JSON when it parses as JSON.
    pub body: Option<String>,
    /// Who has written the address.
    pub origin: Origin,
    /// After so long it has failed. Default 10 s.
    pub timeout: Duration,
    /// Hosts that may be reached, redirects included, by [`crate::hosts::permits`]; empty: every public one.
    pub hosts: Vec<String>,
}

impl Default for HttpRequest {
    fn default() -> Self {
        HttpRequest {
            url: String::new(),
            method: "GET".to_owned(),
            headers: Headers::default(),
            body: None,
            origin: Origin::default(),
            timeout: Duration::from_secs(10),
            hosts: Vec::new(),
        }
    }
}

/// Something worth telling. The call adds wall time and makes an event of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// A measurement, for a `metrics` event.
    Metric {
        /// As in the wire contract: `llm_call_start`, `llm_response`, `tts_play_id_map`, `tool_invocation`.
        key: &'static str,
        /// How long it took; zero for a moment.
        duration: Duration,
        /// An object with what belongs to it.
        data: Value,
    },
    /// Something was said, for an `addHistory` event: by the caller when understood, by the agent when the
    /// utterance has ended, as far as it was heard.
    Said {
        /// `user` or `assistant`.
        speaker: &'static str,
        /// The words.
        text: String,
    },
    /// Something did not work and the conversation goes on, for an `error` event with sender `playbook`.
    Trouble(String),
    /// A scene was entered.
    Scene(String),
}
