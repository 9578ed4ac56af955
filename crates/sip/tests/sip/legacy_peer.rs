//! Peers from before RFC 3261: no branch, no `Max-Forwards`, no tag in `From`.

use std::time::Duration;

use sip::Rejection;

use crate::desk::{Desk, Phone, SDP};

fn old(message: &str) -> String {
    let start = message.find(";branch=").unwrap();
    let end = start + message[start..].find("\r\n").unwrap();
    let message = [&message[..start], &message[end..]].concat();
    message.replace("Max-Forwards: 70\r\n", "").replace(";tag=alice", "")
}

#[test]
fn the_ack_of_a_refusal_ends_its_repetition() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    let invite = old(&phone.request("INVITE", SDP));
    desk.hear(&invite);
    let dialog = desk.dialog();
    desk.endpoint.reject(desk.now, dialog, &Rejection::new(488)).unwrap();
    phone.learn(&desk.sent().remove(0).1);
    assert_eq!(desk.wait(Duration::from_millis(600)).len(), 1);
    desk.hear(old(&phone.same_branch("ACK")));
    assert!(desk.wait(Duration::from_secs(20)).is_empty());
    assert!(desk.hear(&invite).is_empty(), "a late copy is not a new call");
    assert_eq!(desk.story(), ["Invited", "Ended LocalReject"]);
}

#[test]
fn a_call_is_answered_and_ended() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    desk.hear(old(&phone.request("INVITE", SDP)));
    let dialog = desk.dialog();
    desk.endpoint.answer(desk.now, dialog, SDP, &[]).unwrap();
    phone.learn(&desk.sent().remove(0).1);
    desk.hear(old(&phone.ack("")));
    let bye = old(&phone.request("BYE", ""));
    assert_eq!(desk.status(&bye), 200);
    assert_eq!(desk.status(&bye), 200);
    assert_eq!(desk.story(), ["Invited", "Established", "Ended Bye"]);
}

#[test]
fn a_cancel_finds_its_invite() {
    let mut desk = Desk::new();
    let mut phone = Phone::new("c1");
    desk.hear(old(&phone.request("INVITE", SDP)));
    assert_eq!(desk.hear(old(&phone.same_branch("CANCEL"))).len(), 2);
    assert_eq!(desk.story(), ["Invited", "Canceled"]);
}
