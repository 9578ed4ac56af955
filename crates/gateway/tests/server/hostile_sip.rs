//! What no phone would send, over UDP and TCP: each message gets an answer that is right, the server answers the next
//! phone, and its memory stays where it was.
//!
//! A handful of messages are made here. The torture messages of RFC 4475 are sent too where a folder of them lies
//! beside the workspace, judged by the table of crate `sip`; without it the test does without.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::command::{CONF, Running};
use crate::inbound_sip::PLAYBOOK;
use crate::programs;
use crate::rig::PATIENCE;

const TORTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/torture");
const TABLE: &str = include_str!("../../../sip/tests/sip/rfc4475.tsv");
/// Rounds after which memory is looked at, and rounds until it is looked at again.
const ROUNDS: [usize; 2] = [3, 10];
/// Transactions and calls of the last half minute are held; a message that leaked would outgrow them.
const GROWTH_KB: u64 = 24 * 1024;
/// How long an answer is waited for where none need come.
const GRACE: Duration = Duration::from_millis(300);

/// A message and its right answers, as the table writes them: codes with `x` for any digit, without the one behind `!`;
/// `drop` for silence, `lenient` for any answer.
struct Hostile {
    name: String,
    bytes: Vec<u8>,
    right: String,
}

impl Hostile {
    fn new(name: &str, text: impl Into<Vec<u8>>, right: &str) -> Hostile {
        Hostile { name: name.into(), bytes: text.into(), right: right.into() }
    }

    fn allows(&self, status: u16) -> bool {
        let code = status.to_string();
        let is = |pattern: &str| {
            pattern.len() == code.len() && pattern.chars().zip(code.chars()).all(|(p, c)| p == 'x' || p == c)
        };
        self.right.split(',').any(|item| match item.split_once('!') {
            Some((pattern, except)) => is(pattern) && !is(except),
            None => item == "lenient" || is(item),
        })
    }

    fn may_be_dropped(&self) -> bool {
        self.right.split(',').any(|item| item == "drop")
    }

    /// What is wrong with these final answers.
    fn fault(&self, way: &str, finals: &[u16]) -> Option<String> {
        let right = match finals {
            [] => self.may_be_dropped(),
            finals => finals.iter().all(|status| self.allows(*status)),
        };
        (!right).then(|| format!("{} over {way}: {finals:?} and not {}", self.name, self.right))
    }
}

/// The final status and the branch number of an answer to one of our messages.
fn final_answer(text: &str) -> Option<(usize, u16)> {
    let status: u16 = text.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()?;
    let (_, rest) = text.split_once("z9hG4bKhostile")?;
    let number = rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    (status >= 200).then_some((number, status))
}

fn options(transport: &str, (here, server): (SocketAddr, SocketAddr), number: usize) -> String {
    format!(
        "OPTIONS sip:{server} SIP/2.0\r\nVia: SIP/2.0/{transport} {here};branch=z9hG4bKprobe{number};rport\r\n\
         From: <sip:probe@{here}>;tag=p\r\nTo: <sip:{server}>\r\nCall-ID: probe{number}\r\n\
         CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
}

/// A peer that sends and remembers the final answers by the branch they carry.
struct Peer {
    socket: UdpSocket,
    server: SocketAddr,
    sent: usize,
    answers: HashMap<usize, Vec<u16>>,
}

impl Peer {
    /// Sends a message with a branch of its own, where it has one, and then an OPTIONS that has to be answered. Gives the
    /// number of the branch.
    async fn send(&mut self, message: &Hostile) -> Option<usize> {
        self.sent += 1;
        let bytes = renamed(&message.bytes, "UDP", self.sent);
        self.socket.send_to(bytes.as_deref().unwrap_or(&message.bytes), self.server).await.unwrap();
        self.probe(&message.name).await;
        bytes.map(|_| self.sent)
    }

    /// An OPTIONS is answered; a datagram that was lost is sent again.
    async fn probe(&mut self, after: &str) {
        let sent = self.sent;
        let probe = options("UDP", (self.socket.local_addr().unwrap(), self.server), sent);
        let mark = format!("z9hG4bKprobe{sent};");
        for _ in 0..PATIENCE.as_secs() {
            self.socket.send_to(probe.as_bytes(), self.server).await.unwrap();
            let answered = self.listen(|_, text| text.contains(&mark));
            if timeout(Duration::from_secs(1), answered).await.is_ok() {
                return;
            }
        }
        panic!("no OPTIONS is answered after {after} ({sent} sent)");
    }

    /// Takes what comes until it is enough.
    async fn listen(&mut self, enough: impl Fn(&HashMap<usize, Vec<u16>>, &str) -> bool) {
        let mut datagram = vec![0; 65_536];
        loop {
            let (length, _) = self.socket.recv_from(&mut datagram).await.unwrap();
            let text = String::from_utf8_lossy(&datagram[..length]).into_owned();
            if let Some((number, status)) = final_answer(&text) {
                self.answers.entry(number).or_default().push(status);
            }
            if enough(&self.answers, &text) {
                return;
            }
        }
    }

    /// Sends all, and tells what was answered wrongly.
    async fn round(&mut self, messages: &[Hostile]) -> Vec<String> {
        let mut sent = Vec::new();
        for message in messages {
            sent.push((self.send(message).await, message));
        }
        // An answer can only be told from others by its branch.
        let due: Vec<usize> = sent
            .iter()
            .filter(|(_, message)| !message.may_be_dropped())
            .filter_map(|(number, _)| *number)
            .collect();
        let all = |answers: &HashMap<usize, Vec<u16>>, _: &str| {
            due.iter().all(|number| answers.contains_key(number))
        };
        if !all(&self.answers, "") {
            // What is missing then is told by name.
            let _ = timeout(PATIENCE, self.listen(all)).await;
        }
        let _ = timeout(GRACE, self.listen(|_, _| false)).await;
        let judge = |(number, message): (Option<usize>, &Hostile)| {
            message.fault("UDP", &self.answers.remove(&number?).unwrap_or_default())
        };
        sent.into_iter().filter_map(judge).collect()
    }
}

/// The final answers to a message on a connection of its own, up to one to the OPTIONS behind it.
async fn over_tcp(server: SocketAddr, message: &Hostile, number: usize) -> Vec<u16> {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let here = stream.local_addr().unwrap();
    let bytes = renamed(&message.bytes, "TCP", number);
    // One without a branch of its own is alone on its connection.
    let mark = bytes.as_ref().map_or("SIP/2.0".to_owned(), |_| format!("z9hG4bKhostile{number};"));
    // The server may have closed the connection in the middle of what it does not want.
    let _ = stream.write_all(bytes.as_deref().unwrap_or(&message.bytes)).await;
    let _ = stream.write_all(options("TCP", (here, server), number).as_bytes()).await;
    let patience = if message.may_be_dropped() { GRACE } else { PATIENCE };
    let mut heard = Vec::new();
    let reading = async {
        let mut some = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut some).await {
            heard.extend(&some[..length]);
            let text = String::from_utf8_lossy(&heard);
            if !finals(&text, &mark).is_empty() && text.contains("z9hG4bKprobe") {
                return;
            }
        }
    };
    let _ = timeout(patience, reading).await;
    finals(&String::from_utf8_lossy(&heard), &mark)
}

/// The final statuses of the responses in a stream that have `mark` in them, without those to the OPTIONS.
fn finals(stream: &str, mark: &str) -> Vec<u16> {
    let responses = stream.split_inclusive("\r\n\r\n").filter(|text| text.contains(mark));
    let responses = responses.filter(|text| !text.contains("z9hG4bKprobe"));
    let statuses = responses.filter_map(|text| text.split_once("SIP/2.0 ")?.1.get(..3)?.parse().ok());
    statuses.filter(|status| *status >= 200).collect()
}

/// `message` with the first branch and `Call-ID` replaced by some of its own, answers asked for where it came from, and its
/// first transport the one it goes by. Nothing where it has no branch that could be another.
fn renamed(message: &[u8], way: &str, number: usize) -> Option<Vec<u8>> {
    let place = |text: &[u8], mark: &[u8]| {
        Some(text.windows(mark.len()).position(|window| window == mark)? + mark.len())
    };
    let begin = place(message, b"branch=z9hG4bK")?;
    let rest = &message[begin..];
    let end = rest.iter().position(|byte| b";, \t\r\n".contains(byte))?;
    let mut head = message[..begin].to_vec();
    if let Some(at) = place(&head, b"Via: SIP/2.0/") {
        let length = head[at..].iter().position(|byte| !byte.is_ascii_alphanumeric())?;
        head.splice(at..at + length, way.bytes());
    }
    let mut renamed = [&head, format!("hostile{number};rport").as_bytes(), &rest[end..]].concat();
    if let Some(at) = place(&renamed, b"Call-ID: ") {
        renamed.splice(at..at, number.to_string().into_bytes());
    }
    // The cookie alone is what one of them is about.
    (end > 0).then_some(renamed)
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
    let negative = request("OPTIONS", "negative", "", "").replace("Content-Length: 0", "Content-Length: -7");
    let version = request("OPTIONS", "version", "", "").replace("SIP/2.0\r\nVia", "SIP/7.0\r\nVia");
    let mismatch = request("OPTIONS", "mismatch", "", "").replace("CSeq: 1 OPTIONS", "CSeq: 1 INVITE");
    let texts = [
        ("nothing", String::new(), "drop"),
        ("line ends", "\r\n\r\n\r\n".into(), "drop"),
        ("HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n".into(), "drop"),
        ("a start line alone", "INVITE sip:a@b SIP/2.0".into(), "drop"),
        ("no headers", "INVITE sip:a@b SIP/2.0\r\n\r\n".into(), "drop"),
        ("BYE of no call", request("BYE", "nobody", "", ""), "481"),
        ("CANCEL of no call", request("CANCEL", "nobody", "", ""), "481"),
        ("ACK of no call", request("ACK", "nobody", "", ""), "drop"),
        ("REFER of no call", request("REFER", "nobody", "Refer-To: <sip:x@y>\r\n", ""), "481"),
        ("a path as id", request("INVITE", "../../../etc/passwd", "", ""), "200"),
        ("NUL in a header", request("OPTIONS", "nul", "Subject: a\0b\r\n", ""), "200"),
        (
            "a long header",
            request("OPTIONS", "long", &format!("Subject: {}\r\n", "a".repeat(20_000)), ""),
            "400,513",
        ),
        ("many headers", request("OPTIONS", "many", &"X-A: b\r\n".repeat(3000), ""), "400,513"),
        (
            "many Vias",
            request("OPTIONS", "vias", &"Via: SIP/2.0/UDP 127.0.0.1;branch=q\r\n".repeat(800), ""),
            "drop",
        ),
        ("port 0", sdp("m=audio 0 RTP/AVP 0\r\n"), "488"),
        ("port 70000", sdp("m=audio 70000 RTP/AVP 0\r\n"), "400,488"),
        ("clock 0", sdp("m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 opus/0\r\na=ptime:0\r\n"), "488"),
        ("many media", sdp(&"m=audio 4000 RTP/AVP 0\r\n".repeat(400)), "488"),
        ("length -7", negative, "400"),
        ("SIP/7.0", version, "505"),
        ("another method", mismatch, "400"),
    ];
    let mut own: Vec<_> = texts.map(|(name, text, right)| Hostile::new(name, text, right)).into();
    for bytes in [vec![0; 1500], vec![0xff; 65_000], vec![0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]] {
        own.push(Hostile::new(&format!("{} bytes", bytes.len()), bytes, "drop"));
    }
    own
}

/// The files of `folder`, judged by the table; those that it does not name may be answered in any way. Nothing where
/// there is no folder.
fn torture(folder: &Path) -> Vec<Hostile> {
    let right = |name: &str| {
        let mut rows = TABLE.lines().map(|line| line.split('\t').collect::<Vec<_>>());
        let row = rows.find(|row| row.first() == Some(&name));
        row.and_then(|row| row.get(3).copied()).unwrap_or("drop,lenient")
    };
    let mut found = Vec::new();
    for folder in [folder.to_owned(), folder.join("extra")] {
        for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension == "dat") {
                let name = path.file_stem().unwrap().to_string_lossy().into_owned();
                found.push(Hostile::new(&name, std::fs::read(&path).unwrap(), right(&name)));
            }
        }
    }
    if found.is_empty() {
        eprintln!("left out: the messages of RFC 4475 are not in {}", folder.display());
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

#[test]
fn the_table_judges_as_the_one_beside_the_messages_does() {
    let Ok(theirs) = std::fs::read_to_string(Path::new(TORTURE).join("outcomes.tsv")) else {
        eprintln!("{TORTURE}/outcomes.tsv is not there: not compared with our table");
        return;
    };
    // Remarks stand in a further column.
    let rows = |table: &str| -> Vec<String> {
        let rows = table.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        rows.map(|row| row.split('\t').take(4).collect::<Vec<_>>().join("\t")).collect()
    };
    let (ours, theirs) = (rows(TABLE), rows(&theirs));
    assert!(theirs.len() > 40 && theirs.iter().all(|row| row.split('\t').count() == 4), "{theirs:?}");
    assert_eq!(ours, theirs);
}

pub(crate) fn resident_kb(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hostile_message_is_answered_rightly_and_then_the_next_phone_is_and_memory_stays() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("config/playbook")).unwrap();
    std::fs::write(folder.path().join("config/playbook/hello.md"), PLAYBOOK.replace("fake", "espeak"))
        .unwrap();
    let [tcp] = programs::free_ports();
    let handler = "[handler]\ntype = \"playbook\"\ndefault = \"hello.md\"\n";
    let text = format!("tcp_port = {tcp}\n{CONF}{handler}");
    let running = Running::start_as_said(folder.path(), &text, &[]).await;
    let process = running.child.id().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut peer = Peer { socket, server: running.sip, sent: 0, answers: HashMap::new() };
    let mut messages = own();
    messages.extend(torture(Path::new(TORTURE)));
    // Nobody reads the log meanwhile, which is more than a pipe holds.
    let (mut wrong, mut resident) = (Vec::new(), Vec::new());
    // First, since a message without a branch is a copy of itself afterwards.
    for message in &messages {
        peer.sent += 1;
        let finals = over_tcp(SocketAddr::from(([127, 0, 0, 1], tcp)), message, peer.sent).await;
        wrong.extend(message.fault("TCP", &finals));
        peer.probe(&message.name).await;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for rounds in ROUNDS {
        for _ in 0..rounds {
            let wrong = peer.round(&messages).await;
            assert!(wrong.is_empty(), "{wrong:#?}");
        }
        resident.push(resident_kb(process));
    }
    println!("{} messages, {} sent, resident {resident:?} kB", messages.len(), peer.sent);
    assert!(resident[1] <= resident[0] + GROWTH_KB, "{resident:?} kB");
}
