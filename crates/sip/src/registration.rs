//! One account at a registrar: what is registered, and when to try again (RFC 3261 section 10.2).

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use sipx_sip::Uri;

use crate::config::Time;
use crate::digest::{Authentication, Credentials};
use crate::hop::{ConnectionId, Hop};
use crate::message::says_sips;
use crate::random::Random;
use crate::transactions::TxId;

/// Shortest distance of two tries.
const PACE: Duration = Duration::from_secs(1);
/// Longest wait after a failure, before it is spread by a quarter.
const LONGEST_WAIT: Duration = Duration::from_secs(45);
/// Longest `Retry-After` that is believed: a registrar that is back is found within a minute.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);
/// Shortest and longest time that is asked for.
const ASKED: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(86_400));
/// How long before the end of a short grant it is refreshed at the latest.
const MARGIN: Duration = Duration::from_secs(2);

/// An account to register.
#[derive(Debug, Clone)]
pub struct Account {
    /// Request-URI, such as `sip:example.com`.
    pub registrar: String,
    /// Who registers, such as `sip:alice@example.com`: `To` and `From`.
    pub address: String,
    /// Display name in `From`.
    pub display_name: Option<String>,
    /// User part of our `Contact`: whom calls to the account are addressed to.
    pub contact_user: String,
    /// Where the REGISTER goes, best first (name resolution is the caller's).
    pub targets: Vec<Hop>,
    /// URI of an outbound proxy, which the targets then are.
    pub proxy: Option<String>,
    /// What answers a challenge.
    pub credentials: Option<Credentials>,
    /// How long to register for; it is refreshed after three quarters of what is granted, and a short time two seconds
    /// before its end.
    pub expires: Duration,
}

impl Account {
    /// Whether its REGISTER goes to a `sips` URI, or to one first, so that our contact has to be one (RFC 3261 section
    /// 8.1.1.8).
    pub(crate) fn is_sips(&self) -> bool {
        says_sips(&self.registrar) || self.proxy.as_deref().is_some_and(says_sips)
    }
}

/// Names one registration of one endpoint. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistrationId(pub u64);

/// How a registration stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrationState {
    /// The first REGISTER is on its way.
    Trying,
    /// Calls reach us.
    Registered {
        /// When the grant ends.
        until: Time,
        /// When it is refreshed.
        next: Time,
        /// The way that calls of the account are to take (`Service-Route`, RFC 3608), the next hop first: at most eight
        /// URIs of at most 512 bytes. A longer way, or one that cannot be read, is none.
        route: Vec<String>,
    },
    /// The last try failed.
    Failed {
        /// Final code of the registrar; 408 after silence, 503 if no target could be reached, 200 if it has let us in
        /// and does not list our contact.
        code: u16,
        /// Its reason phrase.
        reason: String,
        /// When it is tried again.
        next: Time,
    },
    /// Unregistered, or given up unregistering.
    Ended,
}

impl fmt::Display for RegistrationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trying => f.write_str("trying"),
            Self::Registered { .. } => f.write_str("registered"),
            Self::Failed { code, reason, .. } => write!(f, "failed: {code} {reason}"),
            Self::Ended => f.write_str("ended"),
        }
    }
}

/// A registration with its place in time.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) account: Account,
    pub(crate) call_id: String,
    pub(crate) tag: String,
    seq: u32,
    pub(crate) auth: Option<Authentication>,
    pub(crate) state: RegistrationState,
    /// What is asked for now; a registrar may have asked for more than the account says.
    pub(crate) expires: Duration,
    /// Whether this try has asked for more already.
    lengthened: bool,
    /// Tells the alarm that counts from older ones.
    pub(crate) alarm: u32,
    pub(crate) leaving: bool,
    /// The way on which the registrar has granted: calls come back on it.
    pub(crate) flow: Option<Hop>,
    /// Who has granted last, and until when.
    held: Option<(IpAddr, Time)>,
    target: usize,
    /// The REGISTER to which nothing has been said yet.
    pub(crate) unheard: Option<TxId>,
    /// Whether there is another target that has not failed lately.
    pub(crate) others: bool,
    failures: u32,
    tried: Time,
}

/// Every registration of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct Registrations {
    by_id: HashMap<RegistrationId, Registration>,
    begun: u64,
}

/// Why a REGISTER failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setback {
    /// Whether another target may do better.
    pub(crate) target: bool,
    /// `Retry-After`.
    pub(crate) retry_after: Option<Duration>,
}

impl Registration {
    pub(crate) fn new(account: Account, random: &mut Random) -> Self {
        Self {
            call_id: random.word(),
            tag: random.word(),
            seq: 0,
            auth: account.credentials.clone().map(Authentication::new),
            state: RegistrationState::Trying,
            expires: account.expires.clamp(ASKED.0, ASKED.1),
            lengthened: false,
            alarm: 0,
            leaving: false,
            flow: None,
            held: None,
            target: 0,
            unheard: None,
            others: false,
            failures: 0,
            tried: Time::ZERO,
            account,
        }
    }

    pub(crate) fn next_seq(&mut self) -> u32 {
        self.seq = self.seq.saturating_add(1);
        self.seq
    }

    /// Passes over targets that have `failed` lately, if others have not; whether there is another that has not.
    pub(crate) fn pass_over(&mut self, failed: impl Fn(&Hop) -> bool) -> bool {
        let targets = &self.account.targets;
        let live = |at: &usize| targets.get(*at).is_some_and(|target| !failed(target));
        let from = self.target;
        let turns = (0..targets.len()).map(move |step| from.saturating_add(step) % targets.len());
        let mut live = turns.filter(live);
        let (next, another) = (live.next(), live.next().is_some());
        self.target = next.unwrap_or(from);
        another
    }

    /// Where the next REGISTER goes; the time is noted.
    pub(crate) fn aim(&mut self, now: Time) -> Option<Hop> {
        self.tried = now;
        self.account.targets.get(self.target).or(self.account.targets.first()).cloned()
    }

    /// The name has been resolved again. Equal servers come in an order by chance, so that the one whose turn it is
    /// keeps it: else the one that has just failed could be tried for ever.
    pub(crate) fn retarget(&mut self, targets: Vec<Hop>) {
        let next = self.account.targets.get(self.target);
        self.target = targets.iter().position(|target| Some(target) == next).unwrap_or(0);
        self.account.targets = targets;
    }

    /// The registrar has granted this time, and calls go this way. Returns when to refresh.
    pub(crate) fn granted(&mut self, now: Time, grant: Duration, route: Vec<String>) -> Time {
        let grant = grant.min(ASKED.1);
        let wait = grant.mul_f64(0.75).min(grant.saturating_sub(MARGIN)).max(PACE);
        let next = now.saturating_add(wait);
        let until = now.saturating_add(grant);
        self.failures = 0;
        self.lengthened = false;
        self.held = self.flow.as_ref().map(|flow| (flow.address.ip().to_canonical(), until));
        self.state = RegistrationState::Registered { until, next, route };
        next
    }

    /// Whether a registrar may have our contact: while it grants, and where it has taken our request without saying so.
    pub(crate) fn may_be_listed(&self, now: Time) -> bool {
        match self.state {
            RegistrationState::Registered { .. } | RegistrationState::Trying => true,
            RegistrationState::Failed { code: 200, .. } => true,
            RegistrationState::Failed { .. } | RegistrationState::Ended => {
                self.held.is_some_and(|(_, until)| now < until)
            }
        }
    }

    /// Whether calls from this address may come by the registration.
    fn is_held_at(&self, now: Time, source: IpAddr) -> bool {
        let stands = self.held.is_some_and(|(_, until)| now < until);
        !self.leaving && stands && self.addresses().any(|address| address == source)
    }

    /// Where the registrar is: who has granted last, and others of the same name.
    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let targets = self.account.targets.iter().map(|hop| hop.address.ip().to_canonical());
        self.held.iter().map(|(address, _)| *address).chain(targets)
    }

    /// What answers challenges in a call that has come in by the registration.
    pub(crate) fn auth_for_call(&self) -> Option<Authentication> {
        Some(self.auth.as_ref()?.for_call(self.addresses().collect()))
    }

    /// When to register again because the connection is gone on which calls would have come; `None` if
    /// it is another one, or a try is under way.
    pub(crate) fn cut_off(&mut self, now: Time, gone: &Hop, random: &mut Random) -> Option<Time> {
        let ours = gone.connection.is_some()
            && self.flow.as_ref().is_some_and(|flow| flow.connection == gone.connection);
        if !ours || !matches!(self.state, RegistrationState::Registered { .. }) {
            return None;
        }
        self.flow = None;
        let spread = Duration::from_millis(u64::from(random.up_to(1_000)));
        Some(self.tried.max(now).saturating_add(PACE).saturating_add(spread))
    }

    /// The registrar wants at least this time; whether it is to be asked for at once. That is so once in a try: one that
    /// wants more each time is asked again after a pause.
    pub(crate) fn lengthen(&mut self, least: Duration) -> bool {
        let longer = least > self.expires && least <= ASKED.1;
        if longer {
            self.expires = least;
        }
        longer && !std::mem::replace(&mut self.lengthened, true)
    }

    /// A try has failed. Returns when the next one is.
    pub(crate) fn failed(
        &mut self,
        now: Time,
        (code, reason): (u16, String),
        setback: Setback,
        random: &mut Random,
    ) -> Time {
        self.lengthened = false;
        let targets = self.account.targets.len().max(1);
        self.target = if setback.target { (self.target + 1) % targets } else { self.target };
        let next = if setback.target && self.target != 0 {
            self.tried.saturating_add(PACE).max(now)
        } else {
            now.saturating_add(self.wait(setback.retry_after, random))
        };
        self.state = RegistrationState::Failed { code, reason, next };
        next
    }

    /// The wait doubles with each failure and is spread, so that the phones of an office do not all
    /// come back at once.
    fn wait(&mut self, retry_after: Option<Duration>, random: &mut Random) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let doubled = Duration::from_secs(1u64 << self.failures.min(6)).min(LONGEST_WAIT);
        let spread = doubled.mul_f64(f64::from(random.up_to(500)) / 1_000.0 + 0.75);
        spread.max(PACE).max(retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER))
    }
}

impl Registrations {
    pub(crate) fn insert(&mut self, registration: Registration) -> RegistrationId {
        self.begun += 1;
        let id = RegistrationId(self.begun);
        self.by_id.insert(id, registration);
        id
    }

    pub(crate) fn get(&self, id: RegistrationId) -> Option<&Registration> {
        self.by_id.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: RegistrationId) -> Option<&mut Registration> {
        self.by_id.get_mut(&id)
    }

    pub(crate) fn remove(&mut self, id: RegistrationId) {
        self.by_id.remove(&id);
    }

    /// The account of ours that a request to this URI is a call to, if it comes from its registrar: from the address
    /// that has granted it, or another of the same name, while the grant stands. Of several the first.
    pub(crate) fn called(&self, now: Time, from: &Hop, uri: &Uri) -> Option<&Registration> {
        if self.by_id.is_empty() {
            return None;
        }
        let user = uri.decoded_user();
        let called = self.by_id.iter().filter(|(_, registration)| {
            user.as_deref() == Some(registration.account.contact_user.as_bytes())
                && registration.is_held_at(now, from.address.ip().to_canonical())
        });
        called.min_by_key(|(id, _)| **id).map(|(_, registration)| registration)
    }

    /// Whether an account is registered at this address.
    pub(crate) fn is_held_at(&self, now: Time, source: IpAddr) -> bool {
        self.by_id.values().any(|registration| registration.is_held_at(now, source))
    }

    /// The connections on which calls to accounts come.
    pub(crate) fn connections(&self) -> impl Iterator<Item = ConnectionId> {
        self.by_id.values().filter_map(|registration| registration.flow.as_ref()?.connection)
    }

    pub(crate) fn ids(&self) -> Vec<RegistrationId> {
        let mut ids: Vec<_> = self.by_id.keys().copied().collect();
        ids.sort();
        ids
    }
}
