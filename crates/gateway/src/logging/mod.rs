//! The log: one line for each thing that happened, to standard output or a file.
//!
//! Lines go through a `queue`, so that nobody who logs ever waits.

mod queue;

use std::fs::OpenOptions;
use std::io;

use tracing_subscriber::EnvFilter;

pub use self::queue::Flush;
use self::queue::Queue;
use crate::config::Config;

/// Starts the log that `config` describes. `rust_log` is the environment's, which counts when the configuration
/// says nothing. What is given has to be kept as long as something is logged.
///
/// # Errors
/// When the file cannot be opened or the level is none.
pub fn start(config: &Config, rust_log: Option<String>) -> io::Result<Flush> {
    let directives = config.log_level.clone().or(rust_log).unwrap_or_else(|| "info".into());
    let filter = EnvFilter::try_new(&directives)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, format!("log_level {directives:?}: {e}")))?;
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
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(queue)
        .with_ansi(colours)
        .with_target(false)
        .try_init()
        .map_err(|e| io::Error::other(e.to_string()))?;
    Ok(flush)
}
