//! A source that is not to be heard: nothing new of it is, and nothing that stands suffers.

use std::net::SocketAddr;
use std::time::Duration;

use sip::{Outbound, SipEvent};

use crate::cancel::respond;
use crate::desk::{Desk, PHONE, Phone, SDP, status};
use crate::register;

/// Gives a message from the phone while it is silenced; whether it was taken, and what is sent.
fn whisper(desk: &mut Desk, message: &str) -> (bool, Vec<String>) {
    let from: SocketAddr = PHONE.parse().unwrap();
    let taken = desk.endpoint.receive_silenced(desk.now, from, message.as_bytes());
    (taken, desk.sent().into_iter().map(|(_, text)| text).collect())
}

#[test]
fn what_would_begin_something_gets_no_answer() {
    let mut desk = Desk::new();
    let mut strange = Phone::new("c2");
    strange.to_tag = "guessed".into();
    let garbage = "INVITE sip:bob@192.0.2.2 SIP/2.0\r\nVia: x\r\n\r\n".to_owned();
    let begins = ["INVITE", "OPTIONS", "REGISTER", "SUBSCRIBE", "MESSAGE", "BYE"];
    let mut messages: Vec<String> = begins.map(|method| Phone::new("c1").request(method, "")).into();
    messages.extend([
        strange.request("BYE", ""),
        Phone::new("c1").same_branch("CANCEL"),
        garbage,
        "\r\n".into(),
    ]);
    for message in messages {
        assert_eq!(whisper(&mut desk, &message), (false, vec![]), "{message}");
    }
    assert!(desk.events.is_empty());
}

#[test]
fn a_call_that_is_up_goes_on() {
    let mut desk = Desk::new();
    let (mut phone, dialog) = desk.call();
    for method in ["OPTIONS", "INFO"] {
        let (taken, sent) = whisper(&mut desk, &phone.request(method, ""));
        assert_eq!((taken, status(&sent)), (true, 200), "{method}");
    }
    assert!(whisper(&mut desk, &phone.request("INVITE", SDP)).0);
    desk.endpoint.answer_reoffer(desk.now, dialog, Ok(SDP)).unwrap();
    desk.sent();
    assert!(whisper(&mut desk, &phone.ack("")).0);
    desk.endpoint.bye(desk.now, dialog, &[]).unwrap();
    let bye = desk.sent().remove(0).1;
    assert!(whisper(&mut desk, &respond(&bye, 200)).0);
    assert_eq!(desk.story().last().unwrap(), "Ended LocalBye");
}

#[test]
fn its_own_bye_ends_its_call_and_a_copy_of_it_is_answered() {
    let mut desk = Desk::new();
    let (mut phone, _) = desk.call();
    let bye = phone.request("BYE", "");
    for _ in 0..2 {
        assert_eq!(status(&whisper(&mut desk, &bye).1), 200);
    }
    assert_eq!(desk.story().last().unwrap(), "Ended Bye");
}

#[test]
fn a_call_that_waits_for_its_answer_can_be_given_up() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    desk.hear(phone.request("INVITE", SDP));
    let (taken, sent) = whisper(&mut desk, &phone.same_branch("CANCEL"));
    assert!(taken && sent.iter().any(|message| message.starts_with("SIP/2.0 487 ")), "{sent:#?}");
    assert!(matches!(desk.events.last(), Some(SipEvent::Canceled { .. })));
}

#[test]
fn a_call_of_ours_to_it_is_answered() {
    let mut desk = Desk::new();
    let target: SocketAddr = PHONE.parse().unwrap();
    let call =
        Outbound { sdp: Some(SDP.into()), ..Outbound::new("sip:b@192.0.2.1", "sip:a@192.0.2.2", target) };
    desk.endpoint.invite(desk.now, &call).unwrap();
    let invite = desk.sent().remove(0).1;
    assert!(whisper(&mut desk, &respond(&invite, 200)).0);
    assert_eq!(desk.story(), ["Answered"]);
}

#[test]
fn an_account_stays_registered_and_is_called() {
    let mut desk = Desk::new();
    let (_, first) = register::begin(&mut desk, &[PHONE]);
    assert!(whisper(&mut desk, &register::grant(&first, 60)).0);
    let call = |user: &str, id: &str| {
        Phone::new(id)
            .request("INVITE", SDP)
            .replace("sip:bob@192.0.2.2 SIP", &format!("sip:{user}@192.0.2.2 SIP"))
    };
    assert!(whisper(&mut desk, &call("alice", "c1")).0);
    let Some(SipEvent::Invited { invite, .. }) = desk.events.last() else { panic!() };
    assert_eq!(invite.account.as_deref(), Some("sip:alice@pbx.example"));
    assert!(!whisper(&mut desk, &call("bob", "c2")).0, "another user is no account of ours");
}

#[test]
fn a_call_comes_by_an_account_from_its_registrar_while_that_holds_it() {
    let mut desk = Desk::new();
    let by_account = |desk: &mut Desk, from: &str, id: &str| {
        let invite = Phone::new(id).request("INVITE", SDP);
        desk.give(from, invite.replace("sip:bob@192.0.2.2 SIP", "sip:alice@192.0.2.2 SIP"));
        let Some(SipEvent::Invited { invite, .. }) = desk.events.last() else { panic!() };
        assert_eq!(invite.call_id, id);
        invite.account.is_some()
    };
    let (_, first) = register::begin(&mut desk, &[PHONE, "192.0.2.7:5060"]);
    assert!(!by_account(&mut desk, PHONE, "c1"), "not registered yet");
    desk.hear(register::grant(&first, 60));
    assert!(by_account(&mut desk, "192.0.2.1:40000", "c2"), "whatever port it calls from");
    assert!(by_account(&mut desk, "192.0.2.7:5060", "c3"), "the same name's other server");
    assert!(!by_account(&mut desk, "192.0.2.9:5060", "c4"), "a stranger");
    desk.wait(Duration::from_secs(61));
    assert!(!by_account(&mut desk, PHONE, "c5"), "the grant is over");
}
