//! Bytes of ill will: they are refused or dropped, and the next call works.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;

use crate::desk::{Desk, Phone, SDP};

/// Messages that once broke some SIP stack, changed from a good one by replacing text.
const BROKEN: &[(&str, &str)] = &[
    ("Via: SIP/2.0/UDP", "Via: SIP/2.0/UDP [::1"),
    ("Via: SIP/2.0/UDP 192.0.2.1:5060", "Via: SIP/2.0/UDP 192.0.2.1:99999"),
    ("Via: SIP/2.0/UDP 192.0.2.1:5060", "Via: SIP/2.0/UDP 192.0.2.1:0"),
    ("Via: SIP/2.0/UDP 192.0.2.1:5060", "Via: SIP/2.0/UDP"),
    (";rport", ";rport;rport;received=;received"),
    (";branch=", ";branch=\"z9hG4bK\\\";"),
    ("From: \"Alice\"", "From: \"Alice"),
    (";tag=alice", ";tag="),
    (";tag=alice", ";tag=../../etc/passwd;tag=b"),
    ("To: <sip:bob@192.0.2.2>", "To: <sip:bob@192.0.2.2"),
    ("To: <sip:bob@192.0.2.2>", "To: \"\0\" <sip:bob@192.0.2.2>"),
    ("Contact: <sip:alice@192.0.2.1:5060>", "Contact: <sip:255.255.255.255:0?Route=x&Route=y>"),
    ("Contact: <sip:alice@192.0.2.1:5060>", "Contact: <mailto:a@b>"),
    ("Contact: <sip:alice@192.0.2.1:5060>", "Contact: <>"),
    ("Max-Forwards: 70", "Record-Route: <sip:;lr>, <<sip:a>>, \"<sip:b>"),
    ("Max-Forwards: 70", "Timestamp: \"\r\n\t\r\n\t"),
    ("Call-ID: c1", "Call-ID: {\"a\":\"<script>\"}"),
    ("CSeq: 1", "CSeq: 4294967295"),
    ("CSeq: 1", "CSeq: -1"),
    ("Content-Length: ", "Content-Length: 99999999999999999999"),
    ("INVITE sip:bob@192.0.2.2", "INVITE sip:%00%ff%zz@"),
    ("INVITE sip:bob@192.0.2.2", "INVITE \u{0}"),
    ("INVITE sip:bob@192.0.2.2 SIP/2.0", "INVITE sip:bob@192.0.2.2  SIP/2.0"),
    ("\r\n", "\n"),
    ("\r\n", "\r"),
    ("\r\n", "\r\n "),
];

/// Whether a fresh call still goes through.
fn alive(desk: &mut Desk) {
    let mut phone = Phone::new("alive");
    desk.events.clear();
    desk.hear(phone.request("INVITE", SDP));
    let dialog = desk.dialog();
    assert!(desk.endpoint.call_id(dialog).is_some_and(|id| id.starts_with("alive")));
    desk.endpoint.answer(desk.now, dialog, SDP, &[]).unwrap();
    phone.learn(&desk.sent().pop().unwrap().1);
    desk.hear(phone.ack(""));
    assert!(desk.hear(phone.request("BYE", "")).iter().any(|sent| sent.starts_with("SIP/2.0 200 ")));
}

/// Whatever the application does with the calls that came of it.
fn use_up(desk: &mut Desk) {
    let dialogs: Vec<_> = desk.endpoint.dialogs().collect();
    for (i, dialog) in dialogs.into_iter().enumerate() {
        let _ = desk.endpoint.ring(desk.now, dialog, None);
        if i % 2 == 0 {
            let _ = desk.endpoint.answer(desk.now, dialog, SDP, &[]);
        }
        let _ = desk.endpoint.hangup(desk.now, dialog, &[]);
    }
    desk.sent();
    desk.wait(Duration::from_secs(300));
    assert_eq!(desk.endpoint.counters().dialogs, 0);
    assert_eq!(desk.endpoint.counters().transactions, 0);
}

#[test]
fn broken_messages_harm_nothing() {
    for (from, to) in BROKEN {
        for method in ["INVITE", "OPTIONS", "BYE", "CANCEL", "ACK", "REGISTER"] {
            let mut desk = Desk::new();
            let request = Phone::new("c1").request(method, SDP);
            desk.hear(request.replace(&from.replace("INVITE", method), to));
            alive(&mut desk);
            use_up(&mut desk);
        }
    }
}

#[test]
fn a_scanner_hears_the_same_for_every_user() {
    let mut answers = Vec::new();
    for user in ["100", "1000", "admin", "bob"] {
        let mut desk = Desk::new();
        let request = Phone::new("c1").request("REGISTER", "").replace("sip:bob", &format!("sip:{user}"));
        answers.push(desk.hear(request).remove(0).replace(user, "bob"));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
}

/// One change of a message.
#[derive(Debug, Clone)]
enum Change {
    Flip(Index, u8),
    Cut(Index, u8),
    Copy(Index, u8, Index),
    Insert(Index, Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Flip(at, byte)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, length)| Change::Cut(at, length)),
        (any::<Index>(), any::<u8>(), any::<Index>()).prop_map(|(a, n, b)| Change::Copy(a, n, b)),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(a, b)| Change::Insert(a, b)),
        (any::<Index>(), prop::sample::select(&[";", ",", "\r\n", "\"", "<", ">", ":", "\0", "%"][..]))
            .prop_map(|(at, text)| Change::Insert(at, text.as_bytes().to_vec())),
    ]
}

fn apply(message: &mut Vec<u8>, change: &Change) {
    if message.is_empty() {
        return;
    }
    let length = message.len();
    match change {
        Change::Flip(at, byte) => *at.get_mut(message) ^= byte,
        Change::Cut(at, n) => {
            let at = at.index(length);
            message.drain(at..(at + usize::from(*n)).min(length));
        }
        Change::Copy(from, n, to) => {
            let from = from.index(length);
            let piece = message[from..(from + usize::from(*n)).min(length)].to_vec();
            let to = to.index(length);
            message.splice(to..to, piece);
        }
        Change::Insert(at, bytes) => {
            let at = at.index(length);
            message.splice(at..at, bytes.iter().copied());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_messages_of_a_call_never_panic(
        script in prop::collection::vec((0..8_usize, prop::collection::vec(change(), 0..4)), 1..12),
    ) {
        let mut desk = Desk::new();
        let (mut phone, _) = desk.call();
        for (what, changes) in script {
            let mut fresh = Phone::new("c2");
            let message = match what {
                0 => fresh.request("INVITE", SDP),
                1 => phone.request("INVITE", SDP),
                2 => phone.request("BYE", ""),
                3 => phone.ack(SDP),
                4 => phone.same_branch("CANCEL"),
                5 => phone.request("INFO", SDP),
                6 => crate::cancel::respond(&phone.request("INVITE", SDP), 200),
                _ => phone.request("UPDATE", SDP),
            };
            let mut bytes = message.into_bytes();
            for change in &changes {
                apply(&mut bytes, change);
            }
            desk.hear(&bytes);
            desk.wait(Duration::from_millis(300));
        }
        use_up(&mut desk);
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut desk = Desk::new();
        desk.hear(&bytes);
        desk.hear([b"INVITE sip:a@b SIP/2.0\r\n", &bytes[..]].concat());
        desk.hear([b"SIP/2.0 200 OK\r\n", &bytes[..]].concat());
        use_up(&mut desk);
    }

    #[test]
    fn responses_to_our_invite_can_be_mutated(changes in prop::collection::vec(change(), 1..4), code in 100..700_u16) {
        let mut desk = Desk::new();
        let call = sip::Outbound { sdp: Some(SDP.into()), ..sip::Outbound::new("sip:bob@192.0.2.1", "sip:us@192.0.2.2", crate::desk::PHONE.parse::<std::net::SocketAddr>().unwrap()) };
        desk.endpoint.invite(desk.now, &call).unwrap();
        let invite = desk.sent().remove(0).1;
        let mut bytes = crate::cancel::respond(&invite, code).into_bytes();
        for change in &changes {
            apply(&mut bytes, change);
        }
        desk.hear(&bytes);
        use_up(&mut desk);
    }
}
