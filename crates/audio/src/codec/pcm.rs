//! Uncompressed sound on a WebSocket: signed 16-bit little endian, mono. Not offered in SDP.

use super::conceal::Concealer;
use super::{Codec, Decoder, Encoder};

/// PCM at 8000 Hz.
pub static PCM_8000: Codec = row::<8000>();
/// PCM at 16000 Hz, what a WebSocket client sends if it says nothing else.
pub static PCM_16000: Codec = row::<16000>();
/// PCM at 24000 Hz.
pub static PCM_24000: Codec = row::<24000>();
/// PCM at 48000 Hz.
pub static PCM_48000: Codec = row::<48000>();

/// The PCM row for `rate` Hz; none for a rate that is not 8000, 16000, 24000 or 48000.
pub fn at(rate: u32) -> Option<&'static Codec> {
    [&PCM_8000, &PCM_16000, &PCM_24000, &PCM_48000].into_iter().find(|c| c.rate == rate)
}

const fn row<const RATE: u32>() -> Codec {
    Codec {
        name: "pcm",
        static_pt: None,
        dynamic_pt: 127,
        rtp_clock: RATE,
        sdp_channels: 1,
        rate: RATE,
        packet_ms: super::ANY_PACKET_MS,
        fmtp: "",
        encoder: || Box::new(Writer),
        decoder: || Box::new(Reader { odd: None, concealer: Concealer::new(RATE) }),
    }
}

struct Writer;

impl Encoder for Writer {
    fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) {
        out.extend(pcm.iter().flat_map(|s| s.to_le_bytes()));
    }
}

/// Messages need not end on a sample: the odd byte is kept for the next one.
struct Reader {
    odd: Option<u8>,
    concealer: Concealer,
}

impl Decoder for Reader {
    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) {
        let start = out.len();
        let mut rest = payload;
        if let (Some(low), Some((high, tail))) = (self.odd, payload.split_first()) {
            out.push(i16::from_le_bytes([low, *high]));
            self.odd = None;
            rest = tail;
        }
        let (pairs, odd) = rest.as_chunks::<2>();
        out.extend(pairs.iter().map(|pair| i16::from_le_bytes(*pair)));
        self.odd = odd.first().copied().or(self.odd);
        self.concealer.heard(&mut out[start..]);
    }

    fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) {
        self.concealer.conceal(samples, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_may_be_cut_anywhere() {
        let sound: Vec<i16> = (0..1000).map(|n| n * 31).collect();
        let mut bytes = Vec::new();
        (PCM_16000.encoder)().encode(&sound, &mut bytes);
        for size in [1, 2, 3, 7, 641] {
            let (mut decoder, mut back) = ((PCM_16000.decoder)(), Vec::new());
            for message in bytes.chunks(size) {
                decoder.decode(message, &mut back);
            }
            assert_eq!(back, sound, "messages of {size} bytes");
        }
    }

    #[test]
    fn only_the_rates_of_the_house_have_a_row() {
        assert_eq!(at(24000).map(|c| c.rate), Some(24000));
        assert!(at(44100).is_none());
    }
}
