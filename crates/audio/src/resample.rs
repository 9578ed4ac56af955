//! Changes the sample rate among 8, 16, 24 and 48 kHz.

mod double;

use std::f64::consts::PI;
use std::time::Duration;

use crate::lanes::{LANES, dot};
use double::Doubler;

/// Half of the filter, which is also its delay: the longest that a turn of conversation does not notice.
const HALF_MS: usize = 2;
/// Kaiser window shape: about 65 dB beside the transition.
const BETA: f64 = 6.2;
/// Middle of the transition below the lower of both Nyquist frequencies. The band of the telephone
/// (to 3400 Hz) stays whole and its mirror image is gone.
const MARGIN_HZ: f64 = 200.0;

/// A polyphase filter from one rate to another, for a stream cut into chunks of any size.
///
/// The ratio is a fraction up/down of small whole numbers. In the thought-up stream at `up` times the input
/// rate all but every `up`-th sample are zero, so each output needs one of `up` sets of taps.
///
/// Below the lower of both Nyquist frequencies the band is flat within 0.15 dB up to 600 Hz from it, 1.5 dB
/// down at 400 Hz and 6 dB at 200 Hz from it. Aliases and mirror images of what lies more than 450 Hz from it
/// are 66 dB down. Twice the rate is a half-band filter instead, which is flat to 500 Hz below the Nyquist
/// frequency and has the images of what lies more than 500 Hz below it 66 dB down.
pub struct Resampler {
    way: Way,
}

enum Way {
    Copy,
    Double(Doubler),
    Ratio(Polyphase),
}

struct Polyphase {
    up: usize,
    down: usize,
    /// One set of taps per phase, oldest input first, each `span` long.
    phases: Vec<Box<[f32]>>,
    span: usize,
    /// The last `span - 1` inputs, then the chunk at hand.
    input: Vec<f32>,
    /// Place of the next output in the thought-up stream, counted from the next input.
    place: usize,
}

impl Resampler {
    /// A resampler from `from` to `to` Hz. Equal rates give a resampler that copies. Rates other than 8000,
    /// 16000, 24000 and 48000 work if their ratio is made of small numbers.
    pub fn new(from: u32, to: u32) -> Self {
        let (from, to) = (from.max(1) as usize, to.max(1) as usize);
        let way = if from == to {
            Way::Copy
        } else if Doubler::fits(from, to) {
            Way::Double(Doubler::new(from))
        } else {
            Way::Ratio(Polyphase::new(from, to))
        };
        Resampler { way }
    }

    /// Appends the sound of `pcm` at the new rate to `out`. Twenty milliseconds in are twenty out.
    pub fn process(&mut self, pcm: &[i16], out: &mut Vec<i16>) {
        match &mut self.way {
            Way::Copy => out.extend_from_slice(pcm),
            Way::Double(doubler) => doubler.process(pcm, out),
            Way::Ratio(polyphase) => polyphase.process(pcm, out),
        }
    }

    /// Whether sound comes out as it goes in.
    pub fn copies(&self) -> bool {
        matches!(self.way, Way::Copy)
    }

    /// How much later a sound comes out than it went in; at most 2 ms.
    pub fn delay(&self) -> Duration {
        match self.way {
            Way::Copy => Duration::ZERO,
            Way::Double(_) | Way::Ratio(_) => Duration::from_millis(HALF_MS as u64),
        }
    }
}

impl Polyphase {
    fn new(from: usize, to: usize) -> Self {
        let common = gcd(from, to);
        let (up, down) = (to / common, from / common);
        let phases = phases(from, to, up);
        let span = phases.first().map_or(1, |p| p.len());
        Polyphase { up, down, phases, span, input: vec![0.0; span - 1], place: 0 }
    }

    fn process(&mut self, pcm: &[i16], out: &mut Vec<i16>) {
        self.input.extend(pcm.iter().map(|s| f32::from(*s)));
        let end = pcm.len() * self.up;
        out.reserve(end / self.down + 1);
        while self.place < end {
            let (newest, phase) = (self.place / self.up, self.place % self.up);
            let sum = dot(&self.input[newest..newest + self.span], &self.phases[phase]);
            // A cast from float to integer saturates; adding a half with the sign rounds.
            out.push((sum + 0.5f32.copysign(sum)) as i16);
            self.place += self.down;
        }
        self.place -= end;
        self.input.drain(..pcm.len());
    }
}

/// The windowed-sinc low pass at `up` times `from`, dealt out to its phases.
fn phases(from: usize, to: usize, up: usize) -> Vec<Box<[f32]>> {
    let dense = from * up;
    let half = dense * HALF_MS / 1000;
    let cutoff = (from.min(to) as f64 / 2.0 - MARGIN_HZ) / dense as f64;
    let tap = |n: usize| {
        if n > 2 * half {
            return 0.0;
        }
        let x = n as f64 - half as f64;
        let sinc = if n == half { 2.0 * cutoff } else { (2.0 * PI * cutoff * x).sin() / (PI * x) };
        sinc * kaiser(x / half as f64, BETA)
    };
    let span = (2 * half + 1).div_ceil(up).next_multiple_of(LANES);
    (0..up)
        .map(|phase| {
            let taps: Vec<f64> = (0..span).rev().map(|k| tap(phase + k * up)).collect();
            // Each phase passes a constant unchanged, or a constant would get a ripple.
            let sum: f64 = taps.iter().sum();
            taps.iter().map(|t| (t / sum) as f32).collect()
        })
        .collect()
}

/// The Kaiser window of shape `beta` at `x`, from -1 to 1.
fn kaiser(x: f64, beta: f64) -> f64 {
    bessel(beta * (1.0 - x.powi(2)).max(0.0).sqrt()) / bessel(beta)
}

/// Modified Bessel function of order zero, by its series.
fn bessel(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..40 {
        term *= (x / 2.0 / f64::from(k)).powi(2);
        sum += term;
    }
    sum
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
