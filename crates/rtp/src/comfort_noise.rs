//! Comfort noise packets (RFC 3389): how loud the silence of a peer is.
//!
//! A payload is a level and, optionally, the shape of a spectrum, which telephones leave out and which is not
//! read.

/// The quietest level there is, in dBov below full scale.
pub const QUIETEST: u8 = 127;

/// The level that a payload tells, in dBov below full scale: 0 is as loud as can be, 127 silence. `None` for
/// an empty payload.
pub fn level(payload: &[u8]) -> Option<u8> {
    // The highest bit is zero in what RFC 3389 section 3.1 defines.
    payload.first().map(|level| level & QUIETEST)
}

/// The payload that tells `level`.
pub fn payload(level: u8) -> [u8; 1] {
    [level.min(QUIETEST)]
}

/// The level of sound in dBov below full scale (RFC 3389 section 3.1): a full-scale square wave gives 0.
pub fn level_of(pcm: &[i16]) -> u8 {
    let energy: f64 = pcm.iter().map(|&sample| f64::from(sample) * f64::from(sample)).sum();
    let power = energy / pcm.len().max(1) as f64 / (32768.0 * 32768.0);
    // The cast saturates: digital silence has a level of minus infinity.
    (-10.0 * power.log10()).round().clamp(0.0, f64::from(QUIETEST)) as u8
}

/// The root mean square of noise at `level`, in units of 16-bit PCM.
pub fn amplitude(level: u8) -> f64 {
    32768.0 * 10f64.powf(-f64::from(level.min(QUIETEST)) / 20.0)
}
