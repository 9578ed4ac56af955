//! Messages that nobody can do anything with: the answer names the first fault (RFC 3261 section 21.4.1), and what is told
//! of it quotes no more of the peer than the names of its extensions.

use sip::Fault;

use crate::desk::{Desk, PHONE, Phone, SDP, header};

/// An INVITE in which `from` stands as `to`.
fn spoilt(from: &str, to: &str) -> String {
    let invite = Phone::new("c1").request("INVITE", SDP);
    assert!(invite.contains(from), "{from} is not in\n{invite}");
    invite.replace(from, to)
}

#[test]
fn the_reason_phrase_of_a_400_names_the_first_fault_and_quotes_nothing() {
    for (from, to, phrase) in [
        ("Call-ID: c1\r\n", "", "Missing Call-ID header field"),
        ("CSeq: 1 INVITE", "CSeq: SECRET INVITE", "Malformed CSeq header field"),
        ("Max-Forwards: 70", "Max-Forwards: SECRET", "Malformed Max-Forwards header field"),
        ("CSeq: 1 INVITE\r\n", "CSeq: 1 INVITE\r\nCSeq: 2 INVITE\r\n", "More than one CSeq header field"),
        ("CSeq: 1 INVITE", "CSeq: 1 OPTIONS", "CSeq names another method than the request line"),
        ("sip:bob@192.0.2.2 SIP", "sip:bob@192.0.2.2?a=SECRET SIP", "Request-URI with header fields"),
        ("Contact: <sip:alice@192.0.2.1:5060>", "Contact: \"SECRET", "Malformed Contact header field"),
        ("Max-Forwards: 70", "Max-Forwards: 70\r\nExpires: SECRET", "Malformed Expires header field"),
        (
            "sip:bob@192.0.2.2 SIP",
            "sip:bob@192.0.2.2:SECRET SIP",
            "Malformed start line: bad Request-URI: invalid port",
        ),
        ("Max-Forwards: 70", "Max-Forwards 70 SECRET", "Malformed header field on line 8: no colon"),
        (
            "Content-Length: ",
            "Content-Length: -",
            "Cannot frame message body: Content-Length is not a decimal number",
        ),
    ] {
        let mut desk = Desk::new();
        let sent = desk.hear(spoilt(from, to));
        assert_eq!(sent[0].lines().next().unwrap(), format!("SIP/2.0 400 {phrase}"), "{to}");
        let fault = desk.endpoint.take_fault().unwrap();
        assert_eq!(fault, Fault { source: PHONE.parse().unwrap(), code: Some(400), why: phrase.into() });
        assert_eq!(desk.endpoint.take_fault(), None, "it is told once");
    }
}

#[test]
fn extensions_that_are_not_known_are_told_to_the_peer_and_by_their_names() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    phone.extra = "Require: 100rel, moon\r\nRequire: sun\u{1b}[2J\r\n".into();
    let sent = desk.hear(phone.request("INVITE", SDP));
    assert!(sent[0].starts_with("SIP/2.0 420 "), "{sent:?}");
    assert_eq!(header(&sent[0], "Unsupported"), Some("moon, sun\u{fffd}[2J"));
    let fault = desk.endpoint.take_fault().unwrap();
    assert_eq!(fault.why, "Extensions that are not known: moon, sun\u{fffd}[2J");
    phone.extra = format!("Require: {}\r\n", "moon,".repeat(1_000));
    desk.hear(phone.request("INVITE", SDP));
    assert_eq!(desk.endpoint.take_fault().unwrap().why.chars().count(), 200, "it is bounded");
}

#[test]
fn what_cannot_be_answered_is_told_and_what_is_no_sip_is_not() {
    let mut desk = Desk::new();
    for (datagram, why) in [
        (spoilt("Via: SIP/2.0/UDP 192.0.2.1:5060", "Via: ;"), Some("Missing or malformed Via header field")),
        (spoilt("From: ", "From "), Some("Malformed header field on line 3: field name is not a token")),
        (
            "SIP/2.0 2000 OK\r\n\r\n".into(),
            Some("Malformed start line: status code is not three digits in 100..=699"),
        ),
        ("GET / HTTP/1.1\r\n\r\n".into(), None),
        ("\u{0}\u{1}".into(), None),
        ("\r\n\r\n".into(), None),
    ] {
        assert_eq!(desk.hear(&datagram), [""; 0], "{datagram}");
        let fault = desk.endpoint.take_fault();
        assert_eq!(fault.map(|fault| (fault.code, fault.why)), why.map(|why| (None, why.to_owned())));
    }
    let sent = desk.hear(spoilt("Max-Forwards: 70", &format!("X: {}", "x".repeat(20_000))));
    assert!(sent[0].starts_with("SIP/2.0 513 Message longer than 16384 bytes\r\n"), "{sent:?}");
    desk.hear(Phone::new("c2").request("INVITE", SDP));
    assert_eq!(desk.endpoint.take_fault(), None, "a good one has none");
}
