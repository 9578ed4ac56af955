use std::time::Duration;

use sip::{SipError, SipEvent};

use crate::desk::{Desk, Phone, SDP, header, status};
use crate::world::{CALLEE, CALLER, World};

#[test]
fn a_call_is_set_up_and_ended_by_its_caller() {
    let mut world = World::new();
    let caller = world.call();
    world.run(Duration::from_millis(50));
    let callee = world.invited();
    world.ends[CALLEE].ring(world.now, callee, None).unwrap();
    world.run(Duration::from_millis(50));
    world.ends[CALLEE].answer(world.now, callee, SDP, &[("X-Served-By".into(), "bob".into())]).unwrap();
    world.run(Duration::from_secs(5));
    let reason = [("Reason".to_owned(), "Q.850;cause=16".to_owned())];
    world.ends[CALLER].bye(world.now, caller, &reason).unwrap();
    world.run(Duration::from_secs(60));

    assert_eq!(world.ladder(), ["-> INVITE", "<- 180", "<- 200", "-> ACK", "-> BYE", "<- 200"]);
    assert_eq!(world.story(CALLER), ["Provisional 180", "Answered", "Ended LocalBye"]);
    assert_eq!(world.story(CALLEE), ["Invited", "Established", "Ended Bye"]);
    let SipEvent::Ended { headers, .. } = world.events[CALLEE].last().unwrap() else { panic!() };
    assert!(headers.contains(&("Reason".into(), "Q.850;cause=16".into())));
    let SipEvent::Answered { sdp, headers, .. } = &world.events[CALLER][1] else { panic!() };
    assert_eq!(sdp.as_deref(), Some(SDP));
    assert!(headers.contains(&("X-Served-By".into(), "bob".into())));
    assert_eq!(world.dialogs(), (0, 0));
    assert_eq!(world.ends[CALLEE].counters().transactions, 0, "all is forgotten after 64 T1");
    assert_eq!(world.ends[CALLER].timeout(), None);
}

#[test]
fn a_call_can_be_ended_by_its_callee() {
    let mut world = World::new();
    let (_, callee) = world.answered_call();
    world.ends[CALLEE].hangup(world.now, callee, &[]).unwrap();
    world.run(Duration::from_secs(1));
    assert_eq!(world.story(CALLER), ["Answered", "Ended Bye"]);
    assert_eq!(world.story(CALLEE), ["Invited", "Established", "Ended LocalBye"]);
}

#[test]
fn the_invite_tells_who_calls_whom_with_what() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1@phone");
    phone.extra = "s: one\r\n two\r\nX-Account: 7\r\n".into();
    desk.hear(phone.request("INVITE", SDP));
    let SipEvent::Invited { invite, .. } = &desk.events[0] else { panic!() };
    assert_eq!(invite.call_id, "c1@phone");
    assert_eq!((invite.from_uri.as_str(), invite.from_tag.as_str()), ("sip:alice@192.0.2.1", "alice"));
    assert_eq!(
        (invite.to_uri.as_str(), invite.request_uri.as_str()),
        ("sip:bob@192.0.2.2", "sip:bob@192.0.2.2")
    );
    assert_eq!(invite.header("subject"), Some("one two"));
    assert_eq!(invite.header("x-account"), Some("7"));
    assert_eq!(invite.sdp.as_deref(), Some(SDP));
    assert_eq!(invite.dialog_id, format!("c1@phone-{}-alice", invite.local_tag));
    assert!(invite.local_tag.len() >= 16, "64 random bits at least");
}

#[test]
fn trying_is_sent_once_if_nobody_answers_within_200_ms() {
    let mut desk = Desk::new();
    let invite = Phone::new("c1").request("INVITE", SDP);
    assert_eq!(desk.status(&invite), 0);
    let sent = desk.wait(Duration::from_secs(5));
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].0, 200);
    assert!(sent[0].1.starts_with("SIP/2.0 100 Trying"));
    assert_eq!(desk.status(&invite), 100, "a copy of the INVITE gets it again");
    assert_eq!(desk.story(), ["Invited"]);
}

#[test]
fn ringing_is_180_and_early_media_183() {
    let mut desk = Desk::new();
    let invite = Phone::new("c1").request("INVITE", SDP);
    desk.hear(&invite);
    let dialog = desk.dialog();
    desk.endpoint.ring(desk.now, dialog, None).unwrap();
    let ringing = desk.sent().remove(0).1;
    assert!(ringing.starts_with("SIP/2.0 180 Ringing") && ringing.ends_with("Content-Length: 0\r\n\r\n"));
    assert_eq!(header(&ringing, "Contact"), Some("<sip:active-call@192.0.2.2:5060>"));
    desk.endpoint.ring(desk.now, dialog, Some(SDP)).unwrap();
    let early = desk.sent().remove(0).1;
    assert!(early.starts_with("SIP/2.0 183 ") && early.ends_with(SDP));
    assert_eq!(status(&desk.hear(&invite)), 183, "a copy of the INVITE gets the last one");
}

#[test]
fn a_refusal_is_repeated_until_its_ack_and_ends_the_dialog() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    desk.hear(phone.request("INVITE", SDP));
    let dialog = desk.dialog();
    let mut rejection = sip::Rejection::new(486);
    rejection.headers.push(("Retry-After".into(), "30".into()));
    desk.endpoint.reject(desk.now, dialog, &rejection).unwrap();
    let busy = desk.sent().remove(0).1;
    assert!(busy.starts_with("SIP/2.0 486 Busy Here\r\n"));
    assert_eq!(header(&busy, "Retry-After"), Some("30"));
    assert_eq!(desk.story(), ["Invited", "Ended LocalReject"]);
    let copies: Vec<u128> = desk.wait(Duration::from_secs(4)).iter().map(|(at, _)| *at).collect();
    assert_eq!(copies, [500, 1500, 3500]);
    phone.learn(&busy);
    assert_eq!(desk.status(phone.same_branch("ACK")), 0);
    assert!(desk.wait(Duration::from_secs(60)).is_empty());
    assert_eq!(desk.endpoint.counters().transactions, 0);
}

#[test]
fn a_verb_at_the_wrong_time_is_a_readable_error_and_sends_nothing() {
    let mut desk = Desk::new();
    let (_, dialog) = desk.call();
    let now = desk.now;
    let errors = [
        desk.endpoint.ring(now, dialog, None),
        desk.endpoint.answer(now, dialog, SDP, &[]).map(drop),
        desk.endpoint.reject(now, dialog, &sip::Rejection::new(486)),
        desk.endpoint.cancel(now, dialog),
        desk.endpoint.answer_reoffer(now, dialog, Ok(SDP)),
        desk.endpoint.bye(now, sip::DialogId(99), &[]),
    ];
    for error in &errors {
        assert!(error.is_err());
    }
    let SipError::WrongState { state: "answered", .. } = errors[0].clone().unwrap_err() else { panic!() };
    assert_eq!(errors[0].clone().unwrap_err().to_string(), "dialog 1 is answered: it cannot ring now");
    assert_eq!(errors[5].clone().unwrap_err(), SipError::NoSuchDialog(sip::DialogId(99)));
    assert!(desk.sent().is_empty());
}

#[test]
fn a_call_that_nobody_answers_is_refused_after_three_minutes() {
    let mut desk = Desk::new();
    desk.hear(Phone::new("c1").request("INVITE", SDP));
    let sent = desk.wait(Duration::from_secs(181));
    assert!(sent.iter().any(|(at, text)| *at == 180_000 && text.starts_with("SIP/2.0 480 ")), "{sent:?}");
    assert_eq!(desk.story(), ["Invited", "Ended Unanswered"]);
    assert_eq!(desk.endpoint.counters().dialogs, 0);
}

#[test]
fn a_call_of_ours_that_rings_for_three_minutes_is_cancelled() {
    let mut world = World::new();
    world.call();
    world.run(Duration::from_secs(200));
    assert_eq!(world.story(CALLER), ["Failed NoAnswer"]);
    assert_eq!(world.story(CALLEE), ["Invited", "Canceled"]);
    assert_eq!(world.dialogs(), (0, 0));
}

#[test]
fn info_is_answered_and_told_once() {
    let mut desk = Desk::new();
    let (mut phone, dialog) = desk.call();
    phone.extra = "Content-Type: application/dtmf-relay\r\n".into();
    let info =
        phone.request("INFO", "").replace("Content-Length: 0\r\n\r\n", "Content-Length: 8\r\n\r\nSignal=5");
    assert_eq!(desk.status(&info), 200);
    assert_eq!(desk.status(&info), 200, "a copy");
    let told: Vec<_> = desk.events.iter().filter(|e| matches!(e, SipEvent::Info { .. })).collect();
    let [SipEvent::Info { dialog: of, content_type, body }] = told[..] else { panic!("{told:?}") };
    assert_eq!(
        (*of, content_type.as_str(), body.as_slice()),
        (dialog, "application/dtmf-relay", &b"Signal=5"[..])
    );
}
