//! A program outside that takes over the sound (`mediaPass`): it hears the far end and speaks for the server.

use protocol::value::Headers;
use protocol::{CallTime, read};

use super::{Core, Effect};
use crate::media::order::{DoorId, ToMedia, UtteranceId};
use crate::setup::MediaPass;

/// Bytes of a message where `packetSize` says nothing.
const PACKET_BYTES: u32 = 2560;
/// Bytes of a message at most and at least.
const SIZES: std::ops::RangeInclusive<u32> = 2..=64_000;
/// Rates of sound that calls compute in.
const RATES: [u32; 4] = [8_000, 16_000, 24_000, 48_000];

/// Headers of the request at most, and bytes of all of them.
const MOST_HEADERS: usize = 32;
const MOST_HEADER_BYTES: usize = 16 * 1024;
/// Headers that the connection itself needs (RFC 6455 section 4.1).
const OWN_HEADERS: &[&str] = &["host", "connection", "upgrade", "content-length", "transfer-encoding"];

/// The connection to the program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass {
    /// What it says.
    utterance: UtteranceId,
    /// What it hears through.
    door: DoorId,
}

impl Core {
    /// Connects to the program that the option names, if it names one.
    pub(crate) fn start_pass(&mut self, now: CallTime) {
        let Some(option) = self.option.media_pass.clone() else { return };
        let pass = MediaPass {
            url: option.url.unwrap_or_default(),
            input_hz: option.input_sample_rate.unwrap_or_default(),
            output_hz: option.output_sample_rate.unwrap_or_default(),
            packet_bytes: option.packet_size.unwrap_or(PACKET_BYTES),
            headers: option.headers.unwrap_or_default(),
        };
        let wrong = if let Err(why) = read::address(&pass.url, &["ws", "wss"]) {
            Some(format!("url: {why}"))
        } else if !RATES.contains(&pass.input_hz) {
            Some(format!("inputSampleRate: {} is not 8000, 16000, 24000 or 48000", pass.input_hz))
        } else if !RATES.contains(&pass.output_hz) {
            Some(format!("outputSampleRate: {} is not 8000, 16000, 24000 or 48000", pass.output_hz))
        } else if !SIZES.contains(&pass.packet_bytes) || !pass.packet_bytes.is_multiple_of(2) {
            Some(format!("packetSize: {} is no even number from 2 to 64000", pass.packet_bytes))
        } else {
            wrong_header(&pass.headers)
        };
        if let Some(why) = wrong {
            return self.error(now, "media", format!("option.mediaPass.{why}"), 400);
        }
        let utterance = self.begin_utterance(now, None, true);
        let Some(voice) = self.open_source(now, utterance) else { return };
        self.ears.next_door += 1;
        let door = DoorId(self.ears.next_door);
        self.pass = Some(Pass { utterance, door });
        self.effect(Effect::MediaPass(voice, door, Box::new(pass)));
    }

    /// An utterance is over; when it was the program's, nothing is given to it any more.
    pub(crate) fn pass_over(&mut self, id: UtteranceId) {
        if let Some(pass) = self.pass.take_if(|pass| pass.utterance == id) {
            self.order(ToMedia::Deaf(pass.door));
        }
    }
}

/// What is wrong with headers of a request: a name that is no token (RFC 9110 section 5.6.2) or not free, a value that
/// does not fit into a line.
fn wrong_header(headers: &Headers) -> Option<String> {
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if headers.len() > MOST_HEADERS || bytes > MOST_HEADER_BYTES {
        return Some(format!("headers: more than {MOST_HEADERS}, or {MOST_HEADER_BYTES} bytes"));
    }
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    headers.iter().find_map(|(name, value)| {
        let (shown, plain) = (read::shown(name), name.to_ascii_lowercase());
        if name.is_empty() || !name.chars().all(token) {
            Some(format!("headers: {shown:?} is no name of a header"))
        } else if OWN_HEADERS.contains(&plain.as_str()) || plain.starts_with("sec-websocket-") {
            Some(format!("headers.{shown}: belongs to the connection itself; leave it out"))
        } else if value.chars().any(|c| c.is_control() && c != '\t' || !c.is_ascii()) {
            Some(format!("headers.{shown}: a value is one line of ASCII"))
        } else {
            None
        }
    })
}
