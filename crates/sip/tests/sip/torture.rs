//! The messages of RFC 4475, if a folder with them lies beside the project. `rfc4475.tsv` judges each
//! answer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::desk::{Desk, status};

const TABLE: &str = include_str!("rfc4475.tsv");

#[expect(
    clippy::print_stderr,
    reason = "who reads the output of a test is to know what it has not looked at"
)]
fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/torture");
    let found = folder.join("wsinv.dat").is_file();
    if !found {
        eprintln!("left out: the messages of RFC 4475 are not in {}", folder.display());
    }
    found.then_some(folder)
}

/// Whether a status (0 for silence) is among the accepted ones: a comma list of codes with `x` for
/// any digit, `!` and a code that is not accepted after all, `drop` for silence.
fn accepted(rule: &str, status: u16) -> bool {
    let code = status.to_string();
    let matches = |pattern: &str| {
        pattern.len() == code.len() && pattern.chars().zip(code.chars()).all(|(p, c)| p == 'x' || p == c)
    };
    rule.split(',').any(|item| match item.split_once('!') {
        _ if item == "drop" => status == 0,
        // The RFC lets an element read the message in a liberal way and act on it.
        _ if item == "lenient" => status != 0,
        Some((pattern, except)) => matches(pattern) && !matches(except),
        None => matches(item),
    })
}

/// Answers with what a server would say next to an INVITE that was let in.
fn answer(desk: &mut Desk, bytes: &[u8]) -> u16 {
    let sent = desk.hear(bytes);
    match status(&sent) {
        0 if !desk.events.is_empty() => {
            let dialog = desk.dialog();
            desk.endpoint.answer(desk.now, dialog, crate::desk::SDP, &[]).unwrap();
            status(&desk.sent().into_iter().map(|(_, text)| text).collect::<Vec<_>>())
        }
        status => status,
    }
}

#[test]
fn rfc_4475_messages_are_judged_by_the_table() {
    let Some(folder) = folder() else { return };
    let mut wrong = Vec::new();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [name, _, kind, rule] = columns[..] else { panic!("{line}") };
        let message = std::fs::read(folder.join(format!("{name}.dat"))).unwrap();
        let mut desk = Desk::new();
        let got = answer(&mut desk, &message);
        let allowed = if kind == "response" { got == 0 } else { accepted(rule, got) };
        if !allowed {
            wrong.push(format!("{name}: {got} is not {rule}"));
        }
        desk.wait(Duration::from_secs(300));
        assert_eq!(desk.endpoint.counters().dialogs, 0, "{name}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn further_hostile_messages_leave_the_endpoint_as_it_was() {
    let Some(folder) = folder() else { return };
    let mut desk = Desk::new();
    for file in std::fs::read_dir(folder.join("extra")).unwrap() {
        let message = std::fs::read(file.unwrap().path()).unwrap();
        desk.hear(&message);
        desk.events.clear();
    }
    desk.wait(Duration::from_secs(300));
    let counters = desk.endpoint.counters();
    assert_eq!((counters.dialogs, counters.transactions), (0, 0));
    desk.call();
}

#[cfg(feature = "tokio")]
mod over_tcp {
    use std::net::SocketAddr;
    use std::time::Duration;

    use sip::{Config, Driver, Streams};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::{TABLE, accepted, folder};

    /// Status of the first response that a fresh driver gives; 0 for silence.
    async fn status(message: &[u8]) -> u16 {
        let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let limit = Duration::from_millis(250);
        let streams = Streams { tcp: Some(local), stalled: limit, silent: limit, ..Streams::default() };
        let (driver, handle, mut calls) =
            Driver::bind_with(local, streams, Config::new(local, [7; 32])).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(driver.run());
        let answering = handle.clone();
        tasks.spawn(async move {
            while let Some(call) = calls.recv().await {
                let _ = answering.answer(call.dialog, crate::desk::SDP.into(), vec![]).await;
            }
        });
        let mut stream = TcpStream::connect(handle.bound().tcp.unwrap()).await.unwrap();
        stream.write_all(message).await.unwrap();
        let mut heard = vec![0; 4_096];
        let length = match timeout(limit * 4, stream.read(&mut heard)).await {
            Ok(Ok(length)) => length,
            Ok(Err(_)) | Err(_) => 0,
        };
        handle.counters().await.expect("it lives");
        let text = String::from_utf8_lossy(&heard[..length]).into_owned();
        text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    #[tokio::test]
    async fn rfc_4475_messages_are_judged_by_the_table_on_a_stream_as_well() {
        let Some(folder) = folder() else { return };
        let mut wrong = Vec::new();
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            let columns: Vec<&str> = line.split('\t').collect();
            let [name, _, kind, rule] = columns[..] else { panic!("{line}") };
            let got = status(&std::fs::read(folder.join(format!("{name}.dat"))).unwrap()).await;
            let allowed = if kind == "response" { got == 0 } else { accepted(rule, got) };
            if !allowed {
                wrong.push(format!("{name}: {got} is not {rule}"));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
