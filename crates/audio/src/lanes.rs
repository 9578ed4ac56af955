//! Sums that the compiler can turn into vector instructions.

/// Partial sums side by side. A float sum in order would be one long chain of additions.
pub(crate) const LANES: usize = 8;

/// The sum of the products of `a` and `b`; what does not fill the lanes at the end is left out.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
        for n in 0..LANES {
            lanes[n] += a[n] * b[n];
        }
    }
    lanes.iter().sum()
}

/// The sum of the products of `a` and `b`, in blocks of 32; what fills no block is left out. The caller bounds the
/// values so that the sum fits.
pub(crate) fn dot_16(a: &[i16], b: &[i16]) -> i32 {
    let blocks = a.as_chunks::<32>().0.iter().zip(b.as_chunks::<32>().0);
    let block = |(a, b): (&[i16; 32], &[i16; 32])| -> i32 {
        a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
    };
    blocks.map(block).sum()
}
