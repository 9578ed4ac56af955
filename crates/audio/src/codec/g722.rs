//! G.722 at 64 kbit/s: 16 kHz sound in one byte per two samples.

use ezk_g722::libg722::{Bitrate, decoder, encoder};

use super::conceal::Concealer;
use super::{Codec, Decoder, Encoder};

const RATE: u32 = 16000;

/// G.722, payload type 9. Its RTP clock runs at 8000 (RFC 3551 section 4.5.2).
pub static G722: Codec = Codec {
    name: "G722",
    static_pt: Some(9),
    dynamic_pt: 9,
    rtp_clock: 8000,
    sdp_channels: 1,
    rate: RATE,
    packet_ms: super::ANY_PACKET_MS,
    fmtp: "",
    encoder: || Box::new(Compressor(encoder::Encoder::new(Bitrate::Mode1_64000, false, false))),
    decoder: || {
        Box::new(Expander {
            inner: decoder::Decoder::new(Bitrate::Mode1_64000, false, false),
            concealer: Concealer::new(RATE),
        })
    },
};

struct Compressor(encoder::Encoder);

impl Encoder for Compressor {
    fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) {
        // The codec works on pairs; whole milliseconds are always even.
        let even = pcm.len() & !1;
        out.extend(self.0.encode(pcm.get(..even).unwrap_or_default()));
    }
}

struct Expander {
    inner: decoder::Decoder,
    concealer: Concealer,
}

impl Decoder for Expander {
    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) {
        let mut pcm = self.inner.decode(payload);
        self.concealer.heard(&mut pcm);
        out.append(&mut pcm);
    }

    fn prefetch(&self) {
        self.concealer.prefetch();
    }

    fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) {
        self.concealer.conceal(samples, out);
    }
}
