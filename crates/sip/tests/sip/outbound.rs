//! Our own calls: targets, proxies, early dialogs, offers made by the callee.

use std::net::SocketAddr;
use std::time::Duration;

use sip::{
    Config, Endpoint, Hop, InDialog, InDialogMethod, Obstacle, Outbound, Output, SipEvent, Transport,
    dtmf_relay,
};

use crate::cancel::{respond, tagged};
use crate::desk::{Desk, PHONE, SDP, header};
use crate::digest_client::{refuse, request};
use crate::world::{CALLER, World};

fn to(target: &str) -> Outbound {
    let target = target.parse::<SocketAddr>().unwrap();
    Outbound { sdp: Some(SDP.into()), ..Outbound::new("sip:bob@example.com", "sip:us@192.0.2.2", target) }
}

fn place(desk: &mut Desk, call: &Outbound) -> (sip::DialogId, String) {
    let dialog = desk.endpoint.invite(desk.now, call).unwrap();
    (dialog, desk.sent().remove(0).1)
}

#[test]
fn the_second_target_is_called_when_the_first_is_silent_full_or_gone() {
    for trouble in ["silence", "503", "gone"] {
        let mut desk = Desk::new();
        let mut call = to(PHONE);
        call.targets.push("192.0.2.9:5070".parse::<SocketAddr>().unwrap().into());
        let (_, first) = place(&mut desk, &call);
        let second = match trouble {
            "silence" => desk.wait(Duration::from_secs(33)).pop().unwrap().1,
            "503" => request(desk.hear(respond(&first, 503))).unwrap(),
            _ => {
                desk.endpoint.unreachable(
                    desk.now,
                    &PHONE.parse::<SocketAddr>().unwrap().into(),
                    Obstacle::NoWay,
                );
                desk.sent().remove(0).1
            }
        };
        assert!(header(&second, "Call-ID") == header(&first, "Call-ID"), "{trouble}");
        assert_ne!(header(&second, "Via"), header(&first, "Via"));
        assert!(desk.events.is_empty());
        desk.hear(respond(&second, 503));
        assert_eq!(desk.story(), ["Rejected 503"], "{trouble}: no target is left");
    }
}

const OTHER: &str = "192.0.2.9:5070";

fn to_both() -> Outbound {
    let mut call = to(PHONE);
    call.targets.push(OTHER.parse::<SocketAddr>().unwrap().into());
    call
}

/// Where the next INVITE goes within this time, with the milliseconds.
fn next_invite(desk: &mut Desk, within: Duration) -> Option<(u128, SocketAddr, String)> {
    let until = desk.now + within;
    while let Some(at) = desk.endpoint.timeout().filter(|at| *at <= until) {
        desk.now = at;
        desk.endpoint.handle_timeout(at);
        let sent = desk.sent().into_iter().find(|(_, message)| message.starts_with("INVITE "));
        if let Some((to, message)) = sent {
            return Some((at.as_millis(), to, message));
        }
    }
    None
}

#[test]
fn a_silent_target_is_left_for_the_next_after_seconds_and_comes_last_for_a_minute() {
    let mut desk = Desk::new();
    desk.endpoint.invite(desk.now, &to_both()).unwrap();
    assert_eq!(desk.sent()[0].0.to_string(), PHONE);
    let (at, second) = loop {
        let (at, to, invite) = next_invite(&mut desk, Duration::from_secs(40)).unwrap();
        if to.to_string() == OTHER {
            break (at, invite);
        }
    };
    assert_eq!(at, 4_000);
    desk.give(OTHER, respond(&second, 180));
    desk.give(OTHER, respond(&second, 200));
    assert_eq!(desk.story(), ["Provisional 180", "Answered"]);
    for (wait, first) in [(10, OTHER), (60, PHONE)] {
        desk.wait(Duration::from_secs(wait));
        desk.endpoint.invite(desk.now, &to_both()).unwrap();
        let (to, invite) =
            desk.sent().into_iter().find(|(_, message)| message.starts_with("INVITE ")).unwrap();
        assert_eq!(to.to_string(), first, "{wait} s later");
        desk.give(first, respond(&invite, 486));
    }
}

#[test]
fn the_bye_of_an_answer_behind_the_time_answers_who_asks_and_the_end_is_told_once() {
    for hangs_up in [false, true] {
        let mut desk = Desk::new();
        let credentials = Some(sip::Credentials::new("us", "secret"));
        let call = Outbound { credentials, patience: Duration::from_secs(10), ..to(PHONE) };
        let (_, first) = place(&mut desk, &call);
        let asks = |nonce: &str| {
            format!("Proxy-Authenticate: Digest realm=\"p\", nonce=\"{nonce}\", qop=\"auth\", stale=true")
        };
        let invite = request(desk.hear(refuse(&first, 407, &asks("one")))).unwrap();
        desk.hear(respond(&invite, 180));
        let sent = desk.wait(Duration::from_secs(11));
        assert!(sent.iter().any(|(_, message)| message.starts_with("CANCEL ")), "{sent:#?}");
        let bye = request(desk.hear(respond(&invite, 200))).unwrap();
        let again = request(desk.hear(refuse(&bye, 407, &asks("two")))).unwrap();
        assert!(again.starts_with("BYE ") && header(&again, "CSeq") == Some("4 BYE"), "{again}");
        assert!(header(&again, "Proxy-Authorization").unwrap().contains("nonce=\"two\""), "{again}");
        if hangs_up {
            let theirs = format!(
                "BYE sip:us@192.0.2.2 SIP/2.0\r\nMax-Forwards: 70\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\nFrom: {}\r\n\
                 To: {}\r\nCall-ID: {}\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n",
                header(&again, "To").unwrap(),
                header(&again, "From").unwrap(),
                header(&again, "Call-ID").unwrap()
            );
            let info = theirs.replace("BYE", "INFO").replace("z9hG4bKx", "z9hG4bKi");
            assert!(desk.hear(info)[0].starts_with("SIP/2.0 481 "));
            assert!(desk.hear(theirs)[0].starts_with("SIP/2.0 200 "));
        }
        desk.hear(respond(&again, 200));
        assert_eq!(desk.story(), ["Provisional 180", "Failed NoAnswer"]);
        desk.wait(Duration::from_secs(100));
        let counters = desk.endpoint.counters();
        assert_eq!((counters.transactions, counters.dialogs), (0, 0));
    }
}

#[test]
fn a_target_that_answers_again_is_no_longer_avoided() {
    let mut desk = Desk::new();
    desk.endpoint.invite(desk.now, &to_both()).unwrap();
    let first = desk.sent().remove(0).1;
    while next_invite(&mut desk, Duration::from_secs(4)).is_some_and(|(_, to, _)| to.to_string() != OTHER) {}
    // It was only slow: what it says late is sent away, since another rings meanwhile.
    let late = desk.give(PHONE, respond(&first, 200));
    let methods: Vec<&str> = late.iter().filter_map(|message| message.split(' ').next()).collect();
    assert_eq!(methods, ["ACK", "BYE"], "{late:#?}");
    desk.endpoint.invite(desk.now, &to_both()).unwrap();
    assert_eq!(desk.sent()[0].0.to_string(), PHONE);
}

#[test]
fn a_target_that_tries_is_not_left() {
    let mut desk = Desk::new();
    desk.endpoint.invite(desk.now, &to_both()).unwrap();
    let first = desk.sent().remove(0).1;
    desk.hear(respond(&first, 100));
    assert_eq!(next_invite(&mut desk, Duration::from_secs(60)), None);
}

#[test]
fn a_refusal_that_is_meant_is_not_taken_to_the_next_target() {
    let mut desk = Desk::new();
    let mut call = to(PHONE);
    call.targets.push("192.0.2.9:5070".parse::<SocketAddr>().unwrap().into());
    let (_, invite) = place(&mut desk, &call);
    assert_eq!(request(desk.hear(respond(&invite, 486))), None);
    assert_eq!(desk.story(), ["Rejected 486"]);
}

#[test]
fn a_redirection_is_told_with_its_contact_and_not_followed() {
    let mut desk = Desk::new();
    let (_, invite) = place(&mut desk, &to(PHONE));
    let more: String = (0..9).map(|n| format!(", \"x\" <sip:bob{n}@192.0.2.9>;q=0.{n}")).collect();
    let long = format!(", <sip:{}@192.0.2.9>", "b".repeat(600));
    let contact = "Contact: <sip:bob@192.0.2.1:5060>";
    let moved = respond(&invite, 302).replace(contact, &format!("{contact}{long}{more}"));
    assert_eq!(request(desk.hear(moved)), None);
    let Some(SipEvent::Rejected { code: 302, contacts, .. }) = desk.events.last() else { panic!() };
    assert_eq!(contacts.len(), 8, "{contacts:?}");
    assert_eq!(contacts[..2], ["sip:bob@192.0.2.1:5060", "sip:bob0@192.0.2.9"]);
}

#[test]
fn a_callee_that_does_not_answer_in_the_callers_time_is_cancelled() {
    let mut desk = Desk::new();
    let (_, invite) = place(&mut desk, &Outbound { patience: Duration::from_secs(20), ..to(PHONE) });
    desk.hear(respond(&invite, 180));
    let sent = desk.wait(Duration::from_secs(21));
    assert_eq!(sent[0].0, 20_000);
    assert!(sent[0].1.starts_with("CANCEL "));
    desk.hear(respond(&invite, 487));
    assert_eq!(desk.story(), ["Provisional 180", "Failed NoAnswer"]);
}

#[test]
fn a_proxy_gets_the_call_with_the_callee_in_its_request_line() {
    let mut desk = Desk::new();
    let call = Outbound {
        proxy: Some("sip:proxy.example:5080".into()),
        display_name: Some("Us \"and\" \r\nthem".into()),
        ..to(PHONE)
    };
    let (_, invite) = place(&mut desk, &call);
    assert!(invite.starts_with("INVITE sip:bob@example.com SIP/2.0\r\n"));
    assert_eq!(header(&invite, "Route"), Some("<sip:proxy.example:5080;lr>"));
    let from = header(&invite, "From").unwrap();
    assert!(from.starts_with(r#""Us \"and\" them" <sip:us@192.0.2.2>;tag="#), "{from}");
}

#[test]
fn each_callee_of_a_forked_call_is_told_apart_and_acknowledged_by_itself() {
    let mut desk = Desk::new();
    let (_, invite) = place(&mut desk, &to(PHONE));
    let early = |tag: &str, number: u32| {
        let lines = format!("Require: 100rel\r\nRSeq: {number}\r\nContent-Type: application/sdp\r\n");
        let response = tagged(&invite, 183, tag)
            .replace("Content-Length: 0", &format!("{lines}Content-Length: {}", SDP.len()));
        format!("{response}{SDP}")
    };
    for (tag, number) in [("a", 7), ("b", 900)] {
        let prack = request(desk.hear(early(tag, number))).unwrap();
        assert!(prack.starts_with(&format!("PRACK sip:{tag}@192.0.2.1:5060 ")), "{prack}");
        assert_eq!(header(&prack, "RAck"), Some(format!("{number} 1 INVITE").as_str()));
        assert_eq!(header(&prack, "CSeq"), Some("2 PRACK"));
        desk.hear(respond(&prack, 200));
    }
    assert!(desk.hear(early("a", 7)).is_empty(), "a copy is not acknowledged again");
    assert!(desk.hear(early("a", 9)).is_empty(), "nor one that has overtaken another");
    let forks = desk.events.iter().map(|e| match e {
        SipEvent::Provisional { fork, sdp: Some(_), .. } => fork.as_str(),
        _ => panic!(),
    });
    assert_eq!(forks.collect::<Vec<_>>(), ["a", "b"]);
    desk.hear(tagged(&invite, 200, "b"));
    desk.endpoint.bye(desk.now, desk.dialog(), &[("X-Why".into(), "done".into())]).unwrap();
    let bye = desk.sent().remove(0).1;
    assert_eq!((header(&bye, "CSeq"), header(&bye, "X-Why")), (Some("3 BYE"), Some("done")));
    assert!(bye.starts_with("BYE sip:b@192.0.2.1:5060 "));
}

/// RFC 3261 section 19.1.1, table 1.
#[test]
fn from_and_to_name_the_parties_and_not_the_way_to_them() {
    let mut desk = Desk::new();
    let way = ";transport=tcp;maddr=192.0.2.9;ttl=16;lr";
    let call = Outbound {
        to: format!("sip:+4930@example.com:5070;user=phone{way}"),
        from: format!("sip:us@192.0.2.2:5080{way};x=1"),
        ..to(PHONE)
    };
    let (_, invite) = place(&mut desk, &call);
    assert!(
        invite.starts_with(&format!("INVITE sip:+4930@example.com:5070;user=phone{way} SIP/2.0\r\n")),
        "{invite}"
    );
    assert_eq!(header(&invite, "To"), Some("<sip:+4930@example.com:5070;user=phone>"));
    let from = header(&invite, "From").unwrap().to_owned();
    assert!(from.starts_with("<sip:us@192.0.2.2:5080;x=1>;tag="), "{from}");
    desk.hear(respond(&invite, 200));
    desk.endpoint.bye(desk.now, desk.dialog(), &[]).unwrap();
    let bye = desk.sent().remove(0).1;
    assert_eq!(header(&bye, "From"), Some(from.as_str()));
    assert!(header(&bye, "To").unwrap().starts_with("<sip:+4930@example.com:5070;user=phone>;tag="), "{bye}");
}

#[test]
fn a_callee_that_rings_may_change_its_early_media() {
    let mut desk = Desk::new();
    let (dialog, invite) = place(&mut desk, &to(PHONE));
    let described = |response: String, lines: &str| {
        let length = format!("{lines}Content-Type: application/sdp\r\nContent-Length: {}", SDP.len());
        response.replace("Content-Length: 0", &length) + SDP
    };
    let early = described(tagged(&invite, 183, "a"), "Require: 100rel\r\nRSeq: 7\r\n");
    let prack = request(desk.hear(early)).unwrap();
    desk.hear(respond(&prack, 200));
    let value = |name| header(&invite, name).unwrap();
    let update = |tag: &str, number: u32| {
        format!(
            "UPDATE sip:us@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP {PHONE};branch=z9hG4bKu{number}\r\n\
             Max-Forwards: 70\r\nFrom: {};tag={tag}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {number} UPDATE\r\n\
             Contact: <sip:moved@192.0.2.1:5060>\r\nContent-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{SDP}",
            value("To"),
            value("From"),
            value("Call-ID"),
            SDP.len()
        )
    };
    assert!(desk.hear(update("a", 1)).is_empty());
    assert!(matches!(desk.events.last(), Some(SipEvent::Reoffered { dialog: of, .. }) if *of == dialog));
    desk.endpoint.answer_reoffer(desk.now, dialog, Ok(SDP)).unwrap();
    assert!(desk.sent().remove(0).1.starts_with("SIP/2.0 200 "));
    let ack = desk.hear(tagged(&invite, 200, "a")).remove(0);
    assert!(ack.starts_with("ACK "), "{ack}");
    assert_eq!(desk.story(), ["Provisional 183", "Reoffered Update", "Answered"]);
}

#[test]
fn a_callee_that_answers_when_its_time_is_over_has_not_answered() {
    let mut desk = Desk::new();
    let call = Outbound { patience: Duration::from_secs(5), ..to(PHONE) };
    let (_, invite) = place(&mut desk, &call);
    desk.hear(respond(&invite, 180));
    let sent = desk.wait(Duration::from_secs(6));
    assert!(sent.iter().any(|(_, m)| m.starts_with("CANCEL ")), "{sent:#?}");
    let sent = desk.hear(respond(&invite, 200));
    assert!(sent[0].starts_with("ACK ") && sent[1].starts_with("BYE "), "{sent:#?}");
    assert_eq!(desk.story(), ["Provisional 180", "Failed NoAnswer"]);
    desk.hear(respond(&sent[1], 200));
    desk.wait(Duration::from_secs(70));
    assert_eq!(desk.endpoint.counters().transactions, 0);
    assert_eq!(desk.story().len(), 2);
}

#[test]
fn a_callee_that_has_to_make_the_offer_gets_our_answer_in_the_ack() {
    let mut desk = Desk::new();
    let (dialog, invite) = place(&mut desk, &Outbound { sdp: None, ..to(PHONE) });
    assert!(!invite.contains("application/sdp") && !invite.contains("100rel"));
    let answer = respond(&invite, 200);
    assert!(desk.hear(&answer).is_empty(), "the ACK waits for our answer");
    assert!(desk.hear(&answer).is_empty());
    desk.endpoint.acknowledge(desk.now, dialog, SDP).unwrap();
    let ack = desk.sent().remove(0).1;
    assert!(ack.starts_with("ACK ") && ack.ends_with(SDP));
    assert_eq!(desk.hear(&answer), [ack], "its copy is the same");
    assert!(desk.endpoint.acknowledge(desk.now, dialog, SDP).is_err());
    assert_eq!(desk.story(), ["Answered"]);
}

#[test]
fn a_large_invite_goes_by_tcp_and_in_a_datagram_when_tcp_is_refused() {
    let mut config = Config::new("192.0.2.2:5060".parse().unwrap(), [7; 32]);
    config.tcp = true;
    let mut endpoint = Endpoint::new(config);
    let sent = |endpoint: &mut Endpoint| match endpoint.poll() {
        Some(Output::Send { to, bytes }) => (to, String::from_utf8(bytes).unwrap()),
        other => panic!("{other:?}"),
    };
    let call = Outbound { headers: vec![("X-Long".into(), "x".repeat(1_200))], ..to(PHONE) };
    endpoint.invite(Duration::ZERO, &call).unwrap();
    let (hop, invite) = sent(&mut endpoint);
    let phone: SocketAddr = PHONE.parse().unwrap();
    assert_eq!(hop, Hop::new(Transport::Tcp, phone));
    assert!(header(&invite, "Via").unwrap().starts_with("SIP/2.0/TCP 192.0.2.2:5060;"));
    endpoint.unreachable(Duration::ZERO, &hop, Obstacle::NoWay);
    let (hop, again) = sent(&mut endpoint);
    assert_eq!(hop, Hop::from(phone));
    assert!(header(&again, "Via").unwrap().starts_with("SIP/2.0/UDP 192.0.2.2:5060;"));
    assert!(again.contains("X-Long: xxx") && again.ends_with(SDP));
    // The next one does not wait for a connection again, for ten minutes.
    for (seconds, transport) in [(1, Transport::Udp), (599, Transport::Udp), (601, Transport::Tcp)] {
        let now = Duration::from_secs(seconds);
        endpoint.handle_timeout(now);
        while endpoint.poll().is_some() {}
        endpoint.invite(now, &call).unwrap();
        assert_eq!(sent(&mut endpoint).0, Hop::new(transport, phone), "after {seconds} s");
    }
}

/// What leaves an endpoint, with the way.
fn leaving(endpoint: &mut Endpoint) -> Vec<(Hop, String)> {
    let outputs = std::iter::from_fn(|| endpoint.poll());
    let sent = outputs.filter_map(|output| match output {
        Output::Send { to, bytes } => Some((to, String::from_utf8(bytes).unwrap())),
        _ => None,
    });
    sent.filter(|(_, text)| text.starts_with("INVITE ")).collect()
}

#[test]
fn an_invite_that_grows_too_large_for_a_datagram_goes_on_by_tcp() {
    let phone: SocketAddr = PHONE.parse().unwrap();
    let credentials = Some(sip::Credentials::new("us", "secret"));
    let challenge = "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n\", qop=\"auth\"";
    for (code, line) in [(401, challenge), (422, "Min-SE: 3600")] {
        let mut config = Config::new("192.0.2.2:5060".parse().unwrap(), [7; 32]);
        config.tcp = true;
        let mut endpoint = Endpoint::new(config);
        let call = Outbound { headers: vec![("X-Long".into(), String::new())], ..to(PHONE) };
        endpoint.invite(Duration::ZERO, &call).unwrap();
        let room = 1_299 - leaving(&mut endpoint)[0].1.len();
        let headers = vec![("X-Long".into(), "x".repeat(room))];
        endpoint
            .invite(Duration::ZERO, &Outbound { headers, credentials: credentials.clone(), ..call })
            .unwrap();
        let (hop, invite) = leaving(&mut endpoint).remove(0);
        assert_eq!((hop.transport, invite.len()), (Transport::Udp, 1_299));
        let refusal = respond(&invite, code).replace("Content-Length", &format!("{line}\r\nContent-Length"));
        endpoint.receive(Duration::ZERO, phone, refusal.as_bytes());
        let (hop, again) = leaving(&mut endpoint).remove(0);
        assert_eq!(hop, Hop::new(Transport::Tcp, phone), "after {code}: {} bytes", again.len());
        assert!(header(&again, "Via").unwrap().starts_with("SIP/2.0/TCP "));
        endpoint.unreachable(Duration::ZERO, &hop, Obstacle::NoWay);
        let (hop, again) = leaving(&mut endpoint).remove(0);
        assert_eq!(hop, Hop::from(phone), "who takes no TCP gets it in a datagram");
        assert!(again.len() > 1_300);
    }
}

#[test]
fn a_uri_that_asks_for_another_request_is_not_called() {
    let mut desk = Desk::new();
    let plain = Outbound { to: "sip:bob@example.com;method=INVITE;x=1".into(), ..to(PHONE) };
    let (_, invite) = place(&mut desk, &plain);
    assert!(invite.starts_with("INVITE sip:bob@example.com;x=1 SIP/2.0\r\n"), "{invite}");
    let other = Outbound { to: "sip:bob@example.com;method=BYE".into(), ..to(PHONE) };
    let refused = desk.endpoint.invite(desk.now, &other).unwrap_err();
    assert_eq!(refused, sip::SipError::OtherMethod("sip:bob@example.com;method=BYE".into()));
    assert!(desk.sent().is_empty());
}

#[test]
fn over_a_connection_nothing_is_repeated_and_requests_stay_on_it() {
    let mut endpoint = Endpoint::new(Config::new("192.0.2.2:5060".parse().unwrap(), [7; 32]));
    let hop = Hop::new(Transport::Tcp, PHONE.parse().unwrap());
    let call = Outbound { targets: vec![hop.clone()], ..to(PHONE) };
    endpoint.invite(Duration::ZERO, &call).unwrap();
    let Some(Output::Send { to, .. }) = endpoint.poll() else { panic!() };
    assert_eq!(to, hop);
    let mut now = Duration::ZERO;
    while let Some(at) = endpoint.timeout().filter(|at| *at < Duration::from_secs(31)) {
        now = at.max(now);
        endpoint.handle_timeout(now);
        assert!(endpoint.poll().is_none());
    }
}

#[test]
fn a_digit_is_sent_by_info_and_its_answer_told() {
    let mut world = World::new();
    let (caller, _) = world.answered_call();
    let digit = InDialog {
        method: InDialogMethod::Info,
        content_type: "application/dtmf-relay".into(),
        body: dtmf_relay('5', Duration::from_millis(200)).into_bytes(),
        headers: vec![],
    };
    world.ends[CALLER].request_inside(world.now, caller, &digit).unwrap();
    world.run(Duration::from_secs(1));
    let Some(SipEvent::Info { content_type, body, .. }) = world.events[1].last() else { panic!() };
    assert_eq!(sip::info_digit(content_type, body), Some(('5', Duration::from_millis(200))));
    assert!(matches!(world.events[CALLER].last(), Some(SipEvent::Responded { code: 200, .. })));
}

#[test]
fn a_peer_that_knows_the_call_no_more_ends_it() {
    let mut desk = Desk::new();
    let (_, dialog) = desk.call();
    let info = InDialog {
        method: InDialogMethod::Message,
        content_type: "text/plain".into(),
        body: b"hi".into(),
        headers: vec![],
    };
    desk.endpoint.request_inside(desk.now, dialog, &info).unwrap();
    let message = desk.sent().remove(0).1;
    let bye = request(desk.hear(respond(&message, 481))).unwrap();
    desk.hear(respond(&bye, 481));
    assert_eq!(desk.story()[2..], ["Responded", "Ended Lost"]);
}
