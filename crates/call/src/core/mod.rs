//! All rules of one call: pure, owned by the call's task.
//!
//! Feed it with [`Core::handle`], drain [`Core::poll`] to `None` before the next `handle`, and call again
//! with [`Input::Timeout`] at [`Core::timeout`]. It only routes; what a command does stands in `verbs`, what
//! the agent says in [`voice`], what it hears in `ears`.

pub mod clock;
mod cutting;
mod deaf;
mod dialing;
mod ears;
mod ending;
mod eou;
mod gathering;
mod handing_over;
mod holding;
mod keys;
mod lent;
mod line;
mod mute;
mod overhearing;
mod passing;
mod pieces;
pub mod realtime;
mod recording;
mod referring;
mod reoffers;
mod requests;
mod signalling;
mod sound;
mod succession;
mod talk;
mod telling;
pub mod voice;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use audio::mix::Ducking;
use playbook::tools::McpServer;
use playbook::{Conversation, HttpRequest, Playbook};
use protocol::chat::{Ask, ModelOutput, ToolSpec, TurnId};
use protocol::event::Event;
use protocol::option::{
    CallOption, LlmOption, RealtimeOption, RecorderOption, SynthesisOption, TranscriptionOption,
};
use protocol::record::CallRecord;
use protocol::rest::{CallKind, LegMedia};
use protocol::{CallTime, Command, Extra, Headers, redact};
use providers::{Heard, RealtimeInput, RealtimeOutput, Spoken};
use rtp::sdp::KeyRing;

use crate::end::{End, StopReason};
use crate::failure::Failure;
use crate::handle::{CallInfo, Phase};
use crate::legs::sip_media::SipMedia;
use crate::legs::{Failed, LegEvent, LegId, LegRequest};
use crate::media::order::{DoorId, FromMedia, ToMedia};
use crate::record::Draft;
use crate::setup::{Afterwards, Dial, MediaPass, Rules, Sound, Undialled};
use clock::{Clock, Deadlines, Due};
pub use dialing::dialable;
pub(crate) use dialing::{display_name, uri as dialing_uri};
use ears::Ears;
pub(crate) use ending::initiator as ending_initiator;
use eou::Eou;
use handing_over::Handover;
use holding::Holding;
use keys::Keys;
use mute::Muteness;
use overhearing::Overhearing;
use passing::Pass;
use realtime::{Broken, SpeechModel};
pub(crate) use recording::Recording;
use referring::Referred;
use succession::Succession;
use voice::{Voice, VoiceId};

/// Rounds between rules and playbook within one input. A playbook that answers its own events without end is
/// stopped here.
const MOST_ROUNDS: usize = 200;

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// The call's task runs.
    Begin,
    /// The time of [`Core::timeout`] has come.
    Timeout,
    /// A leg's signalling.
    Leg(LegId, LegEvent),
    /// A request to a leg failed.
    LegFailed(LegId, Failed, String),
    /// The call's sound.
    Media(FromMedia),
    /// A command of a client.
    Command(Command),
    /// A client sent what has no effect; the `error` event tells it as of this sender.
    Refused(&'static str, Failure),
    /// A client sent a key nobody reads, at this path.
    UnknownKey(String),
    /// A client took command.
    Attached,
    /// The playbook a command named was found, or not.
    Playbook(Result<Arc<Playbook>, Failure>),
    /// A recognizer.
    Heard(DoorId, Heard),
    /// A recognizer has ended.
    Unheard(DoorId, Result<(), Broken>),
    /// A synthesizer.
    Spoken(VoiceId, u32, Spoken),
    /// A sound file.
    Sound(VoiceId, Sound),
    /// A synthesizer or file has ended.
    Silent(VoiceId, Result<(), Failure>),
    /// A chat model.
    Model(TurnId, ModelOutput),
    /// A speech-to-speech model, whose sound has this rate.
    Realtime(DoorId, u32, RealtimeOutput),
    /// A speech-to-speech model has ended.
    ModelEnded(DoorId, Result<(), Broken>),
    /// What was fetched for the playbook.
    Fetched(u32, Result<String, String>),
    /// The tools of a server.
    Tools(String, Result<Vec<ToolSpec>, String>),
    /// A recording could be made.
    Taped,
    /// A recording could not be made, or has failed.
    NoTape(Failure),
    /// A sound of [`Effect::Ambience`] or [`Effect::Music`] cannot be played.
    NoBackground(Background, Failure),
    /// A line to a party that is to be dialled is there, with our side of its media.
    Line(LegId, Result<Box<SipMedia>, Undialled>),
    /// The leg of who takes a party's place, with keys for it; without when it has given up.
    Adopted(LegId, Option<Box<KeyRing>>),
    /// Our answer on this leg has gone out: the call was not given up before.
    AnswerSent(LegId),
    /// Someone outside ends the call.
    Stop(StopReason),
}

/// A sound that is loaded as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Background {
    /// What lies under everything that is said.
    Ambience,
    /// What a held party hears, by its number.
    Music(u32),
}

/// What to do.
#[derive(Debug)]
pub enum Effect {
    /// Ask a leg.
    Request(LegId, LegRequest),
    /// Seat the call on a media thread, with sound at this rate.
    Seat(u32),
    /// Tell the call's sound.
    Media(ToMedia),
    /// Open a recognizer of what a leg says.
    Listen {
        /// Who is recognized.
        leg: LegId,
        /// Where its sound goes.
        door: DoorId,
        /// How.
        option: Box<TranscriptionOption>,
    },
    /// Close a recognizer.
    Unlisten(DoorId),
    /// Open a speech-to-speech model behind a door.
    OpenModel(DoorId, Box<RealtimeOption>),
    /// Tell it something.
    ToModel(RealtimeInput),
    /// Close it.
    CloseModel(DoorId),
    /// Open a synthesizer.
    OpenVoice(VoiceId, Box<SynthesisOption>),
    /// Give it text.
    Speak(VoiceId, u32, String),
    /// No more text for it.
    CloseVoice(VoiceId),
    /// Open a sound file.
    OpenFile(VoiceId, String),
    /// Stop a synthesizer or file at once.
    DropVoice(VoiceId),
    /// Read its sound, or stop reading for now.
    Flow(VoiceId, bool),
    /// Ask the model.
    Ask(Box<LlmOption>, Ask),
    /// Stop asking.
    Abandon(TurnId),
    /// Fetch a URL.
    Fetch(u32, HttpRequest),
    /// Do not fetch it any more, or wait for the tool.
    CancelFetch(u32),
    /// List the tools of a server; [`Input::Tools`] tells them.
    ListTools(McpServer),
    /// Call a tool; [`Input::Fetched`] tells its result.
    CallTool(Box<ToolCall>),
    /// Open a line to a party; [`Input::Line`] tells what came of it.
    Dial(LegId, Box<Dial>),
    /// Take in the successor of the first leg as the second; [`Input::Adopted`] tells what came of it.
    Adopt(LegId, LegId),
    /// Let the first leg and the second change places, with their connections where the first has one.
    Exchange(LegId, LegId),
    /// Forget a leg and its sound's connection, once it has ended.
    Drop(LegId),
    /// Tell clients and the log.
    Emit(Event),
    /// Connect a voice and a door to a program outside.
    MediaPass(VoiceId, DoorId, Box<MediaPass>),
    /// Give the client the sound of both sides.
    Subscribe,
    /// Begin a recording of sound at this rate.
    Record(u32, Box<RecorderOption>),
    /// End the recording.
    EndRecord,
    /// Load a background sound at the rate of the call's sound and play it under everything.
    Ambience(String, u32, Ducking),
    /// Load a sound at the rate of the call's sound and give it to [`ToMedia::Music`] with this number.
    Music(u32, String, u32),
    /// Report what the conversation came to.
    Report(Box<Afterwards>),
    /// The call is over.
    Finish(Box<CallRecord>),
}

/// A tool to be called.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// What [`Input::Fetched`] carries.
    pub id: u32,
    /// Where.
    pub server: McpServer,
    /// As the server calls it.
    pub name: String,
    /// An object.
    pub arguments: serde_json::Value,
    /// After so long it has failed.
    pub timeout: Duration,
}

/// What is fixed from the beginning.
#[derive(Debug)]
pub struct Facts {
    /// The call's id.
    pub id: String,
    /// What names the call to parties that are not to know its id, for they could pretend to belong to it: the id of
    /// a call that came in is made of its `Call-ID` and tags.
    pub reference: String,
    /// What carries it.
    pub kind: CallKind,
    /// From; empty when a command says it.
    pub caller: String,
    /// To; empty when a command says it.
    pub callee: String,
    /// Wall time.
    pub clock: Clock,
    /// Times and switches.
    pub rules: Rules,
    /// Variables for a playbook; `sip` holds the headers of the INVITE.
    pub vars: Extra,
    /// Random numbers for an RTP stream: SSRC, first sequence number, first timestamp.
    pub random: (u32, u16, u32),
    /// The event log's file, for the record.
    pub dump: Option<String>,
}

/// The rules of one call.
pub struct Core {
    pub(crate) facts: Facts,
    pub(crate) option: CallOption,
    pub(crate) state: State,
    pub(crate) rang: Option<CallTime>,
    pub(crate) answered: Option<CallTime>,
    pub(crate) sip: Option<SipMedia>,
    /// Commands that wait for the far end to answer our offer.
    pub(crate) waiting: Vec<Command>,
    pub(crate) voice: Voice,
    pub(crate) mute: Muteness,
    pub(crate) ears: Ears,
    /// Whether the caller's words are all.
    pub(crate) eou: Eou,
    pub(crate) model: SpeechModel,
    pub(crate) keys: Keys,
    pub(crate) draft: Draft,
    pub(crate) deadlines: Deadlines,
    pub(crate) playbook: Option<Arc<Playbook>>,
    pub(crate) conversation: Option<Conversation>,
    /// Servers of tools that the playbook has asked for.
    pub(crate) tool_servers: Vec<McpServer>,
    /// What the conversation has not been told yet.
    inbox: VecDeque<playbook::Input>,
    effects: VecDeque<Effect>,
    /// Rate of the call's sound, once it has one.
    pub(crate) rate: Option<u32>,
    pub(crate) recording: Recording,
    /// A client hears both sides.
    pub(crate) subscribed: bool,
    /// Recordings that commands have begun.
    pub(crate) recordings: u32,
    /// `ringing` said how to record; `accept` does not change it.
    pub(crate) recorder_fixed: bool,
    /// The far end holds us.
    pub(crate) held: bool,
    /// Whether we hold the far end.
    pub(crate) holding: Holding,
    /// A program outside has taken over the sound.
    pub(crate) pass: Option<Pass>,
    /// We have called, or are calling, the far end.
    pub(crate) dialled: bool,
    /// The line of a call of ours is judged.
    pub(crate) following: bool,
    /// The second party, from `refer` to its end.
    pub(crate) referred: Option<Referred>,
    overhearing: Option<Overhearing>,
    /// A transfer that the far end was asked for.
    pub(crate) handover: Option<Handover>,
    /// When the far end has hung up, if it is waited for what it tells of that transfer.
    pub(crate) parted: Option<CallTime>,
    /// Who is to take the far end's place.
    pub(crate) succession: Option<Succession>,
    /// What was agreed on last with the first party, and with the last of the others.
    pub(crate) agreements: BTreeMap<LegId, LegMedia>,
    /// Legs that were dialled beside the first.
    pub(crate) legs_dialled: u32,
    pub(crate) info_changed: bool,
    /// How the call ends when the agent has said goodbye.
    pub(crate) leaving: Option<End>,
    /// Headers that `hangup` gave for the BYE, which are sent as they are.
    pub(crate) farewell: Headers,
    /// Unknown keys that were told.
    complained: BTreeSet<String>,
}

/// How far a call has come.
#[derive(Debug, Default)]
pub(crate) enum State {
    /// Waits for `invite`.
    #[default]
    Idle,
    /// An inbound call waits for an answer.
    Pending,
    /// Our answer, with this SDP, is on its way out; the caller may have given up in this moment.
    Answering(String),
    /// An outbound call waits for its callee.
    Dialing,
    /// Answered.
    Up,
    /// Ended; waits for its sound to say what was heard.
    Ending(End),
    /// Over.
    Over,
}

impl Core {
    /// A call that has not begun: [`Input::Begin`] comes first. With `sip` an inbound call waits for an answer.
    pub fn new(
        facts: Facts,
        option: CallOption,
        sip: Option<SipMedia>,
        playbook: Option<Arc<Playbook>>,
    ) -> Self {
        Core {
            state: if sip.is_some() { State::Pending } else { State::Idle },
            facts,
            option,
            rang: None,
            answered: None,
            sip,
            waiting: Vec::new(),
            voice: Voice::default(),
            mute: Muteness::default(),
            ears: Ears::default(),
            eou: Eou::default(),
            model: SpeechModel::default(),
            keys: Keys::default(),
            draft: Draft::default(),
            deadlines: Deadlines::default(),
            playbook,
            conversation: None,
            tool_servers: Vec::new(),
            inbox: VecDeque::new(),
            effects: VecDeque::new(),
            rate: None,
            recording: Recording::Off,
            subscribed: false,
            recordings: 0,
            recorder_fixed: false,
            held: false,
            holding: Holding::default(),
            pass: None,
            dialled: false,
            following: false,
            referred: None,
            overhearing: None,
            handover: None,
            parted: None,
            succession: None,
            agreements: BTreeMap::new(),
            legs_dialled: 0,
            info_changed: true,
            leaving: None,
            farewell: Headers::new(),
            complained: BTreeSet::new(),
        }
    }

    /// Takes in what happened at `now`.
    pub fn handle(&mut self, now: CallTime, input: Input) {
        if matches!(self.state, State::Over) {
            return;
        }
        match input {
            Input::Begin => self.begin(now),
            Input::Timeout => {
                while let Some(due) = self.deadlines.pop(now) {
                    self.due(now, due);
                }
                if self.conversation.as_ref().and_then(Conversation::timeout).is_some_and(|at| at <= now) {
                    self.tell(playbook::Input::Tick);
                }
            }
            Input::Leg(leg, event) => self.leg(now, leg, event),
            Input::LegFailed(leg, failed, why) => self.leg_failed(now, leg, failed, why),
            Input::Media(event) => self.media(now, event),
            Input::Command(command) => self.command(now, command),
            Input::Refused(sender, failure) => self.fail(now, sender, &failure),
            Input::UnknownKey(key) => self.unknown_key(now, &key),
            Input::Attached => self.attached(now),
            Input::Playbook(Ok(found)) if matches!(self.state, State::Idle | State::Pending) => {
                self.playbook = Some(found);
            }
            Input::Playbook(Ok(_)) => {}
            Input::Playbook(Err(failure)) => self.fail(now, "playbook", &failure.at("option.playbook")),
            Input::Heard(door, heard) => self.heard(now, door, heard),
            Input::Unheard(door, result) => self.unheard(now, door, result),
            Input::Spoken(voice, rate, spoken) => self.spoken(now, voice, rate, spoken),
            Input::Sound(voice, sound) => self.sound(now, voice, sound),
            Input::Silent(voice, result) => self.silent(now, voice, result),
            Input::Model(turn, output) => self.model(now, turn, output),
            Input::Realtime(door, rate, output) => self.model_says(now, door, rate, output),
            Input::ModelEnded(door, result) => self.model_ended(now, door, result),
            Input::Fetched(id, body) if eou::is_verdict(id) => self.verdict(now, id, body),
            Input::Fetched(id, body) => self.tell(playbook::Input::Fetched { id, body }),
            Input::Tools(server, tools) => self.tell(playbook::Input::Tools { server, tools }),
            Input::Taped => self.recording_runs(now),
            Input::NoBackground(which, failure) => self.no_background(now, which, failure),
            Input::NoTape(failure) => self.recording_failed(now, failure),
            Input::Line(leg, line) => self.line(now, leg, line),
            Input::Adopted(leg, keys) => self.adopted(now, leg, keys.map(|keys| *keys)),
            Input::AnswerSent(leg) => self.leg(now, leg, LegEvent::AnswerSent),
            Input::Stop(reason) => self.stop(now, reason),
        }
        self.converse(now);
        self.go_on_with_music(now);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to come back with [`Input::Timeout`].
    pub fn timeout(&self) -> Option<CallTime> {
        let own = self.deadlines.next();
        let talk = self.conversation.as_ref().and_then(Conversation::timeout);
        own.into_iter().chain(talk).min()
    }

    /// What lists of calls show, when it has changed since the last time.
    pub fn info(&mut self) -> Option<CallInfo> {
        if !std::mem::take(&mut self.info_changed) {
            return None;
        }
        let clock = &self.facts.clock;
        Some(CallInfo {
            phase: match self.state {
                State::Idle => Phase::Idle,
                State::Pending | State::Answering(_) | State::Dialing => Phase::Ringing,
                State::Up => Phase::Up,
                State::Ending(_) | State::Over => Phase::Over,
            },
            started_ms: clock.unix_ms(CallTime::ZERO),
            rang_ms: self.rang.map(|at| clock.unix_ms(at)),
            answered_ms: self.answered.map(|at| clock.unix_ms(at)),
            media: self.agreements.values().cloned().collect(),
            quality: self.draft.quality,
            option: redact::option(&self.option),
            caller: redact::text(&self.caller()).into_owned(),
            callee: redact::text(&self.callee()).into_owned(),
            extras: self.public_vars(),
            recordings: Vec::new(),
            recorded: false,
        })
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, State::Up)
    }

    pub(crate) fn caller(&self) -> String {
        if self.facts.caller.is_empty() {
            self.option.caller.clone().unwrap_or_default()
        } else {
            self.facts.caller.clone()
        }
    }

    pub(crate) fn callee(&self) -> String {
        if self.facts.callee.is_empty() {
            self.option.callee.clone().unwrap_or_default()
        } else {
            self.facts.callee.clone()
        }
    }

    pub(crate) fn effect(&mut self, effect: Effect) {
        if let Effect::Speak(_, _, text) = &effect {
            self.draft.talk.spoken_characters += text.chars().count() as u64;
        }
        self.effects.push_back(effect);
    }

    pub(crate) fn order(&mut self, order: ToMedia) {
        if self.rate.is_some() {
            self.effect(Effect::Media(order));
        }
    }

    pub(crate) fn request(&mut self, request: LegRequest) {
        self.effect(Effect::Request(LegId::MAIN, request));
    }

    /// Tells clients, the log, and the playbook.
    pub(crate) fn emit(&mut self, event: Event) {
        if self.conversation.is_some() {
            self.tell(playbook::Input::Call(event.clone()));
        }
        self.effect(Effect::Emit(event));
    }

    pub(crate) fn unix_ms(&self, at: CallTime) -> u64 {
        self.facts.clock.unix_ms(at)
    }

    pub(crate) fn tell(&mut self, input: playbook::Input) {
        if self.conversation.is_some() {
            self.inbox.push_back(input);
        }
    }

    /// Lets the playbook answer what happened, until it has nothing more to say.
    fn converse(&mut self, now: CallTime) {
        let mut actions = Vec::new();
        for _ in 0..MOST_ROUNDS {
            let Some(input) = self.inbox.pop_front() else { return };
            let Some(conversation) = &mut self.conversation else { return };
            conversation.handle(now, input, &mut actions);
            for action in actions.drain(..) {
                self.act(now, action);
            }
        }
        if !self.inbox.is_empty() {
            self.inbox.clear();
            self.error(now, "playbook", "the playbook answers its own events without end", 500);
        }
    }

    fn due(&mut self, now: CallTime, due: Due) {
        match due {
            Due::Accept => self.not_accepted(now),
            Due::Unconfirmed => {
                self.confirmed(now);
                self.sound_is_there(now);
            }
            Due::Input { since, limit } => self.no_input(now, since, limit),
            Due::TurnEnd => self.turn_ends(now),
            Due::Lent => self.lent_in_vain(now),
            Due::Mute => self.stay_mute(now),
            Due::Deaf => self.stay_deaf(now),
            Due::Words => self.wait_no_more(now),
            Due::Model => self.start_realtime(now),
            Due::Rearm => self.arm(now),
            Due::Gathered => self.gathered_late(now),
            Due::Digit => self.digit_over(now),
            Due::Settle => self.finish(now),
            Due::Leave => self.left_late(now),
            Due::Callee => self.callee_timed_out(now),
            Due::Refer => self.refer_timed_out(now),
            Due::Succession => self.succession_timed_out(now),
        }
    }
}
