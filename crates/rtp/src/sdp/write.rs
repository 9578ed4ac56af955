//! Writing a description of ours.

use std::fmt::Write;
use std::net::IpAddr;

use audio::Codec;

use super::crypto::Ours;
use super::parse::Media;
use super::{COMFORT_NOISE, Direction, Local, TELEPHONE_EVENT};

/// One `m=` line to write.
pub(super) enum Line<'a> {
    /// Our audio.
    Audio(Audio<'a>),
    /// A line of the peer's that we do not want: it keeps its place with port 0 (RFC 3264 section 6).
    Rejected(&'a Media<'a>),
}

/// Our audio line.
pub(super) struct Audio<'a> {
    /// 0 while the peer has it switched off.
    pub(super) port: u16,
    pub(super) protocol: &'a str,
    pub(super) formats: Vec<Format>,
    pub(super) direction: Direction,
    pub(super) ptime_ms: u32,
    pub(super) rtcp_mux: bool,
    pub(super) crypto: Vec<Ours>,
}

/// One payload type with its attributes.
pub(super) struct Format {
    number: u8,
    map: String,
    fmtp: &'static str,
}

impl Format {
    pub(super) fn codec(number: u8, codec: &Codec) -> Self {
        let channels =
            if codec.sdp_channels > 1 { format!("/{}", codec.sdp_channels) } else { String::new() };
        Format { number, map: format!("{}/{}{channels}", codec.name, codec.rtp_clock), fmtp: codec.fmtp }
    }

    pub(super) fn telephone_event(number: u8, clock: u32) -> Self {
        Format { number, map: format!("{TELEPHONE_EVENT}/{clock}"), fmtp: "0-15" }
    }

    pub(super) fn comfort_noise(number: u8, clock: u32) -> Self {
        Format { number, map: format!("{COMFORT_NOISE}/{clock}"), fmtp: "" }
    }
}

/// The whole description. Its version follows from [`Local::previous`].
pub(super) fn describe(local: &Local, lines: &[Line]) -> String {
    let mut body = String::with_capacity(512);
    let printable = !local.name.is_empty() && local.name.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    let name = if printable { local.name } else { "-" };
    let address = Address(local.address);
    // Writing to a String cannot fail.
    let _ = write!(body, "s={name}\r\nc={address}\r\nt=0 0\r\n");
    for line in lines {
        match line {
            Line::Audio(audio) => audio.write(&mut body),
            Line::Rejected(media) => {
                let _ = write!(body, "m={} 0 {} {}\r\n", media.kind, media.protocol, media.formats);
            }
        }
    }
    let version = version(local.previous, &body);
    format!("v=0\r\no=- {} {version} {address}\r\n{body}", local.origin_id)
}

/// The version of the previous description when all but its `o=` line is as before, else the next one.
fn version(previous: Option<&str>, body: &str) -> u64 {
    let read = || {
        let (_, after) = previous?.split_once("o=")?;
        let (origin, rest) = after.split_once("\r\n")?;
        let version: u64 = origin.split(' ').nth(2)?.parse().ok()?;
        Some(if rest == body { version } else { version.wrapping_add(1) })
    };
    read().unwrap_or(1)
}

/// The description of ours that stands again after an offer was turned down by `answer`: a version later by two, since
/// the answer had the one between, and the lines that only that offer has had, for none may vanish (RFC 3264 section 8).
/// `None` for one that is not ours.
pub fn standing_again(description: &str, answer: &str) -> Option<String> {
    let (before, after) = description.split_once("o=")?;
    let (origin, rest) = after.split_once("\r\n")?;
    let mut words: Vec<&str> = origin.split(' ').collect();
    let word = words.get_mut(2)?;
    let version = word.parse::<u64>().ok()?.wrapping_add(2).to_string();
    *word = &version;
    let own = rest.matches("\r\nm=").count();
    let more: String =
        answer.split_inclusive("\r\n").filter(|line| line.starts_with("m=")).skip(own).collect();
    Some(format!("{before}o={}\r\n{rest}{more}", words.join(" ")))
}

impl Audio<'_> {
    fn write(&self, out: &mut String) {
        let _ = write!(out, "m=audio {} {}", self.port, self.protocol);
        for format in &self.formats {
            let _ = write!(out, " {}", format.number);
        }
        out.push_str("\r\n");
        for Format { number, map, fmtp } in &self.formats {
            let _ = write!(out, "a=rtpmap:{number} {map}\r\n");
            if !fmtp.is_empty() {
                let _ = write!(out, "a=fmtp:{number} {fmtp}\r\n");
            }
        }
        let _ = write!(out, "a=ptime:{}\r\n", self.ptime_ms);
        if self.rtcp_mux {
            out.push_str("a=rtcp-mux\r\n");
        }
        for line in &self.crypto {
            let _ = write!(out, "a=crypto:{line}\r\n");
        }
        let _ = write!(out, "a={}\r\n", self.direction.name());
    }
}

/// An address as `o=` and `c=` want it.
struct Address(IpAddr);

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let family = if self.0.is_ipv4() { "IP4" } else { "IP6" };
        write!(f, "IN {family} {}", self.0)
    }
}
