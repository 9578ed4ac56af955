//! Keys in a description: `a=crypto` (RFC 4568), and what may be agreed on under a policy.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::SdpError;
use super::error::excerpt;
use super::parse::Media;
use crate::srtp::{Keys, Master, Mki, SUITES, Suite};

/// Random bytes that a [`KeyRing`] is made of.
pub const RING_BYTES: usize = 276;
/// The part of them for one suite.
const PART: usize = 46;

/// Whether a leg's sound is encrypted.
#[derive(Clone, Copy, Debug, Default)]
pub enum Security<'a> {
    /// Never: clear sound is offered, and encrypted sound refused.
    #[default]
    Off,
    /// When the peer wants it: clear sound is offered, encrypted sound answered.
    Answered(&'a KeyRing),
    /// When the peer can: `RTP/AVP` with keys beside it is offered, as phones do for which encryption is
    /// optional. A peer without encryption is spoken to in clear.
    Offered(&'a KeyRing),
    /// Always: `RTP/SAVP` is offered, and clear sound refused in offers and answers.
    Required(&'a KeyRing),
}

impl<'a> Security<'a> {
    fn ring(self) -> Option<&'a KeyRing> {
        match self {
            Security::Off => None,
            Security::Answered(ring) | Security::Offered(ring) | Security::Required(ring) => Some(ring),
        }
    }

    pub(super) fn is_required(self) -> bool {
        matches!(self, Security::Required(_))
    }
}

/// Our master keys, one for each suite we allow. One ring per leg and for its whole life: the same suite
/// keeps its key through later offers, so that [`crate::Srtp::rekey`] runs on.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyRing {
    keys: Vec<(&'static Suite, Master)>,
}

impl KeyRing {
    /// Keys for `suites`, best first, from random bytes that serve nothing else. A suite named twice, or
    /// more suites than there are, count once.
    pub fn new(suites: &[&'static Suite], random: &[u8; RING_BYTES]) -> KeyRing {
        let mut keys: Vec<(&'static Suite, Master)> = Vec::new();
        for (&suite, part) in suites.iter().zip(random.chunks(PART)) {
            let master = part.get(..suite.master_len()).and_then(|bytes| Master::new(suite, bytes));
            if !keys.iter().any(|(known, _)| *known == suite) {
                keys.extend(master.map(|master| (suite, master)));
            }
        }
        KeyRing { keys }
    }

    /// Keys for all of [`SUITES`].
    pub fn of_all(random: &[u8; RING_BYTES]) -> KeyRing {
        KeyRing::new(SUITES, random)
    }

    fn of(&self, suite: &Suite) -> Option<Master> {
        self.keys.iter().find(|(known, _)| *known == suite).map(|(_, master)| *master)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(suite, _)| suite.name)).finish()
    }
}

/// One `a=crypto` line of ours.
#[derive(Clone, Copy)]
pub(super) struct Ours {
    pub(super) tag: u32,
    pub(super) suite: &'static Suite,
    pub(super) master: Master,
}

impl fmt::Display for Ours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = BASE64.encode(self.master.bytes());
        write!(f, "{} {} inline:{key}{}", self.tag, self.suite.name, self.master.mki())
    }
}

/// What we offer: those of the ring that are offered at all, or what the previous description of the dialog had, with its tags.
pub(super) fn offered(security: Security, previous: Option<&Media>) -> Vec<Ours> {
    let Some(ring) = security.ring() else { return Vec::new() };
    let before: Vec<Ours> = previous
        .into_iter()
        .flat_map(Media::crypto)
        .filter_map(|line| Line::parse(line).ok())
        .filter_map(|line| {
            let master = ring.of(line.suite)?.named(*line.theirs.mki());
            Some(Ours { tag: line.tag, suite: line.suite, master })
        })
        .collect();
    if !before.is_empty() || matches!(security, Security::Answered(_)) {
        return before;
    }
    let offered = ring.keys.iter().filter(|(suite, _)| suite.offered);
    (1..).zip(offered).map(|(tag, &(suite, master))| Ours { tag, suite, master }).collect()
}

/// What to answer to the peer's audio line: its first key line that we can meet, or clear sound where that
/// is allowed. Lines that want what we do not do are passed over.
pub(super) fn answer(security: Security, media: &Media) -> Result<Option<(Ours, Keys)>, SdpError> {
    let Some(ring) = security.ring() else { return Ok(None) };
    let mut refusal = SdpError::Unencrypted;
    for line in media.crypto() {
        let met = Line::parse(line).and_then(|line| {
            let master = ring.of(line.suite).ok_or_else(|| unknown(line.suite.name))?;
            // Who names its key in packets gets packets that name theirs, by the same name.
            let master = master.named(*line.theirs.mki());
            Ok((Ours { tag: line.tag, suite: line.suite, master }, line.theirs))
        });
        match met {
            Ok((ours, theirs)) => {
                let keys = Keys { suite: ours.suite, ours: ours.master, theirs };
                return Ok(Some((ours, keys)));
            }
            Err(error) if refusal == SdpError::Unencrypted => refusal = error,
            Err(_) => {}
        }
    }
    if security.is_required() || media.is_encrypted() { Err(refusal) } else { Ok(None) }
}

/// What the peer's answer makes of the lines we offered.
pub(super) fn answered(
    security: Security,
    offered: &[Ours],
    media: &Media,
) -> Result<Option<Keys>, SdpError> {
    let mut lines = media.crypto().filter(|_| !offered.is_empty());
    let Some(line) = lines.next() else {
        let clear = !security.is_required() && !media.is_encrypted();
        return if clear { Ok(None) } else { Err(SdpError::Unencrypted) };
    };
    if lines.next().is_some() {
        return Err(mismatch("the answer has several a=crypto lines; one of those offered is to be taken"));
    }
    let line = Line::parse(line)?;
    let ours = offered.iter().find(|ours| ours.tag == line.tag && ours.suite == line.suite);
    let ours = ours.ok_or_else(|| mismatch("the answer's a=crypto has no tag and suite that we offered"))?;
    Ok(Some(Keys { suite: ours.suite, ours: ours.master, theirs: line.theirs }))
}

/// A description without its keys, for events, logs and records: whatever stands behind `inline:` becomes
/// `***`, and a control character that ends no line U+FFFD, so that none reaches a terminal.
pub fn redacted(sdp: &str) -> Cow<'_, str> {
    let unprintable = |c: char| c.is_control() && !matches!(c, '\r' | '\n');
    if sdp.contains(unprintable) {
        let clean = sdp.replace(unprintable, "\u{fffd}");
        return Cow::Owned(without_keys(&clean).into_owned());
    }
    without_keys(sdp)
}

fn without_keys(sdp: &str) -> Cow<'_, str> {
    const INLINE: &str = "inline:";
    let mut rest = sdp;
    let mut out = String::new();
    while let Some(at) = find_ignoring_case(rest, INLINE) {
        let (before, secret) = rest.split_at(at + INLINE.len());
        let end = secret.find(|c: char| c.is_ascii_whitespace() || c == ';').unwrap_or(secret.len());
        out.push_str(before);
        out.push_str("***");
        rest = secret.get(end..).unwrap_or_default();
    }
    if out.is_empty() {
        return Cow::Borrowed(sdp);
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn find_ignoring_case(text: &str, wanted: &str) -> Option<usize> {
    text.as_bytes().windows(wanted.len()).position(|part| part.eq_ignore_ascii_case(wanted.as_bytes()))
}

/// One readable `a=crypto` line of a peer's.
struct Line {
    tag: u32,
    suite: &'static Suite,
    theirs: Master,
}

impl Line {
    /// Reads `tag suite inline:key[|lifetime][|mki:length] [parameters]` (RFC 4568 section 9.2). A life time is not kept
    /// account of: the shortest that is seen in the field outlasts any call. Several keys, or a parameter that changes
    /// what is protected, are not for us.
    fn parse(value: &str) -> Result<Line, SdpError> {
        let mut words = value.split_ascii_whitespace();
        let form = || mismatch("a key line is `a=crypto:<tag> <suite> inline:<key>`");
        let tag = words.next().and_then(|tag| tag.parse().ok()).ok_or_else(form)?;
        let name = words.next().ok_or_else(form)?;
        let suite = Suite::by_name(name).ok_or_else(|| unknown(name))?;
        let keys = words.next().ok_or_else(form)?;
        let (method, info) = keys.split_once(':').ok_or_else(form)?;
        if !method.eq_ignore_ascii_case("inline") {
            return Err(mismatch("the key method is not inline"));
        }
        if info.contains(';') {
            return Err(mismatch("a=crypto with several keys is not spoken here"));
        }
        let (key, behind) = info.split_once('|').unwrap_or((info, ""));
        let mki = identifier(behind)?;
        let wrong = || mismatch("the inline key is not base64 of the length that its suite has");
        let bytes = BASE64.decode(key).map_err(|_| wrong())?;
        let theirs = Master::new(suite, &bytes).ok_or_else(wrong)?;
        match words.find(|word| !is_harmless(word)) {
            Some(_) => Err(mismatch("a session parameter of a=crypto is not spoken here")),
            None => Ok(Line { tag, suite, theirs: theirs.named(mki) }),
        }
    }
}

/// The identifier in what stands behind a key: `lifetime`, `mki:length`, both in this order, or nothing.
fn identifier(behind: &str) -> Result<Mki, SdpError> {
    let last = behind.rsplit('|').next().unwrap_or_default();
    let before = behind.strip_suffix(last).unwrap_or_default();
    let wrong =
        || mismatch("a master key identifier (MKI) is `value:length`, with a length of 1 to 16 bytes");
    match last.contains(':') {
        false if !before.contains('|') => Ok(Mki::default()),
        true if !before.contains(':') && before.matches('|').count() <= 1 => {
            Mki::parse(last).ok_or_else(wrong)
        }
        _ => Err(wrong()),
    }
}

/// Parameters that change nothing for us (RFC 4568 section 6.3): a hint for the replay window, a key
/// derivation rate of never, and extensions that the peer marks as optional.
fn is_harmless(parameter: &str) -> bool {
    let upper = parameter.to_ascii_uppercase();
    upper.starts_with("WSH=") || upper == "KDR=0" || upper.starts_with('-')
}

fn unknown(suite: &str) -> SdpError {
    SdpError::Suite { suite: excerpt(suite) }
}

fn mismatch(what: &'static str) -> SdpError {
    SdpError::Crypto { what }
}

/// Some phones leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
