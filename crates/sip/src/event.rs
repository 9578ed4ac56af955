//! What leaves an endpoint: datagrams, and what happened in its dialogs.

use std::fmt;
use std::net::SocketAddr;

use crate::hop::{Hop, Transport};
use crate::registration::{RegistrationId, RegistrationState};

/// Names one dialog of one endpoint, from its first INVITE to its end. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DialogId(pub u64);

impl fmt::Display for DialogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dialog {}", self.0)
    }
}

/// One thing that [`Endpoint::poll`](crate::Endpoint::poll) hands out.
#[derive(Debug, Clone)]
pub enum Output {
    /// Put these bytes into one datagram, or onto one connection.
    Send {
        /// The receiver.
        to: Hop,
        /// A whole SIP message.
        bytes: Vec<u8>,
    },
    /// Something happened.
    Event(SipEvent),
    /// The state of a registration has changed, or its refresh has succeeded.
    Registration {
        /// Which.
        id: RegistrationId,
        /// How it stands now.
        state: RegistrationState,
    },
    /// A `Contact` or `Record-Route` names a host that something is to be sent to: look up where it leads and tell it by
    /// [`Endpoint::located`](crate::Endpoint::located). What waits for that goes, after two seconds at the latest, where
    /// the peer's messages come from.
    Locate {
        /// A URI without user.
        uri: String,
    },
}

/// Header lines in the order of the message: name in its long form, value unfolded, every control
/// character replaced by U+FFFD, so that it can go into a log or a record.
pub type HeaderList = Vec<(String, String)>;

/// Someone calls us.
#[derive(Debug, Clone)]
pub struct Invite {
    /// `Call-ID`.
    pub call_id: String,
    /// URI of `From`.
    pub from_uri: String,
    /// Tag of `From`; empty for a peer from before RFC 3261.
    pub from_tag: String,
    /// URI of `To`.
    pub to_uri: String,
    /// The tag that we put into `To`.
    pub local_tag: String,
    /// Request-URI: whom the last hop believes to be us.
    pub request_uri: String,
    /// Every header line.
    pub headers: HeaderList,
    /// The offer; absent if the caller wants us to make one.
    pub sdp: Option<String>,
    /// The call of ours that this one takes the place of when it is answered (`Replaces`, RFC 3891):
    /// the other ends with [`EndCause::Replaced`].
    pub replaces: Option<DialogId>,
    /// The address of our account whose contact it is for, if it comes from the registrar at which that is registered: it
    /// has proved who it is when it let us in.
    pub account: Option<String>,
    /// Where it came from.
    pub source: SocketAddr,
    /// How it came.
    pub transport: Transport,
    /// The dialog's name in webhooks: `<call_id>-<local tag>-<remote tag>`. Opaque, and partly the
    /// peer's choice: `/`, `..` and quotes may stand in it.
    pub dialog_id: String,
}

impl Invite {
    /// Value of the first header of this (long) name, without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// Why a dialog ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndCause {
    /// The peer sent BYE.
    Bye,
    /// We sent BYE, and the peer has answered it or can no longer be reached.
    LocalBye,
    /// We rejected the INVITE.
    LocalReject,
    /// Nobody answered the INVITE for three minutes; 480 has been sent.
    Unanswered,
    /// Another call has taken its place (`Replaces`); we have sent BYE.
    Replaced,
    /// The peer has shown that it knows the call no more; we have sent BYE all the same.
    Lost,
    /// The peer had promised to refresh the session and has not (RFC 4028 section 10); we have sent BYE.
    Expired,
    /// Our 200 was never acknowledged, and we have sent BYE as RFC 3261 section 13.3.1.4 asks.
    AckTimeout,
    /// A provisional response that has to be acknowledged was not for 64 T1, and we have refused the call with 504
    /// (RFC 3262 section 3).
    PrackTimeout,
}

/// Which request offered new media inside a dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfferMethod {
    /// A re-INVITE.
    Invite,
    /// An UPDATE (RFC 3311).
    Update,
    /// The PRACK of a provisional response that has answered the first offer (RFC 3262 section 5).
    Prack,
}

/// What happened in a dialog.
///
/// Every dialog ends with exactly one of `Canceled`, `Ended`, `Rejected` and `Failed`; nothing
/// follows it. `Invited` is the first event of a dialog that a peer began.
#[derive(Debug, Clone)]
pub enum SipEvent {
    /// A new call wants `ring`, `answer` or `reject`.
    Invited {
        /// The new dialog.
        dialog: DialogId,
        /// What the INVITE said.
        invite: Box<Invite>,
    },
    /// The caller hung up before we answered, or the time is over that its INVITE gave (`Expires`). 487 has been sent.
    Canceled {
        /// The dialog.
        dialog: DialogId,
        /// Header lines of the CANCEL; its `Reason` (RFC 3326) may say that another phone has taken the call.
        headers: HeaderList,
    },
    /// The 200 that waited for the PRACK of early media ([`Answering::Waits`](crate::Answering::Waits)) has gone out.
    AnswerSent {
        /// The dialog.
        dialog: DialogId,
    },
    /// Our 200 to the first INVITE was acknowledged, or the peer shows by its next INVITE that it
    /// has it.
    Established {
        /// The dialog.
        dialog: DialogId,
        /// The answer in the ACK, if the INVITE had no offer.
        sdp: Option<String>,
    },
    /// Our 200 was not acknowledged for 64 T1. BYE goes out; `Ended` follows.
    AckTimeout {
        /// The dialog.
        dialog: DialogId,
    },
    /// The peer wants other media; answer with `answer_reoffer`.
    Reoffered {
        /// The dialog.
        dialog: DialogId,
        /// Its offer; absent if a re-INVITE wants ours.
        sdp: Option<String>,
        /// The request that asks.
        method: OfferMethod,
    },
    /// The answer to the offer that our 200 to a re-INVITE made came in its ACK.
    ReofferAnswered {
        /// The dialog.
        dialog: DialogId,
        /// The answer; absent if the peer forgot it.
        sdp: Option<String>,
    },
    /// The peer has answered our offer (`reoffer`).
    OfferAnswered {
        /// The dialog.
        dialog: DialogId,
        /// Its answer; its own offer, which waits for `acknowledge`, where it was asked for one (`ask_for_offer`);
        /// absent if it forgot it.
        sdp: Option<String>,
    },
    /// The peer has answered the re-INVITE by which the endpoint shows that the call stands (RFC 4028). Its description
    /// may be another one than before (RFC 3264 section 8).
    Refreshed {
        /// The dialog.
        dialog: DialogId,
        /// The answer to our last description.
        sdp: String,
    },
    /// The peer has refused our offer (`reoffer`); what was before stands.
    OfferRefused {
        /// The dialog.
        dialog: DialogId,
        /// 300 to 699; 408 if it did not answer, and then the call ends.
        code: u16,
        /// Its reason phrase.
        reason: String,
    },
    /// INFO inside the dialog (digits, mostly). It has been answered 200.
    Info {
        /// The dialog.
        dialog: DialogId,
        /// `Content-Type`, lower case and without parameters; empty if absent.
        content_type: String,
        /// The body, at most as long as a datagram.
        body: Vec<u8>,
    },
    /// What `request_inside` sent was answered.
    Responded {
        /// The dialog.
        dialog: DialogId,
        /// 200 to 699; 408 after silence, 503 if the peer cannot be reached.
        code: u16,
    },
    /// How far the transfer has got that `refer` asked for. After `Succeeded` or `Failed` nothing
    /// follows of it; the dialog stays.
    Transfer {
        /// The dialog.
        dialog: DialogId,
        /// How far.
        progress: TransferProgress,
        /// The header lines of what refused: of the response to our REFER, or, of the target's, those that the peer quotes
        /// and that say why, what is wrong and when to try again.
        headers: HeaderList,
        /// Where a redirection leads (code 300 to 399).
        contacts: Vec<String>,
    },
    /// The peer wants us to call someone else; answer with `answer_refer`.
    TransferRequested {
        /// The dialog.
        dialog: DialogId,
        /// The URI to call.
        to: String,
        /// `Referred-By`.
        referred_by: Option<String>,
        /// Value of the `Replaces` that the new INVITE is to have, for a transfer with consultation.
        replaces: Option<String>,
    },
    /// Another call takes the place of this one (`Replaces`, RFC 3891): when it is answered, this one ends with
    /// [`EndCause::Replaced`]. Told by the driver alone, whose `claim` hands the new call out.
    TakenOver {
        /// The dialog.
        dialog: DialogId,
        /// The new one.
        by: DialogId,
        /// What its INVITE said.
        invite: Box<Invite>,
    },
    /// The peer has hung up before it has told the end of the transfer that `refer` asked for. It may still do so for 64
    /// T1 (RFC 5057 section 4.2): `Transfer` follows, then `Ended`. Nothing else can be done in the dialog, and `hangup`
    /// waits no longer.
    Left {
        /// The dialog.
        dialog: DialogId,
        /// Header lines of the peer's BYE.
        headers: HeaderList,
    },
    /// The dialog is over.
    Ended {
        /// The dialog.
        dialog: DialogId,
        /// Header lines of the peer's BYE (`Reason`, `X-...`); empty for the other causes and after `Left`.
        headers: HeaderList,
        /// Why.
        cause: EndCause,
    },
    /// Our INVITE got a provisional response other than 100.
    Provisional {
        /// The dialog.
        dialog: DialogId,
        /// Which callee speaks, if a proxy rings several: the tag of `To`, empty without one.
        fork: String,
        /// 101 to 199.
        code: u16,
        /// Its reason phrase.
        reason: String,
        /// Early media.
        sdp: Option<String>,
        /// Header lines of the response.
        headers: HeaderList,
    },
    /// Our INVITE was answered. The ACK has been sent, unless our INVITE made no offer: then the
    /// peer made one and waits for `acknowledge`.
    Answered {
        /// The dialog.
        dialog: DialogId,
        /// Which callee answered: the tag of `To`.
        fork: String,
        /// The answer to our offer, or the peer's offer.
        sdp: Option<String>,
        /// Header lines of the 200.
        headers: HeaderList,
    },
    /// Our INVITE was refused.
    Rejected {
        /// The dialog.
        dialog: DialogId,
        /// 300 to 699. 487 after `cancel`. A redirection (3xx) is not followed.
        code: u16,
        /// Where a redirection leads: the URIs of its `Contact`, at most 8 of at most 512 bytes.
        contacts: Vec<String>,
        /// Its reason phrase.
        reason: String,
        /// Header lines of the response.
        headers: HeaderList,
    },
    /// Our INVITE got no final answer.
    Failed {
        /// The dialog.
        dialog: DialogId,
        /// Why.
        why: Failure,
    },
}

impl SipEvent {
    /// The dialog in which it happened.
    pub fn dialog(&self) -> DialogId {
        match self {
            Self::Invited { dialog, .. }
            | Self::Canceled { dialog, .. }
            | Self::AnswerSent { dialog }
            | Self::Established { dialog, .. }
            | Self::AckTimeout { dialog }
            | Self::Reoffered { dialog, .. }
            | Self::ReofferAnswered { dialog, .. }
            | Self::Info { dialog, .. }
            | Self::Transfer { dialog, .. }
            | Self::TransferRequested { dialog, .. }
            | Self::TakenOver { dialog, .. }
            | Self::OfferAnswered { dialog, .. }
            | Self::Refreshed { dialog, .. }
            | Self::OfferRefused { dialog, .. }
            | Self::Responded { dialog, .. }
            | Self::Left { dialog, .. }
            | Self::Ended { dialog, .. }
            | Self::Provisional { dialog, .. }
            | Self::Answered { dialog, .. }
            | Self::Rejected { dialog, .. }
            | Self::Failed { dialog, .. } => *dialog,
        }
    }

    /// Whether nothing can follow in its dialog.
    pub fn is_last(&self) -> bool {
        matches!(
            self,
            Self::Canceled { .. } | Self::Ended { .. } | Self::Rejected { .. } | Self::Failed { .. }
        )
    }
}

/// How far a transfer has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferProgress {
    /// The peer will try.
    Accepted,
    /// What the target says before it answers.
    Ringing {
        /// 100 to 199.
        code: u16,
        /// Its reason phrase.
        reason: String,
    },
    /// The target has answered.
    Succeeded {
        /// 200 to 299.
        code: u16,
    },
    /// The peer refused, or the target did, or nothing was heard of it.
    Failed {
        /// 300 to 699: 408 for silence, 487 if the end was not told, 503 if the peer cannot be reached.
        code: u16,
        /// Its reason phrase.
        reason: String,
    },
}

impl TransferProgress {
    /// Whether nothing follows of this transfer.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Succeeded { .. } | Self::Failed { .. })
    }
}

/// Why an INVITE of ours got no final answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No response at all for 64 T1, from any target.
    Timeout,
    /// No target could be reached; the last one for this reason.
    Unreachable(Obstacle),
    /// Nobody answered for as long as [`Outbound::patience`](crate::Outbound::patience); the call has
    /// been cancelled.
    NoAnswer,
    /// We cancelled, and the peer sent no final response for 64 T1.
    CancelUnanswered,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "the peer did not respond to the INVITE",
            Self::Unreachable(obstacle) => return write!(f, "the peer cannot be reached{obstacle}"),
            Self::NoAnswer => "nobody answered in time",
            Self::CancelUnanswered => "the peer did not respond to the CANCEL",
        })
    }
}

/// What stands between us and a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// There is no way to it, or the way is gone.
    NoWay,
    /// No network of ours leads to its address.
    NoRoute,
    /// Its host says that nobody listens at this address.
    NobodyListens(SocketAddr),
    /// The network says that nothing gets through to this address.
    Barred(SocketAddr),
    /// It takes no connection.
    Refused,
    /// It does not answer the connection.
    Silent,
    /// Its certificate is of nobody whom we trust.
    Stranger,
    /// Its certificate is another host's.
    WrongName,
    /// Its certificate is no longer valid, or not yet.
    Expired,
    /// Its certificate is of no use for another reason.
    BadCertificate,
    /// We agree on no encryption.
    Handshake,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoWay => "",
            Self::NoRoute => ": no network of this host leads there",
            Self::NobodyListens(at) => return write!(f, ": nobody listens at {}", plain(*at)),
            Self::Barred(at) => return write!(f, ": the network lets nothing through to {}", plain(*at)),
            Self::Refused => ": it refuses the connection",
            Self::Silent => ": it does not answer the connection",
            Self::Stranger => ": no authority that is trusted here has signed its certificate",
            Self::WrongName => ": its certificate has another name",
            Self::Expired => ": its certificate is not valid now",
            Self::BadCertificate => ": its certificate cannot be used",
            Self::Handshake => ": the TLS handshake has failed",
        })
    }
}

/// An address as people write it, also where a socket for both families has it in the form of IPv6.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A request that was answered without keeping anything of it, and that begins nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// Who asks.
    pub source: SocketAddr,
    /// Whether it may be one of an honest peer that has gone astray: a call that cannot be taken, or a request in one
    /// that is over.
    pub stray: bool,
}

/// A message that nobody can do anything with: it breaks the grammar, lacks what every request has, or asks for
/// extensions that are not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it came from.
    pub source: SocketAddr,
    /// The status of its answer; absent if it got none.
    pub code: Option<u16>,
    /// The first fault in words, at most 200 characters without control characters. The names of extensions in it are
    /// the peer's.
    pub why: String,
}

/// What an endpoint has counted since its start, and what it holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams received, keep-alives included.
    pub received: u64,
    /// Datagrams handed out for sending.
    pub sent: u64,
    /// Datagrams that are no SIP message.
    pub parse_errors: u64,
    /// Requests refused without state (4xx and 5xx).
    pub refused: u64,
    /// Requests and responses of ours that were sent again.
    pub retransmissions: u64,
    /// Requests of peers that were received again and absorbed.
    pub absorbed: u64,
    /// Responses that belong to nothing we sent.
    pub stray_responses: u64,
    /// Datagrams that the socket did not take at once and that were dropped (driver).
    pub unsent: u64,
    /// Connections now (driver).
    pub connections: usize,
    /// Transactions and remembered answers now.
    pub transactions: usize,
    /// Dialogs now.
    pub dialogs: usize,
    /// Dialogs since the start.
    pub dialogs_total: u64,
}
