//! Registering accounts: REGISTER out, its answers in, again before the grant ends.

use std::time::Duration;

use bytes::Bytes;
use sipx_sip::headers::address::{ContactValue, ServiceRoute};
use sipx_sip::headers::misc::Expires;
use sipx_sip::{Address, HeaderName, Headers, Response, TuEvent, Uri};

use super::Endpoint;
use super::caller::{callable, loose, quoted};
use super::failover::SILENCE;
use crate::config::Time;
use crate::event::Output;
use crate::hop::{Hop, Transport};
use crate::message::{Draft, text};
use crate::order::SipError;
use crate::registration::{Account, Registration, RegistrationId, RegistrationState, Setback};
use crate::schedule::Due;
use crate::transactions::{Errand, Happening, Job, Owner, TxId};
use crate::uris::same_contact;

/// Silence after which a NAT may forget a way: it keeps datagrams' for 30 s at least, mostly.
const KEEP_ALIVE: Time = Time::from_secs(25);
/// Most URIs of a `Service-Route`, and the longest.
const MAX_ROUTE: usize = 8;
const MAX_ROUTE_URI: usize = 512;
/// What a registration that failed without an answer says.
const SILENT: &str = "the registrar is silent";

impl Endpoint {
    /// Registers an account and keeps it registered until [`unregister`](Self::unregister). Each
    /// change of its state is told.
    ///
    /// # Errors
    /// [`SipError::BadUri`] if a URI of the account is none; [`SipError::NoTarget`].
    pub fn register(&mut self, now: Time, account: &Account) -> Result<RegistrationId, SipError> {
        let uris = [Some(&account.registrar), Some(&account.address), account.proxy.as_ref()];
        for uri in uris.into_iter().flatten() {
            callable(uri)?;
        }
        let contact = format!("sip:{}@example.invalid", account.contact_user);
        callable(&contact)?;
        if account.targets.is_empty() {
            return Err(SipError::NoTarget);
        }
        let registration = Registration::new(account.clone(), &mut self.random);
        let id = self.registrations.insert(registration);
        self.send_register(now, id);
        Ok(id)
    }

    /// Takes an account back from its registrar; `Ended` follows. Does nothing for one that is not
    /// known.
    pub fn unregister(&mut self, now: Time, id: RegistrationId) {
        let Some(registration) = self.registrations.get_mut(id) else { return };
        if std::mem::replace(&mut registration.leaving, true) {
            return;
        }
        match registration.may_be_listed(now) {
            true => self.send_register(now, id),
            false => self.registration_over(id),
        }
    }

    /// Where a registration goes from now on, after its name has been resolved again.
    ///
    /// # Errors
    /// [`SipError::NoTarget`] if there is nothing; the old targets stay.
    pub fn set_targets(&mut self, id: RegistrationId, targets: Vec<Hop>) -> Result<(), SipError> {
        if targets.is_empty() {
            return Err(SipError::NoTarget);
        }
        if let Some(registration) = self.registrations.get_mut(id) {
            registration.retarget(targets);
        }
        Ok(())
    }

    /// How a registration stands; `None` after its end.
    pub fn registration(&self, id: RegistrationId) -> Option<&RegistrationState> {
        self.registrations.get(id).map(|registration| &registration.state)
    }

    /// Every registration that has not ended, in the order of their beginning.
    pub fn registrations(&self) -> Vec<RegistrationId> {
        self.registrations.ids()
    }

    /// An alarm of a registration has rung.
    pub(super) fn register_due(&mut self, now: Time, id: RegistrationId, alarm: u32) {
        if self.registrations.get(id).is_some_and(|registration| registration.alarm == alarm) {
            self.send_register(now, id);
        }
    }

    fn send_register(&mut self, now: Time, id: RegistrationId) {
        let Some(registration) = self.registrations.get_mut(id) else { return };
        let others = registration.pass_over(|target| self.avoided.holds(now, target));
        let Some(to) = registration.aim(now) else { return };
        registration.alarm = registration.alarm.wrapping_add(1);
        let seq = registration.next_seq();
        let account = &registration.account;
        let ours = self.identity.uri(&account.contact_user, to.transport, account.is_sips());
        let mut draft = Draft::request("REGISTER", account.registrar.as_bytes());
        draft.line("Via", self.identity.via(to.transport, &self.random.branch()));
        if let Some(proxy) = &account.proxy {
            draft.line("Route", loose(proxy.as_bytes()));
        }
        let name = account.display_name.as_deref().map(quoted).unwrap_or_default();
        draft.line("From", format!("{name}<{}>;tag={}", account.address, registration.tag));
        draft.line("To", format!("<{}>", account.address));
        draft.line("Call-ID", &registration.call_id);
        draft.line("CSeq", format!("{seq} REGISTER"));
        draft.line("Contact", format!("<{ours}>"));
        let expires = if registration.leaving { 0 } else { registration.expires.as_secs() };
        draft.line("Expires", expires.to_string());
        draft.line("Max-Forwards", "70");
        draft.line("User-Agent", &self.identity.agent);
        let cnonce = self.random.word();
        if let Some(auth) = registration.auth.as_mut() {
            for (name, value) in auth.lines("REGISTER", &registration.account.registrar, &cnonce) {
                draft.line(&text(name.canonical()), value);
            }
        }
        let sent =
            self.dispatch(now, (draft.finish(), to), Job::new(Owner::Registration(id), Errand::Register));
        let Some(registration) = self.registrations.get_mut(id) else { return };
        registration.others = others;
        if let Some(tx) = sent {
            self.hasten_registrar(now, id, tx);
        }
    }

    /// Looks after a while whether the registrar has said anything to this REGISTER, if there are others.
    pub(super) fn hasten_registrar(&mut self, now: Time, id: RegistrationId, tx: TxId) {
        let Some(registration) = self.registrations.get_mut(id) else { return };
        registration.unheard = Some(tx);
        if registration.others && !registration.leaving {
            let at = now.saturating_add(self.config.t1.saturating_mul(SILENCE));
            self.wire.schedule.set(at, Due::Registrar(id, tx));
        }
    }

    /// A registrar has said nothing for a while, and there is another: that one's turn comes (RFC 3263 section 4.3).
    pub(super) fn registrar_silent(&mut self, now: Time, id: RegistrationId, tx: TxId) {
        let unheard = self.registrations.get(id).is_some_and(|it| it.unheard == Some(tx) && !it.leaving);
        if !unheard || !self.transactions.contains(tx) {
            return;
        }
        for given_up in self.transactions.fail(now, &mut self.wire, tx) {
            self.avoid(now, &given_up.to);
        }
        self.register_failed(now, id, (408, SILENT.to_owned()), None);
    }

    pub(super) fn register_happened(&mut self, now: Time, id: RegistrationId, happening: &Happening) {
        let Some(registration) = self.registrations.get_mut(id) else { return };
        let over =
            !matches!(&happening.event, TuEvent::Response(response) if response.status.is_provisional());
        if registration.leaving && over {
            return self.registration_over(id);
        }
        registration.unheard = None;
        if matches!(&happening.event, TuEvent::Timeout | TuEvent::TransportError) {
            self.avoid(now, &happening.to);
        }
        match &happening.event {
            TuEvent::Response(response) if response.status.is_success() => {
                self.registered(now, id, happening, response);
            }
            TuEvent::Response(response) if response.status.is_final() => {
                self.register_refused(now, id, response);
            }
            TuEvent::Timeout => self.register_failed(now, id, (408, SILENT.to_owned()), None),
            TuEvent::TransportError => {
                self.register_failed(
                    now,
                    id,
                    (503, format!("the registrar cannot be reached{}", self.obstacle)),
                    None,
                );
            }
            _ => {}
        }
    }

    fn registered(&mut self, now: Time, id: RegistrationId, happening: &Happening, response: &Response) {
        let Some(registration) = self.registrations.get_mut(id) else { return };
        let account = &registration.account;
        let ours = self.identity.uri(&account.contact_user, happening.to.transport, account.is_sips());
        let Some(grant) = granted(&response.headers, &ours, registration.expires) else {
            let what = (200, "the registrar does not list our contact".to_owned());
            return self.register_failed(now, id, what, None);
        };
        let next = registration.granted(now, grant, service_route(&response.headers));
        self.set_alarm(id, next);
        if let Some(registration) = self.registrations.get(id) {
            self.wire.schedule.set(now.saturating_add(KEEP_ALIVE), Due::KeepAlive(id, registration.alarm));
        }
    }

    /// A connection is gone: accounts that are reached over it register anew.
    pub(super) fn registrations_cut_off(&mut self, now: Time, gone: &Hop) {
        for id in self.registrations.ids() {
            let Some(registration) = self.registrations.get_mut(id) else { continue };
            if let Some(at) = registration.cut_off(now, gone, &mut self.random) {
                registration.alarm = registration.alarm.wrapping_add(1);
                self.wire.schedule.set(at, Due::Registration(id, registration.alarm));
            }
        }
    }

    /// Keeps the way back through a NAT open for datagrams (RFC 5626 section 4.4; a registrar drops a
    /// pair of line ends); a connection does that itself.
    pub(super) fn keep_alive(&mut self, now: Time, id: RegistrationId, alarm: u32) {
        let Some(registration) = self.registrations.get(id).filter(|r| r.alarm == alarm) else { return };
        let flow = registration.flow.clone().filter(|flow| flow.transport == Transport::Udp);
        if let Some(to) = flow.filter(|_| !registration.leaving) {
            self.wire.send(to, b"\r\n\r\n".to_vec());
            self.wire.schedule.set(now.saturating_add(KEEP_ALIVE), Due::KeepAlive(id, alarm));
        }
    }

    fn register_refused(&mut self, now: Time, id: RegistrationId, response: &Response) {
        let code = response.status.code();
        let least = seconds(&response.headers, &HeaderName::MinExpires);
        let Some(registration) = self.registrations.get_mut(id) else { return };
        if code == 423 && least.is_some_and(|least| registration.lengthen(least)) {
            return self.send_register(now, id);
        }
        let retry_after = seconds(&response.headers, &HeaderName::RetryAfter);
        self.register_failed(now, id, (code, text(&response.reason)), retry_after);
    }

    fn register_failed(
        &mut self,
        now: Time,
        id: RegistrationId,
        what: (u16, String),
        retry_after: Option<Duration>,
    ) {
        let Some(registration) = self.registrations.get_mut(id) else { return };
        let setback = Setback { target: what.0 == 408 || what.0 >= 500, retry_after };
        let next = registration.failed(now, what, setback, &mut self.random);
        self.set_alarm(id, next);
    }

    fn set_alarm(&mut self, id: RegistrationId, at: Time) {
        let Some(registration) = self.registrations.get_mut(id) else { return };
        registration.alarm = registration.alarm.wrapping_add(1);
        let state = registration.state.clone();
        self.wire.schedule.set(at, Due::Registration(id, registration.alarm));
        self.wire.outputs.push_back(Output::Registration { id, state });
    }

    fn registration_over(&mut self, id: RegistrationId) {
        self.registrations.remove(id);
        self.wire.outputs.push_back(Output::Registration { id, state: RegistrationState::Ended });
    }
}

/// For how long a registrar has entered our contact, if it has: it lists every one of the account (RFC 3261 section
/// 10.3). One behind a NAT may have written another address into ours; then of those with our user the one counts that
/// ends first, so that ours is refreshed in time whichever it is.
fn granted(headers: &Headers, ours: &str, asked: Duration) -> Option<Duration> {
    let ours = Uri::parse(Bytes::copy_from_slice(ours.as_bytes())).ok()?;
    let general = headers.typed::<Expires>().and_then(Result::ok).map(|expires| u64::from(expires.0));
    let usual = general.unwrap_or(asked.as_secs());
    let listed = headers.typed_all::<ContactValue>().filter_map(|contact| match contact {
        Ok(ContactValue::Address(address)) => {
            let own = address.param("expires").and_then(|digits| std::str::from_utf8(digits).ok());
            let seconds = own.and_then(|digits| digits.trim().parse().ok()).unwrap_or(usual);
            Some((address.uri, seconds))
        }
        _ => None,
    });
    let listed: Vec<(Uri, u64)> = listed.filter(|(_, seconds)| *seconds > 0).collect();
    let exactly =
        listed.iter().filter(|(uri, _)| same_contact(uri, &ours)).map(|(_, seconds)| *seconds).max();
    let alike = listed.iter().filter(|(uri, _)| uri.decoded_user() == ours.decoded_user());
    exactly.or_else(|| alike.map(|(_, seconds)| *seconds).min()).map(Duration::from_secs)
}

/// The way that a registrar gives to calls of the account (RFC 3608 section 5); empty if it gives none, or one that is too
/// long or cannot be read. A route that does not say `lr` would have the Request-URI rewritten: it is none either.
fn service_route(headers: &Headers) -> Vec<String> {
    let mut route = Vec::new();
    for hop in headers.typed_all::<ServiceRoute>() {
        let Ok(ServiceRoute(Address { uri, .. })) = hop else { return Vec::new() };
        let loose = uri.params().is_some_and(|params| params.contains("lr"));
        let text = text(&uri.to_bytes());
        if !loose || text.len() > MAX_ROUTE_URI || route.len() >= MAX_ROUTE {
            return Vec::new();
        }
        route.push(text);
    }
    route
}

/// A header that says a number of seconds, and perhaps a comment behind it.
pub(super) fn seconds(headers: &Headers, name: &HeaderName) -> Option<Duration> {
    let value = headers.value(name)?;
    let digits: Vec<u8> = value.trim_ascii().iter().copied().take_while(u8::is_ascii_digit).collect();
    std::str::from_utf8(&digits).ok()?.parse::<u32>().ok().map(|s| Duration::from_secs(s.into()))
}
