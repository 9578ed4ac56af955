//! What was said in a call that a crash cut off, read from its event log.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use chrono::DateTime;
use protocol::record::{Line, LogLine};
use serde::Deserialize;

/// Most of a log that is read, in bytes: the events of a day.
const MOST_BYTES: u64 = 64 * 1024 * 1024;
/// Lines of a record; more are left out, as in one that ended well.
const MOST_LINES: usize = 10_000;

/// An event that holds words.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "camelCase")]
enum Words {
    AsrFinal {
        #[serde(rename = "trackId")]
        track_id: String,
        timestamp: u64,
        text: String,
    },
    AddHistory {
        timestamp: u64,
        speaker: String,
        text: String,
    },
    #[serde(other)]
    Others,
}

/// What caller and agent said, by the event log at `path` of the call `id` that began at `start`. A log that cannot be read
/// says nothing, and so does a line that was cut off.
pub(super) fn said(path: &Path, id: &str, start: &str) -> Vec<Line> {
    let Ok(file) = File::open(path) else { return Vec::new() };
    let began = DateTime::parse_from_rfc3339(start).map_or(0, |time| time.timestamp_millis());
    let began = u64::try_from(began).unwrap_or_default();
    let lines = BufReader::new(file.take(MOST_BYTES)).split(b'\n').map_while(Result::ok);
    let lines = lines.filter_map(|line| serde_json::from_slice::<LogLine>(&line).ok());
    let words = lines.filter(|line| line.kind == "event").filter_map(|line| words(&line.content, id));
    let lines = words.map(|(speaker, timestamp, text)| {
        let at = timestamp.saturating_sub(began);
        Line { speaker: speaker.into(), text: text.trim().into(), at, interrupted: false }
    });
    lines.filter(|line| !line.text.is_empty()).take(MOST_LINES).collect()
}

/// Who said what and when. What the caller said is an event of the recognizer with the call's own track, and what is put
/// into the history for the model beside it is said by nobody.
fn words(event: &str, id: &str) -> Option<(&'static str, u64, String)> {
    match serde_json::from_str(event).ok()? {
        Words::AsrFinal { track_id, timestamp, text } if track_id == id => Some(("caller", timestamp, text)),
        Words::AddHistory { timestamp, speaker, text } if speaker == "assistant" => {
            Some(("agent", timestamp, text))
        }
        Words::AsrFinal { .. } | Words::AddHistory { .. } | Words::Others => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_are_read_and_a_line_that_was_cut_off_harms_none() {
        let line = |event: serde_json::Value| {
            let line = LogLine { kind: "event".into(), timestamp: 1, content: event.to_string() };
            serde_json::to_string(&line).unwrap()
        };
        let log = [
            line(serde_json::json!({"event": "answer", "timestamp": 1_760_000_000_100_u64})),
            line(
                serde_json::json!({"event": "addHistory", "timestamp": 1_760_000_001_000_u64, "speaker": "assistant", "text": "Hello."}),
            ),
            line(
                serde_json::json!({"event": "asrFinal", "trackId": "c-1", "timestamp": 1_760_000_002_000_u64, "text": " what time "}),
            ),
            line(
                serde_json::json!({"event": "addHistory", "timestamp": 1_760_000_002_000_u64, "speaker": "user", "text": "what time"}),
            ),
            "{\"type\":\"event\",\"timest".to_owned(),
            line(
                serde_json::json!({"event": "asrFinal", "trackId": "server-side-track", "timestamp": 1_760_000_002_500_u64, "text": "Sales."}),
            ),
            line(
                serde_json::json!({"event": "asrFinal", "trackId": "c-1", "timestamp": 1_760_000_003_000_u64, "text": "bye"}),
            ),
        ];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.events.jsonl");
        std::fs::write(&path, log.join("\n")).unwrap();
        let said: Vec<_> = said(&path, "c-1", "2025-10-09T08:53:20.000Z")
            .into_iter()
            .map(|line| (line.speaker, line.text, line.at))
            .collect();
        let line = |speaker: &str, text: &str, at| (speaker.to_owned(), text.to_owned(), at);
        assert_eq!(
            said,
            [line("agent", "Hello.", 1000), line("caller", "what time", 2000), line("caller", "bye", 3000)]
        );
    }
}
