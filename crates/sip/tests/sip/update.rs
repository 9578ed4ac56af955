//! New media before the answer: our UPDATE with an offer (RFC 3311), and what it runs into.

use std::time::Duration;

use sip::{Answering, Credentials, DialogId, Outbound, SipEvent};

use crate::cancel::tagged;
use crate::desk::{Desk, PHONE, Phone, SDP, header};
use crate::digest_client::{refuse, request};
use crate::own_offers::with_sdp;

const ALLOW: &str = "Allow: INVITE, UPDATE\r\n";

fn hold() -> String {
    format!("{SDP}a=sendonly\r\n")
}

/// A response with further lines and a description.
fn early(invite: &str, tag: &str, lines: &str) -> String {
    with_sdp(&tagged(invite, 183, tag).replace("Contact:", &format!("{lines}Contact:")), SDP)
}

/// A call of ours; its INVITE.
fn calling() -> (Desk, DialogId, String) {
    let mut desk = Desk::new();
    let target = PHONE.parse::<std::net::SocketAddr>().unwrap();
    let call = Outbound {
        sdp: Some(SDP.into()),
        credentials: Some(Credentials::new("us", "secret")),
        ..Outbound::new("sip:bob@192.0.2.1", "sip:us@192.0.2.2", target)
    };
    let dialog = desk.endpoint.invite(desk.now, &call).unwrap();
    let invite = desk.sent().remove(0).1;
    (desk, dialog, invite)
}

/// The callee with this tag rings with sound, which we acknowledge.
fn rings(desk: &mut Desk, invite: &str, tag: &str, number: u32) {
    let lines = format!("Require: 100rel\r\nRSeq: {number}\r\n{ALLOW}");
    let prack = request(desk.hear(early(invite, tag, &lines))).unwrap();
    assert!(prack.starts_with("PRACK "), "{prack}");
    desk.hear(tagged(&prack, 200, tag));
}

/// A call of ours that rings with sound, and our UPDATE in it.
fn updating() -> (Desk, DialogId, String, String) {
    let (mut desk, dialog, invite) = calling();
    rings(&mut desk, &invite, "a", 1);
    desk.endpoint.reoffer(desk.now, dialog, &hold()).unwrap();
    let update = desk.sent().remove(0).1;
    (desk, dialog, invite, update)
}

/// A phone that calls us, hears us ring with sound and acknowledges that.
fn ringing(allow: &str) -> (Desk, Phone, DialogId) {
    let (mut desk, mut phone) = (Desk::new(), Phone::new("c1"));
    phone.extra = format!("Supported: 100rel\r\n{allow}");
    desk.hear(phone.request("INVITE", SDP));
    let dialog = desk.dialog();
    desk.endpoint.ring(desk.now, dialog, Some(SDP)).unwrap();
    let ringing = desk.sent().remove(0).1;
    phone.learn(&ringing);
    phone.extra = format!("RAck: {} 1 INVITE\r\n", header(&ringing, "RSeq").unwrap());
    assert_eq!(desk.status(phone.request("PRACK", "")), 200);
    phone.extra = String::new();
    (desk, phone, dialog)
}

fn refused(desk: &Desk) -> u16 {
    let Some(SipEvent::OfferRefused { code, .. }) = desk.events.last() else { panic!("{:?}", desk.story()) };
    *code
}

#[test]
fn a_callee_that_rings_with_sound_gets_an_update_in_its_early_dialog_and_one_that_answered_a_reinvite() {
    let (mut desk, dialog, invite, update) = updating();
    assert!(update.starts_with("UPDATE sip:a@192.0.2.1:5060 ") && update.ends_with(&hold()), "{update}");
    assert_eq!(header(&update, "CSeq"), Some("3 UPDATE"), "its PRACK was the second");
    assert!(header(&update, "To").unwrap().ends_with(";tag=a") && header(&update, "Contact").is_some());
    // What is wanted meanwhile waits, and of that only the last is made.
    desk.endpoint.reoffer(desk.now, dialog, &hold()).unwrap();
    desk.endpoint.reoffer(desk.now, dialog, SDP).unwrap();
    assert!(desk.sent().is_empty(), "one offer at a time");
    let next = request(desk.hear(with_sdp(&tagged(&update, 200, "a"), SDP))).unwrap();
    assert!(next.starts_with("UPDATE ") && next.ends_with(SDP) && header(&next, "CSeq") == Some("4 UPDATE"));
    assert!(matches!(desk.events.last(), Some(SipEvent::OfferAnswered { sdp: Some(_), .. })));
    assert!(desk.hear(with_sdp(&tagged(&next, 200, "a"), SDP)).is_empty());
    let ack = desk.hear(tagged(&invite, 200, "a")).remove(0);
    assert!(ack.starts_with("ACK ") && header(&ack, "CSeq") == Some("1 ACK"));
    desk.endpoint.reoffer(desk.now, dialog, &hold()).unwrap();
    let reinvite = desk.sent().remove(0).1;
    assert!(reinvite.starts_with("INVITE ") && header(&reinvite, "CSeq") == Some("5 INVITE"), "{reinvite}");
    assert_eq!(desk.story(), ["Provisional 183", "OfferAnswered", "OfferAnswered", "Answered"]);
}

#[test]
fn nothing_is_offered_before_the_answer_to_who_has_not_agreed_reliably_or_takes_no_update() {
    let reliable = "Require: 100rel\r\nRSeq: 1\r\n";
    for lines in [String::new(), ALLOW.into(), reliable.into(), format!("{reliable}Allow: INVITE\r\n")] {
        let (mut desk, dialog, invite) = calling();
        assert!(desk.endpoint.reoffer(desk.now, dialog, &hold()).is_err(), "nobody rings");
        desk.hear(early(&invite, "a", &lines));
        assert!(desk.endpoint.reoffer(desk.now, dialog, &hold()).is_err(), "{lines}");
    }
    let (mut desk, dialog, invite) = calling();
    rings(&mut desk, &invite, "a", 1);
    assert!(desk.endpoint.ask_for_offer(desk.now, dialog).is_err(), "an UPDATE without offer asks for none");
    // Another callee sounds now, and what it says of its media it may take back.
    desk.hear(early(&invite, "b", ALLOW));
    assert!(desk.endpoint.reoffer(desk.now, dialog, &hold()).is_err());
    for allow in ["", "Allow: INVITE, ACK\r\n"] {
        let (mut desk, _, dialog) = ringing(allow);
        assert!(desk.endpoint.reoffer(desk.now, dialog, &hold()).is_err(), "{allow}");
    }
}

#[test]
fn an_update_that_collides_is_made_again_and_meanwhile_the_peers_is_answered() {
    let (mut desk, _, _, update) = updating();
    let theirs = |number: u32| {
        let value = |name| header(&update, name).unwrap();
        format!(
            "UPDATE sip:us@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP {PHONE};branch=z9hG4bKu{number}\r\n\
             Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {number} UPDATE\r\n\
             Contact: <sip:a@192.0.2.1:5060>\r\nContent-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{SDP}",
            value("To"),
            value("From"),
            value("Call-ID"),
            SDP.len()
        )
    };
    assert_eq!(desk.status(theirs(1)), 491, "ours is open");
    desk.hear(tagged(&update, 491, "a"));
    // The caller waits for 2.1 to 4 s (RFC 3261 section 14.1).
    assert!(desk.wait(Duration::from_millis(2_090)).is_empty());
    assert!(desk.hear(theirs(2)).is_empty());
    let dialog = desk.dialog();
    assert!(desk.wait(Duration::from_millis(1_920)).is_empty(), "theirs is open");
    desk.endpoint.answer_reoffer(desk.now, dialog, Ok(SDP)).unwrap();
    let sent: Vec<String> = desk.sent().into_iter().map(|(_, text)| text).collect();
    assert!(sent[0].starts_with("SIP/2.0 200 ") && sent[1].starts_with("UPDATE "), "{sent:#?}");
    assert_eq!(header(&sent[1], "CSeq"), Some("4 UPDATE"));
    desk.hear(with_sdp(&tagged(&sent[1], 200, "a"), SDP));
    assert_eq!(desk.story(), ["Provisional 183", "Reoffered Update", "OfferAnswered"]);
}

#[test]
fn an_update_that_comes_too_early_for_the_callee_is_made_again_when_it_says() {
    let (mut desk, _, _, update) = updating();
    desk.hear(refuse(&update, 500, "Retry-After: 5"));
    assert!(desk.wait(Duration::from_millis(4_900)).is_empty());
    let again = desk.wait(Duration::from_millis(200)).remove(0).1;
    assert!(again.starts_with("UPDATE ") && again.ends_with(&hold()), "{again}");
}

#[test]
fn an_update_that_is_refused_leaves_the_call_ringing_and_one_that_is_not_known_is_the_last() {
    for (code, again) in [(488, true), (504, true), (500, true), (481, true), (405, false), (501, false)] {
        let (mut desk, dialog, invite, update) = updating();
        assert!(desk.hear(tagged(&update, code, "a")).is_empty());
        assert_eq!(refused(&desk), code);
        assert_eq!(desk.endpoint.reoffer(desk.now, dialog, &hold()).is_ok(), again, "{code}");
        desk.sent();
        let sent = desk.hear(tagged(&invite, 200, "a"));
        assert!(sent[0].starts_with("ACK ") && desk.story().contains(&"Answered".to_owned()), "{code}");
    }
    let (mut desk, _, _, _) = updating();
    desk.wait(Duration::from_secs(33));
    assert_eq!(refused(&desk), 408);
    assert_eq!(desk.endpoint.counters().dialogs, 1, "the call rings on");
}

#[test]
fn an_update_that_is_asked_for_a_password_goes_on_in_the_numbers_of_its_dialog() {
    let (mut desk, _, _, update) = updating();
    let asks = "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n\", qop=\"auth\"";
    let again = request(desk.hear(refuse(&update, 401, asks))).unwrap();
    assert_eq!(header(&again, "CSeq"), Some("4 UPDATE"));
    assert!(header(&again, "Authorization").unwrap().contains("uri=\"sip:a@192.0.2.1:5060\""), "{again}");
    desk.hear(with_sdp(&tagged(&again, 200, "a"), SDP));
    assert_eq!(desk.story().last().map(String::as_str), Some("OfferAnswered"));
}

#[test]
fn what_was_offered_to_one_callee_is_offered_to_the_other_one_that_answers() {
    let (mut desk, _, invite, update) = updating();
    desk.hear(tagged(&invite, 180, "b"));
    let sent = desk.hear(with_sdp(&tagged(&invite, 200, "b"), SDP));
    assert!(sent[0].starts_with("ACK ") && sent[1].starts_with("INVITE sip:b@"), "{sent:#?}");
    assert!(sent[1].ends_with(&hold()));
    desk.hear(with_sdp(&tagged(&update, 200, "a"), SDP));
    assert_eq!(desk.story().last().map(String::as_str), Some("Answered"), "of the first one nothing counts");
    desk.hear(with_sdp(&tagged(&sent[1], 200, "b"), SDP));
    assert_eq!(desk.story().last().map(String::as_str), Some("OfferAnswered"));
}

#[test]
fn an_answer_that_overtakes_the_update_leaves_it_to_be_answered() {
    let (mut desk, dialog, invite, update) = updating();
    assert_eq!(desk.hear(tagged(&invite, 200, "a")).len(), 1, "the ACK alone");
    desk.endpoint.reoffer(desk.now, dialog, SDP).unwrap();
    assert!(desk.sent().is_empty(), "one offer at a time");
    let next = request(desk.hear(with_sdp(&tagged(&update, 200, "a"), SDP))).unwrap();
    assert!(next.starts_with("INVITE ") && next.ends_with(SDP), "{next}");
    assert_eq!(desk.story(), ["Provisional 183", "Answered", "OfferAnswered"]);
}

#[test]
fn an_update_that_collides_and_is_overtaken_by_the_answer_becomes_a_reinvite() {
    let (mut desk, _, invite, update) = updating();
    desk.hear(tagged(&update, 491, "a"));
    let sent = desk.hear(tagged(&invite, 200, "a"));
    assert!(sent[0].starts_with("ACK ") && sent[1].starts_with("INVITE ") && sent[1].ends_with(&hold()));
    assert!(!desk.wait(Duration::from_secs(5)).iter().any(|(_, text)| text.starts_with("UPDATE ")));
}

#[test]
fn a_caller_that_hears_us_ring_gets_an_update_and_our_answer_waits_for_its_own() {
    let (mut desk, mut phone, dialog) = ringing(ALLOW);
    desk.endpoint.reoffer(desk.now, dialog, &hold()).unwrap();
    let update = desk.sent().remove(0).1;
    assert!(update.starts_with("UPDATE ") && update.ends_with(&hold()), "{update}");
    assert_eq!(desk.status(phone.request("UPDATE", SDP)), 491, "ours is open");
    assert_eq!(desk.endpoint.answer(desk.now, dialog, SDP, &[]), Ok(Answering::Waits));
    let sent = desk.hear(with_sdp(&tagged(&update, 200, "alice"), SDP));
    assert!(
        sent[0].starts_with("SIP/2.0 200 ") && sent[0].ends_with(&hold()),
        "what was agreed on: {sent:#?}"
    );
    assert_eq!(desk.story(), ["Invited", "OfferAnswered", "AnswerSent"]);
    phone.seq = 1;
    desk.hear(phone.ack(""));
    assert_eq!(desk.story().last().map(String::as_str), Some("Established"));
}

#[test]
fn our_answer_does_not_wait_for_an_offer_that_has_collided() {
    let (mut desk, mut phone, dialog) = ringing(ALLOW);
    desk.endpoint.reoffer(desk.now, dialog, &hold()).unwrap();
    let update = desk.sent().remove(0).1;
    desk.hear(tagged(&update, 491, "alice"));
    assert_eq!(desk.endpoint.answer(desk.now, dialog, SDP, &[]), Ok(Answering::Sent));
    desk.sent();
    phone.seq = 1;
    let sent = desk.hear(phone.ack(""));
    assert!(sent[0].starts_with("INVITE ") && sent[0].ends_with(&hold()), "{sent:#?}");
}
