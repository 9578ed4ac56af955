//! Reports: what is written is read, and the figures are those of RFC 3550.

use std::time::Duration;

use proptest::prelude::*;
use protocol::CallTime;
use rtp::rtcp::{Block, Reception, Report, Rtcp, Sent, parse};
use rtp::{Datagram, Header};

const SENT: Sent = Sent { ntp: 0xaaaa_bbbb_cccc_dddd, timestamp: 1, packets: 2, octets: 3 };
const BLOCK: Block =
    Block { ssrc: 9, fraction_lost: 12, lost: -5, highest: 0x1_0007, jitter: 33, last_sr: 44, delay: 55 };

fn written(report: &Report) -> Vec<u8> {
    let mut out = Vec::new();
    report.write(&mut out);
    out
}

#[test]
fn a_compound_report_is_read_as_it_was_written() {
    let report = Report { ssrc: 7, cname: "a@b", sent: Some(SENT), heard: Some(BLOCK), bye: true };
    let datagram = written(&report);
    assert_eq!(Datagram::classify(&datagram), Datagram::Rtcp);
    let packets: Vec<Rtcp> = parse(&datagram).collect();
    let [Rtcp::Sender { ssrc: 7, sent, heard }, Rtcp::Other, Rtcp::Bye { ssrc: 7 }] = packets[..] else {
        panic!("{packets:?}");
    };
    assert_eq!(sent, SENT);
    assert_eq!(heard.iter().collect::<Vec<_>>(), [BLOCK]);
    assert_eq!(heard.about(9), Some(BLOCK));
    assert_eq!(heard.about(8), None);
}

#[test]
fn names_of_every_length_fill_whole_words() {
    for length in 0..300 {
        let cname = "n".repeat(length);
        let report = Report { ssrc: 7, cname: &cname, sent: None, heard: None, bye: true };
        let datagram = written(&report);
        assert_eq!(datagram.len() % 4, 0);
        assert_eq!(parse(&datagram).last(), Some(Rtcp::Bye { ssrc: 7 }), "{length}");
    }
}

#[test]
fn a_packet_that_runs_past_the_end_ends_the_reading() {
    let report = Report { ssrc: 7, cname: "x", sent: Some(SENT), heard: Some(BLOCK), bye: false };
    let datagram = written(&report);
    assert_eq!(parse(&datagram[..datagram.len() - 1]).count(), 1);
    let mut lying = datagram;
    lying[0] |= 31;
    assert_eq!(parse(&lying).count(), 0, "31 blocks are announced and one is there");
}

fn header(ssrc: u32, sequence: u16, timestamp: u32) -> Header {
    Header { marker: false, payload_type: 0, sequence, timestamp, ssrc }
}

/// Packets of 20 ms that arrive in step, but for those in `lost`.
fn receive(reception: &mut Reception, sequences: std::ops::Range<u32>, lost: &[u32]) {
    for n in sequences.filter(|n| !lost.contains(n)) {
        reception.push(CallTime::ms(u64::from(n) * 20), &header(9, n as u16, n.wrapping_mul(160)));
    }
}

#[test]
fn loss_is_counted_since_the_beginning_and_since_the_last_report() {
    let mut reception = Reception::new(8000);
    receive(&mut reception, 65_500..65_600, &[65_510, 65_520, 65_530, 65_540, 65_550]);
    let first = reception.report(CallTime::ZERO).unwrap();
    assert_eq!((first.lost, first.fraction_lost), (5, (5 * 256 / 100) as u8));
    assert_eq!(first.highest, 65_599, "the wrap counts in the upper half");
    receive(&mut reception, 65_600..65_700, &[]);
    let second = reception.report(CallTime::ZERO).unwrap();
    assert_eq!((second.lost, second.fraction_lost), (5, 0));
    assert_eq!(reception.received_of_expected(), (195, 200));
}

#[test]
fn jitter_is_zero_in_step_and_grows_with_deviation() {
    let mut reception = Reception::new(8000);
    receive(&mut reception, 0..50, &[]);
    assert_eq!(reception.jitter(), Duration::ZERO);
    for n in 50..1000u32 {
        let late = if n % 2 == 0 { 0 } else { 10 };
        reception.push(CallTime::ms(u64::from(n) * 20 + late), &header(9, n as u16, n * 160));
    }
    let jitter = reception.jitter().as_secs_f64();
    assert!((0.009..=0.010).contains(&jitter), "every packet deviates by 10 ms: {jitter}");
}

#[test]
fn another_stream_and_a_confirmed_leap_begin_anew() {
    let mut reception = Reception::new(8000);
    receive(&mut reception, 0..10, &[]);
    reception.push(CallTime::ms(200), &header(9, 40_000, 0));
    assert_eq!(reception.received_of_expected(), (10, 10), "one packet astray");
    reception.push(CallTime::ms(220), &header(9, 40_001, 160));
    assert_eq!(reception.received_of_expected(), (1, 1));
    reception.push(CallTime::ms(240), &header(10, 5, 0));
    let report = reception.report(CallTime::ZERO).unwrap();
    assert_eq!((report.ssrc, report.highest, report.lost), (10, 5, 0));
}

#[test]
fn the_round_trip_is_what_passed_less_what_the_peer_waited() {
    let mut peer = Reception::new(8000);
    peer.push(CallTime::ZERO, &header(9, 1, 0));
    let at_sending = 3_900_000_000u64 << 32;
    peer.sender_report(CallTime::ms(1000), &Sent { ntp: at_sending, ..SENT });
    let block = peer.report(CallTime::ms(1500)).unwrap();
    let at_arrival = at_sending + (1u64 << 32) / 1000 * 580;
    let round_trip = block.round_trip(at_arrival).unwrap();
    assert!(round_trip.abs_diff(Duration::from_millis(80)) < Duration::from_millis(1), "{round_trip:?}");
    assert_eq!(block.round_trip(at_sending), Some(Duration::ZERO), "no negative time");
    assert_eq!(Block { last_sr: 0, ..block }.round_trip(at_arrival), None);
}

proptest! {
    #[test]
    fn no_report_panics(mut datagram in proptest::collection::vec(any::<u8>(), 0..200), kind in 200u8..205, count: u8) {
        if let [first, second, l0, l1, ..] = &mut datagram[..] {
            (*first, *second, *l0, *l1) = (0x80 | count & 0x1f, kind, 0, *l1 & 0x1f);
        }
        for packet in parse(&datagram) {
            if let Rtcp::Sender { heard, .. } | Rtcp::Receiver { heard, .. } = packet {
                for block in heard.iter() {
                    block.round_trip(u64::from(block.ssrc) << 20);
                }
            }
        }
    }

    #[test]
    fn no_stream_panics_the_counters(packets in proptest::collection::vec(any::<(u32, bool, u16, u32)>(), 0..200)) {
        let mut reception = Reception::new(48_000);
        for (at, ssrc, sequence, timestamp) in packets {
            reception.push(CallTime::ms(u64::from(at)), &header(u32::from(ssrc), sequence, timestamp));
            reception.report(CallTime::ms(u64::from(at)));
        }
    }

    #[test]
    fn blocks_are_read_as_they_were_written(ssrc: u32, fraction_lost: u8, lost in -0x80_0000i32..0x80_0000, highest: u32, rest: (u32, u32, u32)) {
        let block = Block { ssrc, fraction_lost, lost, highest, jitter: rest.0, last_sr: rest.1, delay: rest.2 };
        let datagram = written(&Report { ssrc: 1, cname: "", sent: None, heard: Some(block), bye: false });
        let Some(Rtcp::Receiver { heard, .. }) = parse(&datagram).next() else { panic!("no RR") };
        prop_assert_eq!(heard.about(ssrc), Some(block));
    }
}
