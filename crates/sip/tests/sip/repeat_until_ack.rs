//! RFC 3261 section 13.3.1.4: a 200 is sent again until its ACK, and the call ended if none comes.

use std::time::Duration;

use crate::desk::{Desk, Phone, SDP};
use crate::world::{CALLEE, CALLER, World};

#[test]
fn a_200_is_repeated_at_doubling_distances_and_given_up_after_32_seconds() {
    let mut world = World::losing(|side, text| side == CALLER && text.starts_with("ACK"));
    world.call();
    world.run(Duration::from_millis(20));
    let callee = world.invited();
    let start = world.now.as_millis();
    world.ends[CALLEE].answer(world.now, callee, SDP, &[]).unwrap();
    world.run(Duration::from_secs(80));
    let answers: Vec<u128> = world.sent_ms(CALLEE, "SIP/2.0 200").iter().map(|at| at - start).collect();
    assert_eq!(answers, [0, 500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
    assert_eq!(world.sent_ms(CALLEE, "BYE")[0] - start, 32_000);
    assert_eq!(world.sent_ms(CALLER, "ACK").len(), 11, "each copy of the 200 is acknowledged");
    assert_eq!(world.story(CALLEE), ["Invited", "AckTimeout", "Ended AckTimeout"]);
    assert_eq!(world.story(CALLER), ["Answered", "Ended Bye"], "a copy of the 200 is not told again");
    assert_eq!(world.dialogs(), (0, 0));
}

#[test]
fn a_lost_ack_is_made_good_by_the_next_200() {
    let mut lost = 0;
    let mut world =
        World::losing(move |_, text| text.starts_with("ACK") && std::mem::replace(&mut lost, 1) == 0);
    world.answered_call();
    world.run(Duration::from_secs(40));
    assert_eq!(world.sent_ms(CALLEE, "SIP/2.0 200").len(), 2);
    assert_eq!(world.story(CALLEE), ["Invited", "Established"]);
    assert_eq!(world.dialogs(), (1, 1));
}

#[test]
fn copies_of_an_answered_invite_are_absorbed() {
    let mut desk = Desk::new();
    let invite = Phone::new("c1").request("INVITE", SDP);
    desk.hear(&invite);
    let dialog = desk.dialog();
    desk.endpoint.answer(desk.now, dialog, SDP, &[]).unwrap();
    desk.sent();
    assert_eq!(desk.status(&invite), 0);
    assert_eq!(desk.story(), ["Invited"]);
    assert_eq!(desk.endpoint.counters().absorbed, 1);
}

#[test]
fn an_ack_with_a_wrong_number_or_tag_ends_nothing() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    desk.hear(phone.request("INVITE", SDP));
    let dialog = desk.dialog();
    desk.endpoint.answer(desk.now, dialog, SDP, &[]).unwrap();
    phone.learn(&desk.sent().remove(0).1);
    let mut other = phone.clone();
    other.seq = 9;
    desk.hear(other.ack(""));
    let mut other = phone.clone();
    other.to_tag = "guessed".into();
    desk.hear(other.ack(""));
    assert_eq!(desk.story(), ["Invited"]);
    desk.hear(phone.ack(""));
    assert_eq!(desk.story(), ["Invited", "Established"]);
    assert!(desk.wait(Duration::from_secs(33)).is_empty());
}

#[test]
fn the_answer_in_the_ack_of_an_offerless_invite_is_told() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    desk.hear(phone.request("INVITE", ""));
    let dialog = desk.dialog();
    desk.endpoint.answer(desk.now, dialog, SDP, &[]).unwrap();
    phone.learn(&desk.sent().remove(0).1);
    desk.hear(phone.ack(SDP));
    let sip::SipEvent::Established { sdp, .. } = &desk.events[1] else { panic!() };
    assert_eq!(sdp.as_deref(), Some(SDP));
}
