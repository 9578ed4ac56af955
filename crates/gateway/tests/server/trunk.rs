//! What a trunk needs: accounts at a registrar, who may call in and how often, where calls of ours may go.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use active_call::config::words::Pattern;
use active_call::config::{Config, RegisterUser, SipUser, UserCredential};
use active_call::demo::phone::{Phone, PhoneError};
use active_call::originate;
use protocol::Secret;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::inbound_sip::{PLAYBOOK, playbooks};
use crate::programs;
use crate::raw_phone::{RawPhone, sdp, value};
use crate::rig::{PATIENCE, Rig, until};

const REGISTRAR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/registrar.xml");

fn account(server: String, password: &str) -> RegisterUser {
    let credential = UserCredential { password: Secret::new(password), ..UserCredential::default() };
    RegisterUser { server, username: "1001".into(), credential: Some(credential), ..RegisterUser::default() }
}

/// A server with these accounts at SIPp.
async fn with_registrar(folder: &std::path::Path, password: &str) -> (Rig, tokio::process::Child) {
    let [port] = programs::free_ports::<1>();
    let bound = port.to_string();
    let arguments =
        ["-sf", REGISTRAR, "-i", "127.0.0.1", "-p", &bound, "-m", "1", "-timeout", "18", "-nostdin"];
    let registrar = programs::start("sipp", &arguments, folder);
    until("SIPp listens", || UdpSocket::bind(("127.0.0.1", port)).is_err().then_some(())).await;
    let server = format!("127.0.0.1:{port}");
    let rig = Rig::start_with(|config| {
        config.register_users = vec![
            account(server.clone(), password),
            RegisterUser { disabled: true, ..account("127.0.0.1:9".into(), password) },
        ];
    })
    .await;
    (rig, registrar)
}

/// Waits until the first account stands so.
async fn stands(rig: &Rig, state: &str) -> Value {
    let reached = async {
        let mut again = tokio::time::interval(Duration::from_millis(20));
        loop {
            again.tick().await;
            let list: Value = serde_json::from_str(&rig.get("/api/v1/registrations").await.1).unwrap();
            if list[0]["state"] == state {
                return list;
            }
        }
    };
    timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("the account is not {state}"))
}

/// A server that answers with a playbook and trusts 127.0.0.1 alone.
async fn trusting_this_host() -> Rig {
    Rig::start_with(|config| {
        answering(config);
        config.sip.trusted = vec!["127.0.0.1".into()];
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_registered_with_sipp_told_and_taken_back_at_the_stop() {
    let folder = tempfile::tempdir().unwrap();
    let (rig, registrar) = with_registrar(folder.path(), "secret").await;
    let list = stands(&rig, "registered").await;
    assert_eq!(list[0]["account"], "sip:1001@127.0.0.1");
    assert_eq!(list[1]["state"], "disabled");
    let metrics = rig.get("/metrics").await.1;
    assert!(metrics.contains("active_call_registered{account=\"sip:1001@127.0.0.1\"} 1"), "{metrics}");
    rig.server.stop().await;
    let ended = timeout(PATIENCE, registrar.wait_with_output()).await.unwrap().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_with_the_code() {
    let folder = tempfile::tempdir().unwrap();
    let (rig, _registrar) = with_registrar(folder.path(), "wrong").await;
    let list = stands(&rig, "failed").await;
    assert_eq!((&list[0]["code"], &list[0]["reason"]), (&json!(403), &json!("Forbidden")));
    rig.server.stop().await;
}

fn answering(config: &mut Config) {
    playbooks(config, Vec::new(), Some("hello.md"));
}

/// Whether a server admits a call of another one with this password: 200, or the code of the refusal.
async fn called_with(password: &str) -> Value {
    let callee = Rig::start_with(|config| {
        answering(config);
        config.sip.users = vec![SipUser { username: "trunk".into(), password: Secret::new("secret") }];
    })
    .await;
    std::fs::write(callee.path("playbook/hello.md"), PLAYBOOK).unwrap();
    let rig = Rig::start().await;
    let mut client = rig.connect("/call/sip").await;
    let to = format!("sip:agent@{}", callee.server.sip_addr());
    let sip = json!({"username": "trunk", "password": password});
    client.send(json!({"command": "invite", "option": {"callee": to, "sip": sip}})).await;
    let told = if password == "secret" { "answer" } else { "reject" };
    let event = client.event(told).await;
    rig.server.stop().await;
    callee.server.stop().await;
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_password_is_let_in_and_who_has_another_is_not() {
    assert_eq!(called_with("secret").await["event"], "answer");
    assert_eq!(called_with("guess").await["code"], 403);
}

fn invite(number: u32, from: &UdpSocket) -> String {
    let at = from.local_addr().unwrap();
    format!(
        "INVITE sip:100@x SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bKf{number}\r\nMax-Forwards: 70\r\n\
         From: <sip:s@{at}>;tag=f{number}\r\nTo: <sip:100@x>\r\nCall-ID: flood{number}@{at}\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:s@{at}>\r\nContent-Length: 0\r\n\r\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_strangers_is_silenced_and_a_trusted_peer_is_answered_meanwhile() {
    let rig = trusting_this_host().await;
    std::fs::write(rig.path("playbook/hello.md"), PLAYBOOK).unwrap();
    let stranger = UdpSocket::bind("127.0.0.9:0").unwrap();
    let server = rig.server.sip_addr();
    let phone = Phone::open().await.unwrap();
    for round in 0..4u32 {
        for number in 0..1000 {
            stranger.send_to(invite(round * 1000 + number, &stranger).as_bytes(), server).unwrap();
        }
        let began = Instant::now();
        let mut line = timeout(PATIENCE, phone.dial(server, "agent")).await.unwrap().unwrap();
        println!("answered after {:?} behind 1000 strangers", began.elapsed());
        line.hang_up().await;
    }
    let counters = rig.get("/metrics").await.1;
    let sent = counters.lines().find_map(|line| line.strip_prefix("active_call_sip_transactions "));
    assert!(sent.unwrap().parse::<u32>().unwrap() < 500, "most of the flood was not even read");
    phone.close().await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_from_many_addresses_who_acknowledge_nothing_leave_nothing_behind() {
    let rig = trusting_this_host().await;
    std::fs::write(rig.path("playbook/hello.md"), PLAYBOOK).unwrap();
    let server = rig.server.sip_addr();
    // Few enough from each that none is silenced.
    for host in 1..=100u8 {
        let stranger = UdpSocket::bind(SocketAddr::from(([127, 0, 7, host], 0))).unwrap();
        stranger.set_read_timeout(Some(PATIENCE)).unwrap();
        for number in 0..10 {
            stranger.send_to(invite(number, &stranger).as_bytes(), server).unwrap();
        }
        let mut answer = [0; 2048];
        let length = stranger.recv(&mut answer).unwrap();
        assert!(answer[..length].starts_with(b"SIP/2.0 403 "));
    }
    let phone = Phone::open().await.unwrap();
    let mut line = timeout(PATIENCE, phone.dial(server, "agent")).await.unwrap().unwrap();
    let counters = rig.get("/metrics").await.1;
    let value = |name: &str| counters.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
    assert!(value("active_call_sip_transactions ").parse::<u32>().unwrap() < 20, "{counters}");
    line.hang_up().await;
    phone.close().await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_trusted_is_refused() {
    let rig = Rig::start_with(|config| {
        answering(config);
        config.sip.trusted = vec!["127.0.0.2".into()];
    })
    .await;
    let phone = Phone::open().await.unwrap();
    let refused = timeout(PATIENCE, phone.dial(rig.server.sip_addr(), "agent")).await.unwrap();
    assert!(matches!(refused, Err(PhoneError::Refused(403, _))));
    phone.close().await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_a_destination_that_is_not_listed_is_not_placed() {
    let desk = Pattern(regex::Regex::new("^sip:desk@").unwrap());
    let rig = Rig::start_with(|config| config.sip.destinations = vec![desk]).await;
    let mut client = rig.connect("/call/sip").await;
    client.send(json!({"command": "invite", "option": {"callee": "sip:0900@127.0.0.1:9"}})).await;
    assert_eq!(client.event("reject").await["code"], 403);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_call_of_the_command_line_is_placed_with_the_handlers_playbook() {
    let (rig, callee) = (Rig::start_with(answering).await, Rig::start_with(answering).await);
    for server in [&rig, &callee] {
        std::fs::write(server.path("playbook/hello.md"), PLAYBOOK).unwrap();
    }
    let to = format!("sip:agent@{}", callee.server.sip_addr());
    let app = rig.server.app().clone();
    rig.server.app().tasks.spawn(originate::at_start(app, to));
    for server in [&callee, &rig] {
        let up = || server.server.app().calls.all().iter().any(|call| call.info().answered_ms.is_some());
        until("the call is answered", || up().then_some(())).await;
    }
    rig.server.stop().await;
    callee.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_legs_of_ours_begin_in_an_hour_than_the_cap_says() {
    let desk = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = format!("sip:desk@{}", desk.local_addr().unwrap());
    let rig = Rig::start_with(|config| config.sip.outbound_per_hour = Some(1)).await;
    let desk = RawPhone::at(desk, rig.server.sip_addr());
    let mut client = rig.connect("/call/sip").await;
    client.send(json!({"command": "invite", "option": {"callee": to}})).await;
    let invite = desk.asked("INVITE").await;
    desk.answer(&invite, "486 Busy Here", "").await;
    assert_eq!(client.event("reject").await["code"], 486);
    let mut client = rig.connect("/call/sip").await;
    client.send(json!({"command": "invite", "option": {"callee": to}})).await;
    let reject = client.event("reject").await;
    assert_eq!(reject["code"], 503);
    assert!(reject["reason"].as_str().unwrap().contains("sip.outbound_per_hour"), "{reject}");
    let metrics = rig.get("/metrics").await.1;
    assert!(metrics.contains("active_call_outbound_capped_total 1"), "{metrics}");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_a_far_end_is_asked_for_count_in_the_cap() {
    let desk = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = format!("sip:desk@{}", desk.local_addr().unwrap());
    let rig = Rig::start_with(|config| config.sip.outbound_per_hour = Some(2)).await;
    let desk = RawPhone::at(desk, rig.server.sip_addr());
    let mut client = rig.connect("/call/sip").await;
    client.send(json!({"command": "invite", "option": {"callee": to}})).await;
    let invite = desk.asked("INVITE").await;
    desk.answer(&invite, "200 OK", &sdp(([127, 0, 0, 1], 4000).into())).await;
    client.event("answer").await;
    let refer = json!({"command": "refer", "callee": "sip:900123@127.0.0.1", "method": "blind"});
    client.send(refer.clone()).await;
    desk.answer(&desk.asked("REFER").await, "603 Decline", "").await;
    assert_eq!(client.event("reject").await["code"], 603);
    client.send(refer).await;
    let reject = client.event("reject").await;
    assert_eq!(reject["code"], 503, "{reject}");
    assert!(reject["reason"].as_str().unwrap().contains("sip.outbound_per_hour"), "{reject}");
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    rig.server.stop().await;
}

/// What `svmap`, `svwar` and `svcrack` send: they find nobody, also where everyone may call.
#[tokio::test(flavor = "multi_thread")]
async fn scanners_that_say_so_get_no_answer() {
    for open in [false, true] {
        let rig = Rig::start_with(|config| {
            answering(config);
            config.sip.trusted = if open { Vec::new() } else { vec!["127.0.0.1".into()] };
        })
        .await;
        std::fs::write(rig.path("playbook/hello.md"), PLAYBOOK).unwrap();
        let server = rig.server.sip_addr();
        for (host, method) in [(21, "OPTIONS"), (22, "REGISTER"), (23, "INVITE")] {
            let scanner = UdpSocket::bind(SocketAddr::from(([127, 0, 0, host], 0))).unwrap();
            scanner.set_read_timeout(Some(PATIENCE)).unwrap();
            for number in 0..50 {
                let asks = invite(number, &scanner).replace("INVITE", method);
                let asks = asks.replace("Max-Forwards", "User-Agent: friendly-scanner\r\nMax-Forwards");
                scanner.send_to(asks.as_bytes(), server).unwrap();
            }
            // Behind them all comes one who does not say so, as others behind the same proxy.
            let honest = invite(99, &scanner);
            scanner.send_to(honest.as_bytes(), server).unwrap();
            let mut answer = [0; 2048];
            let length = scanner.recv(&mut answer).unwrap();
            let answer = String::from_utf8_lossy(&answer[..length]);
            let call = value(&honest, "Call-ID");
            assert_eq!(value(&answer, "Call-ID"), call, "{method}, open: {open}: {answer}");
        }
        rig.server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scanners_that_ask_or_register_learn_nothing_and_are_silenced() {
    let rig = trusting_this_host().await;
    let server = rig.server.sip_addr();
    let mut statuses = Vec::new();
    for (host, method) in [(9, "OPTIONS"), (10, "REGISTER")] {
        let scanner = UdpSocket::bind(SocketAddr::from(([127, 0, 0, host], 0))).unwrap();
        scanner.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        for number in 0..100 {
            scanner.send_to(invite(number, &scanner).replace("INVITE", method).as_bytes(), server).unwrap();
        }
        let mut answer = [0; 2048];
        let mut answers = 0;
        while let Ok(length) = scanner.recv(&mut answer) {
            let text = String::from_utf8_lossy(&answer[..length]).into_owned();
            assert!(text.contains("\r\nServer: active-call\r\n"), "{text}");
            statuses.push(text[..11].to_owned());
            answers += 1;
        }
        assert_eq!(answers, 21, "{method}: the last one that was too many is answered");
    }
    statuses.dedup();
    assert_eq!(statuses.len(), 2, "each method has one answer for every user: {statuses:?}");
    rig.server.stop().await;
}
