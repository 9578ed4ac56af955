//! The call around a conversation.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use protocol::chat::{Ask, TurnId};
use protocol::command::{Hangup, Play, Refer, Tts};
use protocol::event::{HangupEvent, Transcript};
use protocol::{CallTime, Command, Event};
use serde_json::Value;

use super::STEP_MS;
use crate::conversation::{Action, Arming, Conversation, Ended, HttpRequest, Input, Note};
use crate::playbook::Playbook;
use crate::tools::McpServer;
use crate::vars::Vars;

/// How fast the voice speaks, in milliseconds per character.
const MS_PER_CHAR: u64 = 60;
/// From a text to its first sound.
const VOICE_DELAY_MS: u64 = 200;
/// Length of every file.
const FILE_MS: u64 = 1000;
/// From the onset of speech to the event of it, and from its end to the event of that.
const VAD_MS: u64 = 200;
/// From the end of speech to the final text.
const RECOGNIZER_MS: u64 = 300;

/// Something that could be seen from outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// Words were given to the voice.
    Says {
        /// The utterance.
        play_id: String,
        /// The words.
        text: String,
        /// Emotion of the voice.
        emotion: Option<String>,
    },
    /// A file begins.
    Plays(String),
    /// An utterance was heard to its end.
    Heard(String),
    /// An utterance was cut off after these words.
    CutOff {
        /// The utterance.
        play_id: String,
        /// What was heard of it.
        text: String,
    },
    /// The agent stops talking, fading out over so many milliseconds.
    Stops(Option<u32>),
    /// The voice goes down to this gain, or comes back.
    Ducked(Option<f32>),
    /// The model is asked.
    Asked(Ask),
    /// A question is given up.
    Abandoned(TurnId),
    /// Something is fetched.
    Fetches {
        /// Its id, for the answer.
        id: u32,
        /// What.
        request: HttpRequest,
    },
    /// The tools of a server are asked for.
    ListsTools(McpServer),
    /// A tool of a server is called.
    CallsTool {
        /// Its id, for the answer.
        id: u32,
        /// Name of the server.
        server: String,
        /// Name of the tool.
        name: String,
        /// Its arguments.
        arguments: Value,
    },
    /// An answer is not wanted any more.
    Cancels(u32),
    /// The call ends.
    HangsUp(Hangup),
    /// The call is transferred.
    Transfers(Refer),
    /// Digits are sent.
    Presses(String),
    /// Something for those who watch.
    Notes(Note),
    /// Another command.
    Does(Command),
}

/// A call that consists of a conversation, a voice and what the caller is going to do.
#[derive(Debug)]
pub struct Stage {
    conversation: Conversation,
    now: u64,
    arming: Option<Arming>,
    ducked: bool,
    /// Since when the detector hears speech.
    speech_since: Option<u64>,
    voice: Voice,
    inputs: VecDeque<(u64, Input)>,
    utterances: u32,
    seen: Vec<(u64, Seen)>,
}

/// What sounds.
#[derive(Debug, Default)]
struct Voice {
    play_id: String,
    text: String,
    file: bool,
    ends: bool,
    since: u64,
    reported: usize,
}

impl Stage {
    /// A call that is not answered yet.
    pub fn new(playbook: Arc<Playbook>, vars: Vars) -> Self {
        Stage {
            conversation: Conversation::new(playbook, vars),
            now: 0,
            arming: None,
            ducked: false,
            speech_since: None,
            voice: Voice::default(),
            inputs: VecDeque::new(),
            utterances: 0,
            seen: Vec::new(),
        }
    }

    /// The conversation as it stands.
    pub fn conversation(&self) -> &Conversation {
        &self.conversation
    }

    /// The present, in milliseconds since the call was answered.
    pub fn now_ms(&self) -> u64 {
        self.now
    }

    /// Whether words or a file are being heard, or are about to be.
    pub fn is_speaking(&self) -> bool {
        !self.voice.play_id.is_empty()
    }

    /// Since when an utterance has been audible, in milliseconds.
    pub fn audible_since(&self) -> Option<u64> {
        (self.is_speaking() && self.voice.since <= self.now).then_some(self.voice.since)
    }

    /// Lets `input` happen at `at_ms`.
    pub fn later(&mut self, at_ms: u64, input: Input) {
        self.inputs.push_back((at_ms, input));
    }

    /// The caller speaks; what is understood comes in between and at the end, as recognizers tell it.
    pub fn caller_speaks(&mut self, from_ms: u64, until_ms: u64, text: &str) {
        let words: Vec<&str> = text.split(' ').collect();
        let half = words.get(..words.len().div_ceil(2)).unwrap_or_default().join(" ");
        let index = self.utterances;
        self.utterances = self.utterances.wrapping_add(1);
        let transcript = |text: &str| Transcript { text: text.to_owned(), index, ..Transcript::default() };
        self.later(from_ms + VAD_MS, speaking());
        let middle = from_ms + until_ms.saturating_sub(from_ms) / 2;
        self.later(middle + VAD_MS, Input::Call(Event::AsrDelta(transcript(&half))));
        self.later(until_ms + VAD_MS, silence());
        self.later(until_ms + RECOGNIZER_MS, Input::Call(Event::AsrFinal(transcript(text))));
    }

    /// Something that sounds like speech and is not understood.
    pub fn noise(&mut self, from_ms: u64, until_ms: u64) {
        self.later(from_ms + VAD_MS, speaking());
        self.later(until_ms + VAD_MS, silence());
    }

    /// The caller presses a key.
    pub fn caller_presses(&mut self, at_ms: u64, key: char) {
        let dtmf = Event::Dtmf { track_id: String::new(), timestamp: 0, digit: key.to_string() };
        self.later(at_ms, Input::Call(dtmf));
    }

    /// The caller hangs up.
    pub fn caller_hangs_up(&mut self, at_ms: u64) {
        self.later(at_ms, Input::Call(Event::Hangup(Box::<HangupEvent>::default())));
    }

    /// Lets everything happen that is due now, then moves the clock by [`STEP_MS`].
    pub fn step(&mut self) {
        let now = self.now;
        self.inputs.make_contiguous().sort_by_key(|(at, _)| *at);
        while self.inputs.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, input)) = self.inputs.pop_front() else { break };
            match input {
                Input::Call(Event::Speaking { .. }) => self.speech_since = Some(now.saturating_sub(VAD_MS)),
                Input::Call(Event::Silence { .. }) => {
                    self.speech_since = None;
                    self.come_back();
                }
                _ => {}
            }
            self.barge_in();
            self.feed(input);
        }
        self.barge_in();
        if self.conversation.timeout().is_some_and(|deadline| deadline.as_ms() <= now) {
            self.feed(Input::Tick);
        }
        self.speak();
        self.now += STEP_MS;
    }

    /// Takes what could be seen since the last time, with the time in milliseconds.
    pub fn take_seen(&mut self) -> Vec<(u64, Seen)> {
        std::mem::take(&mut self.seen)
    }

    fn see(&mut self, seen: Seen) {
        self.seen.push((self.now, seen));
    }

    fn feed(&mut self, input: Input) {
        let mut out = Vec::new();
        self.conversation.handle(CallTime::ms(self.now), input, &mut out);
        for action in out {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Do(command) => self.command(command),
            Action::Ask(ask) => self.see(Seen::Asked(ask)),
            Action::Abandon(turn) => self.see(Seen::Abandoned(turn)),
            Action::Fetch { id, request } => self.see(Seen::Fetches { id, request }),
            Action::ListTools(server) => self.see(Seen::ListsTools(server)),
            Action::CallTool { id, server, name, arguments, .. } => {
                self.see(Seen::CallsTool { id, server, name, arguments });
            }
            Action::CancelFetch(id) => self.see(Seen::Cancels(id)),
            Action::Arm(arming) => self.arming = arming,
            Action::Note(note) => self.see(Seen::Notes(note)),
            // A rehearsal has no model that speaks itself.
            Action::Prompt(_) => {}
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Tts(tts) => self.say(tts),
            Command::Play(play) => self.play(play),
            Command::Interrupt(interrupt) => {
                self.see(Seen::Stops(interrupt.fade_out_ms));
                self.cut_voice();
            }
            Command::Hangup(hangup) => self.see(Seen::HangsUp(hangup)),
            Command::Refer(refer) => self.see(Seen::Transfers(refer)),
            Command::Dtmf(dtmf) => self.see(Seen::Presses(dtmf.digits)),
            other => self.see(Seen::Does(other)),
        }
    }

    fn say(&mut self, tts: Tts) {
        let play_id = tts.play_id.unwrap_or_default();
        let begins = self.now + VOICE_DELAY_MS;
        if self.voice.play_id != play_id {
            self.cut_voice();
            self.voice = Voice { play_id: play_id.clone(), since: begins, ..Voice::default() };
        }
        if !tts.text.is_empty() {
            let emotion = tts.option.and_then(|option| option.emotion);
            self.see(Seen::Says { play_id, text: tts.text.clone(), emotion });
            let before = self.voice.text.chars().count();
            if self.voice.reported >= before {
                let spoken = before as u64 * MS_PER_CHAR;
                self.voice.since = self.voice.since.max(begins.saturating_sub(spoken));
            }
        }
        self.voice.text.push_str(&tts.text);
        self.voice.ends |= tts.end_of_stream == Some(true);
    }

    fn play(&mut self, play: Play) {
        self.cut_voice();
        self.see(Seen::Plays(play.url));
        let play_id = play.play_id.unwrap_or_default();
        self.voice = Voice { play_id, since: self.now, file: true, ends: true, ..Voice::default() };
    }

    /// What the call's sound does by itself, as the conversation arms it.
    fn barge_in(&mut self) {
        let (Some(rule), Some(since)) = (self.arming, self.speech_since) else { return };
        let heard = Duration::from_millis(self.now.saturating_sub(self.voice.since));
        if self.voice.play_id.is_empty() || heard < rule.ignore_first {
            return;
        }
        if let Some(level) = rule.duck.filter(|_| !self.ducked) {
            self.ducked = true;
            self.see(Seen::Ducked(Some(level)));
        }
        if Duration::from_millis(self.now - since) >= rule.stop_after {
            self.cut_voice();
        }
    }

    fn come_back(&mut self) {
        if std::mem::take(&mut self.ducked) && self.is_speaking() {
            self.see(Seen::Ducked(None));
        }
    }

    fn cut_voice(&mut self) {
        if self.voice.play_id.is_empty() {
            return;
        }
        let voice = std::mem::take(&mut self.voice);
        let (play_id, text) = (voice.play_id.clone(), voice.heard(self.now));
        self.see(Seen::CutOff { play_id: play_id.clone(), text: text.clone() });
        self.inputs.push_front((self.now, Input::Heard { play_id, text, ended: Ended::Interrupted }));
    }

    fn speak(&mut self) {
        if self.voice.play_id.is_empty() || self.now < self.voice.since {
            return;
        }
        let text = self.voice.heard(self.now);
        let play_id = self.voice.play_id.clone();
        let whole = text == self.voice.text;
        let spoken = whole && (!self.voice.file || self.now >= self.voice.since + FILE_MS);
        if self.voice.ends && spoken {
            self.voice = Voice::default();
            self.see(Seen::Heard(play_id.clone()));
            self.feed(Input::Heard { play_id, text, ended: Ended::Finished });
        } else if text.chars().count() > self.voice.reported || self.voice.file {
            self.voice.reported = text.chars().count();
            self.feed(Input::Heard { play_id, text, ended: Ended::Playing });
        }
    }
}

impl Voice {
    /// The words heard by `now`; a word counts when it was heard to its end.
    fn heard(&self, now: u64) -> String {
        let chars = (now.saturating_sub(self.since) / MS_PER_CHAR) as usize;
        if chars >= self.text.chars().count() {
            return self.text.clone();
        }
        let heard: String = self.text.chars().take(chars).collect();
        heard.rfind(' ').and_then(|at| heard.get(..at)).unwrap_or_default().to_owned()
    }
}

fn speaking() -> Input {
    let (track_id, timestamp, start_time) = (String::new(), 0, 0);
    Input::Call(Event::Speaking { track_id, timestamp, start_time, is_filler: None, confidence: None })
}

fn silence() -> Input {
    Input::Call(Event::Silence { track_id: String::new(), timestamp: 0, start_time: 0, duration: 0 })
}
