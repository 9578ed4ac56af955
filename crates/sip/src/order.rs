//! What the verbs of an endpoint take, and how they fail.

use std::time::Duration;

use crate::digest::Credentials;
use crate::event::DialogId;
use crate::hop::Hop;

/// A call to place.
#[derive(Debug, Clone)]
pub struct Outbound {
    /// URI of the callee, `sip:`, `sips:` or `tel:`; it is the Request-URI and stands in `To`.
    pub to: String,
    /// URI in `From`.
    pub from: String,
    /// Display name in `From`.
    pub display_name: Option<String>,
    /// Where the INVITE goes, best first (name resolution is the caller's). The next one is tried
    /// after a failed transport, silence, or 503; the last failure is told.
    pub targets: Vec<Hop>,
    /// URI of the outbound proxy; it becomes a `Route`, and the targets are the proxy's.
    pub proxy: Option<String>,
    /// Further URIs for the `Route`, behind the proxy's: the `Service-Route` of the account that calls. Without a proxy
    /// the targets are the first one's.
    pub route: Vec<String>,
    /// Our offer. Without it the peer makes one in its answer, which `acknowledge` answers.
    pub sdp: Option<String>,
    /// `Call-ID`; a random one if absent.
    pub call_id: Option<String>,
    /// Further header lines. Those that the endpoint writes itself are an error.
    pub headers: Vec<(String, String)>,
    /// The call at the callee that this one is to take the place of: `replaces` of a
    /// [`TransferRequested`](crate::SipEvent::TransferRequested).
    pub replaces: Option<String>,
    /// Who has sent us to the callee: `referred_by` of a
    /// [`TransferRequested`](crate::SipEvent::TransferRequested). Its URI goes into `Referred-By` (RFC 3892); a value
    /// that cannot be read is left out.
    pub referred_by: Option<String>,
    /// What answers a challenge to this INVITE and to the later requests of its dialog.
    pub credentials: Option<Credentials>,
    /// How long the callee may leave the call unanswered before it is cancelled.
    pub patience: Duration,
}

impl Outbound {
    /// A call without offer, headers and credentials, given up after three minutes.
    pub fn new(to: impl Into<String>, from: impl Into<String>, target: impl Into<Hop>) -> Self {
        Self {
            to: to.into(),
            from: from.into(),
            display_name: None,
            targets: vec![target.into()],
            proxy: None,
            route: Vec::new(),
            sdp: None,
            call_id: None,
            headers: Vec::new(),
            replaces: None,
            referred_by: None,
            credentials: None,
            patience: Duration::from_secs(180),
        }
    }
}

/// A transfer to ask the peer for.
#[derive(Debug, Clone)]
pub struct Refer {
    /// URI of the target, without headers.
    pub to: String,
    /// The call of ours with the target that the peer's call is to replace; absent for a blind
    /// transfer.
    pub replaces: Option<DialogId>,
    /// Further header lines of the REFER.
    pub headers: Vec<(String, String)>,
    /// What answers a challenge to the REFER; absent means what answers those of the call.
    pub credentials: Option<Credentials>,
}

impl Refer {
    /// A blind transfer to this URI.
    pub fn new(to: impl Into<String>) -> Self {
        Self { to: to.into(), replaces: None, headers: Vec::new(), credentials: None }
    }
}

/// A request inside an answered call.
#[derive(Debug, Clone)]
pub struct InDialog {
    /// What it does.
    pub method: InDialogMethod,
    /// `Content-Type` of the body.
    pub content_type: String,
    /// The body; without one there is no `Content-Type` either.
    pub body: Vec<u8>,
    /// Further header lines.
    pub headers: Vec<(String, String)>,
}

/// The methods of [`InDialog`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InDialogMethod {
    /// INFO (RFC 6086), for digits mostly; see [`dtmf_relay`](crate::dtmf_relay).
    Info,
    /// MESSAGE (RFC 3428).
    Message,
}

impl InDialogMethod {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Message => "MESSAGE",
        }
    }
}

/// A refusal of an INVITE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// 300 to 699.
    pub code: u16,
    /// Reason phrase; the usual one of the code if empty.
    pub reason: String,
    /// Further header lines, such as `Retry-After` and `Reason`.
    pub headers: Vec<(String, String)>,
}

impl Rejection {
    /// A refusal with the usual reason phrase and no further header.
    pub fn new(code: u16) -> Self {
        Self { code, reason: String::new(), headers: Vec::new() }
    }
}

/// What has become of an answer to a call ([`Endpoint::answer`](crate::Endpoint::answer)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answering {
    /// The 200 has gone out.
    Sent,
    /// It waits for the PRACK of early media (RFC 3262 section 3): [`SipEvent::AnswerSent`](crate::SipEvent::AnswerSent)
    /// tells that it has gone out.
    Waits,
}

/// Why a verb was refused. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SipError {
    /// The dialog has ended or never was; after a race with BYE or CANCEL this is no fault.
    #[error("{0} is over or never was")]
    NoSuchDialog(DialogId),
    /// The dialog is in a state in which the verb makes no sense.
    #[error("{dialog} is {state}: it cannot {verb} now")]
    WrongState {
        /// The dialog.
        dialog: DialogId,
        /// What was asked.
        verb: &'static str,
        /// What the dialog is doing.
        state: &'static str,
    },
    /// A header name or value would break the message, or names a header that is not the caller's.
    #[error("header {name:?}: {why}")]
    BadHeader {
        /// The name as given.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A status code outside 300 to 699.
    #[error("{0} is no refusal; use a code from 300 to 699")]
    BadCode(u16),
    /// A URI that cannot be called.
    #[error("{0:?} is no SIP or tel URI; write sip:user@host")]
    BadUri(String),
    /// A URI that asks for another request than an INVITE, by its parameter `method`.
    #[error("{0:?} asks for another request than a call; write it without its parameter `method`")]
    OtherMethod(String),
    /// A call was given nowhere to go.
    #[error("a call needs at least one target; none was given")]
    NoTarget,
    /// A URI leads nowhere; `retryable` where that may change soon.
    #[error(transparent)]
    Unlocated(#[from] Unlocated),
    /// All dialogs are taken; `retryable`.
    #[error("no room for another dialog; try again later or raise the limit")]
    Full,
    /// The message is larger than one datagram may be.
    #[error("the message has {0} bytes, more than a datagram carries")]
    TooLarge(usize),
    /// The driver has stopped.
    #[error("the SIP driver has stopped")]
    Stopped,
}

impl SipError {
    /// Whether the same verb may succeed later.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Full | Self::Unlocated(Unlocated::ServerFailed | Unlocated::NoAnswer))
    }
}

/// Why a URI leads to no target (RFC 3263).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unlocated {
    /// It is a telephone number or no URI of SIP.
    #[error("it names no host; a call needs sip:user@host")]
    NoHost,
    /// Its parameter `transport` asks for one that we have not.
    #[error("its transport is none of udp, tcp, tls, ws and wss")]
    NoTransport,
    /// Its parameter `maddr` is no host.
    #[error("its parameter maddr is no host")]
    BadMaddr,
    /// It leads to an address of many (multicast), of which none would answer for the others.
    #[error("it leads to a multicast address, where nobody can be called")]
    Multicast,
    /// The name servers know that there is no such name (NXDOMAIN).
    #[error("the name does not exist")]
    NoSuchName,
    /// A name server has failed, or does not serve us (SERVFAIL, REFUSED).
    #[error("the name server failed to look up the name")]
    ServerFailed,
    /// No name server has answered in time.
    #[error("no name server has answered in time")]
    NoAnswer,
    /// The name is there without an address, or says that it has no SIP service.
    #[error("the name has no address for SIP")]
    NoAddress,
    /// Only IPv6 leads there, and our datagrams go by IPv4 alone.
    #[error("it has only IPv6 addresses, and SIP has no IPv6 listener")]
    OnlyV6,
    /// Only IPv4 leads there, and our datagrams go by IPv6 alone.
    #[error("it has only IPv4 addresses, and SIP has no IPv4 listener")]
    OnlyV4,
}
