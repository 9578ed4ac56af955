//! The magnitude spectra of a window, the network's first step.
//!
//! Four frames are cut from each window, each half over the one before. The FFT treats one frame as one lane of
//! a vector: every addition is one vector instruction over all frames of all streams, whatever the register
//! width, and nothing is ever shuffled. The results stand as `[bin][frame][stream]`.

use super::{FRAMES, HOP, HOPS};
use std::f64::consts::PI;
use std::ops::{Add, Sub};

/// Points of the inner complex FFT.
const POINTS: usize = 64;

/// The tables of a real FFT over frames of `2 * hop` samples, and its window function.
pub(super) struct Fourier {
    /// Half a periodic Hann window: the half belongs to the real FFT's last step.
    window: Vec<f32>,
    /// exp(-2πi k / 64)
    inner: Vec<Turn>,
    /// exp(-2πi k / hop)
    outer: Vec<Turn>,
    /// exp(-2πi k / (2 hop))
    last: Vec<Turn>,
}

impl Fourier {
    /// Tables for `hop` = 128 (16 kHz) or 64 (8 kHz).
    pub(super) fn new(hop: usize) -> Self {
        let size = 2 * hop;
        let turns = |n: usize| (0..n).map(|k| Turn::new(k, n)).collect();
        let hann = |n: usize| (0.5 - 0.5 * (2.0 * PI * n as f64 / size as f64).cos()) * 0.5;
        Fourier {
            window: (0..size).map(|n| hann(n) as f32).collect(),
            inner: turns(POINTS),
            outer: turns(hop),
            last: turns(size),
        }
    }

    /// The magnitudes of the four frames of each input; lane `frame * B + stream`, with `L = 4 * B`.
    #[inline(always)]
    pub(super) fn magnitudes<const B: usize, const L: usize, const BINS: usize>(
        &self,
        input: &[[[f32; B]; HOPS]; HOP],
        out: &mut [[f32; L]; BINS],
    ) {
        const { assert!(L == FRAMES * B && (BINS == 129 || BINS == 65)) };
        if BINS == 129 {
            let mut even = [Complex::<L>::ZERO; POINTS];
            let mut odd = [Complex::<L>::ZERO; POINTS];
            for n in 0..POINTS {
                let low = self.gather::<B, L, 0>(input, 2 * n, 0);
                let high = self.gather::<B, L, 1>(input, 2 * n, 2 * POINTS);
                even[n] = low + high;
                odd[n] = (low - high).times(self.outer[n]);
            }
            self.transform(&mut even);
            self.transform(&mut odd);
            self.finish(out, |k| if k % 2 == 0 { even[place(k / 2)] } else { odd[place(k / 2)] });
        } else {
            let mut all = [Complex::<L>::ZERO; POINTS];
            for n in 0..POINTS / 2 {
                all[n] = self.gather::<B, L, 0>(input, 2 * n, 0);
                all[n + POINTS / 2] = self.gather::<B, L, 1>(input, 2 * n, POINTS);
            }
            self.transform(&mut all);
            self.finish(out, |k| all[place(k)]);
        }
    }

    /// Two windowed samples of every frame as one complex number: those in rows `row` and `row + 1`, `HALF` steps
    /// and `before` samples after the beginning of the frame.
    #[inline(always)]
    fn gather<const B: usize, const L: usize, const HALF: usize>(
        &self,
        input: &[[[f32; B]; HOPS]; HOP],
        row: usize,
        before: usize,
    ) -> Complex<L> {
        let lanes = |row: usize, scale: f32| {
            let samples = &input[row].as_flattened()[HALF * B..][..L];
            let mut lanes = [0.0; L];
            for (lane, sample) in lanes.iter_mut().zip(samples) {
                *lane = sample * scale;
            }
            lanes
        };
        Complex {
            re: lanes(row, self.window[before + row]),
            im: lanes(row + 1, self.window[before + row + 1]),
        }
    }

    /// 64-point FFT, three passes of radix 4; the result for `k` stands at [`place`]`(k)`.
    #[inline(always)]
    fn transform<const L: usize>(&self, z: &mut [Complex<L>; POINTS]) {
        self.pass::<L, 16>(z);
        self.pass::<L, 4>(z);
        self.pass::<L, 1>(z);
    }

    #[inline(always)]
    fn pass<const L: usize, const Q: usize>(&self, z: &mut [Complex<L>; POINTS]) {
        for block in z.chunks_exact_mut(4 * Q) {
            for j in 0..Q {
                let (a, b, c, d) = (block[j], block[j + Q], block[j + 2 * Q], block[j + 3 * Q]);
                let (sum, difference) = (a + c, a - c);
                let (across, turned) = (b + d, (b - d).quarter_turn());
                let step = j * (POINTS / 4 / Q);
                block[j] = sum + across;
                block[j + Q] = difference + turned;
                block[j + 2 * Q] = sum - across;
                block[j + 3 * Q] = difference - turned;
                if step > 0 {
                    block[j + Q] = block[j + Q].times(self.inner[step]);
                    block[j + 2 * Q] = block[j + 2 * Q].times(self.inner[2 * step]);
                    block[j + 3 * Q] = block[j + 3 * Q].times(self.inner[3 * step]);
                }
            }
        }
    }

    /// From the complex FFT of half length to the magnitudes of the real one.
    #[inline(always)]
    fn finish<const L: usize, const BINS: usize>(
        &self,
        out: &mut [[f32; L]; BINS],
        z: impl Fn(usize) -> Complex<L>,
    ) {
        let half = BINS - 1;
        let first = z(0);
        out[0] = lanes(first.re, first.im, |re, im| (2.0 * (re + im)).abs());
        out[half] = lanes(first.re, first.im, |re, im| (2.0 * (re - im)).abs());
        for k in 1..=half / 2 {
            let (low, high) = (z(k), z(half - k).conjugate());
            let even = low + high;
            let odd = (low - high).quarter_turn().times(self.last[k]);
            out[k] = (even + odd).magnitude();
            out[half - k] = (even - odd).magnitude();
        }
    }
}

/// Where radix-4 passes leave the result for `k`: its three base-4 digits in reverse order.
#[inline(always)]
fn place(k: usize) -> usize {
    k % 4 * 16 + k / 4 % 4 * 4 + k / 16
}

/// `f` of each pair of lanes. A plain loop, which unlike `array::from_fn` is always inlined into vector code.
#[inline(always)]
fn lanes<const L: usize>(a: [f32; L], b: [f32; L], f: impl Fn(f32, f32) -> f32) -> [f32; L] {
    let mut result = [0.0; L];
    for lane in 0..L {
        result[lane] = f(a[lane], b[lane]);
    }
    result
}

/// A point on the unit circle.
#[derive(Clone, Copy)]
struct Turn {
    re: f32,
    im: f32,
}

impl Turn {
    /// exp(-2πi k / n)
    fn new(k: usize, n: usize) -> Self {
        let angle = -2.0 * PI * k as f64 / n as f64;
        Turn { re: angle.cos() as f32, im: angle.sin() as f32 }
    }
}

/// One complex number per lane.
#[derive(Clone, Copy)]
struct Complex<const L: usize> {
    re: [f32; L],
    im: [f32; L],
}

impl<const L: usize> Complex<L> {
    const ZERO: Self = Complex { re: [0.0; L], im: [0.0; L] };

    #[inline(always)]
    fn times(self, w: Turn) -> Self {
        Complex {
            re: lanes(self.re, self.im, |re, im| re * w.re - im * w.im),
            im: lanes(self.re, self.im, |re, im| re * w.im + im * w.re),
        }
    }

    /// Times -i.
    #[inline(always)]
    fn quarter_turn(self) -> Self {
        Complex { re: self.im, im: lanes(self.re, self.re, |x, _| -x) }
    }

    #[inline(always)]
    fn conjugate(self) -> Self {
        Complex { re: self.re, im: lanes(self.im, self.im, |x, _| -x) }
    }

    #[inline(always)]
    fn magnitude(self) -> [f32; L] {
        lanes(self.re, self.im, |re, im| (re * re + im * im).sqrt())
    }
}

impl<const L: usize> Add for Complex<L> {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Complex { re: lanes(self.re, other.re, |a, b| a + b), im: lanes(self.im, other.im, |a, b| a + b) }
    }
}

impl<const L: usize> Sub for Complex<L> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Complex { re: lanes(self.re, other.re, |a, b| a - b), im: lanes(self.im, other.im, |a, b| a - b) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow<const BINS: usize>(frame: &[f32], bin: usize) -> f64 {
        let size = 2 * (BINS - 1);
        let (mut re, mut im) = (0.0, 0.0);
        for (n, &x) in frame.iter().take(size).enumerate() {
            let hann = 0.5 - 0.5 * (2.0 * PI * n as f64 / size as f64).cos();
            let angle = 2.0 * PI * (bin * n % size) as f64 / size as f64;
            re += hann * f64::from(x) * angle.cos();
            im -= hann * f64::from(x) * angle.sin();
        }
        (re * re + im * im).sqrt()
    }

    fn compare<const BINS: usize>() {
        let mut seed = 1_u32;
        let hop = BINS - 1;
        let samples: Vec<f32> = (0..HOPS * hop)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 16) as f32 / 65_536.0 - 0.5
            })
            .collect();
        let mut input = [[[0.0; 1]; HOPS]; HOP];
        for (i, &sample) in samples.iter().enumerate() {
            input[i % hop][i / hop][0] = sample;
        }
        let mut out = [[0.0; FRAMES]; BINS];
        Fourier::new(hop).magnitudes(&input, &mut out);
        for (bin, frames) in out.iter().enumerate() {
            for (frame, &ours) in frames.iter().enumerate() {
                let exact = slow::<BINS>(&samples[frame * hop..], bin);
                assert!((f64::from(ours) - exact).abs() < 1e-4, "bin {bin} frame {frame}: {ours} {exact}");
            }
        }
    }

    #[test]
    fn magnitudes_equal_the_sum_that_defines_them() {
        compare::<129>();
        compare::<65>();
    }
}
