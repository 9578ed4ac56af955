//! Vector operations in plain arrays, which the compiler turns into SSE2 or NEON.

/// Four lanes fill one register of every 64-bit processor.
pub(super) type V = Lanes;
/// Numbers in a [`V`].
pub(super) const LANES: usize = 4;

/// Four numbers, aligned as a vector register.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(16))]
pub(super) struct Lanes([f32; LANES]);

#[inline(always)]
fn zip(a: V, b: V, f: impl Fn(f32, f32) -> f32) -> V {
    Lanes(std::array::from_fn(|i| f(a.0[i], b.0[i])))
}

#[inline(always)]
fn splat(x: f32) -> V {
    Lanes([x; LANES])
}

#[inline(always)]
fn add(a: V, b: V) -> V {
    zip(a, b, |a, b| a + b)
}

#[inline(always)]
fn sub(a: V, b: V) -> V {
    zip(a, b, |a, b| a - b)
}

#[inline(always)]
fn mul(a: V, b: V) -> V {
    zip(a, b, |a, b| a * b)
}

#[inline(always)]
fn div(a: V, b: V) -> V {
    zip(a, b, |a, b| a / b)
}

#[inline(always)]
fn max(a: V, b: V) -> V {
    zip(a, b, |a, b| if a > b { a } else { b })
}

#[inline(always)]
fn min(a: V, b: V) -> V {
    zip(a, b, |a, b| if a < b { a } else { b })
}

/// `a * b + c`. Fused only where every processor of the architecture can: elsewhere it would be a library call.
#[inline(always)]
fn fma(a: V, b: V, c: V) -> V {
    if cfg!(target_arch = "aarch64") {
        Lanes(std::array::from_fn(|i| a.0[i].mul_add(b.0[i], c.0[i])))
    } else {
        add(mul(a, b), c)
    }
}

/// Two to the power of the integer in the low mantissa bits of `t`.
#[inline(always)]
fn power_of_two(t: V) -> V {
    Lanes(t.0.map(|t| f32::from_bits((t.to_bits() << 23).wrapping_add(0x3f80_0000))))
}

const ROWS1: usize = 2;
const STREAMS: usize = 1;
const ROWS: usize = 4;
const COLUMNS: usize = 2;

super::kernels::kernels! {
    layers: [],
    spectrum: []
}
