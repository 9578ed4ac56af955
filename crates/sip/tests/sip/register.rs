//! The registration client: refresh, challenges, failures and their pace.

use std::net::SocketAddr;
use std::time::Duration;

use sip::{Account, ConnectionId, Credentials, Hop, Obstacle, RegistrationId, RegistrationState, Transport};

use crate::cancel::respond;
use crate::desk::{Desk, PHONE, header};
use crate::digest_client::{refuse, request};

/// What keeps a NAT open.
const PING: &str = "\r\n\r\n";
const OTHER: &str = "192.0.2.7:5060";

fn account(targets: &[&str]) -> Account {
    Account {
        registrar: "sip:pbx.example".into(),
        address: "sip:alice@pbx.example".into(),
        display_name: Some("Alice".into()),
        contact_user: "alice".into(),
        targets: targets.iter().map(|t| t.parse::<SocketAddr>().unwrap().into()).collect(),
        proxy: None,
        credentials: Some(Credentials::new("alice", "secret")),
        expires: Duration::from_secs(600),
    }
}

pub(crate) fn begin(desk: &mut Desk, targets: &[&str]) -> (RegistrationId, String) {
    let id = desk.endpoint.register(desk.now, &account(targets)).unwrap();
    (id, desk.sent().remove(0).1)
}

pub(crate) fn grant(register: &str, seconds: u32) -> String {
    let ours = header(register, "Contact").unwrap();
    let contact = format!("Contact: <sip:other@192.0.2.1>;expires=5, {ours};expires={seconds}");
    let response = respond(register, 200);
    response
        .lines()
        .map(|l| if l.starts_with("Contact") { contact.clone() } else { l.into() } + "\r\n")
        .collect()
}

fn ask(nonce: &str) -> String {
    format!("WWW-Authenticate: Digest realm=\"pbx\", nonce=\"{nonce}\", qop=\"auth\", algorithm=SHA-256")
}

/// When the next REGISTER goes out, in milliseconds from now, and it.
fn next(desk: &mut Desk, within: u64) -> (u128, String) {
    let begin = desk.now.as_millis();
    for _ in 0..within * 10 {
        let mut sent = desk.wait(Duration::from_millis(100)).into_iter();
        if let Some((at, sent)) = sent.find(|(_, sent)| sent != PING) {
            return (at - begin, sent);
        }
    }
    panic!("nothing in {within} s");
}

#[test]
fn it_registers_answers_the_challenge_and_refreshes_at_three_quarters() {
    let mut desk = Desk::new();
    let (id, first) = begin(&mut desk, &[PHONE]);
    assert!(first.starts_with("REGISTER sip:pbx.example SIP/2.0\r\n"));
    assert_eq!(header(&first, "Contact"), Some("<sip:alice@192.0.2.2:5060>"));
    let second = request(desk.hear(refuse(&first, 401, &ask("n1")))).unwrap();
    assert_eq!(header(&second, "Call-ID"), header(&first, "Call-ID"));
    desk.hear(grant(&second, 120));
    let state = desk.endpoint.registration(id).unwrap();
    let (until, next_at) = (Duration::from_secs(120), Duration::from_secs(90));
    assert_eq!(state, &RegistrationState::Registered { until, next: next_at, route: Vec::new() });
    let (at, refresh) = next(&mut desk, 100);
    assert_eq!((at, header(&refresh, "CSeq")), (90_000, Some("3 REGISTER")));
    let answer = header(&refresh, "Authorization").unwrap();
    assert!(answer.contains("nc=00000002") && answer.contains("nonce=\"n1\""), "{answer}");
    let again = request(desk.hear(refuse(&refresh, 401, &ask("n2")))).unwrap();
    let answer = header(&again, "Authorization").unwrap();
    assert!(answer.contains("nc=00000001") && answer.contains("nonce=\"n2\""), "a new nonce counts anew");
    desk.hear(grant(&again, 120));
    assert!(matches!(desk.registrations.last(), Some(RegistrationState::Registered { .. })));
}

#[test]
fn a_registrar_that_wants_longer_gets_it() {
    let mut desk = Desk::new();
    let (_, first) = begin(&mut desk, &[PHONE]);
    let second = request(desk.hear(refuse(&first, 423, "Min-Expires: 1800"))).unwrap();
    assert_eq!(header(&second, "Expires"), Some("1800"));
    assert_eq!(request(desk.hear(refuse(&second, 423, "Min-Expires: 1800"))), None, "asked once");
    let Some(RegistrationState::Failed { code: 423, .. }) = desk.registrations.last() else { panic!() };
}

#[test]
fn a_registrar_that_wants_ever_more_is_not_asked_in_a_loop() {
    let mut desk = Desk::new();
    let (_, mut register) = begin(&mut desk, &[PHONE]);
    let (end, mut tries) = (Duration::from_secs(120), 1);
    while desk.now < end {
        let least = header(&register, "Expires").unwrap().parse::<u32>().unwrap() + 1;
        let again = request(desk.hear(refuse(&register, 423, &format!("Min-Expires: {least}"))));
        register = again.unwrap_or_else(|| next(&mut desk, 60).1);
        tries += 1;
    }
    assert!(tries < 20, "{tries} in two minutes");
    desk.hear(grant(&register, 3_600));
    assert!(matches!(desk.registrations.last(), Some(RegistrationState::Registered { .. })));
}

/// A 200 that lists these contacts; `OURS` is what we have sent.
fn listing(register: &str, contacts: &str) -> String {
    let contacts = contacts.replace("OURS", header(register, "Contact").unwrap());
    let lines = respond(register, 200);
    lines
        .lines()
        .filter(|line| !line.starts_with("Contact"))
        .map(|line| format!("{line}\r\n"))
        .collect::<String>()
        .replace("Content-Length", &format!("{contacts}\r\nContent-Length"))
}

#[test]
fn of_several_contacts_ours_says_when_to_refresh() {
    for (contacts, refreshed_ms) in [
        ("Contact: <sip:alice@10.9.9.9>;expires=3600, OURS;expires=16", 12_000),
        (
            "Contact: <sip:alice@192.0.2.2:5060;transport=tcp>;expires=3600\r\nContact: OURS;expires=40",
            30_000,
        ),
        ("Contact: <sip:alice@10.9.9.9>;expires=8, OURS;expires=40", 30_000),
        ("Contact: OURS\r\nExpires: 20", 15_000),
        ("Contact: <sip:alice@203.0.113.9:41000>;expires=40", 30_000),
        ("Contact: <sip:alice@10.9.9.9>;expires=3600, <sip:alice@203.0.113.9:41000>;expires=40", 30_000),
        ("Contact: OURS;expires=5", 3_000),
        ("Contact: OURS;expires=1", 1_000),
    ] {
        let mut desk = Desk::new();
        let (_, first) = begin(&mut desk, &[PHONE]);
        desk.hear(listing(&first, contacts));
        assert!(
            matches!(desk.registrations.last(), Some(RegistrationState::Registered { .. })),
            "{contacts}"
        );
        assert_eq!(next(&mut desk, 50).0, refreshed_ms, "{contacts}");
    }
}

#[test]
fn a_registrar_that_does_not_list_us_has_not_registered_us() {
    for contacts in ["X: y", "Contact: <sip:other@10.9.9.9>;expires=3600", "Contact: OURS;expires=0"] {
        let mut desk = Desk::new();
        let (_, first) = begin(&mut desk, &[PHONE]);
        desk.hear(listing(&first, contacts));
        let Some(RegistrationState::Failed { code: 200, .. }) = desk.registrations.last() else {
            panic!("{contacts}: {:?}", desk.registrations)
        };
        let (wait, again) = next(&mut desk, 5);
        assert!(wait >= 1_000, "{wait}");
        desk.hear(listing(&again, "Contact: OURS;expires=60"));
        assert!(matches!(desk.registrations.last(), Some(RegistrationState::Registered { .. })));
    }
}

#[test]
fn failures_come_ever_slower_but_never_slower_than_a_minute() {
    let mut desk = Desk::new();
    let (_, mut register) = begin(&mut desk, &[PHONE]);
    let mut waits = Vec::new();
    for _ in 0..30 {
        let challenged = request(desk.hear(refuse(&register, 401, &ask("n"))));
        if let Some(again) = challenged {
            desk.hear(refuse(&again, 403, "X: y"));
        }
        let (wait, again) = next(&mut desk, 60);
        waits.push(wait);
        register = again;
    }
    assert!(waits.iter().all(|wait| (1_000..60_000).contains(wait)), "{waits:?}");
    assert!(waits[0] < 3_000 && waits[10..].iter().all(|wait| *wait > 30_000), "{waits:?}");
    let last = &waits[10..];
    assert!(last.iter().any(|wait| wait != &last[0]), "spread");
    desk.hear(grant(&register, 3_600));
    assert!(matches!(desk.registrations.last(), Some(RegistrationState::Registered { .. })));
}

#[test]
fn retry_after_is_kept_within_a_minute() {
    for (said, least, most) in [("30", 30_000, 30_100), ("86400 (upgrade)", 60_000, 60_100)] {
        let mut desk = Desk::new();
        let (_, first) = begin(&mut desk, &[PHONE]);
        desk.hear(refuse(&first, 503, &format!("Retry-After: {said}")));
        let (wait, _) = next(&mut desk, 70);
        assert!((least..=most).contains(&wait), "{said}: {wait}");
    }
}

#[test]
fn the_next_target_is_tried_at_once_after_silence_and_a_second_later_after_a_refused_connection() {
    let mut desk = Desk::new();
    begin(&mut desk, &[PHONE, OTHER]);
    desk.now = desk.now.max(Duration::ZERO);
    let mut sent = Vec::new();
    while desk.now < Duration::from_secs(33) {
        let at = desk.endpoint.timeout().unwrap();
        desk.now = at;
        desk.endpoint.handle_timeout(at);
        sent.extend(desk.sent().into_iter().map(|(to, _)| (to, at)));
    }
    let other = sent.iter().find(|(to, _)| to.to_string() == OTHER).expect("the other target");
    assert_eq!(other.1, Duration::from_secs(4), "as long as one that lives may take");
    desk.endpoint.unreachable(desk.now, &OTHER.parse::<SocketAddr>().unwrap().into(), Obstacle::NoWay);
    desk.sent();
    let Some(RegistrationState::Failed { code: 503, next, .. }) = desk.registrations.last() else { panic!() };
    assert!(*next >= desk.now + Duration::from_secs(1));
}

/// The next REGISTER within this time, and where it goes.
fn next_try(desk: &mut Desk, within: Duration) -> (SocketAddr, String) {
    let until = desk.now + within;
    while let Some(at) = desk.endpoint.timeout().filter(|at| *at <= until) {
        desk.now = at;
        desk.endpoint.handle_timeout(at);
        if let Some(sent) = desk.sent().into_iter().find(|(_, sent)| sent != PING) {
            return sent;
        }
    }
    panic!("nothing in {within:?}");
}

#[test]
fn a_registrar_that_dies_is_left_for_the_next_whatever_order_its_name_then_gives() {
    let hop = |target: &str| target.parse::<SocketAddr>().unwrap().into();
    for order in [[PHONE, OTHER], [OTHER, PHONE]] {
        let mut desk = Desk::new();
        let (id, first) = begin(&mut desk, &[PHONE, OTHER]);
        desk.hear(grant(&first, 60));
        let (to, refresh) = next_try(&mut desk, Duration::from_secs(46));
        assert_eq!(to.to_string(), PHONE);
        // It is dead: its copies go to it, until it is given up and the name looked up again.
        let given_up = desk.now + Duration::from_secs(4);
        let other = loop {
            let (to, register) = next_try(&mut desk, Duration::from_secs(34));
            if matches!(desk.registrations.last(), Some(RegistrationState::Failed { code: 408, .. })) {
                desk.endpoint.set_targets(id, order.map(hop).to_vec()).unwrap();
            }
            if to.to_string() == OTHER {
                break register;
            }
            assert!(register == refresh && desk.now <= given_up, "the dead one is asked again");
        };
        assert!(desk.now <= given_up + Duration::from_secs(1));
        desk.give(OTHER, grant(&other, 60));
        assert!(matches!(desk.registrations.last(), Some(RegistrationState::Registered { .. })));
        let (to, _) = next_try(&mut desk, Duration::from_secs(46));
        assert_eq!(to.to_string(), OTHER, "it stays with the one that lives");
    }
}

#[test]
fn a_registrar_that_falls_silent_after_its_challenge_is_left_as_soon() {
    let mut desk = Desk::new();
    let (_, first) = begin(&mut desk, &[PHONE, OTHER]);
    desk.now += Duration::from_secs(3);
    let answered = request(desk.hear(refuse(&first, 401, &ask("n1")))).unwrap();
    assert!(header(&answered, "Authorization").is_some());
    let asked = desk.now;
    let other = loop {
        let (to, register) = next_try(&mut desk, Duration::from_secs(5));
        if to.to_string() == OTHER {
            break register;
        }
    };
    assert_eq!((desk.now - asked).as_secs(), 4);
    desk.give(OTHER, grant(&other, 60));
    assert!(matches!(desk.registrations.last(), Some(RegistrationState::Registered { .. })));
    // The last one has all its time, after its challenge too.
    let mut desk = Desk::new();
    let (_, only) = begin(&mut desk, &[PHONE]);
    desk.hear(refuse(&only, 401, &ask("n1")));
    desk.registrations.clear();
    desk.wait(Duration::from_secs(31));
    assert!(desk.registrations.is_empty());
}

#[test]
fn a_dead_registrar_is_passed_over_for_a_minute_by_every_account() {
    let mut desk = Desk::new();
    begin(&mut desk, &[PHONE, OTHER]);
    let (to, at) = loop {
        let (to, _) = next_try(&mut desk, Duration::from_secs(5));
        if to.to_string() == OTHER {
            break (to, desk.now);
        }
    };
    assert_eq!((to.to_string().as_str(), at.as_secs()), (OTHER, 4));
    let asked = |desk: &mut Desk| {
        desk.endpoint.register(desk.now, &account(&[PHONE, OTHER])).unwrap();
        desk.sent().remove(0).0.to_string()
    };
    assert_eq!(asked(&mut desk), OTHER);
    desk.now += Duration::from_secs(61);
    assert_eq!(asked(&mut desk), PHONE, "it may be back");
}

#[test]
fn a_registrar_that_says_that_it_tries_is_waited_for_and_so_is_the_last_one() {
    let mut desk = Desk::new();
    let (_, first) = begin(&mut desk, &[PHONE, OTHER]);
    desk.hear(respond(&first, 100));
    let silent =
        |desk: &Desk| matches!(desk.registrations.last(), Some(RegistrationState::Failed { code: 408, .. }));
    desk.wait(Duration::from_secs(31));
    assert!(!silent(&desk));
    desk.wait(Duration::from_secs(1));
    assert!(silent(&desk));
    desk.registrations.clear();
    desk.wait(Duration::from_secs(31));
    assert!(desk.registrations.is_empty(), "nobody else is left, so that it has all its time");
    desk.wait(Duration::from_secs(2));
    assert!(silent(&desk));
}

#[test]
fn a_silent_registrar_is_not_flooded_and_found_again() {
    let mut desk = Desk::new();
    begin(&mut desk, &[PHONE]);
    let sent = desk.wait(Duration::from_secs(600));
    assert!(sent.len() < 120, "{}", sent.len());
    let (_, register) = next(&mut desk, 60);
    desk.hear(grant(&register, 60));
    assert!(matches!(desk.registrations.last(), Some(RegistrationState::Registered { .. })));
}

#[test]
fn it_unregisters_with_zero_and_is_then_forgotten() {
    let mut desk = Desk::new();
    let (id, first) = begin(&mut desk, &[PHONE]);
    desk.hear(grant(&first, 60));
    desk.endpoint.unregister(desk.now, id);
    let last = desk.sent().remove(0).1;
    assert_eq!(header(&last, "Expires"), Some("0"));
    let last = request(desk.hear(refuse(&last, 401, &ask("n9")))).unwrap();
    assert_eq!(header(&last, "Expires"), Some("0"));
    desk.hear(respond(&last, 200));
    assert_eq!(desk.registrations.last(), Some(&RegistrationState::Ended));
    assert!(desk.endpoint.registration(id).is_none() && desk.endpoint.registrations().is_empty());
    assert!(desk.wait(Duration::from_secs(700)).is_empty());
    desk.endpoint.unregister(desk.now, id);
}

#[test]
fn what_a_registrar_may_still_hold_is_taken_back_though_the_last_try_failed() {
    for (last, code, asked) in
        [("Contact: OURS;expires=60", 503, true), ("X: y", 200, true), ("", 503, false)]
    {
        let mut desk = Desk::new();
        let (id, mut register) = begin(&mut desk, &[PHONE]);
        if !last.is_empty() {
            desk.hear(listing(&register, last));
            register = next(&mut desk, 50).1;
        }
        desk.hear(if code == 200 { listing(&register, last) } else { respond(&register, code) });
        assert!(matches!(desk.registrations.last(), Some(RegistrationState::Failed { .. })));
        desk.endpoint.unregister(desk.now, id);
        let sent = desk.sent();
        let taken_back = sent.iter().any(|(_, message)| header(message, "Expires") == Some("0"));
        assert_eq!(taken_back, asked, "{last:?} {code}");
    }
}

#[test]
fn the_way_back_through_a_nat_is_kept_open() {
    let mut desk = Desk::new();
    let (id, first) = begin(&mut desk, &[PHONE]);
    assert!(desk.wait(Duration::from_millis(400)).is_empty(), "not before it is registered");
    desk.hear(grant(&first, 3_600));
    let sent = desk.wait(Duration::from_secs(100));
    let pings: Vec<u128> = sent.iter().filter(|(_, m)| m == PING).map(|(at, _)| at / 1_000).collect();
    assert_eq!(pings, [25, 50, 75, 100]);
    desk.endpoint.unregister(desk.now, id);
    desk.sent();
    assert!(desk.wait(Duration::from_secs(100)).iter().all(|(_, m)| m != PING));
}

#[test]
fn an_account_registers_anew_when_its_connection_is_gone() {
    let mut desk = Desk::new();
    let hop = Hop::new(Transport::Tcp, PHONE.parse().unwrap()).over(ConnectionId(7));
    let account = Account { targets: vec![Hop { connection: None, ..hop.clone() }], ..account(&[]) };
    desk.endpoint.register(desk.now, &account).unwrap();
    let first = desk.sent().remove(0).1;
    desk.endpoint.receive(desk.now, hop.clone(), grant(&first, 3_600).as_bytes());
    assert!(desk.wait(Duration::from_secs(60)).is_empty(), "a connection needs no help of ours");
    desk.endpoint.unreachable(
        desk.now,
        &Hop { connection: Some(ConnectionId(6)), ..hop.clone() },
        Obstacle::NoWay,
    );
    assert!(desk.wait(Duration::from_secs(10)).is_empty(), "another one");
    desk.endpoint.unreachable(desk.now, &hop, Obstacle::NoWay);
    let (wait, again) = next(&mut desk, 3);
    assert!((1_000..=2_000).contains(&wait) && again.starts_with("REGISTER "), "{wait}");
}

#[test]
fn the_way_that_a_registrar_gives_to_calls_is_told_and_taken() {
    let hops = |n: usize| (0..n).map(|i| format!("<sip:p{i}.example;lr>")).collect::<Vec<_>>().join(", ");
    let told = |line: &str| {
        let mut desk = Desk::new();
        let (_, register) = begin(&mut desk, &[PHONE]);
        let granted = grant(&register, 600).replace("Content-Length", &format!("{line}Content-Length"));
        desk.hear(granted);
        match desk.registrations.last() {
            Some(RegistrationState::Registered { route, .. }) => route.clone(),
            other => panic!("{line}: {other:?}"),
        }
    };
    let two = "Service-Route: <sip:edge.example;lr>\r\nService-Route: <sip:home.example:5070;lr;x=1>\r\n";
    let route = told(two);
    assert_eq!(route, ["sip:edge.example;lr", "sip:home.example:5070;lr;x=1"]);
    assert_eq!(told(&format!("Service-Route: {}\r\n", hops(8))).len(), 8);
    for none in [
        String::new(),
        format!("Service-Route: {}\r\n", hops(9)),
        format!("Service-Route: <sip:{}.example;lr>\r\n", "x".repeat(600)),
        "Service-Route: <sip:strict.example>\r\n".into(),
        "Service-Route: nonsense\r\n".into(),
    ] {
        assert!(told(&none).is_empty(), "{none}");
    }
    for proxy in [None, Some("sip:out.example".to_owned())] {
        let mut desk = Desk::new();
        let target = PHONE.parse::<SocketAddr>().unwrap();
        let call = sip::Outbound {
            route: route.clone(),
            proxy: proxy.clone(),
            ..sip::Outbound::new("sip:bob@pbx.example", "sip:alice@pbx.example", target)
        };
        desk.endpoint.invite(desk.now, &call).unwrap();
        let invite = desk.sent().remove(0).1;
        let given: Vec<&str> = invite.lines().filter_map(|line| line.strip_prefix("Route: ")).collect();
        let service = ["<sip:edge.example;lr>", "<sip:home.example:5070;lr;x=1>"];
        let ours = proxy.iter().map(|_| "<sip:out.example;lr>").chain(service).collect::<Vec<_>>();
        assert_eq!(given, ours);
    }
}
