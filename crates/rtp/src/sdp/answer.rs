//! Answering the peer's offer.

use audio::Codec;

use super::crypto::{self, Ours, Security};
use super::parse::{Description, Media, Payloads};
use super::write::{Audio, Format, Line, describe};
use super::{Answer, Direction, Local, Negotiated, STATIC_NOISE, SdpError, TelephoneEvent};

/// Answers an offer: the first of our codecs that it has, under the offer's payload numbers, on the first
/// audio line that suits; every other media line is rejected in its place. Where encryption is switched on,
/// an encrypted line goes before one in clear.
///
/// # Errors
/// Says why the offer cannot be met, with the SIP status to answer ([`SdpError::status`]). An offer whose
/// audio has port 0 is refused in a first offer, and is a hold in a later one ([`Local::previous`]), unless it puts
/// something else in the place of the audio, such as a fax (T.38).
pub fn answer(offer: &str, local: &Local) -> Result<Answer, SdpError> {
    answered(&Description::parse(offer)?, local)
}

/// The same for a peer on IPv4 and IPv6 that offers ICE (RFC 8445), which is not spoken here: where the address of its
/// audio is of another kind than ours ([`SdpError::AddressFamily`]), the best of its candidates that is of our kind takes
/// its place. The peer listens at all of them. `before` is an earlier offer of it that was met so: it names its candidates
/// once, and may say the same address without them later.
///
/// # Errors
/// As [`answer`]; [`SdpError::AddressFamily`] where no candidate is of our kind either.
pub fn answer_by_candidate(offer: &str, before: Option<&str>, local: &Local) -> Result<Answer, SdpError> {
    let mut offer = Description::parse(offer)?;
    let before = before.map(Description::parse).transpose()?;
    offer.follow_candidates(before.as_ref(), local);
    answered(&offer, local)
}

fn answered(offer: &Description, local: &Local) -> Result<Answer, SdpError> {
    let (at, Agreed { media, crypto }) = choose(offer, local)?;
    let lines: Vec<Line> = (0..)
        .zip(&offer.media)
        .map(|(i, line)| {
            if i == at { Line::Audio(audio_line(line, &media, crypto, local)) } else { Line::Rejected(line) }
        })
        .collect();
    Ok(Answer { sdp: describe(local, &lines), media })
}

/// Turns an offer down where it must have an answer: every media line is rejected in its place (RFC 3264 section 6).
///
/// # Errors
/// An offer that cannot be read.
pub fn turn_down(offer: &str, local: &Local) -> Result<String, SdpError> {
    let offer = Description::parse(offer)?;
    let lines: Vec<Line> = offer.media.iter().map(Line::Rejected).collect();
    Ok(describe(local, &lines))
}

/// What has been agreed on for one line, and our key line for it.
struct Agreed {
    media: Negotiated,
    crypto: Option<Ours>,
}

/// The first audio line that suits, an encrypted one if possible; when none does, what is wrong with the
/// first one.
fn choose(offer: &Description, local: &Local) -> Result<(usize, Agreed), SdpError> {
    let (mut refusal, mut clear, mut off) = (SdpError::NoAudio, None, None);
    for (at, media) in offer.media.iter().enumerate().filter(|(_, media)| media.is_audio()) {
        match agree(offer, media, local) {
            Ok(agreed) if media.is_off() => off = off.or(Some((at, agreed))),
            Ok(agreed) if agreed.crypto.is_some() => return Ok((at, agreed)),
            Ok(agreed) => clear = clear.or(Some((at, agreed))),
            Err(error) if refusal == SdpError::NoAudio => refusal = error,
            Err(_) => {}
        }
    }
    clear.or(off).ok_or(refusal)
}

fn agree(offer: &Description, media: &Media, local: &Local) -> Result<Agreed, SdpError> {
    media.check_transport(!matches!(local.security, Security::Off))?;
    let replaced = || offer.media.iter().any(|other| !other.is_audio() && !other.is_off());
    if media.is_off() && (local.previous.is_none() || replaced()) {
        return Err(SdpError::NoAudio);
    }
    let (crypto, keys) = crypto::answer(local.security, media)?.unzip();
    let payloads = media.payloads();
    let (codec, payload_type) = pick(&payloads, local)?;
    let remote = if media.is_off() { None } else { offer.remote(media, local)? };
    let rtcp_mux = offer.attribute(media, "rtcp-mux").is_some();
    let asked = offer.direction(media).reversed().and(reachable(remote.is_some(), media.is_off()));
    let media = Negotiated {
        codec,
        payload_type,
        voices: vec![(payload_type, codec)],
        fmtp: payloads.fmtp(payload_type).to_owned(),
        telephone_event: telephone_event(&payloads, codec, local),
        comfort_noise: payloads.comfort_noise(codec.rtp_clock).filter(|_| has_noise(codec, local)),
        keys,
        remote,
        rtcp: remote.and_then(|remote| if rtcp_mux { Some(remote) } else { offer.rtcp(media, remote) }),
        rtcp_mux,
        direction: local.direction.and(asked),
        held: !asked.sends(),
        ptime_ms: offer.ptime_ms(media, local.ptime_ms, codec),
    };
    Ok(Agreed { media, crypto })
}

/// Comfort noise is for codecs of telephone bandwidth and clock; Opus and the like have silence of their own.
pub(super) fn has_noise(codec: &Codec, local: &Local) -> bool {
    local.comfort_noise && codec.rtp_clock == STATIC_NOISE.1
}

/// What a peer without an address leaves us to do: with `0.0.0.0` it may still be heard, with port 0 the
/// stream is off.
pub(super) fn reachable(remote: bool, off: bool) -> Direction {
    Direction::new(remote, !off)
}

/// The first of ours that the offer has: the configured order is the operator's preference.
fn pick(payloads: &Payloads, local: &Local) -> Result<(&'static Codec, u8), SdpError> {
    let found = local.codecs.iter().find_map(|&codec| Some((codec, payloads.number_of(codec)?)));
    found.ok_or_else(|| no_codec(payloads, local))
}

pub(super) fn no_codec(payloads: &Payloads, local: &Local) -> SdpError {
    let ours: Vec<&str> = local.codecs.iter().map(|codec| codec.name).collect();
    SdpError::NoCodec { theirs: payloads.names(), ours: ours.join(", ") }
}

/// The telephone-event with the clock of the codec, whose time it shares (RFC 4733 section 2.1). A peer
/// that offers only another clock means it to be used all the same.
fn telephone_event(payloads: &Payloads, codec: &Codec, local: &Local) -> Option<TelephoneEvent> {
    if !local.telephone_event {
        return None;
    }
    let (payload_type, clock) = best_event(payloads, codec)?;
    Some(TelephoneEvent { payload_type, heard_as: payload_type, clock })
}

pub(super) fn best_event(payloads: &Payloads, codec: &Codec) -> Option<(u8, u32)> {
    let matching = payloads.telephone_events().find(|&(_, clock)| clock == codec.rtp_clock);
    matching.or_else(|| payloads.telephone_events().next())
}

fn audio_line<'a>(
    offered: &'a Media<'a>,
    media: &Negotiated,
    crypto: Option<Ours>,
    local: &Local,
) -> Audio<'a> {
    let mut formats = vec![Format::codec(media.payload_type, media.codec)];
    if let Some(number) = media.comfort_noise {
        formats.push(Format::comfort_noise(number, media.codec.rtp_clock));
    }
    if let Some(event) = media.telephone_event {
        formats.push(Format::telephone_event(event.payload_type, event.clock));
    }
    Audio {
        port: if offered.is_off() { 0 } else { local.port },
        protocol: offered.protocol,
        formats,
        direction: media.direction,
        ptime_ms: media.ptime_ms,
        rtcp_mux: media.rtcp_mux,
        crypto: crypto.into_iter().collect(),
    }
}
