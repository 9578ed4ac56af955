//! Offer and answer of a SIP leg, as the rules of its call need them.

use std::net::IpAddr;

use audio::Codec;
use rtp::sdp::{self, Direction, Local, SdpError};
use rtp::stream::Learning;

use crate::media::order::RtpPlan;

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
}

/// Media of one SIP leg through its life.
#[derive(Clone, Debug)]
pub struct SipMedia {
    local: LocalMedia,
    offer: Option<String>,
    /// What we sent last in this dialog.
    sent: Option<String>,
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
        SipMedia { local, offer, sent: None }
    }

    /// Media of a call that we place.
    pub fn outbound(local: LocalMedia) -> Self {
        SipMedia { local, offer: None, sent: None }
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
    pub(crate) fn answer(&mut self, random: (u32, u16, u32)) -> Result<Agreed, SdpError> {
        match self.offer.clone() {
            Some(offer) => self.answer_to(&offer, random),
            None => Ok(self.offer_ours()),
        }
    }

    /// Answers an offer inside the dialog, or makes one when it has none.
    pub(crate) fn reoffer(
        &mut self,
        offer: Option<&str>,
        random: (u32, u16, u32),
    ) -> Result<Agreed, SdpError> {
        match offer {
            Some(offer) => self.answer_to(offer, random),
            None => Ok(self.offer_ours()),
        }
    }

    /// Takes in the answer to the offer we made.
    pub(crate) fn answered(&mut self, answer: &str, random: (u32, u16, u32)) -> Result<RtpPlan, SdpError> {
        let media = sdp::read_answer(&self.described(), answer)?;
        Ok(self.plan(media, random))
    }

    fn answer_to(&mut self, offer: &str, random: (u32, u16, u32)) -> Result<Agreed, SdpError> {
        let answer = sdp::answer(offer, &self.described())?;
        self.sent = Some(answer.sdp.clone());
        Ok(Agreed { sdp: answer.sdp, plan: Some(self.plan(answer.media, random)) })
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
            comfort_noise: false,
            rtcp_mux: false,
            security: sdp::Security::Off,
            direction: Direction::SendRecv,
            ptime_ms: 20,
            name: &self.local.name,
        }
    }

    fn plan(&self, media: sdp::Negotiated, start: (u32, u16, u32)) -> RtpPlan {
        let learning = if self.local.latching { Learning::On } else { Learning::Off };
        RtpPlan { media, learning, start }
    }
}
