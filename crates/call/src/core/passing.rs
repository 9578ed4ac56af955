//! A program outside that takes over the sound (`mediaPass`): it hears the far end and speaks for the server.

use std::time::Duration;

use protocol::option::CallOption;
use protocol::value::Headers;
use protocol::{CallTime, limits, read};

use super::{Core, Effect};
use crate::media::order::{DoorId, ToMedia, UtteranceId};
use crate::setup::MediaPass;

/// Bytes of a message where `packetSize` says nothing.
const PACKET_BYTES: u32 = 2560;

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
        // A playbook's numbers are its writer's: they are looked at here, a client's before that.
        let numbers = CallOption { media_pass: Some(option.clone()), ..CallOption::default() };
        if let Some(outside) = limits::outside(&numbers).next() {
            return self.wrong(now, "media", &format!("option.{}", outside.key), outside.to_string());
        }
        let (Some(input_hz), Some(output_hz)) = (option.input_sample_rate, option.output_sample_rate) else {
            let key = if option.input_sample_rate.is_none() { "inputSampleRate" } else { "outputSampleRate" };
            return self.wrong(now, "media", &format!("option.mediaPass.{key}"), read::MISSING);
        };
        let pass = MediaPass {
            url: option.url.unwrap_or_default(),
            input_hz,
            output_hz,
            packet_bytes: option.packet_size.unwrap_or(PACKET_BYTES),
            ptime: Duration::from_millis(u64::from(option.ptime.unwrap_or(0))),
            headers: option.headers.unwrap_or_default(),
        };
        let url = read::address(&pass.url, &["ws", "wss"]).map_err(|why| ("url".to_owned(), why));
        if let Err((key, why)) = url.and_then(|()| check_headers(&pass.headers)) {
            return self.wrong(now, "media", &format!("option.mediaPass.{key}"), why);
        }
        let utterance = self.begin_utterance(now, None, true);
        let Some(voice) = self.open_source(now, utterance, "mediaPass.url") else { return };
        let door = self.next_door();
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

/// Whether a request can have these headers: a name is a token (RFC 9110 section 5.6.2) and free, a value fits into a line.
/// Else the key, and what is wrong with it.
fn check_headers(headers: &Headers) -> Result<(), (String, String)> {
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if headers.len() > MOST_HEADERS || bytes > MOST_HEADER_BYTES {
        let why = format!("more than {MOST_HEADERS}, or {MOST_HEADER_BYTES} bytes");
        return Err(("headers".to_owned(), why));
    }
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    for (name, value) in headers {
        let (key, plain) = (format!("headers.{}", read::shown(name)), name.to_ascii_lowercase());
        if name.is_empty() || !name.chars().all(token) {
            return Err((key, "is no name of a header".to_owned()));
        }
        if OWN_HEADERS.contains(&plain.as_str()) || plain.starts_with("sec-websocket-") {
            return Err((key, "belongs to the connection itself; leave it out".to_owned()));
        }
        if value.chars().any(|c| c.is_control() && c != '\t' || !c.is_ascii()) {
            return Err((key, "a value is one line of ASCII".to_owned()));
        }
    }
    Ok(())
}
