//! Opus (RFC 6716, RFC 7587): 48 kHz mono sound, libopus underneath.

use opusic_c::{Application, Bitrate, Channels, InbandFec, SampleRate, Signal};

use super::conceal::Concealer;
use super::{Codec, Decoder, Encoder};

const RATE: u32 = 48000;
/// Longest sound of one packet (RFC 6716 section 3.4): 120 ms.
const MAX_SAMPLES: usize = RATE as usize / 1000 * 120;
/// Largest packet we make; a 20 ms voice packet has about 80 bytes.
const MAX_BYTES: usize = 1276;
/// Wideband speech is transparent here, and a packet stays well under any MTU.
const BITS_PER_SECOND: u32 = 32_000;
/// Half of the best quality costs a third of its time; speech at this bit rate sounds the same.
const COMPLEXITY: u8 = 5;
/// The loss for which the encoder makes its redundant copies, in percent.
const EXPECTED_LOSS: u8 = 10;

/// Opus, dynamic payload type. `opus/48000/2` is how it is always written (RFC 7587 section 7); we send
/// and receive one channel.
pub static OPUS: Codec = Codec {
    name: "opus",
    static_pt: None,
    dynamic_pt: 111,
    rtp_clock: RATE,
    sdp_channels: 2,
    rate: RATE,
    // A frame has 2.5 to 60 ms, and neither 30 nor 50 (RFC 6716 section 2.1.4).
    packet_ms: &[10, 20, 40, 60],
    fmtp: "minptime=10;useinbandfec=1",
    encoder: || Box::new(Compressor(compressor())),
    decoder: || {
        Box::new(Expander {
            inner: opusic_c::Decoder::new(Channels::Mono, SampleRate::Hz48000).ok(),
            fallback: Concealer::new(RATE),
            without_copies: true,
        })
    },
};

/// None only when memory is exhausted: the encoder is then silent.
fn compressor() -> Option<opusic_c::Encoder> {
    let mut inner = opusic_c::Encoder::new(Channels::Mono, SampleRate::Hz48000, Application::Voip).ok()?;
    inner.set_bitrate(Bitrate::Value(BITS_PER_SECOND)).ok()?;
    inner.set_complexity(COMPLEXITY).ok()?;
    inner.set_signal(Signal::Voice).ok()?;
    inner.set_inband_fec(InbandFec::Mode1).ok()?;
    inner.set_packet_loss(EXPECTED_LOSS).ok()?;
    Some(inner)
}

struct Compressor(Option<opusic_c::Encoder>);

impl Encoder for Compressor {
    fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) {
        let Some(inner) = &mut self.0 else { return };
        let start = out.len();
        out.resize(start + MAX_BYTES, 0);
        let written = inner.encode_to_slice(bytemuck::cast_slice(pcm), &mut out[start..]);
        out.truncate(start + written.unwrap_or(0));
    }
}

struct Expander {
    inner: Option<opusic_c::Decoder>,
    fallback: Concealer,
    /// The last payload was in a mode that has no copies; the state behind it is of no use to one.
    without_copies: bool,
}

impl Expander {
    /// Decodes `payload` into at most `room` samples; an empty payload asks libopus to hide a loss.
    fn run(&mut self, payload: &[u8], room: usize, fec: bool, out: &mut Vec<i16>) -> usize {
        let Some(inner) = &mut self.inner else { return 0 };
        let start = out.len();
        out.resize(start + room, 0);
        let made = inner.decode_to_slice(payload, bytemuck::cast_slice_mut(&mut out[start..]), fec);
        let made = made.unwrap_or(0).min(room);
        out.truncate(start + made);
        made
    }
}

impl Decoder for Expander {
    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) {
        if !payload.is_empty() {
            self.run(payload, MAX_SAMPLES, false, out);
            self.without_copies = Voiced::of(payload).is_none();
        }
    }

    fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) {
        self.recover(&[], samples, out);
    }

    fn recover(&mut self, next: &[u8], samples: usize, out: &mut Vec<i16>) -> bool {
        let copied =
            Voiced::of(next).filter(|_| !self.without_copies).is_some_and(|next| next.copies(samples));
        // libopus hides and recovers in steps of 2.5 ms, at most one packet's length at a time.
        let room = samples.min(MAX_SAMPLES) / 120 * 120;
        let made = if room == 0 { 0 } else { self.run(next, room, !next.is_empty(), out) };
        self.fallback.conceal(samples - made.min(samples), out);
        copied && made == samples
    }
}

/// A payload whose sound, or the lower half of it, is coded as a voice (SILK): it may have a copy of the one before.
struct Voiced {
    /// Samples of one frame, at 48 kHz.
    frame: usize,
    /// Its frames begin with this byte: a bit for each 20 ms that has a voice, and one that tells of a copy.
    first: u8,
}

impl Voiced {
    /// Reads the first bytes of a payload (RFC 6716 sections 3.1, 3.2 and 4.2.3); none for one that is coded otherwise, or
    /// holds several frames whose lengths stand before them.
    fn of(payload: &[u8]) -> Option<Voiced> {
        let [toc, first, ..] = *payload else { return None };
        let mode = usize::from(toc >> 3);
        let frame = match mode {
            0..12 => [480, 960, 1920, 2880].get(mode % 4),
            12..16 => [480, 960].get(mode % 2),
            _ => None,
        };
        frame.filter(|_| toc & 3 == 0).map(|frame| Voiced { frame: *frame, first })
    }

    /// Whether it has a copy of `samples` before it.
    fn copies(&self, samples: usize) -> bool {
        let voices = (self.frame / 960).max(1);
        self.frame == samples && self.first >> (7 - voices) & 1 == 1
    }
}
