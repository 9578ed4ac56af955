//! The connections of a driver: who listens, who is connected, and which one a message takes.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::connection::{Ends, Heard, Limits, Over, accepted, opened};
use super::handle::Bound;
use super::tls::{Identity, Tls, Trust, obstacle};
use crate::event::Obstacle;
use crate::hop::{ConnectionId, Hop, Transport};

/// Messages of all connections that the loop has not taken. When full, connections are not read.
const INBOX: usize = 1_024;
/// Messages for one connection that it has not taken. When full, the connection is ended: a peer that
/// does not read cannot hold more. It is well above what `INBOX` can bring about at once.
const OUTBOX: usize = 4_096;
/// Connections that were accepted and not looked at yet. When full, accepting waits.
const ARRIVALS: usize = 64;
/// How long a listener rests after an error: without descriptors the next call fails as well.
const REST: Duration = Duration::from_millis(50);
/// Connections of a trusted address, in shares of another one: a proxy stands for many phones.
const TRUSTED_SHARES: usize = 16;
/// Silence on a connection after which the kernel asks whether the peer is there.
const PROBE: Duration = Duration::from_secs(60);

/// What a driver does besides UDP.
#[derive(Debug, Clone)]
pub struct Streams {
    /// Where TCP is accepted.
    pub tcp: Option<SocketAddr>,
    /// Where TLS is accepted; needs an identity.
    pub tls: Option<SocketAddr>,
    /// Where WebSockets are accepted.
    pub ws: Option<SocketAddr>,
    /// Where WebSockets under TLS are accepted; needs an identity.
    pub wss: Option<SocketAddr>,
    /// Our certificate. [`SipHandle::set_identity`](super::SipHandle::set_identity) replaces it.
    pub identity: Option<Identity>,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// Connections at once, in both directions. A further one is closed at once.
    pub most: usize,
    /// Connections at once from one address; sixteen times as many from one that is
    /// [preferred](super::Driver::prefer). A further one takes the place of one that has never said anything of
    /// sense, or not for `recent`, and that no call and no account needs; if there is none, it is closed at once.
    pub most_per_source: usize,
    /// How long a connection on which a message has come keeps its place, though others want it.
    pub recent: Duration,
    /// Longest time that a message may stay half sent, and that a peer may take none of ours; then
    /// its connection ends.
    pub stalled: Duration,
    /// Longest silence of a peer that has said nothing yet; then its connection ends.
    pub silent: Duration,
    /// Origins of web pages that may open a WebSocket beside those of the host that they ask, such as
    /// `https://app.example`; `*` is any. Who is no browser names none and passes.
    pub origins: Vec<String>,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            tcp: None,
            tls: None,
            ws: None,
            wss: None,
            identity: None,
            trust: Trust::System,
            most: 2_048,
            most_per_source: 64,
            recent: Duration::from_secs(60),
            stalled: Duration::from_secs(10),
            silent: Duration::from_secs(20),
            origins: Vec::new(),
        }
    }
}

/// What happened among the connections.
#[derive(Debug)]
pub(super) enum News {
    /// A message has come.
    Message(Hop, Vec<u8>),
    /// A connection has ended, or could not be opened.
    Gone(Hop, Obstacle),
    /// A connection for which there is no room, unless some is [made](Pool::make_room).
    Crowd(Arrival),
    /// Nothing that concerns the endpoint.
    Nothing,
}

#[derive(Debug)]
pub(super) struct Pool {
    tls: Tls,
    connections: HashMap<ConnectionId, Connection>,
    by_peer: HashMap<Peer, ConnectionId>,
    by_source: HashMap<IpAddr, usize>,
    begun: u64,
    tasks: JoinSet<Over>,
    inbox: (mpsc::Sender<Heard>, mpsc::Receiver<Heard>),
    arrivals: mpsc::Receiver<Arrival>,
    most: usize,
    most_per_source: usize,
    recent: Duration,
    limits: Limits,
    origins: Arc<[String]>,
    preferred: Option<Preferred>,
}

/// Tells whether an address may have more connections.
pub(super) struct Preferred(pub(super) Box<dyn Fn(IpAddr) -> bool + Send>);

impl fmt::Debug for Preferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Preferred")
    }
}

/// A connection that was accepted.
pub(super) type Arrival = (TcpStream, SocketAddr, Transport);

/// Whom a connection of ours leads to: under TLS also the name that the certificate had to have, since what it proves
/// holds for no other (RFC 5922 section 7).
type Peer = (Transport, SocketAddr, Option<String>);

fn peer(hop: &Hop) -> Peer {
    (hop.transport, hop.address, hop.proven_name())
}

#[derive(Debug)]
struct Connection {
    hop: Hop,
    outbox: mpsc::Sender<Vec<u8>>,
    /// Whether we have opened it.
    ours: bool,
    /// When the last message came on it that was one.
    sense: Option<Instant>,
}

impl Pool {
    pub(super) async fn open(streams: Streams) -> io::Result<(Self, Bound)> {
        let (arrive, arrivals) = mpsc::channel(ARRIVALS);
        let mut tasks = JoinSet::new();
        let mut bound = Bound::default();
        let listeners = [
            (Transport::Tcp, streams.tcp, &mut bound.tcp),
            (Transport::Tls, streams.tls, &mut bound.tls),
            (Transport::Ws, streams.ws, &mut bound.ws),
            (Transport::Wss, streams.wss, &mut bound.wss),
        ];
        for (transport, address, bound) in listeners {
            let Some(address) = address else { continue };
            let listener = TcpListener::bind(address).await?;
            *bound = Some(listener.local_addr()?);
            tasks.spawn(listen(listener, transport, arrive.clone()));
        }
        let pool = Self {
            tls: Tls::new(streams.identity, &streams.trust)?,
            connections: HashMap::new(),
            by_peer: HashMap::new(),
            by_source: HashMap::new(),
            begun: 0,
            tasks,
            inbox: mpsc::channel(INBOX),
            arrivals,
            most: streams.most,
            most_per_source: streams.most_per_source,
            recent: streams.recent,
            limits: Limits { stalled: streams.stalled, silent: streams.silent },
            origins: streams.origins.into(),
            preferred: None,
        };
        Ok((pool, bound))
    }

    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    pub(super) fn prefer(&mut self, preferred: Preferred) {
        self.preferred = Some(preferred);
    }

    /// A message has come on this connection that was one.
    pub(super) fn made_sense(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.sense = Some(Instant::now());
        }
    }

    pub(super) fn replace_identity(&self, identity: Identity) {
        self.tls.replace(identity);
    }

    /// Waits for news. It may be dropped and called again at any time.
    pub(super) async fn next(&mut self) -> News {
        tokio::select! {
            Some(heard) = self.inbox.1.recv() => message(heard),
            Some(arrival) = self.arrivals.recv() => self.welcome(arrival),
            Some(over) = self.tasks.join_next() => self.farewell(over),
            else => std::future::pending().await,
        }
    }

    /// A further message that has come already.
    pub(super) fn try_next(&mut self) -> Option<News> {
        self.inbox.1.try_recv().ok().map(message)
    }

    /// Sends over the hop's connection, or one of ours to the same peer, or a new one. Whether that could be
    /// begun: what cannot be connected is told later.
    pub(super) fn send(&mut self, to: &Hop, bytes: Vec<u8>) -> bool {
        let found = to.connection.filter(|id| self.connections.contains_key(id));
        let found = found.or_else(|| self.by_peer.get(&peer(to)).copied());
        let id = match found {
            Some(id) => id,
            None => match self.connect(to) {
                Some(id) => id,
                None => return false,
            },
        };
        let Some(connection) = self.connections.get(&id) else { return false };
        let taken = connection.outbox.try_send(bytes).is_ok();
        if !taken {
            tracing::warn!(peer = %connection.hop, "ended a connection that takes nothing");
            self.remove(id);
        }
        taken
    }

    /// The address of who is at the other end: of the connection while it lives, and not where one would be opened.
    pub(super) fn peer_of(&self, hop: &Hop) -> SocketAddr {
        let connection = hop.connection.and_then(|id| self.connections.get(&id));
        connection.map_or(hop.address, |connection| connection.hop.address)
    }

    fn connect(&mut self, to: &Hop) -> Option<ConnectionId> {
        if self.connections.len() >= self.most {
            return None;
        }
        let (id, ends) = self.enter(Hop { connection: None, ..to.clone() }, true);
        self.by_peer.insert(peer(to), id);
        let connector = self.tls.connector();
        self.tasks.spawn(opened(ends, connector));
        Some(id)
    }

    fn welcome(&mut self, arrival: Arrival) -> News {
        if self.connections.len() >= self.most || self.is_full(arrival.1.ip()) {
            return News::Crowd(arrival);
        }
        self.admit(arrival);
        News::Nothing
    }

    /// Whether this address has its share.
    fn is_full(&self, source: IpAddr) -> bool {
        let preferred = self.preferred.as_ref().is_some_and(|Preferred(is)| is(source.to_canonical()));
        let share = self.most_per_source.saturating_mul(if preferred { TRUSTED_SHARES } else { 1 });
        self.by_source.get(&source).is_some_and(|count| *count >= share)
    }

    /// Takes an arrival in the place of a connection of which nothing is lost: one from the same address, if that has
    /// its share, that no one needs. Those that never made sense go first, then those that have been quiet for longest.
    /// Gives back what was ended.
    pub(super) fn make_room(&mut self, arrival: Arrival, needed: &HashSet<ConnectionId>) -> Option<Hop> {
        let full = self.is_full(arrival.1.ip());
        let now = Instant::now();
        let may_go = |(id, connection): &(&ConnectionId, &Connection)| {
            let same = !full || connection.hop.address.ip() == arrival.1.ip();
            let quiet = connection.sense.is_none_or(|sense| now.duration_since(sense) >= self.recent);
            same && quiet && !connection.ours && !needed.contains(*id)
        };
        let candidates = self.connections.iter().filter(may_go);
        let last = candidates.min_by_key(|(id, connection)| (connection.sense, **id)).map(|(id, _)| *id);
        let Some(hop) = last.and_then(|id| self.remove(id)) else {
            tracing::debug!(peer = %arrival.1, "closed a connection too many");
            return None;
        };
        self.admit(arrival);
        Some(hop)
    }

    fn admit(&mut self, (stream, peer, transport): Arrival) {
        let (_, ends) = self.enter(Hop::new(transport, peer), false);
        let acceptor = self.tls.acceptor();
        self.tasks.spawn(accepted(stream, ends, (acceptor, Arc::clone(&self.origins))));
    }

    fn enter(&mut self, hop: Hop, ours: bool) -> (ConnectionId, Ends) {
        self.begun += 1;
        let id = ConnectionId(self.begun);
        let hop = hop.over(id);
        let (outbox, messages) = mpsc::channel(OUTBOX);
        *self.by_source.entry(hop.address.ip()).or_default() += 1;
        self.connections.insert(id, Connection { hop: hop.clone(), outbox, ours, sense: None });
        (id, Ends { hop, inbox: self.inbox.0.clone(), outbox: messages, ours, limits: self.limits })
    }

    fn farewell(&mut self, over: Result<Over, JoinError>) -> News {
        let Ok(Over { id: Some(id), result }) = over else { return News::Nothing };
        let ours = self.connections.get(&id).is_some_and(|connection| connection.ours);
        let Some(hop) = self.remove(id) else { return News::Nothing };
        let met = result.as_ref().map_or_else(obstacle, |()| Obstacle::NoWay);
        match result {
            Err(error) if ours => tracing::warn!(peer = %hop, %error, "a connection of ours has failed"),
            Err(error) => tracing::debug!(peer = %hop, %error, "a connection has failed"),
            Ok(()) => {}
        }
        News::Gone(hop, met)
    }

    fn remove(&mut self, id: ConnectionId) -> Option<Hop> {
        let Connection { hop, .. } = self.connections.remove(&id)?;
        let peer = peer(&hop);
        if self.by_peer.get(&peer) == Some(&id) {
            self.by_peer.remove(&peer);
        }
        let ip = hop.address.ip();
        if let Some(count) = self.by_source.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&ip);
            }
        }
        Some(hop)
    }
}

fn message(heard: Heard) -> News {
    let Heard::Message(hop, message) = heard;
    News::Message(hop, message)
}

/// Accepts until the driver ends. An error, such as too few descriptors, is only rested on.
async fn listen(listener: TcpListener, transport: Transport, arrive: mpsc::Sender<Arrival>) -> Over {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let keep_alive = TcpKeepalive::new().with_time(PROBE);
                // Without them the connection works as well, only slower or longer.
                let _ = SockRef::from(&stream).set_tcp_keepalive(&keep_alive);
                let _ = stream.set_nodelay(true);
                if arrive.send((stream, peer, transport)).await.is_err() {
                    return Over { id: None, result: Ok(()) };
                }
            }
            Err(error) => {
                tracing::warn!(%transport, %error, "accept a SIP connection");
                tokio::time::sleep_until(Instant::now() + REST).await;
            }
        }
    }
}
