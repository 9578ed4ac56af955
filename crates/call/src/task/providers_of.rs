//! The providers a call has running: each in a task of its own that dies with the call.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use audio::Resampler;
use futures::FutureExt;
use playbook::HttpRequest;
use playbook::tools::McpServer;
use protocol::chat::{Ask, ModelOutput, TurnId};
use protocol::option::{LlmOption, RealtimeOption, SynthesisOption, TranscriptionOption};
use providers::run::{self, Limits};
use providers::{Heard, Hearing, ProviderError, RealtimeInput, Spoken, Text};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tracing::Instrument;

use super::Dialled;
use super::flow::Flow;
use crate::core::realtime::Broken;
use crate::core::voice::VoiceId;
use crate::core::{Background, Input, ToolCall};
use crate::failure::Failure;
use crate::legs::LegId;
use crate::media::CHUNK_FRAMES;
use crate::media::order::DoorId;
use crate::media_thread::{HEARING, Order};
use crate::setup::{
    Dial, Dialer, Fetcher, Library, MediaPass, MediaPasses, Providers, Sound, ToolServers, Undialled,
};

/// Texts waiting for a synthesizer: as many as one utterance may have ([`crate::core::voice::MOST_PIECES`]), so
/// that it is never full.
const TEXTS: usize = crate::core::voice::MOST_PIECES;
/// A synthesizer may be left waiting as long as a pause lasts.
const SPEAK: Limits = Limits { stall: Duration::from_secs(3600), ..Limits::SPEAK };
/// Chunks of sound waiting for the rules. When full the synthesizer waits.
const SPOKEN: usize = 16;
/// Chunks of a file, of up to a second, waiting for the rules. When full the file is not read on.
const FILE_CHUNKS: usize = 1;
/// Pieces of a model's answer waiting for the rules. When full the model waits.
const ANSWERS: usize = 64;

/// Results and interruptions waiting for a speech-to-speech model. When full one is lost: the model takes nothing.
const ORDERS: usize = 64;
/// Longest background sound; it is looped.
const BACKGROUND: Duration = Duration::from_secs(60);

/// What runs for one call.
pub(super) struct Running {
    input: mpsc::Sender<Input>,
    providers: Arc<dyn Providers>,
    library: Arc<dyn Library>,
    ears: HashMap<DoorId, AbortHandle>,
    model: Option<mpsc::Sender<RealtimeInput>>,
    voices: HashMap<VoiceId, Voice>,
    turns: HashMap<TurnId, AbortHandle>,
    /// What the playbook waits for, by the number it gave.
    asked: HashMap<u32, AbortHandle>,
    fetches: Vec<AbortHandle>,
}

struct Voice {
    task: AbortHandle,
    text: Option<mpsc::Sender<Text>>,
    flow: Flow,
}

impl Running {
    pub(super) fn new(
        input: mpsc::Sender<Input>,
        providers: Arc<dyn Providers>,
        library: Arc<dyn Library>,
    ) -> Self {
        Running {
            input,
            providers,
            library,
            ears: HashMap::new(),
            model: None,
            voices: HashMap::new(),
            turns: HashMap::new(),
            asked: HashMap::new(),
            fetches: Vec::new(),
        }
    }

    pub(super) fn input(&self) -> &mpsc::Sender<Input> {
        &self.input
    }

    /// Opens a recognizer; answers the rate it wants and where its sound goes.
    pub(super) fn listen(
        &mut self,
        door: DoorId,
        option: &TranscriptionOption,
    ) -> Result<(u32, mpsc::Sender<Hearing>), Broken> {
        let recognizer = self.providers.recognizer(option).map_err(|error| broken("asr", &error))?;
        let rate = recognizer.rate();
        let name = option.provider.clone().unwrap_or_default();
        let (sound, hearing) = mpsc::channel(HEARING);
        let (heard, mut words) = mpsc::channel::<Heard>(ANSWERS);
        let input = self.input.clone();
        let task = spawn(async move {
            let forward = async {
                while let Some(heard) = words.recv().await {
                    if input.send(Input::Heard(door, heard)).await.is_err() {
                        return;
                    }
                }
            };
            let (result, ()) = tokio::join!(
                fenced(run::recognize(&name, recognizer.as_ref(), &Limits::HEAR, hearing, heard), |error| {
                    broken("asr", &error)
                }),
                forward
            );
            let _ = input.send(Input::Unheard(door, result.map(drop))).await;
        });
        self.ears.insert(door, task);
        Ok((rate, sound))
    }

    /// Opens a speech-to-speech model; answers the rate it wants and where its sound goes.
    pub(super) fn open_model(
        &mut self,
        door: DoorId,
        option: &RealtimeOption,
    ) -> Result<(u32, mpsc::Sender<Hearing>), Broken> {
        let model = self.providers.realtime(option).map_err(|error| broken("realtime", &error))?;
        let rate = model.rate();
        let (sound, hearing) = mpsc::channel(HEARING);
        let (orders, told) = mpsc::channel(ORDERS);
        let (given, taken) = mpsc::channel(HEARING);
        let (said, mut outputs) = mpsc::channel(ANSWERS);
        let input = self.input.clone();
        let task = spawn(async move {
            let forward = async {
                while let Some(output) = outputs.recv().await {
                    if input.send(Input::Realtime(door, rate, output)).await.is_err() {
                        return;
                    }
                }
            };
            let work = async {
                tokio::select! {
                    result = fenced(model.run(taken, said), |error| broken("realtime", &error)) => result,
                    () = feed_model(hearing, told, given) => Ok(()),
                }
            };
            let (result, ()) = tokio::join!(work, forward);
            let _ = input.send(Input::ModelEnded(door, result)).await;
        });
        self.model = Some(orders);
        self.ears.insert(door, task);
        Ok((rate, sound))
    }

    pub(super) fn close_model(&mut self, door: DoorId) {
        self.model = None;
        self.unlisten(door);
    }

    /// Tells the model something.
    pub(super) fn tell_model(&mut self, input: RealtimeInput) {
        if self.model.as_ref().is_some_and(|model| model.try_send(input).is_err()) {
            tracing::warn!("a realtime model takes nothing more");
        }
    }

    pub(super) fn unlisten(&mut self, door: DoorId) {
        if let Some(task) = self.ears.remove(&door) {
            task.abort();
        }
    }

    /// Opens a synthesizer.
    pub(super) fn open_voice(&mut self, voice: VoiceId, option: &SynthesisOption) -> Result<(), Failure> {
        let synthesizer = self.providers.synthesizer(option).map_err(|error| unspoken(&error))?;
        let rate = synthesizer.rate();
        let name = option.provider.clone().unwrap_or_default();
        let (text, texts) = mpsc::channel(TEXTS);
        let (spoken, sounds) = mpsc::channel::<Spoken>(SPOKEN);
        let (flow, flowing) = Flow::new();
        let input = self.input.clone();
        let forward =
            flowing.forward(sounds, input.clone(), move |spoken| Input::Spoken(voice, rate, spoken));
        let task = spawn(async move {
            let (result, ()) = tokio::join!(
                fenced(
                    run::synthesize(&name, synthesizer.as_ref(), &SPEAK, texts, spoken),
                    |error| unspoken(&error)
                ),
                forward
            );
            let _ = input.send(Input::Silent(voice, result.map(drop))).await;
        });
        self.voices.insert(voice, Voice { task, text: Some(text), flow });
        self.voices.retain(|_, voice| !voice.task.is_finished());
        Ok(())
    }

    pub(super) fn speak(&mut self, voice: VoiceId, piece: u32, text: String) {
        let Some(Voice { text: Some(texts), .. }) = self.voices.get(&voice) else { return };
        // The rules bound the text of an utterance, so this channel is never full of it.
        if texts.try_send(Text { piece, text }).is_err() {
            tracing::warn!("a synthesizer takes no more text");
        }
    }

    pub(super) fn close_voice(&mut self, voice: VoiceId) {
        if let Some(voice) = self.voices.get_mut(&voice) {
            voice.text = None;
        }
    }

    pub(super) fn drop_voice(&mut self, voice: VoiceId) {
        if let Some(voice) = self.voices.remove(&voice) {
            voice.task.abort();
        }
    }

    pub(super) fn flow(&mut self, voice: VoiceId, on: bool) {
        if let Some(voice) = self.voices.get(&voice) {
            voice.flow.set(on);
        }
    }

    /// The rules have dealt with a piece of a voice.
    pub(super) fn taken(&self, voice: VoiceId) {
        if let Some(voice) = self.voices.get(&voice) {
            voice.flow.taken();
        }
    }

    /// Opens a sound file.
    pub(super) fn open_file(&mut self, voice: VoiceId, url: String) {
        let library = self.library.clone();
        self.open_sound(voice, move |sound| async move { library.open(&url, sound).await });
    }

    /// Connects a program outside; answers where what it hears goes.
    pub(super) fn media_pass(
        &mut self,
        voice: VoiceId,
        pass: MediaPass,
        passes: Arc<dyn MediaPasses>,
    ) -> mpsc::Sender<Hearing> {
        // Two seconds, whatever the chunks are.
        let (heard, hearing) = mpsc::channel(HEARING * CHUNK_FRAMES / pass.packet_frames().min(CHUNK_FRAMES));
        self.open_sound(voice, move |sound| async move {
            passes.run(pass, hearing, sound).await.map_err(|why| Failure::new(502, why))
        });
        heard
    }

    /// Lets the sound that `work` sends be that of a voice.
    fn open_sound<W: Future<Output = Result<(), Failure>> + Send + 'static>(
        &mut self,
        voice: VoiceId,
        work: impl FnOnce(mpsc::Sender<Sound>) -> W,
    ) {
        let (sound, sounds) = mpsc::channel::<Sound>(FILE_CHUNKS);
        let (flow, flowing) = Flow::new();
        let (input, work) = (self.input.clone(), work(sound));
        let forward = flowing.forward(sounds, input.clone(), move |sound| Input::Sound(voice, sound));
        let task = spawn(async move {
            let (result, ()) = tokio::join!(fenced(work, |failure| failure), forward);
            let _ = input.send(Input::Silent(voice, result)).await;
        });
        self.voices.insert(voice, Voice { task, text: None, flow });
    }

    /// Loads a background sound, at most [`BACKGROUND`] of it, brings it to `rate`, and hands it to the call's sound. A
    /// file that cannot be played is told.
    pub(super) fn load_background(
        &mut self,
        path: String,
        rate: u32,
        (orders, play): (mpsc::Sender<Order>, impl FnOnce(Box<[i16]>) -> Order + Send + 'static),
        which: Background,
    ) {
        let (sound, mut sounds) = mpsc::channel::<Sound>(FILE_CHUNKS);
        let (library, input) = (self.library.clone(), self.input.clone());
        let task = spawn(async move {
            let gather = async {
                let (mut resampler, mut whole) = (None, Vec::new());
                while let Some(sound) = sounds.recv().await {
                    let resampler = resampler.get_or_insert_with(|| Resampler::new(sound.rate, rate));
                    resampler.process(&sound.samples, &mut whole);
                    if whole.len() as u64 >= u64::from(rate) * BACKGROUND.as_secs() {
                        break;
                    }
                }
                sounds.close();
                whole
            };
            let (result, whole) = tokio::join!(library.open(&path, sound), gather);
            if !whole.is_empty() {
                let _ = orders.send(play(whole.into())).await;
                return;
            }
            let failure = result.err().unwrap_or_else(|| Failure::new(415, "the file has no sound"));
            let _ = input.send(Input::NoBackground(which, failure)).await;
        });
        self.fetches.push(task);
    }

    /// Asks a chat model.
    pub(super) fn ask(&mut self, option: &LlmOption, ask: Ask) -> Result<(), String> {
        let model = self.providers.chat_model(option).map_err(|e| e.to_string())?;
        let turn = ask.turn;
        let name = option.provider.clone().unwrap_or_default();
        let (answer, mut answers) = mpsc::channel::<ModelOutput>(ANSWERS);
        let input = self.input.clone();
        let task = spawn(async move {
            let forward = async {
                while let Some(output) = answers.recv().await {
                    if input.send(Input::Model(turn, output)).await.is_err() {
                        return;
                    }
                }
            };
            let answered = run::chat(&name, model.as_ref(), &Limits::CHAT, ask, answer);
            let (result, ()) = tokio::join!(fenced(answered, |error| error.to_string()), forward);
            if let Err(error) = result {
                let output = ModelOutput::Failed { error };
                let _ = input.send(Input::Model(turn, output)).await;
            }
        });
        self.turns.retain(|_, task| !task.is_finished());
        self.turns.insert(turn, task);
        Ok(())
    }

    pub(super) fn abandon(&mut self, turn: TurnId) {
        if let Some(task) = self.turns.remove(&turn) {
            task.abort();
        }
    }

    pub(super) fn fetch(&mut self, id: u32, request: HttpRequest, fetcher: Arc<dyn Fetcher>) {
        let input = self.input.clone();
        let task = spawn(async move {
            let body = fenced(fetcher.fetch(request), |why| why).await;
            let _ = input.send(Input::Fetched(id, body)).await;
        });
        self.asked.retain(|_, task| !task.is_finished());
        self.asked.insert(id, task);
    }

    /// Stops a fetch or the wait for a tool.
    pub(super) fn cancel_fetch(&mut self, id: u32) {
        if let Some(task) = self.asked.remove(&id) {
            task.abort();
        }
    }

    /// Lists the tools of a server.
    pub(super) fn list_tools(&mut self, server: McpServer, servers: Arc<dyn ToolServers>) {
        let input = self.input.clone();
        self.fetches.retain(|task| !task.is_finished());
        self.fetches.push(spawn(async move {
            let tools = fenced(servers.list(&server), |why| why).await;
            let _ = input.send(Input::Tools(server.name, tools)).await;
        }));
    }

    /// Calls a tool.
    pub(super) fn call_tool(&mut self, call: ToolCall, servers: Arc<dyn ToolServers>) {
        let ToolCall { id, server, name, arguments, timeout } = call;
        let input = self.input.clone();
        let task = spawn(async move {
            let called = fenced(servers.call(&server, &name, arguments), |why| why);
            let late = || Err(format!("no answer within {} s", timeout.as_secs()));
            let body = tokio::time::timeout(timeout, called).await.unwrap_or_else(|_| late());
            let _ = input.send(Input::Fetched(id, body)).await;
        });
        self.asked.retain(|_, task| !task.is_finished());
        self.asked.insert(id, task);
    }

    /// Opens a line to a party.
    pub(super) fn dial(
        &mut self,
        leg: LegId,
        dial: Dial,
        dialer: Arc<dyn Dialer>,
        lines: mpsc::Sender<Dialled>,
    ) {
        let task = spawn(async move {
            let opened = AssertUnwindSafe(dialer.open(dial)).catch_unwind().await;
            let broken = || Err(Undialled { code: 500, reason: "internal error".into() });
            let _ = lines.send((leg, Box::new(opened.unwrap_or_else(|_| broken())))).await;
        });
        self.fetches.retain(|task| !task.is_finished());
        self.fetches.push(task);
    }

    /// Ends everything that runs.
    pub(super) fn stop(&mut self) {
        let voices = self.voices.drain().map(|(_, voice)| voice.task);
        let others = self.ears.drain().map(|(_, task)| task).chain(self.turns.drain().map(|(_, task)| task));
        let others = others.chain(self.asked.drain().map(|(_, task)| task));
        for task in voices.chain(others).chain(self.fetches.drain(..)) {
            task.abort();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Gives a model what is heard and what it is told, until the call has no more of either.
async fn feed_model(
    mut hearing: mpsc::Receiver<Hearing>,
    mut told: mpsc::Receiver<RealtimeInput>,
    model: mpsc::Sender<RealtimeInput>,
) {
    loop {
        let input = tokio::select! {
            biased;
            Some(input) = told.recv() => input,
            // The media thread may let go of the door while the model is still told something.
            Some(hearing) = hearing.recv() => match hearing {
                Hearing::Audio { samples, .. } => RealtimeInput::Audio(samples),
                Hearing::SpeechStarted { .. } | Hearing::SpeechEnded { .. } => continue,
            },
            else => return,
        };
        if model.send(input).await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// What the rules are told of a provider whose option stands under `option` in that of the call.
fn broken(option: &str, error: &ProviderError) -> Broken {
    Broken { failure: Failure::of_provider(option, error), retryable: error.retryable() }
}

fn unspoken(error: &ProviderError) -> Failure {
    Failure::of_provider("tts", error)
}

/// The result of somebody's work, with an error inside it told as a failure: its call waits for the end.
async fn fenced<T, E, F: for<'a> From<&'a str>>(
    work: impl Future<Output = Result<T, E>>,
    told: impl FnOnce(E) -> F,
) -> Result<T, F> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(result) => result.map_err(told),
        Err(_) => Err("internal error".into()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the task's end is kept by the call, which aborts it with itself"
)]
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    // What a provider logs is told with the call's id.
    tokio::spawn(task.in_current_span()).abort_handle()
}
