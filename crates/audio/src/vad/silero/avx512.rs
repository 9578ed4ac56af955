//! Vector operations of AVX-512: sixteen lanes, thirty-two registers.

use std::arch::x86_64::*;

/// One vector register.
pub(super) type V = __m512;
/// Numbers in a [`V`].
pub(super) const LANES: usize = 16;

#[inline]
#[target_feature(enable = "avx512f")]
fn splat(x: f32) -> V {
    _mm512_set1_ps(x)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add(a: V, b: V) -> V {
    _mm512_add_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn sub(a: V, b: V) -> V {
    _mm512_sub_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn mul(a: V, b: V) -> V {
    _mm512_mul_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn div(a: V, b: V) -> V {
    _mm512_div_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn max(a: V, b: V) -> V {
    _mm512_max_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn min(a: V, b: V) -> V {
    _mm512_min_ps(a, b)
}

/// `a * b + c`
#[inline]
#[target_feature(enable = "avx512f")]
fn fma(a: V, b: V, c: V) -> V {
    _mm512_fmadd_ps(a, b, c)
}

/// Two to the power of the integer in the low mantissa bits of `t`.
#[inline]
#[target_feature(enable = "avx512f")]
fn power_of_two(t: V) -> V {
    let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(t));
    _mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(0x3f80_0000)))
}

const ROWS1: usize = 2;
const STREAMS: usize = 2;
const ROWS: usize = 4;
const COLUMNS: usize = 4;

// The FFT's loops over lanes are left to the compiler, which turns them into gathers and shuffles when it may use
// AVX-512, at twice the time it takes with AVX2.
super::kernels::kernels! {
    layers: [#[target_feature(enable = "avx512f")]],
    spectrum: [#[target_feature(enable = "avx2,fma")]]
}
