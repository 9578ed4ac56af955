//! One INVITE of ours, several answers.

use std::time::Duration;

use crate::cancel::tagged;
use crate::desk::{Desk, PHONE, SDP, header, status};
use crate::digest_client::{refuse, request};

fn calling() -> (Desk, String) {
    let mut desk = Desk::new();
    let call = sip::Outbound {
        sdp: Some(SDP.into()),
        ..sip::Outbound::new(
            "sip:bob@example.com",
            "sip:us@192.0.2.2",
            PHONE.parse::<std::net::SocketAddr>().unwrap(),
        )
    };
    desk.endpoint.invite(desk.now, &call).unwrap();
    let invite = desk.sent().remove(0).1;
    (desk, invite)
}

#[test]
fn the_second_callee_that_answers_is_acknowledged_and_hung_up() {
    let (mut desk, invite) = calling();
    desk.hear(tagged(&invite, 180, "bob"));
    desk.hear(tagged(&invite, 180, "eve"));
    let ack = desk.hear(tagged(&invite, 200, "bob"));
    assert!(ack[0].starts_with("ACK sip:bob@192.0.2.1:5060 ") && ack.len() == 1);
    let sent = desk.hear(tagged(&invite, 200, "eve"));
    assert!(sent[0].starts_with("ACK sip:eve@192.0.2.1:5060 "));
    assert!(sent[1].starts_with("BYE sip:eve@192.0.2.1:5060 "));
    assert!(header(&sent[1], "To").unwrap().ends_with(";tag=eve"));
    desk.hear(tagged(&sent[1], 200, "eve"));
    desk.wait(Duration::from_secs(100));
    assert_eq!(desk.story(), ["Provisional 180", "Provisional 180", "Answered"]);
    assert_eq!(desk.endpoint.counters().dialogs, 1);
    assert_eq!(desk.endpoint.counters().transactions, 0);
}

#[test]
fn the_bye_of_a_callee_that_answers_too_late_shows_the_credentials_of_the_call_to_who_asks() {
    let (mut desk, dialog, invite) = calling_with_a_password();
    desk.hear(tagged(&invite, 200, "bob"));
    let bye = request(desk.hear(tagged(&invite, 200, "eve"))).unwrap();
    assert!(bye.starts_with("BYE sip:eve@") && header(&bye, "CSeq") == Some("3 BYE"), "{bye}");
    let again = request(desk.hear(refuse(&bye, 407, &asks("proxy")))).unwrap();
    assert!(again.starts_with("BYE sip:eve@") && header(&again, "CSeq") == Some("4 BYE"), "{again}");
    assert!(header(&again, "To").unwrap().ends_with(";tag=eve"));
    let answer = header(&again, "Proxy-Authorization").unwrap();
    assert!(answer.contains("realm=\"proxy\"") && answer.contains("nc=00000002"), "{answer}");
    // Whoever else asks now could be anyone.
    assert_eq!(request(desk.hear(refuse(&again, 407, &asks("stranger")))), None);
    desk.endpoint.bye(desk.now, dialog, &[]).unwrap();
    let own = desk.sent().remove(0).1;
    assert!(own.starts_with("BYE sip:bob@") && header(&own, "CSeq") == Some("3 BYE"), "{own}");
    desk.hear(tagged(&own, 200, "bob"));
    assert_eq!(desk.story(), ["Answered", "Ended LocalBye"]);
    desk.wait(Duration::from_secs(100));
    assert_eq!(desk.endpoint.counters().transactions, 0);
}

/// The desk calls with a password; its INVITE has answered the proxy's challenge.
fn calling_with_a_password() -> (Desk, sip::DialogId, String) {
    let mut desk = Desk::new();
    let target = PHONE.parse::<std::net::SocketAddr>().unwrap();
    let call = sip::Outbound {
        sdp: Some(SDP.into()),
        credentials: Some(sip::Credentials::new("us", "secret")),
        ..sip::Outbound::new("sip:bob@example.com", "sip:us@192.0.2.2", target)
    };
    let dialog = desk.endpoint.invite(desk.now, &call).unwrap();
    let first = desk.sent().remove(0).1;
    let invite = request(desk.hear(refuse(&first, 407, &asks("proxy")))).unwrap();
    (desk, dialog, invite)
}

fn asks(realm: &str) -> String {
    format!("Proxy-Authenticate: Digest realm=\"{realm}\", nonce=\"n\", qop=\"auth\"")
}

#[test]
fn the_bye_of_a_callee_that_answers_when_the_call_is_over_shows_its_credentials_too() {
    let (mut desk, dialog, invite) = calling_with_a_password();
    desk.hear(tagged(&invite, 200, "bob"));
    // One BYE is challenged when the call is over, another callee answers only then.
    let early = request(desk.hear(tagged(&invite, 200, "eve"))).unwrap();
    desk.endpoint.bye(desk.now, dialog, &[]).unwrap();
    let own = desk.sent().remove(0).1;
    desk.hear(tagged(&own, 200, "bob"));
    assert_eq!(desk.story(), ["Answered", "Ended LocalBye"]);
    desk.wait(Duration::from_secs(30));
    let late = request(desk.hear(tagged(&invite, 200, "mallory"))).unwrap();
    for (bye, tag, count) in [(early, "eve", "nc=00000003"), (late, "mallory", "nc=00000004")] {
        let again = request(desk.hear(refuse(&bye, 407, &asks("proxy")))).unwrap();
        assert!(again.starts_with(&format!("BYE sip:{tag}@")), "{again}");
        assert!(header(&again, "Proxy-Authorization").unwrap().contains(count), "{again}");
        assert_eq!(request(desk.hear(refuse(&again, 407, &asks("stranger")))), None, "nobody else is told");
    }
    desk.wait(Duration::from_secs(100));
    assert_eq!((desk.endpoint.counters().transactions, desk.endpoint.timeout()), (0, None));
}

#[test]
fn the_credentials_of_a_call_are_kept_no_longer_than_others_may_answer() {
    // A long call: when it ends nobody else can answer any more, and a short one, after twice 32 seconds.
    for (talk, rest, kept) in [(70, 0, false), (1, 0, true), (1, 62, true), (1, 64, false)] {
        let (mut desk, dialog, invite) = calling_with_a_password();
        desk.hear(tagged(&invite, 200, "bob"));
        desk.wait(Duration::from_secs(talk));
        desk.endpoint.bye(desk.now, dialog, &[]).unwrap();
        let own = desk.sent().remove(0).1;
        desk.hear(tagged(&own, 200, "bob"));
        desk.wait(Duration::from_secs(rest));
        let shown = format!("{:?}", desk.endpoint).contains("Bygone({DialogId");
        assert_eq!(shown, kept, "{talk} s of talk and {rest} s after it");
    }
}

/// RFC 3261 section 22.2: the number rises with each try, and it is that of the dialog that the PRACK is in.
#[test]
fn a_prack_that_is_asked_for_a_password_goes_on_in_the_numbers_of_its_dialog() {
    let (mut desk, _, invite) = calling_with_a_password();
    let early = |number: u32| {
        let lines = format!("Require: 100rel\r\nRSeq: {number}\r\nContent-Length");
        tagged(&invite, 183, "bob").replace("Content-Length", &lines)
    };
    let seq = |request: &str| {
        let value = header(request, "CSeq").unwrap();
        value.split(' ').next().unwrap().parse::<u32>().unwrap()
    };
    let mut numbers = vec![seq(&invite)];
    for response in [7, 8] {
        let first = request(desk.hear(early(response))).unwrap();
        let stale = format!("{}, stale=true", asks("proxy").replace("\"n\"", &format!("\"n{response}\"")));
        let again = request(desk.hear(refuse(&first, 407, &stale))).unwrap();
        assert!(again.starts_with("PRACK ") && header(&again, "RAck") == header(&first, "RAck"), "{again}");
        desk.hear(tagged(&again, 200, "bob"));
        numbers.extend([seq(&first), seq(&again)]);
    }
    desk.hear(tagged(&invite, 200, "bob"));
    desk.endpoint.bye(desk.now, desk.dialog(), &[]).unwrap();
    numbers.push(seq(&desk.sent().remove(0).1));
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
}

/// RFC 3261 section 12.2.2: each dialog has its own remote sequence number.
#[test]
fn what_one_callee_asks_while_it_rings_counts_for_no_other() {
    let (mut desk, invite) = calling();
    let asks = |method: &str, tag: &str, number: u32| {
        let value = |name| header(&invite, name).unwrap();
        format!(
            "{method} sip:us@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP {PHONE};branch=z9hG4bK{tag}{number}\r\n\
             Max-Forwards: 70\r\nFrom: {};tag={tag}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {number} {method}\r\n\
             Content-Length: 0\r\n\r\n",
            value("To"),
            value("From"),
            value("Call-ID"),
        )
    };
    desk.hear(tagged(&invite, 180, "eve"));
    desk.hear(tagged(&invite, 180, "bob"));
    // It comes from another place than the one that answers.
    assert_eq!(status(&desk.give("192.0.2.99:5060", asks("INFO", "eve", 9_000))), 200);
    assert_eq!(desk.status(asks("INFO", "bob", 5)), 200);
    assert_eq!(desk.status(asks("INFO", "bob", 4)), 500, "of one dialog it never falls");
    let behind_nat = tagged(&invite, 200, "bob").replace("bob@192.0.2.1:5060>", "bob@10.0.0.7:5060>");
    assert!(desk.hear(behind_nat)[0].starts_with("ACK sip:bob@10.0.0.7:5060 "));
    desk.endpoint.reoffer(desk.now, desk.dialog(), SDP).unwrap();
    assert_eq!(desk.sent().remove(0).0.to_string(), PHONE, "nor does it lead the call away");
    assert_eq!(desk.status(asks("INFO", "bob", 5)), 200, "a copy");
    assert_eq!(desk.status(asks("OPTIONS", "bob", 4)), 500);
    assert_eq!(status(&desk.hear(asks("BYE", "bob", 6))), 200);
    assert_eq!(desk.story().last().unwrap(), "Ended Bye");
}

#[test]
fn who_asks_before_anyone_rings_is_not_where_the_callee_is() {
    let (mut desk, invite) = calling();
    let value = |name| header(&invite, name).unwrap();
    let info = format!(
        "INFO sip:us@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.9;branch=z9hG4bKi\r\nMax-Forwards: 70\r\n\
         From: {};tag=eve\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: 1 INFO\r\nContent-Length: 0\r\n\r\n",
        value("To"),
        value("From"),
        value("Call-ID"),
    );
    let elsewhere = sip::Hop::new(sip::Transport::Tcp, "192.0.2.9:5060".parse().unwrap());
    desk.endpoint.receive(desk.now, elsewhere, info.as_bytes());
    desk.sent();
    let ack = desk.hear(tagged(&invite, 200, "bob")).remove(0);
    assert!(header(&ack, "Via").unwrap().starts_with("SIP/2.0/UDP "), "{ack}");
}

#[test]
fn a_copy_of_the_200_is_acknowledged_even_after_its_transaction() {
    let (mut desk, invite) = calling();
    let answer = tagged(&invite, 200, "bob");
    desk.hear(&answer);
    assert_eq!(desk.hear(&answer).len(), 1);
    desk.wait(Duration::from_secs(40));
    assert!(desk.hear(&answer)[0].starts_with("ACK "));
    assert_eq!(desk.story(), ["Answered"]);
}

#[test]
fn the_request_in_the_dialog_follows_its_route() {
    for (recorded, start, routes) in [
        (
            "Record-Route: <sip:192.0.2.66;lr>, <sip:192.0.2.67:5061;lr>\r\n",
            "ACK sip:bob@192.0.2.1:5060 ",
            "Route: <sip:192.0.2.67:5061;lr>\r\nRoute: <sip:192.0.2.66;lr>\r\n",
        ),
        // A strict router (RFC 3261 section 12.2.1.1).
        (
            "Record-Route: <sip:192.0.2.67:5061>\r\n",
            "ACK sip:192.0.2.67:5061 ",
            "Route: <sip:bob@192.0.2.1:5060>\r\n",
        ),
    ] {
        let (mut desk, invite) = calling();
        let answer = tagged(&invite, 200, "bob").replace("Contact:", &format!("{recorded}Contact:"));
        desk.endpoint.receive(desk.now, PHONE.parse::<std::net::SocketAddr>().unwrap(), answer.as_bytes());
        let (to, ack) = desk.sent().remove(0);
        assert!(ack.starts_with(start), "{ack}");
        assert!(ack.contains(routes), "{ack}");
        assert_eq!(to.to_string(), "192.0.2.67:5061");
    }
}

#[test]
fn no_response_at_all_fails_after_32_seconds() {
    let (mut desk, _) = calling();
    let copies: Vec<u128> = desk.wait(Duration::from_secs(40)).iter().map(|(at, _)| *at).collect();
    assert_eq!(copies, [500, 1500, 3500, 7500, 15500, 31500]);
    assert_eq!(desk.story(), ["Failed Timeout"]);
    assert_eq!(desk.endpoint.counters().dialogs, 0);
}

#[test]
fn a_refusal_is_told_with_its_code_and_acknowledged() {
    let (mut desk, invite) = calling();
    let sent = desk.hear(tagged(&invite, 403, "bob"));
    assert!(sent[0].starts_with("ACK sip:bob@example.com "), "{sent:?}");
    assert_eq!(header(&sent[0], "Via"), header(&invite, "Via"));
    assert_eq!(desk.story(), ["Rejected 403"]);
}

#[test]
fn responses_to_nothing_are_dropped() {
    let (mut desk, invite) = calling();
    let foreign = tagged(&invite, 200, "bob").replace("branch=", "branch=z9hG4bKx");
    assert!(desk.hear(foreign).is_empty());
    let two_vias =
        tagged(&invite, 200, "bob").replace("From:", "Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom:");
    assert!(desk.hear(two_vias).is_empty());
    assert_eq!(desk.endpoint.counters().stray_responses, 2);
    assert!(desk.events.is_empty());
}
