//! What a call begins with, and what it needs of the world around it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use playbook::Playbook;
use playbook::tools::McpServer;
use protocol::Extra;
use protocol::chat::ToolSpec;
use protocol::command::DtmfMethod;
use protocol::option::{
    CallOption, Encryption, LlmOption, RealtimeOption, RecorderOption, SipOption, SynthesisOption,
    TranscriptionOption,
};
use protocol::record::{CallRecord, LogLine, Recording};
use protocol::rest::CallKind;
use protocol::value::Headers;
use providers::{ChatModel, Hearing, ProviderError, Realtime, Recognizer, Synthesizer};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use crate::failure::Failure;
use crate::handle::Client;
use crate::legs::Leg;
use crate::legs::sip_media::SipMedia;
use crate::media_thread::{MediaThreads, Wire};
use crate::tally::Told;

/// What one call begins with.
pub struct Setup {
    /// Names the call in the API, in files and in logs. Already checked by whoever took it from a client.
    pub id: String,
    /// What carries it.
    pub kind: CallKind,
    /// From; empty when a command will say it.
    pub caller: String,
    /// To; empty when a command will say it.
    pub callee: String,
    /// Signalling of the main leg.
    pub leg: Box<dyn Leg>,
    /// Sound of the main leg.
    pub wire: Wire,
    /// Media negotiation of a SIP leg; `None` where codec and rate come with `invite`.
    pub sip: Option<SipMedia>,
    /// Variables for a playbook, such as `sip` headers.
    pub vars: Extra,
    /// The playbook to answer with at once; else a client or `option.playbook` is in command.
    pub playbook: Option<Arc<Playbook>>,
    /// The client in command, when it is there already.
    pub client: Option<Client>,
    /// Where the event log goes; `None` for none.
    pub log: Option<EventLog>,
    /// Options below those of commands and playbook.
    pub defaults: CallOption,
    /// Times and switches of the configuration.
    pub rules: Rules,
}

/// Where the event log of one call goes.
#[derive(Debug)]
pub struct EventLog {
    /// The file, for the record.
    pub path: String,
    /// The lines. When full a line is lost and counted: a log never holds up a call.
    pub lines: mpsc::Sender<LogLine>,
    /// Told by whoever writes them once the first are written: whether there is a file. The record does not name one that
    /// is not there.
    pub made: watch::Receiver<Option<bool>>,
}

/// Times and switches that hold for every call.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How long an inbound call may wait for a client to attach and accept.
    pub accept_timeout: Duration,
    /// Rate of PCM sent over `/call` when `sampleRate` is not given, in Hz.
    pub ws_pcm_out_rate: u32,
    /// Record every call from its first sound.
    pub auto_record: bool,
    /// Whether sound of SIP legs is encrypted, where no option says it.
    pub encryption: Encryption,
    /// Without a packet for so long in mid-call a call ends; zero never. `inactivityTimeout` goes before.
    pub media_timeout: Duration,
    /// The same for the first packet after the answer of a SIP call.
    pub first_media_timeout: Duration,
    /// How digits travel to the far end, where a command does not say it.
    pub dtmf: DtmfMethod,
    /// What the server plays has this track id.
    pub server_track: String,
    /// Whom calls of ours are from, where nobody says it.
    pub accounts: Vec<OwnAddress>,
    /// Whether the far end may send us on, or let another take its place.
    pub transfer_requests: TransferRequests,
}

/// What is done when the far end of a call wants us to talk to someone else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransferRequests {
    /// The playbook in command must name the target; else the client in command is asked. No call takes its place.
    #[default]
    Ask,
    /// It may, within what the dialer allows; and a new call may take its place.
    Accept,
    /// It may not; nor may another call take its place.
    Refuse,
}

/// An address of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnAddress {
    /// The host at which it holds, as in the URI of a callee.
    pub host: String,
    /// Its URI.
    pub uri: String,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            accept_timeout: Duration::from_secs(50),
            ws_pcm_out_rate: 16_000,
            auto_record: false,
            encryption: Encryption::default(),
            media_timeout: Duration::from_secs(50),
            first_media_timeout: Duration::from_secs(30),
            dtmf: DtmfMethod::Auto,
            server_track: "server-side-track".into(),
            accounts: Vec::new(),
            transfer_requests: TransferRequests::default(),
        }
    }
}

/// What calls need of the world around them.
#[derive(Clone)]
pub struct Services {
    /// Where sound is computed.
    pub media: MediaThreads,
    /// Vendors.
    pub providers: Arc<dyn Providers>,
    /// Sound files.
    pub library: Arc<dyn Library>,
    /// Recordings.
    pub studio: Arc<dyn Studio>,
    /// Playbooks that clients name.
    pub playbooks: Arc<dyn Playbooks>,
    /// Fetches what playbooks ask for.
    pub fetcher: Arc<dyn Fetcher>,
    /// Programs that take over the sound of calls.
    pub passes: Arc<dyn MediaPasses>,
    /// Servers of tools for playbooks.
    pub tools: Arc<dyn ToolServers>,
    /// Opens lines to parties that calls dial.
    pub dialer: Arc<dyn Dialer>,
    /// Where reports go: each call whose playbook has a `posthook` sends one when it is over.
    pub reports: mpsc::Sender<Afterwards>,
    /// Where records go: each call sends exactly one, except a client's that never began.
    pub records: mpsc::Sender<CallRecord>,
    /// What calls have told, counted.
    pub told: Arc<Told>,
}

/// What is left to do when a call is over: its report.
#[derive(Clone, Debug, PartialEq)]
pub struct Afterwards {
    /// The call's id.
    pub id: String,
    /// What the conversation came to, and where to report it.
    pub outcome: playbook::Outcome,
    /// The model that writes the summary.
    pub llm: Option<LlmOption>,
}

/// Makes providers by option. The table of real vendors is [`Vendors`].
pub trait Providers: Send + Sync {
    /// A recognizer.
    ///
    /// # Errors
    /// Those of the vendor's options.
    fn recognizer(&self, option: &TranscriptionOption) -> Result<Box<dyn Recognizer>, ProviderError>;
    /// A synthesizer.
    ///
    /// # Errors
    /// Those of the vendor's options.
    fn synthesizer(&self, option: &SynthesisOption) -> Result<Box<dyn Synthesizer>, ProviderError>;
    /// A chat model.
    ///
    /// # Errors
    /// Those of the vendor's options.
    fn chat_model(&self, option: &LlmOption) -> Result<Box<dyn ChatModel>, ProviderError>;
    /// A speech-to-speech model.
    ///
    /// # Errors
    /// Those of the vendor's options.
    fn realtime(&self, option: &RealtimeOption) -> Result<Box<dyn Realtime>, ProviderError>;
}

/// The providers of the tables in the `providers` crate.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vendors;

impl Providers for Vendors {
    fn recognizer(&self, option: &TranscriptionOption) -> Result<Box<dyn Recognizer>, ProviderError> {
        providers::recognizer(option)
    }
    fn synthesizer(&self, option: &SynthesisOption) -> Result<Box<dyn Synthesizer>, ProviderError> {
        providers::synthesizer(option)
    }
    fn chat_model(&self, option: &LlmOption) -> Result<Box<dyn ChatModel>, ProviderError> {
        providers::chat_model(option)
    }
    fn realtime(&self, option: &RealtimeOption) -> Result<Box<dyn Realtime>, ProviderError> {
        providers::realtime(option)
    }
}

/// Opens sound files that clients and playbooks name.
#[async_trait]
pub trait Library: Send + Sync {
    /// Decodes the file at `url` (a path under the configured roots, or http(s)) and sends its sound as mono
    /// chunks of at most a second. Returns when all is sent or the receiver is gone.
    ///
    /// # Errors
    /// For the `error` event: not found (404), not allowed (403), too large (413), not a sound file (415), cannot be
    /// reached (502).
    async fn open(&self, url: &str, sound: mpsc::Sender<Sound>) -> Result<(), Failure>;
}

/// A piece of mono sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sound {
    /// Hz: 8000, 16000, 24000 or 48000.
    pub rate: u32,
    /// At most a second.
    pub samples: Box<[i16]>,
}

/// Writes recordings.
pub trait Studio: Send + Sync {
    /// Opens the recording of call `id`, whose pieces come at `rate` Hz.
    ///
    /// # Errors
    /// When the name of the file is none that may be, or the file cannot be made.
    fn open(&self, id: &str, rate: u32, option: &RecorderOption) -> Result<Tape, Failure>;
}

/// An open recording.
#[derive(Debug)]
pub struct Tape {
    /// The file.
    pub path: String,
    /// Where the sound goes. Closing it ends the recording.
    pub pieces: mpsc::Sender<TapePiece>,
    /// What became of it, after its end.
    pub done: oneshot::Receiver<Recording>,
}

/// Sound of one buffer of a recording. Whoever writes looks for buffers from time to time: with that a file lacks less
/// than a second of what was said, however the program ends.
pub const TAPE_PIECE: Duration = Duration::from_millis(900);
/// Buffers of [`TAPE_PIECE`] waiting to be written. When full the newest is lost and a [`TapePiece::Gap`] takes its
/// place: recording never delays a tick.
pub const TAPE_PIECES: usize = 5;

/// A piece of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TapePiece {
    /// Interleaved stereo at the rate of the call's sound: the remote party left, what the server plays right. At
    /// most a second.
    Sound(Vec<i16>),
    /// So many frames were lost; to be filled with silence so that both sides stay aligned with time.
    Gap(u64),
}

/// A program outside that hears the far end and speaks for the server, over a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaPass {
    /// Its address.
    pub url: String,
    /// Hz of what it says.
    pub input_hz: u32,
    /// Hz of what it hears.
    pub output_hz: u32,
    /// Bytes of each message it is sent.
    pub packet_bytes: u32,
    /// What it says is played in pieces of this length, the last one before a pause filled up with silence; zero plays it
    /// as it comes.
    pub ptime: Duration,
    /// Headers of the request that opens the connection.
    pub headers: Headers,
}

impl MediaPass {
    /// Whole frames of 20 ms in a message it is sent, at least one: it waits for no more than that.
    pub fn packet_frames(&self) -> usize {
        let frame = audio::Frame::len_at(self.output_hz) * 2;
        (self.packet_bytes as usize / frame.max(1)).max(1)
    }
}

/// Connects to programs that take over the sound of a call.
#[async_trait]
pub trait MediaPasses: Send + Sync {
    /// Gives the program what is heard, at `pass.output_hz`, and sends what it says. Returns when the program or the
    /// call has ended it.
    ///
    /// # Errors
    /// A text for the `error` event: not allowed, cannot be reached, broken off.
    async fn run(
        &self,
        pass: MediaPass,
        heard: mpsc::Receiver<Hearing>,
        said: mpsc::Sender<Sound>,
    ) -> Result<(), String>;
}

/// Reaches servers of tools for playbooks (Model Context Protocol).
#[async_trait]
pub trait ToolServers: Send + Sync {
    /// The tools of a server, which is started or connected to if it is not yet.
    ///
    /// # Errors
    /// A text for the `error` event: not allowed, cannot be started or reached, no answer in time.
    async fn list(&self, server: &McpServer) -> Result<Vec<ToolSpec>, String>;

    /// Calls the tool `name` with `arguments`, an object; the text of its result.
    ///
    /// # Errors
    /// A text that tells the model what went wrong.
    async fn call(&self, server: &McpServer, name: &str, arguments: Value) -> Result<String, String>;
}

/// A party to be dialled.
#[derive(Clone, Debug, PartialEq)]
pub struct Dial {
    /// The call's id.
    pub call: String,
    /// `Call-ID` of the INVITE to come, where a client says it or it is the call's id; else it is left to chance.
    pub call_id: Option<String>,
    /// Our URI.
    pub caller: String,
    /// Our name for display, where the caller was given with one.
    pub display_name: Option<String>,
    /// Whom to call: a `sip:`, `sips:` or `tel:` URI.
    pub callee: String,
    /// Account, headers and encryption.
    pub sip: SipOption,
    /// A playbook is in command, and not a client.
    pub playbook: bool,
}

/// A line to a party: nothing has been sent on it yet.
pub struct Line {
    /// Its signalling, to which [`LegRequest::Invite`](crate::legs::LegRequest::Invite) is given.
    pub leg: Box<dyn Leg>,
    /// The socket of its sound.
    pub wire: Wire,
    /// Our side of the media.
    pub media: SipMedia,
}

/// Why there is no line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undialled {
    /// The SIP status that says the same.
    pub code: u16,
    /// In words, for the `reject` event.
    pub reason: String,
}

/// Opens lines to parties that a call dials: policy, accounts, names and ports are its business.
#[async_trait]
pub trait Dialer: Send + Sync {
    /// A line to the callee.
    ///
    /// # Errors
    /// When the callee may not be called, cannot be found, or no port is free.
    async fn open(&self, dial: Dial) -> Result<Line, Undialled>;

    /// Lets a far end be asked to call `target`, once: it counts as a call of ours, since it is placed for us.
    ///
    /// # Errors
    /// When it may not be called, or as many as may be have been.
    fn permits(&self, target: &str) -> Result<(), Undialled>;
}

/// Finds playbooks by the name a client gives in `option.playbook`.
#[async_trait]
pub trait Playbooks: Send + Sync {
    /// The playbook called `name`.
    ///
    /// # Errors
    /// What the `error` event says: not found, or the line that is wrong.
    async fn find(&self, name: &str) -> Result<Arc<Playbook>, Failure>;
}

/// Fetches URLs for playbooks, within the limits of the configuration.
#[async_trait]
pub trait Fetcher: Send + Sync {
    /// The status and body.
    ///
    /// # Errors
    /// A text that tells the model what went wrong.
    async fn fetch(&self, request: playbook::HttpRequest) -> Result<String, String>;
}
