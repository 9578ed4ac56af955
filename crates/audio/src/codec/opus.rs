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
        }
    }

    fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) {
        self.recover(&[], samples, out);
    }

    fn recover(&mut self, next: &[u8], samples: usize, out: &mut Vec<i16>) {
        // libopus hides and recovers in steps of 2.5 ms, at most one packet's length at a time.
        let room = samples.min(MAX_SAMPLES) / 120 * 120;
        let made = if room == 0 { 0 } else { self.run(next, room, !next.is_empty(), out) };
        self.fallback.conceal(samples - made.min(samples), out);
    }
}
