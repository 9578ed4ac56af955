//! Opus in Ogg (RFC 7845).

use opusic_c::{Application, Bitrate, Channels, Encoder, SampleRate};

use super::ogg::{Pages, Position};
use super::{CHANNELS, Writer};

/// Positions and the pre-skip count samples of 48 kHz, whatever the sound's rate is (RFC 7845 section 4).
const CLOCK: u32 = 48_000;
/// Samples of a packet of 20 ms by that clock.
const PACKET: u64 = 960;
/// Packets on a page: a second, which is what a file that breaks off loses.
const PAGE_PACKETS: u64 = 50;
/// Two voices apart from each other.
const BITS_PER_SECOND: u32 = 48_000;
/// As for calls: the best quality costs three times as much and sounds the same.
const COMPLEXITY: u8 = 5;
/// Largest packet of 20 ms.
const MAX_BYTES: usize = 1276;
/// Who wrote the file.
const VENDOR: &str = "active-call";

/// A writer for sound at `rate` Hz.
pub(super) fn writer(rate: u32) -> Option<Box<dyn Writer>> {
    let known = [
        (8_000, SampleRate::Hz8000),
        (16_000, SampleRate::Hz16000),
        (24_000, SampleRate::Hz24000),
        (48_000, SampleRate::Hz48000),
    ];
    let (_, sample_rate) = known.into_iter().find(|(known, _)| *known == rate)?;
    let mut encoder = Encoder::new(Channels::Stereo, sample_rate, Application::Audio).ok()?;
    encoder.set_bitrate(Bitrate::Value(BITS_PER_SECOND)).ok()?;
    encoder.set_complexity(COMPLEXITY).ok()?;
    let pre_skip = u64::from(encoder.get_look_ahead().ok()?) * u64::from(CLOCK / rate);
    let mut head = Vec::new();
    write_head(rate, u16::try_from(pre_skip).ok()?, &mut head);
    let frame = rate as usize / 50 * usize::from(CHANNELS);
    Some(Box::new(Opus {
        encoder,
        head,
        rate,
        frame,
        pre_skip,
        kept: Vec::new(),
        pages: Pages::new(2),
        packets: 0,
        samples: 0,
    }))
}

/// The two pages that begin the stream: what it is, and by whom.
fn write_head(rate: u32, pre_skip: u16, out: &mut Vec<u8>) {
    let mut pages = Pages::new(0);
    let mut what = b"OpusHead\x01".to_vec();
    what.push(CHANNELS as u8);
    what.extend(pre_skip.to_le_bytes());
    what.extend(rate.to_le_bytes());
    // No gain, and the mapping of plain stereo.
    what.extend([0, 0, 0]);
    pages.packet(&what);
    pages.flush(Position::First, 0, out);
    let mut whom = b"OpusTags".to_vec();
    whom.extend((VENDOR.len() as u32).to_le_bytes());
    whom.extend_from_slice(VENDOR.as_bytes());
    whom.extend(0u32.to_le_bytes());
    pages.packet(&whom);
    pages.flush(Position::Middle, 0, out);
}

struct Opus {
    encoder: Encoder,
    head: Vec<u8>,
    rate: u32,
    /// Samples of a packet, both sides together.
    frame: usize,
    pre_skip: u64,
    /// Sound that fills no packet yet.
    kept: Vec<i16>,
    pages: Pages,
    /// Packets encoded so far.
    packets: u64,
    /// Samples taken so far, of each side.
    samples: u64,
}

impl Opus {
    fn packet(&mut self, out: &mut Vec<u8>) {
        let frame: Vec<i16> = self.kept.drain(..self.frame.min(self.kept.len())).collect();
        let mut packet = [0; MAX_BYTES];
        let written = self.encoder.encode_to_slice(bytemuck::cast_slice(&frame), &mut packet).unwrap_or(0);
        let packet = packet.get(..written).unwrap_or_default();
        if !self.pages.has_room(packet.len()) {
            self.pages.flush(Position::Middle, self.packets * PACKET, out);
        }
        self.pages.packet(packet);
        self.packets += 1;
    }
}

impl Writer for Opus {
    fn head(&self) -> Vec<u8> {
        self.head.clone()
    }

    fn sound(&mut self, stereo: &[i16], out: &mut Vec<u8>) {
        let stereo = super::pairs(stereo);
        self.samples += (stereo.len() / 2) as u64;
        self.kept.extend_from_slice(stereo);
        // The last packet waits: the end of the stream has to stand on the page of a packet.
        while self.kept.len() > self.frame {
            self.packet(out);
            if self.packets.is_multiple_of(PAGE_PACKETS) {
                self.pages.flush(Position::Middle, self.packets * PACKET, out);
            }
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        // The position of the last page cuts off what fills up the last packet (RFC 7845 section 4.4); the
        // sound comes out of the decoder as late as the pre-skip tells.
        let end = self.samples * u64::from(CLOCK / self.rate) + self.pre_skip;
        while self.packets * PACKET < end {
            self.kept.resize(self.frame.max(self.kept.len()), 0);
            self.packet(out);
        }
        self.pages.flush(Position::Last, end, out);
    }
}
