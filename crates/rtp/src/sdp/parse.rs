//! The lines of a description, as views into its text. Whatever does not concern one stream of audio is
//! left unread, so that its faults cannot refuse a call.

use std::net::{IpAddr, SocketAddr};

use audio::Codec;

use super::error::excerpt;
use super::{COMFORT_NOISE, Direction, Local, PTIME_MS, STATIC_NOISE, SdpError, TELEPHONE_EVENT};

/// A UDP datagram holds no more; over TCP nothing that describes a phone call is larger.
const MAX_BYTES: usize = 65_535;
/// Each media line has to be answered by one, also the unwanted ones.
const MAX_MEDIA: usize = 32;

/// A session description.
pub(super) struct Description<'a> {
    /// A line of it was read.
    begun: bool,
    session: Section<'a>,
    /// The media sections in order.
    pub(super) media: Vec<Media<'a>>,
}

/// What stands under the session or under one `m=` line.
#[derive(Default)]
struct Section<'a> {
    /// The first `c=` line with its number.
    connection: Option<(usize, &'a str)>,
    attributes: Vec<(&'a str, &'a str)>,
}

/// One `m=` line and what stands under it.
pub(super) struct Media<'a> {
    line: usize,
    /// `audio`, `video`, ...
    pub(super) kind: &'a str,
    /// `None` when it is no port number; only for audio does it matter.
    port: Option<u16>,
    /// Transport as written.
    pub(super) protocol: &'a str,
    /// The list of formats as written, at least one.
    pub(super) formats: &'a str,
    section: Section<'a>,
    /// Where its audio and its reports go instead of to its `c=`.
    instead: Option<(SocketAddr, Option<SocketAddr>)>,
}

impl<'a> Description<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, SdpError> {
        if text.len() > MAX_BYTES {
            return Err(SdpError::TooLarge { limit: MAX_BYTES, what: "bytes" });
        }
        let mut description = Description { begun: false, session: Section::default(), media: Vec::new() };
        for (line, content) in (1..).zip(text.lines()) {
            let content = content.trim_end();
            if !content.is_empty() {
                description.read(line, content)?;
            }
        }
        Ok(description)
    }

    fn read(&mut self, line: usize, content: &'a str) -> Result<(), SdpError> {
        let Some((kind, value)) = content.split_once('=').filter(|(kind, _)| kind.len() == 1) else {
            // What does not even begin as a description is none; later on it is a line of which nothing is known.
            let what = "not of the form `<letter>=<value>`";
            return if self.begun { Ok(()) } else { Err(SdpError::Malformed { line, what }) };
        };
        self.begun = true;
        if kind == "m" {
            if self.media.len() == MAX_MEDIA {
                return Err(SdpError::TooLarge { limit: MAX_MEDIA, what: "media lines" });
            }
            let media = Media::parse(line, value);
            let what = "a media line is `m=<media> <port> <transport> <formats>` in printable ASCII";
            self.media.push(media.ok_or(SdpError::Malformed { line, what })?);
            return Ok(());
        }
        let section = self.media.last_mut().map_or(&mut self.session, |media| &mut media.section);
        match kind {
            "c" if section.connection.is_none() => section.connection = Some((line, value)),
            "a" => section.attributes.push(value.split_once(':').unwrap_or((value, ""))),
            _ => {}
        }
        Ok(())
    }

    /// Has each media line whose address is not of the kind of `local` go to the best of its candidates that is, or where it
    /// went by `before`, an earlier description of the peer, when it says the same address again.
    pub(super) fn follow_candidates(&mut self, before: Option<&Description>, local: &Local) {
        let elsewhere = |media: &Media| {
            let strange = matches!(self.remote(media, local), Err(SdpError::AddressFamily { .. }));
            let instead =
                || media.by_candidate(local).or_else(|| self.went(media, before?)?.by_candidate(local));
            if strange { instead() } else { None }
        };
        let all: Vec<_> = self.media.iter().map(elsewhere).collect();
        self.media.iter_mut().zip(all).for_each(|(media, instead)| media.instead = instead);
    }

    /// The media line of `before` that said what this one says.
    fn went<'b>(&self, media: &Media, before: &'b Description) -> Option<&'b Media<'b>> {
        let says = |of: &Description, media: &Media| {
            let (_, connection) = media.section.connection.or(of.session.connection)?;
            Some((connection.to_owned(), media.port, media.kind.to_owned()))
        };
        before.media.iter().find(|earlier| says(before, earlier) == says(self, media))
    }

    /// The value of an attribute of `media`, or else of the session; empty for a flag.
    pub(super) fn attribute(&self, media: &Media<'a>, name: &str) -> Option<&'a str> {
        let sections = [&media.section, &self.session];
        let mut all = sections.into_iter().flat_map(|section| &section.attributes);
        all.find(|(key, _)| *key == name).map(|(_, value)| value.trim())
    }

    /// The peer's direction, seen from the peer.
    pub(super) fn direction(&self, media: &Media<'a>) -> Direction {
        let sections = [&media.section, &self.session];
        let mut all = sections.into_iter().flat_map(|section| &section.attributes);
        all.find_map(|(key, _)| Direction::by_name(key)).unwrap_or_default()
    }

    /// Where the peer wants its audio; `None` for the unspecified address of an old hold.
    pub(super) fn remote(&self, media: &Media<'a>, local: &Local) -> Result<Option<SocketAddr>, SdpError> {
        if let Some((address, _)) = media.instead {
            return Ok(Some(address));
        }
        let connection = media.section.connection.or(self.session.connection);
        let (line, value) = connection.ok_or(SdpError::NoConnection)?;
        let what = "a connection is `c=IN IP4 <address>` or `c=IN IP6 <address>`";
        let address = value.split_ascii_whitespace().nth(2).ok_or(SdpError::Malformed { line, what })?;
        // What follows a slash concerns multicast alone.
        let address = address.split('/').next().unwrap_or(address);
        let ip: IpAddr = address.parse().map_err(|_| SdpError::HostName { name: excerpt(address) })?;
        let ip = ip.to_canonical();
        if ip.is_unspecified() {
            return Ok(None);
        }
        if !is_one_peer(ip) {
            return Err(SdpError::NotOnePeer { address: ip.to_string() });
        }
        if ip.is_ipv4() != local.address.is_ipv4() {
            return Err(SdpError::AddressFamily { address: ip.to_string() });
        }
        Ok(Some(SocketAddr::new(ip, media.port()?)))
    }

    /// Where the peer wants its reports, when not on the port of its audio: `a=rtcp` (RFC 3605), else the
    /// next port. An address of another kind than the audio's is not followed.
    pub(super) fn rtcp(&self, media: &Media<'a>, remote: SocketAddr) -> Option<SocketAddr> {
        if let Some((_, reports)) = media.instead {
            return reports.or(Some(SocketAddr::new(remote.ip(), remote.port().checked_add(1)?)));
        }
        let mut named = self.attribute(media, "rtcp").unwrap_or("").split_ascii_whitespace();
        let port = match named.next().and_then(|port| port.parse().ok()) {
            Some(port) if port != 0 => port,
            _ => remote.port().checked_add(1)?,
        };
        let ip = named.nth(2).and_then(|ip| ip.parse::<IpAddr>().ok());
        let usable =
            |ip: &IpAddr| is_one_peer(*ip) && !ip.is_unspecified() && ip.is_ipv4() == remote.is_ipv4();
        Some(SocketAddr::new(ip.filter(usable).unwrap_or(remote.ip()), port))
    }

    /// The packet length to send: what the peer asks for, else ours, within its maximum, our range, and what
    /// the codec can put into one packet.
    pub(super) fn ptime_ms(&self, media: &Media<'a>, ours: u32, codec: &Codec) -> u32 {
        let number = |name| self.attribute(media, name)?.parse().ok().filter(|&ms: &u32| ms > 0);
        let wanted = number("ptime").unwrap_or(ours).min(number("maxptime").unwrap_or(u32::MAX));
        let fitting = codec.packet_ms.iter().copied().filter(|&ms| ms <= wanted.max(*PTIME_MS.start()));
        fitting.max().unwrap_or(*PTIME_MS.start())
    }
}

pub(super) fn is_one_peer(ip: IpAddr) -> bool {
    !ip.is_multicast() && !matches!(ip, IpAddr::V4(v4) if v4.is_broadcast())
}

impl<'a> Media<'a> {
    fn parse(line: usize, value: &'a str) -> Option<Self> {
        // The line is echoed in our answer, so nothing unprintable may hide in it.
        if !value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return None;
        }
        let mut rest = value;
        let (kind, port, protocol) = (word(&mut rest)?, word(&mut rest)?, word(&mut rest)?);
        let formats = rest.trim();
        if formats.is_empty() {
            return None;
        }
        // `port/count` is for layered encodings; the first port is the one that counts.
        let port = port.split('/').next().and_then(|port| port.parse().ok());
        Some(Media { line, kind, port, protocol, formats, section: Section::default(), instead: None })
    }

    pub(super) fn is_audio(&self) -> bool {
        self.kind.eq_ignore_ascii_case("audio")
    }

    /// Port 0: rejected in an answer, switched off in an offer.
    pub(super) fn is_off(&self) -> bool {
        self.port == Some(0)
    }

    fn port(&self) -> Result<u16, SdpError> {
        self.port
            .ok_or(SdpError::Malformed { line: self.line, what: "the port of m=audio is not 0 to 65535" })
    }

    /// Refuses transports other than RTP, plain or `encrypted`. The profiles with feedback differ from those
    /// without only by what an answer may leave out.
    pub(super) fn check_transport(&self, encrypted: bool) -> Result<(), SdpError> {
        self.port()?;
        let plain = is_one_of(self.protocol, ["RTP/AVP", "RTP/AVPF"]);
        let spoken = plain || encrypted && self.is_encrypted();
        if spoken { Ok(()) } else { Err(SdpError::Transport { protocol: excerpt(self.protocol) }) }
    }

    /// Whether the line wants encrypted sound and no other. Beside `RTP/AVP`, keys are a wish.
    pub(super) fn is_encrypted(&self) -> bool {
        is_one_of(self.protocol, ["RTP/SAVP", "RTP/SAVPF"])
    }

    /// The values of its `a=crypto` lines.
    pub(super) fn crypto(&self) -> impl Iterator<Item = &'a str> {
        self.section.attributes.iter().filter(|(name, _)| *name == "crypto").map(|(_, value)| value.trim())
    }

    /// Where its audio and its reports go by the best of its candidates that is of the kind of `local`.
    fn by_candidate(&self, local: &Local) -> Option<(SocketAddr, Option<SocketAddr>)> {
        let candidates = || self.candidates(local.address.is_ipv4());
        let best = candidates().filter(|one| one.component == 1).max_by_key(|one| one.priority)?.address;
        let beside = candidates().filter(|one| one.component == 2 && one.address.ip() == best.ip());
        Some((best, beside.max_by_key(|one| one.priority).map(|one| one.address)))
    }

    /// Its readable candidates for UDP (RFC 8839 section 5.1) that are addresses of IPv4, or else of IPv6.
    fn candidates(&self, ipv4: bool) -> impl Iterator<Item = Candidate> {
        let values = self.section.attributes.iter().filter(|(name, _)| *name == "candidate");
        let all = values.filter_map(|(_, value)| Candidate::parse(value));
        all.filter(move |one| one.address.is_ipv4() == ipv4 && is_one_peer(one.address.ip()))
    }

    pub(super) fn payloads(&self) -> Payloads<'a> {
        let mut payloads = Payloads { order: Vec::new(), maps: [None; 128], fmtps: [None; 128] };
        for number in self.formats.split(' ').filter_map(payload_type) {
            if !payloads.order.contains(&number) {
                payloads.order.push(number);
            }
        }
        for &(name, value) in &self.section.attributes {
            let table = match name {
                "rtpmap" => &mut payloads.maps,
                "fmtp" => &mut payloads.fmtps,
                _ => continue,
            };
            let (number, rest) = value.split_once(' ').unwrap_or((value, ""));
            let slot = payload_type(number).and_then(|number| table.get_mut(usize::from(number)));
            if let Some(slot @ None) = slot {
                *slot = Some(rest.trim()).filter(|rest| !rest.is_empty());
            }
        }
        payloads
    }
}

/// What is known of a candidate by one who does not check whether it is reached.
struct Candidate {
    /// 1 for the audio, 2 for its reports.
    component: u16,
    priority: u32,
    address: SocketAddr,
}

impl Candidate {
    /// Reads `foundation component transport priority address port typ ...`.
    fn parse(value: &str) -> Option<Candidate> {
        let mut words = value.split_ascii_whitespace().skip(1);
        let component = words.next()?.parse().ok()?;
        let transport = words.next()?;
        let priority = words.next()?.parse().ok()?;
        let (ip, port): (IpAddr, u16) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let usable = transport.eq_ignore_ascii_case("UDP") && port != 0 && !ip.is_unspecified();
        usable.then(|| Candidate { component, priority, address: SocketAddr::new(ip.to_canonical(), port) })
    }
}

fn is_one_of(protocol: &str, known: [&str; 2]) -> bool {
    known.iter().any(|known| protocol.eq_ignore_ascii_case(known))
}

/// The first word of `rest`, which then begins behind it. `None` for the last word.
fn word<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let (word, after) = rest.trim_start().split_once(' ')?;
    *rest = after;
    Some(word)
}

fn payload_type(text: &str) -> Option<u8> {
    text.trim().parse().ok().filter(|&number| number < 128)
}

/// The payload types of one audio line. Tables by number keep a hostile list of thousands linear.
pub(super) struct Payloads<'a> {
    /// Best first, each once.
    pub(super) order: Vec<u8>,
    maps: [Option<&'a str>; 128],
    fmtps: [Option<&'a str>; 128],
}

impl<'a> Payloads<'a> {
    /// The first number that means `codec`.
    pub(super) fn number_of(&self, codec: &Codec) -> Option<u8> {
        self.order.iter().copied().find(|&number| self.means(number, codec))
    }

    /// Whether `number` means `codec`: by its `a=rtpmap`, else by the static table of RFC 3551.
    pub(super) fn means(&self, number: u8, codec: &Codec) -> bool {
        match self.map(number) {
            Some(map) => map.is(codec),
            None => !self.is_mapped(number) && codec.static_pt == Some(number),
        }
    }

    /// Whether an `a=rtpmap` names this number, readable or not.
    pub(super) fn is_mapped(&self, number: u8) -> bool {
        self.text(&self.maps, number).is_some()
    }

    /// The `a=fmtp` parameters of `number`.
    pub(super) fn fmtp(&self, number: u8) -> &'a str {
        self.text(&self.fmtps, number).unwrap_or("")
    }

    /// The numbers and clocks of the telephone-events.
    pub(super) fn telephone_events(&self) -> impl Iterator<Item = (u8, u32)> {
        self.order.iter().filter_map(|&number| {
            let map = self.map(number).filter(|map| map.name.eq_ignore_ascii_case(TELEPHONE_EVENT))?;
            (map.clock > 0).then_some((number, map.clock))
        })
    }

    /// The number of comfort noise with a clock of `clock` Hz.
    pub(super) fn comfort_noise(&self, clock: u32) -> Option<u8> {
        self.order.iter().copied().find(|&number| match self.map(number) {
            Some(map) => map.name.eq_ignore_ascii_case(COMFORT_NOISE) && map.clock == clock,
            None => !self.is_mapped(number) && (number, clock) == STATIC_NOISE,
        })
    }

    /// The list as text for an error.
    pub(super) fn names(&self) -> String {
        if self.order.is_empty() {
            return "no payload type from 0 to 127".to_owned();
        }
        let name = |&number: &u8| match self.text(&self.maps, number) {
            Some(map) => excerpt(map),
            None => format!("payload type {number}"),
        };
        self.order.iter().take(12).map(name).collect::<Vec<_>>().join(", ")
    }

    fn map(&self, number: u8) -> Option<Map<'a>> {
        self.text(&self.maps, number).and_then(Map::parse)
    }

    fn text(&self, table: &[Option<&'a str>; 128], number: u8) -> Option<&'a str> {
        *table.get(usize::from(number))?
    }
}

/// The value of an `a=rtpmap` behind its number: `name/clock` or `name/clock/channels`.
struct Map<'a> {
    name: &'a str,
    clock: u32,
    channels: Option<u8>,
}

impl<'a> Map<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split('/');
        let (name, clock) = (parts.next()?.trim(), parts.next()?.trim().parse().ok()?);
        let channels = match parts.next() {
            Some(channels) => Some(channels.trim().parse().ok()?),
            None => None,
        };
        Some(Map { name, clock, channels })
    }

    /// Channels left out are not held against a peer: for Opus some forget the `/2` that never varies.
    fn is(&self, codec: &Codec) -> bool {
        self.name.eq_ignore_ascii_case(codec.name)
            && self.clock == codec.rtp_clock
            && self.channels.is_none_or(|channels| channels == codec.sdp_channels.max(1))
    }
}
