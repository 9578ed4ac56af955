//! Digits sent in step with sound, and heard once each by a peer on a lossy line.

use std::time::Duration;

use proptest::prelude::*;
use rtp::dialer::{DialError, MAX_DIGITS, Tick};
use rtp::{Dialer, Digits, Header, Outgoing, Rtp};

const LENGTH: Duration = Duration::from_millis(100);
const GAP: Duration = Duration::from_millis(100);

/// The packets of `digits`, with those of sound left out, and the number of ticks they take.
fn sent(digits: &str, length: Duration, gap: Duration, clock: u32) -> (Vec<Vec<u8>>, usize) {
    let (mut dialer, mut outgoing) = (Dialer::default(), Outgoing::new(1, 65_500, u32::MAX - 900));
    dialer.dial(digits, length, gap).unwrap();
    let (mut packets, mut ticks) = (Vec::new(), 0);
    while !dialer.is_idle() {
        let mut packet = Vec::new();
        match dialer.tick(clock, outgoing.timestamp()) {
            Tick::Event(event) => {
                outgoing.event(101, &event, &mut packet);
                packets.push(packet);
            }
            Tick::Quiet => {}
            Tick::Sound => break,
        }
        outgoing.skip(clock / 50);
        ticks += 1;
    }
    (packets, ticks)
}

fn heard(clock: u32, packets: impl IntoIterator<Item = Vec<u8>>) -> String {
    let mut digits = Digits::new(clock);
    packets
        .into_iter()
        .filter_map(|packet| {
            let Rtp { header, payload } = Rtp::parse(&packet).ok()?;
            digits.push(&header, payload)
        })
        .collect()
}

#[test]
fn digits_go_out_one_after_the_other_with_their_length_and_gap() {
    let (packets, ticks) = sent("12", LENGTH, GAP, 8000);
    assert_eq!(heard(8000, packets.clone()), "12");
    assert_eq!(packets.len(), 14, "five for the length, two more ends");
    assert_eq!(ticks, 20, "two digits of 100 ms with 100 ms behind each");
    let begins: Vec<u32> = packets
        .iter()
        .map(|packet| Rtp::parse(packet).unwrap().header)
        .filter(|header| header.marker)
        .map(|header: Header| header.timestamp)
        .collect();
    assert_eq!(begins[1].wrapping_sub(begins[0]), 1600);
}

#[test]
fn too_short_digits_and_gaps_are_made_long_enough() {
    for clock in [8000, 16_000, 48_000] {
        let (packets, _) = sent("1122", Duration::ZERO, Duration::ZERO, clock);
        assert_eq!(heard(clock, packets), "1122", "{clock}");
    }
}

#[test]
fn a_comma_waits_and_sound_goes_on_afterwards() {
    let (packets, ticks) = sent("1,2", LENGTH, GAP, 8000);
    assert_eq!(heard(8000, packets), "12");
    assert!(ticks >= 20 + 25, "{ticks}");
    let mut dialer = Dialer::default();
    assert_eq!(dialer.tick(8000, 0), Tick::Sound);
}

#[test]
fn what_is_no_digit_or_too_much_is_refused_as_a_whole() {
    let mut dialer = Dialer::default();
    assert_eq!(dialer.dial("12x4", LENGTH, GAP), Err(DialError::NoDigit { character: 'x' }));
    assert_eq!(dialer.dial(&"1".repeat(MAX_DIGITS + 1), LENGTH, GAP), Err(DialError::TooMany));
    assert!(dialer.is_idle());
    assert_eq!(dialer.dial("aD*#", LENGTH, GAP), Ok(()));
    assert_eq!(dialer.waiting(), 4);
}

#[test]
fn a_stop_finishes_the_digit_under_way() {
    let mut dialer = Dialer::default();
    dialer.dial("123", LENGTH, GAP).unwrap();
    let Tick::Event(_) = dialer.tick(8000, 0) else { panic!("no digit") };
    dialer.stop();
    let events = (0..50).filter(|_| matches!(dialer.tick(8000, 0), Tick::Event(_))).count();
    assert_eq!((events, dialer.is_idle()), (6, true));
}

/// What goes wrong on a line.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    /// The sender sets no marker.
    NoMarker,
    /// All packets with the end bit are lost.
    NoEnds,
    /// Only ends arrive.
    EndsOnly,
}

proptest! {
    #[test]
    fn a_hundred_digits_are_heard_once_each_with_five_percent_lost(
        digits in "[0-9*#A-D]{100}",
        dice in proptest::collection::vec(0u8..100, 1_000),
        fault in prop_oneof![Just(Fault::None), Just(Fault::NoMarker), Just(Fault::NoEnds), Just(Fault::EndsOnly)],
        clock in prop_oneof![Just(8000u32), Just(16_000), Just(48_000)],
        swap: bool,
    ) {
        let (packets, _) = sent(&digits, LENGTH, GAP, clock);
        let mut arrived: Vec<Vec<u8>> = Vec::new();
        let mut of_this = 0;
        for (n, mut packet) in packets.into_iter().enumerate() {
            let first = packet[1] & 0x80 != 0;
            let end = packet[13] & 0x80 != 0;
            of_this = if first { 0 } else { of_this };
            let faulty = match fault {
                Fault::None => false,
                Fault::NoMarker => {
                    packet[1] &= 0x7f;
                    false
                }
                Fault::NoEnds => end,
                Fault::EndsOnly => !end,
            };
            // A digit of which nothing arrives cannot be heard by anybody; at 5 % that is one in 20^7.
            let last_chance = of_this == 0 && (matches!(fault, Fault::NoEnds) && n % 7 == 3 || n % 7 == 6);
            if !faulty && (dice[n % dice.len()] >= 5 || last_chance) {
                of_this += 1;
                arrived.push(packet.clone());
                if dice[n % dice.len()] == 50 {
                    arrived.push(packet);
                }
            }
        }
        if swap {
            for pair in arrived.chunks_mut(2) {
                pair.reverse();
            }
        }
        let expected: String = digits.clone();
        if swap {
            // Neighbours of two digits may change places; each is still heard once.
            let sorted = |text: &str| { let mut all: Vec<char> = text.chars().collect(); all.sort_unstable(); all };
            prop_assert_eq!(sorted(&heard(clock, arrived)), sorted(&expected));
        } else {
            prop_assert_eq!(heard(clock, arrived), expected);
        }
    }
}
