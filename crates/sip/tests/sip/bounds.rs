//! What strangers can make the endpoint keep.

use std::time::Duration;

use sip::{Outbound, Rejection, SipError};

use crate::desk::{Desk, PHONE, Phone, SDP, header, status};

#[test]
fn when_every_dialog_is_taken_an_invite_gets_503_without_state() {
    let mut desk = Desk::with(|config| config.max_dialogs = 10);
    for n in 0..10 {
        assert_eq!(desk.status(Phone::new(&format!("c{n}")).request("INVITE", SDP)), 0);
    }
    let before = desk.endpoint.counters();
    for n in 10..5_000 {
        let mut phone = Phone::new(&format!("c{n}"));
        let sent = desk.hear(phone.request("INVITE", SDP));
        assert_eq!(status(&sent), 503);
        assert_eq!(header(&sent[0], "Retry-After"), Some("5"));
        phone.learn(&sent[0]);
        assert_eq!(desk.status(phone.same_branch("ACK")), 0);
    }
    let after = desk.endpoint.counters();
    assert_eq!((after.dialogs, after.transactions), (before.dialogs, before.transactions));
    let full = desk.endpoint.invite(
        desk.now,
        &Outbound::new("sip:a@192.0.2.1", "sip:b@192.0.2.2", PHONE.parse::<std::net::SocketAddr>().unwrap()),
    );
    assert_eq!(full, Err(SipError::Full));
    assert!(full.unwrap_err().retryable());
}

#[test]
fn refused_calls_that_are_never_acknowledged_are_bounded_and_forgotten() {
    let mut desk = Desk::with(|config| config.max_transactions = 100);
    for n in 0..1_000 {
        let sent = desk.hear(Phone::new(&format!("c{n}")).request("INVITE", SDP));
        if sent.is_empty() {
            let dialog = desk.dialog();
            desk.endpoint.reject(desk.now, dialog, &Rejection::new(404)).unwrap();
            desk.sent();
        }
    }
    assert_eq!(desk.endpoint.counters().transactions, 100);
    desk.wait(Duration::from_secs(40));
    assert_eq!(desk.endpoint.counters().transactions, 0);
    assert_eq!(desk.endpoint.timeout(), None);
}

#[test]
fn a_call_can_be_ended_when_all_room_is_taken() {
    let mut desk = Desk::with(|config| {
        config.max_transactions = 1;
        config.max_dialogs = 1;
    });
    let (mut phone, _) = desk.call();
    for _ in 0..20 {
        assert_eq!(desk.status(phone.request("OPTIONS", "")), 200);
    }
    assert!(desk.endpoint.counters().transactions <= 4);
    let bye = phone.request("BYE", "");
    assert_eq!(desk.status(&bye), 200);
    assert_eq!(desk.status(&bye), 200);
}

#[test]
fn a_thousand_calls_leave_nothing() {
    let mut desk = Desk::new();
    for n in 0..1_000 {
        let mut phone = Phone::new(&format!("c{n}"));
        desk.hear(phone.request("INVITE", SDP));
        let dialog = desk.dialog();
        desk.endpoint.answer(desk.now, dialog, SDP, &[]).unwrap();
        phone.learn(&desk.sent().remove(0).1);
        desk.hear(phone.ack(""));
        assert_eq!(desk.status(phone.request("BYE", "")), 200);
        desk.wait(Duration::from_millis(100));
    }
    let busy = desk.endpoint.counters();
    assert!(busy.transactions <= 700, "{busy:?}: two remembered answers a call for 33 seconds");
    desk.wait(Duration::from_secs(40));
    let idle = desk.endpoint.counters();
    assert_eq!((idle.transactions, idle.dialogs, desk.endpoint.timeout()), (0, 0, None));
}

#[test]
fn a_peer_that_offers_without_end_costs_no_more_than_one_offer() {
    let mut desk = Desk::new();
    let (mut phone, dialog) = desk.call();
    for _ in 0..20_000 {
        desk.hear(phone.request("INVITE", SDP));
        desk.endpoint.answer_reoffer(desk.now, dialog, Ok(SDP)).unwrap();
        desk.sent();
        desk.hear(phone.ack(""));
        desk.wait(Duration::from_micros(100));
    }
    assert_eq!(desk.endpoint.counters().dialogs, 1);
    desk.wait(Duration::from_secs(200));
    assert_eq!(desk.endpoint.counters().transactions, 0);
    assert_eq!(desk.endpoint.timeout(), None, "every alarm has rung or was swept");
}
