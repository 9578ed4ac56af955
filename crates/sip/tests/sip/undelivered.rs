//! RFC 3261 section 18.4: the kernel's news of datagrams that did not arrive, over loopback.

use std::net::SocketAddr;
use std::time::Duration;

use sip::{Config, Driver, Outbound, SipEvent, SipHandle};
use tokio::net::UdpSocket;
use tokio::sync::mpsc::Receiver;

use crate::cancel::respond;
use crate::desk::SDP;
use crate::world::name;

/// A driver that repeats nothing while a test lasts, so that a datagram that does not leave is missed.
async fn station(listen: &str, t1: Duration) -> Option<SipHandle> {
    let mut config = Config::new("127.0.0.1:0".parse().unwrap(), [1; 32]);
    config.t1 = t1;
    let (driver, handle, _calls) = Driver::bind(listen.parse().unwrap(), config).await.ok()?;
    #[allow(clippy::disallowed_methods, reason = "the runtime of the test owns and ends the task")]
    tokio::spawn(driver.run());
    Some(handle)
}

const NEVER: Duration = Duration::from_secs(60);

fn call(targets: &[SocketAddr]) -> Outbound {
    let call = Outbound::new("sip:bob@127.0.0.1", "sip:alice@127.0.0.1", targets[0]);
    Outbound { sdp: Some(SDP.into()), targets: targets.iter().map(|to| (*to).into()).collect(), ..call }
}

/// An address of this host at which nobody listens.
async fn closed(host: &str) -> Option<SocketAddr> {
    UdpSocket::bind((host, 0)).await.ok()?.local_addr().ok()
}

async fn next(events: &mut Receiver<SipEvent>) -> String {
    let event = tokio::time::timeout(Duration::from_secs(10), events.recv()).await.expect("an event in time");
    event.map_or("closed".to_owned(), |event| name(&event))
}

async fn heard(phone: &UdpSocket) -> (String, SocketAddr) {
    let mut datagram = [0; 4_096];
    let received = tokio::time::timeout(Duration::from_secs(10), phone.recv_from(&mut datagram)).await;
    let (length, from) = received.expect("a datagram in time").unwrap();
    (String::from_utf8_lossy(&datagram[..length]).into_owned(), from)
}

#[tokio::test]
async fn a_call_to_an_address_where_nobody_listens_fails_at_once_by_either_family() {
    for (listen, host) in [("127.0.0.1:0", "127.0.0.1"), ("[::]:0", "127.0.0.1"), ("[::]:0", "::1")] {
        // Where this host has no IPv6 there is one socket to look at.
        let (Some(station), Some(to)) = (station(listen, NEVER).await, closed(host).await) else { continue };
        let (_, mut events) = station.invite(call(&[to])).await.unwrap();
        let event = tokio::time::timeout(Duration::from_secs(10), events.recv()).await.expect("in time");
        let Some(SipEvent::Failed { why, .. }) = event else { panic!("{listen}: {event:?}") };
        let told = format!("the peer cannot be reached: nobody listens at {to}");
        assert_eq!(why.to_string(), told, "{listen}");
        station.stop().await;
    }
}

#[tokio::test]
async fn the_next_target_is_called_at_once_and_the_news_of_one_peer_keeps_no_datagram_from_another() {
    let station = station("127.0.0.1:0", NEVER).await.unwrap();
    let phone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let there = phone.local_addr().unwrap();
    let nobody = closed("127.0.0.1").await.unwrap();
    for round in 0..50 {
        let (_, events) = station.invite(call(&[nobody, there])).await.unwrap();
        // The news of this one is there when the next is sent.
        let (_, mut lost) = station.invite(call(&[nobody])).await.unwrap();
        let (_, other) = station.invite(call(&[there])).await.unwrap();
        let mut acknowledged = 0;
        while acknowledged < 2 {
            let (text, from) = heard(&phone).await;
            if text.starts_with("INVITE ") {
                phone.send_to(respond(&text, 486).as_bytes(), from).await.unwrap();
            } else {
                assert!(text.starts_with("ACK "), "{round}: {text}");
                acknowledged += 1;
            }
        }
        assert!(next(&mut lost).await.starts_with("Failed Unreachable(NobodyListens("));
        for mut events in [events, other] {
            assert_eq!(next(&mut events).await, "Rejected 486", "{round}");
        }
    }
}

#[tokio::test]
async fn a_call_outlives_a_peer_that_is_away_for_a_moment() {
    let station = station("127.0.0.1:0", Duration::from_millis(100)).await.unwrap();
    let phone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let there = phone.local_addr().unwrap();
    let (dialog, mut events) = station.invite(call(&[there])).await.unwrap();
    let (invite, from) = heard(&phone).await;
    let answer = respond(&invite, 200).replace("192.0.2.1:5060", &there.to_string());
    phone.send_to(answer.as_bytes(), from).await.unwrap();
    assert!(heard(&phone).await.0.starts_with("ACK "));
    assert_eq!(next(&mut events).await, "Answered");
    drop(phone);
    station.reoffer(dialog, SDP.into()).await.unwrap();
    // It has been heard that nobody is there when a call to the same address has failed.
    let (_, mut lost) = station.invite(call(&[there])).await.unwrap();
    assert!(next(&mut lost).await.starts_with("Failed Unreachable(NobodyListens("));
    let phone = UdpSocket::bind(there).await.unwrap();
    let (offer, from) = heard(&phone).await;
    assert!(offer.starts_with("INVITE ") && offer.contains("CSeq: 2 INVITE"), "{offer}");
    phone.send_to(respond(&offer, 200).as_bytes(), from).await.unwrap();
    assert_eq!(next(&mut events).await, "OfferAnswered");
}
