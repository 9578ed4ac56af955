//! Offer and answer of a SIP leg, as the rules of its call need them.

use std::net::IpAddr;

use audio::Codec;
use rtp::sdp::{self, Direction, KeyRing, Local, SdpError, Security};
use rtp::stream::Learning;

use crate::media::order::{RtpPlan, Start};

/// Our side of a SIP leg's media.
#[derive(Clone, Debug)]
pub struct LocalMedia {
    /// The address the peer is to send to, as it sees it (`external_ip`).
    pub address: IpAddr,
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

/// Whether sound may go in clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// It is encrypted where the peer offers that; our own offers are in clear.
    #[default]
    Answered,
    /// Never: keys are offered alone, and descriptions in clear refused with 488.
    Required,
}

/// Media of one SIP leg through its life.
#[derive(Clone, Debug)]
pub struct SipMedia {
    local: LocalMedia,
    encryption: Encryption,
    offer: Option<String>,
    /// What we sent last in this dialog.
    sent: Option<String>,
    /// Which way sound is to flow as far as we are concerned; less than both ways holds the far end.
    direction: Direction,
    /// Whether the far end holds us, by what it said last.
    held: bool,
    /// What was agreed on last.
    codec: Option<&'static Codec>,
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
            offer,
            sent: None,
            direction: Direction::SendRecv,
            held: false,
            codec: None,
        }
    }

    /// Media of a party that calls from `source` to take the far end's place: on the same port, held if that one was,
    /// with keys of its own, which no two parties may share.
    pub(crate) fn successor(&self, offer: Option<String>, source: IpAddr, keys: KeyRing) -> Self {
        let local = LocalMedia { signalling: Some(source), keys, ..self.local.clone() };
        SipMedia { local, offer, sent: None, held: false, codec: None, ..self.clone() }
    }

    /// Media of a call that we place.
    pub fn outbound(local: LocalMedia) -> Self {
        SipMedia::inbound(None, local)
    }

    /// Says whether sound may go in clear, before the first description is made.
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
    /// what the answer to the call will say.
    pub(crate) fn reoffer(&mut self, offer: Option<&str>, start: Start) -> Result<Agreed, SdpError> {
        match offer {
            Some(offer) => {
                let agreed = self.answer_to(offer, start)?;
                self.offer = self.offer.take().map(|_| offer.to_owned());
                Ok(agreed)
            }
            None => Ok(self.offer_ours()),
        }
    }

    /// Takes in the answer to the offer we made.
    pub(crate) fn answered(&mut self, answer: &str, start: Start) -> Result<RtpPlan, SdpError> {
        let media = sdp::read_answer(&self.described(), answer)?;
        Ok(self.plan(media, start))
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
        let media = sdp::read_answer(&self.directed(direction), answer)?;
        self.direction = direction;
        Ok(self.plan(media, start))
    }

    fn answer_to(&mut self, offer: &str, start: Start) -> Result<Agreed, SdpError> {
        let answer = sdp::answer(offer, &self.described())?;
        self.sent = Some(answer.sdp.clone());
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
                Encryption::Required => Security::Required(&self.local.keys),
            },
            direction: self.direction,
            ptime_ms: 20,
            name: &self.local.name,
        }
    }

    /// Another direction, and nothing else: a hold is no occasion to change the codec.
    fn directed(&self, direction: Direction) -> Local<'_> {
        let usual = self.described();
        let codecs = if self.codec.is_some() { self.codec.as_slice() } else { usual.codecs };
        Local { direction, codecs, ..usual }
    }

    fn plan(&mut self, mut media: sdp::Negotiated, start: Start) -> RtpPlan {
        // An answer can take nothing of who sends nothing: it does not tell whether it holds us.
        if self.direction.sends() {
            self.held = media.held;
        }
        media.held = self.held;
        self.codec = Some(media.codec);
        let learning = if self.local.latching { Learning::On } else { Learning::Off };
        RtpPlan { media, learning, signalling: self.local.signalling, start }
    }
}
