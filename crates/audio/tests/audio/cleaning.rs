use audio::{Cleaner, Cleaning};

use crate::sound::{VOWELS, db, likeness, noise, rms, vowel};

const NOISE: Cleaning = Cleaning { noise: true, echo: false };
const ECHO: Cleaning = Cleaning { noise: false, echo: true };

fn cleaned(rate: u32, pcm: &[i16]) -> Vec<i16> {
    let mut out = pcm.to_vec();
    let mut cleaner = Cleaner::new(rate, NOISE);
    for frame in out.chunks_mut(rate as usize / 50) {
        cleaner.process(frame);
    }
    out
}

/// `seconds` of someone who speaks: syllables of 200 ms with a breath after every fourth.
fn talk(rate: u32, pitch: f64, seconds: usize) -> Vec<i16> {
    let syllable = rate as usize / 5;
    let one = |n: usize| match n % 5 {
        4 => vec![0; syllable],
        3 => noise(n as u64 * 77 + 5, 900.0, syllable),
        _ => vowel(rate, VOWELS[(n * 7 + n / 5) % 5], pitch + (n % 7) as f64 * 9.0, 0.3, syllable),
    };
    (0..seconds * 5).flat_map(one).collect()
}

/// What comes back of `played` over a loudspeaker and a microphone: `delay_ms` late, 12 dB lower, with two reflections.
fn echo_of(rate: u32, played: &[i16], delay_ms: usize) -> Vec<i16> {
    let late = |n: usize, ms: usize| {
        let ago = ms * rate as usize / 1000;
        n.checked_sub(ago).map_or(0.0, |at| f64::from(played[at]))
    };
    let path = [(0, 0.25), (7, -0.1), (19, 0.05)];
    (0..played.len())
        .map(|n| path.iter().map(|(ms, share)| late(n, delay_ms + ms) * share).sum::<f64>().round() as i16)
        .collect()
}

/// `heard` without the echo of `played`, frame by frame as in a call: what is heard in a tick comes before what is sent.
fn without_echo(rate: u32, played: &[i16], heard: &[i16]) -> Vec<i16> {
    let mut cleaner = Cleaner::new(rate, ECHO);
    let mut out = heard.to_vec();
    let frame = rate as usize / 50;
    for (heard, played) in out.chunks_mut(frame).zip(played.chunks(frame)) {
        cleaner.process(heard);
        cleaner.played(played);
    }
    out
}

#[test]
fn steady_noise_sinks_by_10_db() {
    for rate in [8000, 16000, 24000, 32000, 48000] {
        let hiss = noise(9, 1000.0, 5 * rate as usize);
        let end = 3 * rate as usize;
        let change = db(rms(&cleaned(rate, &hiss)[end..]) / rms(&hiss[end..]));
        assert!(change < -10.0, "{change:.1} dB at {rate} Hz");
    }
}

#[test]
fn a_voice_stays() {
    for rate in [8000, 16000, 48000] {
        let mut pcm = vec![0; rate as usize];
        for n in 0..8 {
            pcm.extend(vowel(rate, VOWELS[n % 5], 120.0 + 10.0 * n as f64, 0.3, rate as usize / 5));
            pcm.extend(vec![0; rate as usize / 5]);
        }
        let change = db(rms(&cleaned(rate, &pcm)) / rms(&pcm));
        assert!(change > -3.0, "{change:.1} dB at {rate} Hz");
    }
}

#[test]
fn an_odd_piece_is_left_alone() {
    let mut pcm = [123; 50];
    Cleaner::new(16000, NOISE).process(&mut pcm);
    assert_eq!(pcm, [123; 50]);
}

#[test]
fn the_echo_of_what_is_played_sinks_by_30_db() {
    for rate in [8000, 16000] {
        for delay in [40, 130, 260, 480] {
            let played = talk(rate, 110.0, 12);
            let heard = echo_of(rate, &played, delay);
            let after = 6 * rate as usize;
            let left = without_echo(rate, &played, &heard);
            let change = db(rms(&left[after..]) / rms(&heard[after..]));
            assert!(change < -30.0, "{change:.1} dB at {rate} Hz, {delay} ms late");
        }
    }
}

#[test]
fn who_speaks_while_we_are_silent_is_heard_whole() {
    for rate in [8000, 16000] {
        let voice = talk(rate, 190.0, 8);
        let left = without_echo(rate, &vec![0; voice.len()], &voice);
        let change = db(rms(&left) / rms(&voice));
        let (like, _) = likeness(&voice, &left, rate as usize / 20);
        assert!(change > -1.0 && like > 0.7, "{change:.1} dB, {like:.2} at {rate} Hz");
    }
}

#[test]
fn who_interrupts_us_is_heard_over_the_echo() {
    for rate in [8000, 16000] {
        let played = talk(rate, 110.0, 14);
        let echo = echo_of(rate, &played, 130);
        let mut voice = talk(rate, 190.0, 14);
        let begins = 9 * rate as usize;
        voice[..begins].fill(0);
        let heard: Vec<i16> = echo.iter().zip(&voice).map(|(a, b)| a.saturating_add(*b)).collect();
        let left = without_echo(rate, &played, &heard);
        let change = db(rms(&left[begins..]) / rms(&voice[begins..]));
        let (like, _) = likeness(&voice[begins..], &left[begins..], rate as usize / 20);
        assert!(change > -6.0 && like > 0.7, "{change:.1} dB, {like:.2} at {rate} Hz");
    }
}
