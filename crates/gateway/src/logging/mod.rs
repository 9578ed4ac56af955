//! The log: one line for each thing that happened, to standard output or a file.
//!
//! Lines go through a `queue`, so that nobody who logs ever waits.

pub(crate) mod level;
mod queue;

use std::fs::OpenOptions;
use std::io;

use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use self::queue::Flush;
use self::queue::Queue;
use crate::config::Config;

/// Starts the log that `config` describes. `rust_log` is the environment's, which counts when the configuration
/// says nothing; an empty one says nothing. What is given has to be kept as long as something is logged.
///
/// # Errors
/// When the file cannot be opened or the level is none.
pub fn start(config: &Config, rust_log: Option<String>) -> io::Result<Flush> {
    // The one in the configuration was looked at when that was read, and its line was told.
    let rust_log = rust_log.filter(|words| !words.trim().is_empty());
    let named = [("log_level", config.log_level.clone()), ("RUST_LOG", rust_log)];
    let (name, words) = named
        .into_iter()
        .find_map(|(name, words)| Some((name, words?)))
        .unwrap_or_else(|| ("log_level", level::REST.into()));
    let filter = level::filter(&words).map_err(|level::NoLevel { message, help }| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{name} {message}; {help}"))
    })?;
    let ((queue, flush), colours) = match &config.log_file {
        None => (Queue::start(io::stdout())?, io::IsTerminal::is_terminal(&io::stdout())),
        Some(path) => {
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                std::fs::create_dir_all(folder)?;
            }
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            (Queue::start(file)?, false)
        }
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(queue).with_ansi(colours).with_target(false);
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(filter_fn(level::permitted))
        .try_init()
        .map_err(|e| io::Error::other(e.to_string()))?;
    Ok(flush)
}
