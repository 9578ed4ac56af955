//! The log: one line for each thing that happened, to standard output or a file.

use std::fs::OpenOptions;
use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::config::Config;

/// Starts the log that `config` describes. `rust_log` is the environment's, which counts when the configuration
/// says nothing.
///
/// # Errors
/// When the file cannot be opened or the level is none.
pub fn start(config: &Config, rust_log: Option<String>) -> io::Result<()> {
    let directives = config.log_level.clone().or(rust_log).unwrap_or_else(|| "info".into());
    let filter = EnvFilter::try_new(&directives)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, format!("log_level {directives:?}: {e}")))?;
    let (writer, colours) = match &config.log_file {
        None => (BoxMakeWriter::new(io::stdout), io::IsTerminal::is_terminal(&io::stdout())),
        Some(path) => {
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                std::fs::create_dir_all(folder)?;
            }
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            (BoxMakeWriter::new(std::sync::Arc::new(file)), false)
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(colours)
        .with_target(false)
        .try_init()
        .map_err(|e| io::Error::other(e.to_string()))
}
