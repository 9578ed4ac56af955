//! `Via` on receipt: where the answer goes (RFC 3261 section 18.2, RFC 3581).

use std::net::SocketAddr;

use crate::hop::Hop;

use sipx_sip::headers::via::first_hop_end;
use sipx_sip::{Header, HeaderName, Headers, Via};

/// Writes into the topmost `Via` where the request was seen to come from, and says where its
/// responses go: back to the source, at the port of the source if the sender asked for that by
/// `rport`, else at the port it names. What the sender itself wrote into `received`, `rport` or
/// `maddr` is not believed, or it could aim our responses at a third party.
///
/// `None` if there is no readable `Via`; then nothing can be answered.
pub(crate) fn stamp(headers: &mut Headers, from: &Hop) -> Option<Hop> {
    let at = headers.iter().position(|h| *h.name() == HeaderName::Via)?;
    let (value, reply_to) = stamped(&headers.value(&HeaderName::Via)?, from)?;
    let header = Header::build(HeaderName::Via, value).ok()?;
    headers.remove_first(&HeaderName::Via)?;
    headers.insert(at, header);
    Some(reply_to)
}

/// The same for a value alone.
pub(super) fn stamped(value: &[u8], hop: &Hop) -> Option<(Vec<u8>, Hop)> {
    let from = hop.address;
    let (first, rest) = value.split_at_checked(first_hop_end(value))?;
    let via = Via::parse_one(first).ok()?;
    let symmetric = via.rport().is_some();
    let mut line = Vec::with_capacity(value.len() + 40);
    for (i, part) in split_parameters(first).enumerate() {
        if i == 0 {
            line.extend_from_slice(part.trim_ascii_end());
        } else if !is_observed(part) {
            line.push(b';');
            line.extend_from_slice(part);
        }
    }
    line.extend_from_slice(format!(";received={}", from.ip().to_canonical()).as_bytes());
    if symmetric {
        line.extend_from_slice(format!(";rport={}", from.port()).as_bytes());
    }
    line.extend_from_slice(rest);
    // The port of a connection is none that could be connected to if it breaks (RFC 3261 section
    // 18.2.2).
    let symmetric = symmetric && !hop.transport.is_stream();
    let port = if symmetric { from.port() } else { via.port.unwrap_or(hop.transport.default_port()) };
    let port = if port == 0 { from.port() } else { port };
    let address = SocketAddr::new(from.ip(), port);
    Some((line, Hop { address, ..hop.clone() }))
}

/// Whether a parameter is one that only the receiver may write.
fn is_observed(parameter: &[u8]) -> bool {
    let name = parameter.split(|b| *b == b'=').next().unwrap_or_default().trim_ascii();
    name.eq_ignore_ascii_case(b"received") || name.eq_ignore_ascii_case(b"rport")
}

/// The parts between semicolons outside quotes.
fn split_parameters(hop: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    hop.split(move |&b| {
        let plain = !std::mem::take(&mut escaped);
        match b {
            b'\\' if quoted && plain => escaped = true,
            b'"' if plain => quoted = !quoted,
            _ => {}
        }
        b == b';' && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, stamped_value: &str, reply_to: &str) {
        let from: SocketAddr = "192.0.2.9:40000".parse().unwrap();
        let (got, to) = stamped(value.as_bytes(), &Hop::from(from)).unwrap();
        assert_eq!(String::from_utf8(got).unwrap(), stamped_value);
        assert_eq!(to.address, reply_to.parse().unwrap());
    }

    #[test]
    fn responses_go_to_the_source_and_not_where_the_sender_says() {
        check(
            "SIP/2.0/UDP a.example:5070;branch=z9hG4bK1",
            "SIP/2.0/UDP a.example:5070;branch=z9hG4bK1;received=192.0.2.9",
            "192.0.2.9:5070",
        );
        check(
            "SIP/2.0/UDP a.example;rport;branch=z9hG4bK1",
            "SIP/2.0/UDP a.example;branch=z9hG4bK1;received=192.0.2.9;rport=40000",
            "192.0.2.9:40000",
        );
        check(
            "SIP/2.0/UDP a.example;received=198.51.100.7;rport=9;maddr=198.51.100.8;branch=z9hG4bK1, SIP/2.0/UDP b;x=\";\"",
            "SIP/2.0/UDP a.example;maddr=198.51.100.8;branch=z9hG4bK1;received=192.0.2.9;rport=40000, SIP/2.0/UDP b;x=\";\"",
            "192.0.2.9:40000",
        );
    }
}
