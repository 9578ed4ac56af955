//! What every input must withstand, whoever made it. Fuzzing runs these probes on what it invents, the tests
//! on what is kept in `fuzz/seeds`.

use std::net::SocketAddr;

use audio::Codec;
use audio::codec::CODECS;
use protocol::CallTime;
use rtp::rtcp::{Reception, Rtcp};
use rtp::sdp::{KeyRing, RING_BYTES, Security, answer, answer_by_candidate, offer, read_answer, redacted};
use rtp::srtp::{Master, SUITES, Suite};
use rtp::stream::Learning;
use rtp::{
    Datagram, Dialer, Digits, Direction, Header, Keys, Local, Outgoing, Reporter, Rtp, Source, Srtp, packet,
    rtcp as reports,
};

/// A datagram, and the same bytes cut into a run of packets.
pub(crate) fn rtp(data: &[u8]) {
    let _ = Datagram::classify(data);
    if let Ok(Rtp { header, payload }) = Rtp::parse(data) {
        assert!(payload.len() + packet::HEADER_LEN <= data.len());
        let mut again = Vec::new();
        packet::write(&header, payload, &mut again);
        assert_eq!(Rtp::parse(&again), Ok(Rtp { header, payload }));
    }
    let peers: [SocketAddr; 3] =
        [([192, 0, 2, 1], 4000).into(), ([10, 0, 0, 1], 4000).into(), ([192, 0, 2, 1], 4002).into()];
    let mut source = Source::new(Some(peers[0]), Learning::On);
    let (mut reception, mut now) = (Reception::new(8000), CallTime::ZERO);
    for header in headers(data) {
        now += std::time::Duration::from_millis(u64::from(header.payload_type));
        let from = peers[header.ssrc as usize % peers.len()];
        if header.marker && header.ssrc % 7 == 0 {
            source.retarget(Some(peers[header.sequence as usize % peers.len()]), None);
        }
        if source.accept(now, from, &header) {
            assert_eq!(source.remote(), Some(from));
            reception.push(now, &header);
        }
        let (received, expected) = reception.received_of_expected();
        assert!(received == 0 || expected > 0);
        let _ = reception.report(now);
    }
}

/// Headers as eight bytes tell them.
fn headers(data: &[u8]) -> impl Iterator<Item = Header> {
    data.chunks_exact(8).map(|bytes| Header {
        marker: bytes[0] & 0x80 != 0,
        payload_type: bytes[0] & 0x7f,
        sequence: u16::from_be_bytes([bytes[1], bytes[2]]),
        timestamp: u32::from_be_bytes([bytes[3], bytes[4], bytes[5], 0]),
        ssrc: u32::from(bytes[6]),
    })
}

/// A compound report.
pub(crate) fn rtcp(data: &[u8]) {
    for report in reports::parse(data) {
        if let Rtcp::Sender { heard, .. } | Rtcp::Receiver { heard, .. } = report {
            assert!(heard.iter().count() <= 31);
            heard.iter().for_each(|block| {
                let _ = block.round_trip(u64::from(block.delay) << 20);
            });
        }
    }
    let ssrc = data.get(4..8).map_or(1, |bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    let (mut reporter, outgoing) = (Reporter::new(CallTime::ZERO, 8000, 1, "a"), Outgoing::new(1, 2, 3));
    let header = Header { marker: false, payload_type: 0, sequence: 1, timestamp: 1, ssrc };
    reporter.heard(CallTime::ms(1), &header);
    let mut out = Vec::new();
    for n in 1..4 {
        let now = CallTime::ms(n * 10_000);
        reporter.receive(now, u64::from(ssrc) << n, data);
        assert!(reporter.poll(now, n << 40, &outgoing, &mut out));
        assert!(reporter.quality().mos.is_some_and(|mos| (1.0..=4.5).contains(&mos)));
    }
}

/// Two ends of a call under the suite that the first byte names.
fn ends(suite: &'static Suite) -> Option<(Srtp, Srtp)> {
    let master = |fill: u8| Master::new(suite, &vec![fill; suite.master_len()]);
    let keys = Keys { suite, ours: master(1)?, theirs: master(2)? };
    let mirrored = Keys { suite, ours: keys.theirs, theirs: keys.ours };
    Some((Srtp::new(&keys).ok()?, Srtp::new(&mirrored).ok()?))
}

/// A datagram that nobody protected, and one that was and is then changed.
pub(crate) fn srtp(data: &[u8]) {
    let [first, second, rest @ ..] = data else { return };
    let Some((mut a, mut b)) = ends(SUITES[usize::from(*first) % SUITES.len()]) else { return };
    assert!(b.unprotect(&mut rest.to_vec()).is_err());
    assert!(b.unprotect_report(&mut rest.to_vec()).is_err());
    let refused = b.refused().total();
    assert_eq!(refused, 2);
    for is_report in [false, true] {
        let mut packet = rest.to_vec();
        let sealed = if is_report { a.protect_report(&mut packet) } else { a.protect(&mut packet) };
        if sealed.is_err() {
            continue;
        }
        let mut changed = packet.clone();
        let at = usize::from(*second) * changed.len() / 256;
        changed[at] ^= 1 << (first >> 5);
        let open = |srtp: &mut Srtp, packet: &mut Vec<u8>| {
            if is_report { srtp.unprotect_report(packet) } else { srtp.unprotect(packet) }
        };
        assert!(open(&mut b, &mut changed).is_err(), "byte {at} is not protected");
        let left = open(&mut b, &mut packet);
        assert_eq!(left.map(|left| &packet[..left]), Ok(rest));
    }
}

fn local(codecs: &'static [&'static Codec], security: Security<'static>) -> Local<'static> {
    Local {
        address: [198, 51, 100, 1].into(),
        port: 12_000,
        origin_id: 7,
        previous: None,
        codecs,
        telephone_event: true,
        comfort_noise: true,
        rtcp_mux: true,
        security,
        direction: Direction::SendRecv,
        ptime_ms: 20,
        name: "a",
    }
}

/// Text as an offer, as an answer, and as what we said before.
pub(crate) fn sdp(data: &[u8]) {
    static RING: std::sync::LazyLock<KeyRing> =
        std::sync::LazyLock::new(|| KeyRing::of_all(&[9; RING_BYTES]));
    let text = String::from_utf8_lossy(data);
    let secret = text.to_ascii_lowercase().contains("inline:");
    assert_eq!(redacted(&text).to_ascii_lowercase().contains("inline:***"), secret);
    for security in [Security::Off, Security::Offered(&RING), Security::Required(&RING)] {
        let ours = local(CODECS, security);
        if let Ok(agreed) = answer(&text, &ours) {
            assert!((10..=60).contains(&agreed.media.ptime_ms));
            assert!(matches!(security, Security::Off) <= agreed.media.keys.is_none());
            assert!(matches!(security, Security::Required(_)) <= agreed.media.keys.is_some());
            let lines = |text: &str| text.lines().filter(|line| line.starts_with("m=")).count();
            assert_eq!(lines(&agreed.sdp), lines(&text), "each media line has its answer");
            assert!(agreed.sdp.lines().all(|line| line.as_bytes().get(1) == Some(&b'=')));
        }
        let _ = answer_by_candidate(&text, Some(&text), &ours);
        let _ = read_answer(&ours, &text);
        let again = Local { previous: Some(&text), ..ours };
        assert!(offer(&again).contains("m=audio 12000 "));
        let _ = answer(&text, &again);
        let _ = read_answer(&again, &text);
    }
}

/// A run of digit packets, and the same bytes as digits to dial.
pub(crate) fn telephone_event(data: &[u8]) {
    for clock in [8000, 16_000, 48_000] {
        let mut digits = Digits::new(clock);
        let heard = data.chunks(12).filter_map(|bytes| {
            let header = headers(bytes).next()?;
            digits.push(&header, bytes.get(8..)?)
        });
        assert!(heard.count() <= data.len() / 12);
    }
    let text = String::from_utf8_lossy(data);
    let (mut dialer, time) = (Dialer::default(), std::time::Duration::from_millis(100));
    if dialer.dial(&text, time, time).is_ok() {
        let mut ticks = 0;
        while !dialer.is_idle() {
            dialer.tick(8000, 0);
            ticks += 1;
        }
        assert!(ticks <= text.len() * 100, "dialling comes to an end");
    }
}
