//! SIP for one telephony endpoint: messages, transactions, dialogs and the calls in them, without a
//! socket. An [`Endpoint`] is fed datagrams and the time, asked by verbs (`answer`, `bye`, ...), and
//! drained of datagrams to send and of [`SipEvent`]s.
//!
//! It must not open a socket, start a task, read a clock or know what a call is for: time is an
//! argument, randomness comes from a seed, SDP is text that passes through. Only `driver`, behind
//! the feature `tokio`, does IO.
//!
//! Rooms in reading order: `config`, `hop`, `event`, `order` (what goes in and comes out); `endpoint`
//! (the whole: requests in, the two sides of an INVITE, offers, transfers, accounts, and requests of
//! ours on their way); `dialog` and `path` (who, where to, which state), `registration` (an account in
//! time); `transactions` and `answered` (what is repeated, what is absorbed); `digest` (challenges,
//! both sides); `message` (reading, writing, refusing); `wire`, `schedule`, `random` (the way out,
//! alarms, names); `framing`, `locate` and `driver` (streams, names, IO).

#![forbid(unsafe_code)]

mod answered;
mod config;
mod dialog;
mod digest;
mod digits;
#[cfg(feature = "tokio")]
pub mod driver;
mod endpoint;
mod event;
pub mod framing;
mod hop;
#[cfg(feature = "tokio")]
mod locate;
mod message;
mod order;
mod path;
mod random;
mod registration;
mod schedule;
mod transactions;
mod uris;
mod wire;

pub use config::{Admission, Config, Time};
pub use digest::{Claim, Credentials, DigestAlgorithm, Guard, Verdict};
pub use digits::{dtmf_relay, info_digit};
#[cfg(feature = "tokio")]
pub use driver::{
    Bound, Driver, Identity, Incoming, Judge, Passage, Reach, RegistrationWatch, Resolver, Screening,
    SipHandle, Streams, Trust,
};
pub use endpoint::Endpoint;
pub use event::{
    Counters, DialogId, EndCause, Failure, Fault, HeaderList, Invite, Obstacle, OfferMethod, Output, Query,
    SipEvent, TransferProgress,
};
pub use hop::{ConnectionId, Hop, Transport};
pub use message::sendable;
pub use order::{Answering, InDialog, InDialogMethod, Outbound, Refer, Rejection, SipError, Unlocated};
pub use registration::{Account, RegistrationId, RegistrationState};
pub use uris::aimed;
