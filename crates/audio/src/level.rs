//! How loud sound is. Whole numbers may be summed and compared in any order, so the compiler takes vectors.

/// The largest magnitude; zero of no samples.
pub fn peak(pcm: &[i16]) -> u16 {
    pcm.iter().fold(0, |peak, sample| peak.max(sample.unsigned_abs()))
}

/// The mean of the squares; zero of no samples.
pub fn power(pcm: &[i16]) -> f32 {
    let sum: i64 = pcm.iter().map(|sample| i64::from(i32::from(*sample) * i32::from(*sample))).sum();
    sum as f32 / pcm.len().max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loudest_sample_counts_on_either_side_of_zero() {
        assert_eq!([peak(&[]), peak(&[3, -7, 5]), peak(&[i16::MIN, i16::MAX])], [0, 7, 0x8000]);
    }

    #[test]
    fn full_scale_is_no_overflow_and_no_sound_is_no_power() {
        assert_eq!(power(&[]), 0.0);
        assert_eq!(power(&[3, -4]), 12.5);
        assert_eq!(power(&[i16::MIN; 4800]), 32_768.0 * 32_768.0);
    }
}
