use audio::Resampler;

use crate::sound::{amplitude, db, likeness, noise, tone};

const RATES: [u32; 4] = [8000, 16000, 24000, 48000];

fn pairs() -> impl Iterator<Item = (u32, u32)> {
    RATES.into_iter().flat_map(|from| RATES.into_iter().map(move |to| (from, to)))
}

fn resampled(from: u32, to: u32, pcm: &[i16]) -> Vec<i16> {
    let mut out = Vec::new();
    Resampler::new(from, to).process(pcm, &mut out);
    out
}

#[test]
fn a_frame_in_is_a_frame_out_at_every_pair_of_rates() {
    for (from, to) in pairs() {
        let mut resampler = Resampler::new(from, to);
        for _ in 0..5 {
            let mut out = Vec::new();
            resampler.process(&vec![100; from as usize / 50], &mut out);
            assert_eq!(out.len(), to as usize / 50, "{from} to {to}");
        }
    }
}

#[test]
fn the_size_of_the_chunks_does_not_matter() {
    for (from, to) in pairs() {
        let sound = noise(7, 20_000.0, from as usize / 10);
        let whole = resampled(from, to, &sound);
        for size in [1, 7, 160, 333] {
            let mut resampler = Resampler::new(from, to);
            let mut out = Vec::new();
            for chunk in sound.chunks(size) {
                resampler.process(chunk, &mut out);
            }
            assert_eq!(out, whole, "{from} to {to} by {size}");
        }
    }
}

#[test]
fn equal_rates_copy() {
    let sound = noise(3, 30_000.0, 1000);
    assert_eq!(resampled(16000, 16000, &sound), sound);
    assert!(Resampler::new(16000, 16000).delay().is_zero());
}

#[test]
fn the_delay_is_what_it_says_and_at_most_2_ms() {
    for (from, to) in pairs().filter(|(from, to)| from != to) {
        let delay = Resampler::new(from, to).delay();
        assert!(delay.as_micros() <= 2000);
        // The same sound at both rates, shifted by the delay.
        let beat = |rate: u32| {
            let (a, b) =
                (tone(rate, 310.0, 8000.0, rate as usize), tone(rate, 1730.0, 8000.0, rate as usize));
            a.iter().zip(&b).map(|(a, b)| a + b).collect::<Vec<i16>>()
        };
        let (like, at) = likeness(&beat(to), &resampled(from, to, &beat(from)), to as usize / 250);
        assert!(like > 0.9999, "{from} to {to}: {like}");
        assert_eq!(at as u128 * 1_000_000 / u128::from(to), delay.as_micros(), "{from} to {to}");
    }
}

#[test]
fn the_telephone_band_passes_unchanged() {
    for (from, to) in pairs() {
        for hz in [50.0, 300.0, 1000.0, 2500.0, 3200.0, 3400.0] {
            let out = resampled(from, to, &tone(from, hz, 10_000.0, from as usize));
            let gain = db(amplitude(&out[to as usize / 10..], to, hz) / 10_000.0);
            assert!(gain.abs() < 0.15, "{hz} Hz from {from} to {to}: {gain:.2} dB");
        }
    }
}

/// What lies above the new Nyquist frequency must not come back below it. From 450 Hz above it is 66 dB
/// down; nearer it is in the transition.
#[test]
fn what_does_not_fit_the_new_rate_is_66_db_down() {
    for (from, to) in pairs().filter(|(from, to)| to < from) {
        let nyquist = f64::from(to) / 2.0;
        for over in [450.0, 700.0, 1500.0, 3000.0] {
            let hz = nyquist + over;
            if hz >= f64::from(from) / 2.0 {
                continue;
            }
            let out = resampled(from, to, &tone(from, hz, 20_000.0, from as usize));
            let alias = db(amplitude(&out[to as usize / 10..], to, nyquist - over) / 20_000.0);
            assert!(alias < -66.0, "{hz} Hz from {from} to {to}: {alias:.1} dB");
        }
    }
}

#[test]
fn mirror_images_are_66_db_down() {
    for (from, to) in pairs().filter(|(from, to)| to > from) {
        for hz in [300.0, 1000.0, 3400.0] {
            let out = resampled(from, to, &tone(from, hz, 20_000.0, from as usize));
            let image = f64::from(from) - hz;
            if image < f64::from(to) / 2.0 {
                let level = db(amplitude(&out[to as usize / 10..], to, image) / 20_000.0);
                assert!(level < -66.0, "image of {hz} Hz from {from} to {to}: {level:.1} dB");
            }
        }
    }
}

#[test]
fn full_scale_does_not_wrap() {
    for (from, to) in pairs() {
        let square: Vec<i16> =
            (0..from as usize / 5).map(|n| if n / 40 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
        let out = resampled(from, to, &square);
        let half = 20 * to as usize / from as usize;
        let delay = Resampler::new(from, to).delay().as_micros() as usize * to as usize / 1_000_000;
        let first_middle = out[delay + half];
        assert!(first_middle > 30_000, "{from} to {to}: {first_middle}");
    }
}
