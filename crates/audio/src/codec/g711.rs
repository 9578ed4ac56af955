//! PCMU and PCMA (ITU-T G.711): eight bits a sample, 8000 samples a second.

use super::conceal::Concealer;
use super::{Codec, Decoder, Encoder};

const RATE: u32 = 8000;

/// G.711 mu-law, payload type 0.
pub static PCMU: Codec = Codec {
    name: "PCMU",
    static_pt: Some(0),
    dynamic_pt: 0,
    rtp_clock: RATE,
    sdp_channels: 1,
    rate: RATE,
    packet_ms: super::ANY_PACKET_MS,
    fmtp: "",
    encoder: || Box::new(Compressor(|pcm, out| out.extend(pcm.iter().map(|s| ulaw_from_linear(*s))))),
    decoder: || Box::new(Expander::new(&ULAW)),
};

/// G.711 A-law, payload type 8.
pub static PCMA: Codec = Codec {
    name: "PCMA",
    static_pt: Some(8),
    dynamic_pt: 8,
    rtp_clock: RATE,
    sdp_channels: 1,
    rate: RATE,
    packet_ms: super::ANY_PACKET_MS,
    fmtp: "",
    encoder: || Box::new(Compressor(|pcm, out| out.extend(pcm.iter().map(|s| alaw_from_linear(*s))))),
    decoder: || Box::new(Expander::new(&ALAW)),
};

/// Linear value of each mu-law byte.
static ULAW: [i16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = linear_from_ulaw(byte as u8);
        byte += 1;
    }
    table
};
/// Linear value of each A-law byte.
static ALAW: [i16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = linear_from_alaw(byte as u8);
        byte += 1;
    }
    table
};

/// Linear 16-bit value of a mu-law byte.
pub fn ulaw(byte: u8) -> i16 {
    ULAW[usize::from(byte)]
}

/// Linear 16-bit value of an A-law byte.
pub fn alaw(byte: u8) -> i16 {
    ALAW[usize::from(byte)]
}

/// The mu-law byte of a linear sample. Negative values are taken by one's complement as in the reference
/// program of ITU-T G.191, which has no overflow at the lowest value.
pub fn ulaw_from_linear(sample: i16) -> u8 {
    let sign = (sample >> 15) as u8 & 0x80;
    let magnitude = sample ^ (sample >> 15);
    // 14 bits, biased by 33 so that every segment begins at a power of two.
    let biased = ((magnitude as u16 >> 2) + 33).min(0x1fff);
    !(sign | segment_and_step(biased, 5))
}

/// The A-law byte of a linear sample; see [`ulaw_from_linear`] for negative values.
pub fn alaw_from_linear(sample: i16) -> u8 {
    let sign = !((sample >> 15) as u8) & 0x80;
    let magnitude = (sample ^ (sample >> 15)) as u16 >> 4;
    let code = if magnitude < 16 { magnitude as u8 } else { segment_and_step(magnitude, 3) };
    (sign | code) ^ 0x55
}

/// The place of the highest bit of `magnitude`, counted from `lowest`, above the four bits that follow it. A float has
/// both side by side, and vectors make floats of many samples at once where they cannot count bits.
fn segment_and_step(magnitude: u16, lowest: u32) -> u8 {
    const BELOW: u32 = f32::MANTISSA_DIGITS - 1 - 4;
    const BIAS: u32 = 127;
    ((f32::from(magnitude).to_bits() >> BELOW).wrapping_sub((BIAS + lowest) << 4)) as u8
}

const fn linear_from_ulaw(byte: u8) -> i16 {
    let bits = !byte;
    let segment = (bits >> 4) & 7;
    let magnitude = (((((bits & 0x0f) as i16) << 1) + 33) << segment) - 33;
    if bits & 0x80 == 0 { magnitude << 2 } else { -(magnitude << 2) }
}

const fn linear_from_alaw(byte: u8) -> i16 {
    let bits = byte ^ 0x55;
    let segment = (bits >> 4) & 7;
    let step = (((bits & 0x0f) as i16) << 1) + 1;
    let magnitude = if segment == 0 { step } else { (step + 32) << (segment - 1) };
    if bits & 0x80 == 0 { -(magnitude << 3) } else { magnitude << 3 }
}

/// Appends the bytes of a whole packet: called for each sample, it could not take vectors.
struct Compressor(fn(&[i16], &mut Vec<u8>));

impl Encoder for Compressor {
    fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) {
        self.0(pcm, out);
    }
}

struct Expander {
    table: &'static [i16; 256],
    concealer: Concealer,
}

impl Expander {
    fn new(table: &'static [i16; 256]) -> Self {
        Expander { table, concealer: Concealer::new(RATE) }
    }
}

impl Decoder for Expander {
    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) {
        let start = out.len();
        out.extend(payload.iter().map(|b| self.table[usize::from(*b)]));
        self.concealer.heard(&mut out[start..]);
    }

    fn prefetch(&self) {
        self.concealer.prefetch();
    }

    fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) {
        self.concealer.conceal(samples, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One level of tables 1 and 2 of G.711: the decision value at which it begins and the value it
    /// stands for, both as 16-bit magnitudes.
    struct Level {
        from: i32,
        value: i32,
    }

    /// Table 2a: the first level is one unit wide, then 15 of two units, then seven segments of sixteen
    /// levels, each twice as coarse as the one before. A unit is 4 of our 16 bits.
    fn ulaw_levels() -> Vec<Level> {
        let mut levels = vec![Level { from: 0, value: 0 }];
        let (mut from, mut step) = (1, 2);
        for count in [15, 16, 16, 16, 16, 16, 16, 16] {
            for _ in 0..count {
                levels.push(Level { from: from * 4, value: (from + step / 2) * 4 });
                from += step;
            }
            step *= 2;
        }
        levels
    }

    /// Table 1a: thirty-two levels of two units, then six segments of sixteen, each twice as coarse. A
    /// unit is 8 of our 16 bits.
    fn alaw_levels() -> Vec<Level> {
        let mut levels = Vec::new();
        let (mut from, mut step) = (0, 2);
        for count in [32, 16, 16, 16, 16, 16, 16] {
            for _ in 0..count {
                levels.push(Level { from: from * 8, value: (from + step / 2) * 8 });
                from += step;
            }
            step *= 2;
        }
        levels
    }

    fn number(levels: &[Level], magnitude: i32) -> usize {
        levels.iter().rposition(|l| l.from <= magnitude).unwrap()
    }

    /// Negative samples by one's complement, as G.191 has it.
    fn magnitude(sample: i16) -> i32 {
        i32::from(if sample < 0 { !sample } else { sample })
    }

    #[test]
    fn every_sample_gets_the_mu_law_level_of_the_recommendation() {
        let levels = ulaw_levels();
        assert_eq!(levels.len(), 128);
        for sample in i16::MIN..=i16::MAX {
            let n = number(&levels, magnitude(sample));
            let byte = !(n as u8 | if sample < 0 { 0x80 } else { 0 });
            assert_eq!(ulaw_from_linear(sample), byte, "sample {sample}");
            let value = if sample < 0 { -levels[n].value } else { levels[n].value };
            assert_eq!(i32::from(ulaw(byte)), value, "sample {sample}");
        }
    }

    #[test]
    fn every_sample_gets_the_a_law_level_of_the_recommendation() {
        let levels = alaw_levels();
        assert_eq!(levels.len(), 128);
        for sample in i16::MIN..=i16::MAX {
            let n = number(&levels, magnitude(sample));
            let byte = (n as u8 | if sample < 0 { 0 } else { 0x80 }) ^ 0x55;
            assert_eq!(alaw_from_linear(sample), byte, "sample {sample}");
            let value = if sample < 0 { -levels[n].value } else { levels[n].value };
            assert_eq!(i32::from(alaw(byte)), value, "sample {sample}");
        }
    }

    #[test]
    fn silence_has_the_bytes_every_telephone_knows() {
        assert_eq!((ulaw_from_linear(0), alaw_from_linear(0)), (0xff, 0xd5));
    }
}
