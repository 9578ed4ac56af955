//! Recordings as bytes of a file: a format is one row in [`FORMATS`]. Every recording is stereo, the caller
//! left and the agent right.

pub(crate) mod ogg;
mod opus;

use crate::codec::{self, Encoder, g711};
use crate::wav;

/// Channels of every recording.
pub const CHANNELS: u16 = 2;
/// Rates at which sound is kept as samples.
const RATES: &[u32] = &[8_000, 16_000, 24_000, 48_000];

/// What is known of a file format.
#[derive(Debug)]
pub struct Format {
    /// Name in options and configuration.
    pub name: &'static str,
    /// Ending of the file's name, without the dot.
    pub extension: &'static str,
    /// Rates in Hz that the format has, the lowest first.
    pub rates: &'static [u32],
    /// Makes a writer for sound at one of the rates; `None` for another rate, or without memory.
    pub writer: fn(u32) -> Option<Box<dyn Writer>>,
}

/// The formats, the default first. All but `wav` and `opus` are bare bytes without a header, the two sides
/// alternating: samples (`pcm`, 16 bits little endian), or one byte of each encoder.
pub static FORMATS: &[&Format] = &[
    &Format { name: "wav", extension: "wav", rates: RATES, writer: |rate| open::<Wav>(RATES, rate) },
    &Format { name: "pcm", extension: "pcm", rates: RATES, writer: |rate| open::<Pcm>(RATES, rate) },
    &Format { name: "pcmu", extension: "pcmu", rates: &[8_000], writer: |rate| sides(&g711::PCMU, rate) },
    &Format { name: "pcma", extension: "pcma", rates: &[8_000], writer: |rate| sides(&g711::PCMA, rate) },
    &Format {
        name: "g722",
        extension: "g722",
        rates: &[16_000],
        writer: |rate| sides(&codec::g722::G722, rate),
    },
    &Format { name: "opus", extension: "opus", rates: RATES, writer: opus::writer },
];

/// The format called `name`, in any case.
pub fn format(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name.eq_ignore_ascii_case(name)).copied()
}

impl Format {
    /// The rate nearest to the wanted one that the format has; between two the higher.
    pub fn rate_near(&self, wanted: u32) -> u32 {
        let nearest = self.rates.iter().rev().min_by_key(|rate| rate.abs_diff(wanted));
        nearest.copied().unwrap_or(wanted)
    }
}

/// Makes the bytes of one recording.
pub trait Writer: Send {
    /// What stands at the beginning of the file. Its length never changes; written anew after each piece of
    /// sound, it makes a file that breaks off playable. Empty for formats without a header.
    fn head(&self) -> Vec<u8>;

    /// Appends to `out` what comes behind for `stereo`, interleaved samples of both sides. Some of it may be
    /// kept back until more sound comes. An odd sample at the end is left out.
    fn sound(&mut self, stereo: &[i16], out: &mut Vec<u8>);

    /// Appends to `out` the end of the recording. Nothing is to be written afterwards.
    fn finish(&mut self, _out: &mut Vec<u8>) {}
}

/// A writer that needs no more than a rate.
trait AtRate: Writer + Sized + 'static {
    fn at(rate: u32) -> Self;
}

fn open<W: AtRate>(rates: &[u32], rate: u32) -> Option<Box<dyn Writer>> {
    rates.contains(&rate).then(|| Box::new(W::at(rate)) as Box<dyn Writer>)
}

/// The whole pairs of samples.
fn pairs(stereo: &[i16]) -> &[i16] {
    stereo.get(..stereo.len() & !1).unwrap_or_default()
}

/// RIFF WAVE with 16-bit samples.
struct Wav {
    rate: u32,
    bytes: u64,
}

impl AtRate for Wav {
    fn at(rate: u32) -> Self {
        Wav { rate, bytes: 0 }
    }
}

impl Writer for Wav {
    fn head(&self) -> Vec<u8> {
        wav::header(self.rate, CHANNELS, self.bytes).to_vec()
    }

    fn sound(&mut self, stereo: &[i16], out: &mut Vec<u8>) {
        let start = out.len();
        Pcm.sound(stereo, out);
        self.bytes += (out.len() - start) as u64;
    }
}

/// Bare 16-bit samples.
struct Pcm;

impl AtRate for Pcm {
    fn at(_: u32) -> Self {
        Pcm
    }
}

impl Writer for Pcm {
    fn head(&self) -> Vec<u8> {
        Vec::new()
    }

    fn sound(&mut self, stereo: &[i16], out: &mut Vec<u8>) {
        let (start, pairs) = (out.len(), pairs(stereo));
        out.resize(start + pairs.len() * 2, 0);
        let places = out[start..].as_chunks_mut::<2>().0.iter_mut();
        places.zip(pairs).for_each(|(place, sample)| *place = sample.to_le_bytes());
    }
}

/// Bare bytes of a codec that gives the same number of them for each sample, one encoder for each side.
struct Sides {
    encoders: [Box<dyn Encoder>; 2],
    /// Sound of both sides that fills no 10 ms yet.
    kept: Vec<i16>,
    /// Samples of 10 ms, both sides together.
    step: usize,
}

fn sides(codec: &codec::Codec, rate: u32) -> Option<Box<dyn Writer>> {
    let encoders = [(codec.encoder)(), (codec.encoder)()];
    let step = codec.rate as usize / 100 * usize::from(CHANNELS);
    (codec.rate == rate).then(|| Box::new(Sides { encoders, kept: Vec::new(), step }) as Box<dyn Writer>)
}

impl Sides {
    fn encode(&mut self, samples: usize, out: &mut Vec<u8>) {
        let whole: Vec<i16> = self.kept.drain(..samples).collect();
        let mut halves = [Vec::new(), Vec::new()];
        for (side, (encoder, half)) in self.encoders.iter_mut().zip(&mut halves).enumerate() {
            let mono: Vec<i16> = whole.iter().skip(side).step_by(2).copied().collect();
            encoder.encode(&mono, half);
        }
        let [left, right] = halves;
        out.extend(left.into_iter().zip(right).flat_map(|(left, right)| [left, right]));
    }
}

impl Writer for Sides {
    fn head(&self) -> Vec<u8> {
        Vec::new()
    }

    fn sound(&mut self, stereo: &[i16], out: &mut Vec<u8>) {
        self.kept.extend(pairs(stereo));
        self.encode(self.kept.len() / self.step * self.step, out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.kept.is_empty() {
            self.kept.resize(self.step, 0);
            self.encode(self.step, out);
        }
    }
}
