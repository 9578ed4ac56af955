//! The conversation itself, without its connection: what is given becomes events for the server, and the server's
//! events become what the model gives.

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::chat::{Message, Role, Usage};
use protocol::option::RealtimeOption;
use serde_json::{Value, json};

use super::RATE;
use super::wire::{Event, Fault};
use crate::{AnswerId, Heard, ProviderError, RealtimeInput, RealtimeOutput, Words};

/// Answers whose sound may still be playing; of older ones nothing is truncated.
const MOST_ANSWERS: usize = 32;
/// Calls of functions that are remembered, so that none is told twice.
const MOST_CALLS: usize = 64;
/// What the model may have to say without being spoken to; more is dropped.
const MOST_PROMPTS: usize = 16;
/// The transcription that every server of the API knows.
const TRANSCRIPTION: &str = "whisper-1";
const VOICE: &str = "alloy";
/// Complaints about what has settled itself: the answer was over before it could be cancelled or cut.
const HARMLESS: &[&str] = &["response_cancel_not_active", "conversation_already_has_active_response"];

/// Which shape of `session.update` the server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Of the general availability.
    General,
    /// Of the preview.
    Preview,
}

/// What the model is to be.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    dialect: Dialect,
    instructions: String,
    voice: String,
    turn_detection: Value,
    tools: Vec<Value>,
    transcription: String,
    greeting: Option<String>,
}

impl Settings {
    pub(super) fn new(option: &RealtimeOption, dialect: Dialect) -> Self {
        let extra = |key: &str| {
            let value = option.extra.as_ref()?.get(key)?;
            Some(protocol::value::extra_string(value)).filter(|text| !text.trim().is_empty())
        };
        let turn_detection = option.turn_detection.clone().unwrap_or_else(|| {
            json!({
                "type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500
            })
        });
        Settings {
            dialect,
            instructions: extra("instructions").unwrap_or_default(),
            voice: option.voice.clone().or_else(|| extra("voice")).unwrap_or_else(|| VOICE.to_owned()),
            turn_detection,
            tools: option.tools.clone().unwrap_or_default(),
            transcription: extra("transcription").unwrap_or_else(|| TRANSCRIPTION.to_owned()),
            greeting: extra("greeting"),
        }
    }

    fn update(&self) -> Value {
        let transcription = json!({ "model": self.transcription });
        let mut session = match self.dialect {
            Dialect::General => {
                let format = json!({ "type": "audio/pcm", "rate": RATE });
                json!({
                    "type": "realtime",
                    "output_modalities": ["audio"],
                    "audio": {
                        "input": {
                            "format": format, "transcription": transcription,
                            "turn_detection": self.turn_detection,
                        },
                        "output": { "format": format, "voice": self.voice },
                    },
                })
            }
            Dialect::Preview => json!({
                "modalities": ["text", "audio"],
                "voice": self.voice,
                "input_audio_format": "pcm16",
                "output_audio_format": "pcm16",
                "input_audio_transcription": transcription,
                "turn_detection": self.turn_detection,
            }),
        };
        if !self.instructions.is_empty() {
            session["instructions"] = json!(self.instructions);
        }
        if !self.tools.is_empty() {
            session["tools"] = json!(self.tools);
            session["tool_choice"] = json!("auto");
        }
        json!({ "type": "session.update", "session": session })
    }

    /// Something that was said before the conversation began. The content of the agent's has another name in each
    /// dialect.
    fn item(&self, said: &Message) -> Value {
        let (role, kind) = match (said.role, self.dialect) {
            (Role::Assistant, Dialect::General) => ("assistant", "output_text"),
            (Role::Assistant, Dialect::Preview) => ("assistant", "text"),
            (Role::System, _) => ("system", "input_text"),
            (Role::User | Role::Tool, _) => ("user", "input_text"),
        };
        let content = json!([{ "type": kind, "text": said.content }]);
        let item = json!({ "type": "message", "role": role, "content": content });
        json!({ "type": "conversation.item.create", "item": item })
    }

    fn instructions(&self, text: &str) -> Value {
        let mut session = json!({ "instructions": text });
        if self.dialect == Dialect::General {
            session["type"] = json!("realtime");
        }
        json!({ "type": "session.update", "session": session })
    }
}

/// A spoken answer.
struct Answer {
    id: AnswerId,
    /// The server's name of it.
    item: String,
    /// Samples given of it.
    samples: u64,
    said: bool,
}

/// One conversation.
pub(super) struct Session {
    settings: Settings,
    /// The server has taken the settings.
    ready: bool,
    answers: VecDeque<Answer>,
    last: u64,
    /// The model is making a response.
    responding: bool,
    /// Functions that were called and have no result yet.
    unanswered: usize,
    /// The model is to go on once it may.
    go_on: bool,
    /// What the model is to say without being spoken to, until it was told.
    prompts: VecDeque<String>,
    called: VecDeque<String>,
}

impl Session {
    pub(super) fn new(settings: Settings) -> Self {
        Session {
            settings,
            ready: false,
            answers: VecDeque::new(),
            last: 0,
            responding: false,
            unanswered: 0,
            go_on: false,
            prompts: VecDeque::new(),
            called: VecDeque::new(),
        }
    }

    /// What is said first.
    pub(super) fn open(&self) -> Vec<Value> {
        vec![self.settings.update()]
    }

    /// What the server is told of `input`.
    pub(super) fn give(&mut self, input: RealtimeInput) -> Vec<Value> {
        match input {
            RealtimeInput::Audio(samples) => {
                let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
                vec![json!({ "type": "input_audio_buffer.append", "audio": STANDARD.encode(bytes) })]
            }
            RealtimeInput::ToolResult { id, output } => {
                self.unanswered = self.unanswered.saturating_sub(1);
                self.go_on = true;
                let item = json!({ "type": "function_call_output", "call_id": id, "output": output });
                let mut events = vec![json!({ "type": "conversation.item.create", "item": item })];
                events.extend(self.due());
                events
            }
            RealtimeInput::Interrupted { answer, heard } => self.interrupted(answer, heard),
            RealtimeInput::Instructions(text) => {
                let update = self.settings.instructions(&text);
                self.settings.instructions = text;
                vec![update]
            }
            RealtimeInput::History(said) => said.iter().map(|said| self.settings.item(said)).collect(),
            RealtimeInput::Speak(words) => {
                if self.prompts.len() < MOST_PROMPTS {
                    self.prompts.push_back(words);
                }
                self.due()
            }
        }
    }

    /// What was held back and may be said now: one response at a time, and after all results.
    pub(super) fn due(&mut self) -> Vec<Value> {
        let waits = self.go_on || !self.prompts.is_empty();
        if !self.ready || !waits || self.responding || self.unanswered > 0 {
            return Vec::new();
        }
        // Until the server says so itself: a second request in between would be refused.
        self.responding = true;
        if std::mem::take(&mut self.go_on) {
            return vec![json!({ "type": "response.create" })];
        }
        let Some(words) = self.prompts.pop_front() else { return Vec::new() };
        // Instructions of a response stand in place of the conversation's.
        let whole = format!("{}\n\n{words}", self.settings.instructions);
        vec![json!({ "type": "response.create", "response": { "instructions": whole.trim() } })]
    }

    fn interrupted(&mut self, answer: AnswerId, heard: Duration) -> Vec<Value> {
        let mut events = Vec::new();
        let Some(cut) = self.answers.iter_mut().find(|known| known.id == answer) else { return events };
        if !cut.said && self.responding {
            events.push(json!({ "type": "response.cancel" }));
        }
        cut.said = true;
        // More than there is of it is refused by the server, and milliseconds are rounded.
        let given = cut.samples * 1000 / u64::from(RATE);
        let heard = u64::try_from(heard.as_millis()).unwrap_or(u64::MAX).min(given);
        events.push(json!({
            "type": "conversation.item.truncate", "item_id": cut.item, "content_index": 0, "audio_end_ms": heard,
        }));
        events
    }

    /// What an event of the server means. Errors: it is no event, or ends the conversation.
    pub(super) fn take(&mut self, text: &str) -> Result<Vec<RealtimeOutput>, ProviderError> {
        let event = Event::read(text)?;
        let outputs = match event.kind.as_str() {
            "session.updated" => self.opened(),
            "response.created" => {
                self.responding = true;
                Vec::new()
            }
            "response.output_audio.delta" | "response.audio.delta" => self.sound(&event)?,
            "response.output_audio_transcript.delta" | "response.audio_transcript.delta" => {
                let answer = self.answer(&event.item_id).id;
                vec![RealtimeOutput::Agent { answer, text: event.delta }]
            }
            "response.output_audio.done" | "response.audio.done" => self.said(&event.item_id),
            "response.done" => self.done(event),
            "input_audio_buffer.speech_started" => vec![RealtimeOutput::SpeechStarted],
            "input_audio_buffer.speech_stopped" => vec![RealtimeOutput::SpeechEnded],
            "conversation.item.input_audio_transcription.completed" => {
                let words = Words { text: event.transcript, ..Words::default() };
                vec![RealtimeOutput::Caller(Heard::Final(words))]
            }
            "response.function_call_arguments.done" if !event.name.is_empty() => {
                self.call(&event.call_id, &event.name, &event.arguments)
            }
            "response.output_item.done" => match event.item.filter(|item| item.kind == "function_call") {
                Some(item) => self.call(&item.call_id, &item.name, &item.arguments),
                None => Vec::new(),
            },
            "error" => self.fault(&event.error.unwrap_or_default())?,
            _ => Vec::new(),
        };
        Ok(outputs)
    }

    fn opened(&mut self) -> Vec<RealtimeOutput> {
        if !std::mem::replace(&mut self.ready, true)
            && let Some(greeting) = self.settings.greeting.take()
        {
            self.prompts.push_front(greeting);
        }
        Vec::new()
    }

    /// The answer that the server calls `item`, begun now if it is new.
    fn answer(&mut self, item: &str) -> &mut Answer {
        let at = match self.answers.iter().position(|known| known.item == item) {
            Some(at) => at,
            None => {
                if self.answers.len() >= MOST_ANSWERS {
                    self.answers.pop_front();
                }
                self.last += 1;
                let id = AnswerId(self.last);
                self.answers.push_back(Answer { id, item: item.to_owned(), samples: 0, said: false });
                self.answers.len() - 1
            }
        };
        &mut self.answers[at]
    }

    fn sound(&mut self, event: &Event) -> Result<Vec<RealtimeOutput>, ProviderError> {
        let bytes = STANDARD
            .decode(&event.delta)
            .map_err(|_| ProviderError::Protocol("sound is not in base64".to_owned()))?;
        let (pairs, _) = bytes.as_chunks::<2>();
        let samples: Box<[i16]> = pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect();
        let answer = self.answer(&event.item_id);
        answer.samples = answer.samples.saturating_add(samples.len() as u64);
        Ok(vec![RealtimeOutput::Audio { answer: answer.id, samples }])
    }

    fn said(&mut self, item: &str) -> Vec<RealtimeOutput> {
        let answer = self.answer(item);
        answer.said = true;
        vec![RealtimeOutput::Said(answer.id)]
    }

    fn done(&mut self, event: Event) -> Vec<RealtimeOutput> {
        self.responding = false;
        let response = event.response.unwrap_or_default();
        // A response that was cancelled may not have closed what it had begun.
        let open = self.answers.iter_mut().filter(|answer| !answer.said);
        let mut outputs: Vec<_> = open
            .map(|answer| {
                answer.said = true;
                RealtimeOutput::Said(answer.id)
            })
            .collect();
        if response.status == "failed" {
            let fault = response.status_details.and_then(|details| details.error).unwrap_or_default();
            outputs.push(RealtimeOutput::Trouble(fault.text()));
        }
        let used = response.usage.unwrap_or_default();
        outputs
            .push(RealtimeOutput::Done(Usage { prompt: used.input_tokens, completion: used.output_tokens }));
        outputs
    }

    fn call(&mut self, id: &str, name: &str, arguments: &str) -> Vec<RealtimeOutput> {
        if self.called.iter().any(|known| known == id) {
            return Vec::new();
        }
        if self.called.len() >= MOST_CALLS {
            self.called.pop_front();
        }
        self.called.push_back(id.to_owned());
        self.unanswered += 1;
        // Arguments that are no JSON are the model's mistake; whoever is called says so.
        let arguments = serde_json::from_str(arguments).unwrap_or(Value::Null);
        vec![RealtimeOutput::ToolCall { id: id.to_owned(), name: name.to_owned(), arguments }]
    }

    /// Most errors leave the conversation open; one before it is open, and its expiry, end it.
    fn fault(&mut self, fault: &Fault) -> Result<Vec<RealtimeOutput>, ProviderError> {
        if !self.ready {
            let code = if fault.is("server_error") { 500 } else { 400 };
            return Err(ProviderError::Status { code, body: fault.text() });
        }
        if fault.is("session_expired") {
            return Err(ProviderError::Connect("the conversation has expired".to_owned()));
        }
        if HARMLESS.iter().any(|code| fault.is(code)) {
            return Ok(Vec::new());
        }
        Ok(vec![RealtimeOutput::Trouble(fault.text())])
    }
}
