//! What no phone would send: the server answers the next phone, and its memory stays where it was.
//!
//! A handful of messages are made here. The torture messages of RFC 4475 are sent too where a folder of them lies
//! beside the workspace; without it the test does without.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::command::Running;
use crate::inbound_sip::PLAYBOOK;

const TORTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/torture");
/// Rounds after which memory is looked at, and rounds until it is looked at again.
const ROUNDS: [usize; 2] = [3, 10];
/// Transactions and calls of the last half minute are held; a message that leaked would outgrow them.
const GROWTH_KB: u64 = 24 * 1024;

/// A message and what may come of it.
struct Hostile {
    name: String,
    bytes: Vec<u8>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Must be understood.
    Valid,
    /// Must not succeed.
    Invalid,
    /// Must not be answered.
    Response,
    /// Anything, as long as the server goes on.
    Any,
}

impl Kind {
    fn allows(self, status: u16) -> bool {
        match self {
            Kind::Valid => !matches!(status, 400 | 513),
            Kind::Invalid => status >= 300,
            Kind::Response => false,
            Kind::Any => true,
        }
    }
}

/// A peer that sends and remembers the answers by the branch they carry.
struct Peer {
    socket: UdpSocket,
    server: SocketAddr,
    sent: usize,
    answers: HashMap<usize, Vec<u16>>,
}

impl Peer {
    /// Sends a message with a branch of its own, where it has one, and then an OPTIONS that has to be answered.
    async fn send(&mut self, message: &Hostile) -> usize {
        self.sent += 1;
        let sent = self.sent;
        let bytes = with_branch(&message.bytes, sent);
        self.socket.send_to(&bytes, self.server).await.unwrap();
        let probe = format!(
            "OPTIONS sip:{server} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bKprobe{sent};rport\r\n\
             From: <sip:probe@{here}>;tag=p\r\nTo: <sip:{server}>\r\nCall-ID: probe{sent}\r\n\
             CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
            server = self.server,
            here = self.socket.local_addr().unwrap(),
        );
        self.socket.send_to(probe.as_bytes(), self.server).await.unwrap();
        let answered = timeout(Duration::from_secs(4), self.listen(&format!("z9hG4bKprobe{sent}"))).await;
        assert!(answered.is_ok(), "no OPTIONS is answered after {} ({sent} sent)", message.name);
        sent
    }

    /// Takes what comes until something has `mark` in it.
    async fn listen(&mut self, mark: &str) {
        let mut datagram = vec![0; 65_536];
        loop {
            let (length, _) = self.socket.recv_from(&mut datagram).await.unwrap();
            let text = String::from_utf8_lossy(&datagram[..length]).into_owned();
            let status = text.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse().ok());
            let number = text
                .split_once("z9hG4bKhostile")
                .and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
            if let (Some(status), Some(number)) = (status, number) {
                self.answers.entry(number).or_default().push(status);
            }
            if text.contains(mark) {
                return;
            }
        }
    }
}

/// `message` with the first branch replaced by one of its own, and answers asked for where it came from.
fn with_branch(message: &[u8], number: usize) -> Vec<u8> {
    let mark = b"branch=z9hG4bK";
    let Some(at) = message.windows(mark.len()).position(|window| window == mark) else {
        return message.into();
    };
    let begin = at + mark.len();
    let rest = &message[begin..];
    let end =
        rest.iter().position(|byte| !byte.is_ascii_alphanumeric() && !b"-.".contains(byte)).unwrap_or(0);
    if end == 0 {
        // The cookie alone is what that message is about.
        return message.into();
    }
    [&message[..begin], format!("hostile{number};rport").as_bytes(), &rest[end..]].concat()
}

/// A request with `lines` after the headers that every request has.
fn request(method: &str, call: &str, lines: &str, body: &str) -> String {
    format!(
        "{method} sip:agent@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKx\r\n\
         From: <sip:a@127.0.0.1>;tag=a\r\nTo: <sip:agent@127.0.0.1>\r\nCall-ID: {call}\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:a@127.0.0.1>\r\nMax-Forwards: 70\r\n{lines}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn own() -> Vec<Hostile> {
    let sdp = |media: &str| {
        let body =
            format!("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n{media}");
        request("INVITE", "sdp", "Content-Type: application/sdp\r\n", &body)
    };
    let texts = [
        ("nothing", String::new()),
        ("line ends", "\r\n\r\n\r\n".into()),
        ("HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n".into()),
        ("a start line alone", "INVITE sip:a@b SIP/2.0".into()),
        ("no headers", "INVITE sip:a@b SIP/2.0\r\n\r\n".into()),
        ("BYE of no call", request("BYE", "nobody", "", "")),
        ("CANCEL of no call", request("CANCEL", "nobody", "", "")),
        ("ACK of no call", request("ACK", "nobody", "", "")),
        ("REFER outside a dialog", request("REFER", "nobody", "Refer-To: <sip:x@y>\r\n", "")),
        ("a path as id", request("INVITE", "../../../etc/passwd", "", "")),
        ("NUL in a header", request("OPTIONS", "nul", "Subject: a\0b\r\n", "")),
        ("a long header", request("OPTIONS", "long", &format!("Subject: {}\r\n", "a".repeat(20_000)), "")),
        ("many headers", request("OPTIONS", "many", &"X-A: b\r\n".repeat(3000), "")),
        ("many Vias", request("OPTIONS", "vias", &"Via: SIP/2.0/UDP 127.0.0.1;branch=q\r\n".repeat(800), "")),
        ("port 0", sdp("m=audio 0 RTP/AVP 0\r\n")),
        ("port 70000", sdp("m=audio 70000 RTP/AVP 0\r\n")),
        ("clock 0", sdp("m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 opus/0\r\na=ptime:0\r\n")),
        ("many media", sdp(&"m=audio 4000 RTP/AVP 0\r\n".repeat(400))),
    ];
    let mut own: Vec<Hostile> = texts
        .into_iter()
        .map(|(name, text)| Hostile { name: name.into(), bytes: text.into_bytes(), kind: Kind::Any })
        .collect();
    let negative = request("OPTIONS", "negative", "", "").replace("Content-Length: 0", "Content-Length: -7");
    let version = request("OPTIONS", "version", "", "").replace("SIP/2.0\r\nVia", "SIP/7.0\r\nVia");
    let mismatch = request("OPTIONS", "mismatch", "", "").replace("CSeq: 1 OPTIONS", "CSeq: 1 INVITE");
    for (name, text) in [("length -7", negative), ("SIP/7.0", version), ("another method", mismatch)] {
        own.push(Hostile { name: name.into(), bytes: text.into_bytes(), kind: Kind::Invalid });
    }
    for bytes in [vec![0; 1500], vec![0xff; 65_000], vec![0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]] {
        own.push(Hostile { name: format!("{} bytes", bytes.len()), bytes, kind: Kind::Any });
    }
    own
}

/// The files of `folder`, judged by the table beside them. Nothing where there is no folder.
fn torture(folder: &Path) -> Vec<Hostile> {
    let table = std::fs::read_to_string(folder.join("outcomes.tsv")).unwrap_or_default();
    let kind = |name: &str| {
        let mut columns = table.lines().map(|line| line.split('\t').collect::<Vec<_>>());
        let row = columns.find(|row| row.first() == Some(&name));
        match row.as_deref() {
            Some([_, _, "valid", ..]) => Kind::Valid,
            Some([_, _, "invalid", accepted, ..]) if !accepted.contains("lenient") => Kind::Invalid,
            Some([_, _, "response", ..]) => Kind::Response,
            _ => Kind::Any,
        }
    };
    let mut found = Vec::new();
    for folder in [folder.to_owned(), folder.join("extra")] {
        for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension == "dat") {
                let name = path.file_stem().unwrap().to_string_lossy().into_owned();
                found.push(Hostile { kind: kind(&name), bytes: std::fs::read(&path).unwrap(), name });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn resident_kb(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_every_hostile_message_the_next_phone_is_answered_and_memory_stays() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("config/playbook")).unwrap();
    std::fs::write(folder.path().join("config/playbook/hello.md"), PLAYBOOK.replace("fake", "espeak"))
        .unwrap();
    let handler = "[handler]\ntype = \"playbook\"\ndefault = \"hello.md\"\n";
    let running = Running::start_with(folder.path(), handler).await;
    let process = running.child.id().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut peer = Peer { socket, server: running.sip, sent: 0, answers: HashMap::new() };
    let mut messages = own();
    messages.extend(torture(Path::new(TORTURE)));
    // Nobody reads the log meanwhile, which is more than a pipe holds.
    let (wrong, resident) = bombard(&mut peer, &messages, process).await;
    println!("{} messages, {} sent, resident {resident:?} kB", messages.len(), peer.sent);
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(resident[1] <= resident[0] + GROWTH_KB, "{resident:?} kB");
}

/// What was answered wrongly, and the memory after each of [`ROUNDS`].
async fn bombard(peer: &mut Peer, messages: &[Hostile], process: u32) -> (Vec<String>, Vec<u64>) {
    let (mut wrong, mut resident) = (Vec::new(), Vec::new());
    for rounds in ROUNDS {
        for _ in 0..rounds {
            let mut sent = Vec::new();
            for message in messages {
                sent.push((peer.send(message).await, message));
            }
            // What is answered only after a look into a playbook has come by now.
            let _ = timeout(Duration::from_millis(100), peer.listen("nothing has this in it")).await;
            for (number, message) in sent {
                let answers = peer.answers.remove(&number).unwrap_or_default();
                if !answers.iter().all(|status| message.kind.allows(*status)) {
                    wrong.push(format!("{} ({:?}): {answers:?}", message.name, message.kind));
                }
            }
        }
        resident.push(resident_kb(process));
    }
    (wrong, resident)
}
