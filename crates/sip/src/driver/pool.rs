//! The connections of a driver: who listens, who is connected, and which one a message takes.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::connection::{Ends, Heard, Limits, Over, accepted, opened};
use super::handle::Bound;
use super::tls::{Identity, Tls, Trust};
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
    /// Connections at once from one address. A further one is closed at once.
    pub most_per_source: usize,
    /// Longest time that a message may stay half sent, and that a peer may take none of ours; then
    /// its connection ends.
    pub stalled: Duration,
    /// Longest silence of a peer that has said nothing yet; then its connection ends.
    pub silent: Duration,
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
            stalled: Duration::from_secs(10),
            silent: Duration::from_secs(20),
        }
    }
}

/// What happened among the connections.
#[derive(Debug)]
pub(super) enum News {
    /// A message has come.
    Message(Hop, Vec<u8>),
    /// A connection has ended, or could not be opened.
    Gone(Hop),
    /// Nothing that concerns the endpoint.
    Nothing,
}

#[derive(Debug)]
pub(super) struct Pool {
    tls: Tls,
    connections: HashMap<ConnectionId, Connection>,
    by_address: HashMap<(Transport, SocketAddr), ConnectionId>,
    by_source: HashMap<IpAddr, usize>,
    begun: u64,
    tasks: JoinSet<Over>,
    inbox: (mpsc::Sender<Heard>, mpsc::Receiver<Heard>),
    arrivals: mpsc::Receiver<Arrival>,
    most: usize,
    most_per_source: usize,
    limits: Limits,
}

type Arrival = (TcpStream, SocketAddr, Transport);

#[derive(Debug)]
struct Connection {
    hop: Hop,
    outbox: mpsc::Sender<Vec<u8>>,
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
            by_address: HashMap::new(),
            by_source: HashMap::new(),
            begun: 0,
            tasks,
            inbox: mpsc::channel(INBOX),
            arrivals,
            most: streams.most,
            most_per_source: streams.most_per_source,
            limits: Limits { stalled: streams.stalled, silent: streams.silent },
        };
        Ok((pool, bound))
    }

    pub(super) fn len(&self) -> usize {
        self.connections.len()
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

    /// Sends over the hop's connection, or one to its address, or a new one. Whether that could be
    /// begun: what cannot be connected is told later.
    pub(super) fn send(&mut self, to: &Hop, bytes: Vec<u8>) -> bool {
        let found = to.connection.filter(|id| self.connections.contains_key(id));
        let found = found.or_else(|| self.by_address.get(&(to.transport, to.address)).copied());
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

    fn connect(&mut self, to: &Hop) -> Option<ConnectionId> {
        if self.connections.len() >= self.most {
            return None;
        }
        let (id, ends) = self.enter(Hop { connection: None, ..to.clone() }, true);
        self.by_address.insert((to.transport, to.address), id);
        let connector = self.tls.connector();
        self.tasks.spawn(opened(ends, connector));
        Some(id)
    }

    fn welcome(&mut self, (stream, peer, transport): Arrival) -> News {
        let source = self.by_source.get(&peer.ip()).copied().unwrap_or_default();
        if self.connections.len() >= self.most || source >= self.most_per_source {
            tracing::debug!(%peer, "closed a connection too many");
            return News::Nothing;
        }
        let (_, ends) = self.enter(Hop::new(transport, peer), false);
        let acceptor = self.tls.acceptor();
        self.tasks.spawn(accepted(stream, ends, acceptor));
        News::Nothing
    }

    fn enter(&mut self, hop: Hop, ours: bool) -> (ConnectionId, Ends) {
        self.begun += 1;
        let id = ConnectionId(self.begun);
        let hop = hop.over(id);
        let (outbox, messages) = mpsc::channel(OUTBOX);
        *self.by_source.entry(hop.address.ip()).or_default() += 1;
        self.connections.insert(id, Connection { hop: hop.clone(), outbox });
        (id, Ends { hop, inbox: self.inbox.0.clone(), outbox: messages, ours, limits: self.limits })
    }

    fn farewell(&mut self, over: Result<Over, JoinError>) -> News {
        let Ok(Over { id: Some(id), result }) = over else { return News::Nothing };
        let Some(hop) = self.remove(id) else { return News::Nothing };
        if let Err(error) = result {
            tracing::debug!(peer = %hop, %error, "a connection has failed");
        }
        News::Gone(hop)
    }

    fn remove(&mut self, id: ConnectionId) -> Option<Hop> {
        let Connection { hop, .. } = self.connections.remove(&id)?;
        let address = (hop.transport, hop.address);
        if self.by_address.get(&address) == Some(&id) {
            self.by_address.remove(&address);
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
