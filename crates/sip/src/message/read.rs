//! Reading single facts out of a message.

use sipx_sip::headers::{ContentType, From, To};
use sipx_sip::{CSeq, HeaderName, Headers};

use super::multipart;
use crate::event::HeaderList;

/// Bytes of the network as text, with every control character replaced by U+FFFD.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The first value of a header, unfolded; empty if it is absent.
pub(crate) fn value(headers: &Headers, name: &HeaderName) -> Vec<u8> {
    headers.value(name).map(std::borrow::Cow::into_owned).unwrap_or_default()
}

/// The tag of `From`; empty if there is none.
pub(crate) fn from_tag(headers: &Headers) -> Vec<u8> {
    let from = headers.typed::<From>().and_then(Result::ok);
    from.and_then(|from| from.tag().map(<[u8]>::to_vec)).unwrap_or_default()
}

/// The tag of `To`; empty if there is none.
pub(crate) fn to_tag(headers: &Headers) -> Vec<u8> {
    let to = headers.typed::<To>().and_then(Result::ok);
    to.and_then(|to| to.tag().map(<[u8]>::to_vec)).unwrap_or_default()
}

/// The number in `CSeq`.
pub(crate) fn cseq(headers: &Headers) -> Option<u32> {
    headers.typed::<CSeq>()?.ok().map(|cseq| cseq.sequence)
}

/// Every header line for the outside, names in their long form.
pub(crate) fn header_list(headers: &Headers) -> HeaderList {
    headers.iter().map(|h| (text(h.name().canonical()), text(&h.value()))).collect()
}

/// `Content-Type` in lower case without parameters; empty if there is none.
pub(crate) fn content_type(headers: &Headers) -> String {
    match headers.typed::<ContentType>() {
        Some(Ok(kind)) => format!("{}/{}", text(&kind.media_type), text(&kind.subtype)).to_ascii_lowercase(),
        _ => String::new(),
    }
}

/// The body, or its part, that is SDP. Peers that forget `Content-Type` are understood by SDP's first line.
pub(crate) fn sdp(headers: &Headers, body: &[u8]) -> Option<String> {
    let described = match headers.value(&HeaderName::ContentType) {
        Some(_) if content_type(headers) == "application/sdp" => body,
        Some(kind) => multipart::description(&text(&kind), body)?,
        None if body.starts_with(b"v=0") => body,
        None => return None,
    };
    (!described.is_empty()).then(|| String::from_utf8_lossy(described).into_owned())
}
