//! Who the two ends of a dialog are and where requests in it go (RFC 3261 section 12).

use std::net::{IpAddr, SocketAddr};

use sipx_sip::headers::{Contact, RecordRoute};
use sipx_sip::{HeaderName, Headers, Host, Request, Response, Uri};

use crate::hop::{Hop, Transport};
use crate::message::{Draft, Identity, cseq, from_tag, to_tag, value};

/// The two ends of a dialog and the way between them.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    pub(crate) call_id: Vec<u8>,
    pub(crate) local_tag: String,
    /// Empty until a caller of ours has got a tag, and for peers from before RFC 3261.
    pub(crate) remote_tag: Vec<u8>,
    /// Our `From` in requests, tag included.
    pub(crate) local: Vec<u8>,
    /// Our `To` in requests, tag included.
    pub(crate) remote: Vec<u8>,
    pub(crate) local_seq: u32,
    routes: Vec<Uri>,
    pub(crate) target: Option<Uri>,
    /// Where the peer's last request or our INVITE's answer came from.
    pub(crate) peer: Hop,
}

impl Path {
    /// The way of the dialog that an INVITE to us begins.
    pub(crate) fn from_invite(invite: &Request, peer: Hop, tag: String) -> Self {
        let headers = &invite.headers;
        let mut local = value(headers, &HeaderName::To);
        local.extend_from_slice(b";tag=");
        local.extend_from_slice(tag.as_bytes());
        Self {
            call_id: value(headers, &HeaderName::CallId),
            local_tag: tag,
            remote_tag: from_tag(headers),
            local,
            remote: value(headers, &HeaderName::From),
            local_seq: 0,
            routes: routes(headers),
            target: target(headers),
            peer,
        }
    }

    /// The way of the dialog that an INVITE of ours asks for, before any response.
    pub(crate) fn from_call(invite: &Request, peer: Hop) -> Self {
        let headers = &invite.headers;
        Self {
            call_id: value(headers, &HeaderName::CallId),
            local_tag: String::from_utf8_lossy(&from_tag(headers)).into_owned(),
            remote_tag: Vec::new(),
            local: value(headers, &HeaderName::From),
            remote: value(headers, &HeaderName::To),
            local_seq: cseq(headers).unwrap_or(1),
            routes: Vec::new(),
            target: Some(invite.uri.clone()),
            peer,
        }
    }

    /// Takes over what a response to our INVITE fixes: the callee's tag, its target, the route.
    pub(crate) fn adopt(&mut self, response: &Response) {
        self.remote_tag = to_tag(&response.headers);
        self.remote = value(&response.headers, &HeaderName::To);
        self.routes = routes(&response.headers);
        self.routes.reverse();
        self.refresh_target(&response.headers);
    }

    /// A new `Contact` of the peer replaces the old one (RFC 3261 section 12.2).
    pub(crate) fn refresh_target(&mut self, headers: &Headers) {
        if let Some(target) = target(headers) {
            self.target = Some(target);
        }
    }

    /// Our URI in angle brackets, without tag.
    pub(crate) fn local_uri(&self) -> Vec<u8> {
        match sipx_sip::Address::parse(&self.local, "From") {
            Ok(address) => bracketed(&address.uri.to_bytes()),
            Err(_) => Vec::new(),
        }
    }

    pub(crate) fn next_seq(&mut self) -> u32 {
        self.local_seq = self.local_seq.saturating_add(1);
        self.local_seq
    }

    /// The next request of ours in this dialog, without its end, and where it goes.
    pub(crate) fn request(&mut self, method: &str, us: &Identity, branch: &str) -> (Draft, Hop) {
        let seq = self.next_seq();
        self.draft(method, seq, us, branch)
    }

    /// The Request-URI of requests in this dialog.
    pub(crate) fn request_uri(&self) -> bytes::Bytes {
        match self.routes.first().filter(|first| !is_loose(first)) {
            Some(strict) => strict.to_bytes(),
            None => self.target.as_ref().map(Uri::to_bytes).unwrap_or_else(|| fallback_target(&self.peer)),
        }
    }

    /// The ACK of a 200 to our INVITE without its end, and where it goes.
    pub(crate) fn ack(&self, seq: u32, us: &Identity, branch: &str) -> (Draft, Hop) {
        self.draft("ACK", seq, us, branch)
    }

    fn draft(&self, method: &str, seq: u32, us: &Identity, branch: &str) -> (Draft, Hop) {
        let target = self.target.as_ref().map(Uri::to_bytes).unwrap_or_else(|| fallback_target(&self.peer));
        let strict = self.routes.first().filter(|first| !is_loose(first));
        let mut draft = Draft::request(method, &self.request_uri());
        let next = self.routes.first().or(self.target.as_ref());
        let hop = next.map_or_else(|| self.peer.clone(), |uri| next_hop(uri, &self.peer));
        draft.line("Via", us.via(hop.transport, branch));
        for route in self.routes.iter().skip(usize::from(strict.is_some())) {
            draft.line("Route", bracketed(&route.to_bytes()));
        }
        if strict.is_some() {
            draft.line("Route", bracketed(&target));
        }
        draft.line("From", &self.local);
        draft.line("To", &self.remote);
        draft.line("Call-ID", &self.call_id);
        draft.line("CSeq", format!("{seq} {method}"));
        draft.line("Max-Forwards", "70");
        draft.line("User-Agent", &us.agent);
        (draft, hop)
    }
}

fn bracketed(uri: &[u8]) -> Vec<u8> {
    [b"<", uri, b">"].concat()
}

fn is_loose(route: &Uri) -> bool {
    route.params().is_some_and(|params| params.contains("lr"))
}

fn fallback_target(peer: &Hop) -> bytes::Bytes {
    bytes::Bytes::from(format!("sip:{}", peer.address))
}

fn routes(headers: &Headers) -> Vec<Uri> {
    headers.typed_all::<RecordRoute>().filter_map(Result::ok).map(|route| route.0.uri).collect()
}

/// The URI in `Contact`, without the header part that a Request-URI may not have.
fn target(headers: &Headers) -> Option<Uri> {
    let mut uri = headers.typed::<Contact>()?.ok()?.0.uri;
    while uri.has_headers() {
        let name = uri.headers()?.iter().next().map(|p| String::from_utf8_lossy(p.name()).into_owned())?;
        if !uri.remove_header(&name) {
            return None;
        }
    }
    Some(uri)
}

/// Where a request to this URI goes.
///
/// To the address in it, if it has one that can be meant from here; a name is not resolved in this
/// crate. Else to where the peer's messages come from, which also reaches phones behind a NAT that
/// write their private address into `Contact`: one of a network that the messages do not come from. A connection to that address is used again, and a
/// WebSocket always, since nobody can be called back by one.
fn next_hop(uri: &Uri, peer: &Hop) -> Hop {
    let Some(Host::Ip(ip)) = uri.host() else { return peer.clone() };
    let transport = Transport::of(uri).unwrap_or(peer.transport);
    let port = uri.port().unwrap_or(transport.default_port());
    let source = peer.address.ip().to_canonical();
    let unusable = ip.is_unspecified() || ip.is_multicast() || port == 0 || is_broadcast(*ip);
    let behind_nat = realm(*ip).is_some_and(|inside| realm(source) != Some(inside));
    let is_web = |transport| matches!(transport, Transport::Ws | Transport::Wss);
    let web = is_web(peer.transport) || is_web(transport);
    if unusable || behind_nat || web || ip.is_ipv4() != source.is_ipv4() {
        return peer.clone();
    }
    let same = peer.transport == transport && *ip == source;
    // A socket for both families writes IPv4 addresses in the form of IPv6.
    let ip = match (ip, peer.address) {
        (IpAddr::V4(v4), SocketAddr::V6(_)) => IpAddr::V6(v4.to_ipv6_mapped()),
        _ => *ip,
    };
    let address = SocketAddr::new(ip, port);
    if same { Hop { address, ..peer.clone() } } else { Hop::new(transport, address) }
}

fn is_broadcast(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(v4) if v4.is_broadcast())
}

/// Networks whose addresses mean something only inside them: this host, this link, a carrier's customers (RFC 6598),
/// and the private ones (RFC 1918, RFC 4193).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Realm {
    Loopback,
    Link,
    Carrier,
    Private10,
    Private172,
    Private192,
    Local,
}

/// The network inside of which alone an address means something; `None` if it means the same everywhere.
fn realm(ip: IpAddr) -> Option<Realm> {
    match ip {
        ip if ip.is_loopback() => Some(Realm::Loopback),
        IpAddr::V4(v4) => match v4.octets() {
            [10, ..] => Some(Realm::Private10),
            [100, 64..=127, ..] => Some(Realm::Carrier),
            [169, 254, ..] => Some(Realm::Link),
            [172, 16..=31, ..] => Some(Realm::Private172),
            [192, 168, ..] => Some(Realm::Private192),
            _ => None,
        },
        IpAddr::V6(v6) if v6.is_unique_local() => Some(Realm::Local),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(Realm::Link),
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_to_the_contact_unless_it_cannot_be_meant() {
        let hop = |uri: &str, peer: &str| {
            let uri = Uri::parse(bytes::Bytes::copy_from_slice(uri.as_bytes())).unwrap();
            next_hop(&uri, &Hop::from(peer.parse::<SocketAddr>().unwrap())).address.to_string()
        };
        assert_eq!(hop("sip:a@192.0.2.1:5070", "198.51.100.1:40000"), "192.0.2.1:5070");
        assert_eq!(hop("sip:a@192.0.2.1", "198.51.100.1:40000"), "192.0.2.1:5060");
        assert_eq!(hop("sip:a@phone.example", "198.51.100.1:40000"), "198.51.100.1:40000");
        assert_eq!(hop("sip:a@10.0.0.5:5060", "198.51.100.1:40000"), "198.51.100.1:40000");
        assert_eq!(hop("sip:a@10.0.0.5:5060", "10.0.0.9:40000"), "10.0.0.5:5060");
        assert_eq!(hop("sip:a@100.64.1.1:5060", "203.0.113.5:40000"), "203.0.113.5:40000");
        assert_eq!(hop("sip:a@100.128.1.1:5060", "203.0.113.5:40000"), "100.128.1.1:5060");
        assert_eq!(hop("sip:a@10.0.0.5:5060", "172.17.0.1:40000"), "172.17.0.1:40000");
        assert_eq!(hop("sip:a@10.0.0.5:5060", "127.0.0.1:40000"), "127.0.0.1:40000");
        assert_eq!(hop("sip:a@203.0.113.5:5070", "10.0.0.9:40000"), "203.0.113.5:5070");
        assert_eq!(hop("sip:a@[fd00::1]:5060", "[2001:db8::2]:40000"), "[2001:db8::2]:40000");
        assert_eq!(hop("sip:a@255.255.255.255", "198.51.100.1:40000"), "198.51.100.1:40000");
        assert_eq!(hop("sip:a@192.0.2.1:5070", "[::ffff:192.0.2.9]:40000"), "[::ffff:192.0.2.1]:5070");
        assert_eq!(hop("sip:a@[2001:db8::1]:5061", "[2001:db8::2]:5060"), "[2001:db8::1]:5061");
    }
}
