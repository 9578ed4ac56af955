//! When two URIs mean the same (RFC 3261 section 19.1.4), as far as that is asked here, and which host a URI means.

use std::net::IpAddr;

use bytes::Bytes;
use sipx_sip::{Host, Scheme, Uri};

use crate::hop::Transport;

const MADDR: &str = "maddr";

/// Whether a URI says by `maddr` that it leads to another host than its own (RFC 3261 section 19.1.1).
pub(crate) fn has_maddr(uri: &Uri) -> bool {
    uri.params().is_some_and(|params| params.contains(MADDR))
}

/// The host that a request to this URI goes to: the one in `maddr`, else its own (RFC 3263 section 4). `None` where it
/// has none, or `maddr` is no host.
pub(crate) fn goal(uri: &Uri) -> Option<Host> {
    let Some(maddr) = uri.params().and_then(|params| params.get(MADDR)) else { return uri.host().cloned() };
    let (host, port) = Host::parse_hostport(&Bytes::copy_from_slice(maddr.value()?)).ok()?;
    port.is_none().then_some(host)
}

/// A URI as it leads: with the host of its `maddr` in place of its own. `None` where it says no `maddr`, or one that is
/// no host, by which nobody can be called. Who judges where a request may go looks at both.
pub fn aimed(uri: &str) -> Option<String> {
    let mut uri = Uri::parse(Bytes::copy_from_slice(uri.as_bytes())).ok().filter(has_maddr)?;
    let (own, goal) = (written(uri.host()?), written(&goal(&uri)?));
    let password = uri.password().map_or(0, |password| password.len().saturating_add(1));
    let user = uri.user().map_or(0, |user| user.len().saturating_add(password).saturating_add(1));
    let start = uri.scheme().as_bytes().len().saturating_add(1).saturating_add(user);
    uri.remove_param(MADDR);
    let text = String::from_utf8(uri.to_bytes().to_vec()).ok()?;
    let (before, rest) = text.split_at_checked(start)?;
    Some(format!("{before}{goal}{}", rest.strip_prefix(own.as_str())?))
}

/// What `From` and `To` of a request outside a dialog have of a URI: whom it names, not by which way it is reached (table
/// 1 of RFC 3261 section 19.1.1). The port, which that table does not let them have either, stays: who reads them ignores
/// it, as that section asks, and a proxy on another port than 5060 may know its own domain only by host and port.
pub(crate) fn without_way(uri: &[u8]) -> Bytes {
    let bytes = Bytes::copy_from_slice(uri);
    let Some(mut uri) = Uri::parse(bytes.clone()).ok().filter(is_sip) else { return bytes };
    for parameter in ["transport", MADDR, "ttl", "lr", "method"] {
        uri.remove_param(parameter);
    }
    uri.to_bytes()
}

/// A host as it stands in a URI.
pub(crate) fn written(host: &Host) -> String {
    match host {
        Host::Ip(IpAddr::V6(ip)) => format!("[{ip}]"),
        host => String::from_utf8_lossy(&host.to_bytes()).into_owned(),
    }
}

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
    fn a_uri_leads_to_the_host_in_its_maddr() {
        for (uri, leads) in [
            ("sip:a@h.example;maddr=192.0.2.9", Some("sip:a@192.0.2.9")),
            (
                "SIP:a;x=1:p@H.example:5070;transport=tcp;MADDR=b.example;lr?X=1",
                Some("sip:a;x=1:p@b.example:5070;transport=tcp;lr?X=1"),
            ),
            ("sips:[2001:db8::1]:5061;%6daddr=[2001:db8::2]", Some("sips:[2001:db8::2]:5061")),
            ("sip:a;maddr=b.example@h.example", None),
            ("sip:a@h.example;maddr=", None),
            ("sip:a@h.example;maddr", None),
            ("sip:a@h.example;maddr=b.example:5060", None),
            ("sip:a@h.example;maddr=b%2eexample", None),
            ("sip:a@h.example", None),
            ("tel:+49;maddr=b.example", None),
            ("", None),
        ] {
            assert_eq!(aimed(uri).as_deref(), leads, "{uri}");
        }
    }

    #[test]
    fn who_is_meant_has_no_way() {
        for (uri, named) in [
            ("sip:b@h;transport=tcp;user=phone;lr", "sip:b@h;user=phone"),
            ("sip:b;x=1:p@h:5070;MADDR=192.0.2.9;ttl=16;isup-oli=62;%6cr", "sip:b;x=1:p@h:5070;isup-oli=62"),
            ("sips:[2001:db8::1];method=INVITE", "sips:[2001:db8::1]"),
            ("sip:lr;transport=x@h", "sip:lr;transport=x@h"),
            ("tel:+49;lr;phone-context=example.com", "tel:+49;lr;phone-context=example.com"),
        ] {
            assert_eq!(without_way(uri.as_bytes()), named.as_bytes(), "{uri}");
        }
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
