//! Time of Silero for 60 s of sound per stream, on one core.
//!
//! `cargo bench -p active-call-audio --bench vad [-- quick]`
//!
//! Hot: the same streams over and over, as when the caches hold nothing else. Cold: 8 MB are swept through the
//! caches before each pass, as a busy server does between two windows; only the scoring is timed. "best" sums
//! the smallest time of each window over all passes, "median" each window's median.
#![allow(clippy::print_stdout, reason = "a measurement is printed")]
#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use audio::vad::silero::{Path, Stream, score_batch_on};
use std::hint::black_box;
use std::time::Instant;

/// Windows in 60 s.
const WINDOWS: usize = 1875;
const SWEEP: usize = 8 << 20;

#[derive(Clone, Copy)]
struct Run {
    path: Path,
    rate: u32,
    count: usize,
    passes: usize,
    /// Of how many windows one is timed; cold runs are slow because of the sweeps.
    every: usize,
    cold: bool,
}

impl Run {
    fn print(&self, sound: &[i16], what: &str) {
        let (best, median) = self.measure(sound);
        let (path, rate, count) = (format!("{:?}", self.path), self.rate, self.count);
        println!("{path:<8} {rate:>5} Hz x{count} {what:<12} {best:>9.1} {median:>7.1}");
    }

    /// Milliseconds per 60 s and stream: best and median.
    fn measure(&self, sound: &[i16]) -> (f64, f64) {
        let mut times = vec![Vec::new(); WINDOWS / self.every];
        let mut sweep = vec![0_u8; if self.cold { SWEEP } else { 0 }];
        for _ in 0..self.passes {
            let mut streams = vec![Stream::new(self.rate); self.count];
            let mut out = vec![0.0; self.count];
            let windows = sound.chunks_exact(streams[0].window()).cycle();
            for (window, times) in windows.zip(&mut times) {
                for stream in &mut streams {
                    assert!(stream.push(window).is_empty());
                }
                let mut streams: Vec<_> = streams.iter_mut().collect();
                for line in sweep.iter_mut().step_by(64) {
                    *line = black_box(line.wrapping_add(1));
                }
                let start = Instant::now();
                score_batch_on(self.path, black_box(&mut streams), &mut out);
                times.push(start.elapsed().as_secs_f64());
            }
        }
        times.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
        let scale = 1e3 * self.every as f64 / self.count as f64;
        let sum = |place: usize| times.iter().map(|times| times[place]).sum::<f64>() * scale;
        (sum(0), sum(self.passes / 2))
    }
}

/// The fixture of the tests, without its digital silence: that has a shorter way through the network.
fn sound(rate: u32) -> Vec<i16> {
    let bytes: &[u8] = match rate {
        8_000 => include_bytes!("../fixtures/silero_8k.s16"),
        _ => include_bytes!("../fixtures/silero_16k.s16"),
    };
    let samples = bytes.as_chunks::<2>().0.iter().map(|bytes| i16::from_le_bytes(*bytes));
    samples.map(|sample| if sample == 0 { 1 } else { sample }).collect()
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "quick");
    println!("ms per 60 s and stream                best  median");
    for path in Path::ALL.into_iter().filter(|path| path.available()) {
        for rate in [16_000, 8_000] {
            let hot = Run { path, rate, count: 1, passes: if quick { 8 } else { 25 }, every: 1, cold: false };
            let cold = Run { passes: 5, every: 16, cold: true, ..hot };
            for count in [1, 4, 8] {
                Run { count, ..hot }.print(&sound(rate), "hot");
                Run { count, ..cold }.print(&sound(rate), "cold");
            }
            hot.print(&vec![0; rate as usize], "digital zero");
        }
    }
}
