//! A caller whose header lines would write lines of their own, or colour a terminal: no log, webhook, ladder or record is
//! written by it.

use std::path::Path;

use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use active_call::explain;

use crate::command::Running;
use crate::inbound_sip::hook;
use crate::rig::{Client, PATIENCE, records_under, until};

/// What a terminal would take for an order, and what would begin a line.
const BAD: &str = "\x1b[2J\x1b[31mred\x07\x08\x7f\u{9b}31m";

fn invite(here: &str, server: &str) -> String {
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns={BAD}\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
    );
    format!(
        "INVITE sip:agent@{server} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bKinj;rport\r\nMax-Forwards: 70\r\n\
         From: \"a{BAD}\r\n b\" <sip:a%0d%0aINFO@{here}>;tag=x\r\nTo: <sip:agent@{server}>\r\nCall-ID: inj{BAD}\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:a@{here}>\r\nX-Note: one\r\n\t2026-01-01T00:00:00Z  INFO forged{BAD}\r\n\
         User-Agent: x{BAD}\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
}

fn is_clean(what: &str, text: &str) {
    let bad = text.chars().find(|c| c.is_control() && *c != '\n');
    assert!(bad.is_none(), "{what} holds {bad:?}: {text:?}");
}

/// Every text in a JSON value; there an escaped control character would be one again.
fn texts(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => out.push(text.clone()),
        Value::Array(list) => list.iter().for_each(|value| texts(value, out)),
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            out.push(key.clone());
            texts(value, out);
        }),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn header_lines_write_nothing_into_log_webhook_ladder_and_record() {
    let folder = tempfile::tempdir().unwrap();
    let (url, mut told) = hook(StatusCode::OK).await;
    let tables = format!("[handler]\ntype = \"webhook\"\nurls = [{url:?}]\n");
    let mut running = Running::start_with(folder.path(), &tables).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (here, server) = (socket.local_addr().unwrap().to_string(), running.sip.to_string());
    socket.send_to(invite(&here, &server).as_bytes(), running.sip).await.unwrap();
    let (_, body) = timeout(PATIENCE, told.recv()).await.expect("the webhook is told").unwrap();
    let mut said = Vec::new();
    texts(&body, &mut said);
    for text in said {
        is_clean("the webhook", &text.replace("\r\n", "\n"));
    }
    let id = body["dialogId"].as_str().unwrap().to_owned();
    let mut client = Client::connect(&format!("ws://{}/call/sip?id={id}", running.http)).await.unwrap();
    client.send(json!({"command": "reject", "reason": "no", "code": 486})).await;
    client.event("hangup").await;
    let recordings = folder.path().join("config/recorders");
    let shown = until("the call in its log", || {
        let mut out = Vec::new();
        explain::print(&recordings, &id, &mut out).ok()?;
        String::from_utf8(out).ok().filter(|text| text.contains("486"))
    })
    .await;
    is_clean("the time line", &shown);
    for entry in files(&recordings, "jsonl") {
        is_clean("a file of the call", &std::fs::read_to_string(entry).unwrap());
    }
    let records = folder.path().join("config/cdr");
    until("the record", || records_under(&records).pop()).await;
    let days = std::fs::read_dir(&records).unwrap().flatten().map(|day| day.path());
    let written: Vec<_> = days.flat_map(|day| files(&day, "json")).collect();
    assert_eq!(written.len(), 1, "{written:?}");
    let written = std::fs::read_to_string(&written[0]).unwrap();
    is_clean("the file of the record", &written);
    let mut said = Vec::new();
    texts(&serde_json::from_str(&written).unwrap(), &mut said);
    assert!(said.iter().any(|text| text.contains("red")), "the caller's name and lines are told: {said:?}");
    for text in said {
        is_clean("the record", &text.replace("\r\n", "\n"));
    }
    loop {
        let line =
            timeout(PATIENCE, running.lines.next_line()).await.unwrap().unwrap().expect("the log goes on");
        is_clean("the log", &line);
        assert!(!line.trim_start().starts_with("2026-01-01"), "a line was forged: {line}");
        if line.contains("call ends") {
            return;
        }
    }
}

/// The files of a folder whose names end so.
fn files(folder: &Path, end: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == end)).collect()
}
