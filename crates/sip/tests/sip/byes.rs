use std::time::Duration;

use crate::cancel::respond;
use crate::desk::{Desk, Phone, SDP, status};
use crate::world::{CALLEE, CALLER, World};

#[test]
fn a_bye_before_the_ack_waits_for_it() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    desk.hear(phone.request("INVITE", SDP));
    let dialog = desk.dialog();
    desk.endpoint.answer(desk.now, dialog, SDP, &[]).unwrap();
    phone.learn(&desk.sent().remove(0).1);
    desk.endpoint.bye(desk.now, dialog, &[("X-Why".into(), "test".into())]).unwrap();
    assert!(desk.sent().is_empty(), "RFC 3261 section 15");
    let sent = desk.hear(phone.ack(""));
    assert!(sent[0].starts_with("BYE sip:alice@192.0.2.1:5060 ") && sent[0].contains("X-Why: test\r\n"));
    desk.hear(respond(&sent[0], 200));
    assert_eq!(desk.story(), ["Invited", "Established", "Ended LocalBye"]);
}

#[test]
fn a_caller_who_hangs_up_by_bye_before_the_answer_gets_487_too() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    desk.hear(phone.request("INVITE", SDP));
    let dialog = desk.dialog();
    desk.endpoint.ring(desk.now, dialog, None).unwrap();
    phone.learn(&desk.sent().remove(0).1);
    let sent = desk.hear(phone.request("BYE", ""));
    assert!(sent[0].starts_with("SIP/2.0 200 ") && sent[1].starts_with("SIP/2.0 487 "), "{sent:#?}");
    assert_eq!(desk.story(), ["Invited", "Ended Bye"]);
}

#[test]
fn byes_that_cross_end_both_sides_once() {
    let mut world = World::new();
    let (caller, callee) = world.answered_call();
    world.ends[CALLER].bye(world.now, caller, &[]).unwrap();
    world.ends[CALLEE].bye(world.now, callee, &[]).unwrap();
    world.run(Duration::from_secs(60));
    assert_eq!(world.story(CALLER), ["Answered", "Ended Bye"]);
    assert_eq!(world.story(CALLEE), ["Invited", "Established", "Ended Bye"]);
    assert_eq!(world.sent_ms(CALLER, "BYE").len(), 1);
    assert_eq!(world.sent_ms(CALLER, "SIP/2.0 200").len(), 1);
}

#[test]
fn a_copy_of_a_bye_gets_200_again_after_the_dialog_is_gone() {
    let mut desk = Desk::new();
    let (mut phone, _) = desk.call();
    let bye = phone.request("BYE", "");
    assert_eq!(desk.status(&bye), 200);
    desk.wait(Duration::from_secs(20));
    assert_eq!(desk.status(&bye), 200);
    assert_eq!(desk.status(phone.request("BYE", "")), 481, "a new one");
    assert_eq!(desk.story(), ["Invited", "Established", "Ended Bye"]);
}

#[test]
fn a_challenge_to_our_bye_ends_the_call_and_is_not_answered() {
    for code in [401, 407, 481, 500] {
        let mut desk = Desk::new();
        let (_, dialog) = desk.call();
        desk.endpoint.bye(desk.now, dialog, &[]).unwrap();
        let bye = desk.sent().remove(0).1;
        let challenge = "WWW-Authenticate: Digest realm=\"stranger\", nonce=\"n\"\r\nContent-Length";
        let answer = respond(&bye, code).replace("Content-Length", challenge);
        assert!(desk.hear(answer).is_empty());
        assert!(desk.wait(Duration::from_secs(60)).is_empty());
        assert_eq!(desk.story(), ["Invited", "Established", "Ended LocalBye"]);
    }
}

#[test]
fn a_peer_that_is_gone_ends_the_call_after_32_seconds() {
    let mut desk = Desk::new();
    let (_, dialog) = desk.call();
    desk.endpoint.bye(desk.now, dialog, &[]).unwrap();
    desk.wait(Duration::from_secs(31));
    assert_eq!(desk.endpoint.counters().dialogs, 1);
    desk.wait(Duration::from_secs(2));
    assert_eq!(desk.story(), ["Invited", "Established", "Ended LocalBye"]);
    assert_eq!(desk.endpoint.counters().dialogs, 0);
}

#[test]
fn a_stranger_cannot_end_a_call() {
    let mut desk = Desk::new();
    let (phone, _) = desk.call();
    let wrong = |change: &dyn Fn(&mut Phone)| {
        let mut phone = phone.clone();
        change(&mut phone);
        phone.request("BYE", "")
    };
    assert_eq!(desk.status(wrong(&|p| p.to_tag = "guessed".into())), 481);
    assert_eq!(desk.status(wrong(&|p| p.call_id = "other".into())), 481);
    let forged = wrong(&|p| p.extra = "X: 1\r\n".into()).replace(";tag=alice", ";tag=mallory");
    assert_eq!(status(&desk.give("203.0.113.9:5060", forged)), 481);
    assert_eq!(desk.story(), ["Invited", "Established"]);
    // Whoever knows the tags is the peer, wherever it is: carriers have proxies on several hosts, and phones move.
    assert!(phone.to_tag.len() == 24 && phone.to_tag.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let nearly = wrong(&|p| p.to_tag.replace_range(23.., if p.to_tag.ends_with('0') { "1" } else { "0" }));
    assert_eq!(status(&desk.give("203.0.113.9:5060", nearly)), 481);
    let known = wrong(&|p| p.extra = "X: 2\r\n".into());
    assert_eq!(status(&desk.give("203.0.113.9:5060", known)), 200);
    assert_eq!(desk.story(), ["Invited", "Established", "Ended Bye"]);
}

/// As a BYE, so a re-INVITE, which would lead the sound elsewhere.
#[test]
fn a_stranger_cannot_change_a_call() {
    let mut desk = Desk::new();
    let (phone, dialog) = desk.call();
    let elsewhere = SDP.replace("192.0.2.1", "203.0.113.9");
    let wrong = |change: &dyn Fn(&mut Phone)| {
        let mut phone = phone.clone();
        change(&mut phone);
        phone.request("INVITE", &elsewhere)
    };
    let nearly =
        |p: &mut Phone| p.to_tag.replace_range(23.., if p.to_tag.ends_with('0') { "1" } else { "0" });
    for (number, (forged, how)) in [
        (wrong(&|p| p.to_tag = "guessed".into()), "another tag of ours"),
        (wrong(&nearly), "nearly our tag"),
        (wrong(&|p| p.call_id = "other".into()), "another Call-ID"),
        (wrong(&|_| {}).replace(";tag=alice", ";tag=mallory"), "another tag of the peer"),
    ]
    .into_iter()
    .enumerate()
    {
        for from in [crate::desk::PHONE, "203.0.113.9:5060"] {
            // None is a copy of another one.
            let sent = desk.give(from, forged.replace("z9hG4bK", &format!("z9hG4bK{number}{}", &from[..3])));
            assert_eq!(status(&sent), 481, "{how} from {from}: {sent:?}");
        }
    }
    assert_eq!(desk.story(), ["Invited", "Established"]);
    desk.endpoint.bye(desk.now, dialog, &[]).unwrap();
    let (to, bye) = desk.sent().remove(0);
    assert!(
        to.to_string() == crate::desk::PHONE && bye.starts_with("BYE sip:alice@192.0.2.1:5060 "),
        "{to} {bye}"
    );
}

#[test]
fn an_old_request_in_the_dialog_is_refused() {
    let mut desk = Desk::new();
    let (mut phone, _) = desk.call();
    assert_eq!(desk.status(phone.request("OPTIONS", "")), 200);
    phone.seq = 0;
    assert_eq!(desk.status(phone.request("BYE", "")), 500);
    assert_eq!(desk.endpoint.counters().dialogs, 1);
}
