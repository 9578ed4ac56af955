//! Where a URI leads (RFC 3263): which names have to be looked up, and in which order what they
//! give is tried. Asking the name servers is the driver's.

use bytes::Bytes;
use sipx_sip::{Host, Scheme, Uri};

use crate::hop::{Hop, Transport};
use crate::order::Unlocated;
use crate::uris::{goal, has_maddr};

/// The first step towards a URI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lead {
    /// It says an address: nothing is looked up.
    Address(Hop),
    /// It says a port, or a transport that has no service records: only the addresses of the name.
    Host { name: String, port: u16, transport: Transport },
    /// It says the transport, or TLS by its scheme: the service record of it, else the addresses.
    Service { name: String, transport: Transport },
    /// It says neither: NAPTR, else the service records, else the addresses.
    Open { name: String },
}

/// A service record (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Srv {
    pub(crate) priority: u16,
    pub(crate) weight: u16,
    pub(crate) port: u16,
    pub(crate) host: String,
}

/// A naming authority pointer (RFC 3403) that leads to a service record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Naptr {
    pub(crate) order: u16,
    pub(crate) preference: u16,
    pub(crate) flags: String,
    pub(crate) services: String,
    pub(crate) replacement: String,
}

/// Reads a URI.
///
/// # Errors
/// [`Unlocated::NoHost`] if it leads nowhere, as a telephone number does; [`Unlocated::NoTransport`]: by another one than
/// it asks for it would reach another service, or nobody (RFC 3263 section 4.1); [`Unlocated::BadMaddr`],
/// [`Unlocated::Multicast`].
pub(crate) fn lead(uri: &str) -> Result<Lead, Unlocated> {
    let uri = Uri::parse(Bytes::copy_from_slice(uri.as_bytes())).map_err(|_| Unlocated::NoHost)?;
    let secure = matches!(uri.scheme(), Scheme::Sips);
    if !secure && !matches!(uri.scheme(), Scheme::Sip) {
        return Err(Unlocated::NoHost);
    }
    let asked = uri.transport().map(String::from_utf8_lossy);
    if asked.is_some_and(|name| Transport::parse(&name).is_none()) {
        return Err(Unlocated::NoTransport);
    }
    let transport = Transport::of(&uri);
    let usual = transport.unwrap_or(if secure { Transport::Tls } else { Transport::Udp });
    let port = uri.port().filter(|port| *port != 0);
    let missing = if has_maddr(&uri) { Unlocated::BadMaddr } else { Unlocated::NoHost };
    let name = match goal(&uri).ok_or(missing)? {
        Host::Ip(ip) if ip.to_canonical().is_multicast() => return Err(Unlocated::Multicast),
        Host::Ip(ip) => {
            let port = port.unwrap_or(usual.default_port());
            return Ok(Lead::Address(Hop::new(usual, (ip, port).into())));
        }
        host @ Host::Name(_) => String::from_utf8(host.to_bytes().to_vec()).map_err(|_| Unlocated::NoHost)?,
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    Ok(match (port, transport) {
        (Some(port), _) => Lead::Host { name, port, transport: usual },
        (None, Some(web @ (Transport::Ws | Transport::Wss))) => {
            Lead::Host { name, port: web.default_port(), transport: web }
        }
        (None, Some(transport)) => Lead::Service { name, transport },
        (None, None) => Lead::Open { name },
    })
}

/// The name that the certificates of the targets must have where it is not the one that is looked up: the host of a URI
/// that leads elsewhere by `maddr`. Who calls a host means that one, whatever the address.
pub(crate) fn proof(uri: &str) -> Option<String> {
    let uri = Uri::parse(Bytes::copy_from_slice(uri.as_bytes())).ok().filter(has_maddr)?;
    let host = String::from_utf8(uri.host()?.to_bytes().to_vec()).ok()?;
    Some(host.trim_end_matches('.').to_ascii_lowercase())
}

/// The name under which the service records of a transport stand; `None` for those that have none.
pub(crate) fn service(transport: Transport, name: &str) -> Option<String> {
    let label = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
        Transport::Ws | Transport::Wss => return None,
    };
    Some(format!("{label}.{name}"))
}

/// The service records that NAPTR points to, best first.
pub(crate) fn pointed(mut records: Vec<Naptr>) -> Vec<(Transport, String)> {
    records.sort_by_key(|record| (record.order, record.preference));
    let found = records.into_iter().filter(|record| record.flags.eq_ignore_ascii_case("s"));
    let found = found.filter_map(|record| {
        let transport = match record.services.to_ascii_uppercase().as_str() {
            "SIP+D2U" => Transport::Udp,
            "SIP+D2T" => Transport::Tcp,
            "SIPS+D2T" => Transport::Tls,
            _ => return None,
        };
        Some((transport, record.replacement))
    });
    found.collect()
}

/// Whether the records say that there is no such service: a single one whose target is the root (RFC 2782).
pub(crate) fn is_denied(records: &[Srv]) -> bool {
    !records.is_empty() && records.iter().all(|record| record.host.trim_end_matches('.').is_empty())
}

/// Service records in the order in which they are tried: by priority, and within one by chance in
/// proportion to the weights (RFC 2782). `dice` gives 0 to its argument, both included. A target of
/// `.` says that there is no service.
pub(crate) fn ordered(mut records: Vec<Srv>, mut dice: impl FnMut(u32) -> u32) -> Vec<Srv> {
    records.retain(|record| !record.host.trim_end_matches('.').is_empty());
    // Those of no weight stand first, so that they have a small chance.
    records.sort_by_key(|record| (record.priority, record.weight != 0));
    let mut order = Vec::with_capacity(records.len());
    while let Some(priority) = records.first().map(|record| record.priority) {
        let equals = || records.iter().take_while(|record| record.priority == priority);
        let drawn = dice(equals().map(|record| u32::from(record.weight)).sum());
        let mut sum = 0;
        let at = equals().position(|record| {
            sum += u32::from(record.weight);
            sum >= drawn
        });
        order.push(records.remove(at.unwrap_or(0)));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_says_how_far_it_has_to_be_looked_up() {
        use Transport::{Tcp, Tls, Udp, Wss};
        let address = |transport, address: &str| Lead::Address(Hop::new(transport, address.parse().unwrap()));
        let host = |transport, port| Lead::Host { name: "a.example".into(), port, transport };
        for (uri, expected) in [
            ("sip:b@192.0.2.1", address(Udp, "192.0.2.1:5060")),
            ("sip:b@192.0.2.1:5070;transport=TCP", address(Tcp, "192.0.2.1:5070")),
            ("sips:b@[2001:db8::1]", address(Tls, "[2001:db8::1]:5061")),
            ("sip:a.example:5080", host(Udp, 5080)),
            ("sips:b@a.example:5061", host(Tls, 5061)),
            ("sips:A.Example.;transport=ws", host(Wss, 443)),
            ("sip:a.example;transport=tcp", Lead::Service { name: "a.example".into(), transport: Tcp }),
            ("sip:a.example", Lead::Open { name: "a.example".into() }),
            ("sips:a.example", Lead::Service { name: "a.example".into(), transport: Tls }),
            ("sip:b@c.example;maddr=192.0.2.1", address(Udp, "192.0.2.1:5060")),
            ("sip:b@192.0.2.1:5080;maddr=A.example", host(Udp, 5080)),
            ("sips:c.example;maddr=a.example", Lead::Service { name: "a.example".into(), transport: Tls }),
        ] {
            assert_eq!(lead(uri), Ok(expected), "{uri}");
        }
        for uri in ["tel:+49", "http://a.example", ""] {
            assert_eq!(lead(uri), Err(Unlocated::NoHost), "{uri}");
        }
        for uri in ["sip:a.example;maddr=", "sip:a.example;maddr", "sip:a.example;maddr=b:5060"] {
            assert_eq!(lead(uri), Err(Unlocated::BadMaddr), "{uri}");
        }
        for uri in ["sip:b@a.example;maddr=224.0.1.75", "sip:b@[ff02::1]", "sip:b@[::ffff:224.0.0.1]"] {
            assert_eq!(lead(uri), Err(Unlocated::Multicast), "{uri}");
        }
        for uri in [
            "sip:b@192.0.2.1;transport=sctp",
            "sip:a.example;transport=TLS-SCTP",
            "sips:a.example;transport=",
        ] {
            assert_eq!(lead(uri), Err(Unlocated::NoTransport), "{uri}");
        }
    }

    #[test]
    fn a_certificate_is_of_the_host_that_a_uri_names_and_not_of_where_maddr_leads() {
        assert_eq!(proof("sips:b@Bank.example.;maddr=192.0.2.1").as_deref(), Some("bank.example"));
        assert_eq!(proof("sips:b@192.0.2.7;maddr=a.example").as_deref(), Some("192.0.2.7"));
        assert_eq!(proof("sips:b@bank.example"), None);
    }

    fn srv(priority: u16, weight: u16, host: &str) -> Srv {
        Srv { priority, weight, port: 5060, host: host.into() }
    }

    #[test]
    fn records_are_tried_by_priority_and_chance() {
        let records =
            || vec![srv(2, 0, "z"), srv(1, 30, "b"), srv(1, 10, "a"), srv(1, 0, "n"), srv(0, 0, ".")];
        let order = |dice: fn(u32) -> u32| {
            let hosts = ordered(records(), dice).into_iter().map(|record| record.host);
            hosts.collect::<Vec<_>>().join("")
        };
        assert_eq!(order(|_| 0), "nbaz");
        assert!(is_denied(&[srv(0, 0, ".")]) && !is_denied(&records()) && !is_denied(&[]));
        assert_eq!(order(|most| most), "abnz");
        let mut first = 0;
        for draw in 0..=40 {
            first += usize::from(ordered(records(), |most| draw.min(most))[0].host == "b");
        }
        assert_eq!(first, 30, "in proportion to the weights");
    }

    #[test]
    fn pointers_are_followed_in_their_order() {
        let naptr = |order, preference, services: &str| Naptr {
            order,
            preference,
            flags: "S".into(),
            services: services.into(),
            replacement: format!("r{order}{preference}"),
        };
        let records = vec![
            naptr(2, 1, "SIP+D2U"),
            naptr(1, 2, "SIP+D2T"),
            naptr(1, 1, "sips+d2t"),
            naptr(0, 0, "E2U+sip"),
        ];
        let all: Vec<String> = pointed(records).into_iter().map(|(_, name)| name).collect();
        assert_eq!(all, ["r11", "r12", "r21"]);
    }
}
