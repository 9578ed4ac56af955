//! The cast as async providers and services, for the real task of a call with its media threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use call::Failure;
use call::media_thread::{MediaThreads, Wire};
use call::setup::{
    Dial, Dialer, Fetcher, Library, Line, MediaPass, MediaPasses, Playbooks, Providers, Services, Sound,
    Studio, TAPE_PIECES, Tape, TapePiece, ToolServers, Undialled,
};
use playbook::tools::McpServer;
use playbook::{HttpRequest, Playbook};
use protocol::chat::{Ask, ModelOutput, ToolSpec, Usage};
use protocol::option::{LlmOption, RealtimeOption, RecorderOption, SynthesisOption, TranscriptionOption};
use protocol::record::{CallRecord, Recording};
use providers::{
    AnswerId, ChatModel, Heard, Hearing, ProviderError, Realtime, RealtimeInput, RealtimeOutput, Recognizer,
    Spoken, Synthesizer, Text, Words,
};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::cast::{Cast, Fault, RATE, RecognizerTimes, Reply, SynthesizerTimes, Timed, tone, tone_of};

/// Messages of a fake socket that may wait; more than a test leaves unread.
const MESSAGES: usize = 4096;

/// Providers that follow a [`Cast`].
#[derive(Clone, Debug, Default)]
pub struct FakeProviders {
    cast: Cast,
    /// What recognizers understand, one utterance after the other.
    words: Vec<String>,
    asked: Arc<AtomicUsize>,
    running: Arc<AtomicUsize>,
}

/// Counts a provider as long as it works.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Running(count.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl FakeProviders {
    /// Providers of `cast`, whose recognizers understand `words`.
    pub fn new(cast: Cast, words: &[&str]) -> Self {
        let words = words.iter().map(|text| (*text).to_owned()).collect();
        FakeProviders { cast, words, ..FakeProviders::default() }
    }

    /// Providers at work now, over all calls.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    /// A speech-to-speech model of the same cast.
    pub fn realtime(&self) -> FakeRealtime {
        FakeRealtime { times: self.cast.synthesizer.clone(), replies: self.cast.replies.clone() }
    }
}

impl Providers for FakeProviders {
    fn recognizer(&self, _: &TranscriptionOption) -> Result<Box<dyn Recognizer>, ProviderError> {
        refuse(&self.cast.recognizer.fault)?;
        let (times, words) = (self.cast.recognizer.clone(), self.words.clone());
        Ok(Box::new(FakeRecognizer { times, words, running: self.running.clone() }))
    }

    fn synthesizer(&self, _: &SynthesisOption) -> Result<Box<dyn Synthesizer>, ProviderError> {
        refuse(&self.cast.synthesizer.fault)?;
        let times = self.cast.synthesizer.clone();
        Ok(Box::new(FakeSynthesizer { times, running: self.running.clone() }))
    }

    fn realtime(&self, _: &RealtimeOption) -> Result<Box<dyn Realtime>, ProviderError> {
        Ok(Box::new(FakeProviders::realtime(self)))
    }

    fn chat_model(&self, _: &LlmOption) -> Result<Box<dyn ChatModel>, ProviderError> {
        refuse(&self.cast.model.fault)?;
        let turn = self.asked.fetch_add(1, Ordering::SeqCst);
        let reply = self.cast.replies.get(turn).cloned().unwrap_or(Reply::Never);
        let times = self.cast.model.clone();
        Ok(Box::new(FakeModel { times, reply, running: self.running.clone() }))
    }
}

fn refuse(fault: &Option<Fault>) -> Result<(), ProviderError> {
    match fault {
        Some(Fault::Refuses(why)) => Err(ProviderError::Connect(why.clone())),
        _ => Ok(()),
    }
}

/// Fails in the middle of the work, when that is the fault.
fn breaks(fault: &Option<Fault>) -> Result<(), ProviderError> {
    match fault {
        Some(Fault::Breaks(why)) => Err(ProviderError::Protocol(why.clone())),
        Some(Fault::Panics) => panic!("a fake provider panics, as its cast says"),
        Some(Fault::Refuses(_) | Fault::Hangs | Fault::Silent) | None => Ok(()),
    }
}

/// Sends each thing at its time after `begin`.
async fn send_timed<T>(begin: Instant, things: Timed<T>, to: &Sender<T>) -> Result<(), ProviderError> {
    for (after, thing) in things {
        sleep_until(begin + after).await;
        to.send(thing).await.map_err(|_| ProviderError::Gone)?;
    }
    Ok(())
}

/// Understands the next of its words whenever speech has ended.
#[derive(Debug)]
pub struct FakeRecognizer {
    times: RecognizerTimes,
    words: Vec<String>,
    running: Arc<AtomicUsize>,
}

#[async_trait]
impl Recognizer for FakeRecognizer {
    fn rate(&self) -> u32 {
        RATE
    }

    async fn run(&self, mut audio: Receiver<Hearing>, heard: Sender<Heard>) -> Result<(), ProviderError> {
        let _running = Running::new(&self.running);
        let mut words = self.words.iter();
        while let Some(hearing) = audio.recv().await {
            let words = match hearing {
                Hearing::SpeechEnded { at } => Some((words.next().cloned().unwrap_or_default(), at)),
                Hearing::Audio { .. } | Hearing::SpeechStarted { .. } => None,
            };
            let Some((text, end)) = words else { continue };
            breaks(&self.times.fault)?;
            if self.times.fault == Some(Fault::Hangs) {
                continue;
            }
            let first = text.split_inclusive(' ').next().unwrap_or_default().trim().to_owned();
            let partial = Words { text: first, ..Words::default() };
            let last = Words { text, end: Some(end), ..Words::default() };
            let things =
                vec![(Duration::ZERO, Heard::Partial(partial)), (self.times.last, Heard::Final(last))];
            send_timed(Instant::now(), things, &heard).await?;
        }
        Ok(())
    }
}

/// Speaks in tones.
#[derive(Debug)]
pub struct FakeSynthesizer {
    times: SynthesizerTimes,
    running: Arc<AtomicUsize>,
}

#[async_trait]
impl Synthesizer for FakeSynthesizer {
    fn rate(&self) -> u32 {
        RATE
    }

    async fn run(&self, mut text: Receiver<Text>, spoken: Sender<Spoken>) -> Result<(), ProviderError> {
        let _running = Running::new(&self.running);
        while let Some(Text { piece, text }) = text.recv().await {
            breaks(&self.times.fault)?;
            if let Some(words) = self.times.words(&text) {
                spoken.send(Spoken::Words { piece, words }).await.map_err(|_| ProviderError::Gone)?;
            }
            let sound = self.times.speak(&text, tone_of(piece as usize));
            let sound =
                sound.into_iter().map(|(at, samples)| (at, Spoken::Audio { piece, samples })).collect();
            send_timed(Instant::now(), sound, &spoken).await?;
            spoken.send(Spoken::Done { piece }).await.map_err(|_| ProviderError::Gone)?;
        }
        Ok(())
    }
}

/// Gives one reply.
#[derive(Debug)]
pub struct FakeModel {
    times: crate::cast::ModelTimes,
    reply: Reply,
    running: Arc<AtomicUsize>,
}

#[async_trait]
impl ChatModel for FakeModel {
    async fn run(&self, _: Ask, answer: Sender<ModelOutput>) -> Result<(), ProviderError> {
        let _running = Running::new(&self.running);
        breaks(&self.times.fault)?;
        match &self.reply {
            Reply::Says(text) => send_timed(Instant::now(), self.times.answer(text), &answer).await,
            Reply::Fails(why) => Err(ProviderError::Protocol(why.clone())),
            Reply::Never => {
                answer.closed().await;
                Err(ProviderError::Gone)
            }
        }
    }
}

/// Answers every half second of the caller's sound with its next reply.
#[derive(Debug)]
pub struct FakeRealtime {
    times: SynthesizerTimes,
    replies: Vec<Reply>,
}

#[async_trait]
impl Realtime for FakeRealtime {
    fn rate(&self) -> u32 {
        RATE
    }

    async fn run(
        &self,
        mut input: Receiver<RealtimeInput>,
        output: Sender<RealtimeOutput>,
    ) -> Result<(), ProviderError> {
        let mut heard = 0;
        let mut answer = AnswerId(0);
        let mut replies = self.replies.iter();
        while let Some(input) = input.recv().await {
            if let RealtimeInput::Audio(samples) = input {
                heard += samples.len();
            }
            if heard < RATE as usize / 2 {
                continue;
            }
            heard = 0;
            let text = match replies.next() {
                Some(Reply::Says(text)) => text,
                Some(Reply::Fails(why)) => return Err(ProviderError::Protocol(why.clone())),
                Some(Reply::Never) | None => continue,
            };
            let sound = self.times.speak(text, tone_of(0)).into_iter();
            answer.0 += 1;
            let mut things = vec![(Duration::ZERO, RealtimeOutput::Agent { answer, text: text.clone() })];
            things.extend(sound.map(|(at, samples)| (at, RealtimeOutput::Audio { answer, samples })));
            send_timed(Instant::now(), things, &output).await?;
            output.send(RealtimeOutput::Said(answer)).await.map_err(|_| ProviderError::Gone)?;
            output.send(RealtimeOutput::Done(Usage::default())).await.map_err(|_| ProviderError::Gone)?;
        }
        Ok(())
    }
}

/// Files of a cast.
#[derive(Clone, Debug, Default)]
pub struct FakeLibrary(pub Cast);

#[async_trait]
impl Library for FakeLibrary {
    async fn open(&self, url: &str, sound: Sender<Sound>) -> Result<(), Failure> {
        let missing = || Failure::new(404, format!("{url:?} is not there"));
        let length = *self.0.files.get(url).ok_or_else(missing)?;
        for samples in tone(tone_of(0), length).chunks(RATE as usize) {
            if sound.send(Sound { rate: RATE, samples: samples.into() }).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Recordings that are counted and not written: the size is two bytes a value.
#[derive(Clone, Copy, Debug, Default)]
pub struct FakeStudio;

impl Studio for FakeStudio {
    #[expect(clippy::disallowed_methods, reason = "the task ends when its call closes the tape")]
    fn open(&self, id: &str, _: u32, _: &RecorderOption) -> Result<Tape, call::Failure> {
        let (pieces, mut written) = mpsc::channel(TAPE_PIECES);
        let (size, done) = oneshot::channel();
        let track_id = id.to_owned();
        tokio::spawn(async move {
            let mut values = 0;
            while let Some(piece) = written.recv().await {
                values += match piece {
                    TapePiece::Sound(sound) => sound.len() as u64,
                    TapePiece::Gap(frames) => frames * 2,
                };
            }
            // A call that no longer wants to know has ended.
            let _ = size.send(Recording { track_id, size: values * 2, ..Recording::default() });
        });
        Ok(Tape { path: format!("{id}.wav"), pieces, done })
    }
}

/// No playbooks and no network.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

#[async_trait]
impl Playbooks for Nothing {
    async fn find(&self, name: &str) -> Result<Arc<Playbook>, Failure> {
        Err(Failure::new(404, format!("{name}: not found")))
    }
}

#[async_trait]
impl ToolServers for Nothing {
    async fn list(&self, _: &McpServer) -> Result<Vec<ToolSpec>, String> {
        Err("no network".into())
    }

    async fn call(&self, _: &McpServer, _: &str, _: serde_json::Value) -> Result<String, String> {
        Err("no network".into())
    }
}

#[async_trait]
impl MediaPasses for Nothing {
    async fn run(&self, _: MediaPass, _: Receiver<Hearing>, _: Sender<Sound>) -> Result<(), String> {
        Err("no network".into())
    }
}

#[async_trait]
impl Dialer for Nothing {
    async fn open(&self, _: Dial) -> Result<Line, Undialled> {
        Err(Undialled { code: 503, reason: "no network".into() })
    }

    fn permits(&self, _target: &str) -> Result<(), Undialled> {
        Ok(())
    }
}

#[async_trait]
impl Fetcher for Nothing {
    async fn fetch(&self, _: HttpRequest) -> Result<String, String> {
        Err("no network".into())
    }
}

/// Services for real calls with `providers`, and where their records come out.
pub fn services(media: MediaThreads, providers: &FakeProviders) -> (Services, Receiver<CallRecord>) {
    let (records, written) = mpsc::channel(MESSAGES);
    // Nobody reads reports here; a call does not mind.
    let (reports, _) = mpsc::channel(1);
    let services = Services {
        media,
        providers: Arc::new(providers.clone()),
        library: Arc::new(FakeLibrary(providers.cast.clone())),
        studio: Arc::new(FakeStudio),
        playbooks: Arc::new(Nothing),
        fetcher: Arc::new(Nothing),
        passes: Arc::new(Nothing),
        tools: Arc::new(Nothing),
        dialer: Arc::new(Nothing),
        records,
        reports,
        told: Arc::default(),
    };
    (services, written)
}

/// The client's end of a `/call` socket's sound.
#[derive(Debug)]
pub struct FakeSocket {
    /// Binary messages to the call.
    pub to_call: Sender<Bytes>,
    /// Batches of messages from the call.
    pub from_call: Receiver<Vec<Bytes>>,
}

/// A socket and the wire that a call has of it.
pub fn socket() -> (Wire, FakeSocket) {
    let (to_call, inbound) = mpsc::channel(MESSAGES);
    let (outbound, from_call) = mpsc::channel(MESSAGES);
    (Wire::Socket { inbound, outbound }, FakeSocket { to_call, from_call })
}
