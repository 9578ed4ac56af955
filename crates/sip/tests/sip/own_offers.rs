//! Our own hold and resume, and what they run into.

use std::time::Duration;

use sip::SipEvent;

use crate::cancel::respond;
use crate::desk::{Desk, SDP};
use crate::digest_client::request;
use crate::world::{CALLEE, CALLER, World};

/// A response with a description.
pub(crate) fn with_sdp(response: &str, sdp: &str) -> String {
    let head = response.split_once("Content-Length").map_or(response, |(head, _)| head);
    format!("{head}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len())
}

fn hold() -> String {
    format!("{SDP}a=sendonly\r\n")
}

/// The offers that a side has heard and not answered yet are answered.
fn answer_offers(world: &mut World, dialogs: [sip::DialogId; 2]) -> usize {
    let mut answered = 0;
    for side in [CALLER, CALLEE] {
        if world.events[side].last().is_some_and(|e| matches!(e, SipEvent::Reoffered { .. })) {
            answered +=
                usize::from(world.ends[side].answer_reoffer(world.now, dialogs[side], Ok(SDP)).is_ok());
        }
    }
    answered
}

#[test]
fn hold_and_resume_are_offered_and_answered() {
    let mut world = World::new();
    let (caller, callee) = world.answered_call();
    for (side, dialog) in [(CALLER, caller), (CALLEE, callee)] {
        world.ends[side].reoffer(world.now, dialog, &hold()).unwrap();
        world.run(Duration::from_millis(50));
        let Some(SipEvent::Reoffered { sdp, .. }) = world.events[1 - side].last() else { panic!() };
        assert_eq!(sdp.as_deref(), Some(hold().as_str()));
        answer_offers(&mut world, [caller, callee]);
        world.run(Duration::from_millis(100));
        assert!(matches!(world.events[side].last(), Some(SipEvent::OfferAnswered { sdp: Some(_), .. })));
        assert!(world.log.last().unwrap().2.starts_with("ACK "));
    }
    world.run(Duration::from_secs(60));
    assert_eq!(world.dialogs(), (1, 1));
}

#[test]
fn a_peer_that_rings_for_ever_at_a_reinvite_is_given_up_after_a_challenge_and_other_requests_too() {
    for challenged in [false, true] {
        let mut desk = Desk::new();
        let login = Some(sip::Credentials::new("us", "secret"));
        let target = crate::desk::PHONE.parse::<std::net::SocketAddr>().unwrap();
        let call = sip::Outbound {
            sdp: Some(SDP.into()),
            credentials: login,
            ..sip::Outbound::new("sip:bob@192.0.2.1", "sip:us@192.0.2.2", target)
        };
        let dialog = desk.endpoint.invite(desk.now, &call).unwrap();
        let invite = desk.sent().remove(0).1;
        desk.hear(respond(&invite, 200));
        desk.endpoint.reoffer(desk.now, dialog, &hold()).unwrap();
        let mut offer = desk.sent().remove(0).1;
        if challenged {
            let asks = "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n\", qop=\"auth\"";
            offer = request(desk.hear(crate::digest_client::refuse(&offer, 401, asks))).unwrap();
        }
        desk.hear(respond(&offer, 180));
        let digit = sip::InDialog {
            method: sip::InDialogMethod::Info,
            content_type: String::new(),
            body: Vec::new(),
            headers: Vec::new(),
        };
        desk.endpoint.request_inside(desk.now, dialog, &digit).unwrap();
        let info = desk.sent().remove(0).1;
        desk.hear(respond(&info, 200));
        desk.wait(Duration::from_secs(179));
        assert_eq!(desk.story(), ["Answered", "Responded"], "challenged: {challenged}");
        let sent = desk.wait(Duration::from_secs(2));
        assert!(sent.iter().any(|(_, text)| text.starts_with("BYE ")), "challenged: {challenged}");
        assert_eq!(desk.story()[2], "OfferRefused");
    }
}

#[test]
fn a_peer_that_is_asked_for_an_offer_gets_our_answer_in_the_ack() {
    let mut desk = Desk::new();
    let (_, dialog) = desk.call();
    desk.endpoint.ask_for_offer(desk.now, dialog).unwrap();
    let invite = desk.sent().remove(0).1;
    assert!(invite.starts_with("INVITE ") && !invite.contains("application/sdp"), "{invite}");
    let offer = with_sdp(&respond(&invite, 200), &hold());
    assert!(desk.hear(&offer).is_empty() && desk.hear(&offer).is_empty(), "the ACK waits for our answer");
    let Some(SipEvent::OfferAnswered { sdp, .. }) = desk.events.last() else { panic!() };
    assert_eq!(sdp.as_deref(), Some(hold().as_str()));
    // Meanwhile an offer of the peer would cross ours.
    desk.endpoint.reoffer(desk.now, dialog, SDP).unwrap();
    assert!(desk.sent().is_empty(), "one offer at a time");
    desk.endpoint.acknowledge(desk.now, dialog, SDP).unwrap();
    let sent: Vec<String> = desk.sent().into_iter().map(|(_, message)| message).collect();
    assert!(sent[0].starts_with("ACK ") && sent[0].ends_with(SDP), "{}", sent[0]);
    assert!(sent[1].starts_with("INVITE ") && sent[1].ends_with(SDP), "what waited goes now");
    assert_eq!(desk.hear(&offer), [sent[0].clone()], "its copy is the same");
    assert!(desk.endpoint.acknowledge(desk.now, dialog, SDP).is_err());
}

#[test]
fn an_offerless_reinvite_of_the_peer_gets_our_offer_and_its_ack_our_answer() {
    let mut world = World::new();
    let (caller, callee) = world.answered_call();
    world.ends[CALLER].ask_for_offer(world.now, caller).unwrap();
    world.run(Duration::from_millis(50));
    assert!(matches!(world.events[CALLEE].last(), Some(SipEvent::Reoffered { sdp: None, .. })));
    world.ends[CALLEE].answer_reoffer(world.now, callee, Ok(&hold())).unwrap();
    world.run(Duration::from_millis(50));
    world.ends[CALLER].acknowledge(world.now, caller, SDP).unwrap();
    world.run(Duration::from_millis(50));
    let Some(SipEvent::ReofferAnswered { sdp, .. }) = world.events[CALLEE].last() else { panic!() };
    assert_eq!(sdp.as_deref(), Some(SDP));
    world.run(Duration::from_secs(60));
    assert_eq!(world.dialogs(), (1, 1));
}

#[test]
fn two_offers_at_once_collide_and_both_are_made_in_turn() {
    let mut world = World::new();
    let (caller, callee) = world.answered_call();
    world.ends[CALLER].reoffer(world.now, caller, &hold()).unwrap();
    world.ends[CALLEE].reoffer(world.now, callee, &hold()).unwrap();
    let mut answered = 0;
    for _ in 0..100 {
        world.run(Duration::from_millis(100));
        answered += answer_offers(&mut world, [caller, callee]);
    }
    assert_eq!(world.sent_ms(CALLER, "SIP/2.0 491").len(), 1);
    assert_eq!(world.sent_ms(CALLEE, "SIP/2.0 491").len(), 1);
    assert_eq!(answered, 2);
    let (first, second) = (world.sent_ms(CALLEE, "INVITE")[1], world.sent_ms(CALLER, "INVITE")[2]);
    assert!(first <= 150 + 2_040 && (2_100..=150 + 4_100).contains(&second), "{first} {second}");
    for side in [CALLER, CALLEE] {
        assert!(world.story(side).contains(&"OfferAnswered".to_owned()));
        assert!(!world.story(side).contains(&"OfferRefused".to_owned()));
    }
}

#[test]
fn a_refused_offer_is_told_and_the_call_goes_on() {
    let mut desk = Desk::new();
    let (_, dialog) = desk.call();
    desk.endpoint.reoffer(desk.now, dialog, &hold()).unwrap();
    desk.endpoint.reoffer(desk.now, dialog, "v=0 dropped").unwrap();
    desk.endpoint.reoffer(desk.now, dialog, SDP).unwrap();
    let offer = desk.sent().remove(0).1;
    let sent = desk.hear(respond(&offer, 488));
    assert!(sent[0].starts_with("ACK "));
    assert!(sent[1].starts_with("INVITE ") && sent[1].ends_with(SDP), "the last that waited");
    assert_eq!(desk.story()[2..], ["OfferRefused"]);
    assert_eq!(desk.endpoint.counters().dialogs, 1);
}

#[test]
fn a_peer_that_does_not_answer_an_offer_or_knows_the_call_no_more_is_hung_up() {
    for silent in [true, false] {
        let mut desk = Desk::new();
        let (_, dialog) = desk.call();
        desk.endpoint.reoffer(desk.now, dialog, SDP).unwrap();
        let offer = desk.sent().remove(0).1;
        let bye = match silent {
            true => desk.wait(Duration::from_secs(33)).pop().unwrap().1,
            false => request(desk.hear(respond(&offer, 481))).unwrap(),
        };
        assert!(bye.starts_with("BYE "), "{bye}");
        desk.hear(respond(&bye, 200));
        assert_eq!(desk.story()[2..], ["OfferRefused", "Ended Lost"]);
    }
}

#[test]
fn a_peer_that_never_stops_colliding_is_not_asked_for_ever() {
    let mut desk = Desk::new();
    let (_, dialog) = desk.call();
    desk.endpoint.reoffer(desk.now, dialog, SDP).unwrap();
    let mut offer = desk.sent().remove(0).1;
    let mut tries = 1;
    loop {
        desk.hear(respond(&offer, 491));
        let next = desk.wait(Duration::from_secs(3)).into_iter().find(|(_, m)| m.starts_with("INVITE"));
        let Some((_, next)) = next else { break };
        (offer, tries) = (next, tries + 1);
    }
    assert_eq!(tries, 6);
    assert_eq!(desk.story().last().unwrap(), "OfferRefused");
}
