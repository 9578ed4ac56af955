//! What is due when.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use sipx_sip::Timer;

use crate::config::Time;
use crate::event::DialogId;
use crate::registration::RegistrationId;
use crate::transactions::TxId;

/// Alarms in the order of their time. An alarm is never taken back: who set it looks, when it rings,
/// whether it still means anything.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    heap: BinaryHeap<Alarm>,
    set: u64,
}

/// Whom an alarm is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Due {
    Transaction(TxId, Timer),
    Dialog(DialogId, Chore),
    Registration(RegistrationId, u32),
    KeepAlive(RegistrationId, u32),
    /// The registrar that was asked by this transaction has said nothing.
    Registrar(RegistrationId, TxId),
    /// Nobody has said where the host leads that was asked for by this number.
    Name(u32),
    /// Other callees of this call can no longer answer, nor ask for credentials.
    Others(DialogId),
}

/// What a dialog wants to do later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chore {
    /// Send the 200 with this CSeq again, or give up.
    RepeatAnswer(u32),
    /// Nobody answered the INVITE.
    GiveUpRinging,
    /// Nobody answered the offer with this CSeq.
    GiveUpReoffer(u32),
    /// The peer did not end the INVITE that was cancelled.
    GiveUpCancel,
    /// Send the provisional response with this number again, or give up.
    RepeatEarly(u32),
    /// The session timer's alarm with this number.
    Session(u32),
    /// Make our offer again after a collision.
    OfferAgain(u32),
    /// The peer did not tell the end of the transfer asked for with this CSeq.
    GiveUpTransfer(u32),
    /// Nobody answered the peer's REFER with this CSeq.
    GiveUpReferred(u32),
    /// Nobody has told the end of a transfer to or by a peer that has hung up.
    GiveUpLeft,
    /// The peer did not answer our offer with this CSeq.
    GiveUpOffer(u32),
    /// The target of our INVITE, whose transaction this is, has said nothing.
    TryNext(TxId),
    /// The time is over that the caller gave its INVITE.
    Expire,
}

impl Schedule {
    pub(crate) fn set(&mut self, at: Time, due: Due) {
        self.set = self.set.wrapping_add(1);
        self.heap.push(Alarm { at, order: self.set, due });
    }

    /// The next alarm if it has rung.
    pub(crate) fn pop(&mut self, now: Time) -> Option<Due> {
        if self.heap.peek()?.at > now {
            return None;
        }
        self.heap.pop().map(|alarm| alarm.due)
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.heap.peek().map(|alarm| alarm.at)
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Throws away what no longer means anything.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Due) -> bool) {
        self.heap.retain(|alarm| keep(&alarm.due));
    }
}

/// `order` keeps alarms of the same time in the order in which they were set.
#[derive(Debug)]
struct Alarm {
    at: Time,
    order: u64,
    due: Due,
}

impl Ord for Alarm {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl PartialOrd for Alarm {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Alarm {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Alarm {}
