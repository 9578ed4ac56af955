//! When two URIs mean the same (RFC 3261 section 19.1.4), as far as that is asked here.

use bytes::Bytes;
use sipx_sip::{Scheme, Uri};

use crate::hop::Transport;

/// Whether both name the same user, at whatever host: proxies on the way write the next one's name in its place (RFC 3261
/// section 16.5). For what are no SIP URIs, whether they are written alike.
pub(crate) fn same_user(one: &str, other: &str) -> bool {
    let parse = |text: &str| Uri::parse(Bytes::copy_from_slice(text.trim().as_bytes())).ok();
    match (parse(one), parse(other)) {
        (Some(one), Some(other)) if is_sip(&one) && is_sip(&other) => {
            one.decoded_user() == other.decoded_user()
        }
        _ => one.trim() == other.trim(),
    }
}

/// Whether both lead to the same contact: user, host, port and transport. Other parameters are the registrar's.
pub(crate) fn same_contact(one: &Uri, other: &Uri) -> bool {
    let transport = |uri: &Uri| Transport::of(uri).unwrap_or(Transport::Udp);
    let port = |uri: &Uri| uri.port().unwrap_or_else(|| transport(uri).default_port());
    same_user_and_host(one, other) && transport(one) == transport(other) && port(one) == port(other)
}

fn same_user_and_host(one: &Uri, other: &Uri) -> bool {
    let host = match (one.host(), other.host()) {
        (Some(one), Some(other)) => one.equivalent(other),
        (one, other) => one.is_none() && other.is_none(),
    };
    host && one.decoded_user() == other.decoded_user()
}

fn is_sip(uri: &Uri) -> bool {
    matches!(uri.scheme(), Scheme::Sip | Scheme::Sips)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_the_same_at_whatever_host() {
        for (other, same) in [
            ("sip:bob@EXAMPLE.com:5060;transport=udp", true),
            ("sip:%62ob@example.com", true),
            ("sip:eve@example.com", false),
            ("sip:bob@192.0.2.7", true),
            ("sip:example.com", false),
            ("tel:+49", false),
            ("", false),
        ] {
            assert_eq!(same_user("sip:bob@example.com", other), same, "{other}");
        }
        assert!(same_user("tel:+49", " tel:+49"));
    }

    #[test]
    fn a_contact_has_a_port_and_a_transport_too() {
        let parse = |text: &str| Uri::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap();
        for (other, same) in [
            ("sip:a@192.0.2.2;ob;line=7", true),
            ("sip:a@192.0.2.2:5060;transport=UDP", true),
            ("sip:a@192.0.2.2:5070", false),
            ("sip:a@192.0.2.3", false),
            ("sip:b@192.0.2.2", false),
            ("sip:a@192.0.2.2;transport=tcp", false),
        ] {
            assert_eq!(same_contact(&parse("sip:a@192.0.2.2:5060"), &parse(other)), same, "{other}");
        }
    }
}
