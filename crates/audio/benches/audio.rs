//! What a frame of 20 ms costs in each room. Run with `cargo bench -p active-call-audio --bench audio`.

use audio::dtmf::Detector;
use audio::mix::{self, Ducker, Ducking};
use audio::{CODECS, Cleaner, Cleaning, Frame, Jitter, Packet, Resampler};
use divan::Bencher;
use protocol::CallTime;

fn main() {
    divan::main();
}

const NAMES: [&str; 4] = ["opus", "G722", "PCMU", "PCMA"];
const PAIRS: [(u32, u32); 6] =
    [(8000, 16000), (16000, 8000), (16000, 48000), (48000, 16000), (24000, 8000), (24000, 16000)];

/// A frame of something like a voice.
fn frame(rate: u32) -> Vec<i16> {
    let step = std::f32::consts::TAU / rate as f32;
    let sample = |n: usize| {
        let at = step * n as f32;
        (6000.0 * (180.0 * at).sin() + 2000.0 * (900.0 * at).sin() + 500.0 * (2700.0 * at).sin()) as i16
    };
    (0..Frame::len_at(rate)).map(sample).collect()
}

#[divan::bench(args = NAMES)]
fn encode(bencher: Bencher, name: &str) {
    let codec = CODECS.iter().find(|c| c.name == name).expect("a row of the table");
    let (mut encoder, pcm, mut out) = ((codec.encoder)(), frame(codec.rate), Vec::new());
    bencher.bench_local(|| {
        out.clear();
        encoder.encode(&pcm, &mut out);
    });
}

#[divan::bench(args = NAMES)]
fn decode(bencher: Bencher, name: &str) {
    let codec = CODECS.iter().find(|c| c.name == name).expect("a row of the table");
    let (mut payload, mut out) = (Vec::new(), Vec::new());
    (codec.encoder)().encode(&frame(codec.rate), &mut payload);
    let mut decoder = (codec.decoder)();
    bencher.bench_local(|| {
        out.clear();
        decoder.decode(&payload, &mut out);
    });
}

/// The first lost packet, for which the pitch is looked for.
#[divan::bench(args = NAMES)]
fn conceal(bencher: Bencher, name: &str) {
    let codec = CODECS.iter().find(|c| c.name == name).expect("a row of the table");
    let (mut payload, mut out) = (Vec::new(), Vec::new());
    (codec.encoder)().encode(&frame(codec.rate), &mut payload);
    let mut decoder = (codec.decoder)();
    bencher.bench_local(|| {
        out.clear();
        decoder.decode(&payload, &mut out);
        decoder.decode(&payload, &mut out);
        decoder.conceal(Frame::len_at(codec.rate), &mut out);
    });
}

#[divan::bench(args = PAIRS)]
fn resample(bencher: Bencher, (from, to): (u32, u32)) {
    let (mut resampler, pcm, mut out) = (Resampler::new(from, to), frame(from), Vec::new());
    bencher.bench_local(|| {
        out.clear();
        resampler.process(&pcm, &mut out);
    });
}

#[divan::bench]
fn new_resampler() -> Resampler {
    Resampler::new(divan::black_box(8000), divan::black_box(16000))
}

/// One packet in and out, as in every tick of a clean call.
#[divan::bench]
fn jitter(bencher: Bencher) {
    let (mut jitter, mut n) = (Jitter::new(8000), 0u32);
    bencher.bench_local(|| {
        let now = CallTime::ms(20 * u64::from(n));
        let packet = Packet {
            sequence: n as u16,
            timestamp: n.wrapping_mul(160),
            ssrc: 1,
            marker: false,
            payload_type: 0,
            payload: vec![0; 160].into(),
        };
        n += 1;
        jitter.push(now, packet);
        jitter.pop(now)
    });
}

#[divan::bench(args = [8000, 16000])]
fn add(bencher: Bencher, rate: u32) {
    let (mut sum, sound) = (frame(rate), frame(rate));
    bencher.bench_local(|| mix::add(&mut sum, &sound));
}

#[divan::bench(args = [8000, 16000])]
fn duck(bencher: Bencher, rate: u32) {
    let (mut ducker, mut sound) = (Ducker::new(Ducking::default()), frame(rate));
    bencher.bench_local(|| ducker.apply(true, &mut sound));
}

#[divan::bench(args = [8000, 16000])]
fn dtmf(bencher: Bencher, rate: u32) {
    let (mut detector, pcm, mut digits) = (Detector::new(rate), frame(rate), String::new());
    bencher.bench_local(|| detector.push(&pcm, &mut digits));
}

#[divan::bench(args = [8000, 16000])]
fn take_out_noise(bencher: Bencher, rate: u32) {
    let cleaning = Cleaning { noise: true, echo: false };
    let (mut cleaner, mut pcm) = (Cleaner::new(rate, cleaning), frame(rate));
    bencher.bench_local(|| cleaner.process(&mut pcm));
}

#[divan::bench(args = [8000, 16000])]
fn take_out_echo(bencher: Bencher, rate: u32) {
    let cleaning = Cleaning { noise: false, echo: true };
    let (mut cleaner, played) = (Cleaner::new(rate, cleaning), frame(rate));
    let mut heard = played.clone();
    bencher.bench_local(|| {
        cleaner.process(&mut heard);
        cleaner.played(&played);
    });
}
