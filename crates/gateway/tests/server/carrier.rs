//! What carriers expect beside calls: headers in a BYE, sessions that are refreshed, calls that are sent elsewhere, accounts
//! that are left alone, and a capture of it all.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use active_call::config::words::Pattern;
use active_call::config::{RegisterUser, Rewrite};
use axum::http::StatusCode;
use protocol::value::Seconds;
use serde_json::json;
use tokio::process::Child;

use crate::inbound_sip::{Hook, PLAYBOOK, attach, hook, playbooks, webhooks};
use crate::raw_phone::{RawPhone, sdp, value};
use crate::rig::{Client, PATIENCE, Rig};
use crate::takeovers::{callee, caller, content};

#[tokio::test(flavor = "multi_thread")]
async fn the_headers_of_a_hangup_are_in_the_bye_that_sipp_gets() {
    let rig = Rig::start().await;
    let (desk, uri) = callee(&rig, "told_result.xml").await;
    let mut client = rig.connect("/call/sip").await;
    client.send(json!({"command": "invite", "option": {"callee": uri}})).await;
    client.event("answer").await;
    client.send(json!({"command": "hangup", "headers": {"X-Result": "sold; by=agent"}})).await;
    client.event("hangup").await;
    content(desk, "who is told the result").await;
    drop(client);
    rig.server.stop().await;
}

/// A call of SIPp that a client has accepted.
async fn accepted(rig: &Rig, told: &mut Hook, scenario: &str) -> (Child, Client) {
    // Longer than a session lasts.
    let party = caller(rig, scenario, &["-timeout", "150"]);
    let mut client = attach(rig, told).await;
    client.send(json!({"command": "accept", "option": {}})).await;
    client.event("answer").await;
    (party, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_sipp_does_not_refresh_is_ended_with_the_reason_and_one_that_it_does_goes_on() {
    let (url, mut told) = hook(StatusCode::OK).await;
    let rig = Rig::start_with(|config| {
        webhooks(config, &[url]);
        config.rtp_first_timeout = Seconds(Duration::from_secs(600));
    })
    .await;
    let (silent, mut ended) = accepted(&rig, &mut told, "never_refreshes.xml").await;
    let (fresh, mut stays) = accepted(&rig, &mut told, "refreshes.xml").await;
    tokio::select! {
        hangup = ended.event_within("hangup", PATIENCE * 5) => assert_eq!(hangup["initiator"], "system", "{hangup}"),
        other = stays.event_within("hangup", PATIENCE * 6) => panic!("the refreshed session ends first: {other}"),
    }
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    let why = record.hangup_messages.first().and_then(|told| told.reason.as_deref());
    assert_eq!(why, Some("the far end has not refreshed the session in time"));
    stays.send(json!({"command": "history", "speaker": "user", "text": "still here"})).await;
    stays.event("addHistory").await;
    stays.send(json!({"command": "hangup"})).await;
    assert_eq!(stays.event("hangup").await["reason"], "system");
    content(silent, "who has not refreshed").await;
    content(fresh, "who has refreshed").await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewrite_sends_a_call_elsewhere_and_the_invite_still_names_whom_it_is_for() {
    let desk = UdpSocket::bind("127.0.0.1:0").unwrap();
    let there = desk.local_addr().unwrap();
    let rule = |pattern: &str, rewrite: String| Rewrite {
        r#match: Some(Pattern(regex::Regex::new(pattern).unwrap())),
        rewrite,
    };
    let rig = Rig::start_with(|config| {
        config.rewrites = vec![
            rule("^sip:0900", "sip:nobody@127.0.0.1:9".into()),
            rule("@(.*)\\.example\\.com$", format!("@{there};from=$1")),
        ];
    })
    .await;
    let phone = RawPhone::at(desk, rig.server.sip_addr());
    let mut client = rig.connect("/call/sip").await;
    let callee = "sip:desk@office.example.com";
    client.send(json!({"command": "invite", "option": {"callee": callee}})).await;
    let invite = phone.asked("INVITE").await;
    assert!(invite.starts_with(&format!("INVITE {callee} SIP/2.0\r\n")), "{invite}");
    phone.answer(&invite, "486 Busy Here", "").await;
    assert_eq!(client.event("reject").await["code"], 486);
    drop(client);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_disabled_is_not_registered_and_the_one_beside_it_is() {
    let registrars: Vec<UdpSocket> = (0..2).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let servers: Vec<SocketAddr> = registrars.iter().map(|socket| socket.local_addr().unwrap()).collect();
    let rig = Rig::start_with(|config| {
        let account = |server: &SocketAddr, disabled| RegisterUser {
            server: server.to_string(),
            username: "1001".into(),
            disabled,
            ..RegisterUser::default()
        };
        config.register_users = vec![account(&servers[0], true), account(&servers[1], false)];
    })
    .await;
    let [disabled, enabled] = <[UdpSocket; 2]>::try_from(registrars).unwrap();
    disabled.set_nonblocking(true).unwrap();
    let enabled = RawPhone::at(enabled, rig.server.sip_addr());
    let register = enabled.asked("REGISTER").await;
    enabled.answer(&register, "200 OK", "").await;
    let stopping = rig.server.stop();
    let leaving = async {
        // The first one again, where the answer came late.
        while !enabled.asked("REGISTER").await.contains("Expires: 0") {}
    };
    tokio::join!(leaving, stopping);
    assert!(
        disabled.recv(&mut [0; 64]).is_err(),
        "nothing ever came to the registrar of the disabled account"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_an_account_take_the_way_that_its_registrar_has_given() {
    let bound = || UdpSocket::bind("127.0.0.1:0").unwrap();
    let (registrar, edge, desk) = (bound(), bound(), bound());
    let server = registrar.local_addr().unwrap().to_string();
    let rig = Rig::start_with(|config| {
        config.register_users =
            vec![RegisterUser { server, username: "1001".into(), ..RegisterUser::default() }];
    })
    .await;
    let way = format!("<sip:{};lr>", edge.local_addr().unwrap());
    let callee = format!("sip:desk@{}", desk.local_addr().unwrap());
    let [registrar, edge, desk] =
        [registrar, edge, desk].map(|socket| RawPhone::at(socket, rig.server.sip_addr()));
    let register = registrar.asked("REGISTER").await;
    let ours = value(&register, "Contact");
    let granted =
        format!("200 OK\r\nContact: {ours};expires=600\r\nService-Route: {way}, <sip:home.test;lr>");
    registrar.answer(&register, &granted, "").await;
    let until = tokio::time::Instant::now() + PATIENCE;
    while !rig.get("/api/v1/registrations").await.1.contains("\"registered\"") {
        assert!(tokio::time::Instant::now() < until, "the account is not registered");
    }
    // Who calls by another account goes straight to the callee.
    for (sip, phone, routes) in [
        (json!({}), &edge, format!("{way}\r\nRoute: <sip:home.test;lr>")),
        (json!({"username": "other", "password": "x"}), &desk, String::new()),
    ] {
        let mut client = rig.connect("/call/sip").await;
        client.send(json!({"command": "invite", "option": {"callee": callee, "sip": sip}})).await;
        let invite = phone.asked("INVITE").await;
        assert!(invite.starts_with(&format!("INVITE {callee} SIP/2.0\r\n")), "{invite}");
        assert_eq!(invite.contains("\r\nRoute: "), !routes.is_empty());
        assert!(invite.contains(&routes), "{invite}");
        phone.answer(&invite, "486 Busy Here", "").await;
        assert_eq!(client.event("reject").await["code"], 486);
    }
    rig.server.stop().await;
}

/// The packets of a capture: who sent each to whom, and what.
fn packets(file: &[u8]) -> Vec<(SocketAddr, SocketAddr, String)> {
    let word = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().unwrap());
    assert_eq!((word(0), word(20)), (0xa1b2_c3d4, 101), "a pcap file of IP packets");
    let (mut at, mut packets) = (24, Vec::new());
    while at + 16 <= file.len() && at + 16 + word(at + 8) as usize <= file.len() {
        let packet = &file[at + 16..at + 16 + word(at + 8) as usize];
        let address = |ip: usize, port: usize| {
            let ip: [u8; 4] = packet[ip..ip + 4].try_into().unwrap();
            SocketAddr::new(IpAddr::from(ip), u16::from_be_bytes([packet[port], packet[port + 1]]))
        };
        let text = String::from_utf8_lossy(&packet[28..]).into_owned();
        packets.push((address(12, 20), address(16, 22), text));
        at += 16 + packet.len();
    }
    packets
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_shows_every_message_of_each_call_with_its_time_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sip.pcap");
    let rig = Rig::start_with(|config| {
        playbooks(config, Vec::new(), Some("hello.md"));
        config.sip.capture = Some(path.clone());
    })
    .await;
    std::fs::write(rig.path("playbook/hello.md"), PLAYBOOK).unwrap();
    let server = rig.server.sip_addr();
    let mut phones = Vec::new();
    for name in ["first", "second"] {
        let phone = RawPhone::towards(server, name).await;
        phone
            .invite_with(
                "Authorization: Digest response=\"hunter2\"\r\n",
                &sdp(([127, 0, 0, 1], 4000).into()),
            )
            .await;
        let answer = phone.answered().await;
        phone.hang_up(&answer).await;
        phone.heard(|text| text.starts_with("SIP/2.0 200 ") && text.contains("CSeq: 3 BYE")).await;
        phones.push((name, phone.socket.local_addr().unwrap()));
    }
    let whole = |packets: &[(SocketAddr, SocketAddr, String)]| {
        packets.iter().filter(|(.., text)| text.contains("CSeq: 3 BYE")).count() == 4
    };
    let packets = rig
        .until("both calls in the capture", |_| {
            Some(packets(&std::fs::read(&path).ok()?)).filter(|packets| whole(packets))
        })
        .await;
    for (name, phone) in phones {
        let own = packets.iter().filter(|(.., text)| text.contains(&format!("Call-ID: {name}\r\n")));
        let mut story: Vec<(bool, &str)> = own
            .map(|(from, to, text)| {
                assert!([(phone, server), (server, phone)].contains(&(*from, *to)), "{from} {to}");
                (*from == server, text.split([' ', '\r']).next().unwrap_or_default())
            })
            .collect();
        story.dedup();
        let wanted =
            [(false, "INVITE"), (true, "SIP/2.0"), (false, "ACK"), (false, "BYE"), (true, "SIP/2.0")];
        assert_eq!(story, wanted, "{name}");
    }
    assert!(packets.iter().all(|(.., text)| !text.contains("hunter2")), "what proves who calls is left out");
    rig.server.stop().await;
}
