//! RFC 3262 as the callee: provisional responses that are acknowledged.

use std::time::Duration;

use sip::{Answering, OfferMethod, SipEvent};

use crate::desk::{Desk, Phone, SDP, header};
use crate::world::{CALLEE, CALLER, World};

fn invited(list: &str) -> (Desk, Phone, sip::DialogId) {
    let (mut desk, mut phone) = (Desk::new(), Phone::new("c1"));
    phone.extra = format!("{list}: 100rel\r\n");
    desk.hear(phone.request("INVITE", SDP));
    let dialog = desk.dialog();
    (desk, phone, dialog)
}

/// The PRACK of a response, under the phone's next number.
fn prack(phone: &mut Phone, response: &str) -> String {
    phone.learn(response);
    phone.extra = format!("RAck: {} 1 INVITE\r\n", header(response, "RSeq").unwrap());
    phone.request("PRACK", "")
}

#[test]
fn early_media_is_repeated_until_it_is_acknowledged_and_the_answer_waits_for_that() {
    let (mut desk, mut phone, dialog) = invited("Supported");
    desk.endpoint.ring(desk.now, dialog, Some(SDP)).unwrap();
    let early = desk.sent().remove(0).1;
    assert!(early.starts_with("SIP/2.0 183 ") && header(&early, "Require") == Some("100rel"));
    assert_eq!(desk.endpoint.answer(desk.now, dialog, SDP, &[]), Ok(Answering::Waits));
    let copies = desk.wait(Duration::from_secs(4));
    assert_eq!(copies.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [500, 1_500, 3_500]);
    assert!(copies.iter().all(|(_, copy)| *copy == early));
    let sent = desk.hear(prack(&mut phone, &early));
    assert!(sent[0].starts_with("SIP/2.0 200 ") && header(&sent[0], "CSeq") == Some("2 PRACK"));
    assert!(sent[1].starts_with("SIP/2.0 200 ") && header(&sent[1], "CSeq") == Some("1 INVITE"));
    assert_eq!(desk.story(), ["Invited", "AnswerSent"]);
    let again = prack(&mut phone, &early);
    assert_eq!(desk.status(again), 481);
}

#[test]
fn without_media_only_a_caller_that_insists_gets_it_so() {
    for (list, reliable) in [("Supported", false), ("Require", true)] {
        let (mut desk, _, dialog) = invited(list);
        desk.endpoint.ring(desk.now, dialog, None).unwrap();
        let ringing = desk.sent().remove(0).1;
        assert_eq!(header(&ringing, "RSeq").is_some(), reliable);
        assert_eq!(desk.endpoint.answer(desk.now, dialog, SDP, &[]), Ok(Answering::Sent));
        assert_eq!(desk.sent().len(), 1, "the 200 does not wait for a response that answers nothing");
    }
}

#[test]
fn what_was_not_acknowledged_before_the_answer_may_be_for_32_seconds_more() {
    for (later, status) in [(20, 200), (33, 481)] {
        let (mut desk, mut phone, dialog) = invited("Require");
        desk.endpoint.ring(desk.now, dialog, None).unwrap();
        let ringing = desk.sent().remove(0).1;
        assert_eq!(desk.endpoint.answer(desk.now, dialog, SDP, &[]), Ok(Answering::Sent));
        desk.sent();
        phone.learn(&ringing);
        phone.extra = String::new();
        desk.hear(phone.ack(""));
        desk.wait(Duration::from_secs(later));
        assert_eq!(desk.status(prack(&mut phone, &ringing)), status, "after {later} s");
        assert_eq!(desk.status(prack(&mut phone, &ringing)), 481, "once");
    }
}

/// A final response ends what is repeated, yet a PRACK that is under way then is to be taken (RFC 3262 section 3).
#[test]
fn what_was_not_acknowledged_before_a_refusal_may_be_behind_it() {
    for ending in ["reject", "cancel"] {
        for (later, status) in [(0, 200), (31, 200), (33, 481)] {
            let (mut desk, mut phone, dialog) = invited("Supported");
            desk.endpoint.ring(desk.now, dialog, Some(SDP)).unwrap();
            let early = desk.sent().remove(0).1;
            let cancel = phone.same_branch("CANCEL");
            match ending {
                "reject" => desk.endpoint.reject(desk.now, dialog, &sip::Rejection::new(486)).unwrap(),
                _ => drop(desk.hear(cancel)),
            }
            phone.learn(&early);
            phone.extra = String::new();
            phone.seq = 1;
            desk.hear(phone.same_branch("ACK"));
            desk.wait(Duration::from_secs(later));
            phone.extra = format!("RAck: {} 1 INVITE\r\n", header(&early, "RSeq").unwrap());
            let stranger = phone.clone().request("PRACK", "").replace("tag=alice", "tag=eve");
            assert_eq!(desk.status(stranger), 481, "{ending}: of another caller");
            let prack = phone.request("PRACK", "");
            assert_eq!(desk.status(&prack), status, "{ending}: after {later} s");
            assert_eq!(desk.status(&prack), status, "{ending}: its copy");
            assert_eq!(desk.status(phone.request("PRACK", "")), 481, "{ending}: once");
            desk.wait(Duration::from_secs(100));
            let counters = desk.endpoint.counters();
            assert_eq!((counters.transactions, counters.dialogs), (0, 0));
        }
    }
}

#[test]
fn a_second_response_waits_for_the_first_ones_prack() {
    let (mut desk, mut phone, dialog) = invited("Require");
    desk.endpoint.ring(desk.now, dialog, None).unwrap();
    let first = desk.sent().remove(0).1;
    desk.endpoint.ring(desk.now, dialog, Some(SDP)).unwrap();
    assert!(desk.sent().is_empty());
    let sent = desk.hear(prack(&mut phone, &first));
    assert!(sent[1].starts_with("SIP/2.0 183 "));
    let number = |m: &str| header(m, "RSeq").unwrap().parse::<u32>().unwrap();
    assert_eq!(number(&sent[1]), number(&first) + 1);
}

#[test]
fn a_caller_that_never_acknowledges_is_refused_after_32_seconds() {
    let (mut desk, _, dialog) = invited("Supported");
    desk.endpoint.ring(desk.now, dialog, Some(SDP)).unwrap();
    desk.endpoint.answer(desk.now, dialog, SDP, &[]).unwrap();
    desk.sent();
    let sent = desk.wait(Duration::from_secs(33));
    assert!(sent.iter().any(|(at, m)| *at == 32_000 && m.starts_with("SIP/2.0 504 ")), "{sent:#?}");
    assert_eq!(desk.story(), ["Invited", "Ended PrackTimeout"]);
}

#[test]
fn before_the_answer_an_update_changes_what_was_agreed_on_and_acknowledged() {
    let (mut desk, mut phone, dialog) = invited("Supported");
    desk.endpoint.ring(desk.now, dialog, Some(SDP)).unwrap();
    let early = desk.sent().remove(0).1;
    phone.learn(&early);
    assert_eq!(desk.status(phone.request("UPDATE", SDP)), 500, "our answer is not acknowledged yet");
    desk.hear(prack(&mut phone, &early));
    phone.extra = String::new();
    let update = phone.request("UPDATE", SDP);
    assert!(desk.hear(&update).is_empty());
    assert!(matches!(desk.events.last(), Some(SipEvent::Reoffered { method: OfferMethod::Update, .. })));
    assert_eq!(desk.status(phone.clone().request("UPDATE", SDP)), 500, "one at a time");
    desk.endpoint.answer_reoffer(desk.now, dialog, Ok("v=0\r\nours\r\n")).unwrap();
    let answer = desk.sent().remove(0).1;
    assert!(answer.starts_with("SIP/2.0 200 ") && answer.ends_with("ours\r\n"), "{answer}");
    assert_eq!(desk.hear(&update), [answer], "its copy gets the same");
    desk.endpoint.answer(desk.now, dialog, SDP, &[]).unwrap();
    assert!(desk.sent().remove(0).1.starts_with("SIP/2.0 200 "));
    assert_eq!(desk.story(), ["Invited", "Reoffered Update"]);
}

#[test]
fn an_offer_in_a_prack_is_answered_in_its_200_and_the_answer_to_the_call_waits_for_that() {
    for (answer, code) in [(Ok("v=0\r\nours\r\n"), "200"), (Err(sip::Rejection::new(488)), "488")] {
        let (mut desk, mut phone, dialog) = invited("Supported");
        desk.endpoint.ring(desk.now, dialog, Some(SDP)).unwrap();
        let early = desk.sent().remove(0).1;
        assert_eq!(desk.endpoint.answer(desk.now, dialog, SDP, &[]), Ok(Answering::Waits));
        phone.learn(&early);
        phone.extra = format!("RAck: {} 1 INVITE\r\n", header(&early, "RSeq").unwrap());
        let prack = phone.request("PRACK", SDP);
        assert!(desk.hear(&prack).is_empty());
        let Some(SipEvent::Reoffered { sdp, method: OfferMethod::Prack, .. }) = desk.events.last() else {
            panic!("{:?}", desk.story())
        };
        assert_eq!(sdp.as_deref(), Some(SDP));
        let taken = answer.is_ok();
        desk.endpoint.answer_reoffer(desk.now, dialog, answer).unwrap();
        let sent: Vec<String> = desk.sent().into_iter().map(|(_, message)| message).collect();
        assert!(sent[0].starts_with(&format!("SIP/2.0 {code} ")), "{sent:#?}");
        assert_eq!((header(&sent[0], "CSeq"), sent[0].ends_with("ours\r\n")), (Some("2 PRACK"), taken));
        assert_eq!(header(&sent[1], "CSeq"), Some("1 INVITE"));
        assert_eq!(sent[1].ends_with("ours\r\n"), taken, "what was agreed on last stands");
        assert_eq!(desk.hear(&prack), sent[..1], "its copy gets the same");
        assert_eq!(desk.story(), ["Invited", "Reoffered Prack", "AnswerSent"]);
    }
}

/// Nobody may make an offer while one is open (RFC 3262 section 5), but what acknowledges a response gets a 2xx all the
/// same (RFC 3262 section 3): no other code says that the response has arrived.
#[test]
fn an_offer_in_a_prack_beside_one_that_is_open_is_passed_over_and_the_response_counts_as_acknowledged() {
    let (mut desk, mut phone, dialog) = invited("Require");
    desk.endpoint.ring(desk.now, dialog, None).unwrap();
    let ringing = desk.sent().remove(0).1;
    phone.learn(&ringing);
    phone.extra = format!("RAck: {} 1 INVITE\r\n", header(&ringing, "RSeq").unwrap());
    let prack = phone.request("PRACK", SDP);
    let sent = desk.hear(&prack);
    assert!(sent.len() == 1 && sent[0].starts_with("SIP/2.0 200 "), "{sent:#?}");
    assert_eq!((header(&sent[0], "CSeq"), header(&sent[0], "Content-Length")), (Some("2 PRACK"), Some("0")));
    assert!(desk.wait(Duration::from_secs(10)).is_empty(), "nothing is repeated");
    desk.endpoint.answer(desk.now, dialog, "v=0\r\nours\r\n", &[]).unwrap();
    let answer = desk.sent().remove(0).1;
    assert!(answer.starts_with("SIP/2.0 200 ") && answer.ends_with("ours\r\n"), "{answer}");
    assert_eq!(desk.story(), ["Invited"], "the offer of the INVITE is the one that is answered");
}

#[test]
fn a_caller_without_an_offer_may_make_its_first_one_in_a_prack() {
    let (mut desk, mut phone) = (Desk::new(), Phone::new("c1"));
    phone.extra = "Require: 100rel\r\n".into();
    desk.hear(phone.request("INVITE", ""));
    let dialog = desk.dialog();
    desk.endpoint.ring(desk.now, dialog, None).unwrap();
    let early = desk.sent().remove(0).1;
    phone.learn(&early);
    phone.extra = format!("RAck: {} 1 INVITE\r\n", header(&early, "RSeq").unwrap());
    assert!(desk.hear(phone.request("PRACK", SDP)).is_empty());
    desk.endpoint.answer_reoffer(desk.now, dialog, Ok("v=0\r\nours\r\n")).unwrap();
    let answer = desk.sent().remove(0).1;
    assert!(answer.starts_with("SIP/2.0 200 ") && answer.ends_with("ours\r\n"), "{answer}");
    desk.endpoint.answer(desk.now, dialog, "v=0\r\nours\r\n", &[]).unwrap();
    let answer = desk.sent().remove(0).1;
    phone.extra = String::new();
    phone.seq = 1;
    assert!(desk.hear(phone.ack("")).is_empty());
    phone.seq = 2;
    let Some(SipEvent::Established { sdp: None, .. }) = desk.events.last() else {
        panic!("{:?}", desk.events)
    };
    assert!(answer.ends_with("ours\r\n") && desk.wait(Duration::from_secs(5)).is_empty());
    assert_eq!(desk.story(), ["Invited", "Reoffered Prack", "Established"]);
    // A refused one changes nothing: the offer is still to be made.
    let (mut desk, mut phone) = (Desk::new(), Phone::new("c2"));
    phone.extra = "Require: 100rel\r\n".into();
    desk.hear(phone.request("INVITE", ""));
    let dialog = desk.dialog();
    desk.endpoint.ring(desk.now, dialog, None).unwrap();
    let early = desk.sent().remove(0).1;
    phone.learn(&early);
    phone.extra = format!("RAck: {} 1 INVITE\r\n", header(&early, "RSeq").unwrap());
    desk.hear(phone.request("PRACK", SDP));
    desk.endpoint.answer_reoffer(desk.now, dialog, Err(sip::Rejection::new(488))).unwrap();
    desk.endpoint.answer(desk.now, dialog, SDP, &[]).unwrap();
    desk.sent();
    (phone.extra, phone.seq) = (String::new(), 1);
    desk.hear(phone.ack(SDP));
    assert!(matches!(desk.events.last(), Some(SipEvent::Established { sdp: Some(_), .. })));
}

#[test]
fn an_offer_before_the_answer_leaves_the_terms_of_the_session_timer_to_the_answer() {
    let (mut desk, mut phone) = (Desk::new(), Phone::new("c1"));
    phone.extra = "Supported: 100rel, timer\r\nSession-Expires: 200;refresher=uac\r\n".into();
    desk.hear(phone.request("INVITE", SDP));
    let dialog = desk.dialog();
    desk.endpoint.ring(desk.now, dialog, Some(SDP)).unwrap();
    let early = desk.sent().remove(0).1;
    desk.hear(prack(&mut phone, &early));
    phone.extra = String::new();
    desk.hear(phone.request("UPDATE", SDP));
    desk.endpoint.answer_reoffer(desk.now, dialog, Ok(SDP)).unwrap();
    assert_eq!(header(&desk.sent()[0].1, "Session-Expires"), None);
    desk.endpoint.answer(desk.now, dialog, SDP, &[]).unwrap();
    assert_eq!(header(&desk.sent()[0].1, "Session-Expires"), Some("200;refresher=uac"));
}

#[test]
fn a_call_that_is_given_up_while_an_early_update_waits_leaves_nothing_behind() {
    let (mut desk, mut phone, dialog) = invited("Supported");
    desk.endpoint.ring(desk.now, dialog, Some(SDP)).unwrap();
    let early = desk.sent().remove(0).1;
    desk.hear(prack(&mut phone, &early));
    phone.extra = String::new();
    let update = phone.request("UPDATE", SDP);
    desk.hear(&update);
    desk.endpoint.reject(desk.now, dialog, &sip::Rejection::new(486)).unwrap();
    desk.wait(Duration::from_secs(40));
    assert_eq!((desk.endpoint.counters().transactions, desk.endpoint.counters().dialogs), (0, 0));
}

#[test]
fn two_of_us_agree_on_a_bad_line() {
    let mut lost = Vec::new();
    let mut world = World::losing(move |_, text| {
        let kinds = ["SIP/2.0 183", "PRACK"];
        let kind = kinds.into_iter().find(|kind| text.starts_with(kind) && !lost.contains(kind));
        lost.extend(kind);
        kind.is_some()
    });
    world.call();
    world.run(Duration::from_millis(50));
    let callee = world.invited();
    world.ends[CALLEE].ring(world.now, callee, Some(SDP)).unwrap();
    world.ends[CALLEE].answer(world.now, callee, SDP, &[]).unwrap();
    world.run(Duration::from_secs(10));
    assert_eq!(world.story(CALLER), ["Provisional 183", "Answered"]);
    assert_eq!(world.story(CALLEE), ["Invited", "AnswerSent", "Established"]);
}
