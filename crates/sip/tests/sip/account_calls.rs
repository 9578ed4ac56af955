//! Calls that come in by an account: their requests answer its registrar's challenges, and nobody else's.

use std::time::Duration;

use sip::{DialogId, Endpoint, InDialog, InDialogMethod, Refer, SipError, Time};

use crate::cancel::respond;
use crate::desk::{Desk, PHONE, Phone, SDP, header};
use crate::digest_client::{refuse, request};
use crate::register::{begin, grant};

/// A host that is no registrar.
const STRANGER: &str = "203.0.113.66:5060";

fn asks(realm: &str) -> String {
    format!("WWW-Authenticate: Digest realm=\"{realm}\", nonce=\"n2\", qop=\"auth\"")
}

/// A desk with an account, which its registrar has asked for a password if `challenged`.
fn registered(challenged: bool) -> Desk {
    let mut desk = Desk::new();
    let (_, mut register) = begin(&mut desk, &[PHONE]);
    if challenged {
        register = request(desk.hear(refuse(&register, 401, &asks("pbx")))).unwrap();
    }
    desk.hear(grant(&register, 3_600));
    desk
}

/// A call to this user from there, answered and acknowledged; every request of ours in it that follows goes to `contact`.
fn called(desk: &mut Desk, (user, from): (&str, &str), contact: &str) -> (Phone, DialogId) {
    let mut phone = Phone::new("c1");
    phone.contact = format!("<sip:caller@{contact}>");
    phone.extra =
        "Supported: timer\r\nAllow: INVITE, UPDATE\r\nSession-Expires: 120;refresher=uas\r\n".into();
    let invite = phone.request("INVITE", SDP).replace("INVITE sip:bob@", &format!("INVITE sip:{user}@"));
    assert!(desk.give(from, invite).is_empty());
    let dialog = desk.dialog();
    desk.endpoint.answer(desk.now, dialog, SDP, &[]).unwrap();
    phone.learn(&desk.sent().remove(0).1);
    phone.extra = String::new();
    desk.give(from, phone.ack(""));
    (phone, dialog)
}

fn bye(desk: &mut Desk, dialog: DialogId) -> String {
    desk.endpoint.bye(desk.now, dialog, &[]).unwrap();
    desk.sent().remove(0).1
}

type Order = fn(&mut Endpoint, Time, DialogId) -> Result<(), SipError>;

#[test]
fn each_request_in_a_call_by_an_account_answers_its_registrar() {
    let orders: [(&str, Order); 4] = [
        ("BYE", |endpoint, now, dialog| endpoint.bye(now, dialog, &[])),
        ("INVITE", |endpoint, now, dialog| endpoint.reoffer(now, dialog, SDP)),
        ("REFER", |endpoint, now, dialog| endpoint.refer(now, dialog, &Refer::new("sip:c@192.0.2.3"))),
        ("INFO", |endpoint, now, dialog| {
            let digit = InDialog {
                method: InDialogMethod::Info,
                content_type: "application/dtmf-relay".into(),
                body: b"Signal=1\r\n".to_vec(),
                headers: vec![],
            };
            endpoint.request_inside(now, dialog, &digit)
        }),
    ];
    for (method, order) in orders {
        for (code, name, answer) in [(401, "WWW-", "Authorization"), (407, "Proxy-", "Proxy-Authorization")] {
            let mut desk = registered(true);
            let (_, dialog) = called(&mut desk, ("alice", PHONE), PHONE);
            order(&mut desk.endpoint, desk.now, dialog).unwrap();
            let first = desk.sent().remove(0).1;
            assert!(first.starts_with(method) && header(&first, answer).is_none(), "{first}");
            let again = request(desk.hear(refuse(&first, code, &asks("pbx").replace("WWW-", name)))).unwrap();
            let answer = header(&again, answer).unwrap_or_default();
            assert!(again.starts_with(method) && answer.contains("username=\"alice\""), "{again}");
            assert!(answer.contains("nonce=\"n2\"") && answer.contains("nc=00000001"), "{answer}");
        }
    }
}

#[test]
fn a_refresh_in_a_call_by_an_account_answers_its_registrar_and_the_call_lasts() {
    let mut desk = registered(true);
    let (_, dialog) = called(&mut desk, ("alice", PHONE), PHONE);
    let updates =
        |sent: Vec<(u128, String)>| sent.into_iter().map(|(_, m)| m).find(|m| m.starts_with("UPDATE "));
    let update = updates(desk.wait(Duration::from_secs(61))).unwrap();
    let again = request(desk.hear(refuse(&update, 407, &asks("pbx").replace("WWW-", "Proxy-")))).unwrap();
    assert!(header(&again, "Proxy-Authorization").is_some(), "{again}");
    desk.hear(
        respond(&again, 200)
            .replace("Content-Length", "Session-Expires: 120;refresher=uac\r\nContent-Length"),
    );
    let next = updates(desk.wait(Duration::from_secs(61))).unwrap();
    assert!(header(&next, "Proxy-Authorization").unwrap().contains("nc=00000002"), "it need not ask again");
    desk.hear(respond(&next, 200));
    let bye = bye(&mut desk, dialog);
    assert!(header(&bye, "Proxy-Authorization").is_some());
}

#[test]
fn nobody_but_the_registrar_gets_an_answer_with_the_password_of_an_account() {
    for (what, challenged, (user, from), contact, realm, answered) in [
        ("the registrar", true, ("alice", PHONE), PHONE, "pbx", true),
        ("another realm behind it", true, ("alice", PHONE), PHONE, "thief", false),
        ("one that has let us in without a password", false, ("alice", PHONE), PHONE, "pbx", false),
        ("a caller to whom it has left us", true, ("alice", PHONE), STRANGER, "pbx", false),
        ("a call to nobody's account", true, ("bob", PHONE), PHONE, "pbx", false),
        ("a stranger who knows the account", true, ("alice", STRANGER), STRANGER, "pbx", false),
        ("a stranger whose contact is the registrar", true, ("alice", STRANGER), PHONE, "pbx", false),
    ] {
        let mut desk = registered(challenged);
        let (_, dialog) = called(&mut desk, (user, from), contact);
        let bye = bye(&mut desk, dialog);
        let challenge = refuse(&bye, 407, &asks(realm).replace("WWW-", "Proxy-"));
        let again = request(desk.give(contact, challenge));
        assert_eq!(again.is_some(), answered, "{what}");
    }
}

#[test]
fn a_caller_that_moves_away_from_the_registrar_takes_no_answer_along() {
    let mut desk = registered(true);
    let (mut phone, dialog) = called(&mut desk, ("alice", PHONE), PHONE);
    desk.endpoint.reoffer(desk.now, dialog, SDP).unwrap();
    let offer = desk.sent().remove(0).1;
    let again = request(desk.hear(refuse(&offer, 401, &asks("pbx")))).unwrap();
    assert!(header(&again, "Authorization").is_some());
    desk.hear(respond(&again, 200));
    phone.contact = format!("<sip:thief@{STRANGER}>");
    assert_eq!(desk.status(phone.request("UPDATE", "")), 200);
    desk.endpoint.bye(desk.now, dialog, &[]).unwrap();
    let (to, bye) = desk.sent().remove(0);
    assert_eq!((to.to_string().as_str(), header(&bye, "Authorization")), (STRANGER, None));
}

#[test]
fn a_caller_that_names_a_host_gets_an_answer_only_where_that_is_the_registrar() {
    for (place, ahead, answered) in [(PHONE, true, true), (STRANGER, false, false)] {
        let mut desk = registered(true);
        let (_, dialog) = called(&mut desk, ("alice", PHONE), "host.example");
        desk.endpoint.reoffer(desk.now, dialog, SDP).unwrap();
        assert!(desk.sent().is_empty());
        assert_eq!(desk.asked, ["sip:host.example"]);
        let host = vec![sip::Hop::from(place.parse::<std::net::SocketAddr>().unwrap())];
        desk.endpoint.located(desk.now, "sip:host.example", host);
        let offer = desk.sent().remove(0).1;
        assert!(header(&offer, "Authorization").is_none());
        let again = request(desk.give(place, refuse(&offer, 401, &asks("pbx"))));
        assert_eq!(again.is_some(), answered, "{place}");
        if let Some(again) = again {
            let named = respond(&again, 200).replace("<sip:bob@192.0.2.1:5060>", "<sip:bob@host.example>");
            desk.give(place, named);
        }
        desk.endpoint.bye(desk.now, dialog, &[]).unwrap();
        let (to, bye) = desk.sent().pop().unwrap();
        assert_eq!((to.to_string().as_str(), header(&bye, "Authorization").is_some()), (place, ahead));
    }
}
