//! Digits by RFC 4733, both ways.

use std::time::Duration;

use proptest::prelude::*;
use rtp::{DigitSender, Digits, Header};

const ALL: &str = "0123456789*#ABCD";

/// One packet of a digit: header and payload.
type Packet = (Header, [u8; 4]);

/// The packets of `digits`, each held `ms` long with a pause of 100 ms behind it.
fn press(digits: &str, ms: u64, clock: u32) -> Vec<Packet> {
    let (mut packets, mut timestamp, mut sequence) = (Vec::new(), u32::MAX - 5000, 65_500u16);
    for digit in digits.chars() {
        let sender = DigitSender::new(digit, Duration::from_millis(ms), clock, timestamp).unwrap();
        for event in sender {
            let header = Header {
                marker: event.marker,
                payload_type: 101,
                sequence,
                timestamp: event.timestamp,
                ssrc: 1,
            };
            packets.push((header, event.payload));
            sequence = sequence.wrapping_add(1);
        }
        timestamp = timestamp.wrapping_add(clock / 1000 * (ms as u32 + 100));
    }
    packets
}

fn hear<'a>(clock: u32, packets: impl IntoIterator<Item = &'a Packet>) -> String {
    let mut digits = Digits::new(clock);
    packets.into_iter().filter_map(|(header, payload)| digits.push(header, payload)).collect()
}

#[test]
fn every_digit_is_heard_once_at_every_clock() {
    for clock in [8000, 16_000, 48_000] {
        assert_eq!(hear(clock, &press(ALL, 100, clock)), ALL);
    }
}

#[test]
fn the_same_digit_twice_is_two_digits() {
    assert_eq!(hear(8000, &press("55500", 40, 8000)), "55500");
}

#[test]
fn a_digit_needs_neither_its_first_nor_its_last_packets() {
    let packets = press("7", 100, 8000);
    assert_eq!(hear(8000, &packets[3..]), "7", "the marker is lost");
    assert_eq!(hear(8000, &packets[..3]), "7", "all ends are lost");
    assert_eq!(hear(8000, packets.last()), "7", "only the last end arrives");
}

#[test]
fn lost_ends_do_not_merge_two_presses() {
    let packets = press("77", 100, 8000);
    let half = packets.len() / 2;
    let without_ends: Vec<_> = packets[..4].iter().chain(&packets[half..half + 4]).collect();
    assert_eq!(hear(8000, without_ends), "77");
}

#[test]
fn packets_that_were_overtaken_are_not_new_presses() {
    let mut packets = press("12", 60, 8000);
    let straggler = packets.remove(1);
    packets.push(straggler);
    assert_eq!(hear(8000, &packets), "12");
}

#[test]
fn a_press_longer_than_one_segment_is_one_digit() {
    let mut digits = Digits::new(8000);
    let mut heard = String::new();
    for segment in 0..4u32 {
        for packet in 1..=409u32 {
            let duration = if packet == 409 { 0xffff } else { packet * 160 };
            let header = Header {
                marker: segment == 0 && packet == 1,
                payload_type: 101,
                sequence: (segment * 409 + packet) as u16,
                timestamp: 77 + segment * 0xffff,
                ssrc: 1,
            };
            let [d0, d1] = (duration as u16).to_be_bytes();
            heard.extend(digits.push(&header, &[5, 10, d0, d1]));
        }
    }
    assert_eq!(heard, "5");
}

#[test]
fn a_sender_that_moves_the_timestamp_with_each_packet_presses_once() {
    let mut digits = Digits::new(8000);
    let heard: String = (1..10u16)
        .filter_map(|n| {
            let header = Header {
                marker: false,
                payload_type: 101,
                sequence: n,
                timestamp: u32::from(n) * 160,
                ssrc: 1,
            };
            let [d0, d1] = (n * 160).to_be_bytes();
            digits.push(&header, &[9, 10, d0, d1])
        })
        .collect();
    assert_eq!(heard, "9");
}

#[test]
fn other_events_and_short_payloads_are_no_digits() {
    let mut digits = Digits::new(8000);
    let header = Header { marker: true, payload_type: 101, sequence: 1, timestamp: 1, ssrc: 1 };
    for payload in [&[][..], &[5, 10, 0], &[16, 10, 0, 160], &[255; 4]] {
        assert_eq!(digits.push(&header, payload), None);
    }
}

#[test]
fn a_digit_grows_for_its_length_and_ends_three_times() {
    let packets = press("5", 100, 8000);
    let durations: Vec<u16> = packets.iter().map(|(_, p)| u16::from_be_bytes([p[2], p[3]])).collect();
    assert_eq!(durations, [160, 320, 480, 640, 800, 800, 800]);
    let ends: Vec<bool> = packets.iter().map(|(_, p)| p[1] & 0x80 != 0).collect();
    assert_eq!(ends, [false, false, false, false, true, true, true]);
}

#[test]
fn a_length_is_brought_into_what_one_segment_holds() {
    let packets = |ms, clock| DigitSender::new('1', Duration::from_millis(ms), clock, 0).unwrap().count();
    assert_eq!(packets(0, 8000), 4, "40 ms and two more ends");
    assert_eq!(packets(u64::MAX, 8000), 409 + 2);
    assert_eq!(packets(u64::MAX, 48_000), 68 + 2);
}

#[test]
fn what_is_no_digit_is_not_sent() {
    assert!(DigitSender::new('x', Duration::from_millis(100), 8000, 0).is_none());
    assert!(DigitSender::new('d', Duration::from_millis(100), 8000, 0).is_some());
}

proptest! {
    /// Loss of packets, not of whole digits: with five and more packets to a digit one gets through.
    #[test]
    fn a_hundred_digits_survive_loss_and_duplication(fates in proptest::collection::vec(0u8..40, 700)) {
        let digits: String = ALL.chars().cycle().step_by(3).take(100).collect();
        let packets = press(&digits, 100, 8000);
        let per_digit = packets.len() / 100;
        let arriving = packets.iter().enumerate().flat_map(|(n, packet)| {
            let copies = match fates[n % fates.len()] {
                0 | 1 if n % per_digit != 2 => 0,
                2 => 2,
                _ => 1,
            };
            std::iter::repeat_n(packet, copies)
        });
        prop_assert_eq!(hear(8000, arriving), digits);
    }

    #[test]
    fn no_event_packet_panics(packets in proptest::collection::vec((any::<u32>(), any::<[u8; 4]>()), 0..50)) {
        let mut digits = Digits::new(u32::MAX);
        for (timestamp, payload) in packets {
            let header = Header { marker: false, payload_type: 0, sequence: 0, timestamp, ssrc: 0 };
            digits.push(&header, &payload);
        }
    }
}
