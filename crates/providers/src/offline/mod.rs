//! Speech programs of this machine, run as subprocesses.
//!
//! None is run through a shell, every one is killed when its future is dropped, and tokio collects what was
//! killed, so that no zombie stays. A program that is missing is an error that names its Debian package.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use crate::ProviderError;
use crate::options::environment;

pub mod espeak;
pub mod flite;
pub mod pocketsphinx;
mod seam;
mod speech;
mod wav;

/// Where `program` is. Errors: it is in no folder of `PATH`.
fn find(program: &'static str, package: &'static str) -> Result<PathBuf, ProviderError> {
    let path = environment("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .ok_or_else(|| ProviderError::MissingProgram { program: program.to_owned(), package })
}

/// Starts `command` with pipes for input, output and errors.
fn start(command: &mut Command) -> Result<Child, ProviderError> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| ProviderError::Connect(format!("the program does not start: {error}")))
}

/// Waits for the end of `child`; a failure carries the first line it complained with.
async fn ended(mut child: Child, name: &str) -> Result<(), ProviderError> {
    let mut complaint = Vec::new();
    if let Some(errors) = child.stderr.take() {
        // What it writes to a pipe that nobody reads is only its complaint.
        let _ = errors.take(2048).read_to_end(&mut complaint).await;
    }
    let status = child.wait().await.map_err(|error| failed(name, &error.to_string()))?;
    if status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&complaint);
    let line: String =
        complaint.lines().find(|line| !line.trim().is_empty()).unwrap_or("").chars().take(200).collect();
    Err(failed(name, &format!("{status} {line}")))
}

fn failed(name: &str, why: &str) -> ProviderError {
    ProviderError::Protocol(format!("{name} failed: {}", why.trim()))
}
