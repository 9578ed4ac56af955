//! Names in the name service: pointers (NAPTR), services (SRV) and addresses lead calls of ours to the callee, and hosts
//! that descriptions name to where sound goes.

use std::net::SocketAddr;

use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::inbound_sip::{attach, hook, webhooks};
use crate::raw_phone::{RawPhone, sdp, value};
use crate::rig::{PATIENCE, Rig};

// Kinds of records.
const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const NAPTR: u16 = 35;

/// A name to which no answer comes.
const SILENT: &str = "silent.test";
/// A name that does not exist, nor anything below it (RFC 1035 section 4.1.1: response code 3).
const MISSING: &str = "missing.test";
/// A name for which the server fails (response code 2).
const BROKEN: &str = "broken.test";

/// A name server of a few records. It answers questions for which it has none with none.
struct Zone(Vec<(&'static str, u16, Vec<u8>)>);

/// A name as labels (RFC 1035 section 3.1).
fn labels(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut bytes: Vec<u8> =
        labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    bytes.push(0);
    bytes
}

/// The data of a service record (RFC 2782).
fn srv(priority: u16, port: u16, host: &str) -> Vec<u8> {
    let numbers = [priority, 10, port];
    [numbers.iter().flat_map(|number| number.to_be_bytes()).collect(), labels(host)].concat()
}

/// The data of a pointer to a service (RFC 3403).
fn naptr(order: u16, service: &str, to: &str) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let numbers = [order, 50].iter().flat_map(|number: &u16| number.to_be_bytes()).collect();
    [numbers, text("s"), text(service), text(""), labels(to)].concat()
}

impl Zone {
    fn answer(&self, question: &[u8]) -> Option<Vec<u8>> {
        let length = question.get(12..)?.iter().position(|byte| *byte == 0)? + 1;
        let name = question[12..12 + length].to_ascii_lowercase();
        if name == labels(SILENT) {
            return None;
        }
        let kind = u16::from_be_bytes(question.get(12 + length..14 + length)?.try_into().ok()?);
        let found: Vec<_> = self
            .0
            .iter()
            .filter(|(own, of, _)| labels(own) == name && *of == kind)
            .map(|row| &row.2)
            .collect();
        let below = |known: &str| name.ends_with(&labels(known));
        let code = if below(MISSING) { 3 } else { u8::from(below(BROKEN)) * 2 };
        let mut answer = question[..2].to_vec();
        answer.extend([0x84, code, 0, 1, 0, found.len() as u8, 0, 0, 0, 0]);
        answer.extend(&question[12..16 + length]);
        for data in found {
            // The name of the question, the kind, class IN, a minute.
            answer.extend([0xc0, 12]);
            answer.extend(kind.to_be_bytes());
            answer.extend([0, 1, 0, 0, 0, 60]);
            answer.extend((data.len() as u16).to_be_bytes());
            answer.extend(data);
        }
        Some(answer)
    }

    /// Answers from a socket of its own, as long as the test lasts.
    async fn start(self) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        #[expect(clippy::disallowed_methods, reason = "the name server lives as long as its test")]
        tokio::spawn(self.serve(socket));
        address
    }

    async fn serve(self, socket: UdpSocket) {
        let mut question = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut question).await {
            if let Some(answer) = self.answer(&question[..length]) {
                socket.send_to(&answer, from).await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_where_the_records_of_a_name_lead() {
    let loopback = vec![127, 0, 0, 1];
    let bound = || async {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        (socket, port)
    };
    let ((pointed, by_naptr), (served, by_srv), (_nobody, second)) =
        (bound().await, bound().await, bound().await);
    let zone = Zone(vec![
        ("carrier.test", NAPTR, naptr(20, "SIP+D2T", "_sip._tcp.carrier.test")),
        ("carrier.test", NAPTR, naptr(10, "SIP+D2U", "east.carrier.test")),
        ("east.carrier.test", SRV, srv(1, by_naptr, "gw.carrier.test")),
        ("_sip._udp.carrier.test", SRV, srv(1, second, "gw.carrier.test")),
        ("_sip._udp.plain.test", SRV, srv(2, second, "gw.carrier.test")),
        ("_sip._udp.plain.test", SRV, srv(1, by_srv, "gw.carrier.test")),
        ("gw.carrier.test", A, loopback),
    ]);
    let server = zone.start().await;
    let rig = Rig::start_with(|config| config.sip.dns = vec![server]).await;
    for (name, socket) in [("carrier.test", pointed), ("plain.test", served)] {
        let phone = RawPhone::at(socket, rig.server.sip_addr());
        let mut client = rig.connect("/call/sip").await;
        client.send(json!({"command": "invite", "option": {"callee": format!("sip:desk@{name}")}})).await;
        let invite = phone.asked("INVITE").await;
        assert!(invite.starts_with(&format!("INVITE sip:desk@{name} SIP/2.0\r\n")), "{invite}");
        phone.answer(&invite, "486 Busy Here", "").await;
        assert_eq!(client.event("reject").await["code"], 486);
    }
    let mut client = rig.connect("/call/sip").await;
    client.send(json!({"command": "invite", "option": {"callee": "sip:desk@nowhere.test"}})).await;
    assert_eq!(client.event("reject").await["code"], 503, "a name without records leads nowhere");
    drop(client);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_on_to_the_next_target_when_the_first_is_full_or_silent_and_passes_it_over_then() {
    let bound = || {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        (socket, port)
    };
    let ((full, busy), (_silent, dead), (next, alive)) = (bound(), bound(), bound());
    let zone = Zone(vec![
        ("_sip._udp.full.test", SRV, srv(1, busy, "gw.test")),
        ("_sip._udp.full.test", SRV, srv(2, alive, "gw.test")),
        ("_sip._udp.dead.test", SRV, srv(1, dead, "gw.test")),
        ("_sip._udp.dead.test", SRV, srv(2, alive, "gw.test")),
        ("gw.test", A, vec![127, 0, 0, 1]),
    ]);
    let server = zone.start().await;
    let rig = Rig::start_with(|config| config.sip.dns = vec![server]).await;
    let (full, next) = (RawPhone::at(full, rig.server.sip_addr()), RawPhone::at(next, rig.server.sip_addr()));
    for name in ["full", "dead", "dead"] {
        let mut client = rig.connect("/call/sip").await;
        let callee = format!("sip:desk@{name}.test");
        client.send(json!({"command": "invite", "option": {"callee": callee}})).await;
        if name == "full" {
            let invite = full.asked("INVITE").await;
            full.answer(&invite, "503 Service Unavailable", "").await;
        }
        // The silence of the first costs seconds and not the 32 of a transaction, which no test here waits for.
        let invite = next.heard(|text| text.starts_with(&format!("INVITE {callee} "))).await;
        next.answer(&invite, "182 Queued", "").await;
        assert_eq!(client.event("ringing").await["code"], 182);
        next.answer(&invite, "486 Busy Here", "").await;
        assert_eq!(client.event("reject").await["code"], 486);
        next.asked("ACK").await;
    }
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_apart_why_a_name_leads_nowhere() {
    let zone = Zone(vec![("six.test", AAAA, std::net::Ipv6Addr::LOCALHOST.octets().to_vec())]);
    let server = zone.start().await;
    let rig = Rig::start_with(|config| config.sip.dns = vec![server]).await;
    let told = [
        (MISSING, "the name does not exist"),
        (BROKEN, "the name server failed to look up the name"),
        ("bare.test", "the name has no address for SIP"),
        ("six.test", "it has only IPv6 addresses, and SIP has no IPv6 listener"),
        ("[2001:db8::1]", "it has only IPv6 addresses, and SIP has no IPv6 listener"),
        (SILENT, "no name server has answered in time"),
    ];
    // All at once: the silent one takes its time.
    let calls = told.map(|(name, why)| {
        let rig = &rig;
        async move {
            let mut client = rig.connect("/call/sip").await;
            let callee = format!("sip:desk@{name}:5070");
            client.send(json!({"command": "invite", "option": {"callee": callee}})).await;
            let reject = client.event("reject").await;
            assert_eq!(reject["code"], 503);
            assert_eq!(reject["reason"], format!("{callee}: {why}"));
        }
    });
    futures::future::join_all(calls).await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_cannot_be_reached_from_here_costs_no_time() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let zone = Zone(vec![
        ("both.test", AAAA, std::net::Ipv6Addr::LOCALHOST.octets().to_vec()),
        ("both.test", A, vec![127, 0, 0, 1]),
        ("_sip._udp.far.test", SRV, srv(1, 5060, "nowhere.far.test")),
        ("_sip._udp.far.test", SRV, srv(2, port, "both.test")),
        // From a socket on loopback no datagram leaves the host.
        ("nowhere.far.test", A, vec![192, 0, 2, 1]),
    ]);
    let server = zone.start().await;
    let rig = Rig::start_with(|config| config.sip.dns = vec![server]).await;
    let phone = RawPhone::at(socket, rig.server.sip_addr());
    for callee in [format!("sip:desk@both.test:{port}"), "sip:desk@far.test".into()] {
        let mut client = rig.connect("/call/sip").await;
        client.send(json!({"command": "invite", "option": {"callee": callee}})).await;
        // A target that says nothing costs four seconds.
        let soon = timeout(std::time::Duration::from_secs(3), phone.asked("INVITE")).await;
        let invite = soon.unwrap_or_else(|_| panic!("{callee} is not called at once"));
        phone.answer(&invite, "486 Busy Here", "").await;
        client.event("reject").await;
        phone.asked("ACK").await;
    }
    let mut client = rig.connect("/call/sip").await;
    client.send(json!({"command": "invite", "option": {"callee": "sip:desk@192.0.2.1"}})).await;
    let reject = client.event("reject").await;
    let why = "the peer cannot be reached: no network of this host leads there";
    assert_eq!((&reject["code"], &reject["reason"]), (&json!(503), &json!(why)));
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_in_a_call_goes_where_its_contact_names() {
    let bound = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let (door, desk) = (bound(), bound());
    let [door_port, desk_port] = [&door, &desk].map(|socket| socket.local_addr().unwrap().port());
    let zone = Zone(vec![
        ("_sip._udp.desk.test", SRV, srv(1, desk_port, "host.test")),
        ("host.test", A, vec![127, 0, 0, 1]),
    ]);
    let server = zone.start().await;
    let rig = Rig::start_with(|config| config.sip.dns = vec![server]).await;
    let (door, desk) = (RawPhone::at(door, rig.server.sip_addr()), RawPhone::at(desk, rig.server.sip_addr()));
    // A name that is not found leads where the call went, and one that nobody answers for does after two seconds.
    for (host, there) in [("desk.test", &desk), (MISSING, &door), (SILENT, &door)] {
        let sound = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut client = rig.connect("/call/sip").await;
        let callee = format!("sip:desk@127.0.0.1:{door_port}");
        client.send(json!({"command": "invite", "option": {"callee": callee}})).await;
        let invite = door.asked("INVITE").await;
        door.answer_as(&invite, "200 OK", host, &sdp(sound.local_addr().unwrap())).await;
        client.event("answer").await;
        let ack = there.asked("ACK").await;
        assert!(ack.starts_with(&format!("ACK sip:raw@{host} SIP/2.0")), "{ack}");
        client.send(json!({"command": "hangup"})).await;
        let bye = there.asked("BYE").await;
        there.answer(&bye, "200 OK", "").await;
        client.event("hangup").await;
    }
    rig.server.stop().await;
}

/// A description of G.711 on a socket of a host that is named.
fn at_host(host: &str, sound: &UdpSocket) -> String {
    sdp(sound.local_addr().unwrap()).replace("c=IN IP4 127.0.0.1", &format!("c=IN IP4 {host}"))
}

/// A packet of sound comes here.
async fn sound_comes(sound: &UdpSocket) {
    let mut packet = [0; 1500];
    let length = timeout(PATIENCE, sound.recv(&mut packet)).await.expect("sound").unwrap();
    assert!(length >= 12 && packet[0] >> 6 == 2, "a packet of RTP");
}

/// A server that asks a name server which knows `media.test`, and its webhook.
async fn knowing() -> (Rig, mpsc::Receiver<(HeaderMap, Value)>) {
    let zone = Zone(vec![("media.test", A, vec![127, 0, 0, 1])]);
    let server = zone.start().await;
    let (url, told) = hook(StatusCode::OK).await;
    let rig = Rig::start_with(|config| {
        webhooks(config, &[url]);
        config.sip.dns = vec![server];
    })
    .await;
    (rig, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_may_name_the_host_of_its_sound_and_one_that_is_not_found_is_told_so() {
    let (rig, mut told) = knowing().await;
    for (call, host) in [("named", "media.test"), ("unknown", "nowhere.test"), ("unheard", SILENT)] {
        let sound = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let phone = RawPhone::towards(rig.server.sip_addr(), call).await;
        phone.invite_with("", &at_host(host, &sound)).await;
        let mut client = attach(&rig, &mut told).await;
        client.send(json!({"command": "accept", "option": {}})).await;
        let answer = phone.answered().await;
        if host == "media.test" {
            assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
            sound_comes(&sound).await;
            phone.hang_up(&answer).await;
            client.event("hangup").await;
        } else {
            assert!(answer.starts_with("SIP/2.0 488 "), "{answer}");
            let warning = value(&answer, "Warning");
            assert!(warning.starts_with("399 active-call ") && warning.contains(host), "{warning}");
        }
    }
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callee_may_name_the_host_of_its_sound() {
    let (rig, _told) = knowing().await;
    for host in ["media.test", "nowhere.test"] {
        let sound = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let callee = format!("sip:desk@{}", socket.local_addr().unwrap());
        let phone = RawPhone::at(socket, rig.server.sip_addr());
        let mut client = rig.connect("/call/sip").await;
        client.send(json!({"command": "invite", "option": {"callee": callee}})).await;
        let invite = phone.asked("INVITE").await;
        phone.answer(&invite, "200 OK", &at_host(host, &sound)).await;
        phone.asked("ACK").await;
        if host == "media.test" {
            client.event("answer").await;
            sound_comes(&sound).await;
            client.send(json!({"command": "hangup"})).await;
        } else {
            let error = client.event("error").await.to_string();
            assert!(error.contains("nowhere.test"), "{error}");
        }
        let bye = phone.asked("BYE").await;
        phone.answer(&bye, "200 OK", "").await;
        client.event("hangup").await;
    }
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_of_ipv6_to_sockets_of_ipv4_is_refused_with_a_warning() {
    let (rig, mut told) = knowing().await;
    let phone = RawPhone::towards(rig.server.sip_addr(), "six").await;
    let six = sdp("[2001:db8::9]:4000".parse().unwrap()).replace("IN IP4", "IN IP6");
    phone.invite_with("", &six).await;
    let mut client = attach(&rig, &mut told).await;
    client.send(json!({"command": "accept", "option": {}})).await;
    let answer = phone.answered().await;
    assert!(answer.starts_with("SIP/2.0 488 "), "{answer}");
    assert!(value(&answer, "Warning").starts_with("301 active-call "), "{answer}");
    client.event("hangup").await;
    rig.server.stop().await;
}
