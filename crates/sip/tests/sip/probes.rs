//! What every input must withstand, whoever made it. Fuzzing runs these probes on what it invents, the tests on what is
//! kept in `fuzz/seeds`.

use std::time::Duration;

use sip::framing::Framer;
use sip::{Claim, Config, Credentials, Endpoint, Guard, Hop, Outbound, Output, SipEvent, Time, Verdict};

const US: &str = "192.0.2.2:5060";
const PEER: &str = "192.0.2.1:5060";
/// Messages that one datagram may make us send at once.
const MOST_SENT: usize = 8;
const SDP: &str =
    "v=0\r\no=- 1 1 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

fn peer() -> Hop {
    PEER.parse::<std::net::SocketAddr>().expect("an address").into()
}

fn endpoint() -> Endpoint {
    Endpoint::new(Config::new(US.parse().expect("an address"), [7; 32]))
}

/// What the endpoint sends and tells now; header lines that it tells hold no control character.
fn drained(endpoint: &mut Endpoint) -> (Vec<Vec<u8>>, Vec<SipEvent>) {
    let (mut sent, mut events) = (Vec::new(), Vec::new());
    while let Some(output) = endpoint.poll() {
        match output {
            Output::Send { bytes, .. } => sent.push(bytes),
            Output::Event(event) => events.push(event),
            Output::Registration { .. } | Output::Locate { .. } => {}
        }
    }
    for event in &events {
        let (SipEvent::Canceled { headers, .. }
        | SipEvent::Left { headers, .. }
        | SipEvent::Ended { headers, .. }
        | SipEvent::Provisional { headers, .. }
        | SipEvent::Answered { headers, .. }
        | SipEvent::Rejected { headers, .. }) = event
        else {
            if let SipEvent::Invited { invite, .. } = event {
                clean(&invite.headers);
            }
            continue;
        };
        clean(headers);
    }
    (sent, events)
}

fn clean(headers: &[(String, String)]) {
    let bad = headers.iter().find(|(name, value)| name.chars().chain(value.chars()).any(char::is_control));
    assert!(bad.is_none(), "{bad:?} could write into a log");
}

/// Gives the endpoint a datagram, does with what came of it what a program would, and lets time pass.
fn hear(endpoint: &mut Endpoint, data: &[u8]) -> Vec<SipEvent> {
    endpoint.receive(Time::ZERO, peer(), data);
    let (sent, events) = drained(endpoint);
    assert!(sent.len() <= MOST_SENT, "{} messages for one", sent.len());
    for event in &events {
        let dialog = event.dialog();
        let _ = endpoint.ring(Time::ZERO, dialog, None);
        let _ = endpoint.answer(Time::ZERO, dialog, SDP, &[]);
        let _ = endpoint.answer_reoffer(Time::ZERO, dialog, Ok(SDP));
        let _ = endpoint.answer_refer(Time::ZERO, dialog, Ok(()));
        let _ = endpoint.hangup(Time::ZERO, dialog, &[]);
    }
    for second in 1..40 {
        endpoint.handle_timeout(Duration::from_secs(second));
        drained(endpoint);
    }
    events
}

/// An endpoint with a call of ours under way, and its INVITE.
fn calling() -> (Endpoint, String) {
    let mut endpoint = endpoint();
    let call = Outbound {
        sdp: Some(SDP.into()),
        call_id: Some("ours".into()),
        credentials: Some(Credentials::new("alice", "secret")),
        ..Outbound::new("sip:bob@192.0.2.1", "sip:alice@192.0.2.2", peer())
    };
    endpoint.invite(Time::ZERO, &call).expect("a call can be placed");
    let (mut sent, _) = drained(&mut endpoint);
    let invite = String::from_utf8(sent.remove(0)).expect("our INVITE is text");
    (endpoint, invite)
}

/// A datagram, to an endpoint at rest and to one that waits for a response.
pub(crate) fn message(data: &[u8]) {
    hear(&mut endpoint(), data);
    hear(&mut calling().0, data);
}

/// A stream in two unequal parts: what is cut out of it is the same wherever it was broken.
pub(crate) fn stream(data: &[u8]) {
    let whole = cut(&[data]);
    let at = data.first().map_or(0, |first| usize::from(*first) % data.len());
    let (left, right) = data.split_at(at);
    assert_eq!(cut(&[left, right]), whole);
    for message in whole.iter().take(16) {
        hear(&mut endpoint(), message);
    }
}

fn cut(parts: &[&[u8]]) -> Vec<Vec<u8>> {
    let (mut framer, mut messages) = (Framer::default(), Vec::new());
    for part in parts {
        framer.push(part);
        loop {
            match framer.poll() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(_) => return messages,
            }
        }
    }
    messages
}

/// Where URIs stand: one to be called, and those of a request.
pub(crate) fn uri(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut ours = endpoint();
    if ours.invite(Time::ZERO, &Outbound::new(text, "sip:a@192.0.2.2", peer())).is_ok() {
        let (sent, _) = drained(&mut ours);
        let invite = String::from_utf8_lossy(&sent[0]).into_owned();
        let first = invite.lines().next().unwrap_or_default();
        assert!(first.starts_with("INVITE ") && first.ends_with(" SIP/2.0"), "{first}");
        assert_eq!(first.matches(' ').count(), 2, "{first}");
        assert_eq!(invite.matches("\r\nVia:").count(), 1, "{invite}");
    }
    for name in ["From", "To", "Contact", "Refer-To", "Record-Route", "Route"] {
        let header =
            |own: &str, usual: &str| if own == name { format!("<{text}>;tag=x") } else { usual.into() };
        let request = format!(
            "INVITE sip:bob@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP {PEER};branch=z9hG4bK1\r\nFrom: {}\r\nTo: {}\r\n\
             Contact: {}\r\n{name}: <{text}>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n",
            header("From", "<sip:a@b>;tag=y"),
            header("To", "<sip:b@c>"),
            header("Contact", "<sip:a@192.0.2.1>"),
        );
        hear(&mut endpoint(), request.as_bytes());
    }
}

/// A challenge to a call of ours, and an answer to a challenge of ours: nobody gets in by it.
pub(crate) fn digest(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let mut guard = Guard::new("here", [9; 32], Duration::from_secs(60));
    let headers = vec![("Authorization".to_owned(), text.clone())];
    let claim = Claim { method: "INVITE", uri: "sip:us", headers: &headers };
    let verdict = guard.judge(Duration::from_secs(5), &claim, |_| Some("secret".to_owned().into()));
    assert!(!matches!(verdict, Verdict::Welcome { .. }), "{text} opens the door");
    let (mut endpoint, invite) = calling();
    let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    let copied = invite.lines().filter(|line| copied.iter().any(|name| line.starts_with(name)));
    let lines: Vec<&str> = copied.collect();
    let line = text.replace(['\r', '\n'], " ");
    let response = format!(
        "SIP/2.0 401 No\r\n{}\r\nWWW-Authenticate: {line}\r\nContent-Length: 0\r\n\r\n",
        lines.join("\r\n")
    );
    hear(&mut endpoint, response.as_bytes());
}

/// A body of several parts, behind a line with its `Content-Type`: a description that is found in it stands in it.
pub(crate) fn multipart(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (kind, body) = data.split_at(end);
    let kind = String::from_utf8_lossy(kind).replace(['\r', '\n'], " ");
    let body = body.get(1..).unwrap_or_default();
    let head = format!(
        "INVITE sip:bob@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP {PEER};branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=y\r\n\
         To: <sip:b@c>\r\nContact: <sip:a@192.0.2.1>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContent-Type: {kind}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let events = hear(&mut endpoint(), &[head.as_bytes(), body].concat());
    let invites = events.iter().filter_map(|event| match event {
        SipEvent::Invited { invite, .. } => invite.sdp.as_ref(),
        _ => None,
    });
    for sdp in invites.filter(|_| std::str::from_utf8(body).is_ok()) {
        assert!(String::from_utf8_lossy(body).contains(sdp.as_str()), "{sdp:?} is not of the body");
    }
}
