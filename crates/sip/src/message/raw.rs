//! Refusing a request that could not be parsed: the five headers of a response are looked for line
//! by line, and if they are there a 400 can be sent.

use bytes::Bytes;
use sipx_sip::HeaderName;

use super::draft::{Draft, with_tag};
use super::via::stamped;
use crate::hop::Hop;

/// Most `Via` lines that are copied into such a response.
const MAX_VIAS: usize = 32;

/// Whether the first line is one of SIP, in whatever version.
pub(crate) fn is_sip(datagram: &[u8]) -> bool {
    let line = datagram.split(|b| *b == b'\n').next().unwrap_or_default();
    line.windows(4).any(|word| word.eq_ignore_ascii_case(b"SIP/"))
}

/// The response to an unreadable request, and where it goes; `None` if it is no request, an ACK, or
/// too broken to be answered. An empty reason stands for the usual one.
pub(crate) fn raw_refusal(
    datagram: &[u8],
    from: &Hop,
    (code, reason): (u16, &str),
    tag: &str,
) -> Option<(Hop, Vec<u8>)> {
    let mut lines = unfold(datagram).into_iter();
    let start = lines.next()?;
    if !is_request_line(&start) {
        return None;
    }
    let headers: Vec<(HeaderName, Vec<u8>)> = lines.filter_map(|line| split_header(&line)).collect();
    let first = |name: &HeaderName| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v);
    let mut vias = headers.iter().filter(|(n, _)| *n == HeaderName::Via).map(|(_, v)| v);
    if vias.clone().count() > MAX_VIAS {
        return None;
    }
    let (top, reply_to) = stamped(vias.next()?, from)?;
    let mut draft = Draft::status(code, reason);
    draft.line("Via", top);
    for via in vias {
        draft.line("Via", via);
    }
    draft.line("From", first(&HeaderName::From)?);
    draft.line("To", with_tag(first(&HeaderName::To)?, tag));
    draft.line("Call-ID", first(&HeaderName::CallId)?);
    draft.line("CSeq", first(&HeaderName::CSeq)?);
    Some((reply_to, draft.finish()))
}

/// The lines of the head, continuation lines joined to theirs.
fn unfold(datagram: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in datagram.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() && !lines.is_empty() {
            break;
        }
        match lines.last_mut() {
            Some(last) if line.starts_with(b" ") || line.starts_with(b"\t") => {
                last.push(b' ');
                last.extend_from_slice(line.trim_ascii());
            }
            _ => lines.push(line.to_vec()),
        }
    }
    lines
}

fn is_request_line(line: &[u8]) -> bool {
    let method = line.split(|b| *b == b' ').next().unwrap_or_default();
    !method.is_empty()
        && method != b"ACK"
        && !line.starts_with(b"SIP/")
        && line.trim_ascii_end().ends_with(b" SIP/2.0")
}

fn split_header(line: &[u8]) -> Option<(HeaderName, Vec<u8>)> {
    let colon = line.iter().position(|b| *b == b':')?;
    let (name, value) = line.split_at_checked(colon)?;
    let value = value.strip_prefix(b":")?.trim_ascii();
    Some((HeaderName::parse(&Bytes::copy_from_slice(name.trim_ascii())), value.to_vec()))
}
