use audio::Denoiser;

use crate::sound::{VOWELS, db, noise, rms, vowel};

fn cleaned(rate: u32, pcm: &[i16]) -> Vec<i16> {
    let mut out = pcm.to_vec();
    let mut denoiser = Denoiser::new(rate);
    for frame in out.chunks_mut(rate as usize / 50) {
        denoiser.process(frame);
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
    Denoiser::new(16000).process(&mut pcm);
    assert_eq!(pcm, [123; 50]);
}
