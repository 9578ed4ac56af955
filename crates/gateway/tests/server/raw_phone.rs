//! A phone of plain datagrams, which does what no orderly one does: gives up in the moment of the answer, shows its
//! credentials unasked, calls again and again. It shows what it gets as text.

use std::net::SocketAddr;

use axum::http::StatusCode;
use serde_json::json;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::inbound_sip::{attach, hook, webhooks};
use crate::programs;
use crate::rig::{PATIENCE, Rig};

/// A description of G.711 at `rtp`.
pub(crate) fn sdp(rtp: SocketAddr) -> String {
    let (host, port) = (rtp.ip(), rtp.port());
    format!(
        "v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
    )
}

/// The value of a header of a message, or of a line of its description (`o=`).
pub(crate) fn value<'a>(message: &'a str, name: &str) -> &'a str {
    let line = message.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in\n{message}")).trim_start_matches(':').trim()
}

/// The status of a response.
fn status(message: &str) -> Option<u16> {
    message.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
}

/// One call.
pub(crate) struct RawPhone {
    pub(crate) socket: UdpSocket,
    server: SocketAddr,
    call: String,
}

impl RawPhone {
    async fn new(rig: &Rig, call: &str) -> RawPhone {
        Self::towards(rig.server.sip_addr(), call).await
    }

    /// A phone for the call with this `Call-ID`, made to `server` or got from there.
    pub(crate) async fn towards(server: SocketAddr, call: &str) -> RawPhone {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        RawPhone { socket, server, call: call.to_owned() }
    }

    /// The same at another address of loopback.
    pub(crate) async fn from(ip: [u8; 4], server: SocketAddr, call: &str) -> RawPhone {
        let socket = UdpSocket::bind(SocketAddr::from((ip, 0))).await.unwrap();
        RawPhone { socket, server, call: call.to_owned() }
    }

    /// A phone at a socket that is bound already, to be called by `server`.
    pub(crate) fn at(socket: std::net::UdpSocket, server: SocketAddr) -> RawPhone {
        socket.set_nonblocking(true).unwrap();
        RawPhone { socket: UdpSocket::from_std(socket).unwrap(), server, call: String::new() }
    }

    /// Sends a request of this call; those with one `branch` belong to one transaction.
    pub(crate) async fn send(&self, method: &str, (branch, to_tag): (&str, &str), lines: &str, body: &str) {
        let here = self.socket.local_addr().unwrap();
        let (server, call) = (self.server, &self.call);
        let sequence = ["PRACK", "BYE"].iter().position(|later| *later == method).map_or(1, |at| at + 2);
        let text = format!(
            "{method} sip:agent@{server} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK{call}{branch};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:raw@{here}>;tag={call}\r\nTo: <sip:agent@{server}>{to_tag}\r\n\
             Call-ID: {call}\r\nCSeq: {sequence} {method}\r\nContact: <sip:raw@{here}>\r\n{lines}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.socket.send_to(text.as_bytes(), self.server).await.unwrap();
    }

    async fn invite(&self, lines: &str) {
        self.invite_with(lines, &sdp(([127, 0, 0, 1], 4000).into())).await;
    }

    /// Calls, and offers `sdp`.
    pub(crate) async fn invite_with(&self, lines: &str, sdp: &str) {
        let lines = format!("{lines}Content-Type: application/sdp\r\n");
        self.send("INVITE", ("i", ""), &lines, sdp).await;
    }

    /// The next message that fits.
    pub(crate) async fn heard(&self, fits: impl Fn(&str) -> bool) -> String {
        let mut datagram = vec![0; 65_536];
        let waiting = async {
            loop {
                let length = self.socket.recv(&mut datagram).await.unwrap();
                let text = String::from_utf8_lossy(&datagram[..length]).into_owned();
                if fits(&text) {
                    return text;
                }
            }
        };
        timeout(PATIENCE, waiting).await.expect("a message")
    }

    /// The next request of this method.
    pub(crate) async fn asked(&self, method: &str) -> String {
        self.heard(|text| text.starts_with(&format!("{method} "))).await
    }

    /// Answers a request: with a body if it is not empty, which is a description.
    pub(crate) async fn answer(&self, request: &str, status: &str, body: &str) {
        let here = self.socket.local_addr().unwrap();
        self.answer_as(request, status, &here.to_string(), body).await;
    }

    /// The same with another host in `Contact`.
    pub(crate) async fn answer_as(&self, request: &str, status: &str, host: &str, body: &str) {
        let copied =
            ["Via", "From", "Call-ID", "CSeq"].map(|name| format!("{name}: {}", value(request, name)));
        let to = value(request, "To");
        let tag = if to.contains(";tag=") { "" } else { ";tag=raw" };
        let text = format!(
            "SIP/2.0 {status}\r\n{}\r\nTo: {to}{tag}\r\nContact: <sip:raw@{host}>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            copied.join("\r\n"),
            body.len()
        );
        self.socket.send_to(text.as_bytes(), self.server).await.unwrap();
    }

    /// The final answer to the INVITE, acknowledged.
    pub(crate) async fn answered(&self) -> String {
        let last = |text: &str| status(text).is_some_and(|status| status >= 200);
        let text = self.heard(|text| last(text) && text.contains("CSeq: 1 INVITE")).await;
        let branch = if status(&text) == Some(200) { "a" } else { "i" };
        self.send("ACK", (branch, &tag(&text)), "", "").await;
        text
    }

    /// Hangs up the call that was answered so.
    pub(crate) async fn hang_up(&self, answer: &str) {
        self.send("BYE", ("b", &tag(answer)), "", "").await;
    }

    /// The status of the final answer to the INVITE; a call that is answered with 200 is hung up.
    async fn end(&self) -> u16 {
        let answer = self.answered().await;
        let status = status(&answer).unwrap();
        if status == 200 {
            self.hang_up(&answer).await;
        }
        status
    }
}

/// The parameter of `To` that a request inside the dialog needs.
fn tag(answer: &str) -> String {
    value(answer, "To").split_once(";tag=").map(|(_, tag)| format!(";tag={tag}")).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_gives_up_while_it_is_answered_was_answered_for_nobody() {
    let (url, mut told) = hook(StatusCode::OK).await;
    let rig = Rig::start_with(|config| webhooks(config, &[url])).await;
    for round in 0..12 {
        let phone = RawPhone::new(&rig, &format!("race{round}")).await;
        phone.invite("").await;
        let mut client = attach(&rig, &mut told).await;
        client.event("incoming").await;
        client.send(json!({"command": "accept", "option": {}})).await;
        phone.send("CANCEL", ("i", ""), "", "").await;
        let status = phone.end().await;
        client.event("hangup").await;
        let count = |name: &str| client.seen.iter().filter(|seen| *seen == name).count();
        let answered = usize::from(status == 200);
        assert_eq!((count("answer"), count("trackStart"), count("trackEnd")), (answered, answered, answered));
    }
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_a_call_that_was_refused_without_sound_is_free_at_once() {
    let (url, mut told) = hook(StatusCode::OK).await;
    let [port] = programs::free_ports();
    let rig = Rig::start_with(|config| {
        webhooks(config, &[url]);
        config.rtp_start_port = port;
        config.rtp_end_port = Some(port + 3);
    })
    .await;
    for round in 0..5 {
        let phone = RawPhone::new(&rig, &format!("busy{round}")).await;
        phone.invite("").await;
        let mut client = attach(&rig, &mut told).await;
        client.send(json!({"command": "reject", "reason": "busy", "code": 486})).await;
        client.event("hangup").await;
        assert_eq!(phone.end().await, 486, "call {round} of a server with two ports");
    }
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_proves_who_calls_is_not_for_the_webhook() {
    let (url, mut told) = hook(StatusCode::OK).await;
    let rig = Rig::start_with(|config| webhooks(config, &[url])).await;
    let phone = RawPhone::new(&rig, "proof").await;
    let digest = "Digest username=\"u\", response=\"hunter2\"";
    phone
        .invite(&format!("Authorization: {digest}\r\nproxy-authorization: {digest}\r\nX-Token: t\r\n"))
        .await;
    let (_, body) = timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
    let headers = body["headers"].to_string();
    assert!(!headers.contains("hunter2") && !headers.to_lowercase().contains("authorization"), "{headers}");
    assert!(headers.contains("X-Token: t"), "what a trunk says of its call is the webhook's: {headers}");
    phone.send("CANCEL", ("i", ""), "", "").await;
    assert_eq!(phone.end().await, 487);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_caller_gave_up_is_in_the_record() {
    let (url, mut told) = hook(StatusCode::OK).await;
    let rig = Rig::start_with(|config| webhooks(config, &[url])).await;
    let phone = RawPhone::new(&rig, "elsewhere").await;
    phone.invite("").await;
    timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
    let reason = "SIP;cause=200;text=\"Call completed elsewhere\"";
    phone.send("CANCEL", ("i", ""), &format!("Reason: {reason}\r\n"), "").await;
    assert_eq!(phone.end().await, 487);
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    let record = serde_json::to_value(&record).unwrap();
    assert!(record["hangupMessages"].to_string().contains("Call completed elsewhere"), "{record}");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_answered_for_its_client_when_the_200_has_gone_out_and_not_before() {
    let (url, mut told) = hook(StatusCode::OK).await;
    let rig = Rig::start_with(|config| webhooks(config, &[url])).await;
    let phone = RawPhone::new(&rig, "early").await;
    phone.invite("Supported: 100rel\r\n").await;
    let mut client = attach(&rig, &mut told).await;
    client.send(json!({"command": "ringing", "earlyMedia": true})).await;
    let early = phone.heard(|text| status(text) == Some(183)).await;
    client.send(json!({"command": "accept", "option": {}})).await;
    // What is told of this one comes after all that is told of the first.
    client.send(json!({"command": "accept", "option": {}})).await;
    assert_eq!(client.event("error").await["code"], 409);
    assert!(!client.seen.iter().any(|event| event == "answer"), "{:?}", client.seen);
    let confirmed = format!("RAck: {} 1 INVITE\r\n", value(&early, "RSeq"));
    phone.send("PRACK", ("p", &tag(&early)), &confirmed, "").await;
    let answer = phone.answered().await;
    assert_eq!(status(&answer), Some(200));
    client.event("answer").await;
    phone.hang_up(&answer).await;
    client.event("hangup").await;
    rig.server.stop().await;
}

/// Nothing but 200 answers a PRACK that has arrived (RFC 3262 section 3), so that the offer in it is turned down by its
/// answer, and what was agreed on before is offered again when the call is up (RFC 6337 section 2.3).
#[tokio::test(flavor = "multi_thread")]
async fn an_offer_in_a_prack_that_does_not_fit_fails_neither_the_prack_nor_the_call() {
    let (url, mut told) = hook(StatusCode::OK).await;
    let rig = Rig::start_with(|config| webhooks(config, &[url])).await;
    let phone = RawPhone::new(&rig, "fax").await;
    phone.invite("Supported: 100rel\r\n").await;
    let mut client = attach(&rig, &mut told).await;
    client.send(json!({"command": "ringing", "earlyMedia": true})).await;
    let early = phone.heard(|text| status(text) == Some(183)).await;
    let lines = format!("RAck: {} 1 INVITE\r\nContent-Type: application/sdp\r\n", value(&early, "RSeq"));
    let fax = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
               m=image 4000 udptl t38\r\n";
    phone.send("PRACK", ("p", &tag(&early)), &lines, fax).await;
    let down = phone.heard(|text| text.contains("CSeq: 2 PRACK")).await;
    assert_eq!(status(&down), Some(200), "{down}");
    assert!(down.contains("\r\nm=image 0 udptl t38\r\n"), "{down}");
    client.send(json!({"command": "accept", "option": {}})).await;
    let answer = phone.answered().await;
    assert_eq!(status(&answer), Some(200));
    let again = phone.asked("INVITE").await;
    assert!(again.contains("\r\nm=audio ") && again.contains("PCMU/8000"), "{again}");
    let version = |text: &str| value(text, "o=").split(' ').nth(2).unwrap().parse::<u64>().unwrap();
    assert!(version(&early) < version(&down) && version(&down) < version(&again), "{early}\n{down}\n{again}");
    phone.answer(&again, "200 OK", &sdp(([127, 0, 0, 1], 4000).into())).await;
    phone.asked("ACK").await;
    phone.hang_up(&answer).await;
    assert_eq!(client.event("hangup").await["reason"], "caller");
    rig.server.stop().await;
}
