//! CPU time of Silero for 60 s of sound per stream, on one core.
//!
//! `cargo bench -p active-call-audio --bench vad [-- quick]`
//!
//! Hot: the same streams over and over, as when the caches hold nothing else. Cold: 8 MB are swept through the
//! caches before each pass, as a busy server does between two windows; only the scoring is timed. "best" sums the
//! smallest time of each window over all passes, "median" is the median pass; shared machines need the first.
#![allow(clippy::print_stdout, reason = "a measurement is printed")]
#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use audio::vad::silero::{Path, Stream, score_batch_on};
use std::hint::black_box;
use std::time::Instant;

/// Windows in 60 s.
const WINDOWS: usize = 1875;
const SWEEP: usize = 8 << 20;

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
    /// Milliseconds per 60 s and stream: best and median.
    fn measure(&self) -> (f64, f64) {
        let sound = sound(self.rate);
        let mut best = vec![f64::INFINITY; WINDOWS / self.every];
        let mut totals = Vec::new();
        let mut sweep = vec![0_u8; if self.cold { SWEEP } else { 0 }];
        for _ in 0..self.passes {
            let mut streams = vec![Stream::new(self.rate); self.count];
            let mut out = vec![0.0; self.count];
            let windows = sound.chunks_exact(streams[0].window()).cycle();
            let mut total = 0.0;
            for (window, best) in windows.zip(&mut best) {
                for stream in &mut streams {
                    assert!(stream.push(window).is_empty());
                }
                let mut streams: Vec<_> = streams.iter_mut().collect();
                for line in sweep.iter_mut().step_by(64) {
                    *line = black_box(line.wrapping_add(1));
                }
                let start = Instant::now();
                score_batch_on(self.path, black_box(&mut streams), &mut out);
                let took = start.elapsed().as_secs_f64();
                *best = best.min(took);
                total += took;
            }
            totals.push(total);
        }
        totals.sort_by(f64::total_cmp);
        let scale = 1e3 * self.every as f64 / self.count as f64;
        (best.iter().sum::<f64>() * scale, totals[totals.len() / 2] * scale)
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
    println!(
        "{:<10} {:>6} {:>6} {:>5}  {:>7} {:>7}  ms per 60 s and stream",
        "path", "Hz", "batch", "", "best", "median"
    );
    for path in Path::ALL.into_iter().filter(|path| path.available()) {
        for rate in [16_000, 8_000] {
            for count in [1, 4, 8] {
                for cold in [false, true] {
                    let (passes, every) = match (cold, quick) {
                        (false, false) => (25, 1),
                        (false, true) => (8, 1),
                        (true, _) => (5, 16),
                    };
                    let (best, median) = Run { path, rate, count, passes, every, cold }.measure();
                    let caches = if cold { "cold" } else { "hot" };
                    println!(
                        "{:<10} {rate:>6} {count:>6} {caches:>5}  {best:>7.1} {median:>7.1}",
                        format!("{path:?}")
                    );
                }
            }
        }
    }
}
