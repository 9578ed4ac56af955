//! The way out: what is to be sent and told, and what is to be done later.

use crate::hop::Hop;
use std::collections::VecDeque;

use crate::config::Time;
use crate::event::{Counters, DialogId, Output, SipEvent};
use crate::schedule::{Chore, Due, Schedule};

/// Outputs, alarms and counts of one endpoint; every room of it writes here.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) schedule: Schedule,
    pub(crate) counters: Counters,
}

impl Wire {
    pub(crate) fn send(&mut self, to: Hop, bytes: Vec<u8>) {
        self.counters.sent += 1;
        self.outputs.push_back(Output::Send { to, bytes });
    }

    pub(crate) fn tell(&mut self, event: SipEvent) {
        self.outputs.push_back(Output::Event(event));
    }

    pub(crate) fn remind(&mut self, at: Time, dialog: DialogId, chore: Chore) {
        self.schedule.set(at, Due::Dialog(dialog, chore));
    }
}
