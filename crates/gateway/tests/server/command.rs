//! The `active-call` command as a process: its exit codes, its signals, and what a crash leaves.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

use crate::rig::{Client, PATIENCE, records_under, until};

/// Bytes of a second of sound that a client gets.
const SECOND: f64 = 32_000.0;
/// What a crash may cost by design, in seconds of sound: a piece, and the time until it is looked for.
const LOST_S: f64 = 1.0;
/// The same where a disk, a thread and this test have other things to do too.
const LOST_LATE_S: f64 = 1.8;
/// Pieces of a recording whose coming is watched.
const PIECES: usize = 5;

pub(crate) const ACTIVE_CALL: &str = env!("CARGO_BIN_EXE_active-call");

/// Free ports of loopback, little time to stop, records as files.
pub(crate) const CONF: &str = "http_addr = \"127.0.0.1:0\"\naddr = \"127.0.0.1\"\nudp_port = 0\nshutdown_timeout = 1\n\
                    media_threads = 1\n[callrecord]\ntype = \"local\"\n";

/// A running command, killed when the test ends.
pub(crate) struct Running {
    pub(crate) child: Child,
    /// The log up to the line that says it is ready, and what comes after it.
    pub(crate) start: Vec<String>,
    pub(crate) lines: Lines<BufReader<ChildStdout>>,
    pub(crate) http: String,
    pub(crate) sip: SocketAddr,
}

impl Running {
    pub(crate) async fn start(folder: &Path) -> Running {
        Self::start_with(folder, "").await
    }

    /// With `tables` at the end of its configuration.
    pub(crate) async fn start_with(folder: &Path, tables: &str) -> Running {
        Self::run(tokio::process::Command::new(ACTIVE_CALL), folder, tables).await
    }

    /// A server none of whose files may become larger than 256 KiB.
    async fn start_on_a_small_disk(folder: &Path) -> Running {
        let mut shell = tokio::process::Command::new("bash");
        // Without its signal, the limit is an error of the write, as a full disk is.
        shell.args(["-c", "trap '' XFSZ; ulimit -f 256; exec \"$0\"", ACTIVE_CALL]);
        Self::run(shell, folder, "").await
    }

    /// With a configuration of this text and these flags.
    pub(crate) async fn start_as_said(folder: &Path, text: &str, flags: &[&str]) -> Running {
        let mut command = tokio::process::Command::new(ACTIVE_CALL);
        command.args(flags).env("RUST_LOG", "info");
        Self::launch(command, folder, text).await
    }

    pub(crate) async fn run(mut command: tokio::process::Command, folder: &Path, tables: &str) -> Running {
        command.env("RUST_LOG", "info");
        Self::run_as_told(command, folder, tables).await
    }

    /// With the environment of `command`.
    pub(crate) async fn run_as_told(
        command: tokio::process::Command,
        folder: &Path,
        tables: &str,
    ) -> Running {
        Self::launch(command, folder, &format!("{CONF}{tables}")).await
    }

    async fn launch(mut command: tokio::process::Command, folder: &Path, text: &str) -> Running {
        std::fs::create_dir_all(folder.join("config")).unwrap();
        std::fs::write(folder.join("active-call.toml"), text).unwrap();
        let mut child = command
            .current_dir(folder)
            .env("NO_COLOR", "1")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut start = Vec::new();
        let ready = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("the log ends before it is ready");
                start.push(line.clone());
                if let Some((_, rest)) = line.split_once("ready http=") {
                    let (http, rest) = rest.split_once(" sip=").unwrap();
                    let sip = rest.split_whitespace().next().unwrap().parse().unwrap();
                    return (http.to_owned(), sip);
                }
            }
        };
        let (http, sip) = timeout(PATIENCE, ready).await.unwrap();
        Running { child, start, lines, http, sip }
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// A recorded call with a tone in it.
    pub(crate) async fn recorded_call(&self, folder: &Path, id: &str) -> Client {
        let tone = testkit::cast::tone(400, Duration::from_secs(30));
        let mut bytes = audio::wav::header(16_000, 1, tone.len() as u64 * 2).to_vec();
        bytes.extend(tone.iter().flat_map(|sample| sample.to_le_bytes()));
        std::fs::write(folder.join("config/tone.wav"), bytes).unwrap();
        let mut client = Client::connect(&format!("ws://{}/call?id={id}", self.http)).await.unwrap();
        client.send(json!({"command": "invite", "option": {"recorder": {}}})).await;
        client.event("answer").await;
        client.send(json!({"command": "play", "url": "config/tone.wav"})).await;
        client.event("trackStart").await;
        client
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_and_sigint_say_goodbye_to_calls_and_the_exit_is_0() {
    for signal in ["-TERM", "-INT"] {
        let folder = tempfile::tempdir().unwrap();
        let mut running = Running::start(folder.path()).await;
        let mut client = running.recorded_call(folder.path(), "up").await;
        running.signal(signal);
        client.event("hangup").await;
        let status = timeout(PATIENCE, running.child.wait()).await.unwrap().unwrap();
        assert_eq!(status.code(), Some(0), "{signal}");
        let records = records_under(&folder.path().join("config/cdr"));
        let ends: Vec<_> =
            records.iter().map(|record| record.hangup_reason.as_ref().unwrap().wire()).collect();
        assert_eq!(ends, ["serverUnavailable"], "{signal}");
        while let Some(line) = running.lines.next_line().await.unwrap() {
            assert!(!line.contains("ERROR"), "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once_and_no_record_is_lost() {
    for signals in [["-INT", "-INT"], ["-TERM", "-INT"]] {
        let folder = tempfile::tempdir().unwrap();
        // Calls would have ten minutes to end by themselves.
        let text = CONF.replace("shutdown_timeout = 1", "shutdown_timeout = 600");
        let mut running = Running::start_as_said(folder.path(), &text, &[]).await;
        let mut client = running.recorded_call(folder.path(), "up").await;
        let mut other = running.recorded_call(folder.path(), "done").await;
        running.signal(signals[0]);
        let health = format!("http://{}/health", running.http);
        until_draining(&health).await;
        let length = client.sound.len() + SECOND as usize / 2;
        client.heard(length).await;
        other.send(json!({"command": "hangup"})).await;
        other.event("hangup").await;
        running.signal(signals[1]);
        assert_eq!(client.event("hangup").await["reason"], "serverUnavailable");
        let status = timeout(PATIENCE, running.child.wait()).await.expect("it ends at once").unwrap();
        assert_eq!(status.code(), Some(1), "{signals:?}");
        let _again = Running::start(folder.path()).await;
        let records = records_under(&folder.path().join("config/cdr"));
        // A record that may not have been written yet is made up for at the next start.
        let mut ids: Vec<_> = records.iter().map(|record| record.call_id.as_str()).collect();
        ids.sort_unstable();
        assert_eq!(ids, ["done", "up"], "{signals:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_that_come_together_are_one() {
    let folder = tempfile::tempdir().unwrap();
    let text = CONF.replace("shutdown_timeout = 1", "shutdown_timeout = 600");
    let mut running = Running::start_as_said(folder.path(), &text, &[]).await;
    let mut client = running.recorded_call(folder.path(), "up").await;
    // One signal to the process and one to its group; the kernel joins some of them by itself.
    let id = running.child.id().unwrap();
    let twice = format!("kill -TERM {id}; kill -INT {id}");
    assert!(Command::new("bash").args(["-c", &twice]).status().unwrap().success());
    until_draining(&format!("http://{}/health", running.http)).await;
    client.send(json!({"command": "hangup"})).await;
    assert_eq!(client.event("hangup").await["reason"], "system");
    let status = timeout(PATIENCE, running.child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
}

/// Waits until a server says that it is being stopped.
pub(crate) async fn until_draining(health: &str) {
    let draining = async { while reqwest::get(health).await.unwrap().status() != 503 {} };
    timeout(PATIENCE, draining).await.expect("the server is being stopped");
}

/// How much a recording holds, in seconds, from the first sound of the agent on. It opens at any moment.
fn kept_of_the_agent(recording: &Path) -> f64 {
    let Ok(bytes) = std::fs::read(recording) else { return 0.0 };
    let wav = audio::wav::Wav::parse(&bytes).unwrap();
    let pairs = wav.samples.as_chunks::<2>().0;
    let begin = pairs.iter().position(|[_, agent]| agent.unsigned_abs() > 100).unwrap_or(pairs.len());
    (pairs.len() - begin) as f64 / f64::from(wav.rate)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_leaves_a_recording_that_opens_and_a_record_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::start(folder.path()).await;
    let mut client = running.recorded_call(folder.path(), "cut").await;
    let recording = folder.path().join("config/recorders/cut.wav");
    client.send(json!({"command": "history", "speaker": "assistant", "text": "Good day."})).await;
    client.event("addHistory").await;
    // What a crash would cost, just before each piece is written: then it would cost most.
    let (mut most, mut lacking, mut left) = (Vec::new(), 0.0, 0.0);
    while most.len() < PIECES {
        client.heard(client.sound.len() + 1).await;
        let (heard, kept) = (client.sound.len() as f64 / SECOND, kept_of_the_agent(&recording));
        if kept > left {
            most.push(lacking);
            left = kept;
        } else {
            lacking = heard - left;
        }
    }
    println!("just before a piece is written the file lacks {most:.2?} s");
    // The machine can only make it more.
    let least = most.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(least < LOST_S && most.iter().all(|lost| *lost < LOST_LATE_S), "{most:?}");
    running.signal("-KILL");
    running.child.wait().await.unwrap();
    let killed = chrono::DateTime::parse_from_rfc3339(&active_call::app::now()).unwrap();
    let (kept, heard) = (kept_of_the_agent(&recording), client.sound.len() as f64 / SECOND);
    assert!(kept >= left && kept > heard - LOST_LATE_S, "{kept} s are left of {heard} s that were heard");
    assert!(records_under(&folder.path().join("config/cdr")).is_empty());
    let again = Running::start(folder.path()).await;
    let listed =
        reqwest::get(format!("http://{}/api/records", again.http)).await.unwrap().text().await.unwrap();
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["status"], "aborted", "{listed}");
    let asked = |status| reqwest::get(format!("http://{}/api/records?status={status}", again.http));
    let count = |answer: reqwest::Response| answer.headers()["x-total-count"].to_str().unwrap().to_owned();
    assert_eq!(count(asked("aborted").await.unwrap()), "1");
    assert_eq!(count(asked("completed").await.unwrap()), "0");
    let records = records_under(&folder.path().join("config/cdr"));
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].transcript[0].text, "Good day.", "by its event log");
    assert!(records[0].extras.as_ref().unwrap().contains_key("session_id"), "{:?}", records[0].extras);
    let times = [Some(&records[0].start_time), records[0].answer_time.as_ref(), Some(&records[0].end_time)];
    assert!(times.iter().flatten().all(|time| time.ends_with('Z')), "{times:?}");
    assert_eq!(records[0].call_id, "cut");
    assert_eq!(records[0].hangup_reason.as_ref().unwrap().wire(), "aborted");
    assert_eq!(records[0].status_code, 200, "it had been answered");
    assert!(records[0].answer_time.is_some() && records[0].option.is_some());
    let [recorded] = &records[0].recorder[..] else { panic!("{:?}", records[0].recorder) };
    assert_eq!(folder.path().join(&recorded.path).canonicalize().unwrap(), recording.canonicalize().unwrap());
    assert_eq!(recorded.size, std::fs::metadata(&recording).unwrap().len());
    let ended = chrono::DateTime::parse_from_rfc3339(&records[0].end_time).unwrap();
    assert!(ended < killed, "it ended when it was cut off, and not when the server was started again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_ends_the_recording_with_an_error_and_not_the_call() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start_on_a_small_disk(folder.path()).await;
    let mut client = running.recorded_call(folder.path(), "full").await;
    let error = client.event("error").await;
    assert_eq!(error["sender"], "media");
    assert!(error["error"].as_str().unwrap().starts_with("recording failed: File too large"), "{error}");
    client.send(json!({"command": "history", "speaker": "user", "text": "still here"})).await;
    client.event("addHistory").await;
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    assert_eq!(client.seen.iter().filter(|event| *event == "error").count(), 1);
    let cdr = folder.path().join("config/cdr");
    let record = until("a record", || records_under(&cdr).pop()).await;
    let [recording] = record.recorder.as_slice() else { panic!("{:?}", record.recorder) };
    assert!(recording.size > 0 && recording.extra.as_ref().unwrap().contains_key("error"), "{recording:?}");
    let kept = audio::wav::Wav::parse(&std::fs::read(folder.path().join(&recording.path)).unwrap()).unwrap();
    assert!(kept.samples.len() / 2 >= 16_000, "what was written before opens");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_written_is_told_and_the_call_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start_with(folder.path(), "[recording]\npath = \"/proc/recorders\"\n").await;
    let mut client = running.recorded_call(folder.path(), "nowhere").await;
    assert!(
        client.events.iter().any(|event| event["error"]
            .as_str()
            .is_some_and(|told| told.contains("recording failed: /proc"))),
        "{:?}",
        client.events
    );
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    let cdr = folder.path().join("config/cdr");
    let record = until("a record", || records_under(&cdr).pop()).await;
    let [recording] = record.recorder.as_slice() else { panic!("{:?}", record.recorder) };
    let told = recording.extra.as_ref().unwrap()["error"].as_str().unwrap();
    assert!(told.starts_with("/proc") && recording.size == 0 && recording.path.is_empty(), "{recording:?}");
    assert_eq!(record.dump_event_file, None, "there is none");
}

#[test]
fn mistakes_exit_with_1_and_say_where() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.toml"), "\nudp_port = \"x\"\n").unwrap();
    std::fs::write(folder.path().join("odd.toml"), "udp_prot = 1\n").unwrap();
    for (arguments, part) in [
        (&["--conf", "bad.toml"][..], "bad.toml:2:12"),
        (&["--conf", "missing.toml"], "missing.toml"),
        (&["check", "bad.toml"], "bad.toml:2:12"),
        (&["check", "odd.toml"], "odd.toml:1:1"),
        (&["--codecs", "telephone_event"], "codecs: holds no codec"),
        (&["--external-ip", "0.0.0.0"], "external_ip: no peer"),
        (&["--download-models", "all"], "not built"),
    ] {
        let done = Command::new(ACTIVE_CALL).args(arguments).current_dir(folder.path()).output().unwrap();
        let told =
            format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert_eq!(done.status.code(), Some(1), "{arguments:?}: {told}");
        assert!(told.contains(part), "{arguments:?}: {told}");
    }
}

#[test]
fn a_level_of_the_log_that_is_none_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("log.toml"), "udp_port = 0\nlog_level = \"debgu\"\n").unwrap();
    let mut checked = Command::new(ACTIVE_CALL);
    checked.args(["check", "log.toml"]);
    let mut started = Command::new(ACTIVE_CALL);
    started.args(["--conf", "log.toml"]).env("NO_COLOR", "1");
    let mut misled = Command::new(ACTIVE_CALL);
    misled.env("RUST_LOG", "WARNING");
    for (command, parts) in [
        (&mut checked, ["log.toml:2:1", "did you mean \"debug\"?"]),
        (&mut started, ["log.toml:2:1", "did you mean \"debug\"?"]),
        (&mut misled, ["RUST_LOG", "did you mean \"warn\"?"]),
    ] {
        let done = command.current_dir(folder.path()).output().unwrap();
        let told =
            format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert_eq!(done.status.code(), Some(1), "{told}");
        assert!(parts.iter().all(|part| told.contains(part)), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_level_of_the_log_shows_what_clients_send() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(ACTIVE_CALL);
    command.env("RUST_LOG", "trace");
    let mut running = Running::run_as_told(command, folder.path(), "").await;
    let mut client = Client::connect(&format!("ws://{}/call", running.http)).await.unwrap();
    let sip = json!({"password": "hunter2", "headers": {"Authorization": "hunter2"}});
    let asr = json!({"provider": "hunter", "secretKey": "hunter2", "extra": {"token": "hunter2"}});
    client.send(json!({"command": "invite", "option": {"asr": asr, "sip": sip, "colour": "red"}})).await;
    client.event("answer").await;
    client.send(json!({"command": "play", "url": "http://u:hunter2@127.0.0.1:9/a.wav?token=hunter2"})).await;
    client.event("error").await;
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    running.signal("-TERM");
    let mut log = String::new();
    while let Some(line) = timeout(PATIENCE, running.lines.next_line()).await.unwrap().unwrap() {
        log.push_str(&line);
        log.push('\n');
    }
    assert!(!log.contains("hunter2"), "{log}");
    assert!(log.contains("DEBUG") && log.contains("key=\"option.colour\""), "{log}");
    let ends = log.lines().find(|line| line.contains("call ends")).unwrap();
    assert!(ends.contains("call=\"") && ends.contains("reason=\"system\""), "{ends}");
}

#[test]
fn a_group_of_packages_that_is_none_is_refused() {
    let setup = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/setup");
    let done = Command::new("bash").args([setup, "tset"]).output().unwrap();
    assert_eq!(done.status.code(), Some(2), "{}", String::from_utf8_lossy(&done.stdout));
    assert!(String::from_utf8_lossy(&done.stderr).contains("tset"));
}

#[test]
fn the_version_is_told() {
    let done = Command::new(ACTIVE_CALL).arg("--version").output().unwrap();
    assert!(String::from_utf8_lossy(&done.stdout).contains(env!("CARGO_PKG_VERSION")));
}
