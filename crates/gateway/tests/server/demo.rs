//! The demonstration, as the README's first command runs it: a spoken conversation that ends as it should, what is left of
//! it, and a server that goes on, or a command that ends well where that is wanted.

use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::rig::PATIENCE;

/// The conversation takes half a minute.
const WHOLE: Duration = Duration::from_secs(150);

/// A demonstration in a folder of its own, laid out like the repository, and the lines that it prints.
fn start(flags: &[&str]) -> (TempDir, Child, Lines<BufReader<ChildStdout>>) {
    let folder = tempfile::tempdir().unwrap();
    let playbooks = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/playbook");
    let playbook = folder.path().join("config/playbook");
    std::fs::create_dir_all(&playbook).unwrap();
    std::fs::copy(format!("{playbooks}/demo.md"), playbook.join("demo.md")).unwrap();
    let (server, lines) = start_in(&folder, flags);
    (folder, server, lines)
}

fn start_in(folder: &TempDir, flags: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let temporary = folder.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_active-call"));
    command.args(["demo", "--http", "127.0.0.1:0", "--sip", "127.0.0.1:0"]).args(flags);
    command.current_dir(folder.path()).stdout(Stdio::piped()).kill_on_drop(true);
    command.env("TMPDIR", temporary);
    let mut server = command.spawn().unwrap();
    let lines = BufReader::new(server.stdout.take().unwrap()).lines();
    (server, lines)
}

/// The conversation is printed as it went, and the files that it leaves are where it says.
fn is_told_whole(folder: &TempDir, told: &[String]) {
    let all = told.join("\n");
    for part in [
        "caller     no that is everything",
        "agent      Thank you for calling Riverside Library. Goodbye.",
        "  caller …   ",
        " ms after the caller's last word",
    ] {
        assert!(all.contains(part), "no {part:?} in\n{all}");
    }
    for kind in ["  recording    ", "  event log    ", "  call record  "] {
        let path =
            told.iter().find_map(|line| line.strip_prefix(kind)).unwrap_or_else(|| panic!("{kind}: {all}"));
        let path = path.split(" (").next().unwrap();
        assert!(folder.path().join(path).is_file(), "{kind}{path:?} is not there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sentence_of_the_caller_is_understood_and_the_agent_says_goodbye() {
    let (folder, mut server, mut lines) = start(&[]);
    let mut told = Vec::new();
    let health = loop {
        let line = timeout(WHOLE, lines.next_line()).await.expect("the demonstration goes on").unwrap();
        let line = line.unwrap_or_else(|| panic!("it ends after\n{}", told.join("\n")));
        let health = line.split_whitespace().find(|word| word.ends_with("/health")).map(str::to_owned);
        told.push(line);
        if let Some(health) = health {
            break health;
        }
    };
    is_told_whole(&folder, &told);
    assert!(told.iter().any(|line| line.contains("the server goes on")), "{told:#?}");
    assert_eq!(reqwest::get(&health).await.unwrap().status(), 200, "{health}");
    let id = server.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    assert!(timeout(PATIENCE, server.wait()).await.unwrap().unwrap().success());
}

/// Where there is no repository it brings its own playbook, and writes nothing into the folder that it runs in.
#[tokio::test(flavor = "multi_thread")]
async fn a_demonstration_anywhere_that_is_to_end_ends_with_0_behind_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let (mut server, mut lines) = start_in(&folder, &["--exit"]);
    let mut told = Vec::new();
    while let Some(line) =
        timeout(WHOLE, lines.next_line()).await.expect("the demonstration goes on").unwrap()
    {
        told.push(line);
    }
    is_told_whole(&folder, &told);
    assert!(!told.iter().any(|line| line.contains("the server goes on")), "{told:#?}");
    assert_eq!(timeout(PATIENCE, server.wait()).await.unwrap().unwrap().code(), Some(0));
    let entries = std::fs::read_dir(folder.path()).unwrap().flatten();
    assert_eq!(entries.map(|entry| entry.file_name()).collect::<Vec<_>>(), ["tmp"]);
}
