//! The callers' side of the driver: every verb as an order to the loop.

use std::net::SocketAddr;

use tokio::sync::{mpsc, oneshot, watch};

use super::Driver;
use super::dns::Reach;
use super::tls::Identity;
use crate::config::Admission;
use crate::event::{Counters, DialogId, SipEvent};
use crate::hop::Hop;
use crate::order::{Answering, InDialog, Outbound, Refer, Rejection, SipError};
use crate::registration::{Account, RegistrationId, RegistrationState};

/// The callers' side of the driver. Clones share it.
#[derive(Debug, Clone)]
pub struct SipHandle {
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) local: SocketAddr,
    pub(super) bound: Bound,
    pub(super) reach: Reach,
}

/// The addresses that listeners are bound to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bound {
    /// TCP.
    pub tcp: Option<SocketAddr>,
    /// TLS.
    pub tls: Option<SocketAddr>,
    /// WebSockets in the clear.
    pub ws: Option<SocketAddr>,
    /// WebSockets under TLS.
    pub wss: Option<SocketAddr>,
}

/// The state of a registration as it changes. Dropping it changes nothing.
pub type RegistrationWatch = watch::Receiver<RegistrationState>;

type Reply<T> = oneshot::Sender<Result<T, SipError>>;
type Headers = Vec<(String, String)>;
type Placed = (DialogId, mpsc::Receiver<SipEvent>);

/// A verb on its way to the loop.
#[derive(Debug)]
pub(super) enum Order {
    Ring(DialogId, Option<String>, Reply<()>),
    Answer(DialogId, String, Headers, Reply<Answering>),
    Reject(DialogId, Rejection, Reply<()>),
    Bye(DialogId, Headers, Reply<()>),
    Hangup(DialogId, Headers, Reply<()>),
    AnswerReoffer(DialogId, Result<String, Rejection>, Reply<()>),
    Reoffer(DialogId, String, Reply<()>),
    AskForOffer(DialogId, Reply<()>),
    Acknowledge(DialogId, String, Reply<()>),
    Inside(DialogId, Box<InDialog>, Reply<()>),
    Claim(DialogId, Reply<mpsc::Receiver<SipEvent>>),
    Refer(DialogId, Box<Refer>, Reply<()>),
    AnswerRefer(DialogId, Result<(), u16>, Reply<()>),
    ReferProgress(DialogId, u16, String, Reply<()>),
    Invite(Box<Outbound>, Reply<Placed>),
    Cancel(DialogId, Reply<()>),
    Register(Box<Account>, Reply<(RegistrationId, RegistrationWatch)>),
    Unregister(RegistrationId, Reply<()>),
    SetTargets(RegistrationId, Vec<Hop>, Reply<()>),
    Identity(Identity, Reply<()>),
    Admission(Admission, Reply<()>),
    Counters(Reply<Counters>),
    Stop,
}

impl Driver {
    pub(super) fn obey(&mut self, order: Order) {
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
            Order::Cancel(dialog, reply) => drop(reply.send(endpoint.cancel(now, dialog))),
            Order::Invite(call, reply) => {
                let placed = endpoint.invite(now, &call);
                drop(reply.send(placed.map(|dialog| (dialog, self.own(dialog)))));
            }
            other => self.obey_in_call(other),
        }
    }

    /// Orders inside an answered call.
    fn obey_in_call(&mut self, order: Order) {
        let now = self.now();
        let endpoint = &mut self.endpoint;
        match order {
            Order::AnswerReoffer(dialog, answer, reply) => {
                let answered = match answer {
                    Ok(sdp) => endpoint.answer_reoffer(now, dialog, Ok(&sdp)),
                    Err(rejection) => endpoint.answer_reoffer(now, dialog, Err(rejection)),
                };
                drop(reply.send(answered));
            }
            Order::Reoffer(dialog, sdp, reply) => drop(reply.send(endpoint.reoffer(now, dialog, &sdp))),
            Order::AskForOffer(dialog, reply) => drop(reply.send(endpoint.ask_for_offer(now, dialog))),
            Order::Acknowledge(dialog, sdp, reply) => {
                drop(reply.send(endpoint.acknowledge(now, dialog, &sdp)));
            }
            Order::Inside(dialog, request, reply) => {
                drop(reply.send(endpoint.request_inside(now, dialog, &request)));
            }
            Order::Refer(dialog, refer, reply) => drop(reply.send(endpoint.refer(now, dialog, &refer))),
            Order::AnswerRefer(dialog, answer, reply) => {
                drop(reply.send(endpoint.answer_refer(now, dialog, answer)));
            }
            Order::ReferProgress(dialog, code, reason, reply) => {
                drop(reply.send(endpoint.refer_progress(now, dialog, code, &reason)));
            }
            other => self.obey_at_large(other),
        }
    }

    /// Orders that concern no call.
    fn obey_at_large(&mut self, order: Order) {
        let now = self.now();
        match order {
            Order::Claim(dialog, reply) => {
                let claimed = self.unclaimed.remove(&dialog);
                drop(reply.send(claimed.ok_or(SipError::NoSuchDialog(dialog))));
            }
            Order::Register(account, reply) => {
                let begun = self.endpoint.register(now, &account);
                drop(reply.send(begun.map(|id| (id, self.watch(id)))));
            }
            Order::Unregister(id, reply) => {
                self.endpoint.unregister(now, id);
                drop(reply.send(Ok(())));
            }
            Order::SetTargets(id, targets, reply) => {
                drop(reply.send(self.endpoint.set_targets(id, targets)));
            }
            Order::Identity(identity, reply) => {
                self.pool.replace_identity(identity);
                drop(reply.send(Ok(())));
            }
            Order::Admission(admission, reply) => {
                self.endpoint.set_admission(admission);
                drop(reply.send(Ok(())));
            }
            Order::Counters(reply) => {
                let connections = self.pool.len();
                let counters = Counters { unsent: self.unsent, connections, ..self.endpoint.counters() };
                drop(reply.send(Ok(counters)));
            }
            // Everything else has been obeyed, and a stop is the loop's.
            _ => {}
        }
    }
}

impl SipHandle {
    /// The address that the UDP socket is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Where our datagrams can go.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// The addresses that the other listeners are bound to.
    pub fn bound(&self) -> Bound {
        self.bound
    }

    /// [`Endpoint::reoffer`](crate::Endpoint::reoffer).
    ///
    /// # Errors
    /// Those of the endpoint's function of this name; [`SipError::Stopped`] when the driver has ended.
    pub async fn reoffer(&self, dialog: DialogId, sdp: String) -> Result<(), SipError> {
        self.ask(|reply| Order::Reoffer(dialog, sdp, reply)).await
    }

    /// [`Endpoint::ask_for_offer`](crate::Endpoint::ask_for_offer).
    ///
    /// # Errors
    /// Those of the endpoint's function of this name; [`SipError::Stopped`] when the driver has ended.
    pub async fn ask_for_offer(&self, dialog: DialogId) -> Result<(), SipError> {
        self.ask(|reply| Order::AskForOffer(dialog, reply)).await
    }

    /// [`Endpoint::acknowledge`](crate::Endpoint::acknowledge).
    ///
    /// # Errors
    /// Those of the endpoint's function of this name; [`SipError::Stopped`] when the driver has ended.
    pub async fn acknowledge(&self, dialog: DialogId, sdp: String) -> Result<(), SipError> {
        self.ask(|reply| Order::Acknowledge(dialog, sdp, reply)).await
    }

    /// [`Endpoint::request_inside`](crate::Endpoint::request_inside).
    ///
    /// # Errors
    /// Those of the endpoint's function of this name; [`SipError::Stopped`] when the driver has ended.
    pub async fn request_inside(&self, dialog: DialogId, request: InDialog) -> Result<(), SipError> {
        self.ask(|reply| Order::Inside(dialog, Box::new(request), reply)).await
    }

    /// [`Endpoint::refer`](crate::Endpoint::refer).
    ///
    /// # Errors
    /// Those of the endpoint's function of this name; [`SipError::Stopped`] when the driver has ended.
    pub async fn refer(&self, dialog: DialogId, refer: Refer) -> Result<(), SipError> {
        self.ask(|reply| Order::Refer(dialog, Box::new(refer), reply)).await
    }

    /// The events of a call that takes the place of another, as [`SipEvent::TakenOver`] named it. Until it is answered or
    /// rejected the other call stands.
    ///
    /// # Errors
    /// The call has ended meanwhile; [`SipError::Stopped`] when the driver has ended.
    pub async fn claim(&self, dialog: DialogId) -> Result<mpsc::Receiver<SipEvent>, SipError> {
        self.ask(|reply| Order::Claim(dialog, reply)).await
    }

    /// [`Endpoint::answer_refer`](crate::Endpoint::answer_refer).
    ///
    /// # Errors
    /// Those of the endpoint's function of this name; [`SipError::Stopped`] when the driver has ended.
    pub async fn answer_refer(&self, dialog: DialogId, answer: Result<(), u16>) -> Result<(), SipError> {
        self.ask(|reply| Order::AnswerRefer(dialog, answer, reply)).await
    }

    /// [`Endpoint::refer_progress`](crate::Endpoint::refer_progress).
    ///
    /// # Errors
    /// Those of the endpoint's function of this name; [`SipError::Stopped`] when the driver has ended.
    pub async fn refer_progress(&self, dialog: DialogId, code: u16, reason: String) -> Result<(), SipError> {
        self.ask(|reply| Order::ReferProgress(dialog, code, reason, reply)).await
    }

    /// [`Endpoint::register`](crate::Endpoint::register), with its state as it changes.
    ///
    /// # Errors
    /// Those of the endpoint's function of this name; [`SipError::Stopped`] when the driver has ended.
    pub async fn register(&self, account: Account) -> Result<(RegistrationId, RegistrationWatch), SipError> {
        self.ask(|reply| Order::Register(Box::new(account), reply)).await
    }

    /// [`Endpoint::unregister`](crate::Endpoint::unregister). [`stop`](Self::stop) does it for every
    /// registration.
    ///
    /// # Errors
    /// Those of the endpoint's function of this name; [`SipError::Stopped`] when the driver has ended.
    pub async fn unregister(&self, id: RegistrationId) -> Result<(), SipError> {
        self.ask(|reply| Order::Unregister(id, reply)).await
    }

    /// [`Endpoint::set_targets`](crate::Endpoint::set_targets).
    ///
    /// # Errors
    /// Those of the endpoint's function of this name; [`SipError::Stopped`] when the driver has ended.
    pub async fn set_targets(&self, id: RegistrationId, targets: Vec<Hop>) -> Result<(), SipError> {
        self.ask(|reply| Order::SetTargets(id, targets, reply)).await
    }

    /// Replaces our certificate: new connections get it, old ones go on.
    ///
    /// # Errors
    /// [`SipError::Stopped`] when the driver has ended.
    pub async fn set_identity(&self, identity: Identity) -> Result<(), SipError> {
        self.ask(|reply| Order::Identity(identity, reply)).await
    }

    /// [`Endpoint::ring`](crate::Endpoint::ring).
    ///
    /// # Errors
    /// Those of the endpoint's function of this name; [`SipError::Stopped`] when the driver has ended.
    pub async fn ring(&self, dialog: DialogId, sdp: Option<String>) -> Result<(), SipError> {
        self.ask(|reply| Order::Ring(dialog, sdp, reply)).await
    }

    /// [`Endpoint::answer`](crate::Endpoint::answer).
    ///
    /// # Errors
    /// Those of the endpoint's function of this name; [`SipError::Stopped`] when the driver has ended.
    pub async fn answer(
        &self,
        dialog: DialogId,
        sdp: String,
        headers: Headers,
    ) -> Result<Answering, SipError> {
        self.ask(|reply| Order::Answer(dialog, sdp, headers, reply)).await
    }

    /// [`Endpoint::reject`](crate::Endpoint::reject).
    ///
    /// # Errors
    /// Those of the endpoint's function of this name; [`SipError::Stopped`] when the driver has ended.
    pub async fn reject(&self, dialog: DialogId, rejection: Rejection) -> Result<(), SipError> {
        self.ask(|reply| Order::Reject(dialog, rejection, reply)).await
    }

    /// [`Endpoint::bye`](crate::Endpoint::bye).
    ///
    /// # Errors
    /// Those of the endpoint's function of this name; [`SipError::Stopped`] when the driver has ended.
    pub async fn bye(&self, dialog: DialogId, headers: Headers) -> Result<(), SipError> {
        self.ask(|reply| Order::Bye(dialog, headers, reply)).await
    }

    /// [`Endpoint::hangup`](crate::Endpoint::hangup).
    ///
    /// # Errors
    /// Those of the endpoint's function of this name; [`SipError::Stopped`] when the driver has ended.
    pub async fn hangup(&self, dialog: DialogId, headers: Headers) -> Result<(), SipError> {
        self.ask(|reply| Order::Hangup(dialog, headers, reply)).await
    }

    /// [`Endpoint::answer_reoffer`](crate::Endpoint::answer_reoffer).
    ///
    /// # Errors
    /// Those of the endpoint's function of this name; [`SipError::Stopped`] when the driver has ended.
    pub async fn answer_reoffer(
        &self,
        dialog: DialogId,
        answer: Result<String, Rejection>,
    ) -> Result<(), SipError> {
        self.ask(|reply| Order::AnswerReoffer(dialog, answer, reply)).await
    }

    /// [`Endpoint::invite`](crate::Endpoint::invite), with the channel of what happens in the new dialog.
    ///
    /// # Errors
    /// Those of the endpoint's function of this name; [`SipError::Stopped`] when the driver has ended.
    pub async fn invite(&self, call: Outbound) -> Result<(DialogId, mpsc::Receiver<SipEvent>), SipError> {
        self.ask(|reply| Order::Invite(Box::new(call), reply)).await
    }

    /// [`Endpoint::cancel`](crate::Endpoint::cancel).
    ///
    /// # Errors
    /// Those of the endpoint's function of this name; [`SipError::Stopped`] when the driver has ended.
    pub async fn cancel(&self, dialog: DialogId) -> Result<(), SipError> {
        self.ask(|reply| Order::Cancel(dialog, reply)).await
    }

    /// [`Endpoint::set_admission`](crate::Endpoint::set_admission).
    ///
    /// # Errors
    /// Those of the endpoint's function of this name; [`SipError::Stopped`] when the driver has ended.
    pub async fn set_admission(&self, admission: Admission) -> Result<(), SipError> {
        self.ask(|reply| Order::Admission(admission, reply)).await
    }

    /// What the endpoint has counted.
    ///
    /// # Errors
    /// [`SipError::Stopped`] when the driver has ended.
    pub async fn counters(&self) -> Result<Counters, SipError> {
        self.ask(Order::Counters).await
    }

    /// Ends the driver: new calls are refused, every call is hung up, every account unregistered, and
    /// the task ends when the peers have answered or 2 seconds have passed. It returns when the order is given; await the
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
