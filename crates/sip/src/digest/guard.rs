//! Making challenges, and judging what answers them, without keeping a nonce.
//!
//! A nonce is the time and a MAC of it, so that any number of challenges costs no memory. Only a
//! nonce that was answered correctly is remembered, with the counts it has been used with: a copy of
//! a request is not let in twice.

use std::collections::{HashMap, VecDeque};
use std::hint::black_box;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use sipx_sip::auth::{self, Algorithm, Challenge};

use super::params::{Scheme, parse};
use crate::config::Time;
use crate::event::HeaderList;
use crate::uris::same_user;

/// Algorithms in the order in which they are offered, strongest first (RFC 8760 section 2.3).
const OFFERED: [DigestAlgorithm; 2] = [DigestAlgorithm::Sha256, DigestAlgorithm::Md5];
/// Answered nonces that are remembered. When full, the oldest is forgotten and everything up to its
/// time is stale, so that forgetting never lets a copy in.
const MAX_USED: usize = 4_096;
/// How far behind the highest count of a nonce a request may come, being overtaken on its way.
const WINDOW: u32 = 64;

/// Asks callers for their password, and remembers which answers were used.
///
/// ```
/// use std::time::Duration;
/// use sip::{Claim, Guard, Verdict};
///
/// let mut guard = Guard::new("example.com", [7; 32], Duration::from_secs(60));
/// let password = |user: &str| (user == "trunk").then(|| "secret".to_owned().into());
/// let claim = Claim { method: "INVITE", uri: "sip:us@example.com", headers: &[] };
/// let verdict = guard.judge(Duration::ZERO, &claim, password);
/// let Verdict::Challenge { code: 401, headers } = verdict else { panic!() };
/// assert!(headers[0].1.starts_with("Digest realm=\"example.com\", nonce=\""));
/// ```
#[derive(Debug)]
pub struct Guard {
    realm: String,
    offered: Vec<Algorithm>,
    key: Hmac<Sha256>,
    life: Duration,
    used: HashMap<String, Window>,
    order: VecDeque<(u64, String)>,
    /// Nonces made at this millisecond or before are stale.
    stale_until: Option<u64>,
    /// Tells nonces of one millisecond apart.
    made: u32,
}

/// How an answer to a challenge of ours may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigestAlgorithm {
    /// SHA-256 (RFC 7616).
    Sha256,
    /// MD5 (RFC 2617).
    Md5,
}

impl From<DigestAlgorithm> for Algorithm {
    fn from(algorithm: DigestAlgorithm) -> Self {
        match algorithm {
            DigestAlgorithm::Sha256 => Self::Sha256,
            DigestAlgorithm::Md5 => Self::Md5,
        }
    }
}

/// What a request says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its Request-URI.
    pub uri: &'a str,
    /// Its header lines, as an [`Invite`](crate::Invite) has them.
    pub headers: &'a [(String, String)],
}

/// What a request gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is from this user.
    Welcome {
        /// The name, as configured.
        user: String,
    },
    /// It has to say who it is. Reject with this code and these header lines.
    Challenge {
        /// 401.
        code: u16,
        /// One `WWW-Authenticate` for each algorithm that is offered.
        headers: HeaderList,
    },
    /// Name or password are wrong, or the answer belongs to another request. Reject with 403, or say
    /// nothing; a name that is not known takes as long as one that is.
    Wrong,
}

/// The counts that a nonce was used with: the highest, and which of the 64 below it.
#[derive(Debug, Default)]
struct Window {
    highest: u32,
    seen: u64,
}

impl Guard {
    /// A guard of this realm. `seed` comes from the operating system; a nonce is good for `life`.
    pub fn new(realm: &str, seed: [u8; 32], life: Duration) -> Self {
        let mut block = [0; 64];
        let (begin, _) = block.split_at_mut(32);
        begin.copy_from_slice(&seed);
        let key = Hmac::<Sha256>::new(&block.into());
        Self {
            realm: realm.chars().filter(|c| !c.is_control() && !matches!(c, '"' | '\\')).collect(),
            offered: OFFERED.map(Algorithm::from).to_vec(),
            key,
            life,
            used: HashMap::new(),
            order: VecDeque::new(),
            stale_until: None,
            made: 0,
        }
    }

    /// The same guard with these algorithms in place of SHA-256 and then MD5. Some callers know MD5 only, and fail at the
    /// sight of a challenge of another kind beside it.
    #[must_use]
    pub fn offering(self, algorithms: impl IntoIterator<Item = DigestAlgorithm>) -> Self {
        Self { offered: algorithms.into_iter().map(Algorithm::from).collect(), ..self }
    }

    /// Judges a request. `password` finds a user's password. The time is the endpoint's.
    ///
    /// An answer to a challenge is good for the one whom it names only (RFC 7616 section 3.4.6): its `uri` must mean the
    /// user of the Request-URI, or who relays a request could send it to someone else.
    pub fn judge(
        &mut self,
        now: Time,
        claim: &Claim<'_>,
        password: impl Fn(&str) -> Option<SecretString>,
    ) -> Verdict {
        let rows = claim.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("Authorization"));
        let mut answers = rows.flat_map(|(_, value)| parse(value.as_bytes()));
        let Some(answer) = answers.find(|answer| answer.get("realm") == Some(&self.realm)) else {
            return self.challenge(now, false);
        };
        // What was made otherwise than is asked for, as by who was asked before, is no proof and no wrong password.
        let Some(algorithm) = self.offered(&answer) else { return self.challenge(now, false) };
        let user = answer.get("username").unwrap_or_default();
        let known = password(user);
        let secret = known.as_ref().map_or("", ExposeSecret::expose_secret);
        let right = self.matches((&answer, algorithm), claim.method, secret);
        let meant = same_user(answer.get("uri").unwrap_or_default(), claim.uri);
        if !right || !meant || known.is_none() {
            return Verdict::Wrong;
        }
        let nonce = answer.get("nonce").unwrap_or_default();
        let count = answer.get("nc").and_then(|nc| u32::from_str_radix(nc, 16).ok()).unwrap_or(0);
        match self.made_at(nonce) {
            Some(made) if self.is_fresh(now, made) && self.use_up(now, (nonce, made), count) => {
                Verdict::Welcome { user: user.to_owned() }
            }
            _ => self.challenge(now, true),
        }
    }

    fn challenge(&mut self, now: Time, stale: bool) -> Verdict {
        self.made = self.made.wrapping_add(1);
        let text = format!("{:016x}{:08x}", millis(now), self.made);
        let nonce = format!("{text}{}", self.seal(&text));
        let stale = if stale { ", stale=true" } else { "" };
        let line = |algorithm: &Algorithm| {
            let (realm, name) = (&self.realm, algorithm.as_str());
            let value =
                format!("Digest realm=\"{realm}\", nonce=\"{nonce}\", qop=\"auth\", algorithm={name}{stale}");
            ("WWW-Authenticate".to_owned(), value)
        };
        Verdict::Challenge { code: 401, headers: self.offered.iter().map(line).collect() }
    }

    /// The algorithm of an answer, if it is offered.
    fn offered(&self, answer: &Scheme) -> Option<Algorithm> {
        let algorithm = answer.get("algorithm").map_or(Some(Algorithm::Md5), Algorithm::parse);
        algorithm.filter(|algorithm| self.offered.contains(algorithm))
    }

    /// Whether an answer is what this password gives.
    fn matches(&self, (answer, algorithm): (&Scheme, Algorithm), method: &str, password: &str) -> bool {
        let text = |name: &str| answer.get(name).unwrap_or_default();
        // Without the client's own part and count nothing could be told from its copy.
        if answer.name != "digest" || !text("qop").eq_ignore_ascii_case("auth") || text("cnonce").is_empty() {
            return false;
        }
        let Ok(count) = u32::from_str_radix(text("nc"), 16) else { return false };
        let challenge = Challenge {
            realm: self.realm.clone(),
            nonce: text("nonce").to_owned(),
            opaque: None,
            algorithm,
            qop_auth: true,
            stale: false,
            from_proxy: false,
        };
        let user = auth::Credentials::new(text("username"), password);
        let line = auth::respond(&challenge, &user, method, text("uri"), count, text("cnonce"));
        let own = parse(line.as_bytes());
        let own = own.first().and_then(|scheme| scheme.get("response")).unwrap_or_default();
        is_same(own.as_bytes(), text("response").to_ascii_lowercase().as_bytes())
    }

    /// When a nonce of ours was made, in milliseconds; `None` for one that we did not make.
    fn made_at(&self, nonce: &str) -> Option<u64> {
        let (text, seal) = nonce.split_at_checked(24)?;
        let made = u64::from_str_radix(text.get(..16)?, 16).ok()?;
        is_same(self.seal(text).as_bytes(), seal.as_bytes()).then_some(made)
    }

    fn seal(&self, text: &str) -> String {
        let mut mac = self.key.clone();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    fn is_fresh(&self, now: Time, made: u64) -> bool {
        let age = millis(now).checked_sub(made);
        age.is_some_and(|age| u128::from(age) <= self.life.as_millis())
            && self.stale_until.is_none_or(|until| made > until)
    }

    /// Enters a use of a nonce; `false` if it was used so before.
    fn use_up(&mut self, now: Time, (nonce, made): (&str, u64), count: u32) -> bool {
        self.forget(now);
        if !self.used.contains_key(nonce) {
            self.order.push_back((made, nonce.to_owned()));
        }
        self.used.entry(nonce.to_owned()).or_default().take(count)
    }

    /// Forgets nonces that are out of date, and the oldest ones when there are too many.
    fn forget(&mut self, now: Time) {
        let life = u64::try_from(self.life.as_millis()).unwrap_or(u64::MAX);
        while let Some((made, nonce)) = self.order.front() {
            let over = made.saturating_add(life) < millis(now);
            if !over && self.order.len() < MAX_USED {
                return;
            }
            if !over {
                self.stale_until = self.stale_until.max(Some(*made));
            }
            self.used.remove(nonce);
            self.order.pop_front();
        }
    }
}

impl Window {
    fn take(&mut self, count: u32) -> bool {
        if count == 0 {
            return false;
        }
        if count > self.highest {
            let shift = count - self.highest;
            self.seen = if shift < WINDOW { self.seen << shift } else { 0 };
            self.highest = count;
        }
        let behind = self.highest - count;
        let bit = 1u64.checked_shl(behind).unwrap_or(0);
        let fresh = behind < WINDOW && self.seen & bit == 0;
        self.seen |= bit;
        fresh
    }
}

fn millis(time: Time) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Compares without telling by its duration how much is right.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |sum, (a, b)| black_box(sum | (a ^ b)));
    a.len() == b.len() && black_box(difference) == 0
}
