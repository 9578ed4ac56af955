//! Programs that others wrote, run with a deadline. `scripts/setup test` installs them.

use std::ffi::OsStr;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Output, Stdio};

use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::rig::PATIENCE;

/// Runs a program to its end, which has to be a good one.
pub(crate) async fn run(program: &str, arguments: &[impl AsRef<OsStr>], folder: &Path) -> Output {
    let child = start(program, arguments, folder);
    let done = timeout(PATIENCE, child.wait_with_output()).await;
    let output = done.unwrap_or_else(|_| panic!("{program} does not end")).unwrap();
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program}: {}\n{told}", output.status);
    output
}

/// Whether `scripts/setup test` could install a program that Debian does not have.
pub(crate) fn has_tool(program: &str) -> bool {
    tools().join(program).exists()
}

fn tools() -> std::path::PathBuf {
    std::env::home_dir().unwrap_or_default().join(".cache/active-call/test-tools/bin")
}

/// Starts a program that is killed when its handle is dropped.
pub(crate) fn start(program: &str, arguments: &[impl AsRef<OsStr>], folder: &Path) -> Child {
    spawn(program, command(program, arguments, folder).stdin(Stdio::null()).stderr(Stdio::piped()))
}

/// The same for one that takes commands on its standard input, and keeps files of its own in the folder.
pub(crate) fn start_shell(program: &str, arguments: &[impl AsRef<OsStr>], folder: &Path) -> Child {
    let mut command = command(program, arguments, folder);
    spawn(program, command.stdin(Stdio::piped()).stderr(Stdio::null()).env("HOME", folder))
}

fn command(program: &str, arguments: &[impl AsRef<OsStr>], folder: &Path) -> Command {
    let own = tools().join(program);
    let mut command = Command::new(if own.exists() { own.as_path() } else { Path::new(program) });
    command.args(arguments).current_dir(folder).stdout(Stdio::piped()).kill_on_drop(true);
    command
}

fn spawn(program: &str, command: &mut Command) -> Child {
    command.spawn().unwrap_or_else(|error| panic!("{program}: {error}; scripts/setup test installs it"))
}

/// What SIPp is told to play a scenario of `tests/tools` once, on these ports for SIP and RTP; more may follow.
pub(crate) fn sipp(scenario: &str, [sip, media]: [u16; 2]) -> Vec<String> {
    let scenario = format!("{}/tests/tools/{scenario}", env!("CARGO_MANIFEST_DIR"));
    let (sip, media) = (sip.to_string(), media.to_string());
    let own = ["-i", "127.0.0.1", "-p", &sip, "-mi", "127.0.0.1", "-mp", &media];
    let once = ["-sf", &scenario, "-m", "1", "-timeout", "18", "-nostdin"];
    once.into_iter().chain(own).map(str::to_owned).collect()
}

/// Even ports that are free for UDP and TCP, with the three above each: beyond those that our servers begin with, and
/// below those that the system hands out. No other test gets them while this process lives.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let mut next = 24_000 + rand::random::<u16>() % 1_900 * 4;
    std::array::from_fn(|_| {
        loop {
            next = if next > 32_000 { 24_000 } else { next + 4 };
            let free = |port| {
                UdpSocket::bind(("127.0.0.1", port)).is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok()
            };
            if reserve(next) && (next..next + 4).all(free) {
                return next;
            }
        }
    })
}

/// Programs bind their ports a while after they are chosen, so tests that run at once agree on them by locked files.
fn reserve(port: u16) -> bool {
    let folder = std::env::temp_dir().join("active-call-test-ports");
    std::fs::create_dir_all(&folder).unwrap();
    // The folder may be another user's; then chance has to do.
    let Ok(file) = std::fs::File::create(folder.join(port.to_string())) else { return true };
    let mine = file.try_lock().is_ok();
    // The lock lasts as long as the process.
    std::mem::forget(file);
    mine
}
