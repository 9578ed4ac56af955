//! A thin driver: one task that owns the UDP socket and the [`Endpoint`], and one for each connection.
//!
//! The loop never waits for a peer or for an owner of a call: what the socket or a channel does not
//! take at once is dropped and counted, or ends that connection or call. Timers go before orders,
//! orders before the network, so that neither a flood nor a burst of verbs delays a retransmission.
//!
//! `handle` is how others give orders, `pool` knows the connections, `connection` and `web` carry
//! one each, `tls` holds certificates, `dns` finds targets, `silence` is what stands
//! before new calls, `complaints` is what the log says of messages of no use, `undelivered` is what the
//! network says of datagrams that were lost.

mod complaints;
mod connection;
mod dns;
mod handle;
mod pool;
mod silence;
mod tap;
mod tls;
mod undelivered;
mod web;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use complaints::Complaints;
pub use dns::{Reach, Resolver};
use handle::Order;
pub use handle::{Bound, RegistrationWatch, SipHandle};
use pool::Pool;
pub use pool::Streams;
pub use silence::{Judge, Screening};
use silence::{Screen, Silence};
pub use tap::Passage;
use tap::Tap;
pub use tls::{Identity, Trust};

use crate::config::{Admission, Config, Time};
use crate::endpoint::Endpoint;
use crate::event::{DialogId, Invite, Obstacle, Output, SipEvent};
use crate::hop::{Hop, Transport};
use crate::order::{Rejection, SipError};
use crate::registration::{RegistrationId, RegistrationState};

/// Verbs that wait for the loop. When full, the caller of a verb waits.
const ORDERS: usize = 256;
/// New calls that nobody has taken yet. When full, a further one gets 503 with `Retry-After`.
const INCOMING: usize = 256;
/// Events of one dialog that its owner has not read. When full, the call is hung up and the channel
/// is closed: an owner that does not read cannot hold a call.
const EVENTS: usize = 32;
/// Datagrams that are taken before timers and orders are looked at again.
const BATCH: usize = 64;
/// Datagrams of ours that did not arrive of which is heard in one go, and how often one is sent anew that the news of
/// another has kept from leaving.
const NOTICES: usize = 16;
const TRIES: usize = 3;
/// The socket's receive buffer in bytes: about a second of 1,000 calls per second.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Hosts that are looked up at once. A further one counts as not found.
const SEARCHES: usize = 64;
/// How often calls are looked for whose owner is gone.
const SWEEP: Duration = Duration::from_secs(1);
/// How long a stop waits for the answers to its BYEs.
const FAREWELL: Duration = Duration::from_secs(2);

/// A new call, with the channel of everything that happens in it from now on.
#[derive(Debug)]
pub struct Incoming {
    /// The dialog, for the verbs.
    pub dialog: DialogId,
    /// What the INVITE said.
    pub invite: Box<Invite>,
    /// What happens in the dialog. It closes after the last event, or earlier if its owner left 32
    /// events unread; then the call has been hung up. An owner that drops it has the call hung up.
    pub events: mpsc::Receiver<SipEvent>,
}

/// The task's side: socket, endpoint, orders.
#[derive(Debug)]
pub struct Driver {
    socket: UdpSocket,
    endpoint: Endpoint,
    orders: mpsc::Receiver<Order>,
    incoming: mpsc::Sender<Incoming>,
    owners: HashMap<DialogId, mpsc::Sender<SipEvent>>,
    /// Calls that take the place of others, until the others' owners claim them. No more than there are dialogs.
    unclaimed: HashMap<DialogId, mpsc::Receiver<SipEvent>>,
    registrations: HashMap<RegistrationId, watch::Sender<RegistrationState>>,
    pool: Pool,
    silence: Silence,
    complaints: Complaints,
    tap: Option<Tap>,
    screen: Option<Screen>,
    origin: Instant,
    unsent: u64,
    /// Ways that have just failed.
    gone: Vec<Hop>,
    /// Where datagrams can go.
    reach: Reach,
    /// Finds hosts that dialogs name; without it none is found.
    resolver: Option<Resolver>,
    searches: JoinSet<Found>,
    retry_after: Duration,
}

impl Driver {
    /// Binds a socket. An unspecified address or a port of 0 in `config.advertised` is replaced by
    /// what was bound.
    ///
    /// Spawn [`run`](Self::run), and read the receiver: it gets every new call.
    ///
    /// # Errors
    /// Those of binding the socket.
    pub async fn bind(
        listen: SocketAddr,
        config: Config,
    ) -> io::Result<(Self, SipHandle, mpsc::Receiver<Incoming>)> {
        Self::bind_with(listen, Streams::default(), config).await
    }

    /// The same with connections: listeners for those that are given an address, and connecting by
    /// every transport.
    ///
    /// # Errors
    /// Those of binding the sockets; `InvalidData` for roots that cannot be read.
    pub async fn bind_with(
        listen: SocketAddr,
        streams: Streams,
        mut config: Config,
    ) -> io::Result<(Self, SipHandle, mpsc::Receiver<Incoming>)> {
        let socket = open(listen)?;
        // Before its first readiness is known a socket takes no datagram at once.
        socket.writable().await?;
        let local = socket.local_addr()?;
        let reach = reach(&socket, local);
        if config.advertised.ip().is_unspecified() {
            config.advertised.set_ip(local.ip());
        }
        if config.advertised.port() == 0 {
            config.advertised.set_port(local.port());
        }
        let (pool, bound) = Pool::open(streams).await?;
        config.tcp |= bound.tcp.is_some();
        let near = |there: Option<SocketAddr>, told: Option<SocketAddr>| {
            told.or(there.map(|there| SocketAddr::new(config.advertised.ip(), there.port())))
        };
        config.advertised_tcp = near(bound.tcp, config.advertised_tcp);
        config.advertised_tls = near(bound.tls, config.advertised_tls);
        config.advertised_ws = near(bound.ws, config.advertised_ws);
        config.advertised_wss = near(bound.wss, config.advertised_wss);
        let (orders_in, orders) = mpsc::channel(ORDERS);
        let (incoming, invited) = mpsc::channel(INCOMING);
        let driver = Self {
            socket,
            retry_after: config.retry_after,
            endpoint: Endpoint::new(config),
            orders,
            incoming,
            owners: HashMap::new(),
            unclaimed: HashMap::new(),
            registrations: HashMap::new(),
            pool,
            silence: Silence::default(),
            complaints: Complaints::default(),
            tap: None,
            screen: None,
            origin: Instant::now(),
            unsent: 0,
            gone: Vec::new(),
            reach,
            resolver: None,
            searches: JoinSet::new(),
        };
        Ok((driver, SipHandle { orders: orders_in, local, bound, reach }, invited))
    }

    /// Has every new call judged before it is handed out, and every request that belongs to nothing. Of who has a call
    /// with us, or an account of ours, queries silence nobody.
    pub fn screen(&mut self, judge: impl Judge + 'static) {
        self.screen = Some(Screen(Box::new(judge)));
    }

    /// Names the addresses that may have sixteen times as many connections as others: proxies, which stand for many
    /// phones. It runs inside the loop, and must not wait.
    pub fn prefer(&mut self, preferred: impl Fn(IpAddr) -> bool + Send + 'static) {
        self.pool.prefer(pool::Preferred(Box::new(preferred)));
    }

    /// Shows every message that comes in from who is heard, and every one that goes out. It runs inside the loop, and
    /// must not wait.
    pub fn tap(&mut self, see: impl FnMut(&Passage<'_>) + Send + 'static) {
        self.tap = Some(Tap(Box::new(see)));
    }

    /// Has hosts that `Contact` and `Record-Route` name looked up (RFC 3263); without it, messages go where those of the
    /// peer come from.
    pub fn find_by(&mut self, resolver: Resolver) {
        self.resolver = Some(resolver);
    }

    fn show(&mut self, sent: bool, hop: &Hop, bytes: &[u8]) {
        if let Some(tap) = &mut self.tap {
            let peer = self.pool.peer_of(hop);
            (tap.0)(&Passage { sent, peer, transport: hop.transport, bytes });
        }
    }

    /// Runs until [`SipHandle::stop`] or until every handle is gone, and then says goodbye.
    pub async fn run(mut self) {
        let mut buffer = vec![0; 65_536];
        let mut sweep = SWEEP;
        let mut farewell = None;
        loop {
            self.deliver();
            if farewell.is_some_and(|until| self.is_quiet() || self.now() >= until) {
                return;
            }
            let next = self.endpoint.timeout().unwrap_or(sweep).min(sweep).min(farewell.unwrap_or(sweep));
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(self.origin + next) => {
                    let now = self.now();
                    self.endpoint.handle_timeout(now);
                    if now >= sweep {
                        self.sweep();
                        sweep = now.saturating_add(SWEEP);
                    }
                }
                order = self.orders.recv(), if farewell.is_none() => match order {
                    Some(Order::Stop) | None => farewell = Some(self.say_goodbye()),
                    Some(order) => self.obey(order),
                },
                received = self.socket.recv_from(&mut buffer) => self.take(received, &mut buffer),
                news = self.pool.next() => self.stream(news),
                Some(found) = self.searches.join_next() => self.found(found),
                _ = self.socket.ready(Interest::ERROR) => {
                    self.hear_network();
                }
            }
        }
    }

    fn now(&self) -> Time {
        self.origin.elapsed()
    }

    fn is_quiet(&self) -> bool {
        self.owners.is_empty() && self.registrations.is_empty()
    }

    /// News of the connections, and what waits behind them.
    fn stream(&mut self, first: pool::News) {
        let mut news = Some(first);
        for _ in 0..BATCH {
            let now = self.now();
            match news.take() {
                Some(pool::News::Message(hop, message)) => self.hear(now, hop, &message),
                Some(pool::News::Gone(hop, obstacle)) => self.endpoint.unreachable(now, &hop, obstacle),
                Some(pool::News::Crowd(arrival)) => {
                    let needed = self.endpoint.connections();
                    if let Some(hop) = self.pool.make_room(arrival, &needed) {
                        self.endpoint.unreachable(now, &hop, Obstacle::NoWay);
                    }
                }
                Some(pool::News::Nothing) => {}
                None => return,
            }
            self.deliver();
            news = self.pool.try_next();
        }
        if let Some(pool::News::Message(hop, message)) = news {
            self.hear(self.now(), hop, &message);
        }
    }

    /// A message. Of a source that is silenced only what belongs to something that stands.
    fn hear(&mut self, now: Time, from: Hop, message: &[u8]) {
        if !self.is_unheard(now, &from, message) {
            self.show(false, &from, message);
            let connection = from.connection;
            let sensible = self.endpoint.receive(now, from, message);
            self.judge_query(now);
            if let Some(fault) = self.endpoint.take_fault() {
                self.complaints.tell(now, &fault);
            }
            if let Some(id) = connection.filter(|_| sensible) {
                self.pool.made_sense(id);
            }
        } else if self.endpoint.receive_silenced(now, from.clone(), message) {
            self.show(false, &from, message);
        }
    }

    fn judge_query(&mut self, now: Time) {
        let Some((query, screen)) = self.endpoint.take_query().zip(self.screen.as_mut()) else { return };
        let source = query.source.ip();
        if let Some(span) = screen.0.query(now, &query)
            && !self.endpoint.deals_with(now, source)
        {
            self.silence.add(now, source, span);
        }
    }

    fn registered(&mut self, id: RegistrationId, state: RegistrationState) {
        let over = state == RegistrationState::Ended;
        if let Some(watch) = self.registrations.get(&id) {
            watch.send_replace(state);
        }
        if over {
            self.registrations.remove(&id);
        }
    }

    fn watch(&mut self, id: RegistrationId) -> RegistrationWatch {
        let (sender, receiver) = watch::channel(RegistrationState::Trying);
        self.registrations.insert(id, sender);
        receiver
    }

    /// A datagram, and those that wait behind it.
    fn take(&mut self, first: io::Result<(usize, SocketAddr)>, buffer: &mut [u8]) {
        let now = self.now();
        let mut received = first;
        for left in (0..BATCH).rev() {
            match received {
                Ok((length, from)) => {
                    self.hear(now, from.into(), buffer.get(..length).unwrap_or_default());
                    self.deliver();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The news of an earlier datagram.
                Err(error) => {
                    tracing::debug!(%error, "receive on the SIP socket");
                    self.hear_network();
                }
            }
            // What is read is taken: the next turn reads anew.
            if left == 0 {
                return;
            }
            received = self.socket.try_recv_from(buffer);
        }
    }

    /// Everything that the endpoint has to send and to tell. What cannot be sent over a connection
    /// makes it look for another way, which gives more to send.
    fn deliver(&mut self) {
        loop {
            self.drain();
            let Some(hop) = self.gone.pop() else { return };
            let now = self.now();
            match hop.transport {
                Transport::Udp => self.endpoint.undelivered(now, &hop, Obstacle::NoRoute),
                _ => self.endpoint.unreachable(now, &hop, Obstacle::NoWay),
            }
        }
    }

    /// A datagram; whether it has left, or may leave when it is sent again.
    fn send(&mut self, to: &Hop, bytes: &[u8]) -> bool {
        let address = self.written(to.address);
        let mut hopeless = false;
        for _ in 0..TRIES {
            let Err(error) = self.socket.try_send_to(bytes, address) else { return true };
            tracing::debug!(%to, %error, "send on the SIP socket");
            // The kernel may tell here of an earlier datagram, to whomever that went, and this one has not left.
            if !self.hear_network() {
                hopeless = is_hopeless(error.kind());
                break;
            }
        }
        self.unsent += 1;
        !hopeless && self.reach.covers(to)
    }

    /// Takes in what the network says of datagrams that did not arrive. Whether it has said anything.
    fn hear_network(&mut self) -> bool {
        let mut said = false;
        for _ in 0..NOTICES {
            let Some(lost) = undelivered::next(&self.socket) else { break };
            said = true;
            tracing::debug!(to = %lost.to, obstacle = ?lost.obstacle, "a datagram of ours has not arrived");
            let Some(obstacle) = lost.obstacle else { continue };
            self.endpoint.undelivered(self.now(), &lost.to.into(), obstacle);
        }
        said
    }

    /// An address as the socket wants it: one for both families writes IPv4 addresses in the form of IPv6.
    fn written(&self, address: SocketAddr) -> SocketAddr {
        match address {
            SocketAddr::V4(v4) if self.reach.v6 => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            _ => address,
        }
    }

    /// Looks a host up that a dialog names.
    fn locate(&mut self, uri: String) {
        match &self.resolver {
            Some(resolver) if self.searches.len() < SEARCHES => {
                let resolver = resolver.clone();
                self.searches.spawn(async move {
                    let targets = resolver.targets(&uri).await;
                    Found { uri, targets }
                });
            }
            resolver => {
                if resolver.is_some() {
                    tracing::warn!(?uri, "too many hosts are looked up; this one is not");
                }
                self.endpoint.located(self.now(), &uri, Vec::new());
            }
        }
    }

    fn found(&mut self, found: Result<Found, JoinError>) {
        // A search that has panicked is given up by the endpoint's own clock.
        let Ok(Found { uri, targets }) = found else { return };
        let targets = targets.unwrap_or_else(|error| {
            let uri = uri.as_str();
            tracing::warn!(?uri, %error, "a Contact or Record-Route leads nowhere; requests go where its call goes");
            Vec::new()
        });
        self.endpoint.located(self.now(), &uri, targets);
    }

    fn drain(&mut self) {
        while let Some(output) = self.endpoint.poll() {
            if let Output::Send { to, bytes } = &output {
                self.show(true, to, bytes);
            }
            match output {
                Output::Send { to, bytes } if to.transport != Transport::Udp => {
                    if !self.pool.send(&to, bytes) {
                        self.unsent += 1;
                        tracing::debug!(%to, "no connection takes this message");
                        self.gone.push(to);
                    }
                }
                Output::Send { to, bytes } => {
                    if !self.send(&to, &bytes) {
                        self.gone.push(to);
                    }
                }
                Output::Locate { uri } => self.locate(uri),
                Output::Event(SipEvent::Invited { dialog, invite }) => self.offer(dialog, invite),
                Output::Event(event) => self.tell(event),
                Output::Registration { id, state } => self.registered(id, state),
            }
        }
    }

    /// Hands out a new call, or refuses it.
    fn offer(&mut self, dialog: DialogId, invite: Box<Invite>) {
        let now = self.now();
        let judged = self.screen.as_mut().map(|screen| screen.0.call(now, &invite));
        match judged {
            None | Some(Screening::Admit) => {}
            Some(Screening::Refuse(rejection)) => return self.turn_away(dialog, &rejection),
            Some(Screening::Silence(rejection, span)) => {
                self.silence.add(now, invite.source.ip(), span);
                return self.turn_away(dialog, &rejection);
            }
        }
        if let Some(old) = invite.replaces {
            return self.succeed(old, dialog, invite);
        }
        let (owner, events) = mpsc::channel(EVENTS);
        if self.incoming.try_send(Incoming { dialog, invite, events }).is_ok() {
            self.owners.insert(dialog, owner);
            return;
        }
        let retry_after = ("Retry-After".to_owned(), self.retry_after.as_secs().max(1).to_string());
        self.turn_away(dialog, &Rejection { headers: vec![retry_after], ..Rejection::new(503) });
    }

    /// Tells the owner of `old` that a new call takes its place. When it never claims that, the caller gets 480 as from
    /// anyone who does not answer.
    fn succeed(&mut self, old: DialogId, dialog: DialogId, invite: Box<Invite>) {
        if !self.owners.contains_key(&old) {
            return self.turn_away(dialog, &Rejection::new(481));
        }
        let (owner, events) = mpsc::channel(EVENTS);
        self.owners.insert(dialog, owner);
        self.unclaimed.insert(dialog, events);
        self.tell(SipEvent::TakenOver { dialog: old, by: dialog, invite });
    }

    /// Refuses a new call before anyone has heard of it, so that it costs nothing.
    fn turn_away(&mut self, dialog: DialogId, rejection: &Rejection) {
        if let Err(error) = self.endpoint.turn_away(dialog, rejection) {
            tracing::warn!(%error, "refuse a new call");
        }
    }

    fn tell(&mut self, event: SipEvent) {
        let (dialog, last) = (event.dialog(), event.is_last());
        let Some(owner) = self.owners.get(&dialog) else { return };
        let told = owner.try_send(event);
        match &told {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                let call_id = self.endpoint.call_id(dialog);
                tracing::warn!(?call_id, %dialog, "the owner of a call does not read its events");
            }
            // After a refusal or a CANCEL nobody waits for what the far end still says.
            Err(TrySendError::Closed(_)) => tracing::debug!(%dialog, "the owner of a call has let go of it"),
        }
        if last || told.is_err() {
            self.owners.remove(&dialog);
            self.unclaimed.remove(&dialog);
        }
        if told.is_err() && !last {
            self.drop_call(dialog);
        }
    }

    /// Hangs up calls whose owner is gone.
    fn sweep(&mut self) {
        let gone =
            |(dialog, owner): (&DialogId, &mpsc::Sender<SipEvent>)| owner.is_closed().then_some(*dialog);
        let gone: Vec<DialogId> = self.owners.iter().filter_map(gone).collect();
        for dialog in gone {
            self.owners.remove(&dialog);
            self.drop_call(dialog);
        }
    }

    fn drop_call(&mut self, dialog: DialogId) {
        // A call that has ended by itself meanwhile needs nothing.
        let _ = self.endpoint.hangup(self.now(), dialog, &[]);
    }

    /// Closes the door and hangs up; returns until when answers are waited for.
    fn say_goodbye(&mut self) -> Time {
        self.orders.close();
        self.endpoint.set_admission(Admission::Refusing);
        let dialogs: Vec<DialogId> = self.endpoint.dialogs().collect();
        for dialog in dialogs {
            self.drop_call(dialog);
        }
        for id in self.endpoint.registrations() {
            let now = self.now();
            self.endpoint.unregister(now, id);
        }
        self.now().saturating_add(FAREWELL)
    }

    fn own(&mut self, dialog: DialogId) -> mpsc::Receiver<SipEvent> {
        let (owner, events) = mpsc::channel(EVENTS);
        self.owners.insert(dialog, owner);
        events
    }
}

/// What was found of a host.
#[derive(Debug)]
struct Found {
    uri: String,
    targets: Result<Vec<Hop>, SipError>,
}

/// Whether a datagram that could not be sent for this reason is not worth another try.
fn is_hopeless(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{AddrNotAvailable, HostUnreachable, InvalidInput, NetworkUnreachable};
    matches!(kind, NetworkUnreachable | HostUnreachable | AddrNotAvailable | InvalidInput)
}

/// Where datagrams of a socket can go. One for IPv6 takes IPv4 along where it is bound to no address of its own.
fn reach(socket: &UdpSocket, local: SocketAddr) -> Reach {
    let both = local.ip().is_unspecified() && !SockRef::from(socket).only_v6().unwrap_or(true);
    Reach { v4: local.is_ipv4() || both, v6: local.is_ipv6() }
}

fn open(listen: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(listen), Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    // The kernel gives what its limit allows; less is no fault.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    undelivered::keep(&socket, listen.is_ipv6());
    socket.bind(&listen.into())?;
    UdpSocket::from_std(socket.into())
}
