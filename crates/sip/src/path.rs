//! Who the two ends of a dialog are and where requests in it go (RFC 3261 section 12).

use std::net::{IpAddr, SocketAddr};

use sipx_sip::headers::{Contact, RecordRoute};
use sipx_sip::{HeaderName, Headers, Host, Request, Response, Scheme, Uri};

use crate::hop::{Hop, Transport, Way};
use crate::message::{Draft, Identity, cseq, from_tag, is_sips, to_tag, value};
use crate::uris::{goal, has_maddr, written};

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
    /// The address of a named host that the last request went to: the next one goes there as well while the host has
    /// that address.
    pub(crate) found: Option<Hop>,
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
            found: None,
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
            found: None,
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
    pub(crate) fn request(&mut self, method: &str, us: &Identity, branch: &str) -> (Draft, Way) {
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

    /// Whether requests in this dialog go to a `sips` URI, or to one first, so that our `Contact` in them has to be one
    /// (RFC 3261 section 8.1.1.8).
    pub(crate) fn asks_by_sips(&self) -> bool {
        self.target.as_ref().is_some_and(is_sips) || self.routes.first().is_some_and(is_sips)
    }

    /// The ACK of a 200 to our INVITE without its end, and where it goes.
    pub(crate) fn ack(&self, seq: u32, us: &Identity, branch: &str) -> (Draft, Way) {
        self.draft("ACK", seq, us, branch)
    }

    /// Where requests in this dialog go: to its first route, or to its target.
    pub(crate) fn way(&self) -> Way {
        let next = self.routes.first().or(self.target.as_ref());
        next.map_or_else(|| self.peer.clone().into(), |uri| way_to(uri, &self.peer))
    }

    fn draft(&self, method: &str, seq: u32, us: &Identity, branch: &str) -> (Draft, Way) {
        let target = self.target.as_ref().map(Uri::to_bytes).unwrap_or_else(|| fallback_target(&self.peer));
        let strict = self.routes.first().filter(|first| !is_loose(first));
        let mut draft = Draft::request(method, &self.request_uri());
        let way = self.way();
        draft.line("Via", us.via(way.hop.transport, branch));
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
        (draft, way)
    }
}

/// Which address of a named host a request goes to, of those that `hops` gives, best first: the one that the `last`
/// request went to, else the one that the messages of the peer come from, else the first that can be meant from here.
pub(crate) fn choose(hops: &[Hop], peer: &Hop, last: Option<&Hop>) -> Option<Hop> {
    let usable = usable(hops, peer);
    let found = |wanted: &Hop| usable.iter().find(|hop| hop.is_same(wanted));
    let chosen = last.and_then(found).or_else(|| found(peer));
    chosen.or_else(|| usable.iter().find(|hop| is_at(hop, peer))).or(usable.first()).cloned()
}

/// The addresses of a named host that can be meant from here.
pub(crate) fn usable(hops: &[Hop], peer: &Hop) -> Vec<Hop> {
    hops.iter().filter_map(|hop| reached(hop, peer)).collect()
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

/// Where a request to this URI goes (RFC 3263).
///
/// To the address in it, if it has one that can be meant from here, or to the host that it names, which is looked up.
/// Else to where the peer's messages come from, which also reaches phones behind a NAT that write their private address
/// into `Contact`: one of a network that the messages do not come from. A connection to that address is used again, and
/// a WebSocket always, since nobody can be called back by one.
fn way_to(uri: &Uri, peer: &Hop) -> Way {
    let is_web = |transport| matches!(transport, Transport::Ws | Transport::Wss);
    // A peer that came by a connection is not called back in datagrams unless it says so.
    let transport = Transport::of(uri).or(Some(peer.transport).filter(|transport| transport.is_stream()));
    if is_web(peer.transport) || transport.is_some_and(is_web) || uri.port() == Some(0) {
        return peer.clone().into();
    }
    let named = matches!(uri.host(), Some(Host::Name(_)));
    match goal(uri) {
        // The certificate of a host that leads to an address by `maddr` is known to who looks it up.
        Some(Host::Ip(ip)) if !named || !transport.is_some_and(Transport::is_secure) => {
            let transport = transport.unwrap_or(peer.transport);
            let port = uri.port().unwrap_or(transport.default_port());
            let hop = Hop::new(transport, SocketAddr::new(ip, port));
            reached(&hop, peer).unwrap_or_else(|| peer.clone()).into()
        }
        Some(goal) => Way { hop: peer.clone(), name: place(uri, &goal, transport) },
        None => peer.clone().into(),
    }
}

/// The URI to look up for a host that is named; `None` for a name that nobody has (RFC 2606 section 2).
fn place(uri: &Uri, goal: &Host, transport: Option<Transport>) -> Option<String> {
    let plain = |host: &Host| written(host).trim_end_matches('.').to_ascii_lowercase();
    let (host, goal) = (plain(uri.host()?), plain(goal));
    let scheme = match uri.scheme() {
        Scheme::Sips => "sips",
        Scheme::Sip => "sip",
        _ => return None,
    };
    if goal.is_empty() || goal.rsplit('.').next() == Some("invalid") {
        return None;
    }
    let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
    let transport = transport.map(|it| format!(";transport={}", it.name().to_ascii_lowercase()));
    let maddr = has_maddr(uri).then(|| format!(";maddr={goal}"));
    Some(format!("{scheme}:{host}{port}{}{}", transport.unwrap_or_default(), maddr.unwrap_or_default()))
}

/// The same hop if it can be meant from here, over the peer's connection if that leads there.
fn reached(hop: &Hop, peer: &Hop) -> Option<Hop> {
    let (ip, port) = (hop.address.ip().to_canonical(), hop.address.port());
    let source = peer.address.ip().to_canonical();
    let unusable = ip.is_unspecified() || ip.is_multicast() || port == 0 || is_broadcast(ip);
    let behind_nat = realm(ip).is_some_and(|inside| realm(source) != Some(inside));
    if unusable || behind_nat || ip.is_ipv4() != source.is_ipv4() {
        return None;
    }
    // A socket for both families writes IPv4 addresses in the form of IPv6.
    let meant = match (ip, peer.address) {
        (IpAddr::V4(v4), SocketAddr::V6(_)) => IpAddr::V6(v4.to_ipv6_mapped()),
        _ => ip,
    };
    let address = SocketAddr::new(meant, port);
    let hop = Hop { address, ..hop.clone() };
    Some(if is_at(&hop, peer) { Hop { address, ..peer.clone() } } else { hop })
}

/// Whether messages on both ways go to one host by one transport.
fn is_at(hop: &Hop, peer: &Hop) -> bool {
    let ip = |hop: &Hop| hop.address.ip().to_canonical();
    hop.transport == peer.transport && ip(hop) == ip(peer)
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
    fn a_named_host_is_where_the_dialog_went_before_if_it_can_be() {
        let hop = |address: &str| Hop::from(address.parse::<SocketAddr>().unwrap());
        let tls = |hop: Hop| Hop { transport: Transport::Tls, ..hop }.named("p.example");
        let mut peer = hop("198.51.100.1:5060");
        let (far, here, inside) = (hop("203.0.113.1:5060"), hop("198.51.100.1:5070"), hop("10.0.0.1:5060"));
        assert_eq!(choose(&[], &peer, None), None);
        assert_eq!(choose(std::slice::from_ref(&inside), &peer, None), None, "none can be meant from here");
        let all = [inside, hop("[2001:db8::1]:5060"), far.clone(), here, hop("203.0.113.2:5060")];
        assert_eq!(choose(&all, &peer, None).unwrap(), all[3], "where its messages come from");
        assert_eq!(choose(&all, &peer, Some(&all[4])).unwrap(), all[4], "where the last one went");
        assert_eq!(choose(std::slice::from_ref(&far), &peer, Some(&all[4])).unwrap(), far, "it has moved");
        let connection = crate::ConnectionId(3);
        peer = Hop::new(Transport::Tls, "198.51.100.1:40000".parse().unwrap()).over(connection);
        let over = choose(&[tls(hop("203.0.113.1:5061")), tls(hop("198.51.100.1:5061"))], &peer, None);
        assert_eq!(over.unwrap().connection, Some(connection), "its connection is used again");
        let new = choose(&[tls(hop("203.0.113.1:5061"))], &peer, None).unwrap();
        assert_eq!((new.name.as_deref(), new.connection), (Some("p.example"), None));
    }

    #[test]
    fn requests_go_to_the_contact_unless_it_cannot_be_meant() {
        let hop = |uri: &str, peer: &str| {
            let uri = Uri::parse(bytes::Bytes::copy_from_slice(uri.as_bytes())).unwrap();
            let way = way_to(&uri, &Hop::from(peer.parse::<SocketAddr>().unwrap()));
            way.name.unwrap_or_else(|| way.hop.address.to_string())
        };
        assert_eq!(hop("sip:a@192.0.2.1:5070", "198.51.100.1:40000"), "192.0.2.1:5070");
        assert_eq!(hop("sip:a@192.0.2.1", "198.51.100.1:40000"), "192.0.2.1:5060");
        assert_eq!(hop("sip:a@phone.invalid", "198.51.100.1:40000"), "198.51.100.1:40000");
        assert_eq!(hop("sip:a@phone.example;transport=ws", "198.51.100.1:40000"), "198.51.100.1:40000");
        assert_eq!(hop("sip:a@Phone.example.", "198.51.100.1:40000"), "sip:phone.example");
        assert_eq!(
            hop("sips:phone.example:5071", "198.51.100.1:40000"),
            "sips:phone.example:5071;transport=tls"
        );
        // Where `maddr` leads counts (RFC 3263 section 4), and no more of it is believed than of a host.
        assert_eq!(hop("sip:a@192.0.2.1:5070;maddr=192.0.2.7", "198.51.100.1:40000"), "192.0.2.7:5070");
        assert_eq!(hop("sip:a@p.example;maddr=192.0.2.7", "198.51.100.1:40000"), "192.0.2.7:5060");
        assert_eq!(
            hop("sip:a@192.0.2.1;maddr=P.example", "198.51.100.1:40000"),
            "sip:192.0.2.1;maddr=p.example"
        );
        assert_eq!(
            hop("sips:a@p.example;maddr=192.0.2.7", "198.51.100.1:40000"),
            "sips:p.example;transport=tls;maddr=192.0.2.7"
        );
        for unusable in ["10.0.0.5", "224.0.1.75", "p.invalid", "", "192.0.2.7:5060"] {
            let uri = format!("sip:a@192.0.2.1;maddr={unusable}");
            assert_eq!(hop(&uri, "198.51.100.1:40000"), "198.51.100.1:40000", "{unusable}");
        }
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
