//! What the far end of a simulated call says of its media, and the keys it agrees on.

use std::net::IpAddr;

use audio::Codec;
use rtp::Keys;
use rtp::sdp::{self, Direction, KeyRing, Local, RING_BYTES, Security};
use rtp::srtp::AES_CM_128_HMAC_SHA1_80;

use crate::caller::{ADDRESS, DIGIT_PAYLOAD, codec_named};

/// What a script says of the far end's media.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// It speaks SRTP, and nothing in clear.
    pub encrypted: bool,
    /// It speaks SRTP where that is offered, and offers clear sound.
    pub willing: bool,
    /// It has no telephone-events.
    pub eventless: bool,
    /// It refuses digits by INFO.
    pub infoless: bool,
    /// It refuses every offer of ours once the call is up.
    pub immovable: bool,
    /// Its INVITE has no offer: it answers ours in its ACK.
    pub offerless: bool,
}

/// The far end's terms.
pub(crate) struct Terms {
    codec: String,
    row: [&'static Codec; 1],
    ring: KeyRing,
    pub(crate) manner: Manner,
    /// It holds us.
    pub(crate) holds: bool,
}

impl Terms {
    pub(crate) fn new(codec: &str, manner: Manner) -> Self {
        let (row, _) = codec_named(codec).unwrap_or((&audio::codec::pcm::PCM_16000, 18));
        let ring = KeyRing::new(&[&AES_CM_128_HMAC_SHA1_80], &[9; RING_BYTES]);
        Terms { codec: codec.to_owned(), row: [row], ring, manner, holds: false }
    }

    /// An offer of its one codec.
    pub(crate) fn offer(&self, direction: &str, version: u64) -> String {
        let (name, clock, payload_type) = match codec_named(&self.codec) {
            Some((codec, payload_type)) => (codec.name, codec.rtp_clock, payload_type),
            None => (self.codec.as_str(), 8_000, 18),
        };
        let digits = if self.manner.eventless { String::new() } else { format!(" {DIGIT_PAYLOAD}") };
        let profile = if self.manner.encrypted { "RTP/SAVP" } else { "RTP/AVP" };
        let mut sdp = format!(
            "v=0\r\no=- 7 {version} IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
             m=audio 40000 {profile} {payload_type}{digits}\r\n\
             a=rtpmap:{payload_type} {name}/{clock}\r\n"
        );
        if !self.manner.eventless {
            sdp += &format!("a=rtpmap:{DIGIT_PAYLOAD} telephone-event/8000\r\n");
        }
        let whole = sdp::offer(&self.local());
        let keys = whole.lines().filter(|line| self.manner.encrypted && line.starts_with("a=crypto:"));
        sdp.extend(keys.map(|line| format!("{line}\r\n")));
        sdp + &format!("a={direction}\r\n")
    }

    /// The answer to an offer of ours.
    pub(crate) fn answer(&self, ours: &str) -> String {
        match sdp::answer(ours, &self.local()) {
            Ok(answer) if answer.media.keys.is_some() => answer.sdp,
            _ => self.offer(reversed(ours, self.holds), 1),
        }
    }

    /// The keys that follow from a description of ours: an answer to its offer, or an offer that it answers.
    pub(crate) fn keys(&self, ours: &str) -> Option<Keys> {
        let answered = sdp::read_answer(&self.local(), ours).ok().and_then(|media| media.keys);
        answered.or_else(|| sdp::answer(ours, &self.local()).ok()?.media.keys)
    }

    fn local(&self) -> Local<'_> {
        let address: IpAddr = ADDRESS.ip();
        Local {
            address,
            port: ADDRESS.port(),
            origin_id: 7,
            previous: None,
            codecs: &self.row,
            telephone_event: !self.manner.eventless,
            comfort_noise: false,
            rtcp_mux: false,
            security: match (self.manner.encrypted, self.manner.willing) {
                (true, _) => Security::Required(&self.ring),
                (false, true) => Security::Answered(&self.ring),
                (false, false) => Security::Off,
            },
            direction: Direction::SendRecv,
            ptime_ms: 20,
            name: "-",
        }
    }
}

/// The direction that answers that of a description, by one who holds its sender or not.
fn reversed(sdp: &str, holds: bool) -> &'static str {
    let says = |direction: &str| sdp.contains(&format!("a={direction}\r\n"));
    match (says("sendonly"), says("inactive"), holds) {
        (true, _, false) => "recvonly",
        (true, ..) | (_, true, _) => "inactive",
        (false, false, true) => "sendonly",
        (false, false, false) => "sendrecv",
    }
}
