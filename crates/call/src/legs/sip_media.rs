//! Offer and answer of a SIP leg, as the rules of its call need them.

use std::net::{IpAddr, SocketAddr};

use audio::Codec;
use protocol::option::Encryption;
use rtp::sdp::{self, Direction, KeyRing, Local, Negotiated, SdpError, Security};
use rtp::stream::Learning;

use crate::media::order::{RtpPlan, Start};

/// Our side of a SIP leg's media.
#[derive(Clone, Debug)]
pub struct LocalMedia {
    /// The address the peer is to send to, as it sees it (`external_ip`).
    pub address: IpAddr,
    /// The one of the other kind (IPv4 or IPv6), where the RTP port serves both.
    pub other: Option<IpAddr>,
    /// The RTP port.
    pub port: u16,
    /// The codecs we allow, best first.
    pub codecs: Vec<&'static Codec>,
    /// Whether digits by RFC 4733 are allowed.
    pub telephone_event: bool,
    /// Whether the peer's address may be learned from its packets (`enable_rtp_latching`).
    pub latching: bool,
    /// Name for the `s=` line.
    pub name: String,
    /// Random id for the `o=` line.
    pub origin_id: u64,
    /// The host that the peer's signalling comes from; behind one NAT its sound comes from there too.
    pub signalling: Option<IpAddr>,
    /// Our keys, of random bytes that serve nothing else.
    pub keys: KeyRing,
}

/// Media of one SIP leg through its life.
#[derive(Clone, Debug)]
pub struct SipMedia {
    local: LocalMedia,
    encryption: Encryption,
    offer: Option<String>,
    /// The caller has made no offer yet, and ours is not answered.
    unasked: bool,
    /// What we sent last in this dialog.
    sent: Option<String>,
    /// Which way sound is to flow as far as we are concerned; less than both ways holds the far end.
    direction: Direction,
    /// Whether the far end holds us, by what it said last.
    held: bool,
    /// What was agreed on last.
    codec: Option<&'static Codec>,
    /// What was agreed on last goes in clear.
    clear: bool,
    /// What the far end has said of its media last.
    heard: Option<String>,
    /// The offer that was met last at a candidate of the far end, whose address is of another kind than ours.
    candidates: Option<String>,
}

/// What a negotiation came to.
pub(crate) struct Agreed {
    /// What to send.
    pub(crate) sdp: String,
    /// The sound agreed on; `None` while the far end has yet to answer our offer.
    pub(crate) plan: Option<RtpPlan>,
}

impl SipMedia {
    /// Media of a call that came in with `offer`, or with none.
    pub fn inbound(offer: Option<String>, local: LocalMedia) -> Self {
        SipMedia {
            local,
            encryption: Encryption::default(),
            unasked: offer.is_none(),
            offer,
            sent: None,
            direction: Direction::SendRecv,
            held: false,
            codec: None,
            clear: false,
            heard: None,
            candidates: None,
        }
    }

    /// Media of a party that calls from `source` to take the far end's place: on the same port, held if that one was,
    /// with keys of its own, which no two parties may share.
    pub(crate) fn successor(&self, offer: Option<String>, source: IpAddr, keys: KeyRing) -> Self {
        let local = LocalMedia { signalling: Some(source), keys, ..self.local.clone() };
        let fresh = SipMedia::inbound(offer, local);
        SipMedia { encryption: self.encryption, direction: self.direction, ..fresh }
    }

    /// Media of a call that we place.
    pub fn outbound(local: LocalMedia) -> Self {
        SipMedia { unasked: false, ..SipMedia::inbound(None, local) }
    }

    /// Says whether sound is encrypted, before the first description is made.
    pub(crate) fn encrypt(&mut self, encryption: Encryption) {
        self.encryption = encryption;
    }

    /// Our offer for a call that we place.
    pub(crate) fn make_offer(&mut self) -> String {
        self.offer_ours().sdp
    }

    /// The caller's offer; empty when it made none.
    pub fn offer(&self) -> &str {
        self.offer.as_deref().unwrap_or_default()
    }

    /// Answers the offer, or makes one when there was none. Asked again, says the same.
    pub(crate) fn answer(&mut self, start: Start) -> Result<Agreed, SdpError> {
        match self.offer.clone() {
            Some(offer) => self.answer_to(&offer, start),
            None => Ok(self.offer_ours()),
        }
    }

    /// Answers an offer inside the dialog, or makes one when it has none. An offer of a call that is not answered yet is
    /// what the answer to the call will say, the first one of a caller that had made none included.
    pub(crate) fn reoffer(&mut self, offer: Option<&str>, start: Start) -> Result<Agreed, SdpError> {
        match offer {
            Some(offer) => {
                let agreed = self.answer_to(offer, start)?;
                if self.offer.is_some() || std::mem::take(&mut self.unasked) {
                    self.offer = Some(offer.to_owned());
                }
                Ok(agreed)
            }
            None => Ok(self.offer_ours()),
        }
    }

    /// The answer that turns an offer down which cannot be refused; what was agreed on before is to be offered again.
    /// `None` where nothing was, or the offer cannot be read.
    pub(crate) fn turn_down(&mut self, offer: &str) -> Option<String> {
        self.codec?;
        let answer = sdp::turn_down(offer, &self.described()).ok()?;
        self.sent = sdp::standing_again(self.sent.as_deref()?, &answer);
        Some(answer)
    }

    /// Takes in the answer to the offer we made.
    pub(crate) fn answered(&mut self, answer: &str, start: Start) -> Result<RtpPlan, SdpError> {
        let media = self.read(&self.described(), answer)?;
        self.unasked = false;
        self.heard = Some(answer.to_owned());
        Ok(self.plan(media, start))
    }

    /// Takes in an answer to what we said last; `None` if it is as it was (RFC 3264 section 8).
    pub(crate) fn refreshed(&mut self, answer: &str, start: Start) -> Result<Option<RtpPlan>, SdpError> {
        if self.heard.as_deref().is_some_and(|heard| is_same(heard, answer)) {
            return Ok(None);
        }
        self.answered(answer, start).map(Some)
    }

    /// Where the peer is told to send.
    pub(crate) fn local(&self) -> SocketAddr {
        SocketAddr::new(self.local.address, self.local.port)
    }

    /// Which way sound flows as far as we are concerned.
    pub(crate) fn direction(&self) -> Direction {
        self.direction
    }

    /// An offer inside the dialog that lets sound flow this way from its answer on.
    pub(crate) fn offer_direction(&mut self, direction: Direction) -> String {
        let sdp = sdp::offer(&self.directed(direction));
        self.sent = Some(sdp.clone());
        sdp
    }

    /// Takes in the answer to the offer of this direction; without one that is of use all stays as it was.
    pub(crate) fn direction_answered(
        &mut self,
        direction: Direction,
        answer: &str,
        start: Start,
    ) -> Result<RtpPlan, SdpError> {
        let media = self.read(&self.directed(direction), answer)?;
        self.direction = direction;
        self.heard = Some(answer.to_owned());
        Ok(self.plan(media, start))
    }

    fn read(&self, local: &Local, answer: &str) -> Result<Negotiated, SdpError> {
        match (sdp::read_answer(local, answer), &self.candidates) {
            (Err(SdpError::AddressFamily { .. }), Some(before)) => {
                sdp::read_answer_by_candidate(local, answer, before)
            }
            (read, _) => read,
        }
    }

    fn answer_to(&mut self, offer: &str, start: Start) -> Result<Agreed, SdpError> {
        let answer = match (sdp::answer(offer, &self.described()), self.local.other) {
            (Err(SdpError::AddressFamily { .. }), Some(other)) => {
                let answer = sdp::answer(offer, &Local { address: other, ..self.described() })?;
                self.local.other = Some(std::mem::replace(&mut self.local.address, other));
                answer
            }
            (Err(SdpError::AddressFamily { .. }), None) => {
                let answer = sdp::answer_by_candidate(offer, self.candidates.as_deref(), &self.described())?;
                if offer.contains("a=candidate:") {
                    self.candidates = Some(offer.to_owned());
                }
                answer
            }
            (answer, _) => answer?,
        };
        self.sent = Some(answer.sdp.clone());
        self.heard = Some(offer.to_owned());
        // An offer says by itself whether it holds us.
        self.held = answer.media.held;
        Ok(Agreed { sdp: answer.sdp, plan: Some(self.plan(answer.media, start)) })
    }

    fn offer_ours(&mut self) -> Agreed {
        let sdp = sdp::offer(&self.described());
        self.sent = Some(sdp.clone());
        Agreed { sdp, plan: None }
    }

    fn described(&self) -> Local<'_> {
        Local {
            address: self.local.address,
            port: self.local.port,
            origin_id: self.local.origin_id,
            previous: self.sent.as_deref(),
            codecs: &self.local.codecs,
            telephone_event: self.local.telephone_event,
            comfort_noise: true,
            rtcp_mux: true,
            security: match self.encryption {
                Encryption::Answered => Security::Answered(&self.local.keys),
                Encryption::Offered => Security::Offered(&self.local.keys),
                Encryption::Required => Security::Required(&self.local.keys),
            },
            direction: self.direction,
            ptime_ms: 20,
            name: &self.local.name,
        }
    }

    /// Another direction, and nothing else: a hold is no occasion to change the codec, nor to begin to encrypt.
    fn directed(&self, direction: Direction) -> Local<'_> {
        let usual = self.described();
        let codecs = if self.codec.is_some() { self.codec.as_slice() } else { usual.codecs };
        let clear = self.clear && self.encryption != Encryption::Required;
        let security = if clear { Security::Off } else { usual.security };
        Local { direction, codecs, security, ..usual }
    }

    fn plan(&mut self, mut media: sdp::Negotiated, start: Start) -> RtpPlan {
        // An answer can take nothing of who sends nothing: it does not tell whether it holds us.
        if self.direction.sends() {
            self.held = media.held;
        }
        media.held = self.held;
        self.codec = Some(media.codec);
        self.clear = media.keys.is_none();
        let learning = if self.local.latching { Learning::On } else { Learning::Off };
        RtpPlan { media, learning, signalling: self.local.signalling, start }
    }
}

/// Whether two descriptions of one dialog differ in nothing but who says how often to have changed it.
fn is_same(one: &str, other: &str) -> bool {
    lines(one).eq(lines(other))
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with("o=")).map(str::trim_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(other: Option<&str>) -> SipMedia {
        SipMedia::inbound(
            None,
            LocalMedia {
                address: "192.0.2.2".parse().unwrap(),
                other: other.map(|ip| ip.parse().unwrap()),
                port: 4000,
                codecs: vec![&audio::codec::g711::PCMU],
                telephone_event: false,
                latching: false,
                name: "a".into(),
                origin_id: 1,
                signalling: None,
                keys: KeyRing::of_all(&[7; sdp::RING_BYTES]),
            },
        )
    }

    fn offer(kind: &str, address: &str) -> String {
        format!("v=0\r\nc=IN {kind} {address}\r\nm=audio 4000 RTP/AVP 0\r\n")
    }

    #[test]
    fn an_offer_of_the_other_kind_of_addresses_is_met_where_the_socket_has_both_and_refused_where_not() {
        let start = Start::default();
        let six = offer("IP6", "2001:db8::9");
        let refused = media(None).reoffer(Some(&six), start).map(|agreed| agreed.sdp).unwrap_err();
        assert_eq!((refused.status(), refused.warning()), (488, 301));
        let mut both = media(Some("2001:db8::2"));
        let said = |both: &mut SipMedia, offer: &str| both.reoffer(Some(offer), start).unwrap().sdp;
        assert!(said(&mut both, &six).contains("c=IN IP6 2001:db8::2\r\n"));
        assert!(both.make_offer().contains("c=IN IP6 2001:db8::2\r\n"), "a later offer of ours stays there");
        assert!(said(&mut both, &offer("IP4", "192.0.2.9")).contains("c=IN IP4 192.0.2.2\r\n"));
    }

    #[test]
    fn an_offer_of_the_other_kind_of_addresses_is_met_at_a_candidate_of_ours() {
        let candidates = "a=candidate:1 1 UDP 9 2001:db8::9 4000 typ host\r\n\
                          a=candidate:2 1 UDP 8 192.0.2.9 4002 typ host\r\n";
        let remote = |media: &mut SipMedia, offer: &str| {
            let agreed = media.reoffer(Some(offer), Start::default()).unwrap();
            agreed.plan.unwrap().media.remote.unwrap().to_string()
        };
        let six = offer("IP6", "2001:db8::9") + candidates;
        let mut four = media(None);
        for later in [&six, &offer("IP6", "2001:db8::9"), &offer("IP6", "2001:db8::9")] {
            assert_eq!(remote(&mut four, later), "192.0.2.9:4002", "its hold comes without candidates");
        }
        four.make_offer();
        let plan = four.answered(&offer("IP6", "2001:db8::9"), Start::default()).unwrap();
        assert_eq!(plan.media.remote.unwrap().to_string(), "192.0.2.9:4002", "and so do its answers");
        let mut both = media(Some("2001:db8::2"));
        assert_eq!(remote(&mut both, &six), "[2001:db8::9]:4000", "what it says first goes first");
    }

    #[test]
    fn an_answer_that_is_given_once_more_counts_where_it_is_another_one() {
        let start = Start::default();
        let mut media = media(None);
        media.answer(start).unwrap();
        let answer = |port: u16, version: u8| {
            format!(
                "v=0\r\no=- 1 {version} IN IP4 192.0.2.9\r\nc=IN IP4 192.0.2.9\r\nm=audio {port} RTP/AVP 0\r\n"
            )
        };
        let port = |plan: RtpPlan| plan.media.remote.unwrap().port();
        assert_eq!(port(media.answered(&answer(4000, 1), start).unwrap()), 4000);
        assert!(media.refreshed(&answer(4000, 2), start).unwrap().is_none(), "only its number is another");
        assert_eq!(media.refreshed(&answer(4004, 3), start).unwrap().map(port), Some(4004));
        assert!(media.refreshed(&answer(0, 4), start).is_err());
        assert!(media.refreshed(&answer(4004, 5), start).unwrap().is_none(), "what was agreed on stands");
        media.reoffer(Some(&answer(4006, 6)), start).unwrap();
        assert!(media.refreshed(&answer(4006, 7), start).unwrap().is_none(), "an offer says as much");
    }

    #[test]
    fn the_first_offer_of_a_caller_that_had_made_none_is_what_the_answer_to_the_call_says() {
        let start = Start::default();
        let first = offer("IP4", "192.0.2.9");
        let mut early = media(None);
        assert!(early.answer(start).unwrap().plan.is_none(), "we make the offer");
        let said = early.reoffer(Some(&first), start).unwrap().sdp;
        let answer = early.answer(start).unwrap();
        assert!(answer.plan.is_some() && answer.sdp == said);
        // Where our offer was answered, a later one of the peer's is its own matter.
        let mut late = media(None);
        let ours = late.answer(start).unwrap().sdp;
        assert!(late.answered(&ours.replace("192.0.2.2", "192.0.2.9"), start).is_ok());
        late.reoffer(Some(&first), start).unwrap();
        assert_eq!(late.offer(), "");
    }
}
