//! Offering, and reading the peer's answer.

use audio::Codec;

use super::answer::{best_event, has_noise, no_codec, reachable};
use super::crypto::{self, Ours};
use super::parse::{Description, Media, Payloads};
use super::write::{Audio, Format, Line, describe};
use super::{Local, Negotiated, PTIME_MS, STATIC_NOISE, SdpError, TelephoneEvent};

/// Where telephone-events like to be: 101 is what most phones use, 110 is common beside Opus.
const EVENT_NUMBERS: [u8; 2] = [101, 110];
/// Payload types free for use (RFC 3551 section 3).
const DYNAMIC: std::ops::RangeInclusive<u8> = 96..=127;

/// Our offer: all our codecs, best first, and a telephone-event for each of their clocks.
///
/// A new offer within a dialog keeps the media lines and payload numbers of [`Local::previous`], as RFC
/// 3264 section 8 demands, and its transport and keys.
pub fn offer(local: &Local) -> String {
    let previous = previous(local);
    let numbers = Numbers::of(local);
    let ptime_ms = local.ptime_ms.clamp(*PTIME_MS.start(), *PTIME_MS.end()) / 10 * 10;
    let crypto = offered_keys(local);
    let audio = |protocol| {
        Line::Audio(Audio {
            port: local.port,
            protocol,
            formats: numbers.formats(),
            direction: local.direction,
            ptime_ms,
            rtcp_mux: local.rtcp_mux,
            crypto: crypto.clone(),
        })
    };
    let fresh = if local.security.is_required() { "RTP/SAVP" } else { "RTP/AVP" };
    let Some((previous, ours)) = &previous else { return describe(local, &[audio(fresh)]) };
    let line = |(i, media): (usize, _)| {
        if i != *ours {
            return Line::Rejected(media);
        }
        // Once keys are agreed on, the profile they were agreed on under stays.
        let kept = Some(media).filter(|media| media.crypto().next().is_some() && !crypto.is_empty());
        audio(kept.map_or(fresh, |media| media.protocol))
    };
    let lines: Vec<Line> = (0..).zip(&previous.media).map(line).collect();
    describe(local, &lines)
}

/// Reads the answer to the offer that [`offer`] makes of the same `local`. [`Local::previous`] may be as it
/// was then or already hold that offer.
///
/// # Errors
/// Says why there is no audio to be had: the call is to be ended, with [`SdpError::status`] as its cause.
pub fn read_answer(local: &Local, answer: &str) -> Result<Negotiated, SdpError> {
    read(local, &Description::parse(answer)?)
}

/// The same for a peer whose offer `before` was met by
/// [`answer_by_candidate`](super::answer_by_candidate), and that says in its answer where it was offered to be.
///
/// # Errors
/// As [`read_answer`].
pub fn read_answer_by_candidate(local: &Local, answer: &str, before: &str) -> Result<Negotiated, SdpError> {
    let mut answer = Description::parse(answer)?;
    answer.follow_candidates(Some(&Description::parse(before)?), local);
    read(local, &answer)
}

fn read(local: &Local, answer: &Description) -> Result<Negotiated, SdpError> {
    let ours = previous(local).map_or(0, |(_, ours)| ours);
    let media = answer.media.get(ours).filter(|media| media.is_audio());
    let media =
        media.or_else(|| answer.media.iter().find(|media| media.is_audio())).ok_or(SdpError::NoAudio)?;
    if media.is_off() {
        return Err(SdpError::Refused);
    }
    let offered = offered_keys(local);
    media.check_transport(!offered.is_empty())?;
    let keys = crypto::answered(local.security, &offered, media)?;
    let payloads = media.payloads();
    let numbers = Numbers::of(local);
    let mut voices: Vec<(u8, &'static Codec)> = payloads
        .order
        .iter()
        .filter_map(|&number| Some((number, numbers.meant(number, &payloads)?)))
        .collect();
    let &(payload_type, codec) = voices.first().ok_or_else(|| no_codec(&payloads, local))?;
    // A peer that numbers a codec its own way hears it under its number and sends it under ours.
    for &(number, codec) in &numbers.codecs {
        if payloads.number_of(codec).is_some() && !voices.iter().any(|&(known, _)| known == number) {
            voices.push((number, codec));
        }
    }
    let remote = answer.remote(media, local)?;
    let rtcp_mux = local.rtcp_mux && answer.attribute(media, "rtcp-mux").is_some();
    let asked = answer.direction(media).reversed().and(reachable(remote.is_some(), false));
    Ok(Negotiated {
        codec,
        payload_type,
        voices,
        fmtp: payloads.fmtp(payload_type).to_owned(),
        telephone_event: numbers.event(&payloads, codec),
        comfort_noise: payloads.comfort_noise(codec.rtp_clock).filter(|_| has_noise(codec, local)),
        keys,
        remote,
        rtcp: remote.and_then(|remote| if rtcp_mux { Some(remote) } else { answer.rtcp(media, remote) }),
        rtcp_mux,
        direction: local.direction.and(asked),
        held: !asked.sends(),
        ptime_ms: answer.ptime_ms(media, local.ptime_ms, codec),
    })
}

/// What we described last, and which of its lines is our audio.
fn previous<'a>(local: &Local<'a>) -> Option<(Description<'a>, usize)> {
    // It is our own text; should the caller hand over another one, we begin anew.
    let previous = Description::parse(local.previous?).ok()?;
    let audio =
        |wanted: &dyn Fn(&Media) -> bool| previous.media.iter().position(|m| m.is_audio() && wanted(m));
    let ours = audio(&|media| !media.is_off()).or_else(|| audio(&|_| true))?;
    Some((previous, ours))
}

/// The key lines of our offer.
fn offered_keys(local: &Local) -> Vec<Ours> {
    let previous = previous(local);
    let media = previous.as_ref().and_then(|(previous, ours)| previous.media.get(*ours));
    crypto::offered(local.security, media)
}

/// The payload numbers of our offer.
struct Numbers {
    codecs: Vec<(u8, &'static Codec)>,
    noise: bool,
    /// Number and clock.
    events: Vec<(u8, u32)>,
}

impl Numbers {
    /// Static numbers, else those of the previous description, else the codec's own choice, else any free.
    fn of(local: &Local) -> Self {
        let previous =
            previous(local).and_then(|(previous, ours)| Some(previous.media.get(ours)?.payloads()));
        let mut taken: Vec<u8> = previous.as_ref().map_or_else(Vec::new, |payloads| payloads.order.clone());
        let mut number = |known: Option<u8>, wanted: &[u8]| {
            let mut choices = wanted.iter().copied().chain(DYNAMIC);
            let number = known.or_else(|| choices.find(|number| !taken.contains(number)))?;
            taken.push(number);
            Some(number)
        };
        let mut codecs = Vec::new();
        for &codec in local.codecs {
            let before = previous.as_ref().and_then(|payloads| payloads.number_of(codec));
            codecs.extend(
                number(before.or(codec.static_pt), &[codec.dynamic_pt]).map(|number| (number, codec)),
            );
        }
        let mut events: Vec<(u8, u32)> = Vec::new();
        for codec in local.codecs.iter().filter(|_| local.telephone_event) {
            if events.iter().any(|&(_, clock)| clock == codec.rtp_clock) {
                continue;
            }
            let clock = codec.rtp_clock;
            let before =
                previous.as_ref().and_then(|p| p.telephone_events().find(|&(_, known)| known == clock));
            events.extend(
                number(before.map(|(number, _)| number), &EVENT_NUMBERS).map(|number| (number, clock)),
            );
        }
        let noise = local.codecs.iter().any(|codec| has_noise(codec, local));
        Numbers { codecs, noise, events }
    }

    fn formats(&self) -> Vec<Format> {
        let codecs = self.codecs.iter().map(|&(number, codec)| Format::codec(number, codec));
        let events = self.events.iter().map(|&(number, clock)| Format::telephone_event(number, clock));
        let noise = self.noise.then(|| Format::comfort_noise(STATIC_NOISE.0, STATIC_NOISE.1));
        codecs.chain(noise).chain(events).collect()
    }

    /// Which of our codecs the answer means by `number`. A dynamic number without an `a=rtpmap` has the
    /// meaning that we gave it.
    fn meant(&self, number: u8, answer: &Payloads) -> Option<&'static Codec> {
        let named = self.codecs.iter().find(|(_, codec)| answer.means(number, codec));
        let ours = || self.codecs.iter().find(|&&(ours, _)| ours == number && !answer.is_mapped(number));
        named.or_else(ours).map(|&(_, codec)| codec)
    }

    fn event(&self, answer: &Payloads, codec: &Codec) -> Option<TelephoneEvent> {
        let (payload_type, clock) = best_event(answer, codec)?;
        let heard_as = self.events.iter().find(|&&(_, ours)| ours == clock)?.0;
        Some(TelephoneEvent { payload_type, heard_as, clock })
    }
}
