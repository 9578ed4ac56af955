//! What was answered for good, so that a copy of its request gets the same answer again.
//!
//! It stands for the states of a server transaction after its answer (Completed of RFC 3261 section
//! 17.2.2, Accepted of RFC 6026) at a tenth of their memory: the key and the bytes of the answer.

use crate::hop::Hop;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use sipx_sip::TransactionKey;

use crate::config::Time;

/// The answers of the last 64 T1. When full, the oldest is forgotten; its peer has most likely had
/// it by then.
#[derive(Debug)]
pub(crate) struct Answered {
    answers: HashMap<Arc<TransactionKey>, Answer>,
    order: VecDeque<(Time, Arc<TransactionKey>)>,
    most: usize,
}

/// How a copy of the request is answered.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// With these bytes.
    Repeat(Hop, Vec<u8>),
    /// Not at all: the dialog repeats the 200 itself until its ACK comes.
    Silence,
}

impl Answered {
    pub(crate) fn new(most: usize) -> Self {
        Self { answers: HashMap::new(), order: VecDeque::new(), most: most.max(1) }
    }

    pub(crate) fn len(&self) -> usize {
        self.answers.len()
    }

    pub(crate) fn get(&self, key: &TransactionKey) -> Option<&Answer> {
        self.answers.get(key)
    }

    pub(crate) fn remember(&mut self, until: Time, key: TransactionKey, answer: Answer) {
        while self.answers.len() >= self.most {
            self.forget_oldest();
        }
        let key = Arc::new(key);
        if self.answers.insert(Arc::clone(&key), answer).is_none() {
            self.order.push_back((until, key));
        }
    }

    pub(crate) fn expire(&mut self, now: Time) {
        while self.next().is_some_and(|at| at <= now) {
            self.forget_oldest();
        }
    }

    /// When the oldest is to be forgotten. All live equally long, so they are in order.
    pub(crate) fn next(&self) -> Option<Time> {
        self.order.front().map(|(at, _)| *at)
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.answers.remove(&key);
        }
    }
}
