//! A thin UDP driver: one task that owns the socket and the [`Endpoint`](crate::Endpoint).

use std::io;
use std::net::SocketAddr;

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};

use crate::config::{Admission, Config};
use crate::endpoint::Endpoint;
use crate::event::{Counters, DialogId, Invite, SipEvent};
use crate::order::{Outbound, Rejection, SipError};

/// A new call, with the channel of everything that happens in it from now on.
#[derive(Debug)]
pub struct Incoming {
    /// The dialog, for the verbs.
    pub dialog: DialogId,
    /// What the INVITE said.
    pub invite: Box<Invite>,
    /// What happens in the dialog; closed after its last event. An owner that drops it has the call
    /// hung up.
    pub events: mpsc::Receiver<SipEvent>,
}

/// The task's side: socket, endpoint, orders.
#[derive(Debug)]
pub struct Driver {
    socket: UdpSocket,
    endpoint: Endpoint,
    orders: mpsc::Receiver<Order>,
    incoming: mpsc::Sender<Incoming>,
}

/// The callers' side of the driver. Clones share it.
#[derive(Debug, Clone)]
pub struct SipHandle {
    orders: mpsc::Sender<Order>,
    local: SocketAddr,
}

type Reply<T> = oneshot::Sender<Result<T, SipError>>;
type Headers = Vec<(String, String)>;

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
    /// Binds a socket. `config.advertised` with port 0 takes the port that was bound, and with an
    /// unspecified address takes the bound address.
    ///
    /// Spawn [`run`](Self::run); read the receiver, which gets every new call. When it is full a new
    /// call is refused with 503.
    ///
    /// # Errors
    /// Those of binding the socket.
    pub async fn bind(
        listen: SocketAddr,
        config: Config,
    ) -> io::Result<(Self, SipHandle, mpsc::Receiver<Incoming>)> {
        let socket = UdpSocket::bind(listen).await?;
        let local = socket.local_addr()?;
        let (orders_in, orders) = mpsc::channel(256);
        let (incoming, invited) = mpsc::channel(256);
        let driver = Self { socket, endpoint: Endpoint::new(config), orders, incoming };
        Ok((driver, SipHandle { orders: orders_in, local }, invited))
    }

    /// Runs until [`SipHandle::stop`] or until every handle is gone.
    pub async fn run(mut self) {
        while let Some(order) = self.orders.recv().await {
            let _ = (&self.socket, &self.endpoint, &self.incoming);
            if matches!(order, Order::Stop) {
                return;
            }
        }
    }
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
    /// peers have answered or 2 seconds have passed. Returns when the order is given, not when the
    /// task has ended; await the task for that.
    pub async fn stop(&self) {
        let _ = self.orders.send(Order::Stop).await;
    }

    async fn ask<T>(&self, order: impl FnOnce(Reply<T>) -> Order) -> Result<T, SipError> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(order(reply)).await.map_err(|_| SipError::Stopped)?;
        answer.await.map_err(|_| SipError::Stopped)?
    }
}
