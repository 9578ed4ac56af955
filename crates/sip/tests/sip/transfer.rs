//! REFER in both directions, its NOTIFYs, and calls that take the place of others.

use std::time::Duration;

use sip::{DialogId, Outbound, Refer, SipError, SipEvent};

use crate::cancel::{respond, tagged};
use crate::desk::{Desk, PHONE, Phone, SDP, header};
use crate::digest_client::request;
use crate::world::{CALLEE, CALLER, World, address};

fn to(target: &str) -> Refer {
    Refer::new(target)
}

/// What the side has heard of its transfer.
/// An answered call whose callee has asked the caller to call someone else.
fn asked() -> (World, DialogId, DialogId) {
    let mut world = World::new();
    let (caller, callee) = world.answered_call();
    world.ends[CALLEE].refer(world.now, callee, &to("sip:carol@192.0.2.3")).unwrap();
    world.run(Duration::from_millis(100));
    (world, caller, callee)
}

fn heard(world: &World, side: usize) -> Vec<String> {
    world.story(side).into_iter().filter_map(|e| e.strip_prefix("Transfer ").map(str::to_owned)).collect()
}

#[test]
fn a_blind_transfer_is_told_step_by_step() {
    let mut world = World::new();
    let (caller, callee) = world.answered_call();
    world.ends[CALLEE].refer(world.now, callee, &to("sip:carol@192.0.2.3")).unwrap();
    assert!(matches!(
        world.ends[CALLEE].refer(world.now, callee, &to("sip:carol@192.0.2.3")),
        Err(SipError::WrongState { .. })
    ));
    world.run(Duration::from_secs(1));
    let Some(SipEvent::TransferRequested { to, referred_by, replaces, .. }) = world.events[CALLER].last()
    else {
        panic!("{:?}", world.story(CALLER))
    };
    assert_eq!(to, "sip:carol@192.0.2.3");
    assert_eq!((referred_by.as_deref(), replaces), (Some("<sip:bob@192.0.2.2>"), &None));
    world.ends[CALLER].answer_refer(world.now, caller, Ok(())).unwrap();
    for (code, reason) in [(180, ""), (200, "Fine")] {
        world.run(Duration::from_millis(100));
        world.ends[CALLER].refer_progress(world.now, caller, code, reason).unwrap();
    }
    assert!(world.ends[CALLER].refer_progress(world.now, caller, 200, "").is_err());
    world.run(Duration::from_secs(1));
    assert_eq!(
        heard(&world, CALLEE),
        [
            "Accepted",
            "Ringing { code: 100, reason: \"Trying\" }",
            "Ringing { code: 180, reason: \"Ringing\" }",
            "Succeeded { code: 200 }"
        ]
    );
    assert_eq!(world.dialogs(), (1, 1), "who asked may take the call back");
    world.run(Duration::from_secs(300));
    assert_eq!(heard(&world, CALLEE).len(), 4);
}

#[test]
fn a_transfer_that_fails_says_by_whom_and_why() {
    let mut world = World::new();
    let (caller, callee) = world.answered_call();
    for (answer, outcome, expected) in [
        (Err(403), None, "Failed { code: 403, reason: \"Forbidden\" }"),
        (Ok(()), Some(486), "Failed { code: 486, reason: \"Busy Here\" }"),
    ] {
        world.ends[CALLEE].refer(world.now, callee, &to("tel:+49301234")).unwrap();
        world.run(Duration::from_millis(100));
        world.ends[CALLER].answer_refer(world.now, caller, answer).unwrap();
        world.run(Duration::from_millis(100));
        if let Some(code) = outcome {
            world.ends[CALLER].refer_progress(world.now, caller, code, "").unwrap();
            world.run(Duration::from_millis(100));
        }
        assert_eq!(heard(&world, CALLEE).last().unwrap(), expected);
    }
    world.ends[CALLEE].refer(world.now, callee, &to("sip:x@192.0.2.3")).unwrap();
    world.run(Duration::from_secs(11));
    assert!(heard(&world, CALLEE).last().unwrap().starts_with("Failed { code: 603"), "nobody answered");
    world.ends[CALLEE].refer(world.now, callee, &to("sip:x@192.0.2.3")).unwrap();
    world.run(Duration::from_millis(100));
    world.ends[CALLER].answer_refer(world.now, caller, Ok(())).unwrap();
    world.run(Duration::from_secs(181));
    assert!(heard(&world, CALLEE).last().unwrap().starts_with("Failed { code: 408"), "never told");
}

/// The caller tells the callee by a NOTIFY how the target has answered; it is like its first one.
fn notify(world: &mut World, fragment: &str) {
    let first = world.log.iter().find(|(_, _, text)| text.starts_with("NOTIFY ")).unwrap().2.clone();
    let head = first.split("\r\n\r\n").next().unwrap().replace("z9hG4bK", "z9hG4bKx");
    let head = head.replace("CSeq: 2", "CSeq: 12").replace("CSeq: 3", "CSeq: 12");
    let kept = head.lines().filter(|line| !line.starts_with("Content-Length"));
    let notify = kept.collect::<Vec<_>>().join("\r\n");
    let notify = format!("{notify}\r\nContent-Length: {}\r\n\r\n{fragment}", fragment.len());
    world.ends[CALLEE].receive(world.now, address(CALLER), notify.as_bytes());
    world.drain();
    assert!(world.log.last().unwrap().2.starts_with("SIP/2.0 200 "), "{notify}");
}

/// What the last `Transfer` of the callee says beyond its status.
fn said(world: &World) -> (Vec<(String, String)>, Vec<String>) {
    let last = world.events[CALLEE].iter().rev().find_map(|event| match event {
        SipEvent::Transfer { headers, contacts, .. } => Some((headers.clone(), contacts.clone())),
        _ => None,
    });
    last.expect("a transfer was told")
}

fn lines(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    rows.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// RFC 3515 section 2.4.5, RFC 3420: a sipfrag may quote header lines of the target's response.
#[test]
fn what_the_target_says_beside_its_refusal_is_told() {
    for (quoted, headers, contacts) in [
        (
            "SIP/2.0 486 Busy Here\r\nVia: SIP/2.0/UDP x\r\nreason: Q.850;cause=17\r\n ;text=\"Busy\"\r\n\
             Warning: 399 pbx \"See log\"\r\nRetry-After: 60\r\nContact: <sip:no@192.0.2.9>\r\n\
             Content-Length: 400\r\n\r\nReason: of the body\r\n",
            lines(&[
                ("Reason", "Q.850;cause=17 ;text=\"Busy\""),
                ("Warning", "399 pbx \"See log\""),
                ("Retry-After", "60"),
                ("Contact", "<sip:no@192.0.2.9>"),
            ]),
            vec![],
        ),
        (
            "SIP/2.0 302 Moved\nm: <sip:carol@192.0.2.9>\n",
            lines(&[("Contact", "<sip:carol@192.0.2.9>")]),
            vec!["sip:carol@192.0.2.9".to_owned()],
        ),
        ("SIP/2.0 486 Busy Here", vec![], vec![]),
        ("SIP/2.0 486 Busy Here\r\nReason\r\n: x\r\n\u{1}", vec![], vec![]),
        ("SIP/2.0 180 Ringing\r\nReason: x\r\n", vec![], vec![]),
    ] {
        let (mut world, caller, _) = asked();
        world.ends[CALLER].answer_refer(world.now, caller, Ok(())).unwrap();
        world.run(Duration::from_millis(100));
        notify(&mut world, quoted);
        assert_eq!(said(&world), (headers, contacts), "{quoted}");
    }
    // As much of it as is looked at, and no line that is cut off.
    let (mut world, caller, _) = asked();
    world.ends[CALLER].answer_refer(world.now, caller, Ok(())).unwrap();
    world.run(Duration::from_millis(100));
    notify(&mut world, &format!("SIP/2.0 486 X\r\nReason: a\r\nReason: {}\r\n", "b".repeat(4_100)));
    assert_eq!(said(&world).0, lines(&[("Reason", "a")]));
}

#[test]
fn what_the_peer_says_beside_its_refusal_of_a_transfer_is_told() {
    let mut world = World::new();
    let (caller, callee) = world.answered_call();
    world.alter = Box::new(|_, text| {
        text.replace("SIP/2.0 403 Forbidden\r\n", "SIP/2.0 403 Forbidden\r\nReason: Q.850;cause=21\r\n")
    });
    world.ends[CALLEE].refer(world.now, callee, &to("sip:x@192.0.2.3")).unwrap();
    world.run(Duration::from_millis(100));
    world.ends[CALLER].answer_refer(world.now, caller, Err(403)).unwrap();
    world.run(Duration::from_millis(100));
    assert!(said(&world).0.contains(&("Reason".into(), "Q.850;cause=21".into())), "{:?}", said(&world));
}

#[test]
fn a_peer_that_hangs_up_first_may_still_tell_how_its_transfer_ends() {
    for (code, expected) in [
        (Some(200), "Succeeded { code: 200 }"),
        (Some(486), "Failed { code: 486"),
        (None, "Failed { code: 408"),
    ] {
        let (mut world, caller, callee) = asked();
        world.ends[CALLER].answer_refer(world.now, caller, Ok(())).unwrap();
        world.run(Duration::from_millis(100));
        world.ends[CALLER].bye(world.now, caller, &[("Reason".into(), "SIP;cause=200".into())]).unwrap();
        // The transferee's own dialog ends with its BYE; its NOTIFY is written by hand.
        world.run(Duration::from_secs(10));
        let Some(SipEvent::Left { headers, .. }) = world.events[CALLEE].last() else {
            panic!("{:?}", world.story(CALLEE))
        };
        assert!(headers.iter().any(|(name, value)| name == "Reason" && value == "SIP;cause=200"));
        assert!(world.ends[CALLEE].reoffer(world.now, callee, SDP).is_err());
        if let Some(code) = code {
            notify(&mut world, &format!("SIP/2.0 {code} X"));
        } else {
            world.run(Duration::from_secs(20));
            assert_eq!(world.dialogs(), (0, 1), "32 s after the BYE");
            world.run(Duration::from_secs(5));
        }
        let told = heard(&world, CALLEE);
        assert!(told.last().unwrap().starts_with(expected), "{told:?}");
        assert_eq!(world.story(CALLEE).last().unwrap(), "Ended Bye");
        assert_eq!(world.dialogs(), (0, 0));
    }
}

#[test]
fn a_call_is_not_waited_for_whose_owner_hangs_up_behind_the_peer() {
    let (mut world, caller, callee) = asked();
    world.ends[CALLER].bye(world.now, caller, &[]).unwrap();
    world.run(Duration::from_millis(100));
    assert_eq!(world.story(CALLER)[2..], ["Ended LocalBye"]);
    let asked = world.sent_ms(CALLER, "SIP/2.0 487");
    assert_eq!(asked.len(), 0, "who leaves asks nothing of itself");
    world.ends[CALLEE].hangup(world.now, callee, &[]).unwrap();
    world.drain();
    assert_eq!(world.story(CALLEE).last().unwrap(), "Ended Bye");
    assert_eq!(world.sent_ms(CALLEE, "BYE").len(), 0);
    assert_eq!(world.dialogs(), (0, 0));
}

#[test]
fn who_has_sent_us_on_and_hung_up_is_told_the_end_of_its_transfer() {
    for told in [true, false] {
        let (mut world, caller, callee) = asked();
        world.ends[CALLER].answer_refer(world.now, caller, Ok(())).unwrap();
        world.run(Duration::from_millis(100));
        world.ends[CALLEE].bye(world.now, callee, &[]).unwrap();
        world.run(Duration::from_millis(100));
        assert_eq!(world.story(CALLER).last().unwrap(), "Ended Bye", "its owner hears the end at once");
        if told {
            world.ends[CALLER].refer_progress(world.now, caller, 200, "").unwrap();
            world.run(Duration::from_millis(100));
            let notify = world.log.iter().rev().find(|(_, _, text)| text.starts_with("NOTIFY ")).unwrap();
            assert!(notify.2.contains("terminated") && notify.2.ends_with("SIP/2.0 200 OK\r\n"));
        } else {
            world.run(Duration::from_secs(181));
        }
        assert_eq!(world.story(CALLER).last().unwrap(), "Ended Bye");
        assert_eq!(world.dialogs().0, 0, "told: {told}");
    }
}

#[test]
fn a_request_for_a_transfer_that_nobody_has_answered_is_answered_before_the_end() {
    let (mut world, _, callee) = asked();
    world.ends[CALLEE].bye(world.now, callee, &[]).unwrap();
    world.run(Duration::from_millis(100));
    assert_eq!(world.sent_ms(CALLER, "SIP/2.0 487").len(), 1);
    assert_eq!(world.story(CALLER).last().unwrap(), "Ended Bye");
}

#[test]
fn who_is_to_be_sent_another_request_than_an_invite_is_not_called() {
    for (method, status) in [("BYE", 501), ("SUBSCRIBE", 501), ("", 501), ("invite", 0)] {
        let mut desk = Desk::new();
        let (mut phone, _) = desk.call();
        phone.extra = format!("Refer-To: <sip:z@192.0.2.9;method={method};x=1>\r\n");
        assert_eq!(desk.status(phone.request("REFER", "")), status, "{method}");
        if status == 0 {
            let Some(SipEvent::TransferRequested { to, .. }) = desk.events.last() else { panic!() };
            assert_eq!(to, "sip:z@192.0.2.9;x=1");
        }
    }
}

#[test]
fn names_of_parameters_that_name_a_call_are_in_either_case() {
    let mut desk = Desk::new();
    let (phone, dialog) = desk.call();
    let mut other = Phone::new("n1");
    other.extra = format!("Replaces: c1;To-Tag={};FROM-TAG=alice\r\n", phone.to_tag);
    desk.hear(other.request("INVITE", SDP));
    let Some(SipEvent::Invited { invite, .. }) = desk.events.last() else { panic!("{:?}", desk.story()) };
    assert_eq!(invite.replaces, Some(dialog));
}

#[test]
fn a_package_that_we_have_not_is_refused_and_digits_are_digits() {
    let mut desk = Desk::new();
    let (mut phone, _) = desk.call();
    let mut info = |desk: &mut Desk, lines: &str, kind: &str, body: &str| {
        phone.extra = lines.into();
        let sent = desk.hear(phone.request("INFO", body).replace("application/sdp", kind));
        sent.into_iter().next().unwrap()
    };
    let refused = info(&mut desk, "Info-Package: foo\r\n", "application/foo", "x");
    assert!(refused.starts_with("SIP/2.0 469 Bad Info Package\r\n"), "{refused}");
    assert_eq!(header(&refused, "Recv-Info"), Some(""));
    let digit = "Signal=5\r\nDuration=160\r\n";
    for lines in ["Info-Package: dtmf\r\n", ""] {
        assert!(info(&mut desk, lines, "application/dtmf-relay", digit).starts_with("SIP/2.0 200 "));
    }
    assert!(info(&mut desk, "", "application/foo", "x").starts_with("SIP/2.0 200 "));
}

#[test]
fn notify_is_taken_only_for_what_was_asked() {
    let mut desk = Desk::new();
    let (mut phone, dialog) = desk.call();
    let notify = |phone: &mut Phone, lines: &str, fragment: &str| {
        phone.extra = lines.into();
        let notify = phone.request("NOTIFY", fragment);
        notify.replace("application/sdp", "message/sipfrag;version=2.0")
    };
    assert_eq!(desk.status(notify(&mut phone, "Event: refer\r\n", "SIP/2.0 200 OK")), 481);
    desk.endpoint.refer(desk.now, dialog, &to("sip:c@192.0.2.3")).unwrap();
    let refer = desk.sent().remove(0).1;
    assert_eq!(header(&refer, "Refer-To"), Some("<sip:c@192.0.2.3>"));
    desk.hear(respond(&refer, 202));
    assert_eq!(desk.status(notify(&mut phone, "Event: presence\r\n", "x")), 489);
    for garbage in ["", "HTTP/1.1 200 OK", "SIP/2.0 99999 x", "SIP/2.0 \u{e9}"] {
        assert_eq!(desk.status(notify(&mut phone, "Event: refer\r\n", garbage)), 200);
    }
    assert_eq!(desk.story()[2..], ["Transfer Accepted"]);
    for foreign in ["999", "0", "x", "-1", ""] {
        let lines = format!("Event: refer;id={foreign}\r\n");
        assert_eq!(desk.status(notify(&mut phone, &lines, "SIP/2.0 200 OK")), 481, "{foreign}");
    }
    let lines = "Event: refer;id=1\r\nSubscription-State: terminated;reason=noresource\r\n";
    assert_eq!(desk.status(notify(&mut phone, lines, "")), 200);
    assert!(desk.story()[3].starts_with("Transfer Failed { code: 487"));
    assert_eq!(desk.status(notify(&mut phone, lines, "SIP/2.0 200 OK")), 481);
}

#[test]
fn a_party_that_has_called_us_is_named_to_others_by_its_contact() {
    let mut desk = Desk::new();
    let (_, first) = desk.call();
    let mut newcomer = Phone::new("c2");
    let invite = newcomer.request("INVITE", SDP).replace("alice@192.0.2.1:5060", "desk7@192.0.2.1:5062");
    desk.hear(invite);
    let second = desk.dialog();
    desk.endpoint.answer(desk.now, second, SDP, &[]).unwrap();
    newcomer.learn(&desk.sent().remove(0).1);
    desk.hear(newcomer.ack(""));
    let attended = Refer { replaces: Some(second), ..to("sip:who-was-there@192.0.2.9") };
    desk.endpoint.refer(desk.now, first, &attended).unwrap();
    let refer = desk.sent().remove(0).1;
    let named = header(&refer, "Refer-To").unwrap();
    assert!(named.starts_with("<sip:desk7@192.0.2.1:5062?Replaces=c2%3Bto-tag%3D"), "{named}");
}

#[test]
fn a_fragment_may_end_behind_its_code() {
    for (fragment, expected) in [
        ("SIP/2.0 200", "Transfer Succeeded { code: 200 }"),
        ("SIP/2.0 180\r\n", "Transfer Ringing { code: 180, reason: \"\" }"),
        ("SIP/2.0 486\r\n", "Transfer Failed { code: 486, reason: \"\" }"),
    ] {
        let mut desk = Desk::new();
        let (mut phone, dialog) = desk.call();
        desk.endpoint.refer(desk.now, dialog, &to("sip:c@192.0.2.3")).unwrap();
        let refer = desk.sent().remove(0).1;
        desk.hear(respond(&refer, 202));
        phone.extra = "Event: refer\r\nSubscription-State: active\r\n".into();
        let notify = phone.request("NOTIFY", fragment);
        desk.hear(notify.replace("application/sdp", "message/sipfrag;version=2.0"));
        assert_eq!(desk.story().last().unwrap(), expected);
    }
}

#[test]
fn a_transfer_with_consultation_replaces_the_consulting_call() {
    let mut world = World::new();
    let (first, at_bob) = world.answered_call();
    let (second, consulted) = world.answered_call();
    let refer = Refer { replaces: Some(second), ..to("sip:bob@192.0.2.2") };
    world.ends[CALLER].refer(world.now, first, &refer).unwrap();
    world.run(Duration::from_millis(100));
    let Some(SipEvent::TransferRequested { to, replaces: Some(replaces), .. }) = world.events[CALLEE].last()
    else {
        panic!()
    };
    let call = Outbound {
        sdp: Some(SDP.into()),
        replaces: Some(replaces.clone()),
        ..Outbound::new(to.as_str(), "sip:x@192.0.2.9", address(CALLEE))
    };
    world.ends[CALLEE].answer_refer(world.now, at_bob, Ok(())).unwrap();
    // The call that the transfer asks for comes back to the same callee, who is the target as well.
    let dialog = world.ends[CALLER].invite(world.now, &call).unwrap();
    world.run(Duration::from_millis(100));
    let Some(SipEvent::Invited { dialog: new, invite }) =
        world.events[CALLEE].iter().rev().find(|e| matches!(e, SipEvent::Invited { .. }))
    else {
        panic!()
    };
    assert_eq!(invite.replaces, Some(consulted));
    let new = *new;
    world.ends[CALLEE].answer(world.now, new, SDP, &[]).unwrap();
    world.run(Duration::from_secs(1));
    let ended = |world: &World, side: usize, id| {
        world.events[side].iter().any(|e| matches!(e, SipEvent::Ended { dialog, .. } if *dialog == id))
    };
    assert!(ended(&world, CALLEE, consulted) && ended(&world, CALLER, second));
    assert!(!ended(&world, CALLER, dialog) && !ended(&world, CALLEE, new));
}

#[test]
fn a_call_of_ours_that_rings_is_picked_up_by_who_names_a_callee_that_rings_and_is_then_cancelled() {
    let mut desk = Desk::new();
    let call = Outbound {
        sdp: Some(SDP.into()),
        ..Outbound::new("sip:b@192.0.2.1", "sip:us@192.0.2.2", PHONE.parse::<std::net::SocketAddr>().unwrap())
    };
    let early = desk.endpoint.invite(desk.now, &call).unwrap();
    let invite = desk.sent().remove(0).1;
    let ours = header(&invite, "From").unwrap().rsplit_once("tag=").unwrap().1.to_owned();
    let call_id = header(&invite, "Call-ID").unwrap().to_owned();
    let pick_up = |name: &str, theirs: &str, more: &str| {
        let mut other = Phone::new(name);
        other.extra = format!("Replaces: {call_id};from-tag={theirs};to-tag={ours}{more}\r\n");
        (other.request("INVITE", SDP), other)
    };
    assert_eq!(desk.status(pick_up("n1", "bob", "").0), 481, "nobody rings yet");
    desk.hear(tagged(&invite, 180, "bob"));
    assert_eq!(desk.status(pick_up("n2", "else", "").0), 481);
    let (new, mut other) = pick_up("n3", "bob", ";early-only");
    assert_eq!(request(desk.hear(new)), None);
    let Some(SipEvent::Invited { dialog, invite: told }) = desk.events.last() else { panic!() };
    assert_eq!(told.replaces, Some(early));
    desk.endpoint.answer(desk.now, *dialog, SDP, &[]).unwrap();
    let sent: Vec<String> = desk.sent().into_iter().map(|(_, message)| message).collect();
    let cancel = sent.iter().find(|message| message.starts_with("CANCEL ")).unwrap();
    assert_eq!(header(cancel, "Reason"), Some("SIP;cause=200;text=\"Call completed elsewhere\""));
    assert_eq!(desk.status(pick_up("n4", "bob", "").0), 481, "it is being cancelled");
    let ok = sent.iter().find(|message| message.starts_with("SIP/2.0 200")).unwrap();
    other.learn(ok);
    desk.hear(other.ack(""));
    desk.hear(tagged(&invite, 487, "bob"));
    assert!(desk.story().contains(&"Established".to_owned()), "{:?}", desk.story());
    assert_eq!(desk.endpoint.counters().dialogs, 1);
}

#[test]
fn a_call_that_rings_here_is_nobody_s_to_replace() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    desk.hear(phone.request("INVITE", SDP));
    let dialog = desk.dialog();
    desk.endpoint.ring(desk.now, dialog, None).unwrap();
    let ringing = desk.sent().remove(0).1;
    phone.learn(&ringing);
    let mut other = Phone::new("n1");
    other.extra = format!("Replaces: c1;to-tag={};from-tag=alice\r\n", phone.to_tag);
    assert_eq!(desk.status(other.request("INVITE", SDP)), 481);
}

#[test]
fn replaces_of_nothing_is_refused_and_of_an_answered_call_taken_unless_only_a_ringing_one_is_meant() {
    let mut desk = Desk::new();
    let (phone, _) = desk.call();
    let invite = |call: &str, replaces: String| {
        let mut other = Phone::new(call);
        other.extra = format!("Replaces: {replaces}\r\n");
        other.request("INVITE", SDP)
    };
    let tag = &phone.to_tag;
    assert_eq!(desk.status(invite("n1", format!("c1;to-tag={tag};from-tag=wrong"))), 481);
    assert_eq!(desk.status(invite("n2", format!("other;to-tag={tag};from-tag=alice"))), 481);
    assert_eq!(desk.status(invite("n3", format!("c1;to-tag={tag};from-tag=alice;early-only"))), 486);
    assert_eq!(desk.status(invite("n4", "x\r\nReplaces: y".into())), 400);
    assert_eq!(request(desk.hear(invite("n5", format!("c1;from-tag=alice;to-tag={tag}")))), None);
    let Some(SipEvent::Invited { invite, .. }) = desk.events.last() else { panic!() };
    assert!(invite.replaces.is_some());
}

#[test]
fn the_target_is_told_who_has_sent_us_and_nothing_that_could_be_another_line() {
    let mut world = World::new();
    let mut told = |by: &str| {
        let call = Outbound {
            referred_by: Some(by.into()),
            ..Outbound::new("sip:carol@192.0.2.3", "sip:agent@192.0.2.1", address(CALLEE))
        };
        let end = &mut world.ends[CALLER];
        end.invite(world.now, &call).unwrap();
        let sent = std::iter::from_fn(|| end.poll()).find_map(|output| match output {
            sip::Output::Send { bytes, .. } => Some(String::from_utf8(bytes).unwrap()),
            _ => None,
        });
        let invite = sent.expect("an INVITE");
        assert!(!invite.lines().any(|line| line.starts_with("X-")), "{invite}");
        header(&invite, "Referred-By").map(str::to_owned)
    };
    let bob = Some("<sip:bob@192.0.2.2>".to_owned());
    assert_eq!(told("<sip:bob@192.0.2.2>"), bob);
    assert_eq!(told("sip:bob@192.0.2.2"), bob);
    let signed = "\"Bob\" <sip:bob@192.0.2.2>;cid=\"2UWQFN309shb3@ref.example\"";
    assert_eq!(told(signed), bob, "the body part that `cid` names does not come along");
    let long = format!("<sip:{}@192.0.2.2>", "b".repeat(600));
    for hostile in
        ["", "bob", "<sip:bob@192.0.2.2", "<sip:b@h>\r\nX-Evil: 1", "<sip:b\r\nX-Evil: 1@h>", &long]
    {
        assert_eq!(told(hostile), None, "{hostile:?}");
    }
}
