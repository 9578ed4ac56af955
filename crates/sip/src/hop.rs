//! Where a message goes or came from: transport, address, connection.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use sipx_sip::{Reliability, Scheme, Uri};

/// How messages travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream in the clear.
    Tcp,
    /// A stream under TLS.
    Tls,
    /// A WebSocket in the clear (RFC 7118).
    Ws,
    /// A WebSocket under TLS.
    Wss,
}

impl Transport {
    /// Every transport.
    pub const ALL: [Self; 5] = [Self::Udp, Self::Tcp, Self::Tls, Self::Ws, Self::Wss];

    /// Name in `Via`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// The value of a URI's `transport` parameter, in lower or upper case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|transport| transport.name().eq_ignore_ascii_case(name))
    }

    /// Port that a URI without one means.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }

    /// Whether messages travel encrypted.
    pub fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// Whether a connection carries the messages, so that nothing is repeated by transactions.
    pub fn is_stream(self) -> bool {
        self != Self::Udp
    }

    pub(crate) fn reliability(self) -> Reliability {
        if self.is_stream() { Reliability::Reliable } else { Reliability::Unreliable }
    }

    /// What a URI asks for by its scheme and its `transport` parameter; `None` if it leaves it open.
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let named = uri.transport().and_then(|name| Self::parse(&String::from_utf8_lossy(name)));
        match (uri.scheme(), named) {
            (Scheme::Sips, Some(Self::Ws | Self::Wss)) => Some(Self::Wss),
            (Scheme::Sips, _) => Some(Self::Tls),
            (_, named) => named,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Names one connection of a driver. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// One way to a peer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hop {
    /// How.
    pub transport: Transport,
    /// The peer. For a connection that is gone, where a new one is opened.
    pub address: SocketAddr,
    /// The connection to use while it lives; absent for datagrams and for one that is to be opened
    /// or found by address.
    pub connection: Option<ConnectionId>,
    /// The name that the peer's certificate must have; absent means its address.
    pub name: Option<Arc<str>>,
}

impl Hop {
    /// A way by this transport that has no connection yet.
    pub fn new(transport: Transport, address: SocketAddr) -> Self {
        Self { transport, address, connection: None, name: None }
    }

    /// The same with the name that its certificate must have.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Whether both are one address by one transport, in whichever form a socket for both families has it.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let place = |hop: &Self| (hop.transport, hop.address.ip().to_canonical(), hop.address.port());
        place(self) == place(other)
    }

    /// Whether both lead to the same peer: by TLS only where its certificate must have the same name.
    pub(crate) fn is_same_peer(&self, other: &Self) -> bool {
        self.is_same(other) && self.proven_name() == other.proven_name()
    }

    /// The name that a connection to it proves.
    pub(crate) fn proven_name(&self) -> Option<String> {
        self.name.as_deref().filter(|_| self.transport.is_secure()).map(str::to_ascii_lowercase)
    }

    /// The same over this connection.
    #[must_use]
    pub fn over(self, connection: ConnectionId) -> Self {
        Self { connection: Some(connection), ..self }
    }
}

impl From<SocketAddr> for Hop {
    /// A datagram to this address.
    fn from(address: SocketAddr) -> Self {
        Self::new(Transport::Udp, address)
    }
}

/// Where a request inside a dialog goes: to an address, or to a host that is known by name only.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    /// The address; of a named host, where the peer's messages come from, in case it is not found.
    pub(crate) hop: Hop,
    /// What is to be looked up: a URI without user.
    pub(crate) name: Option<String>,
}

impl From<Hop> for Way {
    fn from(hop: Hop) -> Self {
        Self { hop, name: None }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport, self.address)
    }
}
