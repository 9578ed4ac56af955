//! `active-call explain`: one time line of a call that is over or goes on, from its event log: SIP messages, how good
//! the sound was, commands and events.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use protocol::record::LogLine;
use serde_json::Value;

use crate::sinks::events;

/// Bytes of a log that are read; a call of a day has fewer.
const MOST: u64 = 64 << 20;
/// Characters of one line.
const WIDTH: usize = 160;

/// Fields that come first in a line, so that its end is not what says why.
const FIRST: [&str; 5] = ["reason", "initiator", "error", "code", "sender"];
/// Fields that come last: what others said of themselves.
const LAST: &str = "extra";

/// Prints the time line of the calls with this `id`, whose event logs lie in `folder`: of one as a rule, of several
/// where the id was used again.
///
/// # Errors
/// A text that says what is missing, or that the output takes nothing. A reader that has seen enough is no error.
pub fn print(folder: &Path, id: &str, out: &mut impl Write) -> Result<(), String> {
    let mut paths: Vec<PathBuf> = events::places(folder, id).filter(|path| path.exists()).collect();
    if paths.is_empty() {
        // Its fault says where the log was looked for.
        paths.extend(events::places(folder, id).next());
    }
    let mut faults = Vec::new();
    for path in &paths {
        let lines = match lines_of(path) {
            Ok(lines) => lines,
            Err(fault) => {
                faults.push(fault);
                continue;
            }
        };
        let title = Some(path.as_path()).filter(|_| paths.len() > 1);
        match time_line(title, &lines, out) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(|error| error.to_string())?,
        }
    }
    // What can be told of the other calls is told first.
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

/// The lines of a log, oldest first; at least one.
fn lines_of(path: &Path) -> Result<Vec<LogLine>, String> {
    let text = read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut lines: Vec<LogLine> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    lines.sort_by_key(|line| line.timestamp);
    if lines.is_empty() {
        return Err(format!("{}: no line of it can be read", path.display()));
    }
    Ok(lines)
}

/// The time line of one call, under the place of its log where that is to be told.
fn time_line(title: Option<&Path>, lines: &[LogLine], out: &mut impl Write) -> io::Result<()> {
    if let Some(path) = title {
        writeln!(out, "{}:", path.display())?;
    }
    let began = lines.first().map(|line| line.timestamp).unwrap_or_default();
    for line in lines {
        let told = match line.kind.as_str() {
            "sip" => sip(&line.content),
            "command" => format!("command  {}", brief(&line.content)),
            _ => event(&line.content),
        };
        let after = line.timestamp.saturating_sub(began);
        let told: String =
            told.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(WIDTH).collect();
        writeln!(out, "{:>5}.{:03}  {told}", after / 1000, after % 1000)?;
    }
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "a command of the terminal reads a file")]
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(std::fs::File::open(path)?, MOST), &mut text)?;
    Ok(text)
}

/// An arrow, the start line and what the message says of sound.
fn sip(content: &str) -> String {
    let message: Value = serde_json::from_str(content).unwrap_or_default();
    let field = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
    let arrow = if message["sent"] == true { "-->" } else { "<--" };
    let text = field("text");
    let cseq = text.lines().find_map(|line| line.strip_prefix("CSeq:")).map(str::trim).unwrap_or_default();
    let mut told = format!("sip {arrow}  {}", field("summary").trim_end_matches(" SIP/2.0"));
    if told.contains("SIP/2.0 ") {
        told = format!("{} ({cseq})", told.replace("SIP/2.0 ", ""));
    }
    told.push_str(&format!("  {}", field("peer")));
    if let Some(sound) = text.lines().find(|line| line.starts_with("m=audio")) {
        let direction = ["sendonly", "recvonly", "inactive"].into_iter().find(|word| text.contains(word));
        let codec = text.lines().find_map(|line| line.strip_prefix("a=rtpmap:")?.split_once(' '));
        let codec = codec.map_or("", |(_, name)| name);
        told.push_str(&format!("  [{} {codec} {}]", sound.trim_end(), direction.unwrap_or("sendrecv")));
    }
    told
}

fn event(content: &str) -> String {
    let event: Value = serde_json::from_str(content).unwrap_or_default();
    let name = event["event"].as_str().unwrap_or("?");
    if name == "metrics" && event["key"] == "rtp.quality" {
        let data = &event["data"];
        // Before the first packet, and of a peer that sends no reports, there is none.
        let figure =
            |name: &str| Some(&data[name]).filter(|it| !it.is_null()).map_or("-".into(), Value::to_string);
        let [mos, loss, jitter] = ["mos", "loss", "jitterMs"].map(figure);
        let (back, packets) = (figure("roundTripMs"), figure("packets"));
        return format!(
            "quality  mos {mos}, loss {loss}, jitter {jitter} ms, round trip {back} ms, {packets} packets"
        );
    }
    let rest = fields(&event, &["event", "trackId", "timestamp", "sdp"]);
    format!("event    {name} {rest}")
}

/// The fields of an object but those that are `known`, as JSON; nothing where there is none.
fn fields(object: &Value, known: &[&str]) -> String {
    let Value::Object(all) = object else { return String::new() };
    let mut told: Vec<(&String, &Value)> =
        all.iter().filter(|(name, _)| !known.contains(&name.as_str())).collect();
    let rank = |name: &str| match name == LAST {
        true => FIRST.len() + 1,
        false => FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len()),
    };
    told.sort_by_key(|(name, _)| rank(name));
    let told: Vec<String> = told.iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
    if told.is_empty() { String::new() } else { format!("{{{}}}", told.join(",")) }
}

fn brief(content: &str) -> String {
    let command: Value = serde_json::from_str(content).unwrap_or_default();
    let name = command["command"].as_str().unwrap_or("?");
    format!("{name} {}", fields(&command, &["command"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_first_why_a_call_ended_and_every_call_of_the_id_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let hangup = serde_json::json!({"event": "hangup", "trackId": "c", "timestamp": 5, "reason": "callee",
            "initiator": "callee", "answerTime": "x".repeat(100), "extra": {"User-Agent": "y".repeat(100)}});
        let line = LogLine { kind: "event".into(), timestamp: 7, content: hangup.to_string() };
        for name in ["c.events.jsonl", "c~1.events.jsonl"] {
            std::fs::write(folder.path().join(name), serde_json::to_string(&line).unwrap()).unwrap();
        }
        let mut out = Vec::new();
        print(folder.path(), "c", &mut out).unwrap();
        let told = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = told.lines().collect();
        assert!(lines[0].ends_with("/c.events.jsonl:") && lines[2].ends_with("/c~1.events.jsonl:"), "{told}");
        for line in [lines[1], lines[3]] {
            let why = "hangup {\"reason\":\"callee\",\"initiator\":\"callee\",\"answerTime\":";
            assert!(line.contains(why), "{line}");
        }
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_no_error() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let line = LogLine { kind: "event".into(), timestamp: 7, content: "{}".into() };
        std::fs::write(folder.path().join("c.events.jsonl"), serde_json::to_string(&line).unwrap()).unwrap();
        assert_eq!(print(folder.path(), "c", &mut Closed), Ok(()));
    }

    #[test]
    fn messages_and_events_stand_on_one_line_of_time() {
        let folder = tempfile::tempdir().unwrap();
        let line = |kind: &str, timestamp, content: Value| {
            let line = LogLine { kind: kind.into(), timestamp, content: content.to_string() };
            serde_json::to_string(&line).unwrap()
        };
        let invite = serde_json::json!({"sent": false, "peer": "udp 192.0.2.1:5060", "summary": "INVITE sip:a@b SIP/2.0",
            "text": "INVITE\nCSeq: 1 INVITE\n\nm=audio 4000 RTP/AVP 0\na=rtpmap:0 PCMU/8000\n"});
        let ok = serde_json::json!({"sent": true, "peer": "udp 192.0.2.1:5060", "summary": "SIP/2.0 200 OK",
            "text": "SIP/2.0 200 OK\nCSeq: 1 INVITE\n"});
        let quality = serde_json::json!({"event": "metrics", "key": "rtp.quality", "data": {"packets": 0, "loss": 0.0,
            "jitterMs": 0.0}});
        let digit = serde_json::json!({"event": "dtmf", "trackId": "c", "timestamp": 5, "digit": "\u{1b}5"});
        let text = [
            line("event", 1_500, digit),
            line("event", 1_600, quality),
            line("sip", 1_000, invite),
            line("sip", 1_020, ok),
        ]
        .join("\n");
        std::fs::write(folder.path().join("c.events.jsonl"), text + "\nhalf a li").unwrap();
        let mut out = Vec::new();
        print(folder.path(), "c", &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "    0.000  sip <--  INVITE sip:a@b  udp 192.0.2.1:5060  [m=audio 4000 RTP/AVP 0 PCMU/8000 sendrecv]\n    \
             0.020  sip -->  200 OK (1 INVITE)  udp 192.0.2.1:5060\n    0.500  event    dtmf {\"digit\":\"\\u001b5\"}\n    \
             0.600  quality  mos -, loss 0.0, jitter 0.0 ms, round trip - ms, 0 packets\n"
        );
        assert!(print(folder.path(), "other", &mut Vec::new()).unwrap_err().contains("other.events.jsonl"));
    }
}
