//! Nothing that comes in can become a line of its own in what goes out.

use sip::{Outbound, Rejection, SipError, SipEvent};

use crate::desk::{Desk, PHONE, Phone, SDP};

#[test]
fn callers_of_the_endpoint_cannot_inject_lines() {
    let mut desk = Desk::new();
    desk.hear(Phone::new("c1").request("INVITE", SDP));
    let dialog = desk.dialog();
    for (name, value) in [("X-A", "1\r\nEvil: 1"), ("X-A\r\nEvil", "1"), ("Via", "1"), ("X-A", "\u{0}")] {
        let headers = [(name.to_owned(), value.to_owned())];
        let refused = desk.endpoint.answer(desk.now, dialog, SDP, &headers);
        assert!(matches!(refused, Err(SipError::BadHeader { .. })), "{name:?}");
    }
    assert!(desk.sent().is_empty());
    let rejection = Rejection { reason: "No\r\nEvil: 1".into(), ..Rejection::new(480) };
    desk.endpoint.reject(desk.now, dialog, &rejection).unwrap();
    assert!(!desk.sent()[0].1.contains("\nEvil"));
    assert_eq!(desk.endpoint.reject(desk.now, dialog, &Rejection::new(200)), Err(SipError::BadCode(200)));
}

#[test]
fn of_many_lines_those_that_can_be_sent_remain_and_each_of_the_others_is_named() {
    let line = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let bad = [line("X-A", "1\r\nEvil: 1"), line("Content-Length", "5"), line("X D", "1")];
    let given = [vec![line("X-F", "ok")], bad.to_vec(), vec![line("X-G", "ok")]].concat();
    let (good, faults) = sip::sendable(given);
    assert_eq!(good, [line("X-F", "ok"), line("X-G", "ok")]);
    let named: Vec<&str> = faults
        .iter()
        .map(|fault| if let SipError::BadHeader { name, .. } = fault { name.as_str() } else { panic!() })
        .collect();
    assert_eq!(named, ["X-A", "Content-Length", "X D"]);
    let long = (0..100).map(|n| line(&format!("X-{n}"), &"x".repeat(1_000))).collect();
    assert_eq!(sip::sendable(long).0.len(), 32, "what remains fits into a datagram");
    let many = (0..100).map(|n| line(&format!("X-{n}"), "x")).collect();
    assert_eq!(sip::sendable(many).0.len(), 64);
}

#[test]
fn an_outbound_call_is_checked_before_it_is_written() {
    let mut desk = Desk::new();
    let call =
        Outbound::new("sip:a@192.0.2.1", "sip:b@192.0.2.2", PHONE.parse::<std::net::SocketAddr>().unwrap());
    let wrong = [
        Outbound { to: "sip:a@192.0.2.1>\r\nEvil: 1".into(), ..call.clone() },
        Outbound { to: "http://192.0.2.1".into(), ..call.clone() },
        Outbound { to: "sip:a@192.0.2.1?Route=x".into(), ..call.clone() },
        Outbound { from: "bob".into(), ..call.clone() },
        Outbound { call_id: Some("a b".into()), ..call.clone() },
        Outbound { call_id: Some(String::new()), ..call.clone() },
        Outbound { headers: vec![("To".into(), "x".into())], ..call.clone() },
        Outbound { sdp: Some("v".repeat(70_000)), ..call.clone() },
    ];
    for call in wrong {
        assert!(desk.endpoint.invite(desk.now, &call).is_err(), "{call:?}");
    }
    assert!(desk.sent().is_empty());
    assert_eq!(desk.endpoint.counters().dialogs, 0);
    assert!(desk.endpoint.invite(desk.now, &call).is_ok());
}

#[test]
fn what_a_peer_writes_comes_out_without_control_characters() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    phone.extra = "X-Log: a\u{1b}[31mred\u{7}\r\nX-Fold: one\r\n\tTwo: 2\r\n".into();
    desk.hear(phone.request("INVITE", SDP));
    let SipEvent::Invited { invite, .. } = &desk.events[0] else { panic!() };
    assert_eq!(invite.header("X-Log"), Some("a\u{fffd}[31mred\u{fffd}"));
    assert_eq!(invite.header("X-Fold"), Some("one Two: 2"));
    for (name, value) in &invite.headers {
        assert!(!name.chars().chain(value.chars()).any(char::is_control), "{name}: {value:?}");
    }
}

#[test]
fn folded_lines_of_a_request_come_back_in_one_line() {
    let mut desk = Desk::new();
    let request = Phone::new("c1").request("OPTIONS", "").replace(">;tag=alice", ">\r\n ;tag=alice");
    let response = desk.hear(request).remove(0);
    assert!(response.contains("From: \"Alice\" <sip:alice@192.0.2.1> ;tag=alice\r\n"), "{response}");
}

#[test]
fn our_own_names_cannot_inject_either() {
    let mut desk = Desk::with(|config| {
        config.user_agent = "a\r\nEvil: 1".into();
        config.contact_user = "x>\r\nEvil: 1".into();
    });
    let response = desk.hear(Phone::new("c1").request("OPTIONS", "")).remove(0);
    assert!(!response.contains("\nEvil"), "{response}");
}
