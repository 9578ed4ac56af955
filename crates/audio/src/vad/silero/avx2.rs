//! Vector operations of AVX2 and FMA: eight lanes, sixteen registers.

use std::arch::x86_64::*;

/// One vector register.
pub(super) type V = __m256;
/// Numbers in a [`V`].
pub(super) const LANES: usize = 8;

#[inline]
#[target_feature(enable = "avx2,fma")]
fn splat(x: f32) -> V {
    _mm256_set1_ps(x)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn add(a: V, b: V) -> V {
    _mm256_add_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn sub(a: V, b: V) -> V {
    _mm256_sub_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn mul(a: V, b: V) -> V {
    _mm256_mul_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn div(a: V, b: V) -> V {
    _mm256_div_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn max(a: V, b: V) -> V {
    _mm256_max_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn min(a: V, b: V) -> V {
    _mm256_min_ps(a, b)
}

/// `a * b + c`
#[inline]
#[target_feature(enable = "avx2,fma")]
fn fma(a: V, b: V, c: V) -> V {
    _mm256_fmadd_ps(a, b, c)
}

/// Two to the power of the integer in the low mantissa bits of `t`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn power_of_two(t: V) -> V {
    let exponent = _mm256_slli_epi32::<23>(_mm256_castps_si256(t));
    _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(0x3f80_0000)))
}

const ROWS1: usize = 2;
const STREAMS: usize = 1;
const ROWS: usize = 4;
const COLUMNS: usize = 2;

super::kernels::kernels! {
    layers: [#[target_feature(enable = "avx2,fma")]],
    spectrum: [#[target_feature(enable = "avx2,fma")]]
}
