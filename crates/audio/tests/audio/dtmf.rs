use std::time::Duration;

use audio::dtmf::{Detector, Tone};
use proptest::prelude::*;

use crate::sound::{Dice, VOWELS, noise, rms, tone, vowel};

const ALL: &str = "123A456B789C*0#D";
const RATES: [u32; 2] = [8000, 16000];

fn ms(rate: u32, ms: usize) -> usize {
    rate as usize * ms / 1000
}

/// A row of digits, each for `on` milliseconds with `off` milliseconds of silence after it.
fn dialled(digits: &str, rate: u32, on: usize, off: usize) -> Vec<i16> {
    let mut out = Vec::new();
    for digit in digits.chars() {
        let mut sound = vec![0; ms(rate, on)];
        Tone::new(digit, rate, Duration::from_millis(on as u64)).unwrap().read(&mut sound);
        out.extend(sound);
        out.extend(vec![0; ms(rate, off)]);
    }
    out
}

fn two_tones(rate: u32, (low, low_level): (f64, f64), (high, high_level): (f64, f64)) -> Vec<i16> {
    let count = ms(rate, 100);
    let (a, b) = (tone(rate, low, low_level, count), tone(rate, high, high_level, count));
    let mut sum: Vec<i16> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
    sum.extend(vec![0; ms(rate, 100)]);
    sum
}

fn heard(rate: u32, pcm: &[i16]) -> String {
    let (mut detector, mut digits) = (Detector::new(rate), String::new());
    for frame in pcm.chunks(ms(rate, 20)) {
        detector.push(frame, &mut digits);
    }
    digits
}

#[test]
fn every_digit_is_heard_once() {
    for rate in RATES {
        for (on, off) in [(40, 40), (50, 45), (80, 80), (200, 100), (1000, 500)] {
            for shift in [0, 3, 7, 11] {
                let mut pcm = vec![0; ms(rate, shift)];
                pcm.extend(dialled(ALL, rate, on, off));
                assert_eq!(heard(rate, &pcm), ALL, "{on} ms on, {off} ms off at {rate} Hz");
            }
        }
    }
}

#[test]
fn the_same_digit_twice_is_two_digits() {
    for rate in RATES {
        assert_eq!(heard(rate, &dialled("5555", rate, 60, 60)), "5555");
    }
}

#[test]
fn digits_without_a_pause_are_told_apart() {
    assert_eq!(heard(8000, &dialled("1590", 8000, 80, 0)), "1590");
}

#[test]
fn a_hole_of_20_ms_does_not_make_two_of_one() {
    for start in 40..60 {
        let mut pcm = dialled("7", 8000, 120, 100);
        pcm[ms(8000, start)..ms(8000, start + 20)].fill(0);
        assert_eq!(heard(8000, &pcm), "7", "hole at {start} ms");
    }
}

/// Hears `pcm` in frames of 20 ms, of which those in `holes` were lost and filled up with the frame before them.
fn heard_with_holes(rate: u32, pcm: &[i16], holes: impl Fn(usize) -> bool) -> String {
    let (mut detector, mut digits) = (Detector::new(rate), String::new());
    for (n, frame) in pcm.chunks(ms(rate, 20)).enumerate() {
        match holes(n) {
            true => detector.pass_over(frame.len()),
            false => detector.push(frame, &mut digits),
        }
    }
    digits
}

proptest! {
    #[test]
    fn a_tone_that_goes_on_behind_lost_sound_is_one_digit(
        wide in any::<bool>(), shift in 0usize..20, on in 120usize..400, hole in 0usize..25, frames in 1usize..=3,
    ) {
        let rate = RATES[usize::from(wide)];
        let mut pcm = vec![0; ms(rate, shift)];
        // What is left of a tone on both sides has to be as long as any digit.
        pcm.extend(dialled("7", rate, on + frames * 20, 200));
        prop_assert_eq!(heard_with_holes(rate, &pcm, |n| (hole..hole + frames).contains(&n)), "7");
    }

    #[test]
    fn a_pause_of_which_a_part_is_lost_still_parts_two_digits(
        wide in any::<bool>(), shift in 0usize..20, off in 80usize..200, hole in 0usize..40, frames in 1usize..=2,
    ) {
        let rate = RATES[usize::from(wide)];
        let mut pcm = vec![0; ms(rate, shift)];
        pcm.extend(dialled("5555", rate, 120, off));
        prop_assert_eq!(heard_with_holes(rate, &pcm, |n| (hole..hole + frames).contains(&n)), "5555");
    }
}

#[test]
fn sound_that_is_lost_for_longer_parts_two_digits() {
    let pcm = dialled("55", 8000, 100, 100);
    assert_eq!(heard_with_holes(8000, &pcm, |n| (5..10).contains(&n)), "55");
}

#[test]
fn a_tone_of_20_ms_is_no_digit() {
    for digit in ALL.chars() {
        assert_eq!(heard(8000, &dialled(&digit.to_string(), 8000, 20, 100)), "");
    }
}

#[test]
fn frequencies_may_be_off_by_1_5_percent_and_not_by_3_5() {
    for rate in RATES {
        for off in [-0.015, -0.01, 0.01, 0.015] {
            let pcm = two_tones(rate, (770.0 * (1.0 + off), 6000.0), (1336.0 * (1.0 + off), 6000.0));
            assert_eq!(heard(rate, &pcm), "5", "off by {off} at {rate} Hz");
        }
        for off in [-0.06, 0.06] {
            let pcm = two_tones(rate, (770.0 * (1.0 + off), 6000.0), (1336.0 * (1.0 + off), 6000.0));
            assert_eq!(heard(rate, &pcm), "", "off by {off} at {rate} Hz");
        }
    }
}

#[test]
fn twist_is_allowed_within_bounds() {
    let with = |low: f64, high: f64| heard(8000, &two_tones(8000, (852.0, low), (1477.0, high)));
    assert_eq!((with(3000.0, 6000.0).as_str(), with(6000.0, 3500.0).as_str()), ("9", "9"));
    assert_eq!((with(2000.0, 8000.0).as_str(), with(8000.0, 2000.0).as_str()), ("", ""));
}

#[test]
fn faint_digits_are_heard_and_the_faintest_are_not() {
    let at = |level: f64| heard(8000, &two_tones(8000, (697.0, level), (1209.0, level)));
    assert_eq!((at(500.0).as_str(), at(60.0).as_str()), ("1", ""));
}

#[test]
fn digits_are_heard_through_noise_at_15_db() {
    for rate in RATES {
        let mut pcm = dialled(ALL, rate, 80, 80);
        let loud = rms(&pcm[..ms(rate, 80)]) / 10f64.powf(15.0 / 20.0) * 3f64.sqrt();
        for (sample, hiss) in pcm.iter_mut().zip(noise(11, loud, ms(rate, 160) * ALL.len())) {
            *sample = sample.saturating_add(hiss);
        }
        assert_eq!(heard(rate, &pcm), ALL);
    }
}

#[test]
fn single_tones_dial_tones_and_noise_are_no_digits() {
    for rate in RATES {
        for hz in [350.0, 425.0, 440.0, 697.0, 770.0, 852.0, 941.0, 1209.0, 1336.0, 1477.0, 1633.0, 2100.0] {
            assert_eq!(heard(rate, &tone(rate, hz, 12_000.0, rate as usize)), "", "{hz} Hz");
        }
        assert_eq!(heard(rate, &noise(5, 20_000.0, 20 * rate as usize)), "");
    }
    assert_eq!(heard(8000, &two_tones(8000, (350.0, 8000.0), (440.0, 8000.0))), "");
}

/// Talk-off: vowels of many pitches, still and gliding, ten minutes of them.
#[test]
fn voices_are_no_digits() {
    let mut dice = Dice(99);
    for n in 0..600 {
        let pitch = 80.0 + 270.0 * dice.roll();
        let pcm = vowel(8000, VOWELS[n % 5], pitch, dice.roll() - 0.5, 8000);
        assert_eq!(heard(8000, &pcm), "", "vowel {} at {pitch:.1} Hz", n % 5);
    }
}

/// The same where packets are lost, behind which less is wanted of a tone that goes on.
#[test]
fn voices_are_no_digits_where_packets_are_lost() {
    let mut dice = Dice(99);
    for n in 0..600 {
        let pitch = 80.0 + 270.0 * dice.roll();
        let pcm = vowel(8000, VOWELS[n % 5], pitch, dice.roll() - 0.5, 8000);
        let lost: Vec<bool> = pcm.chunks(160).map(|_| dice.roll() < 0.1).collect();
        assert_eq!(heard_with_holes(8000, &pcm, |n| lost[n]), "", "vowel {} at {pitch:.1} Hz", n % 5);
    }
}

#[test]
fn a_tone_is_made_piece_by_piece_and_ends() {
    let whole = dialled("8", 16000, 50, 0);
    let mut tone = Tone::new('8', 16000, Duration::from_millis(50)).unwrap();
    let (mut pieces, mut piece) = (Vec::new(), [0; 77]);
    loop {
        let count = tone.read(&mut piece);
        pieces.extend_from_slice(&piece[..count]);
        if count < piece.len() {
            break;
        }
    }
    assert_eq!(pieces, whole);
    assert!(whole[0].unsigned_abs() < 1000 && whole[799].unsigned_abs() < 1000);
}

#[test]
fn only_the_keys_of_the_pad_have_a_tone() {
    let make = |digit| Tone::new(digit, 8000, Duration::from_millis(100));
    assert!(make('a').is_some() && make('#').is_some());
    assert!(make('E').is_none() && make(' ').is_none());
}

proptest! {
    #[test]
    fn chunks_of_any_size_hear_the_same(size in 1usize..1000) {
        let pcm = dialled("42#", 8000, 70, 60);
        let (mut detector, mut digits) = (Detector::new(8000), String::new());
        for chunk in pcm.chunks(size) {
            detector.push(chunk, &mut digits);
        }
        prop_assert_eq!(digits, "42#");
    }
}
