//! A thin UDP driver: one task that owns the socket and the [`Endpoint`].
//!
//! The loop never waits for a peer or for an owner of a call: what the socket or a channel does not
//! take at once is dropped and counted, or ends that call. Timers go before orders, orders before the
//! network, so that neither a flood nor a burst of verbs delays a retransmission.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::config::{Admission, Config, Time};
use crate::endpoint::Endpoint;
use crate::event::{Counters, DialogId, Invite, Output, SipEvent};
use crate::order::{Outbound, Rejection, SipError};

/// Verbs that wait for the loop. When full, the caller of a verb waits.
const ORDERS: usize = 256;
/// New calls that nobody has taken yet. When full, a further one gets 503 with `Retry-After`.
const INCOMING: usize = 256;
/// Events of one dialog that its owner has not read. When full, the call is hung up and the channel
/// is closed: an owner that does not read cannot hold a call.
const EVENTS: usize = 32;
/// Datagrams that are taken before timers and orders are looked at again.
const BATCH: usize = 64;
/// The socket's receive buffer in bytes: about a second of 1,000 calls per second.
const RECEIVE_BUFFER: usize = 4 << 20;
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
    origin: Instant,
    unsent: u64,
    retry_after: Duration,
}

/// The callers' side of the driver. Clones share it.
#[derive(Debug, Clone)]
pub struct SipHandle {
    orders: mpsc::Sender<Order>,
    local: SocketAddr,
}

type Reply<T> = oneshot::Sender<Result<T, SipError>>;
type Headers = Vec<(String, String)>;

/// A verb on its way to the loop.
#[derive(Debug)]
enum Order {
    Ring(DialogId, Option<String>, Reply<()>),
    Answer(DialogId, String, Headers, Reply<()>),
    Reject(DialogId, Rejection, Reply<()>),
    Bye(DialogId, Headers, Reply<()>),
    Hangup(DialogId, Headers, Reply<()>),
    AnswerReoffer(DialogId, Result<String, u16>, Reply<()>),
    Invite(Box<Outbound>, Reply<(DialogId, mpsc::Receiver<SipEvent>)>),
    Cancel(DialogId, Reply<()>),
    Admission(Admission, Reply<()>),
    Counters(Reply<Counters>),
    Stop,
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
        mut config: Config,
    ) -> io::Result<(Self, SipHandle, mpsc::Receiver<Incoming>)> {
        let socket = open(listen)?;
        // Before its first readiness is known a socket takes no datagram at once.
        socket.writable().await?;
        let local = socket.local_addr()?;
        if config.advertised.ip().is_unspecified() {
            config.advertised.set_ip(local.ip());
        }
        if config.advertised.port() == 0 {
            config.advertised.set_port(local.port());
        }
        let (orders_in, orders) = mpsc::channel(ORDERS);
        let (incoming, invited) = mpsc::channel(INCOMING);
        let driver = Self {
            socket,
            retry_after: config.retry_after,
            endpoint: Endpoint::new(config),
            orders,
            incoming,
            owners: HashMap::new(),
            origin: Instant::now(),
            unsent: 0,
        };
        Ok((driver, SipHandle { orders: orders_in, local }, invited))
    }

    /// Runs until [`SipHandle::stop`] or until every handle is gone, and then says goodbye.
    pub async fn run(mut self) {
        let mut buffer = vec![0; 65_536];
        let mut sweep = SWEEP;
        let mut farewell = None;
        loop {
            self.deliver();
            if farewell.is_some_and(|until| self.owners.is_empty() || self.now() >= until) {
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
            }
        }
    }

    fn now(&self) -> Time {
        self.origin.elapsed()
    }

    /// A datagram, and those that wait behind it.
    fn take(&mut self, first: io::Result<(usize, SocketAddr)>, buffer: &mut [u8]) {
        let now = self.now();
        let mut received = first;
        for _ in 0..BATCH {
            match received {
                Ok((length, from)) => {
                    self.endpoint.receive(now, from, buffer.get(..length).unwrap_or_default());
                    self.deliver();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // An ICMP error of an earlier datagram: its transaction will time out.
                Err(error) => tracing::debug!(%error, "receive on the SIP socket"),
            }
            received = self.socket.try_recv_from(buffer);
        }
    }

    /// Everything that the endpoint has to send and to tell.
    fn deliver(&mut self) {
        while let Some(output) = self.endpoint.poll() {
            match output {
                Output::Send { to, bytes } => {
                    if let Err(error) = self.socket.try_send_to(&bytes, to.address) {
                        self.unsent += 1;
                        tracing::debug!(%to, %error, "send on the SIP socket");
                    }
                }
                Output::Event(SipEvent::Invited { dialog, invite }) => self.offer(dialog, invite),
                Output::Event(event) => self.tell(event),
                Output::Registration { .. } => {}
            }
        }
    }

    /// Hands out a new call, or refuses it.
    fn offer(&mut self, dialog: DialogId, invite: Box<Invite>) {
        let (owner, events) = mpsc::channel(EVENTS);
        if self.incoming.try_send(Incoming { dialog, invite, events }).is_ok() {
            self.owners.insert(dialog, owner);
            return;
        }
        let retry_after = ("Retry-After".to_owned(), self.retry_after.as_secs().max(1).to_string());
        let rejection = Rejection { headers: vec![retry_after], ..Rejection::new(503) };
        let now = self.now();
        if let Err(error) = self.endpoint.reject(now, dialog, &rejection) {
            tracing::warn!(%error, "refuse a call that nobody takes");
        }
    }

    fn tell(&mut self, event: SipEvent) {
        let (dialog, last) = (event.dialog(), event.is_last());
        let Some(owner) = self.owners.get(&dialog) else { return };
        let told = owner.try_send(event);
        if let Err(error) = &told {
            tracing::warn!(%dialog, %error, "the owner of a call does not read its events");
        }
        if last || told.is_err() {
            self.owners.remove(&dialog);
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
        self.now().saturating_add(FAREWELL)
    }

    fn obey(&mut self, order: Order) {
        let now = self.now();
        let endpoint = &mut self.endpoint;
        // Whoever asked may have stopped waiting; then nobody needs the reply.
        match order {
            Order::Ring(dialog, sdp, reply) => drop(reply.send(endpoint.ring(now, dialog, sdp.as_deref()))),
            Order::Answer(dialog, sdp, headers, reply) => {
                drop(reply.send(endpoint.answer(now, dialog, &sdp, &headers)));
            }
            Order::Reject(dialog, rejection, reply) => {
                drop(reply.send(endpoint.reject(now, dialog, &rejection)));
            }
            Order::Bye(dialog, headers, reply) => drop(reply.send(endpoint.bye(now, dialog, &headers))),
            Order::Hangup(dialog, headers, reply) => {
                drop(reply.send(endpoint.hangup(now, dialog, &headers)));
            }
            Order::AnswerReoffer(dialog, answer, reply) => {
                let answer = answer.as_deref().map_err(|code| *code);
                drop(reply.send(endpoint.answer_reoffer(now, dialog, answer)));
            }
            Order::Invite(call, reply) => {
                let placed = endpoint.invite(now, &call);
                drop(reply.send(placed.map(|dialog| (dialog, self.own(dialog)))));
            }
            Order::Cancel(dialog, reply) => drop(reply.send(endpoint.cancel(now, dialog))),
            Order::Admission(admission, reply) => {
                endpoint.set_admission(admission);
                drop(reply.send(Ok(())));
            }
            Order::Counters(reply) => {
                let counters = Counters { unsent: self.unsent, ..endpoint.counters() };
                drop(reply.send(Ok(counters)));
            }
            Order::Stop => {}
        }
    }

    fn own(&mut self, dialog: DialogId) -> mpsc::Receiver<SipEvent> {
        let (owner, events) = mpsc::channel(EVENTS);
        self.owners.insert(dialog, owner);
        events
    }
}

fn open(listen: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(listen), Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    // The kernel gives what its limit allows; less is no fault.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.bind(&listen.into())?;
    UdpSocket::from_std(socket.into())
}

impl SipHandle {
    /// The address that the socket is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// [`Endpoint::ring`].
    pub async fn ring(&self, dialog: DialogId, sdp: Option<String>) -> Result<(), SipError> {
        self.ask(|reply| Order::Ring(dialog, sdp, reply)).await
    }

    /// [`Endpoint::answer`].
    pub async fn answer(&self, dialog: DialogId, sdp: String, headers: Headers) -> Result<(), SipError> {
        self.ask(|reply| Order::Answer(dialog, sdp, headers, reply)).await
    }

    /// [`Endpoint::reject`].
    pub async fn reject(&self, dialog: DialogId, rejection: Rejection) -> Result<(), SipError> {
        self.ask(|reply| Order::Reject(dialog, rejection, reply)).await
    }

    /// [`Endpoint::bye`].
    pub async fn bye(&self, dialog: DialogId, headers: Headers) -> Result<(), SipError> {
        self.ask(|reply| Order::Bye(dialog, headers, reply)).await
    }

    /// [`Endpoint::hangup`].
    pub async fn hangup(&self, dialog: DialogId, headers: Headers) -> Result<(), SipError> {
        self.ask(|reply| Order::Hangup(dialog, headers, reply)).await
    }

    /// [`Endpoint::answer_reoffer`].
    pub async fn answer_reoffer(
        &self,
        dialog: DialogId,
        answer: Result<String, u16>,
    ) -> Result<(), SipError> {
        self.ask(|reply| Order::AnswerReoffer(dialog, answer, reply)).await
    }

    /// [`Endpoint::invite`], with the channel of what happens in the new dialog.
    pub async fn invite(&self, call: Outbound) -> Result<(DialogId, mpsc::Receiver<SipEvent>), SipError> {
        self.ask(|reply| Order::Invite(Box::new(call), reply)).await
    }

    /// [`Endpoint::cancel`].
    pub async fn cancel(&self, dialog: DialogId) -> Result<(), SipError> {
        self.ask(|reply| Order::Cancel(dialog, reply)).await
    }

    /// [`Endpoint::set_admission`].
    pub async fn set_admission(&self, admission: Admission) -> Result<(), SipError> {
        self.ask(|reply| Order::Admission(admission, reply)).await
    }

    /// What the endpoint has counted.
    pub async fn counters(&self) -> Result<Counters, SipError> {
        self.ask(Order::Counters).await
    }

    /// Ends the driver: new calls are refused, every call is hung up, and the task ends when the
    /// peers have answered or 2 seconds have passed. It returns when the order is given; await the
    /// task for its end.
    pub async fn stop(&self) {
        let _ = self.orders.send(Order::Stop).await;
    }

    async fn ask<T>(&self, order: impl FnOnce(Reply<T>) -> Order) -> Result<T, SipError> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(order(reply)).await.map_err(|_| SipError::Stopped)?;
        answer.await.map_err(|_| SipError::Stopped)?
    }
}
