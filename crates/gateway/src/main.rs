//! The `active-call` command.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use active_call::access::keys;
use active_call::check;
use active_call::cli::{Chat, Cli, Command, Demo, Explain, Key, Openapi, Serve, Test};
use active_call::config::read::{self, Loaded, process_environment};
use active_call::config::{Config, ConfigError};
use active_call::logging;
use active_call::originate;
use active_call::server::Server;
use active_call::{demo, explain, playbooks, rehearse, stopped};
use clap::Parser;
use miette::{GraphicalReportHandler, Report};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        None => serve(&cli.serve),
        Some(Command::Serve(flags)) => serve(&flags),
        Some(Command::Check(files)) => checked(&files.files),
        Some(Command::Test(flags)) => rehearsed(&flags),
        Some(Command::Chat(flags)) => chatted(&flags),
        Some(Command::Key(flags)) => key(&flags).map_err(|e| e.to_string()),
        Some(Command::Explain(flags)) => explained(&flags),
        Some(Command::Openapi(flags)) => openapi(&flags).map_err(|e| e.to_string()),
        Some(Command::Demo(flags)) => demonstrate(&flags),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // Nobody is left to be told of a closed standard error.
            let _ = writeln!(io::stderr(), "{why}");
            ExitCode::FAILURE
        }
    }
}

fn checked(files: &[PathBuf]) -> Result<(), String> {
    match check::run(files, &mut io::stdout()) {
        Ok(0) => Ok(()),
        Ok(faults) => Err(format!("{faults} found to be wrong")),
        Err(error) => Err(error.to_string()),
    }
}

fn rehearsed(flags: &Test) -> Result<(), String> {
    match rehearse::test(flags, &mut io::stdout()) {
        Ok(0) => Ok(()),
        Ok(_) => Err("not every scenario went as written".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn chatted(flags: &Chat) -> Result<(), String> {
    let config = load(flags.conf.as_deref(), read::of_any_machine)?.config;
    let playbook = playbooks::read(&flags.playbook, &config.media_roots, &process_environment)?;
    rehearse::chat(playbook, &config, &mut io::stdin().lock(), &mut io::stdout()).map(|_| ())
}

fn explained(flags: &Explain) -> Result<(), String> {
    let config = load(flags.conf.as_deref(), read::of_any_machine)?.config;
    explain::print(&config.recording.path, &flags.id, &mut io::stdout().lock())
}

/// The key is printed alone on its line, so that a script can take it.
fn key(flags: &Key) -> io::Result<()> {
    let key = keys::make();
    let mut out = io::stdout();
    writeln!(out, "{}", key.expose())?;
    writeln!(
        out,
        "\n# The key is not kept anywhere. These lines of active-call.toml let it in:\n[[auth.keys]]"
    )?;
    writeln!(out, "name = {}", toml::Value::String(flags.name.clone()))?;
    writeln!(out, "hash = \"{}\"\nscopes = [\"{}\"]", keys::hash(key.expose()), flags.scope.as_str())
}

fn openapi(flags: &Openapi) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if flags.reference {
        return write!(out, "{}", active_call::http::reference());
    }
    serde_json::to_writer_pretty(&mut out, &active_call::http::describe())?;
    writeln!(out)
}

fn demonstrate(flags: &Demo) -> Result<(), String> {
    // The conversation is what is to be seen; RUST_LOG shows more.
    let quiet = Config { log_level: None, ..Config::default() };
    let level = process_environment("RUST_LOG").unwrap_or_else(|| "warn".into());
    let _log = logging::start(&quiet, Some(level)).map_err(|e| format!("the log: {e}"))?;
    let runtime = runtime()?;
    runtime.block_on(demo::run(flags)).map_err(|e| e.to_string())
}

fn serve(flags: &Serve) -> Result<(), String> {
    if flags.list_providers {
        return list_providers().map_err(|e| e.to_string());
    }
    if let Some(missing) = flags.not_built() {
        return Err(missing.into());
    }
    let mut loaded = load(flags.conf.as_deref(), read::file)?;
    flags.apply(&mut loaded.config);
    // What flags say is looked at as what files say.
    if let Some(wrong) = check::refused(&loaded.config) {
        return Err(wrong);
    }
    let _log = logging::start(&loaded.config, process_environment("RUST_LOG"))
        .map_err(|e| format!("the log: {e}"))?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(warning) = flags.without_effect() {
        tracing::warn!("{warning}");
    }
    let runtime = runtime()?;
    runtime.block_on(run(loaded, flags.call.clone()))
}

/// Reads a configuration from its file.
type Reader = fn(&Path, read::Environment<'_>) -> Result<Loaded, Box<ConfigError>>;

/// A file that was named must be there; the one in the working folder may be.
fn load(named: Option<&Path>, reader: Reader) -> Result<Loaded, String> {
    let default = Path::new(check::DEFAULT_CONF);
    let path = match named {
        Some(path) => path,
        None if default.exists() => default,
        None => return Ok(read::defaults()),
    };
    reader(path, &process_environment).map_err(|error| {
        let mut shown = String::new();
        let report = Report::new(*error);
        match GraphicalReportHandler::new().render_report(&mut shown, report.as_ref()) {
            Ok(()) => shown,
            Err(_) => report.to_string(),
        }
    })
}

async fn run(loaded: Loaded, call: Option<String>) -> Result<(), String> {
    let server = Server::start(loaded.config).await.map_err(|e| e.to_string())?;
    tracing::info!(http = %server.http_addr(), sip = %server.sip_addr(), "ready");
    if let Some(callee) = call {
        let app = server.app().clone();
        server.app().tasks.spawn(originate::at_start(app, callee));
    }
    stopped().await;
    tracing::info!(
        "stopping: new calls are refused, those that are up may end; a second signal stops at once"
    );
    stop(server).await
}

/// Signals that come together are one: some send theirs to a process and to its group.
const TOGETHER: Duration = Duration::from_millis(300);
/// How long goodbyes may take when the server is to stop at once. They are said in a fraction of it.
const HASTE: Duration = Duration::from_secs(2);

/// Stops `server`; a second signal hangs up every call, and a third waits for nothing.
async fn stop(server: Server) -> Result<(), String> {
    let calls = server.app().calls.clone();
    let mut stopping = pin!(server.stop());
    tokio::select! {
        hung_up = &mut stopping => {
            tracing::info!(hung_up, "stopped");
            return Ok(());
        }
        () = again() => {}
    }
    // A far end that hears nothing would go on talking to nobody.
    let goodbye = async {
        // Told once, a playbook says its goodbye; told again, it does not.
        calls.hang_up().await;
        calls.hang_up().await;
        stopping.await
    };
    tokio::select! {
        _ = tokio::time::timeout(HASTE, goodbye) => {}
        () = stopped() => {}
    }
    Err("stopped at once by a second signal".into())
}

/// Waits for a further signal that is one of its own.
#[allow(clippy::disallowed_methods, reason = "signals come in real time")]
async fn again() {
    let first = Instant::now();
    loop {
        stopped().await;
        if first.elapsed() >= TOGETHER {
            return;
        }
    }
}

/// A file that is still being fetched is decoded on a thread of the blocking pool, which waits for its bytes; with the
/// usual limit of 512 slow servers would hold up the files, records and event logs of other calls.
const BLOCKING_THREADS: usize = 4096;

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().max_blocking_threads(BLOCKING_THREADS).build().map_err(|e| e.to_string())
}

fn list_providers() -> io::Result<()> {
    let mut out = io::stdout();
    rows(&mut out, "asr", providers::RECOGNIZERS)?;
    rows(&mut out, "tts", providers::SYNTHESIZERS)?;
    rows(&mut out, "llm", providers::CHAT_MODELS)?;
    rows(&mut out, "realtime", providers::REALTIMES)
}

fn rows<T: ?Sized, O>(out: &mut impl Write, kind: &str, rows: &[providers::Row<T, O>]) -> io::Result<()> {
    for row in rows {
        writeln!(out, "{kind:<9} {:<14} {}", row.name, row.about)?;
        writeln!(out, "{:24} options: {}", "", row.options.join(", "))?;
        if !row.environment.is_empty() {
            writeln!(out, "{:24} environment: {}", "", row.environment.join(", "))?;
        }
    }
    Ok(())
}
