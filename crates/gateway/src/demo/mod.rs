//! The demonstration: a server with the offline playbook, and a caller who phones it by SIP over loopback.
//!
//! The caller is a phone of its own: it knows nothing of the server but its SIP address, speaks with another
//! voice than the agent, and waits for the agent's voice like a person would. What the server understood and
//! did is printed from the call's events.

pub mod phone;
mod print;
mod voice;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use call::handle::ToCall;
use call::observers::Observer;
use protocol::Event;
use protocol::reason::HangupReason;
use protocol::record::CallRecord;
use tokio::sync::mpsc;

use crate::cli;
use crate::config::Config;
use crate::config::words::{CodecName, Database};
use crate::server::Server;
use phone::{Heard, Line, Phone, PhoneError};
use print::Printer;

/// The playbook that answers, and the words that the built-in caller says.
const PLAYBOOK: &str = "demo.md";
/// The same, for where there is no repository.
const BUILT_IN: &str = include_str!("../../../../config/playbook/demo.md");
/// What the caller says, one after the other. The last makes the agent say goodbye and hang up.
const QUESTIONS: &[&str] = &[
    "what are your opening hours",
    "where are you",
    "i would like to reserve a book",
    "no that is everything",
];
/// Voice of the caller; the agent's is another.
const CALLER_VOICE: &str = "rms";
/// Best first.
const CODECS: &[CodecName] =
    &[CodecName::G722, CodecName::Opus, CodecName::Pcmu, CodecName::Pcma, CodecName::TelephoneEvent];
/// Events waiting to be printed. When full the demonstration misses some; the call does not wait.
const EVENTS: usize = 1024;

/// Why the demonstration cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The server does not start.
    #[error(transparent)]
    Start(#[from] crate::server::StartError),
    /// No folder for what the conversation leaves.
    #[error("no folder for the demonstration: {0}")]
    Folder(std::io::Error),
    /// The caller's phone.
    #[error("the built-in caller: {0}")]
    Phone(#[from] PhoneError),
    /// The caller's voice.
    #[error("the built-in caller cannot speak: {0}")]
    Voice(#[from] providers::ProviderError),
    /// Standard output.
    #[error("cannot print: {0}")]
    Print(#[from] std::io::Error),
    /// No record was written.
    #[error("the call left no record under {0}")]
    NoRecord(PathBuf),
    /// The agent did not understand the caller, or did not say goodbye.
    #[error(
        "the conversation went wrong: the caller said {said:?}, the agent understood {understood:?}, and the call's \
         end was {ended:?}; a busy machine loses sound, so try again when it is idle"
    )]
    Misunderstood {
        /// The caller's sentences.
        said: &'static [&'static str],
        /// What became of them.
        understood: Vec<String>,
        /// What ended the call.
        ended: HangupReason,
    },
}

/// Runs the demonstration, then serves until it is told to stop, or stops at once with `exit`.
///
/// # Errors
/// [`DemoError`].
pub async fn run(args: &cli::Demo) -> Result<(), DemoError> {
    let mut config = config(args);
    if !config.playbook_path.join(PLAYBOOK).is_file() {
        move_out(&mut config).map_err(DemoError::Folder)?;
    }
    let key = config.auth.key_file.clone();
    let cdr = config.callrecord.as_ref().map(|table| table.root.clone()).unwrap_or_default();
    let mut printer = Printer::new();
    let server = start(config, args).await?;
    printer.title("active-call is up; a caller phones it now")?;
    let (record, path) = converse(&server, &mut printer, &cdr).await?;
    printer.files(&record, &path)?;
    let judged = judge(&record);
    if !args.exit {
        if let Err(wrong) = &judged {
            printer.title(&wrong.to_string())?;
        }
        printer.addresses(server.sip_addr(), server.http_addr(), &key)?;
        crate::stopped().await;
        printer.title("stopping")?;
    }
    server.stop().await;
    if args.exit { judged } else { Ok(()) }
}

/// Whether each sentence was understood, and the agent ended the call.
fn judge(record: &CallRecord) -> Result<(), DemoError> {
    let caller = record.transcript.iter().filter(|line| line.speaker == "caller");
    let understood: Vec<String> = caller.map(|line| line.text.clone()).collect();
    if understood == QUESTIONS && record.hangup_reason == Some(HangupReason::System) {
        return Ok(());
    }
    let ended = record.hangup_reason.clone().unwrap_or(HangupReason::Failed);
    Err(DemoError::Misunderstood { said: QUESTIONS, understood, ended })
}

fn config(args: &cli::Demo) -> Config {
    let mut config = Config::default();
    let flags = cli::Serve {
        http: args.http,
        sip: args.sip,
        handler: Some(cli::Handler::Playbook(PLAYBOOK.into())),
        ..cli::Serve::default()
    };
    flags.apply(&mut config);
    config.callrecord = Some(crate::config::RecordTable::local());
    config.recording.enabled = true;
    config.recording.auto_start = true;
    // The recognizer hears a caller better in wide band than in the narrow band that trunks prefer.
    config.codecs = CODECS.to_vec();
    config
}

/// Outside of the repository: the playbook and what is left of the call lie in a folder of their own, which stays, and
/// nothing is written where the command was called.
fn move_out(config: &mut Config) -> std::io::Result<()> {
    let folder = tempfile::Builder::new().prefix("active-call-demo-").tempdir()?.keep();
    let within = |name: &str| folder.join(name);
    config.playbook_path = within("playbook");
    std::fs::create_dir(&config.playbook_path)?;
    std::fs::write(config.playbook_path.join(PLAYBOOK), BUILT_IN)?;
    config.media_roots = vec![folder.clone()];
    config.auth.key_file = within("active-call.key");
    config.spool_path = within("spool");
    config.media_cache_path = within("mediacache");
    config.recording.path = within("recorders");
    if let Some(table) = &mut config.callrecord {
        table.root = within("cdr");
        table.spool = within("spool/records");
        table.database = Database::File(within("records.db"));
        table.database_spool = within("spool/database");
    }
    Ok(())
}

/// Starts the server; where an address that nobody asked for is taken, on a free port instead.
async fn start(mut config: Config, args: &cli::Demo) -> Result<Server, DemoError> {
    use crate::server::StartError;
    loop {
        match Server::start(config.clone()).await {
            Err(StartError::Http(..)) if args.http.is_none() && config.http_addr.port() != 0 => {
                config.http_addr.set_port(0);
            }
            Err(StartError::Sip(..)) if args.sip.is_none() && config.udp_port != 0 => config.udp_port = 0,
            other => return Ok(other?),
        }
    }
}

/// The conversation, printed as it happens. Gives the call's record, and where it lies.
async fn converse(
    server: &Server,
    printer: &mut Printer,
    cdr: &Path,
) -> Result<(CallRecord, PathBuf), DemoError> {
    let mut questions = Vec::new();
    for text in QUESTIONS {
        questions.push((*text, voice::speech(text, CALLER_VOICE).await?));
    }
    let phone = Phone::open().await?;
    let port = server.sip_addr().port();
    let mut line = phone.dial(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), "demo").await?;
    let (teller, mut events) = mpsc::channel(EVENTS);
    let call = server.app().calls.all().into_iter().next();
    let id = call.as_ref().map(|call| call.id().to_owned()).unwrap_or_default();
    if let Some(call) = &call {
        // A call that is over already shows in what the caller hears.
        let _ = call.send(ToCall::Observe(Observer { events: teller, after: 0 })).await;
    }
    printer.title("the call is answered")?;
    let caller = talk(&mut line, &questions);
    let mut caller = std::pin::pin!(caller);
    let mut heard = None;
    loop {
        tokio::select! {
            biased;
            event = events.recv() => match event {
                Some(told) => printer.event(&told.event)?,
                None => break,
            },
            done = &mut caller, if heard.is_none() => {
                heard = Some(done?);
            }
        }
    }
    let heard = match heard {
        Some(heard) => heard,
        None => caller.await?,
    };
    printer.waits(&heard)?;
    phone.close().await;
    find_record(cdr, &id).await.ok_or_else(|| DemoError::NoRecord(cdr.to_owned()))
}

/// What the caller does: hears the greeting, asks, hears each answer out. Gives how long each was waited for.
async fn talk(line: &mut Line, questions: &[(&str, Arc<[i16]>)]) -> Result<Vec<Duration>, PhoneError> {
    let mut waits = Vec::new();
    line.hear_out().await?;
    for (_, sound) in questions {
        line.say(sound).await?;
        match line.hear_out().await? {
            Heard::Answer { after } => waits.push(after),
            Heard::Nothing => {}
            Heard::HungUp => break,
        }
    }
    line.wait_for_end().await;
    Ok(waits)
}

/// The record of call `id` and its file, which is written when the call is over.
async fn find_record(root: &Path, id: &str) -> Option<(CallRecord, PathBuf)> {
    let mut patience = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..50 {
        patience.tick().await;
        for file in json_files(root) {
            let record =
                std::fs::read(&file).ok().and_then(|text| serde_json::from_slice::<CallRecord>(&text).ok());
            if let Some(record) = record.filter(|record| record.call_id == id) {
                return Some((record, file));
            }
        }
    }
    None
}

/// Records lie in one folder a day.
fn json_files(root: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let list = std::fs::read_dir(folder).into_iter().flatten().flatten();
        list.map(|entry| entry.path()).collect()
    };
    let days = entries(root).into_iter().filter(|path| path.is_dir());
    let files = days.flat_map(|day| entries(&day));
    files.filter(|path| path.extension().is_some_and(|ending| ending == "json")).collect()
}

/// Whether an event is worth a line.
pub(crate) fn shown(event: &Event) -> bool {
    matches!(
        event,
        Event::AsrDelta(_)
            | Event::AsrFinal(_)
            | Event::AddHistory { .. }
            | Event::Dtmf { .. }
            | Event::Interruption { .. }
            | Event::Error { .. }
            | Event::Metrics { .. }
            | Event::Hangup(_)
    )
}
