//! The whole of SIP for one address: `receive`, `handle_timeout`, `poll`, `timeout`, and the verbs.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::config::{Admission, Config, Time};
use crate::event::{Counters, DialogId, Output};
use crate::order::{Outbound, Rejection, SipError};

/// A SIP endpoint: every transaction and dialog of one address.
///
/// After each call drain [`poll`](Self::poll) to `None`; then wait until [`timeout`](Self::timeout)
/// or the next datagram.
#[derive(Debug)]
pub struct Endpoint {
    config: Config,
    admission: Admission,
    counters: Counters,
    outputs: VecDeque<Output>,
}

impl Endpoint {
    /// An endpoint without any call.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            admission: Admission::Open,
            counters: Counters::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes one datagram as it came from the network.
    pub fn receive(&mut self, _now: Time, _from: SocketAddr, _datagram: &[u8]) {}

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, _now: Time) {}

    /// The next thing to send or to tell, until `None`.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called next.
    pub fn timeout(&self) -> Option<Time> {
        None
    }

    /// Opens or closes the door for new calls.
    pub fn set_admission(&mut self, admission: Admission) {
        self.admission = admission;
    }

    /// What has been counted.
    pub fn counters(&self) -> Counters {
        let _ = (&self.config, self.admission);
        self.counters
    }

    /// 180, or 183 with early media if `sdp` is given. May be repeated before the answer.
    pub fn ring(&mut self, _now: Time, dialog: DialogId, _sdp: Option<String>) -> Result<(), SipError> {
        Err(SipError::NoSuchDialog(dialog))
    }

    /// 200 to the INVITE, sent again until its ACK comes. `sdp` is the answer, or our offer if the
    /// INVITE had none.
    pub fn answer(
        &mut self,
        _now: Time,
        dialog: DialogId,
        _sdp: String,
        _headers: &[(String, String)],
    ) -> Result<(), SipError> {
        Err(SipError::NoSuchDialog(dialog))
    }

    /// Refuses the INVITE; `Ended` follows.
    pub fn reject(&mut self, _now: Time, dialog: DialogId, _rejection: &Rejection) -> Result<(), SipError> {
        Err(SipError::NoSuchDialog(dialog))
    }

    /// Ends an answered call; `Ended` follows when the peer has answered or is given up. Before the
    /// ACK of our 200 the BYE waits for it (RFC 3261 section 15).
    pub fn bye(
        &mut self,
        _now: Time,
        dialog: DialogId,
        _headers: &[(String, String)],
    ) -> Result<(), SipError> {
        Err(SipError::NoSuchDialog(dialog))
    }

    /// Ends the dialog by what its state calls for: `reject` with 480, `cancel` or `bye`.
    pub fn hangup(
        &mut self,
        _now: Time,
        dialog: DialogId,
        _headers: &[(String, String)],
    ) -> Result<(), SipError> {
        Err(SipError::NoSuchDialog(dialog))
    }

    /// Answers `Reoffered`: our SDP, or a code from 300 to 699 (488 fits best).
    pub fn answer_reoffer(
        &mut self,
        _now: Time,
        dialog: DialogId,
        _answer: Result<String, u16>,
    ) -> Result<(), SipError> {
        Err(SipError::NoSuchDialog(dialog))
    }

    /// Places a call.
    pub fn invite(&mut self, _now: Time, _call: &Outbound) -> Result<DialogId, SipError> {
        Err(SipError::Full)
    }

    /// Gives up a call that is not answered yet. `Rejected` with 487 follows; if the answer was on
    /// its way, it is acknowledged and ended with BYE, and `Ended` follows.
    pub fn cancel(&mut self, _now: Time, dialog: DialogId) -> Result<(), SipError> {
        Err(SipError::NoSuchDialog(dialog))
    }
}
