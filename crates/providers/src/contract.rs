//! The four kinds of provider, each an async function from a channel to a channel.
//!
//! Every `run` ends when its input channel is closed and what was asked is delivered, when its output channel
//! is closed ([`ProviderError::Gone`]), or when it fails. Dropping the future cancels it: nothing it started
//! lives on. Callers go through [`crate::run`], which adds retries and time limits.

use std::time::Duration;

use async_trait::async_trait;
use protocol::CallTime;
use protocol::chat::{Ask, Message, ModelOutput, Usage};
use serde_json::Value;
use tokio::sync::mpsc::{Receiver, Sender};

use crate::ProviderError;

/// Speech to text.
#[async_trait]
pub trait Recognizer: Send + Sync {
    /// Rate of the audio it wants, in Hz.
    fn rate(&self) -> u32;
    /// Hears a whole call, or one party of it. Errors are those of the vendor.
    async fn run(&self, audio: Receiver<Hearing>, heard: Sender<Heard>) -> Result<(), ProviderError>;
}

/// Text to speech.
#[async_trait]
pub trait Synthesizer: Send + Sync {
    /// Rate of the audio it gives, in Hz.
    fn rate(&self) -> u32;
    /// Speaks one utterance, piece after piece. Each piece ends with [`Spoken::Done`], in order.
    async fn run(&self, text: Receiver<Text>, spoken: Sender<Spoken>) -> Result<(), ProviderError>;
}

/// A language model.
#[async_trait]
pub trait ChatModel: Send + Sync {
    /// Answers one question. The last output is [`ModelOutput::Done`]; a failure is the returned error and
    /// never [`ModelOutput::Failed`], which is for whoever reports it on.
    async fn run(&self, ask: Ask, answer: Sender<ModelOutput>) -> Result<(), ProviderError>;
}

/// A speech-to-speech model, in place of recognizer, chat model and synthesizer.
#[async_trait]
pub trait Realtime: Send + Sync {
    /// Rate of the audio in both directions, in Hz.
    fn rate(&self) -> u32;
    /// Holds a whole conversation.
    async fn run(
        &self,
        input: Receiver<RealtimeInput>,
        output: Sender<RealtimeOutput>,
    ) -> Result<(), ProviderError>;
}

/// What a recognizer is given.
#[derive(Clone, Debug, PartialEq)]
pub enum Hearing {
    /// Sound as it comes in, speech or not.
    Audio {
        /// Time of the first sample.
        at: CallTime,
        /// 60 to 100 ms of mono s16 at [`Recognizer::rate`].
        samples: Box<[i16]>,
    },
    /// Voice activity detection found the begin of speech.
    SpeechStarted {
        /// When the speech began; its sound may have been given already.
        at: CallTime,
    },
    /// Voice activity detection found the end of speech: the final text is wanted now.
    SpeechEnded {
        /// When the speech ended.
        at: CallTime,
    },
}

/// What a recognizer heard.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// All words of the running utterance so far; a later one replaces it.
    Partial(Words),
    /// The words of a finished utterance; without text where there were none in what was taken for speech. Each
    /// [`Hearing::SpeechEnded`] is answered by one, or the recognizer counts as hung after some seconds.
    Final(Words),
}

/// Recognized words and when they were said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Words {
    /// The text.
    pub text: String,
    /// Begin of the first word, where the recognizer tells.
    pub start: Option<CallTime>,
    /// End of the last word, where the recognizer tells.
    pub end: Option<CallTime>,
    /// 0 to 1, where the recognizer tells.
    pub confidence: Option<f32>,
    /// The vendor's id of the task, for its support.
    pub task_id: Option<String>,
}

/// A piece of an utterance to speak, usually a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Number of the piece within its utterance, ascending.
    pub piece: u32,
    /// Plain text; nothing in it is markup.
    pub text: String,
}

/// What a synthesizer gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Spoken {
    /// The next sound of a piece.
    Audio {
        /// The piece it belongs to.
        piece: u32,
        /// 20 to 200 ms of mono s16 at [`Synthesizer::rate`]; the last of a piece may be shorter.
        samples: Box<[i16]>,
    },
    /// When words of a piece are said, where the vendor tells.
    Words {
        /// The piece they belong to.
        piece: u32,
        /// In order of time.
        words: Vec<WordTime>,
    },
    /// The sound of a piece comes from an earlier time, or is made for another call right now: the vendor was not asked for
    /// this one. Before its sound.
    Kept {
        /// The piece.
        piece: u32,
    },
    /// All sound of a piece was given.
    Done {
        /// The piece.
        piece: u32,
    },
}

/// When a word is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WordTime {
    /// The word.
    pub text: String,
    /// From the begin of the piece to the begin of the word.
    pub start: Duration,
    /// From the begin of the piece to the end of the word.
    pub end: Duration,
}

/// What a speech-to-speech model is given.
#[derive(Clone, Debug, PartialEq)]
pub enum RealtimeInput {
    /// Sound of the caller: 60 to 100 ms of mono s16 at [`Realtime::rate`].
    Audio(Box<[i16]>),
    /// The result of a [`RealtimeOutput::ToolCall`].
    ToolResult {
        /// Id of the call.
        id: String,
        /// The result as JSON or text.
        output: String,
    },
    /// The caller interrupted: forget what was not heard.
    Interrupted {
        /// The answer that was cut off.
        answer: AnswerId,
        /// How much of it was played.
        heard: Duration,
    },
    /// What the model is told to be, from now on.
    Instructions(String),
    /// What was said before the model came to the call, oldest first, by the caller ([`Role::User`]) and the agent
    /// ([`Role::Assistant`]).
    ///
    /// [`Role::User`]: protocol::chat::Role::User
    /// [`Role::Assistant`]: protocol::chat::Role::Assistant
    History(Vec<Message>),
    /// The model is to speak without being spoken to, as this tells it.
    Speak(String),
}

/// Names one spoken answer of a speech-to-speech model. Later answers have larger ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AnswerId(pub u64);

/// What a speech-to-speech model gives.
#[derive(Clone, Debug, PartialEq)]
pub enum RealtimeOutput {
    /// Sound of the agent. It comes faster than it is heard.
    Audio {
        /// The answer it belongs to.
        answer: AnswerId,
        /// Mono s16 at [`Realtime::rate`].
        samples: Box<[i16]>,
    },
    /// A piece of what the agent says, as text.
    Agent {
        /// The answer it belongs to.
        answer: AnswerId,
        /// The next of its text.
        text: String,
    },
    /// All sound of an answer was given.
    Said(AnswerId),
    /// The model heard the caller begin to speak.
    SpeechStarted,
    /// The model heard the caller end.
    SpeechEnded,
    /// What the caller said.
    Caller(Heard),
    /// The model wants a function called, and waits for [`RealtimeInput::ToolResult`].
    ToolCall {
        /// The model's id of this call.
        id: String,
        /// Name of the function.
        name: String,
        /// Arguments as JSON.
        arguments: Value,
    },
    /// The model has finished a response: its answers and the calls of functions in it.
    Done(Usage),
    /// The vendor complains, and the conversation goes on.
    Trouble(String),
}
