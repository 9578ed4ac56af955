//! From a target that does not answer to the next one (RFC 3263 section 4.3), and which targets have just failed.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use sipx_sip::{HeaderName, Request, TransactionKey, TuEvent};

use super::Endpoint;
use super::outgoing::Again;
use crate::config::Time;
use crate::dialog::State;
use crate::event::DialogId;
use crate::hop::{Hop, Transport};
use crate::message::asks_by_sips;
use crate::schedule::Chore;
use crate::transactions::{Errand, Happening, Job, Owner, TxId};

/// How long a target that has failed is tried after the others.
const AVOIDED: Duration = Duration::from_secs(60);
/// How long large requests go in datagrams to a target that took no connection for one: a filter stays as it is, and
/// costs each request the time until connecting is given up.
const NO_STREAM: Duration = Duration::from_secs(600);
/// Targets that are remembered. When full, those whose time is over are forgotten, and if none is, no more is kept.
const MOST: usize = 1_024;
/// How long a target may say nothing while there are others, in T1: a live one says 100 within 200 ms (RFC 3261 section
/// 17.2.1) and a registrar its challenge, and four datagrams have been sent by then.
pub(super) const SILENCE: u32 = 8;

/// Targets that have failed, and until when they come last.
#[derive(Debug, Default)]
pub(super) struct Avoided(HashMap<(Transport, SocketAddr), Time>);

impl Avoided {
    fn add(&mut self, now: Time, target: &Hop, span: Duration) {
        if self.0.len() >= MOST {
            self.0.retain(|_, until| now < *until);
        }
        if self.0.len() < MOST {
            self.0.insert((target.transport, target.address), now.saturating_add(span));
        }
    }

    /// It has said something.
    pub(super) fn remove(&mut self, target: &Hop) {
        if !self.0.is_empty() {
            self.0.remove(&(target.transport, target.address));
        }
    }

    /// Whether it has failed lately.
    pub(super) fn holds(&self, now: Time, target: &Hop) -> bool {
        self.0.get(&(target.transport, target.address)).is_some_and(|until| now < *until)
    }

    /// The targets in the order in which they are tried.
    pub(super) fn last(&self, now: Time, targets: &[Hop]) -> VecDeque<Hop> {
        let mut order: Vec<Hop> = targets.to_vec();
        order.sort_by_key(|target| self.holds(now, target));
        order.into()
    }
}

impl Endpoint {
    /// A target of a call or an account did not answer, or could not be reached.
    pub(super) fn avoid(&mut self, now: Time, target: &Hop) {
        self.avoided.add(now, target, AVOIDED);
    }

    /// No connection could be had to a target that takes datagrams.
    pub(super) fn avoid_stream(&mut self, now: Time, target: &Hop) {
        self.avoided.add(now, target, NO_STREAM);
    }

    /// Whether a request inside a call can go to another address of its host.
    pub(super) fn has_elsewhere(&self, now: Time, tx: TxId) -> bool {
        let to = self.transactions.request(tx).map(|(_, to)| to);
        let (Some(job), Some(to)) = (self.transactions.job(tx), to) else { return false };
        self.elsewhere(now, job, &to).is_some()
    }

    /// Where a request inside a call goes after this address has failed it (RFC 3263 section 4.3).
    fn elsewhere(&self, now: Time, job: Job, failed: &Hop) -> Option<Hop> {
        use Errand::{
            Ack, Bye, Cancel, Invite, Notify, Prack, Refer, Refresh, Register, Reoffer, Request, SendAway,
        };
        let Owner::Dialog(id) = job.owner else { return None };
        let dialog = self.dialogs.by_id.get(&id)?;
        match job.errand {
            Bye | Notify | Refer | Refresh | Reoffer | Request => {}
            // The targets of a call that is not answered are known otherwise, and so are those of an account; another
            // callee is not where the dialog's peer is.
            Ack(_) | Cancel | Invite | Prack | Register | SendAway => return None,
        }
        if matches!(dialog.state, State::Calling(_)) {
            return None;
        }
        self.following(now, &dialog.path.way(), (failed, job.failed))
    }

    /// Sends a request inside a call to the next address of its host, if there is one.
    pub(super) fn sent_elsewhere(&mut self, now: Time, happening: &Happening, request: &Request) -> bool {
        let (job, failed) = (happening.job, &happening.to);
        let Some(to) = self.elsewhere(now, job, failed) else { return false };
        if !matches!(happening.event, TuEvent::Response(_)) {
            self.avoid(now, failed);
        }
        if let Some(dialog) = self.owner(job) {
            dialog.path.found = Some(to.clone());
        }
        let ours = || self.identity.contact(to.transport, asks_by_sips(request));
        let contact = request.headers.get(&HeaderName::Contact).map(|_| ours());
        let lines = contact.map(|contact| (HeaderName::Contact, contact)).into_iter().collect();
        let seq = self.next_seq(job.owner);
        let failed = job.failed.saturating_add(1);
        let job = Job { rounds: 0, switched: false, plain: false, failed, ..job };
        self.again(now, happening.tx, request, Again { to, seq, job, lines })
    }

    /// Looks after a while whether the target of a call's INVITE has said anything, if there are others.
    pub(super) fn hasten(&mut self, now: Time, id: DialogId, tx: TxId) {
        let Some(State::Calling(calling)) = self.dialogs.by_id.get(&id).map(|dialog| &dialog.state) else {
            return;
        };
        if calling.tx == tx && !calling.targets.is_empty() {
            let at = now.saturating_add(self.config.t1.saturating_mul(SILENCE));
            self.wire.remind(at, id, Chore::TryNext(tx));
        }
    }

    /// The target has said nothing: the INVITE goes to the next one.
    pub(super) fn try_next(&mut self, now: Time, id: DialogId, tx: TxId) {
        let Some(dialog) = self.dialogs.by_id.get_mut(&id) else { return };
        if !dialog.awaits(Chore::TryNext(tx)) {
            return;
        }
        if let State::Calling(calling) = &mut dialog.state
            && !calling.is_cancelled()
        {
            let key =
                self.transactions.request(tx).and_then(|(invite, _)| TransactionKey::from_request(invite));
            dialog.given_up.extend(key);
            let happenings = self.transactions.fail(now, &mut self.wire, tx);
            self.happened(now, happenings);
        }
    }
}
