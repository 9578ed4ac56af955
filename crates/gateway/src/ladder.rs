//! The SIP messages of each call, as they passed: for `GET /api/v1/calls/{id}/sip`, and for the event log, from which
//! `active-call explain` draws them. Secrets are taken out before anything is kept.

use std::collections::{HashMap, VecDeque};
#[allow(
    clippy::disallowed_types,
    reason = "shared by the SIP driver and HTTP; held for one look into it"
)]
use std::sync::Mutex;
use std::sync::{Arc, PoisonError};

use protocol::record::LogLine;
use protocol::rest::SipMessage;
use rtp::sdp::redacted;
use sip::Passage;
use tokio::sync::mpsc;

/// Messages of one call. When full the first ones stay and later ones are counted.
const MESSAGES: usize = 64;
/// Bytes of a message that are kept.
const TEXT: usize = 4_096;
/// Messages of calls that nobody has begun yet. When full the oldest is forgotten.
const UNCLAIMED: usize = 256;
/// Calls that are over and can still be asked about. When full the oldest is forgotten.
const OVER: usize = 256;
/// Header lines whose value proves who someone is.
const SECRET: &[&str] = &["authorization", "proxy-authorization"];

/// The messages of every call. Clones share them.
#[derive(Clone, Debug, Default)]
#[allow(clippy::disallowed_types, reason = "as above")]
pub struct Ladders(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    calls: HashMap<String, Ladder>,
    /// Calls by the `Call-ID` of their dialogs.
    dialogs: HashMap<String, String>,
    unclaimed: VecDeque<SipMessage>,
    over: VecDeque<String>,
}

#[derive(Debug, Default)]
struct Ladder {
    messages: Vec<SipMessage>,
    /// Messages that did not fit.
    more: u64,
    log: Option<mpsc::Sender<LogLine>>,
}

impl Ladder {
    fn add(&mut self, message: SipMessage) {
        if let Some(log) = &self.log
            && let Ok(content) = serde_json::to_string(&message)
        {
            // A log that does not keep up loses lines; that is its rule.
            let _ = log.try_send(LogLine { kind: "sip".into(), timestamp: message.at, content });
        }
        if self.messages.len() < MESSAGES {
            self.messages.push(message);
        } else {
            self.more += 1;
        }
    }
}

impl Ladders {
    /// A message has passed at `at`, Unix ms.
    pub fn pass(&self, at: u64, passage: &Passage<'_>) {
        let Some(message) = shown(at, passage) else { return };
        let mut table = self.table();
        match table.owner(&message.call_id) {
            Some(ladder) => ladder.add(message),
            None => {
                if table.unclaimed.len() >= UNCLAIMED {
                    table.unclaimed.pop_front();
                }
                table.unclaimed.push_back(message);
            }
        }
    }

    /// A dialog with this `Call-ID` is one of the call `id`, which begins or has begun.
    pub fn name(&self, id: &str, call_id: &str) {
        self.table().dialogs.insert(call_id.to_owned(), id.to_owned());
    }

    /// A call begins; what has passed of it already is its own now, and its log is told of everything.
    pub fn begin(&self, id: &str, log: Option<mpsc::Sender<LogLine>>) {
        let mut table = self.table();
        table.over.retain(|over| over != id);
        table.calls.insert(id.to_owned(), Ladder { log, ..Ladder::default() });
        for message in std::mem::take(&mut table.unclaimed) {
            match table.owner(&message.call_id) {
                Some(ladder) => ladder.add(message),
                None => table.unclaimed.push_back(message),
            }
        }
    }

    /// The log of a call that is over takes nothing more; what has passed can still be asked for.
    pub fn end(&self, id: &str) {
        let mut table = self.table();
        let Some(ladder) = table.calls.get_mut(id) else { return };
        ladder.log = None;
        table.over.push_back(id.to_owned());
        if table.over.len() > OVER
            && let Some(oldest) = table.over.pop_front()
        {
            table.calls.remove(&oldest);
            table.dialogs.retain(|_, call| *call != oldest);
        }
    }

    /// The messages of a call, and how many more there were.
    pub fn of(&self, id: &str) -> Option<(Vec<SipMessage>, u64)> {
        self.table().calls.get(id).map(|ladder| (ladder.messages.clone(), ladder.more))
    }

    #[allow(clippy::disallowed_types, reason = "as above")]
    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// The call to which a dialog belongs: it was named, or `Call-ID` is the id of a call of ours or of its second party.
    fn owner(&mut self, call_id: &str) -> Option<&mut Ladder> {
        let second = || call_id.strip_prefix("ref-").and_then(|rest| rest.split_once('-')).map(|(_, id)| id);
        let id = match self.dialogs.get(call_id) {
            Some(id) => id,
            None if self.calls.contains_key(call_id) => call_id,
            None => second()?,
        };
        self.calls.get_mut(id)
    }
}

/// A message as it may be kept.
fn shown(at: u64, passage: &Passage<'_>) -> Option<SipMessage> {
    let text = without_secrets(passage.bytes, TEXT);
    let value = |line: &str| {
        let (name, value) = line.split_once(':')?;
        let name = name.trim_end();
        (name.eq_ignore_ascii_case("call-id") || name.eq_ignore_ascii_case("i"))
            .then(|| value.trim().to_owned())
    };
    let call_id = text.lines().find_map(value)?;
    let summary = text.lines().next()?.chars().take(120).collect();
    let peer = format!("{} {}", passage.transport, passage.peer);
    Some(SipMessage { at, sent: passage.sent, peer, call_id, summary, text })
}

/// The first `most` bytes of a message as text whose lines end with a line feed: what is no text is replaced, and what
/// proves who someone is or opens encrypted sound is left out.
pub(crate) fn without_secrets(bytes: &[u8], most: usize) -> String {
    let text = String::from_utf8_lossy(bytes.get(..most.min(bytes.len())).unwrap_or_default());
    let clean = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    let mut kept = String::with_capacity(text.len());
    let mut hidden = false;
    for line in redacted(&text).lines() {
        // A line that begins with a space goes on with the one before.
        if hidden && line.starts_with([' ', '\t']) {
            continue;
        }
        let name = line.split_once(':').map(|(name, _)| name);
        let secret = |name: &&str| SECRET.iter().any(|secret| name.trim_end().eq_ignore_ascii_case(secret));
        let hides = name.filter(secret);
        hidden = hides.is_some();
        match hides {
            Some(name) => kept.push_str(&format!("{name}: ***")),
            None => kept.extend(line.chars().map(clean)),
        }
        kept.push('\n');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(ladders: &Ladders, text: &str) {
        let peer = "192.0.2.9:5060".parse().unwrap();
        let passage = Passage { sent: false, peer, transport: sip::Transport::Udp, bytes: text.as_bytes() };
        ladders.pass(1, &passage);
    }

    #[test]
    fn what_passed_before_a_call_began_belongs_to_it() {
        let ladders = Ladders::default();
        pass(&ladders, "INVITE sip:a@b SIP/2.0\r\nCall-ID: x\r\n\r\n");
        pass(&ladders, "INVITE sip:a@b SIP/2.0\r\ni: other\r\n\r\n");
        ladders.name("x-1-2", "x");
        let (log, mut lines) = mpsc::channel(9);
        ladders.begin("x-1-2", Some(log));
        pass(&ladders, "BYE sip:a@b SIP/2.0\r\nCall-ID: x\r\n\r\n");
        let (messages, more) = ladders.of("x-1-2").unwrap();
        assert_eq!((messages.len(), more), (2, 0));
        assert_eq!(messages[1].summary, "BYE sip:a@b SIP/2.0");
        assert_eq!(lines.try_recv().unwrap().kind, "sip");
        ladders.end("x-1-2");
        assert!(ladders.of("x-1-2").is_some() && ladders.of("other").is_none());
    }

    #[test]
    fn the_second_party_belongs_to_the_call_that_called_it() {
        let ladders = Ladders::default();
        ladders.begin("abc", None);
        pass(&ladders, "SIP/2.0 200 OK\r\nCall-ID: ref-1-abc\r\n\r\n");
        assert_eq!(ladders.of("abc").unwrap().0.len(), 1);
    }

    #[test]
    fn secrets_and_control_characters_are_not_kept() {
        let ladders = Ladders::default();
        ladders.begin("x", None);
        pass(
            &ladders,
            "INVITE sip:a@b SIP/2.0\r\nCall-ID: x\r\nSubject: a\x1b[31mred\r\nAuthorization: Digest username=\"u\",\r\n \
             response=\"hunter2\"\r\nPROXY-AUTHORIZATION: hunter3\r\n\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:hunter4\r\n",
        );
        let text = ladders.of("x").unwrap().0.remove(0).text;
        assert!(!text.contains("hunter") && !text.contains('\x1b') && text.contains("inline:***"), "{text}");
        assert!(text.contains("\nAuthorization: ***\nPROXY-AUTHORIZATION: ***\n"), "{text}");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let ladders = Ladders::default();
        for n in 0..1_000 {
            pass(&ladders, &format!("OPTIONS sip:a@b SIP/2.0\r\nCall-ID: {n}\r\n\r\n"));
            ladders.begin(&format!("call-{n}"), None);
            ladders.end(&format!("call-{n}"));
        }
        ladders.begin("x", None);
        for _ in 0..1_000 {
            pass(&ladders, &format!("OPTIONS sip:a@b SIP/2.0\r\nCall-ID: x\r\n\r\n{}", "y".repeat(9_000)));
        }
        let table = ladders.table();
        assert_eq!((table.unclaimed.len(), table.calls.len()), (UNCLAIMED, OVER + 1));
        let ladder = &table.calls["x"];
        assert_eq!((ladder.messages.len(), ladder.more), (MESSAGES, 1_000 - MESSAGES as u64));
        assert!(ladder.messages[0].text.len() <= TEXT + 8);
    }
}
