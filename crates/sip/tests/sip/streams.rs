//! Connections: calls over each transport, and peers that misuse theirs.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use sip::{
    Config, Driver, Hop, Identity, Incoming, Outbound, SipEvent, SipHandle, Streams, Transport, Trust,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::desk::{Phone, SDP};
use crate::world::name;

pub(crate) const LOCAL: &str = "127.0.0.1:0";

pub(crate) struct Station {
    pub(crate) handle: SipHandle,
    calls: mpsc::Receiver<Incoming>,
    _task: tokio::task::JoinSet<()>,
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time")
}

pub(crate) async fn station(seed: u8, streams: Streams) -> Station {
    let local: SocketAddr = LOCAL.parse().unwrap();
    let (driver, handle, calls) =
        Driver::bind_with(local, streams, Config::new(local, [seed; 32])).await.unwrap();
    let mut task = tokio::task::JoinSet::new();
    task.spawn(driver.run());
    Station { handle, calls, _task: task }
}

/// A certificate of its own making for this name, and it as a root.
fn certificate(name: &str) -> (Identity, Vec<u8>) {
    certificate_with(name, |_| {})
}

fn certificate_with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> (Identity, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    change(&mut params);
    let certificate = params.self_signed(&key).unwrap();
    let pem = certificate.pem().into_bytes();
    (Identity::from_pem(&pem, key.serialize_pem().as_bytes()).unwrap(), pem)
}

pub(crate) fn listening() -> (Streams, Vec<u8>) {
    let (identity, root) = certificate("localhost");
    let local = Some(LOCAL.parse().unwrap());
    let streams = Streams {
        tcp: local,
        tls: local,
        ws: local,
        wss: local,
        identity: Some(identity),
        ..Streams::default()
    };
    (streams, root)
}

pub(crate) fn hop(station: &Station, transport: Transport) -> Hop {
    let bound = station.handle.bound();
    let address = match transport {
        Transport::Udp => Some(station.handle.local_addr()),
        Transport::Tcp => bound.tcp,
        Transport::Tls => bound.tls,
        Transport::Ws => bound.ws,
        Transport::Wss => bound.wss,
    };
    let hop = Hop::new(transport, address.unwrap());
    if transport.is_secure() { hop.named("localhost") } else { hop }
}

pub(crate) fn call_by(hop: Hop) -> Outbound {
    Outbound { sdp: Some(SDP.into()), ..Outbound::new("sip:bob@127.0.0.1", "sip:alice@127.0.0.1", hop) }
}

pub(crate) async fn next(events: &mut mpsc::Receiver<SipEvent>) -> String {
    within(events.recv()).await.map_or("closed".to_owned(), |event| name(&event))
}

#[tokio::test]
async fn a_call_goes_over_every_transport_and_its_requests_come_back_on_it() {
    let (streams, root) = listening();
    let mut bob = station(2, streams).await;
    let alice = station(1, Streams { trust: Trust::Roots(root), ..Streams::default() }).await;
    for transport in [Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss] {
        let (_, mut events) = alice.handle.invite(call_by(hop(&bob, transport))).await.unwrap();
        let mut call = within(bob.calls.recv()).await.unwrap();
        assert_eq!(call.invite.transport, transport);
        bob.handle.ring(call.dialog, None).await.unwrap();
        assert_eq!(next(&mut events).await, "Provisional 180", "{transport}");
        bob.handle.answer(call.dialog, SDP.into(), vec![]).await.unwrap();
        assert_eq!(next(&mut events).await, "Answered");
        assert_eq!(next(&mut call.events).await, "Established");
        // The caller has no listener: the BYE of the callee can only come back on its connection.
        bob.handle.hangup(call.dialog, vec![]).await.unwrap();
        assert_eq!(next(&mut events).await, "Ended Bye", "{transport}");
        assert_eq!(next(&mut call.events).await, "Ended LocalBye");
    }
    assert_eq!(alice.handle.counters().await.unwrap().connections, 4, "they are used again");
    let (_, mut events) = alice.handle.invite(call_by(hop(&bob, Transport::Tcp))).await.unwrap();
    drop(within(bob.calls.recv()).await.unwrap());
    assert_eq!(next(&mut events).await, "Rejected 480");
    assert_eq!(alice.handle.counters().await.unwrap().connections, 4);
}

#[tokio::test]
async fn what_passes_over_a_connection_is_shown_with_the_address_that_it_comes_from() {
    let local: SocketAddr = LOCAL.parse().unwrap();
    let streams = Streams { tcp: Some(local), ..Streams::default() };
    let (mut driver, handle, _calls) =
        Driver::bind_with(local, streams, Config::new(local, [3; 32])).await.unwrap();
    let (told, mut shown) = mpsc::channel(4);
    driver.tap(move |passage| told.try_send((passage.sent, passage.peer)).unwrap());
    let mut task = tokio::task::JoinSet::new();
    task.spawn(driver.run());
    let mut stream = TcpStream::connect(handle.bound().tcp.unwrap()).await.unwrap();
    // Where it could be connected to is another port.
    let options = "OPTIONS sip:a@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:5099;branch=z9hG4bKa;rport\r\n\
                   From: <sip:b@127.0.0.1>;tag=b\r\nTo: <sip:a@127.0.0.1>\r\nCall-ID: a\r\nCSeq: 1 OPTIONS\r\n\
                   Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(options.as_bytes()).await.unwrap();
    let here = stream.local_addr().unwrap();
    for sent in [false, true] {
        assert_eq!(within(shown.recv()).await, Some((sent, here)));
    }
}

#[tokio::test]
async fn a_certificate_is_verified_unless_told_otherwise_and_can_be_replaced() {
    let (streams, root) = listening();
    let mut bob = station(2, streams).await;
    let trusting = |trust| station(1, Streams { trust, ..Streams::default() });
    let (strange, other_root) = certificate("localhost");
    let to = hop(&bob, Transport::Tls);
    let (past, past_root) =
        certificate_with("localhost", |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let (future, future_root) =
        certificate_with("localhost", |params| params.not_before = rcgen::date_time_ymd(4000, 1, 1));
    let local = Some(LOCAL.parse().unwrap());
    let late = station(4, Streams { tls: local, identity: Some(past), ..Streams::default() }).await;
    let early = station(5, Streams { tls: local, identity: Some(future), ..Streams::default() }).await;
    for (alice, to, obstacle) in [
        (trusting(Trust::Roots(past_root)).await, hop(&late, Transport::Tls), "Expired"),
        (trusting(Trust::Roots(future_root)).await, hop(&early, Transport::Tls), "Expired"),
        (trusting(Trust::System).await, to.clone(), "Stranger"),
        (trusting(Trust::Roots(other_root.clone())).await, to.clone(), "Stranger"),
        (trusting(Trust::Roots(root.clone())).await, Hop { name: None, ..to.clone() }, "WrongName"),
        (trusting(Trust::Roots(root.clone())).await, to.clone().named("bank.example"), "WrongName"),
    ] {
        let (_, mut events) = alice.handle.invite(call_by(to)).await.unwrap();
        assert_eq!(next(&mut events).await, format!("Failed Unreachable({obstacle})"));
    }
    let anyone = station(3, Streams { trust: Trust::Anyone, ..Streams::default() }).await;
    anyone.handle.invite(call_by(to.clone())).await.unwrap();
    within(bob.calls.recv()).await.unwrap();
    bob.handle.set_identity(strange).await.unwrap();
    let alice = trusting(Trust::Roots(other_root)).await;
    alice.handle.invite(call_by(to)).await.unwrap();
    within(bob.calls.recv()).await.unwrap();
}

#[tokio::test]
async fn a_connection_whose_certificate_is_for_one_name_carries_no_call_to_another_at_its_address() {
    let (streams, root) = listening();
    let mut bob = station(2, streams).await;
    let alice = station(1, Streams { trust: Trust::Roots(root), ..Streams::default() }).await;
    for transport in [Transport::Tls, Transport::Wss] {
        let to = hop(&bob, transport);
        let (_, mut events) = alice.handle.invite(call_by(to.clone())).await.unwrap();
        let call = within(bob.calls.recv()).await.unwrap();
        let (_, mut stranger) = alice.handle.invite(call_by(to.clone().named("bank.example"))).await.unwrap();
        assert_eq!(next(&mut stranger).await, "Failed Unreachable(WrongName)", "{transport}");
        let before = alice.handle.counters().await.unwrap().connections;
        alice.handle.invite(call_by(to.named("LOCALHOST"))).await.unwrap();
        drop(within(bob.calls.recv()).await.unwrap());
        assert_eq!(
            alice.handle.counters().await.unwrap().connections,
            before,
            "the same name in other letters"
        );
        drop(call);
        assert_eq!(next(&mut events).await, "Rejected 480", "the first one is not disturbed");
    }
}

#[tokio::test]
async fn a_refused_connection_fails_the_call_at_once() {
    let alice = station(1, Streams::default()).await;
    let closed = std::net::TcpListener::bind(LOCAL).unwrap().local_addr().unwrap();
    let (_, mut events) = alice.handle.invite(call_by(Hop::new(Transport::Tcp, closed))).await.unwrap();
    assert_eq!(next(&mut events).await, "Failed Unreachable(Refused)");
}

fn options(number: usize) -> String {
    Phone::new(&format!("o{number}")).request("OPTIONS", "").replace("SIP/2.0/UDP", "SIP/2.0/TCP")
}

/// How many responses come until this many have, or the peer closes.
async fn responses(stream: &mut TcpStream, most: usize) -> usize {
    let (mut count, mut buffer, mut rest) = (0, vec![0; 65_536], Vec::new());
    while count < most {
        let length = within(stream.read(&mut buffer)).await.unwrap_or(0);
        if length == 0 {
            break;
        }
        rest.extend_from_slice(&buffer[..length]);
        count += rest.windows(12).filter(|w| w == b"SIP/2.0 200 ").count();
        let keep = rest.len().saturating_sub(11);
        rest.drain(..keep);
    }
    count
}

#[tokio::test]
async fn twenty_thousand_requests_in_one_burst_are_all_answered() {
    let bob = station(2, listening().0).await;
    let burst: String = (0..20_000).map(options).collect();
    let mut stream = TcpStream::connect(bob.handle.bound().tcp.unwrap()).await.unwrap();
    let (mut read, mut write) = stream.split();
    let mut count = 0;
    let mut buffer = vec![0; 65_536];
    let mut rest = Vec::new();
    let sending = write.write_all(burst.as_bytes());
    let hearing = async {
        while count < 20_000 {
            let length = read.read(&mut buffer).await.unwrap();
            assert!(length > 0, "closed after {count}");
            rest.extend_from_slice(&buffer[..length]);
            count += rest.windows(12).filter(|w| w == b"SIP/2.0 200 ").count();
            let keep = rest.len().saturating_sub(11);
            rest.drain(..keep);
        }
    };
    let (sent, ()) = tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(sending, hearing) })
        .await
        .unwrap();
    sent.unwrap();
}

#[tokio::test]
async fn a_peer_that_never_reads_is_ended_and_disturbs_nobody() {
    let streams = Streams { stalled: Duration::from_millis(500), ..listening().0 };
    let bob = station(2, streams).await;
    let mut deaf = TcpStream::connect(bob.handle.bound().tcp.unwrap()).await.unwrap();
    let burst: String = (0..1_000).map(options).collect();
    let mut sent = 0;
    let ended = within(async {
        loop {
            if deaf.write_all(burst.as_bytes()).await.is_err() {
                return sent;
            }
            sent += 1;
            let mut other = TcpStream::connect(bob.handle.bound().tcp.unwrap()).await.unwrap();
            other.write_all(options(0).as_bytes()).await.unwrap();
            assert_eq!(responses(&mut other, 1).await, 1, "another peer is served meanwhile");
        }
    });
    let others = async {
        loop {
            bob.handle.counters().await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = ended => {}
        () = others => {}
    }
}

#[tokio::test]
async fn half_messages_silence_and_garbage_end_their_connection() {
    let ms = Duration::from_millis;
    let bob = station(2, Streams { stalled: ms(100), silent: ms(100), ..listening().0 }).await;
    for (said, answered) in [
        ("", false),
        ("OPTIONS sip:b SIP/2.0\r\nVia: ", false),
        ("\u{16}\u{3}\u{1} GET / HTTP/1.1\r\n\r\n", false),
        (&options(1).replace("Content-Length: 0", "Content-Length: x"), true),
    ] {
        let mut stream = TcpStream::connect(bob.handle.bound().tcp.unwrap()).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        within(stream.read_to_end(&mut heard)).await.unwrap();
        assert_eq!(
            heard.starts_with(b"SIP/2.0 400 "),
            answered,
            "{said}: {}",
            String::from_utf8_lossy(&heard)
        );
    }
    assert_eq!(bob.handle.counters().await.unwrap().dialogs, 0);
}

#[tokio::test]
async fn responses_stay_on_their_connection_whatever_via_says() {
    let bob = station(2, listening().0).await;
    let victim = tokio::net::TcpListener::bind(LOCAL).await.unwrap();
    let port = victim.local_addr().unwrap().port();
    let mut stream = TcpStream::connect(bob.handle.bound().tcp.unwrap()).await.unwrap();
    let via = format!("127.0.0.1:{port};received=127.0.0.1;maddr=127.0.0.1;rport={port};branch");
    let request = options(1).replace("192.0.2.1:5060;branch", &via);
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(responses(&mut stream, 1).await, 1);
    tokio::select! {
        biased;
        _ = victim.accept() => panic!("a third party was connected to"),
        () = std::future::ready(()) => {}
    }
}

async fn connect(bob: &Station) -> TcpStream {
    TcpStream::connect(bob.handle.bound().tcp.unwrap()).await.unwrap()
}

/// A connection on which something has been asked and answered.
async fn sensible(bob: &Station) -> TcpStream {
    let mut stream = connect(bob).await;
    stream.write_all(options(1).as_bytes()).await.unwrap();
    assert_eq!(responses(&mut stream, 1).await, 1);
    stream
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(within(stream.read(&mut [0; 8])).await, Ok(0) | Err(_))
}

#[tokio::test]
async fn one_source_has_its_share_of_connections_and_a_keep_alive_is_answered() {
    let bob = station(2, Streams { most_per_source: 3, ..listening().0 }).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = sensible(&bob).await;
        stream.write_all(b"\r\n\r\n").await.unwrap();
        let mut pong = [0; 2];
        within(stream.read_exact(&mut pong)).await.unwrap();
        assert_eq!(&pong, b"\r\n");
        held.push(stream);
    }
    assert!(is_closed(&mut connect(&bob).await).await, "closed at once");
    held.pop();
    let served = within(async {
        loop {
            let mut again = connect(&bob).await;
            again.write_all(options(1).as_bytes()).await.unwrap();
            if responses(&mut again, 1).await == 1 {
                return true;
            }
        }
    });
    assert!(served.await);
}

#[tokio::test]
async fn connections_that_say_nothing_give_way_to_one_that_does() {
    let bob = station(2, Streams { most_per_source: 8, ..listening().0 }).await;
    let mut idle = Vec::new();
    for _ in 0..8 {
        idle.push(connect(&bob).await);
    }
    let mut held = Vec::new();
    for mut idle in idle {
        held.push(sensible(&bob).await);
        assert!(is_closed(&mut idle).await, "the oldest goes first");
    }
    assert!(is_closed(&mut connect(&bob).await).await, "none is left that says nothing");
    for mut stream in held {
        stream.write_all(options(2).as_bytes()).await.unwrap();
        assert_eq!(responses(&mut stream, 1).await, 1);
    }
}

#[tokio::test]
async fn a_connection_with_a_call_stays_however_long_it_is_quiet() {
    let streams = Streams { most_per_source: 3, recent: Duration::ZERO, ..listening().0 };
    let mut bob = station(2, streams).await;
    let alice = station(1, Streams::default()).await;
    let (_, mut events) = alice.handle.invite(call_by(hop(&bob, Transport::Tcp))).await.unwrap();
    let mut call = within(bob.calls.recv()).await.unwrap();
    bob.handle.answer(call.dialog, SDP.into(), vec![]).await.unwrap();
    assert_eq!(next(&mut events).await, "Answered");
    assert_eq!(next(&mut call.events).await, "Established");
    let (mut first, mut second) = (sensible(&bob).await, sensible(&bob).await);
    let _third = sensible(&bob).await;
    assert!(is_closed(&mut first).await, "quiet for longest, and nobody needs it");
    let _fourth = sensible(&bob).await;
    assert!(is_closed(&mut second).await);
    bob.handle.hangup(call.dialog, vec![]).await.unwrap();
    assert_eq!(next(&mut events).await, "Ended Bye");
}

#[tokio::test]
async fn a_preferred_address_has_more_connections() {
    let local: SocketAddr = LOCAL.parse().unwrap();
    let streams = Streams { most_per_source: 2, ..listening().0 };
    let (mut driver, handle, calls) =
        Driver::bind_with(local, streams, Config::new(local, [2; 32])).await.unwrap();
    driver.prefer(|source| source.is_loopback());
    let mut task = tokio::task::JoinSet::new();
    task.spawn(driver.run());
    let bob = Station { handle, calls, _task: task };
    let mut held = Vec::new();
    for _ in 0..32 {
        held.push(sensible(&bob).await);
    }
    assert!(is_closed(&mut connect(&bob).await).await, "and no end of them neither");
}

#[tokio::test]
async fn a_websocket_of_another_protocol_is_refused() {
    let bob = station(2, listening().0).await;
    let mut stream = TcpStream::connect(bob.handle.bound().ws.unwrap()).await.unwrap();
    let request = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    within(stream.read_to_end(&mut heard)).await.unwrap();
    assert!(heard.starts_with(b"HTTP/1.1 400 "));
}

/// What the test below does in a process that may open few files.
async fn be_poor_in_descriptors() {
    let bob = station(2, listening().0).await;
    let tcp = bob.handle.bound().tcp.unwrap();
    let mut held = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(tcp)).await
    {
        held.push(stream);
    }
    assert!(held.len() > 5, "{}", held.len());
    held.clear();
    let served = within(async {
        loop {
            let Ok(mut stream) = TcpStream::connect(tcp).await else { continue };
            stream.write_all(options(1).as_bytes()).await.unwrap();
            if responses(&mut stream, 1).await == 1 {
                return true;
            }
        }
    });
    assert!(served.await);
}

#[tokio::test]
async fn a_listener_survives_the_lack_of_descriptors() {
    const INSIDE: &str = "SIP_TEST_FEW_DESCRIPTORS";
    #[allow(clippy::disallowed_methods, reason = "the test talks to itself in another process")]
    if std::env::var_os(INSIDE).is_some() {
        return be_poor_in_descriptors().await;
    }
    let this = std::env::current_exe().unwrap();
    let script = "ulimit -n 48 && exec \"$0\" --exact streams::a_listener_survives_the_lack_of_descriptors";
    let run = Command::new("sh").args(["-c", script]).arg(this).env(INSIDE, "1").output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
}

#[tokio::test]
async fn a_web_page_of_elsewhere_opens_no_websocket_unless_it_is_listed() {
    let streams = Streams { origins: vec!["https://app.example".into()], ..listening().0 };
    let bob = station(2, streams).await;
    let address = bob.handle.bound().ws.unwrap();
    let opened = async |origins: &[&str]| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let lines: String = origins.iter().map(|origin| format!("Origin: {origin}\r\n")).collect();
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{lines}\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: sip\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        within(stream.read_exact(&mut status)).await.unwrap();
        String::from_utf8_lossy(&status).into_owned()
    };
    for page in [&[][..], &["https://APP.example"], &["http://127.0.0.1:8080"], &["https://127.0.0.1"]] {
        assert_eq!(opened(page).await, "HTTP/1.1 101", "{page:?}");
    }
    let evil = "https://evil.example";
    for page in
        [&[evil][..], &["null"], &[""], &["http://127.0.0.1.evil.example"], &["https://app.example", evil]]
    {
        assert_eq!(opened(page).await, "HTTP/1.1 403", "{page:?}");
    }
}
