//! Numbering of what is sent, and whom a stream is heard from: the attacks known as RTP bleed and inject.

use std::net::SocketAddr;

use protocol::CallTime;
use rtp::{DigitSender, Header, Learning, Outgoing, Rtp, Source};

/// The peer as its SDP names it, reachable.
const PEER: &str = "192.0.2.10:4000";
/// A peer's address behind its NAT, as its SDP names it.
const INSIDE: &str = "192.168.1.20:4000";
/// The same peer as we see it.
const OUTSIDE: &str = "203.0.113.7:61000";
const STRANGER: &str = "198.51.100.66:5555";

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

fn source(address: &str, learning: Learning) -> Source {
    Source::new(Some(at(address)), learning)
}

fn header(ssrc: u32, sequence: u16) -> Header {
    Header { marker: false, payload_type: 0, sequence, timestamp: u32::from(sequence) * 160, ssrc }
}

/// Sends `count` packets from `from`, one each `every` ms from `start` ms on; says how many are heard.
fn spray(source: &mut Source, from: &str, start: u64, every: u64, count: u16) -> usize {
    let ssrc = u32::from(at(from).port());
    (0..count)
        .filter(|&n| source.accept(CallTime::ms(start + u64::from(n) * every), at(from), &header(ssrc, n)))
        .count()
}

#[test]
fn the_sdp_address_is_heard_and_answered_from_the_first_packet() {
    let mut source = source(PEER, Learning::On);
    assert_eq!(source.remote(), Some(at(PEER)));
    assert_eq!(spray(&mut source, PEER, 0, 20, 10), 10);
}

#[test]
fn without_learning_nobody_else_is_ever_heard() {
    let mut source = source(INSIDE, Learning::Off);
    assert_eq!(spray(&mut source, OUTSIDE, 0, 20, 1000), 0);
    assert_eq!(source.remote(), Some(at(INSIDE)));
}

#[test]
fn a_peer_behind_a_nat_is_learned_after_four_packets() {
    let mut source = source(INSIDE, Learning::On);
    assert_eq!(spray(&mut source, OUTSIDE, 0, 20, 3), 0);
    assert_eq!(source.remote(), Some(at(INSIDE)));
    assert_eq!(spray(&mut source, OUTSIDE, 60, 20, 10), 7, "a fresh run of ten needs its first three");
    assert_eq!(source.remote(), Some(at(OUTSIDE)));
}

#[test]
fn once_learned_a_source_does_not_move() {
    let mut source = source(INSIDE, Learning::On);
    spray(&mut source, OUTSIDE, 0, 20, 4);
    assert_eq!(spray(&mut source, STRANGER, 100, 20, 1000), 0);
    assert_eq!(source.remote(), Some(at(OUTSIDE)));
}

#[test]
fn a_stranger_who_is_quicker_than_a_reachable_peer_gets_nothing() {
    let mut source = source(PEER, Learning::On);
    assert_eq!(spray(&mut source, STRANGER, 0, 1, 900), 0, "bleed before the peer's first packet");
    assert_eq!(source.remote(), Some(at(PEER)));
    assert_eq!(spray(&mut source, PEER, 900, 20, 10), 10);
    assert_eq!(spray(&mut source, STRANGER, 2000, 1, 5000), 0, "inject afterwards");
    assert_eq!(source.remote(), Some(at(PEER)));
}

#[test]
fn the_sdp_address_wins_over_a_learned_one() {
    let mut source = source(PEER, Learning::On);
    assert!(spray(&mut source, STRANGER, 0, 20, 100) > 0);
    assert_eq!(source.remote(), Some(at(STRANGER)));
    assert_eq!(spray(&mut source, PEER, 3000, 20, 1), 1);
    assert_eq!(source.remote(), Some(at(PEER)));
    assert_eq!(spray(&mut source, STRANGER, 3020, 20, 100), 0);
}

#[test]
fn a_reachable_address_that_stays_silent_gives_way_after_a_second() {
    let mut source = source(PEER, Learning::On);
    assert_eq!(spray(&mut source, "192.0.2.10:4002", 0, 20, 60), 10, "the port was rewritten on the way");
}

#[test]
fn spraying_from_many_ports_does_not_keep_a_steady_peer_out() {
    let mut source = source(INSIDE, Learning::On);
    let mut heard = 0;
    for n in 0..20u16 {
        for port in 0..50 {
            let from = SocketAddr::new(at(STRANGER).ip(), 10_000 + n * 50 + port);
            assert!(!source.accept(CallTime::ms(u64::from(n) * 20), from, &header(9, n)));
        }
        heard += usize::from(source.accept(CallTime::ms(u64::from(n) * 20), at(OUTSIDE), &header(1, n)));
    }
    assert_eq!(heard, 17);
    assert_eq!(source.remote(), Some(at(OUTSIDE)));
}

#[test]
fn loss_breaks_the_run_but_another_stream_starts_anew() {
    let now = CallTime::ZERO;
    let mut lossy = source(INSIDE, Learning::On);
    let heard = [1, 2, 3, 5, 6, 7, 8].map(|n| lossy.accept(now, at(OUTSIDE), &header(1, n)));
    assert_eq!(heard, [false, false, false, false, false, false, true]);
    let mut mixed = source(INSIDE, Learning::On);
    let heard = [1, 2, 3, 4, 5, 6].map(|n| mixed.accept(now, at(OUTSIDE), &header(u32::from(n) / 4, n)));
    assert_eq!(heard, [false; 6], "two streams of three");
}

#[test]
fn sequence_wrap_does_not_break_probation() {
    let mut source = source(INSIDE, Learning::On);
    let heard = [65_534, 65_535, 0, 1].map(|n| source.accept(CallTime::ZERO, at(OUTSIDE), &header(1, n)));
    assert!(heard[3]);
}

#[test]
fn a_known_peer_may_change_its_ssrc() {
    let mut source = source(PEER, Learning::On);
    assert!(source.accept(CallTime::ZERO, at(PEER), &header(1, 1)));
    assert!(source.accept(CallTime::ms(20), at(PEER), &header(2, 40_000)));
}

#[test]
fn audio_follows_a_new_sdp_at_once() {
    let mut source = source(PEER, Learning::On);
    spray(&mut source, PEER, 0, 20, 10);
    source.retarget(Some(at("192.0.2.10:4100")), None);
    assert_eq!(source.remote(), Some(at("192.0.2.10:4100")));
    assert_eq!(spray(&mut source, "192.0.2.10:4100", 200, 20, 5), 5);
    assert_eq!(spray(&mut source, PEER, 300, 20, 100), 0, "the old port is a stranger now");
}

#[test]
fn a_refresh_keeps_a_learned_source_and_lets_a_new_port_behind_the_nat_in() {
    let mut source = source(INSIDE, Learning::On);
    spray(&mut source, OUTSIDE, 0, 20, 10);
    source.retarget(Some(at(INSIDE)), None);
    assert_eq!(source.remote(), Some(at(OUTSIDE)));
    assert_eq!(spray(&mut source, OUTSIDE, 300, 20, 5), 5);
    source.retarget(Some(at(INSIDE)), None);
    assert!(spray(&mut source, "203.0.113.7:62000", 500, 20, 10) > 0);
    assert_eq!(source.remote(), Some(at("203.0.113.7:62000")));
}

#[test]
fn on_hold_nobody_is_heard_and_nothing_is_sent() {
    let mut source = Source::new(None, Learning::On);
    assert_eq!(spray(&mut source, STRANGER, 0, 20, 200), 0);
    assert_eq!(source.remote(), None);
    source.retarget(Some(at(PEER)), None);
    assert_eq!(spray(&mut source, PEER, 5000, 20, 2), 2);
}

#[test]
fn a_mapped_ipv4_address_is_the_same_peer() {
    let mut source = source(PEER, Learning::Off);
    assert!(source.accept(CallTime::ZERO, at("[::ffff:192.0.2.10]:4000"), &header(1, 1)));
}

#[test]
fn reports_are_read_from_the_peers_host_only() {
    let source = source(PEER, Learning::On);
    assert!(source.accepts_report(at("192.0.2.10:4001")));
    assert!(!source.accepts_report(at(STRANGER)));
    assert!(!Source::new(None, Learning::On).accepts_report(at(PEER)));
}

/// Header of the packet that `send` appends.
fn sent(outgoing: &mut Outgoing, send: impl FnOnce(&mut Outgoing, &mut Vec<u8>)) -> Header {
    let mut packet = Vec::new();
    send(outgoing, &mut packet);
    Rtp::parse(&packet).unwrap().header
}

#[test]
fn numbers_run_on_through_silence_and_the_marker_opens_each_talk_spurt() {
    let mut outgoing = Outgoing::new(7, 65_534, u32::MAX - 159);
    let sound = |outgoing: &mut Outgoing| sent(outgoing, |o, out| o.sound(0, 160, &[0; 160], out));
    let first = sound(&mut outgoing);
    let second = sound(&mut outgoing);
    outgoing.skip(160);
    outgoing.skip(160);
    let third = sound(&mut outgoing);
    assert_eq!([first.marker, second.marker, third.marker], [true, false, true]);
    assert_eq!([first.sequence, second.sequence, third.sequence], [65_534, 65_535, 0]);
    assert_eq!([first.timestamp, second.timestamp, third.timestamp], [u32::MAX - 159, 0, 480]);
    assert_eq!((outgoing.packets(), outgoing.octets()), (3, 480));
}

#[test]
fn a_digit_shares_the_numbering_and_keeps_its_own_time() {
    let mut outgoing = Outgoing::new(7, 10, 1000);
    sent(&mut outgoing, |o, out| o.sound(0, 160, &[0; 160], out));
    let digit =
        DigitSender::new('5', std::time::Duration::from_millis(60), 8000, outgoing.timestamp()).unwrap();
    let headers: Vec<Header> = digit
        .map(|event| {
            let header = sent(&mut outgoing, |o, out| o.event(101, &event, out));
            outgoing.skip(160);
            header
        })
        .collect();
    assert!(headers.iter().all(|h| h.timestamp == 1160 && h.payload_type == 101));
    assert_eq!(headers.iter().map(|h| h.sequence).collect::<Vec<_>>(), [11, 12, 13, 14, 15]);
    assert_eq!(headers.iter().filter(|h| h.marker).count(), 1);
    let after = sent(&mut outgoing, |o, out| o.sound(0, 160, &[0; 160], out));
    assert!(after.marker);
    assert_eq!((after.sequence, after.timestamp), (16, 1160 + 5 * 160));
}

#[test]
fn a_stranger_is_not_quicker_than_a_learned_peer_after_a_re_invite() {
    let mut source = source(INSIDE, Learning::On);
    spray(&mut source, OUTSIDE, 0, 20, 10);
    source.retarget(Some(at(INSIDE)), None);
    assert_eq!(spray(&mut source, STRANGER, 201, 1, 18), 0, "between two packets of the peer");
    assert_eq!(spray(&mut source, OUTSIDE, 220, 20, 5), 5);
    assert_eq!(spray(&mut source, STRANGER, 400, 1, 3000), 0);
    assert_eq!(source.remote(), Some(at(OUTSIDE)));
}

#[test]
fn the_host_of_the_signalling_is_learned_before_any_stranger() {
    let mut source = source(INSIDE, Learning::On).with_signalling_from(at(OUTSIDE).ip());
    assert_eq!(spray(&mut source, STRANGER, 0, 1, 900), 0, "quicker, from elsewhere");
    assert_eq!(spray(&mut source, OUTSIDE, 900, 20, 10), 7);
    assert_eq!(spray(&mut source, STRANGER, 1100, 1, 5000), 0);
    assert_eq!(source.remote(), Some(at(OUTSIDE)));
    assert_eq!(source.foreign(), 900 + 3 + 5000);
}

#[test]
fn a_media_host_apart_from_the_signalling_is_learned_after_a_second() {
    let mut source = source(INSIDE, Learning::On).with_signalling_from(at(STRANGER).ip());
    assert_eq!(spray(&mut source, OUTSIDE, 0, 20, 60), 10);
}

#[test]
fn a_minute_of_outage_moves_nothing() {
    let mut source = source(INSIDE, Learning::On);
    spray(&mut source, OUTSIDE, 0, 20, 10);
    assert_eq!(spray(&mut source, STRANGER, 1_000, 20, 2_900), 0, "while the peer is away");
    assert_eq!(spray(&mut source, OUTSIDE, 60_200, 20, 10), 10);
}

#[test]
fn who_had_the_stream_before_is_never_learned_unless_a_description_names_it() {
    let mut source = source(INSIDE, Learning::On).without(at(OUTSIDE));
    assert_eq!(spray(&mut source, OUTSIDE, 0, 20, 900), 0);
    source.retarget(Some(at(OUTSIDE)), None);
    assert_eq!(spray(&mut source, OUTSIDE, 20_000, 20, 10), 10);
}

#[test]
fn a_muted_peer_keeps_its_stream_through_refresh_and_hold() {
    for address in [PEER, OUTSIDE] {
        let mut source = source(if address == PEER { PEER } else { INSIDE }, Learning::On);
        let described = source.remote();
        spray(&mut source, address, 0, 20, 10);
        source.retarget(described, None);
        assert_eq!(spray(&mut source, STRANGER, 1000, 20, 500), 0);
        assert_eq!(source.remote(), Some(at(address)));
    }
}

#[test]
fn of_a_peer_that_knows_its_own_address_only_another_port_is_learned() {
    let mut source = source(PEER, Learning::On).with_signalling_from(at(PEER).ip());
    assert_eq!(spray(&mut source, STRANGER, 0, 20, 1000), 0, "it is silent, and will not be somebody else");
    assert_eq!(source.remote(), Some(at(PEER)));
    assert_eq!(spray(&mut source, "192.0.2.10:4002", 20_000, 20, 10), 7);
}

#[test]
fn a_peer_whose_signalling_comes_from_a_new_host_has_moved() {
    let mut source = source(INSIDE, Learning::On).with_signalling_from(at(OUTSIDE).ip());
    spray(&mut source, OUTSIDE, 0, 20, 10);
    source.retarget(Some(at(INSIDE)), Some(at(STRANGER).ip()));
    assert_eq!(spray(&mut source, STRANGER, 300, 20, 10), 7, "it is no stranger any more");
    assert_eq!(source.remote(), Some(at(STRANGER)));
}
