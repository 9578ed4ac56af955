//! Hosts that the next hop of a dialog is named by (RFC 3261 section 8.1.2, RFC 3263): the driver looks them up, and
//! what is to go there waits meanwhile.

use std::collections::HashMap;
use std::net::IpAddr;

use super::Endpoint;
use crate::config::Time;
use crate::event::Output;
use crate::hop::{Hop, Transport, Way};
use crate::message::{Identity, text};
use crate::path::{choose, usable};
use crate::schedule::Due;
use crate::transactions::{Errand, Job, Owner};

/// How long a message waits for the address of a host, in T1; then it goes where the peer's messages come from. A 200
/// is repeated a few times until then.
const PATIENCE: u32 = 4;
/// How long what was found counts before it is looked up anew; meanwhile and while that goes on it is used.
const FRESH: Time = Time::from_secs(60);
/// Names that are known or looked for. When full, those that are no longer fresh and for which nothing waits are
/// forgotten; where none is, a message goes where the peer's messages come from.
const MOST: usize = 1_024;
/// Messages that wait for all names together. A further one goes where the peer's messages come from.
const MOST_WAITING: usize = 1_024;

/// The hosts that dialogs name.
#[derive(Debug, Default)]
pub(super) struct Names {
    rows: HashMap<String, Row>,
    waiting: usize,
    asked: u32,
}

/// One host.
#[derive(Debug)]
struct Row {
    /// What was found, best first; empty if nothing was, `None` while it is not known yet.
    hops: Option<Vec<Hop>>,
    /// Until when that is fresh.
    until: Time,
    /// The number of the question that is open.
    open: Option<u32>,
    waiting: Vec<Waiting>,
}

/// A request whose way is not known yet.
#[derive(Debug)]
struct Waiting {
    bytes: Vec<u8>,
    way: Way,
    job: Job,
}

impl Names {
    /// What is known of a host.
    fn known(&self, name: &str) -> Option<&[Hop]> {
        self.rows.get(name)?.hops.as_deref()
    }

    /// Whether this host has to be asked for now, and the number of that question.
    fn ask(&mut self, now: Time, name: &str) -> Option<u32> {
        if !self.rows.contains_key(name) {
            if self.rows.len() >= MOST {
                self.rows.retain(|_, row| now < row.until || row.open.is_some());
            }
            if self.rows.len() >= MOST {
                return None;
            }
            let row = Row { hops: None, until: now, open: None, waiting: Vec::new() };
            self.rows.insert(name.to_owned(), row);
        }
        let row = self.rows.get_mut(name)?;
        if now < row.until || row.open.is_some() {
            return None;
        }
        self.asked = self.asked.wrapping_add(1);
        row.open = Some(self.asked);
        row.open
    }

    /// Keeps a message until the host is found; gives it back where there is no room for it. A copy of one that waits
    /// already is not kept.
    fn keep(&mut self, name: &str, message: Waiting) -> Option<Waiting> {
        let full = self.waiting >= MOST_WAITING;
        let Some(row) = self.rows.get_mut(name).filter(|row| row.open.is_some()) else {
            return Some(message);
        };
        if row.waiting.iter().any(|other| is_same_ack(other, &message)) {
            return None;
        }
        if full {
            return Some(message);
        }
        row.waiting.push(message);
        self.waiting += 1;
        None
    }

    /// Enters what was found of a host; the messages that have waited for it.
    fn found(&mut self, now: Time, name: &str, hops: Vec<Hop>) -> Vec<Waiting> {
        let Some(row) = self.rows.get_mut(name) else { return Vec::new() };
        (row.hops, row.until, row.open) = (Some(hops), now.saturating_add(FRESH), None);
        let waiting = std::mem::take(&mut row.waiting);
        self.waiting = self.waiting.saturating_sub(waiting.len());
        waiting
    }

    /// The host of a question that nobody has answered.
    fn unanswered(&self, number: u32) -> Option<String> {
        let row = self.rows.iter().find(|(_, row)| row.open == Some(number));
        row.map(|(name, _)| name.clone())
    }

    /// Whether an alarm still means anything.
    pub(super) fn awaits(&self, number: u32) -> bool {
        self.rows.values().any(|row| row.open == Some(number))
    }
}

/// Whether both are the ACK of one 200, which comes again while its ACK waits.
fn is_same_ack(one: &Waiting, other: &Waiting) -> bool {
    let known = matches!(one.job, Job { owner: Owner::Dialog(_), errand: Errand::Ack(_), .. });
    known && one.job == other.job
}

impl Endpoint {
    /// Takes in where a host leads that [`Output::Locate`] has asked for, best first; nothing if it is not found.
    pub fn located(&mut self, now: Time, uri: &str, targets: Vec<Hop>) {
        for Waiting { bytes, way, job } in self.names.found(now, uri, targets) {
            self.send_inside(now, (bytes, way), job);
        }
    }

    /// Nobody has said in time where a host leads.
    pub(super) fn not_located(&mut self, now: Time, number: u32) {
        if let Some(name) = self.names.unanswered(number) {
            self.located(now, &name, Vec::new());
        }
    }

    /// Sends a request of a dialog on its way, when that is known. Whether it could be begun.
    pub(super) fn send_inside(&mut self, now: Time, (bytes, way): (Vec<u8>, Way), job: Job) -> bool {
        let Some(name) = &way.name else { return self.send_to(now, (bytes, way.hop), job) };
        if let Some(number) = self.names.ask(now, name) {
            let patience = self.config.t1.saturating_mul(PATIENCE);
            self.wire.schedule.set(now.saturating_add(patience), Due::Name(number));
            self.wire.outputs.push_back(Output::Locate { uri: name.clone() });
        }
        if self.names.known(name).is_none() {
            let name = name.clone();
            return match self.names.keep(&name, Waiting { bytes, way, job }) {
                None => true,
                Some(Waiting { bytes, way, job }) => self.send_to(now, (bytes, way.hop), job),
            };
        }
        // Another callee is not where the dialog's peer is.
        let owner = if job.errand == Errand::SendAway { Owner::Nobody } else { job.owner };
        let to = self.aim(now, &way, owner);
        let bytes = by_transport(bytes, (way.hop.transport, to.transport), &self.identity);
        self.send_to(now, (bytes, to), job)
    }

    /// The address of a named host that a request goes to.
    fn aim(&mut self, now: Time, way: &Way, owner: Owner) -> Hop {
        let known = way.name.as_deref().and_then(|name| self.names.known(name)).unwrap_or_default();
        let sound: Vec<Hop> = known.iter().filter(|hop| !self.avoided.holds(now, hop)).cloned().collect();
        // One that has failed lately is better than none.
        let hops = if usable(&sound, &way.hop).is_empty() { known.to_vec() } else { sound };
        let path = match owner {
            Owner::Dialog(id) => self.dialogs.by_id.get_mut(&id).map(|dialog| &mut dialog.path),
            Owner::Nobody | Owner::Registration(_) => None,
        };
        let last = path.as_ref().and_then(|path| path.found.clone());
        let Some(to) = choose(&hops, &way.hop, last.as_ref()) else { return way.hop.clone() };
        if let Some(path) = path {
            path.found = Some(to.clone());
        }
        to
    }

    /// The address of a named host whose turn it is after this one has failed a request: the following one of those that
    /// can be meant from here, those that have failed lately last. `None` where so many have `failed` it as there are.
    pub(super) fn following(&self, now: Time, way: &Way, (last, failed): (&Hop, u8)) -> Option<Hop> {
        let known = way.name.as_deref().and_then(|name| self.names.known(name)).unwrap_or_default();
        let mut hops = usable(known, &way.hop);
        if usize::from(failed).saturating_add(1) >= hops.len() {
            return None;
        }
        let next = hops.iter().position(|hop| hop.is_same(last)).map_or(0, |at| at.saturating_add(1));
        let next = next % hops.len();
        hops.rotate_left(next);
        self.avoided.last(now, &hops).into_iter().find(|hop| !hop.is_same(last))
    }

    /// The addresses that a request may go to, as far as they are known.
    pub(super) fn foreseen(&self, way: &Way) -> Vec<IpAddr> {
        match &way.name {
            None => vec![way.hop.address.ip()],
            Some(name) => {
                let known = self.names.known(name).unwrap_or_default();
                known.iter().map(|hop| hop.address.ip()).collect()
            }
        }
    }

    fn send_to(&mut self, now: Time, (bytes, to): (Vec<u8>, Hop), job: Job) -> bool {
        if let Errand::Ack(_) = job.errand {
            self.wire.send(to, bytes);
            return true;
        }
        self.dispatch(now, (bytes, to), job).is_some()
    }
}

/// A request of ours that was written for one transport, for another one: with its `Via` and our `Contact`.
fn by_transport(bytes: Vec<u8>, (from, to): (Transport, Transport), us: &Identity) -> Vec<u8> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let Some((head, rest)) = head.filter(|_| from != to).and_then(|end| bytes.split_at_checked(end)) else {
        return bytes;
    };
    let mut moved = Vec::with_capacity(bytes.len().saturating_add(32));
    for (number, line) in head.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if number > 0 {
            moved.extend_from_slice(b"\r\n");
        }
        if let Some(via) = line.strip_prefix(b"Via: ") {
            let via = text(via);
            let branch = via.split(";branch=").nth(1).and_then(|rest| rest.split(';').next());
            moved.extend_from_slice(format!("Via: {}", us.via(to, branch.unwrap_or_default())).as_bytes());
        } else if let Some(contact) = line.strip_prefix(b"Contact: ") {
            let sips = contact.starts_with(b"<sips:");
            moved.extend_from_slice(format!("Contact: {}", us.contact(to, sips)).as_bytes());
        } else {
            moved.extend_from_slice(line);
        }
    }
    moved.extend_from_slice(rest);
    moved
}
