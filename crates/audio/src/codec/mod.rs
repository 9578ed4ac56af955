//! Codecs as table rows: a codec is one file with one [`Codec`] and one row in [`CODECS`].

mod conceal;
pub mod g711;
pub mod g722;
pub mod opus;
pub mod pcm;

/// What is known of a codec. SDP, RTP and WebSocket read this row; nothing else knows a codec by name.
#[derive(Debug)]
pub struct Codec {
    /// Name as in SDP, matched without regard to case.
    pub name: &'static str,
    /// Static payload type of RFC 3551, if it has one.
    pub static_pt: Option<u8>,
    /// Payload type we offer when it has no static one.
    pub dynamic_pt: u8,
    /// RTP clock in Hz. G.722 runs at 8000 for historical reasons (RFC 3551 section 4.5.2).
    pub rtp_clock: u32,
    /// Channels as written in `a=rtpmap` (Opus: always 2, RFC 7587 section 7).
    pub sdp_channels: u8,
    /// Sample rate of the PCM that goes in and comes out, in Hz.
    pub rate: u32,
    /// Lengths of sound that one packet can hold, in milliseconds, shortest first.
    pub packet_ms: &'static [u32],
    /// `a=fmtp` parameters we send; empty for none.
    pub fmtp: &'static str,
    /// Makes an encoder.
    pub encoder: fn() -> Box<dyn Encoder>,
    /// Makes a decoder.
    pub decoder: fn() -> Box<dyn Decoder>,
}

/// Packet lengths of codecs that work sample by sample: every 10 ms that is used on telephone lines.
pub(crate) const ANY_PACKET_MS: &[u32] = &[10, 20, 30, 40, 50, 60];

/// Turns PCM into payload bytes. Input is mono at [`Codec::rate`], a whole number of 10 ms.
pub trait Encoder: Send {
    /// Appends the payload for `pcm` to `out`.
    fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>);
}

/// Turns payload bytes into mono PCM at [`Codec::rate`].
pub trait Decoder: Send {
    /// Appends the sound of one payload to `out`. A damaged payload gives whatever the codec can make of
    /// it, at worst nothing.
    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>);
    /// Asks for the memory that [`decode`](Self::decode) wants of a payload of 20 ms, beside its own.
    fn prefetch(&self) {}
    /// Appends `samples` of sound that hide a lost packet. Called again and again it fades to silence.
    fn conceal(&mut self, samples: usize, out: &mut Vec<i16>);
    /// Appends `samples` of sound for a lost packet of which `next`, the payload after it, may carry a
    /// copy (Opus in-band FEC), and answers whether they are that copy. `next` itself is decoded afterwards as usual.
    fn recover(&mut self, _next: &[u8], samples: usize, out: &mut Vec<i16>) -> bool {
        self.conceal(samples, out);
        false
    }
}

/// The codecs of RTP, best first.
pub static CODECS: &[&Codec] = &[&opus::OPUS, &g722::G722, &g711::PCMU, &g711::PCMA];

/// The codecs of a WebSocket leg, the default first. PCM is not offered in SDP.
pub static WEBSOCKET_CODECS: &[&Codec] = &[&pcm::PCM_16000, &g711::PCMU, &g711::PCMA, &g722::G722];

/// The codec called `name` (any case) in [`CODECS`], if we have it.
pub fn by_name(name: &str) -> Option<&'static Codec> {
    find(CODECS, name)
}

/// The codec called `name` (any case) among `codecs`.
pub fn find(codecs: &'static [&'static Codec], name: &str) -> Option<&'static Codec> {
    codecs.iter().find(|c| c.name.eq_ignore_ascii_case(name)).copied()
}
