//! A party's connection: its signalling. Its packets go to Media.

pub mod hosts;
mod said;
pub mod sip;
pub mod sip_media;
pub mod unsignalled;

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use protocol::event::TransferState;
use protocol::option::SipOption;
use protocol::reason::Particulars;
use protocol::{Headers, Secret};
use rtp::sdp::SdpError;

/// Names a leg within its call. The main leg is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegId(pub u32);

impl LegId {
    /// The leg a call begins with.
    pub const MAIN: LegId = LegId(0);
    /// No leg: a client that hears both sides.
    pub const OBSERVER: LegId = LegId(u32::MAX);

    /// The name that this leg has when `one` and `other` have changed names.
    pub(crate) fn swapped(self, one: LegId, other: LegId) -> LegId {
        match self {
            leg if leg == one => other,
            leg if leg == other => one,
            leg => leg,
        }
    }
}

/// What happens on a leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LegEvent {
    /// The answer that had to wait ([`Asked::Waits`]) has gone out.
    AnswerSent,
    /// The far end is told of the answer and has confirmed it. With the far end's answer when we offered.
    Established {
        /// SDP.
        sdp: Option<String>,
    },
    /// The far end wants other media. Answered with [`LegRequest::AnswerReoffer`].
    Reoffered {
        /// Its offer; absent when it wants ours.
        sdp: Option<String>,
        /// Whether it may be refused. One in a PRACK may not: that confirms a response of ours as well, which is answered
        /// with 200 alone (RFC 3262 section 3).
        refusable: bool,
    },
    /// The far end's answer to the offer we made on its request.
    ReofferAnswered {
        /// SDP.
        sdp: Option<String>,
    },
    /// The far end has answered the offer of [`LegRequest::Offer`].
    OfferAnswered {
        /// SDP; absent when it forgot it.
        sdp: Option<String>,
    },
    /// The far end has described its media once more, in answer to what we said last, as the endpoint shows it that the
    /// call stands; mostly as before.
    Refreshed {
        /// SDP.
        sdp: String,
    },
    /// The far end has refused the offer of [`LegRequest::Offer`]; what was before stands.
    OfferRefused {
        /// 300 to 699; 408 after silence, and then the leg ends.
        code: u16,
        /// In words.
        reason: String,
    },
    /// A digit by signalling (SIP INFO).
    Digit(char),
    /// What [`LegRequest::Digit`] sent was answered.
    DigitAnswered {
        /// 200 to 699; 408 after silence.
        code: u16,
    },
    /// The party that was called rings; with SDP it can be heard already.
    Ringing {
        /// 101 to 199.
        code: u16,
        /// Early media.
        sdp: Option<String>,
    },
    /// The party that was called has answered and knows that we know.
    Answered {
        /// Its answer to our offer, which may have come before; absent when it never gave one.
        sdp: Option<String>,
    },
    /// The party that was called has refused, or cannot be reached. The leg is over.
    Refused {
        /// 300 to 699; 408 after silence.
        code: u16,
        /// In words.
        reason: String,
        /// What else it says.
        particulars: Particulars,
    },
    /// The far end wants to send us on to someone else. Answered with [`LegRequest::AnswerTransfer`].
    TransferRequested(TransferIn),
    /// How the transfer goes that [`LegRequest::Transfer`] asked for. After success or failure nothing follows of it.
    Transferred {
        /// How far it is.
        state: TransferState,
        /// SIP status that says the same.
        code: u16,
        /// In words.
        reason: String,
        /// What else a refusal says.
        particulars: Particulars,
    },
    /// Somebody else calls to take the far end's place; [`Leg::successor`] gives the leg, which waits for an answer.
    TakenOver {
        /// Its URI.
        caller: String,
        /// Its offer; absent when it wants ours.
        offer: Option<String>,
        /// Where its signalling comes from.
        source: IpAddr,
    },
    /// The caller gave up before the answer.
    Canceled {
        /// Why, where it says so.
        message: Option<String>,
    },
    /// The far end never confirmed the answer.
    Unconfirmed,
    /// The caller never confirmed what it was told before the answer, so that no answer could go out. It is refused
    /// with 504; the leg is over.
    Unreached,
    /// The far end has hung up and may still tell the end of the transfer that [`LegRequest::Transfer`] asked for:
    /// [`LegEvent::Transferred`] follows, then [`LegEvent::Ended`].
    Left {
        /// Why, in the far end's words.
        message: Option<String>,
    },
    /// The leg is over.
    Ended {
        /// By the far end, and not by us.
        remote: bool,
        /// Why, in the far end's words or, where nobody asked for the end, in ours.
        message: Option<String>,
    },
}

/// A call to place on a leg that was opened for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallOut {
    /// Our URI.
    pub caller: String,
    /// Whom to call.
    pub callee: String,
    /// Our offer.
    pub sdp: String,
    /// Headers for the INVITE.
    pub headers: Headers,
    /// How long it may ring.
    pub patience: Duration,
    /// The call of the callee's whose place it takes.
    pub replaces: Option<String>,
    /// Who has sent us there, as that was told to us (`Referred-By`).
    pub referred_by: Option<String>,
}

/// The far end wants us to call someone else in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferIn {
    /// The URI to call.
    pub to: String,
    /// Who says so.
    pub referred_by: Option<String>,
    /// The call of the target's that ours is to take the place of.
    pub replaces: Option<String>,
}

/// The far end is to call someone else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferOut {
    /// Whom.
    pub to: String,
    /// It is to take our place on this leg, on which we talk to the target.
    pub with: Option<LegId>,
    /// [`Leg::dialog`] of that leg; filled in on the way.
    pub dialog: Option<u64>,
    /// Headers of the request.
    pub headers: Headers,
    /// What answers a challenge to it, where that is not what answers those of the call.
    pub login: Option<Login>,
}

/// A user's name and password at a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub username: String,
    /// The password; empty for none.
    pub password: Secret,
    /// The one realm that may have an answer; any if absent.
    pub realm: Option<String>,
}

impl Login {
    /// What the options of a command say; `None` without a name.
    pub(crate) fn of(sip: &SipOption) -> Option<Self> {
        let username = sip.username.clone().filter(|username| !username.is_empty())?;
        let realm = sip.realm.clone().filter(|realm| !realm.is_empty());
        Some(Login { username, password: sip.password.clone().unwrap_or_default(), realm })
    }
}

/// What the far end is told of a description that cannot be met (RFC 3261 section 20.43).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// 300 to 399.
    pub code: u16,
    /// In words.
    pub text: String,
}

impl From<&SdpError> for Warning {
    fn from(error: &SdpError) -> Self {
        Warning { code: error.warning(), text: error.to_string() }
    }
}

/// Why other media are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// SIP status.
    pub code: u16,
    /// What is wrong with the description.
    pub warning: Option<Warning>,
}

impl From<&SdpError> for Objection {
    fn from(error: &SdpError) -> Self {
        Objection { code: error.status(), warning: Some(error.into()) }
    }
}

/// How a digit is written in an INFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigitBody {
    /// `application/dtmf-relay`: digit and length.
    Relay,
    /// `application/dtmf`: the digit alone.
    Plain,
}

/// What is wanted of a leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LegRequest {
    /// Call someone. What becomes of it is told by [`LegEvent::Ringing`], [`LegEvent::Answered`] and
    /// [`LegEvent::Refused`].
    Invite(Box<CallOut>),
    /// Ring; with SDP, let the caller hear us already.
    Ring {
        /// Our answer to its offer.
        sdp: Option<String>,
    },
    /// Answer.
    Answer {
        /// Our answer, or our offer when there was none.
        sdp: String,
    },
    /// Refuse.
    Reject {
        /// SIP status.
        code: u16,
        /// Text for the status line.
        reason: String,
        /// What is wrong with its description, if that is the reason.
        warning: Option<Warning>,
    },
    /// Answer other media, or refuse it; the call goes on as before.
    AnswerReoffer(Result<String, Objection>),
    /// Offer other media; [`LegEvent::OfferAnswered`] or [`LegEvent::OfferRefused`] tells what came of it. It takes the
    /// place of an offer that waits for one of the far end's to be over.
    Offer {
        /// Our offer.
        sdp: String,
    },
    /// Send a digit by signalling (SIP INFO); [`LegEvent::DigitAnswered`] tells what came of it.
    Digit {
        /// `0` to `9`, `*`, `#`, `A` to `D`.
        digit: char,
        /// How long it is held.
        length: Duration,
        /// How it is written.
        body: DigitBody,
    },
    /// Ask the far end to call someone else. [`LegEvent::Transferred`] tells what comes of it.
    Transfer(Box<TransferOut>),
    /// Agree to the transfer that the far end wants, or refuse it with a SIP status.
    AnswerTransfer(Result<(), u16>),
    /// Tell the far end how the transfer goes that was agreed to; a code of 200 or more is the last.
    TransferProgress {
        /// SIP status, as from the target.
        code: u16,
        /// In words; the usual ones when empty.
        reason: String,
    },
    /// End the leg, in whatever state it is.
    Hangup {
        /// Headers for the BYE.
        headers: Headers,
    },
}

/// What has become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It has been carried out.
    Done,
    /// The answer has to wait until the caller has confirmed what it was told before; [`LegEvent::AnswerSent`] tells
    /// that it has gone out.
    Waits,
}

/// A request could not be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LegError {
    /// The leg is over; its last event tells why.
    #[error("the leg is over")]
    Gone,
    /// The leg is in no state for it, or the request cannot be sent.
    #[error("{0}")]
    Refused(String),
    /// The call cannot be placed because of what is asked for.
    #[error("{1}")]
    Unsendable(Unsendable, String),
}

/// What of a call to be placed no message can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsendable {
    /// [`CallOut::caller`].
    Caller,
    /// [`CallOut::callee`].
    Callee,
    /// The `Call-ID`.
    CallId,
    /// One of [`CallOut::headers`].
    Header,
}

/// What a failed request means for the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The answer came too late: the caller had just given up.
    Gone,
    /// The answer could not be sent.
    Answer,
    /// The call could not be placed.
    Invite,
    /// The call could not be placed because of what is asked for.
    Unsendable(Unsendable),
    /// The far end could not be asked to call someone else.
    Transfer,
    /// Other media could not be offered.
    Offer,
    /// Something the call survives.
    Other,
}

/// The signalling of one party.
#[async_trait]
pub trait Leg: Send {
    /// The next thing that happens. Cancel-safe. Pending for ever once the leg is over.
    async fn next(&mut self) -> LegEvent;

    /// Carries out a request.
    ///
    /// # Errors
    /// When the leg is in no state for it.
    async fn request(&mut self, request: LegRequest) -> Result<Asked, LegError>;

    /// The leg of who takes the far end's place, once after [`LegEvent::TakenOver`]; `None` when that has given up.
    async fn successor(&mut self) -> Option<Box<dyn Leg>> {
        None
    }

    /// What another leg of this server needs to name this one; `None` before it calls anyone, and without signalling.
    fn dialog(&self) -> Option<u64> {
        None
    }
}
