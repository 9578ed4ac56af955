//! RFC 4028: who refreshes, when, and what happens if nobody does.

use std::time::Duration;

use sip::{Outbound, SipEvent};

use crate::cancel::respond;
use crate::desk::{Desk, PHONE, Phone, SDP, header};
use crate::digest_client::request;
use crate::world::{CALLEE, CALLER, World};

/// A phone whose INVITE has these lines is answered by the desk; the 200.
fn invited(desk: &mut Desk, lines: &str) -> (Phone, String) {
    let mut phone = Phone::new("c1");
    phone.extra = lines.into();
    desk.hear(phone.request("INVITE", SDP));
    let dialog = desk.dialog();
    desk.endpoint.answer(desk.now, dialog, SDP, &[]).unwrap();
    let answer = desk.sent().remove(0).1;
    phone.learn(&answer);
    phone.extra = String::new();
    desk.hear(phone.ack(""));
    (phone, answer)
}

fn lines(expires: &str) -> String {
    format!("Supported: timer\r\nAllow: INVITE, UPDATE\r\nSession-Expires: {expires}\r\n")
}

#[test]
fn two_of_us_keep_a_call_alive_by_update() {
    let mut world = World::new();
    world.answered_call();
    world.run(Duration::from_secs(3 * 3_600));
    assert_eq!(world.dialogs(), (1, 1));
    assert_eq!(world.sent_ms(CALLEE, "UPDATE").len(), 11, "each 900 s");
    assert_eq!(world.sent_ms(CALLER, "UPDATE").len(), 0);
    assert_eq!(world.story(CALLER), ["Answered"]);
}

#[test]
fn a_call_whose_other_end_is_gone_ends_within_the_interval() {
    let mut world = World::new();
    world.answered_call();
    world.run(Duration::from_secs(1));
    let mut dead = World::losing(|_, _| true);
    std::mem::swap(&mut dead.ends, &mut world.ends);
    dead.now = world.now;
    dead.run(Duration::from_secs(1_900));
    assert_eq!(dead.story(CALLER), ["Ended Expired"]);
    assert_eq!(dead.story(CALLEE), ["Ended Lost"]);
    assert_eq!(dead.sent_ms(CALLER, "BYE")[0], 1_768_070, "32 s before the end");
}

#[test]
fn a_caller_that_wants_to_refresh_itself_does_and_is_hung_up_if_it_stops() {
    let mut desk = Desk::new();
    let (mut phone, answer) = invited(&mut desk, &lines("100;refresher=uac"));
    assert_eq!(header(&answer, "Session-Expires"), Some("100;refresher=uac"));
    assert_eq!(header(&answer, "Require"), Some("timer"));
    desk.wait(Duration::from_secs(60));
    phone.extra = lines("100;refresher=uac");
    let refreshed = desk.hear(phone.request("UPDATE", ""));
    assert_eq!(header(&refreshed[0], "Session-Expires"), Some("100;refresher=uac"));
    let sent = desk.wait(Duration::from_secs(68));
    assert_eq!(sent[0].0, 128_000, "{sent:#?}");
    assert!(sent[0].1.starts_with("BYE ") && header(&sent[0].1, "Reason").unwrap().contains("408"));
}

#[test]
fn an_interval_that_is_too_small_is_refused_with_ours() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    phone.extra = lines("30");
    let refused = desk.hear(phone.request("INVITE", SDP));
    assert!(refused[0].starts_with("SIP/2.0 422 "));
    assert_eq!(header(&refused[0], "Min-SE"), Some("90"));
    assert!(desk.events.is_empty());
}

#[test]
fn a_callee_that_wants_a_longer_interval_gets_it() {
    let mut desk = Desk::with(|config| config.session_expires = Some(Duration::from_secs(90)));
    let target = PHONE.parse::<std::net::SocketAddr>().unwrap();
    let call =
        Outbound { sdp: Some(SDP.into()), ..Outbound::new("sip:b@192.0.2.1", "sip:a@192.0.2.2", target) };
    desk.endpoint.invite(desk.now, &call).unwrap();
    let first = desk.sent().remove(0).1;
    assert_eq!(header(&first, "Session-Expires"), Some("90"));
    let small = respond(&first, 422).replace("Content-Length", "Min-SE: 1200\r\nContent-Length");
    let second = request(desk.hear(small)).unwrap();
    assert_eq!((header(&second, "Session-Expires"), header(&second, "Min-SE")), (Some("1200"), Some("1200")));
    assert_eq!(header(&second, "CSeq"), Some("2 INVITE"));
}

#[test]
fn without_update_the_last_offer_is_made_again() {
    let mut desk = Desk::new();
    let (phone, answer) = invited(
        &mut desk,
        "Supported: timer\r\nAllow: INVITE, BYE\r\nSession-Expires: 120;refresher=uas\r\n",
    );
    assert_eq!(header(&answer, "Session-Expires"), Some("120;refresher=uas"));
    let sent = desk.wait(Duration::from_secs(60));
    let (at, refresh) = sent.last().unwrap();
    assert_eq!(*at, 60_000);
    assert!(refresh.starts_with("INVITE ") && refresh.ends_with(SDP));
    assert_eq!(header(refresh, "Session-Expires"), Some("120;refresher=uac"));
    let sent = desk.hear(respond(refresh, 200).replace(
        "Content-Length",
        &format!("Session-Expires: 120;refresher=uac\r\nX: {}\r\nContent-Length", phone.seq),
    ));
    assert!(sent[0].starts_with("ACK "));
    assert_eq!(desk.story(), ["Invited", "Established"], "nobody else hears of it");
    assert!(
        desk.wait(Duration::from_secs(60)).iter().any(|(at, m)| *at == 120_000 && m.starts_with("INVITE"))
    );
}

#[test]
fn a_peer_that_answers_the_refresh_with_481_ends_the_call() {
    let mut desk = Desk::new();
    invited(&mut desk, &lines("120;refresher=uas"));
    let update = desk.wait(Duration::from_secs(60)).remove(0).1;
    assert!(update.starts_with("UPDATE "));
    let bye = request(desk.hear(respond(&update, 481))).unwrap();
    assert!(bye.starts_with("BYE "));
    desk.hear(respond(&bye, 481));
    assert!(matches!(desk.events.last(), Some(SipEvent::Ended { cause: sip::EndCause::Lost, .. })));
}
