//! Reading and writing messages: what is said once for every request and response.

mod draft;
mod fault;
mod multipart;
mod raw;
mod read;
mod screen;
mod secure;
mod via;

pub use draft::sendable;
pub(crate) use draft::{Draft, Extra, Identity, check_extra, reason_phrase, response};
pub(crate) use fault::Unread;
pub(crate) use raw::{is_sip, raw_refusal};
pub(crate) use read::{content_type, cseq, from_tag, header_list, sdp, text, to_tag, value};
pub(crate) use screen::{ALLOW, Refusal, SUPPORTED, screen};
pub(crate) use secure::{asks_by_sips, came_by_sips, is_sips, says_sips};
pub(crate) use via::stamp;

/// The longest message that is read, in bytes. A call's messages are a tenth of it; what is stored
/// of a message in a dialog is bounded by it.
pub(crate) const MAX_MESSAGE: usize = 16 * 1024;

/// The longest message that is written, in bytes: what one UDP datagram over IPv4 carries.
pub(crate) const MAX_DATAGRAM: usize = 65_507;
