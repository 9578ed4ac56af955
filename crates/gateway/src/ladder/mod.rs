//! The SIP messages of each call, as they passed: for `GET /api/v1/calls/{id}/sip`, and for the event log, from which
//! `active-call explain` draws them. Secrets are taken out before anything is kept.

mod ends;

use std::collections::{HashMap, VecDeque};
#[allow(
    clippy::disallowed_types,
    reason = "shared by the SIP driver and HTTP; held for one look into it"
)]
use std::sync::Mutex;
use std::sync::{Arc, PoisonError};

use ends::{Dialog, Ends};
use protocol::record::{LogLine, Quality};
use protocol::redact;
use protocol::rest::{LegMedia, SipMessage};
use rtp::sdp::redacted;
use sip::{Invite, Passage};
use tokio::sync::mpsc;

/// Messages with which a call begins that stay.
const FIRST: usize = 48;
/// Later messages of a call. When full the oldest of them is dropped and counted, so that the end is always seen; they
/// reach the event log when the call is over, so that nobody can fill it.
const LAST: usize = 16;
/// Dialogs of one call. Those beyond are not shown.
const DIALOGS: usize = 64;
/// Bytes of a message that are kept.
const TEXT: usize = 4_096;
/// Messages of calls that nobody has begun yet. When full the oldest is forgotten.
const UNCLAIMED: usize = 256;
/// Calls that are over and can still be asked about. When full the oldest is forgotten.
const OVER: usize = 256;

/// The messages of every call. Clones share them.
#[derive(Clone, Debug, Default)]
#[allow(clippy::disallowed_types, reason = "as above")]
pub struct Ladders(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    calls: HashMap<String, Ladder>,
    /// The dialogs of calls, by `Call-ID`.
    dialogs: HashMap<String, Vec<Dialog>>,
    unclaimed: VecDeque<(Ends, SipMessage)>,
    over: VecDeque<String>,
}

#[derive(Debug, Default)]
struct Ladder {
    first: Vec<SipMessage>,
    last: VecDeque<SipMessage>,
    /// Messages that were dropped.
    more: u64,
    /// `Call-ID` of its dialogs.
    dialogs: Vec<String>,
    log: Option<mpsc::Sender<LogLine>>,
    /// How its parties were heard, once it is over.
    sound: Sound,
}

/// What was agreed on with each party, and how good the first one's sound was.
type Sound = (Vec<LegMedia>, Option<Quality>);

impl Ladder {
    fn add(&mut self, message: SipMessage) {
        if self.first.len() < FIRST {
            self.tell(&message);
            self.first.push(message);
            return;
        }
        if self.last.len() == LAST {
            self.last.pop_front();
            self.more += 1;
        }
        self.last.push_back(message);
    }

    fn tell(&self, message: &SipMessage) {
        if let Some(log) = &self.log
            && let Ok(content) = serde_json::to_string(message)
        {
            // A log that does not keep up loses lines; that is its rule.
            let _ = log.try_send(LogLine { kind: "sip".into(), timestamp: message.at, content });
        }
    }
}

impl Ladders {
    /// A message has passed at `at`, Unix ms.
    pub fn pass(&self, at: u64, passage: &Passage<'_>) {
        let Some(ends) = Ends::of(passage) else { return };
        let mut table = self.table();
        let message = shown(at, passage, &ends.call_id);
        match table.owner(&ends) {
            Some(ladder) => ladder.add(message),
            None => {
                if table.unclaimed.len() >= UNCLAIMED {
                    table.unclaimed.pop_front();
                }
                table.unclaimed.push_back((ends, message));
            }
        }
    }

    /// The dialog that an INVITE to us begins is one of the call `id`.
    pub fn name(&self, id: &str, invite: &Invite) {
        let caller = Some((invite.from_tag.clone(), invite.source));
        let ours = Some(invite.local_tag.clone());
        self.table().know(&invite.call_id, Dialog { call: id.to_owned(), ours, caller });
    }

    /// The dialog that takes the place of one of a call of ours (`Replaces`) is one of the same call.
    pub fn succeed(&self, invite: &Invite) {
        let mut parts = invite.header("Replaces").unwrap_or_default().split(';').map(str::trim);
        let call_id = parts.next().unwrap_or_default();
        let tag = parts.find_map(to_tag).unwrap_or_default();
        let table = self.table();
        let known = table.dialogs.get(call_id).into_iter().flatten();
        let call = known
            .filter(|dialog| dialog.ours.as_deref() == Some(tag))
            .map(|dialog| dialog.call.clone())
            .next();
        drop(table);
        if let Some(call) = call {
            self.name(&call, invite);
            self.claim();
        }
    }

    /// The INVITE that we are about to send with this `Call-ID` is one of the call `id`.
    pub fn expect(&self, id: &str, call_id: &str) {
        self.table().know(call_id, Dialog { call: id.to_owned(), ours: None, caller: None });
    }

    /// A call begins; what has passed of it already is its own now, and its log is told of everything.
    pub fn begin(&self, id: &str, log: Option<mpsc::Sender<LogLine>>) {
        let mut table = self.table();
        if let Some(at) = table.over.iter().position(|over| over == id) {
            table.over.remove(at);
            table.forget(id);
        }
        let ladder = table.calls.entry(id.to_owned()).or_default();
        ladder.log = log;
        for message in &ladder.first {
            ladder.tell(message);
        }
        drop(table);
        self.claim();
    }

    /// Gives what has passed to the calls whose it is.
    fn claim(&self) {
        let mut table = self.table();
        for (ends, message) in std::mem::take(&mut table.unclaimed) {
            match table.owner(&ends) {
                Some(ladder) => ladder.add(message),
                None => table.unclaimed.push_back((ends, message)),
            }
        }
    }

    /// The log of a call that is over takes nothing more; what has passed can still be asked for.
    pub fn end(&self, id: &str) {
        let mut table = self.table();
        let Some(ladder) = table.calls.get_mut(id) else { return };
        for message in &ladder.last {
            ladder.tell(message);
        }
        ladder.log = None;
        table.over.push_back(id.to_owned());
        if table.over.len() > OVER
            && let Some(oldest) = table.over.pop_front()
        {
            table.forget(&oldest);
        }
    }

    /// How the parties of a call that is over were heard.
    pub fn note_sound(&self, id: &str, media: Vec<LegMedia>, quality: Option<Quality>) {
        if let Some(ladder) = self.table().calls.get_mut(id) {
            ladder.sound = (media, quality);
        }
    }

    /// The same, to be asked for as long as its messages.
    pub fn sound_of(&self, id: &str) -> (Vec<LegMedia>, Option<Quality>) {
        self.table().calls.get(id).map(|ladder| ladder.sound.clone()).unwrap_or_default()
    }

    /// The messages of a call, and how many more there were.
    pub fn of(&self, id: &str) -> Option<(Vec<SipMessage>, u64)> {
        let table = self.table();
        let ladder = table.calls.get(id)?;
        Some((ladder.first.iter().chain(&ladder.last).cloned().collect(), ladder.more))
    }

    #[allow(clippy::disallowed_types, reason = "as above")]
    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// The call to whose dialog a message belongs.
    fn owner(&mut self, ends: &Ends) -> Option<&mut Ladder> {
        let dialog = self
            .dialogs
            .get_mut(&ends.call_id)?
            .iter_mut()
            .find_map(|dialog| dialog.takes(ends).then_some(dialog))?;
        self.calls.get_mut(&dialog.call)
    }

    fn know(&mut self, call_id: &str, dialog: Dialog) {
        // A call is known by its dialogs before it begins.
        let ladder = self.calls.entry(dialog.call.clone()).or_default();
        if ladder.dialogs.len() < DIALOGS {
            ladder.dialogs.push(call_id.to_owned());
            self.dialogs.entry(call_id.to_owned()).or_default().push(dialog);
        }
    }

    fn forget(&mut self, id: &str) {
        let Some(ladder) = self.calls.remove(id) else { return };
        for call_id in ladder.dialogs {
            if let Some(known) = self.dialogs.get_mut(&call_id) {
                known.retain(|dialog| dialog.call != id);
                if known.is_empty() {
                    self.dialogs.remove(&call_id);
                }
            }
        }
    }
}

/// A message as it may be kept.
fn shown(at: u64, passage: &Passage<'_>, call_id: &str) -> SipMessage {
    let text = without_secrets(passage.bytes, TEXT);
    let summary = text.lines().next().unwrap_or_default().chars().take(120).collect();
    let peer = format!("{} {}", passage.transport, passage.peer);
    SipMessage { at, sent: passage.sent, peer, call_id: call_id.to_owned(), summary, text }
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
        let hides = name.filter(|name| redact::names_secret(name.trim_end()));
        hidden = hides.is_some();
        match hides {
            Some(name) => kept.push_str(&format!("{name}: ***")),
            None => kept.extend(redact::text(line).chars().map(clean)),
        }
        kept.push('\n');
    }
    kept
}

/// The tag in a parameter `to-tag`, whose name is written in any case (RFC 3261 section 7.3.1).
fn to_tag(parameter: &str) -> Option<&str> {
    let (name, tag) = parameter.split_once('=')?;
    name.trim().eq_ignore_ascii_case("to-tag").then(|| tag.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: &str = "192.0.2.9:5060";

    fn pass(ladders: &Ladders, peer: &str, text: &str) {
        let peer = peer.parse().unwrap();
        let passage = Passage { sent: false, peer, transport: sip::Transport::Udp, bytes: text.as_bytes() };
        ladders.pass(1, &passage);
    }

    /// A request of a caller, with its tag and ours.
    fn request(method: &str, call_id: &str, from: &str, to: &str) -> String {
        format!(
            "{method} sip:a@b SIP/2.0\r\nFrom: <sip:c@d>;tag={from}\r\nTo: <sip:a@b>{to}\r\nCall-ID: {call_id}\r\n\r\n"
        )
    }

    fn invite(call_id: &str) -> Invite {
        Invite {
            call_id: call_id.into(),
            from_uri: String::new(),
            from_tag: "theirs".into(),
            to_uri: String::new(),
            local_tag: "ours".into(),
            request_uri: String::new(),
            headers: Vec::new(),
            sdp: None,
            replaces: None,
            account: None,
            source: CALLER.parse().unwrap(),
            transport: sip::Transport::Udp,
            dialog_id: String::new(),
        }
    }

    fn summaries(ladders: &Ladders, id: &str) -> Vec<String> {
        ladders.of(id).unwrap().0.into_iter().map(|message| message.summary).collect()
    }

    #[test]
    fn what_passed_before_a_call_began_belongs_to_it() {
        let ladders = Ladders::default();
        pass(&ladders, CALLER, &request("INVITE", "x", "theirs", ""));
        pass(&ladders, CALLER, &request("INVITE", "other", "theirs", ""));
        ladders.name("c", &invite("x"));
        let (log, mut lines) = mpsc::channel(9);
        ladders.begin("c", Some(log));
        pass(&ladders, CALLER, &request("BYE", "x", "theirs", ";tag=ours"));
        assert_eq!(summaries(&ladders, "c"), ["INVITE sip:a@b SIP/2.0", "BYE sip:a@b SIP/2.0"]);
        assert_eq!(lines.try_recv().unwrap().kind, "sip");
        ladders.end("c");
        assert!(ladders.of("c").is_some() && ladders.of("other").is_none());
    }

    #[test]
    fn who_knows_the_call_id_of_a_call_does_not_show_in_it() {
        let ladders = Ladders::default();
        ladders.name("c", &invite("x"));
        ladders.begin("c", None);
        for text in [
            request("INVITE", "x", "stranger", ""),
            request("BYE", "x", "theirs", ";tag=guessed"),
            request("BYE", "x", "stranger", ";tag=ours"),
            "SIP/2.0 200 OK\r\nCall-ID: x\r\n\r\n".into(),
            "OPTIONS sip:a@b SIP/2.0\r\nCall-ID: c\r\n\r\n".into(),
            "OPTIONS sip:a@b SIP/2.0\r\nCall-ID: ref-1-c\r\n\r\n".into(),
        ] {
            pass(&ladders, CALLER, &text);
        }
        pass(&ladders, "203.0.113.5:5060", &request("INVITE", "x", "theirs", ""));
        assert_eq!(summaries(&ladders, "c"), [""; 0]);
        pass(&ladders, CALLER, &request("CANCEL", "x", "theirs", ""));
        assert_eq!(summaries(&ladders, "c").len(), 1);
    }

    #[test]
    fn a_party_that_we_call_and_one_that_takes_a_place_belong_to_the_call() {
        let ladders = Ladders::default();
        ladders.begin("c", None);
        ladders.expect("c", "random");
        let text = "INVITE sip:e@f SIP/2.0\r\nFrom: <a>;tag=ours\r\nTo: <b>\r\nCall-ID: random\r\n\r\n";
        let peer = CALLER.parse().unwrap();
        let passage = Passage { sent: true, peer, transport: sip::Transport::Udp, bytes: text.as_bytes() };
        ladders.pass(1, &passage);
        pass(&ladders, CALLER, "SIP/2.0 180 Ringing\r\nf: <a>;tag=ours\r\nt: <b>;tag=x\r\ni: random\r\n\r\n");
        assert_eq!(summaries(&ladders, "c").len(), 2);
        pass(&ladders, CALLER, &request("INVITE", "new", "theirs", ""));
        let replaces = ("Replaces".to_owned(), "random;to-tag=ours;from-tag=x".to_owned());
        ladders.succeed(&Invite { headers: vec![replaces], ..invite("new") });
        pass(&ladders, CALLER, &request("ACK", "new", "theirs", ";tag=ours"));
        assert_eq!(summaries(&ladders, "c").len(), 4);
    }

    #[test]
    fn secrets_and_control_characters_are_not_kept() {
        let ladders = Ladders::default();
        ladders.name("c", &invite("x"));
        ladders.begin("c", None);
        pass(
            &ladders,
            CALLER,
            "INVITE sip:a@b SIP/2.0\r\nFrom: <c>;tag=theirs\r\nCall-ID: x\r\nSubject: a\x1b[31mred\r\nAuthorization: Digest \
             username=\"u\",\r\n response=\"hunter2\"\r\nPROXY-AUTHORIZATION: hunter3\r\n\r\na=crypto:1 \
             AES_CM_128_HMAC_SHA1_80 inline:hunter4\r\n",
        );
        let text = ladders.of("c").unwrap().0.remove(0).text;
        assert!(!text.contains("hunter") && !text.contains('\x1b') && text.contains("inline:***"), "{text}");
        assert!(text.contains("\nAuthorization: ***\nPROXY-AUTHORIZATION: ***\n"), "{text}");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let ladders = Ladders::default();
        for n in 0..1_000 {
            let id = n.to_string();
            ladders.name(&id, &invite(&id));
            ladders.begin(&id, None);
            ladders.end(&id);
            pass(&ladders, CALLER, &request("OPTIONS", "unknown", "x", ""));
        }
        ladders.begin("c", None);
        for n in 0..1_000 {
            ladders.expect("c", &format!("leg-{n}"));
        }
        let table = ladders.table();
        assert_eq!((table.unclaimed.len(), table.calls.len()), (UNCLAIMED, OVER + 1));
        assert_eq!(table.dialogs.len(), OVER + DIALOGS);
    }

    #[test]
    fn of_many_messages_the_first_and_the_last_are_kept_and_the_log_is_not_filled() {
        let ladders = Ladders::default();
        ladders.name("c", &invite("x"));
        let (log, mut lines) = mpsc::channel(2_000);
        ladders.begin("c", Some(log));
        for n in 0..1_000 {
            let text = request(&format!("INFO{n}"), "x", "theirs", ";tag=ours");
            pass(&ladders, CALLER, &format!("{text}{}", "y".repeat(9_000)));
        }
        let (messages, more) = ladders.of("c").unwrap();
        assert_eq!((messages.len(), more), (FIRST + LAST, 1_000 - (FIRST + LAST) as u64));
        assert!(messages[0].summary.starts_with("INFO0 ") && messages[63].summary.starts_with("INFO999 "));
        assert!(messages.iter().all(|message| message.text.len() <= TEXT + 8));
        ladders.end("c");
        assert_eq!(std::iter::from_fn(|| lines.try_recv().ok()).count(), FIRST + LAST);
    }
}
