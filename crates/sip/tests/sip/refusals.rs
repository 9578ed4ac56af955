//! What is refused, with which code and which headers (RFC 3261 section 8.2).

use std::time::Duration;

use sip::{Admission, Rejection, SipError, SipEvent};

use crate::desk::{Desk, Phone, SDP, header};

/// The response to an INVITE that was changed by replacing text.
fn refused(from: &str, to: &str) -> String {
    let mut desk = Desk::new();
    let invite = Phone::new("c1").request("INVITE", SDP);
    assert!(invite.contains(from), "{from}");
    let sent = desk.hear(invite.replace(from, to));
    assert_eq!(desk.endpoint.counters().transactions, 0, "refused without state");
    assert!(desk.events.is_empty());
    sent.into_iter().next().unwrap_or_default()
}

fn code(response: &str) -> &str {
    response.split(' ').nth(1).unwrap_or("silence")
}

#[test]
fn an_invite_that_cannot_be_taken_is_refused_with_the_code_that_says_why() {
    let table = [
        ("Max-Forwards: 70", "Require: 100rel, nope", "420"),
        ("INVITE sip:bob@192.0.2.2", "INVITE mailto:bob@192.0.2.2", "416"),
        ("application/sdp", "text/plain", "415"),
        ("Max-Forwards: 70", "Content-Encoding: gzip", "415"),
        ("Max-Forwards: 70", "Accept: text/plain", "406"),
        ("SIP/2.0\r\nVia", "SIP/7.0\r\nVia", "505"),
        ("CSeq: 1 INVITE", "CSeq: 1 BYE", "400"),
        ("CSeq: 1 INVITE", "CSeq: 99999999999 INVITE", "400"),
        ("Max-Forwards: 70", "Max-Forwards: 300", "400"),
        ("Max-Forwards: 70", "To: <sip:other@192.0.2.2>", "400"),
        ("Contact: <sip:alice@192.0.2.1:5060>", "Contact: *", "400"),
        ("Content-Length: ", "Content-Length: 9", "400"),
        ("sip:bob@192.0.2.2 SIP/2.0", "sip:bob@192.0.2.2?Route=x SIP/2.0", "400"),
        ("Call-ID: c1\r\n", "", "400"),
        ("Max-Forwards: 70", "Expires: soon", "400"),
    ];
    for (from, to, expected) in table {
        let response = refused(from, to);
        assert_eq!(code(&response), expected, "{to}\n{response}");
    }
    assert_eq!(header(&refused("Max-Forwards: 70", "Require: 100rel, nope"), "Unsupported"), Some("nope"));
    assert_eq!(
        header(&refused("application/sdp", "text/plain"), "Accept"),
        Some("application/sdp, multipart/mixed")
    );
}

#[test]
fn the_description_beside_a_trunks_isup_is_taken() {
    let body = format!(
        "--b1\r\nContent-Type: application/ISUP;version=itu-t92+\r\n\r\n\x01\x11\r\n--b1\r\nContent-Type: \
         application/sdp\r\n\r\n{SDP}\r\n--b1--\r\n"
    );
    let mut desk = Desk::new();
    let invite = Phone::new("c1").request("INVITE", &body);
    assert_eq!(
        desk.status(
            invite.replace("application/sdp\r\nContent-L", "multipart/mixed;boundary=b1\r\nContent-L")
        ),
        0
    );
    let [SipEvent::Invited { invite, .. }] = &desk.events[..] else { panic!("{:?}", desk.story()) };
    assert_eq!(invite.sdp.as_deref(), Some(SDP));
}

#[test]
fn an_invite_with_odd_but_legal_parts_is_taken() {
    let table = [
        ("Max-Forwards: 70\r\n", ""),
        ("Max-Forwards: 70", "Max-Forwards: 0"),
        ("Content-Type: application/sdp", "c: APPLICATION/SDP;charset=utf-8"),
        ("Content-Type: application/sdp\r\n", ""),
        ("Max-Forwards: 70", "Proxy-Require: privacy"),
        ("Max-Forwards: 70", "Accept: text/html, application/*;q=0.5"),
        ("Contact: <sip:alice@192.0.2.1:5060>\r\n", ""),
        (
            "Content-Type: application/sdp",
            "Content-Type: image/png\r\nContent-Disposition: icon; handling=optional",
        ),
        ("INVITE sip:bob@192.0.2.2 ", "INVITE tel:+4930123456 "),
    ];
    for (from, to) in table {
        let mut desk = Desk::new();
        let invite = Phone::new("c1").request("INVITE", SDP);
        assert!(invite.contains(from));
        assert_eq!(desk.status(invite.replace(from, to)), 0, "{to}");
        assert_eq!(desk.story(), ["Invited"], "{to}");
    }
}

#[test]
fn methods_that_are_not_served_are_refused_with_those_that_are() {
    for (method, expected) in [
        ("REGISTER", 405),
        ("MESSAGE", 405),
        ("SUBSCRIBE", 405),
        ("PUBLISH", 405),
        ("REFER", 481),
        ("NOTIFY", 481),
        ("PRACK", 481),
        ("NEWMETHOD", 501),
        ("BYE", 481),
        ("INFO", 481),
        ("UPDATE", 481),
        ("ACK", 0),
    ] {
        let mut desk = Desk::new();
        let request = Phone::new("c1").request(method, "");
        let first = desk.hear(&request);
        assert_eq!(crate::desk::status(&first), expected, "{method}");
        if expected == 405 || expected == 501 {
            assert!(header(&first[0], "Allow").unwrap().starts_with("INVITE, ACK, BYE"));
        }
        assert_eq!(desk.hear(&request), first, "a copy gets the same, tag included");
        assert_eq!(desk.endpoint.counters().transactions, 0);
    }
}

#[test]
fn what_makes_no_sense_in_a_dialog_is_refused_and_the_call_goes_on() {
    let mut desk = Desk::new();
    let (mut phone, _) = desk.call();
    for (method, expected) in [("REFER", 400), ("NOTIFY", 489), ("FOO", 501), ("OPTIONS", 200)] {
        assert_eq!(desk.status(phone.request(method, "")), expected);
    }
    assert_eq!(desk.endpoint.counters().dialogs, 1);
}

#[test]
fn options_says_what_we_can_and_503_when_we_are_closed() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    let ok = desk.hear(phone.request("OPTIONS", "")).remove(0);
    assert!(ok.starts_with("SIP/2.0 200 OK"));
    for name in ["Allow", "Accept", "Supported", "Server"] {
        assert!(header(&ok, name).is_some(), "{name}");
    }
    desk.endpoint.set_admission(Admission::Refusing);
    let busy = desk.hear(phone.request("OPTIONS", "")).remove(0);
    assert!(busy.starts_with("SIP/2.0 503 "));
    assert_eq!(header(&busy, "Retry-After"), Some("5"));
    assert_eq!(desk.status(phone.request("INVITE", SDP)), 503);
    desk.endpoint.set_admission(Admission::Open);
    assert_eq!(desk.status(phone.request("OPTIONS", "")), 200);
}

#[test]
fn a_call_that_stands_goes_on_while_new_ones_are_refused() {
    let mut desk = Desk::new();
    let (mut phone, _) = desk.call();
    desk.endpoint.set_admission(Admission::Refusing);
    assert_eq!(desk.status(phone.request("OPTIONS", "")), 200);
    assert_eq!(desk.status(phone.request("BYE", "")), 200);
}

#[test]
fn an_invite_that_is_turned_away_leaves_nothing_behind_and_its_copy_is_judged_anew() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    let invite = phone.request("INVITE", SDP);
    let retry = vec![("Retry-After".to_owned(), "2".to_owned())];
    let rejection = Rejection { headers: retry, ..Rejection::new(503) };
    let mut answers = Vec::new();
    for _ in 0..2 {
        assert!(desk.hear(&invite).is_empty());
        assert_eq!(desk.events.last().map(crate::world::name).as_deref(), Some("Invited"));
        let dialog = desk.dialog();
        assert_eq!(desk.endpoint.turn_away(dialog, &Rejection::new(200)), Err(SipError::BadCode(200)));
        desk.endpoint.turn_away(dialog, &rejection).unwrap();
        answers.extend(desk.sent().into_iter().map(|(_, text)| text));
        assert_eq!(desk.endpoint.counters().transactions + desk.endpoint.counters().dialogs, 0);
    }
    assert_eq!(answers[0], answers[1], "the same answer, tag included");
    assert_eq!((code(&answers[0]), header(&answers[0], "Retry-After")), ("503", Some("2")));
    assert_eq!(desk.wait(Duration::from_secs(40)), [], "nothing is sent again");
    phone.learn(&answers[0]);
    assert_eq!(desk.hear(phone.ack("")), [""; 0], "its ACK is not answered");
}

#[test]
fn an_invite_that_comes_on_two_ways_is_taken_once() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    let first = phone.request("INVITE", SDP);
    desk.hear(&first);
    let second = first.replace("branch=z9hG4bK-c1-1", "branch=z9hG4bK-other-way");
    assert_eq!(desk.status(second), 482);
    assert_eq!(desk.story(), ["Invited"]);
}

#[test]
fn what_cannot_be_parsed_gets_400_if_its_headers_can_be_found() {
    let invite = Phone::new("c1").request("INVITE", SDP);
    let broken = [
        invite.replace("Content-Length: ", "Content-Length: -"),
        invite.replace("INVITE sip:bob@192.0.2.2 SIP", "INVITE <sip:bob@192.0.2.2> SIP"),
        invite.replace("INVITE sip:bob@192.0.2.2 SIP", "INVITE sip:bob@192.0.2.2; lr SIP"),
        invite.replace("Max-Forwards: 70", "Max Forwards 70"),
        invite.replace("Max-Forwards: 70", "Content-Length: 7\r\nContent-Length: 8"),
    ];
    for message in broken {
        let mut desk = Desk::new();
        let response = desk.hear(&message).remove(0);
        assert_eq!(code(&response), "400", "{message}");
        assert!(header(&response, "Via").unwrap().ends_with(";received=192.0.2.1;rport=5060"));
        assert_eq!(header(&response, "CSeq"), Some("1 INVITE"));
        assert!(header(&response, "To").unwrap().contains(";tag="));
        assert_eq!(desk.endpoint.counters().parse_errors, 1);
    }
    let mut desk = Desk::new();
    let silent = [
        invite.replace("INVITE", "ACK").replace("Max-Forwards: 70", "x"),
        invite.replace("Via: SIP/2.0/UDP 192.0.2.1:5060", "Via: SIP").replace("Max-Forwards: 70", "x"),
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a\r\nbroken\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
    ];
    for message in silent {
        assert!(desk.hear(&message).is_empty(), "{message}");
    }
}

#[test]
fn a_message_that_is_too_large_gets_513() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    phone.extra = "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(400);
    assert_eq!(desk.status(phone.request("INVITE", SDP)), 513);
}

#[test]
fn keep_alives_are_not_answered() {
    let mut desk = Desk::new();
    for bytes in [&b""[..], b"\r\n\r\n", b"\0", b"\0\0\0\0"] {
        assert!(desk.hear(bytes).is_empty());
    }
    assert_eq!(desk.endpoint.counters().parse_errors, 0);
}
