//! What the verbs of an endpoint take, and how they fail.

use std::net::SocketAddr;

use crate::event::DialogId;

/// A call to place.
#[derive(Debug, Clone)]
pub struct Outbound {
    /// URI of the callee, `sip:`, `sips:` or `tel:`; it is the Request-URI and stands in `To`.
    pub to: String,
    /// URI in `From`.
    pub from: String,
    /// Where the INVITE goes (name resolution is the caller's).
    pub target: SocketAddr,
    /// Our offer; without it the answer of the peer is taken as an offer that nobody answers, so
    /// only a probe leaves it out.
    pub sdp: Option<String>,
    /// `Call-ID`; a random one if absent.
    pub call_id: Option<String>,
    /// Further header lines. Those that the endpoint writes itself are an error.
    pub headers: Vec<(String, String)>,
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
        matches!(self, Self::Full)
    }
}
