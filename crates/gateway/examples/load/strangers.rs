//! A flood: requests from addresses that the server does not know, whose senders acknowledge nothing.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Failure;

/// Requests are sent in bursts of a millisecond.
const BURST: Duration = Duration::from_millis(1);
/// Sources whose answers are counted in a burst.
const READ: usize = 64;

/// How many strangers knock.
#[derive(clap::Args)]
pub(crate) struct Plan {
    /// Requests of strangers in a second, beside the calls; 0 is none.
    #[arg(long, default_value_t = 0)]
    strangers: u32,
    /// Addresses they come from, in turn.
    #[arg(long, default_value_t = 1)]
    sources: u32,
    /// What they send: INVITE, OPTIONS, REGISTER.
    #[arg(long = "knock", default_value = "INVITE")]
    method: String,
}

/// A flood that is under way.
pub(crate) struct Strangers {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Knocks>,
}

/// What was sent and what came back.
#[derive(Default)]
struct Knocks {
    sent: u64,
    bytes_sent: u64,
    bytes_back: u64,
    answers: BTreeMap<String, u64>,
}

impl Strangers {
    /// Begins the flood; `None` without strangers.
    pub(crate) fn begin(server: SocketAddr, plan: &Plan) -> Result<Option<Self>, Failure> {
        if plan.strangers == 0 {
            return Ok(None);
        }
        let sockets = (0..plan.sources.max(1)).map(source).collect::<Result<Vec<_>, _>>()?;
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, rate, method) = (stop.clone(), plan.strangers, plan.method.clone());
        let thread = std::thread::spawn(move || knock(&sockets, server, (rate, &method), &flag));
        Ok(Some(Strangers { stop, thread }))
    }

    /// Ends the flood and says what came of it.
    pub(crate) fn end(self) -> Result<Value, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let knocks = self.thread.join().map_err(|_| "the strangers' thread died")?;
        let Knocks { sent, bytes_sent, bytes_back, answers } = knocks;
        Ok(json!({"sent": sent, "bytes_sent": bytes_sent, "bytes_back": bytes_back, "answers": answers}))
    }
}

/// A socket on an address of its own: all of 127.0.0.0/8 is this machine.
fn source(number: u32) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::from_bits(0x7f01_0001 + number), 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn knock(
    sockets: &[UdpSocket],
    server: SocketAddr,
    (rate, method): (u32, &str),
    stop: &AtomicBool,
) -> Knocks {
    let mut knocks = Knocks::default();
    let origin = Instant::now();
    let mut heard = sockets.iter().cycle();
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(BURST);
        let due = (origin.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        while knocks.sent < due {
            let socket = &sockets[(knocks.sent % sockets.len() as u64) as usize];
            let message = request(method, knocks.sent, server, socket);
            // What the socket does not take is flood that does not arrive.
            let sent = socket.send_to(message.as_bytes(), server);
            knocks.sent += 1;
            knocks.bytes_sent += sent.unwrap_or(0) as u64;
        }
        for socket in heard.by_ref().take(READ.min(sockets.len())) {
            knocks.hear(socket);
        }
    }
    knocks
}

impl Knocks {
    fn hear(&mut self, socket: &UdpSocket) {
        let mut buffer = [0; 2048];
        while let Ok(length) = socket.recv(&mut buffer) {
            self.bytes_back += length as u64;
            // "SIP/2.0 403 Forbidden"
            let code = String::from_utf8_lossy(buffer.get(8..11).unwrap_or_default()).into_owned();
            *self.answers.entry(code).or_default() += 1;
        }
    }
}

fn request(method: &str, number: u64, server: SocketAddr, socket: &UdpSocket) -> String {
    let from = socket.local_addr().map_or_else(|_| "127.0.0.1:9".to_owned(), |address| address.to_string());
    let body = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0 8\r\n";
    format!(
        "{method} sip:{number}@{server} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {from};branch=z9hG4bK-stranger-{number};rport\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:100@{from}>;tag=stranger{number}\r\n\
         To: <sip:{number}@{server}>\r\n\
         Call-ID: stranger-{number}@{from}\r\n\
         CSeq: 1 {method}\r\n\
         Contact: <sip:100@{from}>\r\n\
         User-Agent: friendly-scanner\r\n\
         Content-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
