//! RFC 4028: who refreshes, when, and what happens if nobody does.

use std::time::Duration;

use sip::{Outbound, SipEvent};

use crate::cancel::respond;
use crate::desk::{Desk, PHONE, Phone, SDP, header};
use crate::digest_client::request;
use crate::own_offers::with_sdp;
use crate::world::{CALLEE, CALLER, World};

/// A phone whose INVITE has these lines is answered by the desk; the 200.
fn invited(desk: &mut Desk, lines: &str) -> (Phone, String) {
    let mut phone = Phone::new("c1");
    phone.extra = lines.into();
    let (_, answer) = desk.call_of(&mut phone);
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
fn a_caller_without_timers_is_not_refused_for_what_a_proxy_asks() {
    let mut desk = Desk::new();
    let asked = "Allow: INVITE, UPDATE\r\nSession-Expires: 30;refresher=uac\r\n";
    let (_, answer) = invited(&mut desk, asked);
    assert_eq!(header(&answer, "Session-Expires"), Some("90;refresher=uas"));
    assert_eq!(header(&answer, "Require"), None);
    assert!(desk.wait(Duration::from_secs(45))[0].1.starts_with("UPDATE "));
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
fn the_answer_to_an_offer_that_is_made_again_is_told() {
    let mut desk = Desk::new();
    invited(&mut desk, "Supported: timer\r\nAllow: INVITE\r\nSession-Expires: 120;refresher=uas\r\n");
    let sent = desk.wait(Duration::from_secs(60));
    let refresh = &sent.last().unwrap().1;
    let moved = SDP.replace("4000", "4444");
    desk.hear(with_sdp(&respond(refresh, 200), &moved));
    let Some(SipEvent::Refreshed { sdp, .. }) = desk.events.last() else { panic!("{:?}", desk.story()) };
    assert_eq!(*sdp, moved);
    desk.hear(with_sdp(&respond(refresh, 200), &moved));
    assert_eq!(desk.story(), ["Invited", "Established", "Refreshed"], "a copy only wants its ACK");
}

/// The refreshes of a call whose interval is 120 s, each answered so, with their milliseconds; the call is up all the
/// while.
fn refreshes(desk: &mut Desk, update: bool, answers: &[(u16, &str)]) -> Vec<u128> {
    let allow = if update { "INVITE, UPDATE" } else { "INVITE" };
    invited(desk, &format!("Supported: timer\r\nAllow: {allow}\r\nSession-Expires: 120;refresher=uas\r\n"));
    let mut times = Vec::new();
    for (code, lines) in answers {
        let refresh = loop {
            let at = desk.endpoint.timeout().expect("a refresh is due");
            let sent = desk.wait(at - desk.now);
            assert!(!sent.iter().any(|(_, message)| message.starts_with("BYE ")), "after {times:?}");
            let found = sent.into_iter().find(|(_, m)| m.starts_with("UPDATE ") || m.starts_with("INVITE "));
            if let Some((at, refresh)) = found {
                times.push(at);
                break refresh;
            }
        };
        desk.hear(respond(&refresh, *code).replace("Content-Length", &format!("{lines}Content-Length")));
    }
    times
}

#[test]
fn a_refresh_that_is_refused_is_tried_again_and_the_call_goes_on() {
    for (update, code) in [(true, 503), (true, 403), (true, 491), (false, 488), (false, 503)] {
        let mut desk = Desk::new();
        let times = refreshes(
            &mut desk,
            update,
            &[(code, ""), (code, ""), (200, "Session-Expires: 120;refresher=uac\r\n")],
        );
        assert_eq!(times[0], 60_000);
        assert!(times[2] < 88_000, "within the interval: {times:?}");
        let sent = desk.wait(Duration::from_secs(59));
        assert!(!sent.iter().any(|(_, message)| message.starts_with("BYE ")), "{code}");
        assert!(!desk.story().iter().any(|event| event.starts_with("Ended")), "{code}");
    }
}

#[test]
fn a_refresh_is_not_tried_before_the_peer_wants_it_nor_too_late() {
    let mut desk = Desk::new();
    let times = refreshes(
        &mut desk,
        true,
        &[(503, "Retry-After: 10\r\n"), (503, "Retry-After: 3600\r\n"), (200, "")],
    );
    assert_eq!(times, [60_000, 70_000, 79_000]);
}

#[test]
fn a_session_that_is_never_refreshed_ends_with_its_interval() {
    let mut desk = Desk::new();
    refreshes(&mut desk, true, &[(503, ""); 4]);
    let mut bye = None;
    while bye.is_none() {
        let at = desk.endpoint.timeout().unwrap();
        for (at, message) in desk.wait(at - desk.now) {
            match message.split(' ').next() {
                Some("UPDATE") => drop(desk.hear(respond(&message, 503))),
                Some("BYE") => bye = Some(at),
                _ => {}
            }
        }
    }
    assert_eq!(bye, Some(88_000), "32 s before the end");
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
