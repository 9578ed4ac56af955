//! WAV files: the header we write and a reader that trusts nothing.

use std::collections::VecDeque;

use thiserror::Error;

use crate::codec::g711;

/// Length of the header that [`header`] makes.
pub const HEADER_BYTES: usize = 44;
/// More channels than this are no recording of a call.
const MAX_CHANNELS: u16 = 32;
/// Sample rates beyond are a damaged file.
const MAX_RATE: u32 = 384_000;

const FORMAT_PCM: u16 = 1;
const FORMAT_FLOAT: u16 = 3;
const FORMAT_ALAW: u16 = 6;
const FORMAT_ULAW: u16 = 7;
const FORMAT_EXTENSIBLE: u16 = 0xfffe;

/// The header of a 16-bit PCM file with `data_bytes` of samples after it. Sizes that do not fit 32 bits are
/// written as the largest that do.
pub fn header(rate: u32, channels: u16, data_bytes: u64) -> [u8; HEADER_BYTES] {
    let data = u32::try_from(data_bytes).unwrap_or(u32::MAX);
    let block = channels.saturating_mul(2);
    let mut out = [0; HEADER_BYTES];
    let fields: [&[u8]; 13] = [
        b"RIFF",
        &data.saturating_add(HEADER_BYTES as u32 - 8).to_le_bytes(),
        b"WAVE",
        b"fmt ",
        &16u32.to_le_bytes(),
        &FORMAT_PCM.to_le_bytes(),
        &channels.to_le_bytes(),
        &rate.to_le_bytes(),
        &rate.saturating_mul(u32::from(block)).to_le_bytes(),
        &block.to_le_bytes(),
        &16u16.to_le_bytes(),
        b"data",
        &data.to_le_bytes(),
    ];
    for (to, from) in out.iter_mut().zip(fields.iter().copied().flatten()) {
        *to = *from;
    }
    out
}

/// Why bytes are not a WAV file we can play.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum WavError {
    /// The file does not begin like a WAV file.
    #[error("not a WAV file: it must begin with RIFF and WAVE")]
    NotWav,
    /// The file ends before its format is described.
    #[error("the WAV file has no usable fmt chunk before its data")]
    NoFormat,
    /// The file has no data chunk.
    #[error("the WAV file has no data chunk: it was cut off or never finished")]
    NoData,
    /// An encoding we do not read.
    #[error(
        "WAV format {format} with {bits} bits is not supported: use PCM of 8, 16, 24 or 32 bits, \
         32-bit float, mu-law or A-law"
    )]
    Encoding {
        /// The format code.
        format: u16,
        /// Bits per sample.
        bits: u16,
    },
    /// No rate or channel count of a real file.
    #[error("the WAV file claims {channels} channels at {rate} Hz: 1 to 32 channels up to 384000 Hz work")]
    Shape {
        /// Channels claimed.
        channels: u16,
        /// Samples a second claimed.
        rate: u32,
    },
}

/// The sound of a WAV file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wav {
    /// Samples per second and channel, from 1 to 384000.
    pub rate: u32,
    /// Number of channels, from 1 to 32.
    pub channels: u16,
    /// Samples of all channels, interleaved; a whole number of each channel.
    pub samples: Vec<i16>,
}

impl Wav {
    /// Reads a whole WAV file. Sizes in it that promise more than there is are taken as "to the end", as in
    /// files that were streamed or cut off.
    ///
    /// # Errors
    /// The bytes are no WAV file, lack its format or its data, or hold an encoding or a shape that is not read.
    pub fn parse(bytes: &[u8]) -> Result<Wav, WavError> {
        let Some(([b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E'], mut rest)) =
            bytes.split_first_chunk::<12>()
        else {
            return Err(WavError::NotWav);
        };
        let mut format = None;
        while let Some((name, body, next)) = chunk(rest) {
            match &name {
                b"fmt " => format = Some(Format::parse(body)?),
                b"data" => return Ok(format.ok_or(WavError::NoFormat)?.read(body)),
                _ => {}
            }
            rest = next;
        }
        Err(if format.is_some() { WavError::NoData } else { WavError::NoFormat })
    }

    /// All channels mixed to one.
    pub fn mono(&self) -> Vec<i16> {
        let channels = i32::from(self.channels.max(1));
        let mean = |frame: &[i16]| (frame.iter().map(|s| i32::from(*s)).sum::<i32>() / channels) as i16;
        self.samples.chunks_exact(channels as usize).map(mean).collect()
    }
}

/// The name and body of the first chunk and what follows it.
fn chunk(bytes: &[u8]) -> Option<([u8; 4], &[u8], &[u8])> {
    let (name, rest) = bytes.split_first_chunk::<4>()?;
    let (size, rest) = rest.split_first_chunk::<4>()?;
    let size = u32::from_le_bytes(*size) as usize;
    // A recorder that was killed leaves a size of nothing or of everything.
    let open = name == b"data" && (size == 0 || size > rest.len());
    let (body, next) = rest.split_at(if open { rest.len() } else { size.min(rest.len()) });
    let padding = (size & 1).min(next.len());
    Some((*name, body, next.get(padding..)?))
}

#[derive(Clone, Copy)]
enum Encoding {
    Pcm8,
    Pcm16,
    Pcm24,
    Pcm32,
    Float,
    Alaw,
    Ulaw,
}

struct Format {
    encoding: Encoding,
    rate: u32,
    channels: u16,
}

impl Format {
    fn parse(body: &[u8]) -> Result<Format, WavError> {
        let half = |at: usize| match body.get(at..at + 2) {
            Some(&[low, high]) => Ok(u16::from_le_bytes([low, high])),
            _ => Err(WavError::NoFormat),
        };
        let (channels, bits) = (half(2)?, half(14)?);
        let rate = u32::from(half(4)?) | u32::from(half(6)?) << 16;
        // An extensible header has the true format code at the beginning of a GUID.
        let format = match half(0)? {
            FORMAT_EXTENSIBLE => half(24)?,
            plain => plain,
        };
        let encoding = match (format, bits) {
            (FORMAT_PCM, 8) => Encoding::Pcm8,
            (FORMAT_PCM, 16) => Encoding::Pcm16,
            (FORMAT_PCM, 24) => Encoding::Pcm24,
            (FORMAT_PCM, 32) => Encoding::Pcm32,
            (FORMAT_FLOAT, 32) => Encoding::Float,
            (FORMAT_ALAW, 8) => Encoding::Alaw,
            (FORMAT_ULAW, 8) => Encoding::Ulaw,
            _ => return Err(WavError::Encoding { format, bits }),
        };
        if channels == 0 || channels > MAX_CHANNELS || rate == 0 || rate > MAX_RATE {
            return Err(WavError::Shape { channels, rate });
        }
        Ok(Format { encoding, rate, channels })
    }

    fn read(&self, data: &[u8]) -> Wav {
        let high = |bytes: [u8; 2]| i16::from_le_bytes(bytes);
        let mut samples: Vec<i16> = match self.encoding {
            Encoding::Pcm8 => data.iter().map(|b| (i16::from(*b) - 128) << 8).collect(),
            Encoding::Pcm16 => data.as_chunks().0.iter().map(|b| high(*b)).collect(),
            Encoding::Pcm24 => data.as_chunks().0.iter().map(|[_, b, c]| high([*b, *c])).collect(),
            Encoding::Pcm32 => data.as_chunks().0.iter().map(|[_, _, c, d]| high([*c, *d])).collect(),
            // The cast saturates, and makes zero of what is no number.
            Encoding::Float => {
                data.as_chunks().0.iter().map(|b| (f32::from_le_bytes(*b) * 32768.0) as i16).collect()
            }
            Encoding::Alaw => data.iter().map(|b| g711::alaw(*b)).collect(),
            Encoding::Ulaw => data.iter().map(|b| g711::ulaw(*b)).collect(),
        };
        samples.truncate(samples.len() / usize::from(self.channels) * usize::from(self.channels));
        Wav { rate: self.rate, channels: self.channels, samples }
    }
}

/// Joins two mono streams to a stereo one: the caller left, the agent right.
#[derive(Debug, Default)]
pub struct Interleave {
    caller: VecDeque<i16>,
    agent: VecDeque<i16>,
}

impl Interleave {
    /// Takes sound of the caller.
    pub fn caller(&mut self, pcm: &[i16]) {
        self.caller.extend(pcm);
    }

    /// Takes sound of the agent.
    pub fn agent(&mut self, pcm: &[i16]) {
        self.agent.extend(pcm);
    }

    /// Appends to `out` all moments for which both sides are there.
    pub fn drain(&mut self, out: &mut Vec<i16>) {
        let both = self.caller.len().min(self.agent.len());
        let pairs = self.caller.drain(..both).zip(self.agent.drain(..both));
        out.extend(pairs.flat_map(|(left, right)| [left, right]));
    }

    /// Appends to `out` all that is left; where one side is shorter it is silent.
    pub fn finish(&mut self, out: &mut Vec<i16>) {
        let all = self.caller.len().max(self.agent.len());
        self.caller.resize(all, 0);
        self.agent.resize(all, 0);
        self.drain(out);
    }
}
