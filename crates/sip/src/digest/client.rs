//! Answering challenges.

use std::net::IpAddr;

use secrecy::{ExposeSecret, SecretString};
use sipx_sip::auth::{self, Algorithm, Challenge};
use sipx_sip::{HeaderName, Headers, Response};

use super::params::{Scheme, parse};

/// Most challenges that one request answers, one after another: a proxy's, the callee's, and a nonce
/// of each that has become stale meanwhile.
const MAX_ROUNDS: u8 = 4;
/// Most protection spaces of one call: proxies on the way, and the callee.
const MAX_SPACES: u8 = 3;

/// What a user knows.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The name that the realm knows.
    pub username: String,
    /// Its password.
    pub password: SecretString,
    /// The one realm that may have an answer; absent means those, three at most, that ask for it on the way of the
    /// INVITE or REGISTER: a proxy and the callee, for example.
    pub realm: Option<String>,
}

impl Credentials {
    /// Credentials for whoever asks.
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self { username: username.into(), password: SecretString::from(password.into()), realm: None }
    }
}

/// The credentials of one call or registration, with what its challengers have said.
#[derive(Debug)]
pub(crate) struct Authentication {
    credentials: Credentials,
    spaces: Vec<Space>,
    /// Of a call that has come in by an account: who may ask at all.
    registrar: Option<Registrar>,
}

/// Whom an account is registered with, as its calls know it.
#[derive(Debug)]
struct Registrar {
    /// Those that have asked when it registered.
    realms: Vec<String>,
    addresses: Vec<IpAddr>,
}

/// A challenge that has been answered, and how often.
#[derive(Debug)]
struct Space {
    challenge: Challenge,
    count: u32,
    /// Our own part of the answers of a session, whose key is made once, with the first answer to a challenge (RFC 7616
    /// section 3.4.2): a server that keeps the key could not make it of a later one.
    cnonce: String,
}

/// The request that was challenged.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) headers: &'a Headers,
    /// Challenges that it had answered before.
    pub(crate) rounds: u8,
    /// Whether it is the one that begins a call or a registration.
    pub(crate) begins: bool,
}

/// Why a challenge is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is none that we understand, or of a realm that the credentials are not for.
    Foreign,
    /// The credentials have been refused.
    Wrong,
}

impl Authentication {
    pub(crate) fn new(credentials: Credentials) -> Self {
        Self { credentials, spaces: Vec::new(), registrar: None }
    }

    /// The credentials of an account for a call that has come in by it. Nonces and their counts stay each one's own.
    pub(crate) fn for_call(&self, addresses: Vec<IpAddr>) -> Self {
        let realms = self.spaces.iter().map(|space| space.challenge.realm.clone()).collect();
        let registrar = Some(Registrar { realms, addresses });
        Self { registrar, ..Self::new(self.credentials.clone()) }
    }

    /// Whether a request to this address may be authorized: in a call that has come in by an account, one to whom it is
    /// registered with. The caller's `Contact` may lead anywhere.
    pub(crate) fn is_for(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.registrar.as_ref().is_none_or(|registrar| registrar.addresses.contains(&address))
    }

    /// The same of every one of these addresses. Without any it is not known yet who gets the request.
    pub(crate) fn is_for_all(&self, addresses: &[IpAddr]) -> bool {
        let known = self.registrar.is_none() || !addresses.is_empty();
        known && addresses.iter().all(|address| self.is_for(*address))
    }

    /// Takes the challenges in a 401 or 407, of each realm the strongest.
    pub(crate) fn challenged(&mut self, response: &Response, asked: &Asked<'_>) -> Result<(), Refused> {
        let mut offered = challenges(response);
        offered.retain(|challenge| self.may_ask(challenge, asked));
        if offered.is_empty() {
            return Err(Refused::Foreign);
        }
        while let Some(first) = offered.first() {
            let space = (first.realm.clone(), first.from_proxy);
            let of_space =
                |challenge: &Challenge| challenge.realm == space.0 && challenge.from_proxy == space.1;
            let (same, rest) = offered.into_iter().partition(of_space);
            offered = rest;
            let Some(challenge) = auth::strongest(same) else { continue };
            let carried = answers(asked.headers, &challenge).next();
            let wrong = |nonce: &String| !challenge.stale && (*nonce == challenge.nonce || asked.rounds > 0);
            let most = if carried.is_some() { MAX_ROUNDS } else { MAX_SPACES };
            if carried.as_ref().is_some_and(wrong) || asked.rounds >= most {
                return Err(Refused::Wrong);
            }
            self.remember(challenge);
        }
        Ok(())
    }

    /// A request was taken, and its response may name the nonce for the next one (RFC 7616 section 3.5). It does not
    /// say of which realm, so it counts where there is one only. The key of a session is of its first nonce (RFC 7616
    /// section 3.4.2), which stays in use until the server calls it stale.
    pub(crate) fn informed(&mut self, response: &Response) {
        for (name, from_proxy) in [("Authentication-Info", false), ("Proxy-Authentication-Info", true)] {
            let mut rows = response.headers.iter().filter(|header| is_named(header.name(), name));
            let Some(row) = rows.next() else { continue };
            // It has no scheme of its own.
            let scheme = parse(&[b"Digest ", &row.value()[..]].concat());
            let next = scheme.first().and_then(|scheme| scheme.get("nextnonce"));
            let mut spaces = self.spaces.iter_mut().filter(|space| space.challenge.from_proxy == from_proxy);
            if let (Some(next), Some(space), None) = (next, spaces.next(), spaces.next())
                && space.challenge.nonce != next
                && !space.challenge.algorithm.is_session()
            {
                (space.challenge.nonce, space.count) = (next.to_owned(), 0);
            }
        }
    }

    /// The headers that answer everything asked up to now, for a new request of this method.
    pub(crate) fn lines(&mut self, method: &str, uri: &str, cnonce: &str) -> Vec<(HeaderName, String)> {
        let credentials = auth::Credentials::new(
            self.credentials.username.as_str(),
            self.credentials.password.expose_secret().to_owned(),
        );
        let answer = |space: &mut Space| {
            if space.count == 0 || !space.challenge.algorithm.is_session() {
                cnonce.clone_into(&mut space.cnonce);
            }
            space.count = space.count.saturating_add(1);
            let Space { challenge, count, cnonce } = space;
            let line = auth::respond(challenge, &credentials, method, uri, *count, cnonce);
            (challenge.response_header(), line)
        };
        self.spaces.iter_mut().map(answer).collect()
    }

    /// Whether a challenge may have an answer. Later on in a call only those may ask who did when it began: whoever
    /// else asks then could be anyone. In a call that has come in by an account those may who did when it registered.
    fn may_ask(&self, challenge: &Challenge, asked: &Asked<'_>) -> bool {
        match (&self.credentials.realm, &self.registrar) {
            (Some(realm), _) => *realm == challenge.realm,
            (None, Some(registrar)) => registrar.realms.contains(&challenge.realm),
            (None, None) if asked.begins => true,
            (None, None) => {
                self.spaces.is_empty()
                    || self.spaces.iter().any(|space| space.challenge.realm == challenge.realm)
            }
        }
    }

    /// Of too many spaces the oldest goes: a registrar may have got another realm.
    fn remember(&mut self, challenge: Challenge) {
        let same = |space: &Space| {
            space.challenge.realm == challenge.realm && space.challenge.from_proxy == challenge.from_proxy
        };
        if let Some(space) = self.spaces.iter_mut().find(|space| same(space)) {
            if space.challenge.nonce != challenge.nonce {
                space.count = 0;
            }
            space.challenge = challenge;
            return;
        }
        if self.spaces.len() >= usize::from(MAX_SPACES) {
            self.spaces.remove(0);
        }
        self.spaces.push(Space { challenge, count: 0, cnonce: String::new() });
    }
}

fn is_named(header: &HeaderName, name: &str) -> bool {
    header.canonical().eq_ignore_ascii_case(name.as_bytes())
}

/// The challenges of a response that can be answered.
fn challenges(response: &Response) -> Vec<Challenge> {
    let rows = [(HeaderName::WwwAuthenticate, false), (HeaderName::ProxyAuthenticate, true)];
    let mut found = Vec::new();
    for (name, from_proxy) in &rows {
        for header in response.headers.get_all(name) {
            found.extend(parse(&header.value()).iter().filter_map(|scheme| challenge(scheme, *from_proxy)));
        }
    }
    found
}

fn challenge(scheme: &Scheme, from_proxy: bool) -> Option<Challenge> {
    let algorithm = scheme.get("algorithm").map_or(Some(Algorithm::Md5), Algorithm::parse)?;
    let offered = |qop: &str| qop.split(',').any(|option| option.trim().eq_ignore_ascii_case("auth"));
    // Only the integrity of the body is asked for: that is not understood.
    if scheme.name != "digest" || scheme.get("qop").is_some_and(|qop| !offered(qop)) {
        return None;
    }
    // The key of a session has the client's part in it, which is not sent where no qop is asked for.
    if algorithm.is_session() && scheme.get("qop").is_none() {
        return None;
    }
    Some(Challenge {
        realm: scheme.get("realm")?.to_owned(),
        nonce: scheme.get("nonce")?.to_owned(),
        opaque: scheme.get("opaque").map(str::to_owned),
        algorithm,
        qop_auth: scheme.get("qop").is_some(),
        stale: scheme.get("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        from_proxy,
    })
}

/// The nonces for which a request already carries an answer to the challenge's realm.
fn answers<'a>(request: &'a Headers, challenge: &'a Challenge) -> impl Iterator<Item = String> + 'a {
    let name = challenge.response_header();
    let rows = request.iter().filter(move |header| *header.name() == name);
    rows.flat_map(|header| parse(&header.value())).filter_map(|scheme| {
        let same = scheme.get("realm") == Some(challenge.realm.as_str());
        same.then(|| scheme.get("nonce").unwrap_or_default().to_owned())
    })
}
