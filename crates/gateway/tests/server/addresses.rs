//! Which addresses peers are told of, which ones sound is sent from, and which ones it is taken from.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use active_call::config::Config;
use axum::http::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::timeout;

use crate::inbound_sip::{attach, hook, webhooks};
use crate::raw_phone::{RawPhone, sdp, value};
use crate::rig::{Client, PATIENCE, Rig};
use crate::sound;

/// An address that is not of this machine, as behind a NAT (RFC 5737).
const OUTSIDE: &str = "203.0.113.7";
const BOUND: &str = "127.0.0.3";

/// A message has a description that says `address` in both lines that say one.
fn describes(message: &str, address: &str) {
    let whole = format!("IN IP4 {address}");
    assert_eq!(value(message, "c="), whole, "{message}");
    assert!(value(message, "o=").ends_with(&whole), "{message}");
}

/// A call of a phone of plain datagrams that a client has accepted, and where the phone's sound is.
struct Accepted {
    rig: Rig,
    phone: RawPhone,
    sound: UdpSocket,
    client: Client,
    answer: String,
}

async fn accepted(change: impl FnOnce(&mut Config)) -> Accepted {
    let (url, mut told) = hook(StatusCode::OK).await;
    let rig = Rig::start_with(|config| {
        webhooks(config, &[url]);
        change(config);
    })
    .await;
    let sound = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let phone = RawPhone::towards(rig.server.sip_addr(), "told").await;
    phone.invite_with("", &sdp(sound.local_addr().unwrap())).await;
    let mut client = attach(&rig, &mut told).await;
    client.send(json!({"command": "accept", "option": {}})).await;
    let answer = phone.answered().await;
    client.event("answer").await;
    Accepted { rig, phone, sound, client, answer }
}

impl Accepted {
    /// The agent plays a tone that outlasts the test.
    async fn play(&mut self) {
        let tone = testkit::cast::tone(400, Duration::from_secs(60));
        sound::write_wav(&self.rig.path("sounds/long.wav"), 16_000, &tone);
        self.client.send(json!({"command": "play", "url": "long.wav"})).await;
    }

    async fn end(mut self) {
        self.phone.hang_up(&self.answer).await;
        assert_eq!(self.client.event("hangup").await["reason"], "caller");
        drop(self.client);
        self.rig.server.stop().await;
    }
}

/// Where the next packet at `socket` comes from.
async fn heard_from(socket: &UdpSocket) -> SocketAddr {
    timeout(PATIENCE, socket.recv_from(&mut [0; 2048])).await.expect("a packet of sound").unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn who_calls_is_told_the_external_address_and_gets_its_own_via_back() {
    let call = accepted(|config| config.external_ip = OUTSIDE.parse().ok()).await;
    let port = call.rig.server.sip_addr().port();
    assert_eq!(value(&call.answer, "Contact"), format!("<sip:active-call@{OUTSIDE}:{port}>"));
    describes(&call.answer, OUTSIDE);
    let here = call.phone.socket.local_addr().unwrap();
    assert!(value(&call.answer, "Via").starts_with(&format!("SIP/2.0/UDP {here};")), "{}", call.answer);
    call.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_called_is_told_the_external_address_in_every_request() {
    let rig = Rig::start_with(|config| config.external_ip = OUTSIDE.parse().ok()).await;
    let phone = RawPhone::towards(rig.server.sip_addr(), "").await;
    let here = phone.socket.local_addr().unwrap();
    let mut client = rig.connect("/call/sip").await;
    let callee = format!("sip:raw@{here}");
    client.send(json!({"command": "invite", "option": {"callee": callee}})).await;
    let invite = phone.asked("INVITE").await;
    let outside = format!("{OUTSIDE}:{}", rig.server.sip_addr().port());
    let sent_by = |request: &str| {
        let via = value(request, "Via");
        assert!(via.starts_with(&format!("SIP/2.0/UDP {outside};")) && via.contains(";rport"), "{request}");
    };
    assert_eq!(value(&invite, "Contact"), format!("<sip:active-call@{outside}>"));
    describes(&invite, OUTSIDE);
    sent_by(&invite);
    phone.answer(&invite, "200 OK", &sdp(([127, 0, 0, 1], 4000).into())).await;
    sent_by(&phone.asked("ACK").await);
    client.event("answer").await;
    client.send(json!({"command": "hangup"})).await;
    let bye = phone.asked("BYE").await;
    sent_by(&bye);
    phone.answer(&bye, "200 OK", "").await;
    client.event("hangup").await;
    drop(client);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tcp_the_external_address_stands_with_the_port_of_tcp() {
    let rig = Rig::start_with(|config| config.external_ip = OUTSIDE.parse().ok()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = rig.connect("/call/sip").await;
    let callee = format!("sip:raw@{};transport=tcp", listener.local_addr().unwrap());
    client.send(json!({"command": "invite", "option": {"callee": callee}})).await;
    let (mut peer, _) = timeout(PATIENCE, listener.accept()).await.expect("a connection").unwrap();
    let mut invite = String::new();
    while !invite.contains("m=audio") {
        let mut some = [0; 4096];
        let length = timeout(PATIENCE, peer.read(&mut some)).await.expect("an INVITE").unwrap();
        assert!(length > 0, "{invite}");
        invite.push_str(std::str::from_utf8(&some[..length]).unwrap());
    }
    let outside = format!("{OUTSIDE}:{}", rig.server.sip_streams().tcp.unwrap().port());
    assert!(value(&invite, "Via").starts_with(&format!("SIP/2.0/TCP {outside};")), "{invite}");
    assert_eq!(value(&invite, "Contact"), format!("<sip:active-call@{outside};transport=tcp>"));
    let copied = ["Via", "From", "Call-ID", "CSeq"].map(|name| format!("{name}: {}", value(&invite, name)));
    let to = value(&invite, "To");
    let busy = format!(
        "SIP/2.0 486 Busy Here\r\n{}\r\nTo: {to};tag=t\r\nContent-Length: 0\r\n\r\n",
        copied.join("\r\n")
    );
    peer.write_all(busy.as_bytes()).await.unwrap();
    assert_eq!(client.event("reject").await["code"], 486);
    drop(client);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_comes_from_the_address_it_is_bound_to_which_the_peer_is_told() {
    let bound: IpAddr = BOUND.parse().unwrap();
    for outside in [None, Some(OUTSIDE)] {
        let mut call = accepted(|config| {
            config.rtp_bind_ip = Some(bound);
            config.external_ip = outside.map(|address| address.parse().unwrap());
        })
        .await;
        describes(&call.answer, outside.unwrap_or(BOUND));
        call.play().await;
        let port = value(&call.answer, "m=audio").split(' ').next().unwrap().parse().unwrap();
        assert_eq!(heard_from(&call.sound).await, SocketAddr::new(bound, port), "{outside:?}");
        call.end().await;
    }
}

/// One and a half seconds of G.711 from a port that the description does not name, or until something comes back there.
async fn elsewhere(to: SocketAddr) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    for number in 0..75u16 {
        tick.tick().await;
        let header = rtp::Header {
            marker: number == 0,
            payload_type: 0,
            sequence: number,
            timestamp: u32::from(number) * 160,
            ssrc: 7,
        };
        let mut packet = Vec::new();
        rtp::packet::write(&header, &[0xff; 160], &mut packet);
        socket.send_to(&packet, to).await.unwrap();
        if socket.try_recv(&mut [0; 2048]).is_ok() {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_goes_where_the_peers_sound_comes_from_unless_that_is_switched_off() {
    for latching in [true, false] {
        let mut call = accepted(|config| config.enable_rtp_latching = latching).await;
        call.play().await;
        let server = heard_from(&call.sound).await;
        assert_eq!(elsewhere(server).await, latching, "enable_rtp_latching = {latching}");
        if !latching {
            while call.sound.try_recv(&mut [0; 2048]).is_ok() {}
            assert_eq!(
                heard_from(&call.sound).await,
                server,
                "the address of the description is still sent to"
            );
        }
        call.end().await;
    }
}
