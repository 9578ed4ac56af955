//! Soft noise in place of silence, so that a listener does not take a silent line for a dead one.

/// White noise without end; two that begin alike are alike.
#[derive(Clone, Debug)]
pub struct Noise {
    state: u32,
}

impl Default for Noise {
    fn default() -> Self {
        Noise { state: 0x9e37_79b9 }
    }
}

impl Noise {
    /// Appends `samples` with a root mean square of `amplitude`, in units of 16-bit PCM.
    pub fn make(&mut self, amplitude: f32, samples: usize, out: &mut Vec<i16>) {
        // A value spread evenly between -1 and 1 has a root mean square of one by the root of three.
        let peak = amplitude.clamp(0.0, f32::from(i16::MAX)) * 3f32.sqrt();
        out.extend((0..samples).map(|_| (peak * self.value()) as i16));
    }

    /// A value between -1 and 1, by xorshift.
    fn value(&mut self) -> f32 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 17;
        self.state ^= self.state << 5;
        self.state as i32 as f32 / 2f32.powi(31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_as_loud_as_asked_and_has_no_offset() {
        let (mut noise, mut sound) = (Noise::default(), Vec::new());
        noise.make(100.0, 8000, &mut sound);
        let mean = sound.iter().map(|s| f64::from(*s)).sum::<f64>() / 8000.0;
        let power = sound.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / 8000.0;
        assert!(mean.abs() < 3.0 && (power.sqrt() - 100.0).abs() < 3.0, "{mean} {power}");
        noise.make(f32::NAN, 10, &mut sound);
        assert_eq!(sound[8000..], [0; 10]);
    }
}
