//! The description in a body of several parts (RFC 5621, RFC 2046 section 5.1): trunks send ISUP or a location beside it.

/// Longest boundary (RFC 2046 section 5.1.1).
const LONGEST_BOUNDARY: usize = 70;
/// Parts that are looked at.
const MOST_PARTS: usize = 16;

/// The first part of `body` that is `application/sdp`, where `kind`, the message's `Content-Type`, is `multipart`. Other
/// parts are left alone, whatever handling they ask for: a gateway has no use for another network's signalling, and no
/// caller is helped by a refusal.
pub(crate) fn description<'a>(kind: &str, body: &'a [u8]) -> Option<&'a [u8]> {
    let mut parameters = kind.split(';');
    let whole = parameters.next()?.trim();
    if !whole.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("multipart/")) {
        return None;
    }
    let boundary = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    })?;
    if boundary.is_empty() || boundary.len() > LONGEST_BOUNDARY {
        return None;
    }
    parts(body, format!("--{boundary}").as_bytes()).take(MOST_PARTS).find_map(described)
}

/// What stands between two delimiters.
fn parts<'a>(body: &'a [u8], delimiter: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut starts = body
        .windows(delimiter.len())
        .enumerate()
        .filter(move |(at, window)| *window == delimiter && (*at == 0 || body.get(at - 1) == Some(&b'\n')))
        .map(|(at, _)| at)
        .collect::<Vec<_>>()
        .into_iter()
        .peekable();
    let length = delimiter.len();
    std::iter::from_fn(move || {
        let start = starts.next()? + length;
        // A delimiter with two more hyphens is the last; a body that breaks off has none.
        let end = starts.peek().copied().unwrap_or(body.len());
        let part = body.get(start..end)?;
        (!part.starts_with(b"--")).then_some(part)
    })
}

/// The content of a part, if that is a description. The line break before a delimiter belongs to that.
fn described(part: &[u8]) -> Option<&[u8]> {
    let mut rest = part.get(line(part)..)?;
    let mut is_sdp = false;
    loop {
        let length = line(rest);
        let (head, behind) = rest.split_at_checked(length)?;
        if head.is_empty() {
            return None;
        }
        rest = behind;
        let head = head.trim_ascii();
        if head.is_empty() {
            break;
        }
        let (name, value) = head.split_at_checked(head.iter().position(|byte| *byte == b':')?)?;
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let kind = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        is_sdp |= (name.trim_ascii().eq_ignore_ascii_case(b"content-type")
            || name.eq_ignore_ascii_case(b"c"))
            && kind.eq_ignore_ascii_case(b"application/sdp");
    }
    let content = rest.strip_suffix(b"\r\n").or(rest.strip_suffix(b"\n")).unwrap_or(rest);
    (is_sdp && !content.is_empty()).then_some(content)
}

/// Bytes of the first line, its end included.
fn line(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISUP: &str = "Content-Type: application/ISUP;version=itu-t92+\r\nContent-Disposition: signal;handling=optional\r\n\r\n\x01\x00";
    const SDP: &str = "Content-Type: application/sdp\r\n\r\nv=0\r\ns=-\r\n";

    fn found<'a>(kind: &str, body: &'a str) -> Option<&'a str> {
        description(kind, body.as_bytes()).map(|part| str::from_utf8(part).unwrap())
    }

    #[test]
    fn the_description_is_found_wherever_it_stands() {
        let kind = "Multipart/Mixed; charset=x; Boundary=\"unique-1\"";
        for parts in [[ISUP, SDP], [SDP, ISUP]] {
            let body = format!(
                "preamble\r\n--unique-1\r\n{}\r\n--unique-1\r\n{}\r\n--unique-1--\r\n",
                parts[0], parts[1]
            );
            assert_eq!(found(kind, &body).map(str::trim_end), Some("v=0\r\ns=-"));
        }
    }

    #[test]
    fn bare_line_feeds_small_headers_and_a_missing_end_are_understood() {
        let body = "--b\nc:application/SDP ; x=y\n\nv=0\ns=-\n";
        assert_eq!(found("multipart/alternative;boundary=b", body), Some("v=0\ns=-"));
    }

    #[test]
    fn what_is_no_description_is_none() {
        let isup = format!("--b\r\n{ISUP}\r\n--b--\r\n--b\r\n{SDP}\r\n");
        for (kind, body) in [
            ("multipart/mixed;boundary=b", isup.as_str()),
            ("multipart/mixed", "--\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n"),
            ("multipart/mixed;boundary=b", "--b\r\nContent-Type: application/sdp\r\n\r\n"),
            ("multipart/mixed;boundary=b", "--b\r\nContent-Type: application/sdp"),
            ("multipart/mixed;boundary=b", "x--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n"),
            ("text/plain;boundary=b", "--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n"),
            ("mült", ""),
        ] {
            assert_eq!(found(kind, body), None, "{kind} {body:?}");
        }
        let long = "b".repeat(LONGEST_BOUNDARY + 1);
        let body = format!("--{long}\r\n{SDP}");
        assert_eq!(found(&format!("multipart/mixed;boundary={long}"), &body), None);
    }
}
