//! New media inside a dialog: hold, resume, glare, UPDATE.

use std::time::Duration;

use sip::{OfferMethod, Rejection, SipEvent};

use crate::desk::{Desk, Phone, SDP, header};

fn hold() -> String {
    format!("{SDP}a=sendonly\r\n")
}

#[test]
fn hold_and_resume_are_told_and_answered() {
    let mut desk = Desk::new();
    let (mut phone, dialog) = desk.call();
    for offer in [hold(), SDP.to_owned()] {
        assert!(desk.hear(phone.request("INVITE", &offer)).is_empty());
        let SipEvent::Reoffered { sdp, method, .. } = desk.events.last().unwrap() else { panic!() };
        assert_eq!((sdp.as_deref(), *method), (Some(offer.as_str()), OfferMethod::Invite));
        desk.endpoint.answer_reoffer(desk.now, dialog, Ok("v=0\r\nours\r\n")).unwrap();
        let answer = desk.sent().remove(0).1;
        assert!(answer.starts_with("SIP/2.0 200 ") && answer.ends_with("ours\r\n"));
        let copies = desk.wait(Duration::from_secs(1));
        assert_eq!(copies.len(), 1, "repeated until its ACK");
        desk.hear(phone.ack(""));
        assert!(desk.wait(Duration::from_secs(40)).is_empty());
    }
    assert_eq!(desk.endpoint.counters().dialogs, 1);
}

#[test]
fn a_refused_offer_leaves_the_call_as_it_was() {
    let mut desk = Desk::new();
    let (mut phone, dialog) = desk.call();
    desk.hear(phone.request("INVITE", SDP));
    let warning = ("Warning".to_owned(), "305 desk \"no common codec\"".to_owned());
    let refusal = Rejection { headers: vec![warning], ..Rejection::new(488) };
    desk.endpoint.answer_reoffer(desk.now, dialog, Err(refusal)).unwrap();
    let refused = desk.sent().remove(0).1;
    assert!(refused.starts_with("SIP/2.0 488 "), "{refused}");
    assert_eq!(header(&refused, "Warning"), Some("305 desk \"no common codec\""));
    desk.hear(phone.same_branch("ACK"));
    assert!(desk.wait(Duration::from_secs(40)).is_empty());
    assert_eq!(desk.status(phone.request("BYE", "")), 200);
}

#[test]
fn an_offerless_reinvite_gets_our_offer_and_its_ack_the_answer() {
    let mut desk = Desk::new();
    let (mut phone, dialog) = desk.call();
    desk.hear(phone.request("INVITE", ""));
    desk.endpoint.answer_reoffer(desk.now, dialog, Ok(SDP)).unwrap();
    assert!(desk.sent()[0].1.ends_with(SDP));
    let mut update = phone.clone();
    assert_eq!(desk.status(update.request("UPDATE", SDP)), 491, "our offer is open");
    desk.hear(phone.ack("v=0\r\ntheirs\r\n"));
    let SipEvent::ReofferAnswered { sdp, .. } = desk.events.last().unwrap() else { panic!() };
    assert_eq!(sdp.as_deref(), Some("v=0\r\ntheirs\r\n"));
}

#[test]
fn a_second_offer_before_our_answer_to_the_first_gets_500_with_retry_after() {
    let mut desk = Desk::new();
    let (mut phone, _) = desk.call();
    desk.hear(phone.request("INVITE", SDP));
    for method in ["INVITE", "UPDATE"] {
        let sent = desk.hear(phone.request(method, SDP));
        assert!(sent[0].starts_with("SIP/2.0 500 "));
        assert!(header(&sent[0], "Retry-After").unwrap().parse::<u32>().unwrap() <= 10);
    }
}

#[test]
fn an_offer_before_the_first_answer_gets_500_and_a_glare_491() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    desk.hear(phone.request("INVITE", ""));
    let dialog = desk.dialog();
    desk.endpoint.ring(desk.now, dialog, None).unwrap();
    phone.learn(&desk.sent().remove(0).1);
    assert_eq!(desk.status(phone.clone().request("UPDATE", SDP)), 500);
    desk.endpoint.answer(desk.now, dialog, SDP, &[]).unwrap();
    desk.sent();
    let reinvite = phone.clone().request("INVITE", SDP);
    assert_eq!(desk.status(&reinvite), 491, "our offer in the 200 is not answered yet");
    desk.hear(phone.ack(SDP));
    desk.hear(&reinvite);
    assert_eq!(desk.story(), ["Invited", "Established", "Reoffered Invite"], "491 left no state");
}

#[test]
fn a_reinvite_whose_ack_was_lost_shows_that_the_200_came() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    desk.hear(phone.request("INVITE", SDP));
    let dialog = desk.dialog();
    desk.endpoint.answer(desk.now, dialog, SDP, &[]).unwrap();
    phone.learn(&desk.sent().remove(0).1);
    desk.hear(phone.request("INVITE", &hold()));
    assert_eq!(desk.story(), ["Invited", "Established", "Reoffered Invite"]);
}

#[test]
fn update_offers_like_a_reinvite_and_its_copy_gets_the_same_answer() {
    let mut desk = Desk::new();
    let (mut phone, dialog) = desk.call();
    let update = phone.request("UPDATE", SDP);
    desk.hear(&update);
    assert_eq!(desk.story().last().unwrap(), "Reoffered Update");
    desk.endpoint.answer_reoffer(desk.now, dialog, Ok(SDP)).unwrap();
    let answer = desk.sent().remove(0).1;
    assert!(answer.starts_with("SIP/2.0 200 ") && answer.ends_with(SDP));
    assert_eq!(desk.hear(&update), [answer]);
    assert!(desk.wait(Duration::from_secs(40)).is_empty(), "no ACK is waited for");
}

#[test]
fn update_without_offer_refreshes_the_target() {
    let mut desk = Desk::new();
    let (mut phone, dialog) = desk.call();
    phone.contact = "<sip:alice@192.0.2.1:6060>".into();
    assert_eq!(desk.status(phone.request("UPDATE", "")), 200);
    desk.endpoint.bye(desk.now, dialog, &[]).unwrap();
    let (to, bye) = desk.sent().remove(0);
    assert!(bye.starts_with("BYE sip:alice@192.0.2.1:6060 "));
    assert_eq!(to.port(), 6060);
    assert_eq!(desk.story(), ["Invited", "Established"]);
}

#[test]
fn an_offer_that_we_never_answer_is_refused_for_us() {
    for method in ["INVITE", "UPDATE"] {
        let mut desk = Desk::new();
        let (mut phone, dialog) = desk.call();
        desk.hear(phone.request(method, SDP));
        let sent = desk.wait(Duration::from_secs(33));
        assert!(sent.iter().any(|(at, text)| *at == 32_000 && text.starts_with("SIP/2.0 500 ")), "{sent:?}");
        assert!(desk.endpoint.answer_reoffer(desk.now, dialog, Ok(SDP)).is_err());
        assert_eq!(desk.endpoint.counters().dialogs, 1);
    }
}

#[test]
fn a_bye_ends_an_open_offer_with_487() {
    let mut desk = Desk::new();
    let (mut phone, dialog) = desk.call();
    desk.hear(phone.request("INVITE", SDP));
    desk.endpoint.bye(desk.now, dialog, &[]).unwrap();
    let sent: Vec<String> = desk.sent().into_iter().map(|(_, text)| text).collect();
    assert!(sent[0].starts_with("SIP/2.0 487 ") && sent[1].starts_with("BYE "), "{sent:#?}");
}

#[test]
fn an_offer_that_meets_our_waiting_bye_is_refused() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    desk.hear(phone.request("INVITE", SDP));
    let dialog = desk.dialog();
    desk.endpoint.answer(desk.now, dialog, SDP, &[]).unwrap();
    phone.learn(&desk.sent().remove(0).1);
    desk.endpoint.bye(desk.now, dialog, &[]).unwrap();
    let sent = desk.hear(phone.request("INVITE", SDP));
    assert!(sent[0].starts_with("BYE ") && sent[1].starts_with("SIP/2.0 481 "), "{sent:#?}");
}
