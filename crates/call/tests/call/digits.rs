//! Digits from one call's sound to another's, on a wire that loses and repeats packets.

use std::time::Duration;

use audio::Codec;
use audio::codec::g711::PCMU;
use audio::codec::g722::G722;
use audio::codec::opus::OPUS;
use call::legs::LegId;
use call::media::order::{Dialled, FromMedia, Manner, ToMedia, Way};
use proptest::prelude::*;
use rtp::sdp::Negotiated;

use crate::pair::Pair;

const HUNDRED: &str = concat!(
    "1234567890*#ABCD11223344556677889900**##1357924680",
    "99887766554433221100123456789*0#ABCD11112222333344",
);

fn dial(pair: &mut Pair, digits: &str, manner: Manner) {
    dial_from(0, pair, digits, (manner, 100));
}

/// Lets an end dial digits, each of so many milliseconds.
fn dial_from(end: usize, pair: &mut Pair, digits: &str, (manner, length_ms): (Manner, u64)) {
    for part in digits.as_bytes().chunks(64) {
        let digits = String::from_utf8(part.to_vec()).unwrap();
        let dialled = Dialled { digits, length: Duration::from_millis(length_ms), manner };
        pair.ends[end].handle(pair.now, ToMedia::Digits(LegId::MAIN, dialled));
    }
}

/// What two ends have agreed on that send each other digits as tones in the sound of `codec` alone.
fn by_tones(media: Negotiated, payload_type: u8, codec: &'static Codec) -> Negotiated {
    Negotiated { codec, payload_type, voices: vec![(payload_type, codec)], telephone_event: None, ..media }
}

/// A wire that loses five packets of a hundred, but of any so many of one end no more than so many: what is lost beyond
/// that is a whole tone, of which nobody can tell.
struct Lossy<F> {
    fates: F,
    most: u32,
    of: u32,
    /// Of the last packets of each end, the last in the lowest bit: those that were lost.
    lost: [u32; 2],
    losses: usize,
}

impl<F: Iterator<Item = u8>> Lossy<F> {
    fn new((most, of): (u32, u32), fates: F) -> Self {
        Lossy { fates, most, of, lost: [0; 2], losses: 0 }
    }

    fn carry(&mut self, from: usize, packet: Vec<u8>) -> Vec<Vec<u8>> {
        let lost = &mut self.lost[from];
        let before = (*lost & ((1 << (self.of - 1)) - 1)).count_ones();
        let loses = self.fates.next().is_some_and(|fate| fate < 5) && before < self.most;
        *lost = *lost << 1 | u32::from(loses);
        self.losses += usize::from(loses);
        if loses { Vec::new() } else { vec![packet] }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Of a hundred packets five are lost and two come twice.
    #[test]
    fn a_hundred_digits_are_heard_once_each_at_5_percent_loss(fates in proptest::collection::vec(0u8..100, 1500)) {
        prop_assert_eq!(HUNDRED.len(), 100);
        let mut pair = Pair::new(8000, |media| media);
        pair.run(10);
        dial(&mut pair, HUNDRED, Manner::Events);
        let mut fates = fates.into_iter().cycle();
        for _ in 0..1200 {
            pair.tick(|_, packet| match fates.next() {
                Some(0..5) => vec![],
                Some(5..7) => vec![packet.clone(), packet],
                _ => vec![packet],
            });
        }
        prop_assert_eq!(pair.digits(1), HUNDRED);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Both ends dial at once. Tones of 100 ms begin with a packet, as ours do; those of other lengths anywhere in one.
    #[test]
    fn a_hundred_digits_as_tones_are_heard_once_each_at_5_percent_loss_both_ways(
        fates in proptest::collection::vec(0u8..100, 5000),
        length_ms in prop_oneof![Just(100u64), 120u64..160],
        rate in prop_oneof![Just(8000u32), Just(16_000)],
    ) {
        let mut pair = Pair::new(rate, |media| by_tones(media, 0, &PCMU));
        pair.run(10);
        for end in [0, 1] {
            dial_from(end, &mut pair, HUNDRED, (Manner::Tones, length_ms));
        }
        let mut wire = Lossy::new((2, 5), fates.into_iter().cycle());
        for _ in 0..1300 {
            pair.tick(|from, packet| wire.carry(from, packet));
        }
        prop_assert!(wire.losses > 60, "{} packets were lost", wire.losses);
        prop_assert_eq!([pair.digits(0), pair.digits(1)], [HUNDRED, HUNDRED]);
    }
}

/// A key that is held for 200 ms, as a finger does. G.722 and Opus, which predict each sound from the last, are astray for
/// a while behind each packet that is lost: of one key they may lose one.
#[test]
fn each_key_that_is_pressed_four_times_is_heard_four_times_through_every_codec_at_5_percent_loss() {
    let keys: String = "123A456B789C*0#D".chars().flat_map(|key| [key; 4]).collect();
    for (payload_type, codec, limit) in [(0, &PCMU, (2, 5)), (9, &G722, (1, 10)), (111, &OPUS, (1, 10))] {
        for seed in 1..=5 {
            let mut pair = Pair::new(16_000, |media| by_tones(media, payload_type, codec));
            pair.run(10);
            for end in [0, 1] {
                dial_from(end, &mut pair, &keys, (Manner::Tones, 200));
            }
            let mut wire = Lossy::new(limit, fates(seed));
            for _ in 0..1000 {
                pair.tick(|from, packet| wire.carry(from, packet));
            }
            assert!(wire.losses > 40, "{} packets were lost", wire.losses);
            assert_eq!([pair.digits(0), pair.digits(1)], [&*keys, &*keys], "{}, {seed}", codec.name);
        }
    }
}

/// Numbers from 0 to 99, the same for the same seed.
fn fates(seed: u64) -> impl Iterator<Item = u8> {
    let next = |state: &u64| {
        Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407))
    };
    std::iter::successors(Some(seed), next).skip(1).map(|state| ((state >> 33) % 100) as u8)
}

#[test]
fn digits_are_tones_where_no_event_is_agreed_on_and_are_found_in_the_sound() {
    for rate in [8000, 16_000] {
        let mut pair = Pair::new(rate, |media| rtp::sdp::Negotiated { telephone_event: None, ..media });
        pair.run(10);
        dial(&mut pair, HUNDRED, Manner::Events);
        pair.run(1200);
        assert_eq!(pair.digits(1), HUNDRED, "{rate}");
        assert!(pair.told[1].iter().all(|e| !matches!(e, FromMedia::Digit(_, _, Way::Event))));
    }
}

#[test]
fn tones_are_not_looked_for_where_events_are_agreed_on() {
    let mut pair = Pair::new(8000, |media| media);
    pair.run(10);
    dial(&mut pair, "12", Manner::Tones);
    pair.run(60);
    assert_eq!(pair.digits(1), "");
}

#[test]
fn digits_go_between_packets_of_any_length_and_the_time_of_the_stream_goes_on() {
    for ptime_ms in [10, 20, 30, 40, 60] {
        let mut pair = Pair::new(8000, |media| rtp::sdp::Negotiated { ptime_ms, ..media });
        let mut stamps: Vec<(u32, u64)> = Vec::new();
        for tick in 0..200 {
            if tick == 25 {
                dial(&mut pair, "159", Manner::Events);
            }
            pair.tick(|from, packet| {
                let sound =
                    rtp::Rtp::parse(&packet).ok().filter(|rtp| from == 0 && rtp.header.payload_type == 0);
                stamps.extend(sound.map(|rtp| (rtp.header.timestamp, tick)));
                vec![packet]
            });
        }
        assert_eq!(pair.digits(1), "159", "{ptime_ms}");
        let (first, last) = (stamps[0], stamps[stamps.len() - 1]);
        let by_stream = u64::from(last.0.wrapping_sub(first.0)) / 160;
        assert!(by_stream.abs_diff(last.1 - first.1) <= 3, "{ptime_ms}: {by_stream} {}", last.1 - first.1);
    }
}
