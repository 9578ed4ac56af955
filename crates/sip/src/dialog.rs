//! One dialog: who the two ends are, where requests in it go (RFC 3261 section 12), and what the
//! call in it is doing.

use std::net::{IpAddr, SocketAddr};

use sipx_sip::headers::{Contact, RecordRoute};
use sipx_sip::{HeaderName, Headers, Host, Request, Response, Uri};

use crate::config::Time;
use crate::event::{DialogId, EndCause, HeaderList, OfferMethod};
use crate::message::{Draft, Identity, cseq, from_tag, to_tag, value};
use crate::schedule::Chore;
use crate::transactions::TxId;

/// A dialog with its call.
#[derive(Debug)]
pub(crate) struct Dialog {
    pub(crate) id: DialogId,
    pub(crate) call_id: Vec<u8>,
    pub(crate) local_tag: String,
    /// Empty until a caller of ours has got a tag, and for peers from before RFC 3261.
    pub(crate) remote_tag: Vec<u8>,
    /// Our `From` in requests, tag included.
    local: Vec<u8>,
    /// Our `To` in requests, tag included.
    remote: Vec<u8>,
    local_seq: u32,
    pub(crate) remote_seq: Option<u32>,
    /// `CSeq` of the INVITE that began it, if the peer did.
    pub(crate) invited_seq: Option<u32>,
    routes: Vec<Uri>,
    target: Option<Uri>,
    /// Where the peer's last request or our INVITE's answer came from.
    pub(crate) peer: SocketAddr,
    pub(crate) state: State,
    /// The offer of the peer that waits for our answer.
    pub(crate) reoffer: Option<Reoffer>,
    /// The 200 of ours that waits for its ACK.
    pub(crate) unacked: Option<Unacked>,
}

/// What the call in a dialog is doing.
#[derive(Debug)]
pub(crate) enum State {
    /// A caller waits for our answer.
    Invited {
        tx: TxId,
        /// Whether the INVITE brought an offer.
        offered: bool,
    },
    /// We wait for the callee's answer.
    Calling(Calling),
    /// Answered.
    Up {
        /// Headers of the BYE that goes out when the ACK of our 200 has come.
        bye: Option<HeaderList>,
    },
    /// Our BYE is out; the cause is told when it is answered or given up.
    Ending { cause: EndCause },
}

/// An INVITE of ours without final answer.
#[derive(Debug)]
pub(crate) struct Calling {
    pub(crate) tx: TxId,
    /// Whether the callee has responded at all; before that CANCEL may not be sent.
    pub(crate) responded: bool,
    pub(crate) cancel: Cancel,
}

/// How far giving up an INVITE of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancel {
    No,
    /// Wanted, but the callee has not responded yet.
    Wanted,
    Sent,
}

/// An offer of the peer inside the dialog.
#[derive(Debug)]
pub(crate) struct Reoffer {
    pub(crate) tx: TxId,
    pub(crate) method: OfferMethod,
    pub(crate) seq: u32,
    /// Whether it brought SDP.
    pub(crate) offered: bool,
}

/// A 200 to an INVITE, sent again until its ACK comes (RFC 3261 section 13.3.1.4).
#[derive(Debug)]
pub(crate) struct Unacked {
    pub(crate) seq: u32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) to: SocketAddr,
    pub(crate) interval: Time,
    pub(crate) until: Time,
    /// Whether this was the first INVITE of the dialog.
    pub(crate) first: bool,
    /// Whether our 200 made an offer that the ACK answers.
    pub(crate) offers: bool,
}

impl State {
    /// For messages to people.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Invited { .. } => "not answered yet",
            Self::Calling(Calling { cancel: Cancel::No, .. }) => "calling",
            Self::Calling(_) => "being cancelled",
            Self::Up { .. } => "answered",
            Self::Ending { .. } => "ending",
        }
    }
}

impl Dialog {
    /// The dialog that an INVITE to us begins.
    pub(crate) fn from_invite(id: DialogId, invite: &Request, peer: SocketAddr, tag: String) -> Self {
        let headers = &invite.headers;
        let mut local = value(headers, &HeaderName::To);
        local.extend_from_slice(b";tag=");
        local.extend_from_slice(tag.as_bytes());
        Self {
            id,
            call_id: value(headers, &HeaderName::CallId),
            local_tag: tag,
            remote_tag: from_tag(headers),
            local,
            remote: value(headers, &HeaderName::From),
            local_seq: 0,
            remote_seq: cseq(headers),
            invited_seq: cseq(headers),
            routes: routes(headers),
            target: target(headers),
            peer,
            // The transaction is entered when it has begun.
            state: State::Up { bye: None },
            reoffer: None,
            unacked: None,
        }
    }

    /// The dialog that an INVITE of ours asks for, before any response.
    pub(crate) fn from_call(id: DialogId, invite: &Request, peer: SocketAddr) -> Self {
        let headers = &invite.headers;
        Self {
            id,
            call_id: value(headers, &HeaderName::CallId),
            local_tag: String::from_utf8_lossy(&from_tag(headers)).into_owned(),
            remote_tag: Vec::new(),
            local: value(headers, &HeaderName::From),
            remote: value(headers, &HeaderName::To),
            local_seq: cseq(headers).unwrap_or(1),
            remote_seq: None,
            invited_seq: None,
            routes: Vec::new(),
            target: Some(invite.uri.clone()),
            peer,
            state: State::Up { bye: None },
            reoffer: None,
            unacked: None,
        }
    }

    /// Takes over what the answer to our INVITE fixes: the callee's tag, its target, the route.
    pub(crate) fn adopt(&mut self, answer: &Response) {
        self.remote_tag = to_tag(&answer.headers);
        self.remote = value(&answer.headers, &HeaderName::To);
        self.routes = routes(&answer.headers);
        self.routes.reverse();
        self.refresh_target(&answer.headers);
    }

    /// A new `Contact` of the peer replaces the old one (RFC 3261 section 12.2).
    pub(crate) fn refresh_target(&mut self, headers: &Headers) {
        if let Some(target) = target(headers) {
            self.target = Some(target);
        }
    }

    /// Whether a request is from the other end of this dialog.
    pub(crate) fn is_peer(&self, headers: &Headers) -> bool {
        let unfixed = matches!(self.state, State::Calling(_));
        value(headers, &HeaderName::CallId) == self.call_id
            && (unfixed || from_tag(headers) == self.remote_tag)
    }

    /// Whether an alarm still means anything.
    pub(crate) fn awaits(&self, chore: Chore) -> bool {
        match chore {
            Chore::RepeatAnswer(seq) => self.unacked.as_ref().is_some_and(|unacked| unacked.seq == seq),
            Chore::GiveUpReoffer(seq) => self.reoffer.as_ref().is_some_and(|reoffer| reoffer.seq == seq),
            Chore::GiveUpRinging => matches!(self.state, State::Invited { .. } | State::Calling(_)),
            Chore::GiveUpCancel => matches!(self.state, State::Calling(_)),
        }
    }

    /// The next request of ours in this dialog, without its end, and where it goes.
    pub(crate) fn request(&mut self, method: &str, us: &Identity, branch: &str) -> (Draft, SocketAddr) {
        self.local_seq = self.local_seq.saturating_add(1);
        self.draft(method, self.local_seq, us, branch)
    }

    /// The ACK of a 200 to our INVITE, and where it goes.
    pub(crate) fn ack(&self, answer: &Response, us: &Identity, branch: &str) -> (Vec<u8>, SocketAddr) {
        let seq = cseq(&answer.headers).unwrap_or(self.local_seq);
        let (draft, to) = self.draft("ACK", seq, us, branch);
        (draft.finish(), to)
    }

    fn draft(&self, method: &str, seq: u32, us: &Identity, branch: &str) -> (Draft, SocketAddr) {
        let target = self.target.as_ref().map(Uri::to_bytes).unwrap_or_else(|| fallback_target(self.peer));
        let strict = self.routes.first().filter(|first| !is_loose(first));
        let mut draft = match strict {
            Some(first) => Draft::request(method, &first.to_bytes()),
            None => Draft::request(method, &target),
        };
        draft.line("Via", us.via(branch));
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
        let next = self.routes.first().or(self.target.as_ref());
        (draft, next.map_or(self.peer, |uri| next_hop(uri, self.peer)))
    }
}

fn bracketed(uri: &[u8]) -> Vec<u8> {
    [b"<", uri, b">"].concat()
}

fn is_loose(route: &Uri) -> bool {
    route.params().is_some_and(|params| params.contains("lr"))
}

fn fallback_target(peer: SocketAddr) -> bytes::Bytes {
    bytes::Bytes::from(format!("sip:{peer}"))
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
/// write their private address into `Contact`.
fn next_hop(uri: &Uri, peer: SocketAddr) -> SocketAddr {
    let Some(Host::Ip(ip)) = uri.host() else { return peer };
    let port = uri.port().unwrap_or(5060);
    let source = peer.ip().to_canonical();
    let unusable = ip.is_unspecified() || ip.is_multicast() || port == 0 || is_broadcast(*ip);
    let behind_nat = is_private(*ip) && !is_private(source);
    if unusable || behind_nat || ip.is_ipv4() != source.is_ipv4() {
        return peer;
    }
    // A socket for both families writes IPv4 addresses in the form of IPv6.
    let ip = match (ip, peer) {
        (IpAddr::V4(v4), SocketAddr::V6(_)) => IpAddr::V6(v4.to_ipv6_mapped()),
        _ => *ip,
    };
    SocketAddr::new(ip, port)
}

fn is_broadcast(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(v4) if v4.is_broadcast())
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_to_the_contact_unless_it_cannot_be_meant() {
        let hop = |uri: &str, peer: &str| {
            let uri = Uri::parse(bytes::Bytes::copy_from_slice(uri.as_bytes())).unwrap();
            next_hop(&uri, peer.parse().unwrap()).to_string()
        };
        assert_eq!(hop("sip:a@192.0.2.1:5070", "198.51.100.1:40000"), "192.0.2.1:5070");
        assert_eq!(hop("sip:a@192.0.2.1", "198.51.100.1:40000"), "192.0.2.1:5060");
        assert_eq!(hop("sip:a@phone.example", "198.51.100.1:40000"), "198.51.100.1:40000");
        assert_eq!(hop("sip:a@10.0.0.5:5060", "198.51.100.1:40000"), "198.51.100.1:40000");
        assert_eq!(hop("sip:a@10.0.0.5:5060", "10.0.0.9:40000"), "10.0.0.5:5060");
        assert_eq!(hop("sip:a@255.255.255.255", "198.51.100.1:40000"), "198.51.100.1:40000");
        assert_eq!(hop("sip:a@192.0.2.1:5070", "[::ffff:192.0.2.9]:40000"), "[::ffff:192.0.2.1]:5070");
        assert_eq!(hop("sip:a@[2001:db8::1]:5061", "[2001:db8::2]:5060"), "[2001:db8::1]:5061");
    }
}
