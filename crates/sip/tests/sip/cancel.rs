//! RFC 3261 section 9: CANCEL, and what it races with.

use std::time::Duration;

use sip::{SipError, SipEvent};

use crate::desk::{Desk, Phone, SDP, header, status};
use crate::world::{CALLEE, CALLER, World};

#[test]
fn a_call_rings_no_longer_than_its_caller_said() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    phone.extra = "Expires: 2\r\n".into();
    desk.hear(phone.request("INVITE", SDP));
    desk.endpoint.ring(desk.now, desk.dialog(), None).unwrap();
    desk.sent();
    assert!(desk.wait(Duration::from_millis(1_900)).is_empty());
    let sent = desk.wait(Duration::from_millis(200));
    assert!(sent.len() == 1 && sent[0].1.starts_with("SIP/2.0 487 "), "{sent:#?}");
    assert_eq!(desk.story(), ["Invited", "Canceled"]);
    desk.hear(phone.same_branch("ACK"));
    let mut phone = Phone::new("c2");
    phone.extra = "Expires: 2\r\n".into();
    desk.hear(phone.request("INVITE", SDP));
    desk.endpoint.answer(desk.now, desk.dialog(), SDP, &[]).unwrap();
    let answer = desk.sent().remove(0).1;
    phone.learn(&answer);
    desk.hear(phone.ack(""));
    assert!(desk.wait(Duration::from_secs(10)).is_empty(), "an answered call goes on");
}

#[test]
fn every_reason_of_a_cancel_is_told() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    desk.hear(phone.request("INVITE", SDP));
    phone.extra = "Reason: SIP;cause=200;text=\"elsewhere\"\r\nReason: Q.850;cause=26\r\n".into();
    desk.hear(phone.same_branch("CANCEL"));
    let Some(SipEvent::Canceled { headers, .. }) = desk.events.last() else { panic!("{:?}", desk.events) };
    let reasons = headers.iter().filter(|(name, _)| name == "Reason").map(|(_, value)| value.as_str());
    assert_eq!(reasons.collect::<Vec<_>>(), ["SIP;cause=200;text=\"elsewhere\"", "Q.850;cause=26"]);
}

#[test]
fn a_cancel_and_the_bye_in_its_place_say_why() {
    for answered in [false, true] {
        let mut desk = Desk::new();
        let target = crate::desk::PHONE.parse::<std::net::SocketAddr>().unwrap();
        let call = sip::Outbound::new("sip:b@192.0.2.1", "sip:a@192.0.2.2", target);
        let dialog =
            desk.endpoint.invite(desk.now, &sip::Outbound { sdp: Some(SDP.into()), ..call }).unwrap();
        let invite = desk.sent().remove(0).1;
        desk.hear(respond(&invite, 180));
        let lines = [("reason".into(), "SIP;cause=603;text=\"no\"".into()), ("X-A".into(), "1".into())];
        desk.endpoint.hangup(desk.now, dialog, &lines).unwrap();
        let cancel = desk.sent().remove(0).1;
        assert!(cancel.starts_with("CANCEL ") && header(&cancel, "X-A").is_none(), "{cancel}");
        assert_eq!(header(&cancel, "reason"), Some("SIP;cause=603;text=\"no\""));
        if answered {
            let sent = desk.hear(respond(&invite, 200));
            let bye = sent.iter().find(|text| text.starts_with("BYE ")).unwrap();
            assert_eq!((header(bye, "X-A"), header(bye, "reason").is_some()), (Some("1"), true));
        }
    }
}

#[test]
fn a_ringing_call_is_cancelled() {
    let mut world = World::new();
    let caller = world.call();
    world.run(Duration::from_millis(50));
    let callee = world.invited();
    world.ends[CALLEE].ring(world.now, callee, None).unwrap();
    world.run(Duration::from_secs(1));
    world.ends[CALLER].hangup(world.now, caller, &[]).unwrap();
    world.run(Duration::from_secs(60));
    assert_eq!(world.ladder(), ["-> INVITE", "<- 180", "-> CANCEL", "<- 200", "<- 487", "-> ACK"]);
    assert_eq!(world.story(CALLER), ["Provisional 180", "Rejected 487"]);
    assert_eq!(world.story(CALLEE), ["Invited", "Canceled"]);
    let late = world.ends[CALLEE].answer(world.now, callee, SDP, &[]);
    assert_eq!(late, Err(SipError::NoSuchDialog(callee)));
    assert_eq!(world.dialogs(), (0, 0));
}

#[test]
fn cancel_waits_for_the_first_response() {
    let mut world = World::new();
    let caller = world.call();
    world.ends[CALLER].cancel(world.now, caller).unwrap();
    world.run(Duration::from_millis(150));
    assert_eq!(world.ladder(), ["-> INVITE"], "the callee has not shown that it has the INVITE");
    world.run(Duration::from_secs(1));
    assert_eq!(world.ladder(), ["-> INVITE", "<- 100", "-> CANCEL", "<- 200", "<- 487", "-> ACK"]);
    assert_eq!(world.story(CALLER), ["Rejected 487"]);
}

#[test]
fn a_cancel_that_crosses_the_200_becomes_ack_and_bye() {
    let mut world = World::new();
    let caller = world.call();
    world.run(Duration::from_millis(50));
    let callee = world.invited();
    world.ends[CALLEE].ring(world.now, callee, None).unwrap();
    world.run(Duration::from_millis(50));
    world.ends[CALLEE].answer(world.now, callee, SDP, &[]).unwrap();
    world.ends[CALLER].cancel(world.now, caller).unwrap();
    world.run(Duration::from_secs(60));
    let ladder = world.ladder();
    assert!(!ladder.contains(&"<- 487".to_owned()), "{ladder:?}");
    assert_eq!(world.sent_ms(CALLER, "ACK").len(), 1);
    assert_eq!(world.sent_ms(CALLER, "BYE").len(), 1);
    assert_eq!(world.story(CALLER), ["Provisional 180", "Ended LocalBye"]);
    assert_eq!(world.story(CALLEE), ["Invited", "Established", "Ended Bye"]);
    assert_eq!(world.dialogs(), (0, 0));
}

#[test]
fn a_cancel_after_the_200_is_answered_and_has_no_effect() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    desk.hear(phone.request("INVITE", SDP));
    let dialog = desk.dialog();
    desk.endpoint.answer(desk.now, dialog, SDP, &[]).unwrap();
    desk.sent();
    assert_eq!(desk.status(phone.same_branch("CANCEL")), 200);
    assert_eq!(desk.story(), ["Invited"]);
    assert_eq!(desk.endpoint.counters().dialogs, 1);
}

#[test]
fn a_cancel_and_its_copy_both_get_200_with_the_tag_of_the_487() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    desk.hear(phone.request("INVITE", SDP));
    let cancel = phone.same_branch("CANCEL");
    let sent = desk.hear(&cancel);
    assert!(sent[0].starts_with("SIP/2.0 200 ") && sent[1].starts_with("SIP/2.0 487 "), "{sent:#?}");
    assert_eq!(header(&sent[0], "To"), header(&sent[1], "To"));
    assert_eq!(desk.status(&cancel), 200);
    assert_eq!(desk.story(), ["Invited", "Canceled"]);
}

#[test]
fn a_cancel_of_nothing_gets_481() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    phone.request("INVITE", SDP);
    assert_eq!(desk.status(phone.same_branch("CANCEL")), 481);
}

#[test]
fn a_reinvite_can_be_cancelled_and_the_call_goes_on() {
    let mut desk = Desk::new();
    let (mut phone, dialog) = desk.call();
    desk.hear(phone.request("INVITE", SDP));
    let sent = desk.hear(phone.same_branch("CANCEL"));
    assert_eq!(sent.len(), 2);
    assert!(sent[1].starts_with("SIP/2.0 487 "));
    assert!(desk.endpoint.answer_reoffer(desk.now, dialog, Ok(SDP)).is_err());
    desk.hear(phone.same_branch("ACK"));
    assert_eq!(status(&desk.hear(phone.request("BYE", ""))), 200);
}

#[test]
fn a_callee_that_ignores_the_cancel_is_given_up() {
    let mut desk = Desk::new();
    let call = sip::Outbound {
        sdp: Some(SDP.into()),
        call_id: Some("out-1".into()),
        ..sip::Outbound::new(
            "sip:bob@192.0.2.1",
            "sip:us@192.0.2.2",
            crate::desk::PHONE.parse::<std::net::SocketAddr>().unwrap(),
        )
    };
    let dialog = desk.endpoint.invite(desk.now, &call).unwrap();
    let invite = desk.sent().remove(0).1;
    desk.hear(respond(&invite, 180));
    desk.endpoint.cancel(desk.now, dialog).unwrap();
    desk.wait(Duration::from_secs(70));
    assert_eq!(desk.story(), ["Provisional 180", "Failed CancelUnanswered"]);
    assert_eq!(desk.endpoint.counters().transactions, 0);
    assert_eq!(desk.endpoint.counters().dialogs, 0);
}

/// A response to a request of the endpoint, with the tag `bob`.
pub(crate) fn respond(request: &str, code: u16) -> String {
    tagged(request, code, "bob")
}

/// The same with a tag of choice.
pub(crate) fn tagged(request: &str, code: u16, tag: &str) -> String {
    let line = |name: &str| header(request, name).map(|v| format!("{name}: {v}\r\n")).unwrap_or_default();
    let to = header(request, "To").unwrap();
    let to = if to.contains(";tag=") { to.to_owned() } else { format!("{to};tag={tag}") };
    format!(
        "SIP/2.0 {code} Whatever\r\n{}{}To: {to}\r\n{}{}Contact: <sip:{tag}@192.0.2.1:5060>\r\nContent-Length: 0\r\n\r\n",
        line("Via"),
        line("From"),
        line("Call-ID"),
        line("CSeq"),
    )
}
