//! The tone that a caller hears while the other end rings: 425 Hz, one second in five (ETSI TR 101 041-2).

use std::f64::consts::TAU;

/// Rate of the sound, in Hz.
pub const RATE: u32 = 8000;
const TONE_HZ: f64 = 425.0;
/// About 20 dB below the loudest.
const PEAK: f64 = 3000.0;
/// Seconds of tone, and of a whole turn with its pause.
const TONE_S: u32 = 1;
const TURN_S: u32 = 5;

/// `times` tones with their pauses, mono at [`RATE`].
pub fn sound(times: usize) -> Vec<i16> {
    let sample = |n: u32| (PEAK * (TAU * TONE_HZ * f64::from(n) / f64::from(RATE)).sin()) as i16;
    let mut turn: Vec<i16> = (0..TONE_S * RATE).map(sample).collect();
    turn.resize((TURN_S * RATE) as usize, 0);
    turn.repeat(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rings_for_one_second_in_five() {
        let sound = sound(2);
        assert_eq!(sound.len(), 80_000);
        let loud: Vec<bool> = sound.chunks(8000).map(|second| second.iter().any(|s| *s > 2900)).collect();
        assert_eq!(
            loud.iter().enumerate().filter(|(_, loud)| **loud).map(|(n, _)| n).collect::<Vec<_>>(),
            [0, 5]
        );
        let rising = sound[..8000].windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
        assert!((424..=425).contains(&rising), "{rising} Hz");
    }
}
