//! The UDP driver over loopback.

use std::time::Duration;

use sip::{Admission, Answering, Config, Driver, Incoming, Outbound, SipError, SipEvent, SipHandle};
use tokio::net::UdpSocket;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;

use crate::desk::{Phone, SDP};
use crate::world::name;

struct Station {
    handle: SipHandle,
    calls: Receiver<Incoming>,
    task: JoinHandle<()>,
}

async fn station(seed: u8) -> Station {
    let config = Config::new("0.0.0.0:0".parse().unwrap(), [seed; 32]);
    let (driver, handle, calls) = Driver::bind("127.0.0.1:0".parse().unwrap(), config).await.unwrap();
    #[allow(clippy::disallowed_methods, reason = "the runtime of the test owns and ends the task")]
    let task = tokio::spawn(driver.run());
    Station { handle, calls, task }
}

fn call_to(station: &Station) -> Outbound {
    Outbound {
        sdp: Some(SDP.into()),
        ..Outbound::new("sip:bob@127.0.0.1", "sip:alice@127.0.0.1", station.handle.local_addr())
    }
}

async fn next(events: &mut Receiver<SipEvent>) -> String {
    let event = tokio::time::timeout(Duration::from_secs(10), events.recv()).await.expect("an event in time");
    event.map_or("closed".to_owned(), |event| name(&event))
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("in time")
}

#[tokio::test]
async fn two_drivers_talk_and_the_channels_close_with_the_call() {
    let (alice, mut bob) = (station(1).await, station(2).await);
    let (dialog, mut events) = alice.handle.invite(call_to(&bob)).await.unwrap();
    let mut call = within(bob.calls.recv()).await.unwrap();
    assert_eq!(call.invite.source, alice.handle.local_addr());
    bob.handle.ring(call.dialog, Some(SDP.into())).await.unwrap();
    let answering = bob.handle.answer(call.dialog, SDP.into(), vec![]).await.unwrap();
    assert_eq!(next(&mut events).await, "Provisional 183");
    assert_eq!(next(&mut events).await, "Answered");
    if answering == Answering::Waits {
        assert_eq!(next(&mut call.events).await, "AnswerSent");
    }
    assert_eq!(next(&mut call.events).await, "Established");
    alice.handle.hangup(dialog, vec![]).await.unwrap();
    assert_eq!(next(&mut call.events).await, "Ended Bye");
    assert_eq!(next(&mut call.events).await, "closed");
    assert_eq!(next(&mut events).await, "Ended LocalBye");
    assert_eq!(next(&mut events).await, "closed");
    let counters = bob.handle.counters().await.unwrap();
    assert_eq!((counters.received, counters.sent, counters.dialogs), (4, 4, 0));
}

#[tokio::test]
async fn a_socket_of_both_families_reaches_both_and_one_of_ipv4_passes_ipv6_over() {
    let phone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let four = phone.local_addr().unwrap();
    let config = |seed| Config::new("127.0.0.1:0".parse().unwrap(), [seed; 32]);
    // Where this host has no IPv6 there is one socket to look at.
    for (listen, reach) in [("127.0.0.1:0", (true, false)), ("[::]:0", (true, true))] {
        let Ok((driver, handle, _calls)) = Driver::bind(listen.parse().unwrap(), config(1)).await else {
            continue;
        };
        assert_eq!((handle.reach().v4, handle.reach().v6), reach, "{listen}");
        #[allow(clippy::disallowed_methods, reason = "the runtime of the test owns and ends the task")]
        tokio::spawn(driver.run());
        let mut call = Outbound::new("sip:bob@127.0.0.1", "sip:alice@127.0.0.1", four);
        if !reach.1 {
            call.targets
                .insert(0, std::net::SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], four.port())).into());
        }
        let (_, mut events) = handle.invite(call).await.unwrap();
        let mut datagram = [0; 2_000];
        // A target that is tried in vain costs four seconds.
        let soon = tokio::time::timeout(Duration::from_secs(3), phone.recv(&mut datagram)).await;
        let length = soon.unwrap_or_else(|_| panic!("{listen}: nothing comes")).unwrap();
        assert!(datagram[..length].starts_with(b"INVITE "));
        let six = Outbound::new(
            "sip:bob@[::1]",
            "sip:alice@127.0.0.1",
            "[::1]:9".parse::<std::net::SocketAddr>().unwrap(),
        );
        let (_, mut lost) = handle.invite(six).await.unwrap();
        if !reach.1 {
            assert_eq!(next(&mut lost).await, "Failed Unreachable(NoRoute)");
        }
        events.close();
        handle.stop().await;
    }
}

#[tokio::test]
async fn every_datagram_of_a_burst_is_answered() {
    const BURST: usize = 140;
    let config = Config::new("0.0.0.0:0".parse().unwrap(), [1; 32]);
    let (driver, handle, _calls) = Driver::bind("127.0.0.1:0".parse().unwrap(), config).await.unwrap();
    let server = handle.local_addr();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let here = socket.local_addr().unwrap();
    // All wait before the first is read.
    for number in 0..BURST {
        let request = format!(
            "OPTIONS sip:{server} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK{number}\r\n\
             From: <sip:a@{here}>;tag=a\r\nTo: <sip:{server}>\r\nCall-ID: {number}\r\nCSeq: 1 OPTIONS\r\n\
             Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        socket.send_to(request.as_bytes(), server).await.unwrap();
    }
    #[allow(clippy::disallowed_methods, reason = "the runtime of the test owns and ends the task")]
    tokio::spawn(driver.run());
    let mut answer = [0; 2048];
    for number in 0..BURST {
        let length = within(socket.recv(&mut answer)).await.unwrap();
        let mark = format!("branch=z9hG4bK{number}");
        let text = String::from_utf8_lossy(&answer[..length]);
        let ours = text.lines().any(|line| line.starts_with("Via: ") && line.contains(&mark));
        assert!(ours, "the answer to OPTIONS {number} is not the next: {text}");
    }
}

#[tokio::test]
async fn a_call_whose_owner_is_gone_is_hung_up() {
    let (alice, mut bob) = (station(1).await, station(2).await);
    let (_, mut events) = alice.handle.invite(call_to(&bob)).await.unwrap();
    drop(within(bob.calls.recv()).await.unwrap());
    assert_eq!(next(&mut events).await, "Rejected 480");
}

#[tokio::test]
async fn an_owner_that_does_not_read_loses_the_call() {
    let (alice, mut bob) = (station(1).await, station(2).await);
    let (_, mut events) = alice.handle.invite(call_to(&bob)).await.unwrap();
    let call = within(bob.calls.recv()).await.unwrap();
    let phone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let invite = &call.invite;
    bob.handle.answer(call.dialog, SDP.into(), vec![]).await.unwrap();
    assert_eq!(next(&mut events).await, "Answered");
    for seq in 2..50 {
        let info = format!(
            "INFO sip:bob@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK{seq};rport\r\n\
             From: <{}>;tag={}\r\nTo: <{}>;tag={}\r\nCall-ID: {}\r\nCSeq: {seq} INFO\r\nContent-Length: 0\r\n\r\n",
            invite.from_uri, invite.from_tag, invite.to_uri, invite.local_tag, invite.call_id
        );
        phone.send_to(info.as_bytes(), bob.handle.local_addr()).await.unwrap();
    }
    assert_eq!(next(&mut events).await, "Ended Bye");
    drop(call);
}

#[tokio::test]
async fn calls_that_nobody_takes_are_refused_with_503() {
    let bob = station(2).await;
    let phone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut buffer = vec![0; 4_096];
    for n in 0..300 {
        let invite = Phone::new(&format!("c{n}")).request("INVITE", SDP);
        phone.send_to(invite.as_bytes(), bob.handle.local_addr()).await.unwrap();
        if n % 50 == 0 {
            // The kernel's buffer is not what is tested.
            bob.handle.counters().await.unwrap();
        }
    }
    loop {
        let length = within(phone.recv(&mut buffer)).await.unwrap();
        let response = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if response.starts_with("SIP/2.0 503 ") {
            assert!(response.contains("Retry-After: 5\r\n"));
            break;
        }
    }
    bob.handle.stop().await;
    within(bob.task).await.unwrap();
}

#[tokio::test]
async fn stop_refuses_new_calls_and_hangs_up_the_others() {
    let (alice, mut bob) = (station(1).await, station(2).await);
    let (_, mut events) = alice.handle.invite(call_to(&bob)).await.unwrap();
    let call = within(bob.calls.recv()).await.unwrap();
    bob.handle.answer(call.dialog, SDP.into(), vec![]).await.unwrap();
    assert_eq!(next(&mut events).await, "Answered");
    bob.handle.set_admission(Admission::Refusing).await.unwrap();
    let (_, mut refused) = alice.handle.invite(call_to(&bob)).await.unwrap();
    assert_eq!(next(&mut refused).await, "Rejected 503");
    bob.handle.stop().await;
    within(bob.task).await.unwrap();
    assert_eq!(next(&mut events).await, "Ended Bye");
    assert_eq!(bob.handle.ring(call.dialog, None).await, Err(SipError::Stopped));
}

#[tokio::test]
async fn garbage_and_keep_alives_do_not_stop_it() {
    let bob = station(2).await;
    let phone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for bytes in [&b""[..], b"\r\n\r\n", &[0; 60_000], &[0xff; 1_000]] {
        phone.send_to(bytes, bob.handle.local_addr()).await.unwrap();
    }
    phone.send_to(Phone::new("c1").request("OPTIONS", "").as_bytes(), bob.handle.local_addr()).await.unwrap();
    let mut buffer = vec![0; 4_096];
    let length = within(phone.recv(&mut buffer)).await.unwrap();
    assert!(buffer[..length].starts_with(b"SIP/2.0 200 "));
}
