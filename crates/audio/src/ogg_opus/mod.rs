//! Sound out of Opus in Ogg (RFC 7845), as it comes: from a disk or while it is fetched.

mod pages;

use std::collections::VecDeque;

use opusic_c::{Channels, Decoder, SampleRate, utils};
use thiserror::Error;

use pages::{Page, Pages, Part};

/// Hz of what comes out: calls compute in no more.
pub const RATE: u32 = 16_000;

/// What a file of Opus begins with, in its first packet, and what its second packet begins with.
const HEAD: &[u8] = b"OpusHead";
/// Positions count samples of 48 kHz, whatever the sound was made of (RFC 7845 section 4).
const CLOCK: u64 = 48_000;
const STEP: u64 = CLOCK / RATE as u64;
/// Longest sound of one packet (RFC 6716 section 3.4), 120 ms.
const MOST_SAMPLES: usize = RATE as usize / 1000 * 120;
/// Longest packet: what a stream of two channels can need (RFC 7845 section 6), and some.
const MOST_BYTES: usize = 64 * 1024;
/// Packets that may be broken before a file is given up.
const MOST_BROKEN: u32 = 100;

/// Why a file gives no sound.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum OggError {
    /// Too much of it is broken.
    #[error("the file is damaged")]
    Damaged,
    /// Its head says what we do not know.
    #[error("its Opus stream is of an unknown kind: expected one or two channels")]
    Unknown,
}

/// Whether the beginning of a file is that of Opus in Ogg. Its first pages tell; 4 kB hold them.
pub fn begins(file: &[u8]) -> bool {
    let mut pages = Pages::default();
    pages.push(file);
    while let Ok(Some(page)) = pages.poll() {
        if !page.is_first() {
            return false;
        }
        if page.parts().first().is_some_and(|part| part.bytes.starts_with(HEAD)) {
            return true;
        }
    }
    false
}

/// Decodes a file: push its bytes, and poll its sound after each push.
pub struct OggOpus {
    pages: Pages,
    stream: Option<Stream>,
    /// Packets of the last page, each with how many samples of 48 kHz of it are sound.
    packets: VecDeque<(Vec<u8>, u64)>,
    broken: u32,
}

/// One stream; a file may hold several, one behind the other.
struct Stream {
    serial: u32,
    decoder: Decoder,
    /// Samples that are still to be dropped: the decoder needs them to begin.
    skip: usize,
    /// The packet with tags has passed.
    tagged: bool,
    /// A packet that goes on on the next page.
    begun: Option<Vec<u8>>,
    /// Where it stands, in samples of 48 kHz.
    position: u64,
    ended: bool,
}

impl Default for OggOpus {
    fn default() -> Self {
        Self::new()
    }
}

impl OggOpus {
    /// At the beginning of a file.
    pub fn new() -> Self {
        OggOpus { pages: Pages::default(), stream: None, packets: VecDeque::new(), broken: 0 }
    }

    /// Takes the next bytes of the file, as many as come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pages.push(bytes);
    }

    /// Whether all of a file has come undamaged: its last page, and each before it.
    pub fn is_whole(&self) -> bool {
        self.pages.is_whole() && self.broken == 0 && self.stream.as_ref().is_some_and(|stream| stream.ended)
    }

    /// The next sound: at most 120 ms, mono at [`RATE`]. `None` wants more bytes; after the last of a file it is its end.
    ///
    /// # Errors
    /// The file is no good; what was given before is.
    pub fn poll(&mut self) -> Result<Option<Vec<i16>>, OggError> {
        loop {
            if let Some((packet, sound)) = self.packets.pop_front() {
                match self.decoded(&packet, sound)? {
                    samples if samples.is_empty() => continue,
                    samples => return Ok(Some(samples)),
                }
            }
            let Some(page) = self.pages.poll()? else { return Ok(None) };
            if page.is_first() {
                self.begin(&page)?;
            } else if let Some(stream) = self.stream.as_mut().filter(|stream| stream.serial == page.serial) {
                stream.take(&page, &mut self.packets);
            }
        }
    }

    /// Begins the stream that a page begins, unless another is being heard.
    fn begin(&mut self, page: &Page) -> Result<(), OggError> {
        if self.stream.as_ref().is_some_and(|stream| !stream.ended) {
            return Ok(());
        }
        let parts = page.parts();
        if let Some(head) = parts.first().and_then(|part| part.bytes.strip_prefix(HEAD)) {
            self.stream = Some(Stream::new(page.serial, head)?);
        }
        Ok(())
    }

    fn decoded(&mut self, packet: &[u8], sound: u64) -> Result<Vec<i16>, OggError> {
        let Some(stream) = &mut self.stream else { return Ok(Vec::new()) };
        let mut samples = vec![0_i16; MOST_SAMPLES];
        let made = stream.decoder.decode_to_slice(packet, bytemuck::cast_slice_mut(&mut samples), false);
        let Ok(made) = made else {
            self.broken += 1;
            return if self.broken > MOST_BROKEN { Err(OggError::Damaged) } else { Ok(Vec::new()) };
        };
        samples.truncate(made.min(usize::try_from(sound.div_ceil(STEP)).unwrap_or(usize::MAX)));
        let dropped = stream.skip.min(samples.len());
        stream.skip -= dropped;
        samples.drain(..dropped);
        Ok(samples)
    }
}

impl Stream {
    /// A stream by its head (RFC 7845 section 5.1), which `rest` holds behind its name.
    fn new(serial: u32, rest: &[u8]) -> Result<Self, OggError> {
        let [version, channels, s0, s1, _, _, _, _, g0, g1, family, more @ ..] = rest else {
            return Err(OggError::Unknown);
        };
        // The family of plain stereo, or another one with a single stream in it.
        let plain = match (family, more) {
            (0, _) => matches!(channels, 1 | 2),
            (_, [streams, coupled, ..]) => *streams == 1 && *coupled <= 1,
            _ => false,
        };
        if version & 0xf0 != 0 || !plain {
            return Err(OggError::Unknown);
        }
        let decoder = Decoder::new(Channels::Mono, SampleRate::Hz16000).and_then(|mut decoder| {
            decoder.set_gain(i32::from(i16::from_le_bytes([*g0, *g1])))?;
            // Sides that were coded with one turned over must not cancel each other (RFC 8251 section 10).
            decoder.set_phase_inversion_disabled(true)?;
            Ok(decoder)
        });
        Ok(Stream {
            serial,
            decoder: decoder.map_err(|_| OggError::Unknown)?,
            skip: usize::from(u16::from_le_bytes([*s0, *s1])).div_ceil(STEP as usize),
            tagged: false,
            begun: None,
            position: 0,
            ended: false,
        })
    }

    /// Takes the packets that end on a page.
    fn take(&mut self, page: &Page, packets: &mut VecDeque<(Vec<u8>, u64)>) {
        let mut whole: Vec<(Vec<u8>, u64)> = Vec::new();
        for part in page.parts() {
            if let Some(packet) = self.join(&part) {
                let samples = utils::get_nb_samples(&packet, SampleRate::Hz48000).unwrap_or(0);
                whole.push((packet, samples as u64));
            }
        }
        let length: u64 = whole.iter().map(|(_, samples)| *samples).sum();
        if page.is_last() {
            self.ended = true;
            // The last page says where the sound ends within its packets (RFC 7845 section 4.4).
            let mut left = page.granule.map_or(length, |end| end.saturating_sub(self.position));
            for (_, samples) in &mut whole {
                *samples = left.min(*samples);
                left -= *samples;
            }
        }
        self.position = page.granule.unwrap_or(self.position.saturating_add(length));
        packets.extend(whole);
    }

    /// A packet that is whole with this part of it; none of the tags.
    fn join(&mut self, part: &Part<'_>) -> Option<Vec<u8>> {
        if !self.tagged {
            // Tags may hold a picture of any size; they are passed over.
            self.tagged = part.ends;
            return None;
        }
        let mut packet = match (part.continues, self.begun.take()) {
            (true, Some(begun)) => begun,
            // Its beginning is lost.
            (true, None) => return None,
            (false, _) => Vec::new(),
        };
        if packet.len() + part.bytes.len() > MOST_BYTES {
            return None;
        }
        packet.extend_from_slice(part.bytes);
        if !part.ends {
            self.begun = Some(packet);
            return None;
        }
        Some(packet).filter(|packet| !packet.is_empty())
    }
}
