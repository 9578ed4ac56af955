//! RFC 3261 section 18.4, RFC 3263 section 4.3: what becomes of requests that do not arrive.

use std::net::SocketAddr;
use std::time::Duration;

use sip::{DialogId, Hop, InDialog, InDialogMethod, Obstacle, Outbound, Refer, SipEvent};

use crate::cancel::respond;
use crate::desk::{Desk, PHONE, Phone, SDP, header};

const NAME: &str = "sip:phone.example";
const FIRST: &str = "192.0.2.77:5070";
const SECOND: &str = "192.0.2.78:5070";
const THIRD: &str = "192.0.2.79:5070";

fn hop(address: &str) -> Hop {
    Hop::from(address.parse::<SocketAddr>().unwrap())
}

fn lost(desk: &mut Desk, address: &str) {
    let at = address.parse().unwrap();
    desk.endpoint.undelivered(desk.now, &hop(address), Obstacle::NobodyListens(at));
}

fn to(targets: &[&str]) -> Outbound {
    let call = Outbound::new("sip:bob@example.com", "sip:us@192.0.2.2", PHONE.parse::<SocketAddr>().unwrap());
    Outbound { sdp: Some(SDP.into()), targets: targets.iter().map(|at| hop(at)).collect(), ..call }
}

/// A call of a phone whose `Contact` names a host with these addresses, of which the first is used.
fn named_call(desk: &mut Desk, number: u8, addresses: &[&str], lines: &str) -> (Phone, DialogId) {
    let mut phone = Phone::new(&format!("c{number}"));
    phone.contact = "<sip:alice@phone.example>".into();
    phone.extra = lines.into();
    let (dialog, _) = desk.call_of(&mut phone);
    // The name is looked up with the first request.
    info(desk, dialog);
    desk.endpoint.located(desk.now, NAME, addresses.iter().map(|at| hop(at)).collect());
    for (at, text) in desk.sent() {
        desk.give(&at.to_string(), respond(&text, 200));
    }
    (phone, dialog)
}

fn info(desk: &mut Desk, dialog: DialogId) {
    let request = InDialog {
        method: InDialogMethod::Info,
        content_type: String::new(),
        body: Vec::new(),
        headers: Vec::new(),
    };
    desk.endpoint.request_inside(desk.now, dialog, &request).unwrap();
}

/// A request of ours by its method.
fn ask(desk: &mut Desk, dialog: DialogId, method: &str) {
    match method {
        "INFO" => info(desk, dialog),
        "INVITE" => desk.endpoint.reoffer(desk.now, dialog, SDP).unwrap(),
        "BYE" => desk.endpoint.bye(desk.now, dialog, &[]).unwrap(),
        "REFER" => desk.endpoint.refer(desk.now, dialog, &Refer::new("sip:carol@example.com")).unwrap(),
        _ => panic!("{method}"),
    }
}

/// The first message that goes elsewhere than to this address, and when.
fn leaves(desk: &mut Desk, address: &str) -> Option<(Duration, SocketAddr, String)> {
    let begun = desk.now;
    loop {
        let sent = desk.sent().into_iter().find(|(at, _)| at.to_string() != address);
        if let Some((at, text)) = sent {
            return Some((desk.now - begun, at, text));
        }
        let due = desk.endpoint.timeout().filter(|due| *due < begun + Duration::from_secs(100))?;
        desk.now = due;
        desk.endpoint.handle_timeout(due);
    }
}

#[test]
fn an_invite_that_does_not_arrive_goes_to_the_next_target_at_once_or_fails_with_the_reason() {
    let mut desk = Desk::new();
    desk.endpoint.invite(desk.now, &to(&[PHONE, SECOND])).unwrap();
    desk.sent();
    lost(&mut desk, THIRD);
    assert!(desk.sent().is_empty(), "another address is no concern of this call");
    lost(&mut desk, PHONE);
    let (at, second) = desk.sent().remove(0);
    assert!(at.to_string() == SECOND && second.starts_with("INVITE "), "{at}: {second}");
    // A socket for both families has IPv4 addresses in the form of IPv6.
    lost(&mut desk, "[::ffff:192.0.2.78]:5070");
    assert!(desk.sent().is_empty());
    let Some(SipEvent::Failed { why, .. }) = desk.events.last() else { panic!("{:?}", desk.events) };
    assert_eq!(why.to_string(), format!("the peer cannot be reached: nobody listens at {SECOND}"));
    assert!(desk.wait(Duration::from_secs(200)).is_empty());
}

#[test]
fn a_call_that_somebody_has_responded_to_goes_on_when_datagrams_do_not_arrive() {
    let mut desk = Desk::new();
    let dialog = desk.endpoint.invite(desk.now, &to(&[PHONE, SECOND])).unwrap();
    let invite = desk.sent().remove(0).1;
    desk.hear(respond(&invite, 100));
    lost(&mut desk, PHONE);
    assert!(desk.sent().is_empty() && desk.events.is_empty());
    desk.hear(respond(&invite, 200));
    assert_eq!(desk.story(), ["Answered"]);
    for method in ["INFO", "INVITE"] {
        ask(&mut desk, dialog, method);
        desk.sent();
        lost(&mut desk, PHONE);
        assert_eq!(desk.story(), ["Answered"], "{method}: its host has no other address");
        desk.now += Duration::from_millis(500);
        desk.endpoint.handle_timeout(desk.now);
        assert!(desk.sent().iter().all(|(_, text)| text.starts_with(method)), "{method} is repeated");
    }
    assert_eq!(desk.endpoint.counters().dialogs, 1);
}

#[test]
fn an_answer_of_ours_that_does_not_arrive_is_repeated() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    desk.hear(phone.request("INVITE", SDP));
    let dialog = desk.dialog();
    desk.endpoint.answer(desk.now, dialog, SDP, &[]).unwrap();
    desk.sent();
    lost(&mut desk, PHONE);
    let sent = desk.wait(Duration::from_millis(500));
    assert!(sent.len() == 1 && sent[0].1.starts_with("SIP/2.0 200 "), "{sent:#?}");
}

#[test]
fn a_request_inside_a_call_goes_to_the_next_address_of_its_host_when_one_fails() {
    for method in ["INFO", "INVITE", "REFER", "BYE"] {
        for way in ["silence", "lost", "gone", "503"] {
            let mut desk = Desk::new();
            let (_, dialog) = named_call(&mut desk, 1, &[FIRST, SECOND], "");
            ask(&mut desk, dialog, method);
            let (at, first) = desk.sent().remove(0);
            assert_eq!(at.to_string(), FIRST);
            match way {
                "lost" => lost(&mut desk, FIRST),
                "gone" => desk.endpoint.unreachable(desk.now, &hop(FIRST), Obstacle::NoWay),
                "503" => {
                    desk.endpoint.receive(desk.now, hop(FIRST), respond(&first, 503).as_bytes());
                }
                _ => {}
            }
            let (after, at, second) = leaves(&mut desk, FIRST).unwrap();
            let told = format!("{method}, {way}");
            assert_eq!(after, Duration::from_secs(if way == "silence" { 32 } else { 0 }), "{told}");
            assert!(at.to_string() == SECOND && second.starts_with(method), "{told}: {at} {second}");
            for same in ["Call-ID", "To", "From", "Contact"] {
                assert_eq!(header(&first, same), header(&second, same), "{told}");
            }
            assert_ne!(header(&first, "Via"), header(&second, "Via"), "{told}");
            let events = desk.events.len();
            let answer = respond(&second, 200).replace("bob@192.0.2.1:5060", "alice@phone.example");
            desk.endpoint.receive(desk.now, hop(SECOND), answer.as_bytes());
            let sent = desk.sent();
            assert!(sent.iter().all(|(at, _)| at.to_string() == SECOND), "{told}: {sent:#?}");
            assert_eq!(sent.len(), usize::from(method == "INVITE"), "{told}: the ACK goes there too");
            let last = desk.story().pop().unwrap();
            match method {
                "INFO" => assert_eq!(last, "Responded", "{told}"),
                "INVITE" => assert_eq!(last, "OfferAnswered", "{told}"),
                "BYE" => assert_eq!(last, "Ended LocalBye", "{told}"),
                _ => assert_eq!(last, "Transfer Accepted", "{told}"),
            }
            assert_eq!(desk.events.len(), events + 1, "{told}: {:?}", desk.story());
            if method == "INFO" {
                ask(&mut desk, dialog, "BYE");
                assert_eq!(desk.sent()[0].0.to_string(), SECOND, "{told}: what follows stays there");
            }
        }
    }
}

#[test]
fn a_refresh_goes_to_the_next_address_before_the_call_counts_as_lost() {
    let mut desk = Desk::new();
    let timer = "Supported: timer\r\nAllow: INVITE, UPDATE\r\nSession-Expires: 100;refresher=uas\r\n";
    named_call(&mut desk, 1, &[FIRST, SECOND], timer);
    desk.wait(Duration::from_secs(49));
    desk.now += Duration::from_secs(1);
    desk.endpoint.handle_timeout(desk.now);
    let (at, update) = desk.sent().remove(0);
    assert!(at.to_string() == FIRST && update.starts_with("UPDATE "), "{at} {update}");
    lost(&mut desk, FIRST);
    let (at, update) = desk.sent().remove(0);
    assert!(at.to_string() == SECOND && update.starts_with("UPDATE "), "{at} {update}");
    desk.give(SECOND, respond(&update, 200));
    assert_eq!(desk.endpoint.counters().dialogs, 1);
}

#[test]
fn a_request_is_given_up_when_every_address_has_failed_it_once() {
    let mut desk = Desk::new();
    let (_, dialog) = named_call(&mut desk, 1, &[FIRST, SECOND, THIRD], "");
    ask(&mut desk, dialog, "INFO");
    let mut tried = Vec::new();
    loop {
        let mut sent = desk.sent();
        let Some((at, _)) = sent.pop() else { break };
        tried.push(at.to_string());
        desk.wait(Duration::from_millis(31_990));
        desk.now += Duration::from_millis(20);
        desk.endpoint.handle_timeout(desk.now);
    }
    assert_eq!(tried, [FIRST, SECOND, THIRD]);
    let Some(SipEvent::Responded { code: 408, .. }) = desk.events.last() else { panic!("{:?}", desk.events) };
}

#[test]
fn a_response_from_an_address_keeps_its_request_there() {
    let mut desk = Desk::new();
    let (_, dialog) = named_call(&mut desk, 1, &[FIRST, SECOND], "");
    ask(&mut desk, dialog, "INVITE");
    let offer = desk.sent().remove(0).1;
    desk.give(FIRST, respond(&offer, 100));
    lost(&mut desk, FIRST);
    assert!(desk.sent().is_empty());
    desk.give(FIRST, respond(&offer, 200));
    assert_eq!(desk.story().pop().unwrap(), "OfferAnswered");
}

#[test]
fn other_calls_pass_over_an_address_that_has_failed_for_a_minute() {
    let mut desk = Desk::new();
    let (_, first) = named_call(&mut desk, 1, &[FIRST, SECOND], "");
    let (_, other) = named_call(&mut desk, 2, &[FIRST, SECOND], "");
    ask(&mut desk, first, "INFO");
    desk.sent();
    lost(&mut desk, FIRST);
    desk.sent();
    ask(&mut desk, other, "INFO");
    let (at, text) = desk.sent().remove(0);
    assert_eq!(at.to_string(), SECOND);
    desk.give(SECOND, respond(&text, 200));
}
