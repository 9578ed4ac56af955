//! Answering challenges.

use secrecy::{ExposeSecret, SecretString};
use sipx_sip::auth::{self, Algorithm, Challenge};
use sipx_sip::{HeaderName, Headers, Response};

use super::params::{Scheme, parse};

/// Most challenges that one request answers, one after another: a proxy's, the callee's, and a nonce
/// of each that has become stale meanwhile.
const MAX_ROUNDS: u8 = 4;
/// Most protection spaces of one call: proxies on the way, and the callee.
const MAX_REALMS: usize = 4;

/// What a user knows.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The name that the realm knows.
    pub username: String,
    /// Its password.
    pub password: SecretString,
    /// The one realm that may have an answer; absent means the first that asks.
    pub realm: Option<String>,
}

impl Credentials {
    /// Credentials for the first realm that asks.
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self { username: username.into(), password: SecretString::from(password.into()), realm: None }
    }
}

/// The credentials of one call or registration, with what its challengers have said.
#[derive(Debug)]
pub(crate) struct Authentication {
    credentials: Credentials,
    spaces: Vec<Space>,
}

/// A challenge that has been answered, and how often.
#[derive(Debug)]
struct Space {
    challenge: Challenge,
    count: u32,
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
        Self { credentials, spaces: Vec::new() }
    }

    /// Takes the challenge in a 401 or 407 to a request with these headers, which had answered
    /// `rounds` challenges before.
    pub(crate) fn challenged(
        &mut self,
        response: &Response,
        request: &Headers,
        rounds: u8,
    ) -> Result<(), Refused> {
        let wanted = self.credentials.realm.clone().or_else(|| self.pinned());
        let offered = challenges(response).into_iter();
        let offered = offered.filter(|c| wanted.as_ref().is_none_or(|realm| *realm == c.realm)).collect();
        let challenge = auth::strongest(offered).ok_or(Refused::Foreign)?;
        let carried = answers(request, &challenge).next();
        if let Some(nonce) = carried
            && !challenge.stale
            && (nonce == challenge.nonce || rounds > 0)
        {
            return Err(Refused::Wrong);
        }
        if rounds >= MAX_ROUNDS {
            return Err(Refused::Wrong);
        }
        self.remember(challenge);
        Ok(())
    }

    /// The headers that answer everything asked up to now, for a new request of this method.
    pub(crate) fn lines(&mut self, method: &str, uri: &str, cnonce: &str) -> Vec<(HeaderName, String)> {
        let credentials = auth::Credentials::new(
            self.credentials.username.as_str(),
            self.credentials.password.expose_secret().to_owned(),
        );
        let answer = |space: &mut Space| {
            space.count = space.count.saturating_add(1);
            let Space { challenge, count } = space;
            let line = auth::respond(challenge, &credentials, method, uri, *count, cnonce);
            (challenge.response_header(), line)
        };
        self.spaces.iter_mut().map(answer).collect()
    }

    /// Without a configured realm the first that asked is the one that is meant: whoever asks later
    /// on the way of a call could be anyone.
    fn pinned(&self) -> Option<String> {
        self.spaces.first().map(|space| space.challenge.realm.clone())
    }

    fn remember(&mut self, challenge: Challenge) {
        let same = |space: &Space| {
            space.challenge.realm == challenge.realm && space.challenge.from_proxy == challenge.from_proxy
        };
        if let Some(space) = self.spaces.iter_mut().find(|space| same(space)) {
            if space.challenge.nonce != challenge.nonce {
                space.count = 0;
            }
            space.challenge = challenge;
        } else if self.spaces.len() < MAX_REALMS {
            self.spaces.push(Space { challenge, count: 0 });
        }
    }
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
