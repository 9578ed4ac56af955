//! Who may call in, and how often: trusted networks, passwords, limits for each source and for all, and silence
//! towards those who only try. Time is an argument.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use sip::{Claim, DigestAlgorithm, Guard, Invite, Query, Rejection, Screening, Verdict};

use crate::config::words::{Digest, TransferPolicy};
use crate::config::{Config, SipTable, SipUser};
use crate::egress::guard::Allowed;

/// How long an answer to a challenge may take.
const NONCE: Duration = Duration::from_secs(60);
/// Sources that are remembered. When full, those that have been quiet are forgotten, and if none has been, all are:
/// who floods from so many addresses is not told apart by them.
const SOURCES: usize = 16_384;
/// A source that has been quiet for so long begins anew.
const QUIET: Duration = Duration::from_secs(60);

/// What one source may be told at once without having done wrong: to give its password, or to come later. A private
/// branch exchange that starts all its calls at once is not cut short by it.
const ASIDE: Pace = Pace { at_once: 200.0, per_second: 5.0 };
/// For how long nothing new is heard of a source that goes beyond: its calls come again by themselves, half a second
/// after the first time, then a second (timer A of RFC 3261).
const MOMENT: Duration = Duration::from_secs(2);

/// Questions of a stranger in a second that are answered for ever.
const ASKED: f64 = 1.0 / 3.0;

/// Whether a call of ours may go to this URI: as it is written, and as it leads where its `maddr` names another host.
pub(crate) fn may_call(table: &SipTable, uri: &str) -> bool {
    let fits = |uri: &str| table.destinations.iter().any(|pattern| pattern.0.is_match(uri));
    table.destinations.is_empty() || fits(uri) && sip::aimed(uri).is_none_or(|aimed| fits(&aimed))
}

/// The rules of `[sip]` with what they have seen.
#[derive(Debug)]
pub struct Policy {
    trusted: Vec<Allowed>,
    users: HashMap<String, protocol::Secret>,
    /// Everyone may call.
    open: bool,
    guard: Guard,
    limit: u32,
    all: Bucket,
    limit_per_source: u32,
    patience: u32,
    silence: Duration,
    sources: HashMap<IpAddr, Source>,
}

/// What is known of one address, or of one IPv6 network of 64 bits.
#[derive(Debug, Default)]
struct Source {
    calls: Bucket,
    /// Refusals that say nothing against it.
    aside: Bucket,
    /// Questions that belong to no call.
    asked: Bucket,
    /// Refusals since it was last let in.
    refused: u32,
    seen: Duration,
}

/// How much there may be at once, and how fast room comes back.
#[derive(Debug, Clone, Copy)]
struct Pace {
    at_once: f64,
    per_second: f64,
}

impl Pace {
    /// A second's worth may come at once; 0 is no limit.
    fn of(limit: u32) -> Option<Self> {
        let limit = f64::from(limit);
        (limit > 0.0).then_some(Pace { at_once: limit, per_second: limit })
    }
}

/// Counts what comes.
#[derive(Debug, Default)]
struct Bucket {
    used: f64,
    at: Duration,
}

impl Bucket {
    /// Whether one more is within the pace.
    fn take(&mut self, now: Duration, pace: Option<Pace>) -> bool {
        let Some(Pace { at_once, per_second }) = pace else { return true };
        self.used = (self.used - now.saturating_sub(self.at).as_secs_f64() * per_second).max(0.0);
        self.at = now;
        let room = self.used + 1.0 <= at_once;
        if room {
            self.used += 1.0;
        }
        room
    }

    /// One of those has turned out well.
    fn give_back(&mut self) {
        self.used = (self.used - 1.0).max(0.0);
    }
}

/// Why a call is not let in.
#[derive(Debug)]
enum No {
    /// Its caller may not call. Who hears that again and again is silenced.
    Refused(Rejection),
    /// Nothing is said against it: it has not been asked for its password yet, or comes too fast.
    Aside(Rejection),
}

impl Policy {
    /// The rules of `table`. `seed` comes from the operating system.
    pub fn new(table: &SipTable, seed: [u8; 32]) -> Self {
        let user = |user: &SipUser| (user.username.clone(), user.password.clone());
        let algorithms = table.digest.iter().map(|digest| match digest {
            Digest::Sha256 => DigestAlgorithm::Sha256,
            Digest::Md5 => DigestAlgorithm::Md5,
        });
        Policy {
            trusted: trusted(table),
            users: table.users.iter().map(user).collect(),
            open: table.open.unwrap_or(table.trusted.is_empty() && table.users.is_empty()),
            guard: Guard::new(&table.realm, seed, NONCE).offering(algorithms),
            limit: table.calls_per_second,
            all: Bucket::default(),
            limit_per_source: table.calls_per_second_per_source,
            patience: table.silence_after,
            silence: table.silence_for.0,
            sources: HashMap::new(),
        }
    }

    /// Judges a call. `now` is the time since any fixed moment; it never runs backwards.
    ///
    /// One that comes by an account of ours from its registrar is as good as from a trusted network: the registrar has
    /// our password, and no exchange answers a challenge to a call that it delivers.
    pub fn judge(&mut self, now: Duration, invite: &Invite) -> Screening {
        let from = invite.source.ip().to_canonical();
        if invite.account.is_some() || self.trusted.iter().any(|net| net.holds(from)) {
            let room = self.all.take(now, Pace::of(self.limit));
            return if room { Screening::Admit } else { Screening::Refuse(overload()) };
        }
        match self.stranger(now, from, invite) {
            Ok(()) => {
                self.source(now, from).refused = 0;
                Screening::Admit
            }
            Err(No::Refused(rejection)) => self.refused(now, from, rejection),
            Err(No::Aside(rejection)) => self.put_aside(now, from, rejection),
        }
    }

    /// For how long nothing new is to be heard of who asks something that belongs to no call (OPTIONS, REGISTER), and has
    /// been answered. Keep-alives of a carrier, some a minute, are never too many.
    pub fn ask(&mut self, now: Duration, query: &Query) -> Option<Duration> {
        let from = query.source.ip().to_canonical();
        if self.patience == 0 || self.trusts(from) {
            return None;
        }
        let (open, own, moment) = (self.open, Pace::of(self.limit_per_source), MOMENT.min(self.silence));
        let scans = Pace { at_once: f64::from(self.patience), per_second: ASKED };
        let silence = self.silence;
        let source = self.source(now, from);
        let (room, span) = match (open, query.stray) {
            (true, _) => (source.asked.take(now, own), moment),
            (false, true) => (source.aside.take(now, Some(ASIDE)), moment),
            (false, false) => (source.asked.take(now, Some(scans)), silence),
        };
        (!room).then_some(span)
    }

    /// Whether an address belongs to a trusted peer.
    pub fn trusts(&self, from: IpAddr) -> bool {
        let from = from.to_canonical();
        self.trusted.iter().any(|net| net.holds(from))
    }

    /// Judges a call that comes from no trusted network.
    fn stranger(&mut self, now: Duration, from: IpAddr, invite: &Invite) -> Result<(), No> {
        if !self.open {
            self.prove(now, from, invite)?;
        }
        let limit = Pace::of(self.limit_per_source);
        let room = self.source(now, from).calls.take(now, limit) && self.all.take(now, Pace::of(self.limit));
        if room { Ok(()) } else { Err(No::Aside(overload())) }
    }

    /// Has the caller say who it is.
    fn prove(&mut self, now: Duration, from: IpAddr, invite: &Invite) -> Result<(), No> {
        if self.users.is_empty() {
            return Err(No::Refused(Rejection::new(403)));
        }
        let password = |user: &str| self.users.get(user).map(|secret| secret.expose().to_owned().into());
        let claim = Claim { method: "INVITE", uri: &invite.request_uri, headers: &invite.headers };
        match self.guard.judge(now, &claim, password) {
            Verdict::Welcome { .. } => {
                let source = self.source(now, from);
                source.refused = 0;
                source.aside.give_back();
                Ok(())
            }
            Verdict::Challenge { code, headers } => {
                Err(No::Aside(Rejection { headers, ..Rejection::new(code) }))
            }
            Verdict::Wrong => Err(No::Refused(Rejection::new(403))),
        }
    }

    fn refused(&mut self, now: Duration, from: IpAddr, rejection: Rejection) -> Screening {
        let (patience, silence) = (self.patience, self.silence);
        let source = self.source(now, from);
        source.refused = source.refused.saturating_add(1);
        if patience == 0 || source.refused < patience {
            return Screening::Refuse(rejection);
        }
        source.refused = 0;
        Screening::Silence(rejection, silence)
    }

    fn put_aside(&mut self, now: Duration, from: IpAddr, rejection: Rejection) -> Screening {
        let room = self.source(now, from).aside.take(now, Some(ASIDE));
        if room || self.patience == 0 {
            return Screening::Refuse(rejection);
        }
        Screening::Silence(rejection, MOMENT.min(self.silence))
    }

    fn source(&mut self, now: Duration, from: IpAddr) -> &mut Source {
        let key = network(from);
        if self.sources.len() >= SOURCES && !self.sources.contains_key(&key) {
            self.sources.retain(|_, source| now.saturating_sub(source.seen) < QUIET);
            if self.sources.len() >= SOURCES {
                self.sources.clear();
            }
        }
        let source = self.sources.entry(key).or_default();
        if now.saturating_sub(source.seen) >= QUIET {
            source.refused = 0;
        }
        source.seen = now;
        source
    }
}

/// The networks that are trusted.
pub fn trusted(table: &SipTable) -> Vec<Allowed> {
    table.trusted.iter().filter_map(|text| Allowed::parse(text).ok()).collect()
}

/// What is open, for the log of the start.
pub fn openness(config: &Config) -> String {
    let SipTable { trusted, users, open, destinations, transfer_requests, .. } = &config.sip;
    let inbound = match (open.unwrap_or(trusted.is_empty() && users.is_empty()), users.is_empty()) {
        (true, _) => "from everyone".to_owned(),
        (false, true) => format!("from {} only", trusted.join(", ")),
        (false, false) if trusted.is_empty() => "with a password".to_owned(),
        (false, false) => format!("with a password, or from {}", trusted.join(", ")),
    };
    let outbound = match destinations.len() {
        0 => "to every destination that a client names, and from a playbook to those that it names itself"
            .to_owned(),
        count => format!("to what {count} patterns allow"),
    };
    let transfers = match transfer_requests {
        TransferPolicy::Ask => "as playbook or client decide",
        TransferPolicy::Accept => "to what those patterns allow",
        TransferPolicy::Refuse => "nowhere",
    };
    format!("calls are taken {inbound}; calls of ours go {outbound}; far ends may send us on {transfers}")
}

fn overload() -> Rejection {
    Rejection { headers: vec![("Retry-After".into(), "2".into())], ..Rejection::new(503) }
}

/// Whoever has one IPv6 address has all of its 64 bits.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::words::Pattern;

    const AN_HOUR: Duration = Duration::from_secs(3600);

    fn policy(change: impl FnOnce(&mut SipTable)) -> Policy {
        let mut table = SipTable::default();
        change(&mut table);
        Policy::new(&table, [7; 32])
    }

    fn from(source: &str) -> Invite {
        Invite {
            call_id: "c".into(),
            from_uri: "sip:a@h".into(),
            from_tag: "f".into(),
            to_uri: "sip:b@h".into(),
            local_tag: "t".into(),
            request_uri: "sip:b@h".into(),
            headers: Vec::new(),
            sdp: None,
            replaces: None,
            account: None,
            source: format!("{source}:5060").parse().unwrap(),
            transport: sip::Transport::Udp,
            dialog_id: "d".into(),
        }
    }

    fn code(ruling: &Screening) -> u16 {
        match ruling {
            Screening::Admit => 200,
            Screening::Refuse(rejection) | Screening::Silence(rejection, _) => rejection.code,
        }
    }

    #[test]
    fn without_rules_everyone_may_call() {
        let mut policy = policy(|_| {});
        assert!((0..1000).all(|_| policy.judge(AN_HOUR, &from("198.51.100.1")) == Screening::Admit));
    }

    #[test]
    fn with_trusted_networks_others_are_refused_or_challenged() {
        let mut networks = policy(|sip| sip.trusted = vec!["203.0.113.0/24".into()]);
        assert_eq!(code(&networks.judge(AN_HOUR, &from("203.0.113.9"))), 200);
        assert_eq!(code(&networks.judge(AN_HOUR, &from("[::ffff:203.0.113.9]"))), 200);
        assert_eq!(code(&networks.judge(AN_HOUR, &from("203.0.114.9"))), 403);
        let user = SipUser { username: "trunk".into(), password: protocol::Secret::new("x") };
        let mut both = policy(|sip| (sip.trusted, sip.users) = (vec!["203.0.113.9".into()], vec![user]));
        assert_eq!(code(&both.judge(AN_HOUR, &from("203.0.113.9"))), 200);
        let Screening::Refuse(challenge) = both.judge(AN_HOUR, &from("203.0.113.10")) else { panic!() };
        assert_eq!((challenge.code, challenge.headers.len()), (401, 2));
    }

    #[test]
    fn a_source_over_its_limit_is_refused_and_others_are_not() {
        let mut policy = policy(|sip| {
            sip.calls_per_second_per_source = 5;
            sip.trusted = vec!["203.0.113.9".into()];
            sip.open = Some(true);
        });
        let mut codes = |source: &str, at| {
            let answers = (0..10).map(|_| code(&policy.judge(at, &from(source))));
            answers.filter(|code| *code == 200).count()
        };
        assert_eq!(codes("198.51.100.1", AN_HOUR), 5);
        assert_eq!(codes("198.51.100.2", AN_HOUR), 5);
        assert_eq!(codes("203.0.113.9", AN_HOUR), 10, "a trusted peer has no limit of its own");
        assert_eq!(codes("198.51.100.1", AN_HOUR + Duration::from_millis(400)), 2);
        assert_eq!(codes("[2001:db8::1]", AN_HOUR), 5);
        assert_eq!(codes("[2001:db8::2]", AN_HOUR), 0, "the same network");
    }

    #[test]
    fn all_together_have_a_limit_too() {
        let mut policy = policy(|sip| sip.calls_per_second = 3);
        let sources = ["198.51.100.1", "198.51.100.2", "198.51.100.3"];
        assert_eq!(sources.map(|source| code(&policy.judge(AN_HOUR, &from(source)))), [200, 200, 200]);
        let Screening::Refuse(late) = policy.judge(AN_HOUR, &from("198.51.100.4")) else { panic!() };
        assert_eq!((late.code, late.headers), (503, vec![("Retry-After".into(), "2".into())]));
    }

    #[test]
    fn callers_who_know_only_md5_can_be_asked_for_that_alone() {
        let mut policy = policy(|sip| {
            password_only(sip);
            sip.digest = vec![Digest::Md5];
        });
        let challenge = policy.judge(AN_HOUR, &from("198.51.100.1"));
        let Screening::Refuse(Rejection { code: 401, headers, .. }) = &challenge else { panic!() };
        let [(_, value)] = headers.as_slice() else { panic!("{headers:?}") };
        assert!(value.ends_with(", algorithm=MD5"), "{value}");
        assert_eq!(code(&policy.judge(AN_HOUR, &answering(&challenge, "x"))), 401, "that one is SHA-256");
    }

    #[test]
    fn who_is_refused_again_and_again_is_silenced() {
        let mut policy = policy(|sip| {
            sip.trusted = vec!["203.0.113.9".into()];
            sip.silence_after = 3;
        });
        let stranger = from("198.51.100.1");
        for _ in 0..2 {
            assert!(matches!(policy.judge(AN_HOUR, &stranger), Screening::Refuse(_)));
        }
        assert!(matches!(policy.judge(AN_HOUR, &stranger), Screening::Silence(_, _)));
        let later = AN_HOUR + QUIET;
        assert!(matches!(policy.judge(later, &stranger), Screening::Refuse(_)), "it begins anew");
    }

    fn password_only(sip: &mut SipTable) {
        let user = SipUser { username: "trunk".into(), password: protocol::Secret::new("x") };
        (sip.users, sip.silence_after) = (vec![user], 3);
    }

    /// A call with an answer to the challenge in this ruling.
    fn answering(ruling: &Screening, secret: &str) -> Invite {
        let (Screening::Refuse(challenge) | Screening::Silence(challenge, _)) = ruling else { panic!() };
        let nonce = challenge.headers[0].1.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap();
        let digest = |text: String| -> String {
            use sha2::{Digest, Sha256};
            Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
        };
        let identity = digest(format!("trunk:active-call:{secret}"));
        let request = digest("INVITE:sip:b@h".into());
        let response = digest(format!("{identity}:{nonce}:00000001:c:auth:{request}"));
        let answer = format!(
            "Digest username=\"trunk\", realm=\"active-call\", nonce=\"{nonce}\", uri=\"sip:b@h\", \
             algorithm=SHA-256, qop=auth, nc=00000001, cnonce=\"c\", response=\"{response}\""
        );
        Invite { headers: vec![("Authorization".into(), answer)], ..from("198.51.100.1") }
    }

    #[test]
    fn an_exchange_that_starts_many_calls_at_once_gets_them_all_by_its_password() {
        let mut policy = policy(password_only);
        let stranger = from("198.51.100.1");
        let challenges: Vec<_> = (0..100).map(|_| policy.judge(AN_HOUR, &stranger)).collect();
        assert!(challenges.iter().all(|ruling| matches!(ruling, Screening::Refuse(_))), "none is silenced");
        for challenge in &challenges {
            assert_eq!(policy.judge(AN_HOUR, &answering(challenge, "x")), Screening::Admit);
        }
        for _ in 0..1_000 {
            let challenge = policy.judge(AN_HOUR, &stranger);
            assert_eq!(policy.judge(AN_HOUR, &answering(&challenge, "x")), Screening::Admit, "nor later");
        }
    }

    #[test]
    fn wrong_passwords_silence_unless_a_right_one_comes_between() {
        let mut policy = policy(password_only);
        let stranger = from("198.51.100.1");
        let mut attempt = |secret| {
            let challenge = policy.judge(AN_HOUR, &stranger);
            policy.judge(AN_HOUR, &answering(&challenge, secret))
        };
        for secret in ["a", "b", "x", "c", "d"] {
            assert!(!matches!(attempt(secret), Screening::Silence(_, _)), "{secret}");
        }
        let Screening::Silence(rejection, span) = attempt("e") else { panic!() };
        assert_eq!((rejection.code, span), (403, Duration::from_secs(60)));
    }

    #[test]
    fn who_never_answers_a_challenge_is_not_heard_for_a_moment_each_time() {
        let mut policy = policy(password_only);
        let stranger = from("198.51.100.1");
        let mut told = 0;
        let span = loop {
            told += 1;
            match policy.judge(AN_HOUR, &stranger) {
                Screening::Refuse(_) => {}
                Screening::Silence(_, span) => break span,
                Screening::Admit => panic!(),
            }
            assert!(told < 1_000);
        };
        assert!(span <= Duration::from_secs(2));
        let after =
            (0..100).filter(|_| matches!(policy.judge(AN_HOUR + span, &stranger), Screening::Refuse(_)));
        assert!(after.count() <= 10, "a few a second");
    }

    #[test]
    fn calls_that_come_too_fast_are_not_held_against_their_source() {
        let mut policy = policy(|sip| {
            (sip.calls_per_second_per_source, sip.silence_after) = (5, 3);
        });
        for round in 0..20 {
            let at = AN_HOUR + Duration::from_millis(1_500) * round;
            let codes: Vec<_> = (0..9).map(|_| policy.judge(at, &from("198.51.100.1"))).collect();
            assert!(codes.iter().all(|ruling| !matches!(ruling, Screening::Silence(_, _))));
            assert_eq!(codes.iter().filter(|ruling| **ruling == Screening::Admit).count(), 5);
        }
    }

    #[test]
    fn calls_by_an_account_of_ours_need_no_password() {
        for change in [password_only as fn(&mut SipTable), |sip| sip.trusted = vec!["10.0.0.1".into()]] {
            let mut policy = policy(change);
            let call = Invite { account: Some("sip:1001@h".into()), ..from("198.51.100.1") };
            assert!((0..100).all(|_| policy.judge(AN_HOUR, &call) == Screening::Admit));
            assert_ne!(policy.judge(AN_HOUR, &from("198.51.100.1")), Screening::Admit);
        }
    }

    fn asking(source: &str, stray: bool) -> Query {
        Query { source: format!("{source}:5060").parse().unwrap(), stray }
    }

    #[test]
    fn who_asks_again_and_again_is_silenced_and_keep_alives_are_not() {
        let stranger = "198.51.100.1";
        let mut policy = policy(|sip| sip.trusted = vec!["203.0.113.9".into()]);
        let rulings: Vec<_> = (0..21).map(|_| policy.ask(AN_HOUR, &asking(stranger, false))).collect();
        assert!(rulings[..20].iter().all(Option::is_none));
        assert_eq!(rulings[20], Some(Duration::from_secs(60)));
        assert!((0..1000).all(|_| policy.ask(AN_HOUR, &asking("203.0.113.9", false)).is_none()), "trusted");
        // Another one asks every five seconds for a day.
        let mut keep_alives = (0..17_280)
            .map(|n| policy.ask(AN_HOUR + Duration::from_secs(5 * n), &asking("198.51.100.2", false)));
        assert!(keep_alives.all(|ruling| ruling.is_none()));
    }

    #[test]
    fn with_a_patience_of_one_a_stranger_is_answered_once() {
        let mut policy = policy(|sip| (sip.trusted, sip.silence_after) = (vec!["203.0.113.9".into()], 1));
        assert!(matches!(policy.judge(AN_HOUR, &from("198.51.100.1")), Screening::Silence(_, _)));
        assert!(policy.ask(AN_HOUR, &asking("198.51.100.2", false)).is_none());
        assert!(policy.ask(AN_HOUR, &asking("198.51.100.2", false)).is_some());
    }

    #[test]
    fn requests_gone_astray_cost_a_moment_only_and_where_all_may_call_all_may_ask() {
        let mut closed = policy(|sip| sip.trusted = vec!["203.0.113.9".into()]);
        let after = (0..1_000).find_map(|n| Some((n, closed.ask(AN_HOUR, &asking("198.51.100.1", true))?)));
        assert_eq!(after, Some((200, Duration::from_secs(2))));
        let mut open = policy(|_| {});
        assert!((0..10_000).all(|_| open.ask(AN_HOUR, &asking("198.51.100.1", false)).is_none()));
        let mut paced = policy(|sip| sip.calls_per_second_per_source = 5);
        let after = (0..1_000).find_map(|n| Some((n, paced.ask(AN_HOUR, &asking("198.51.100.1", false))?)));
        assert_eq!(after, Some((5, Duration::from_secs(2))));
        let mut never = policy(|sip| (sip.trusted, sip.silence_after) = (vec!["203.0.113.9".into()], 0));
        assert!((0..1_000).all(|_| never.ask(AN_HOUR, &asking("198.51.100.1", false)).is_none()));
    }

    #[test]
    fn who_is_trusted_is_so_in_either_spelling_of_the_address() {
        let policy = policy(|sip| sip.trusted = vec!["203.0.113.9".into()]);
        let trusts = |address: &str| policy.trusts(address.parse().unwrap());
        assert!(trusts("203.0.113.9") && trusts("::ffff:203.0.113.9") && !trusts("198.51.100.1"));
    }

    #[test]
    fn what_is_remembered_of_sources_is_bounded() {
        let mut policy = policy(|sip| sip.calls_per_second_per_source = 1);
        for number in 0..40_000u32 {
            let source = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).to_string();
            policy.judge(AN_HOUR, &from(&source));
            assert!(policy.sources.len() <= SOURCES);
        }
    }

    #[test]
    fn no_maddr_leads_a_call_past_the_destinations() {
        let pattern = regex::Regex::new(r"^sips?:[^@]+@(pbx|carrier)\.example([:;][^@]*)?$").unwrap();
        let table = SipTable { destinations: vec![Pattern(pattern)], ..SipTable::default() };
        for (uri, may) in [
            ("sip:1@pbx.example", true),
            ("sip:1@pbx.example:5070;transport=tcp", true),
            ("sip:1@pbx.example;maddr=carrier.example", true),
            ("sip:1@pbx.example;maddr=evil.example", false),
            ("sip:1@pbx.example:5070;transport=tcp;MADDR=evil.example", false),
            ("sip:1@pbx.example;%6Daddr=203.0.113.9", false),
            ("sip:1@evil.example;maddr=pbx.example", false),
        ] {
            assert_eq!(may_call(&table, uri), may, "{uri}");
        }
        assert!(may_call(&SipTable::default(), "sip:1@pbx.example;maddr=evil.example"), "all may be called");
    }

    #[test]
    fn the_log_says_what_is_open() {
        let mut config = Config::default();
        assert!(
            openness(&config).contains("from everyone") && openness(&config).contains("every destination")
        );
        config.sip.trusted = vec!["10.0.0.0/8".into()];
        assert!(openness(&config).contains("from 10.0.0.0/8 only"));
        assert!(openness(&config).ends_with("; far ends may send us on as playbook or client decide"));
        config.sip.transfer_requests = TransferPolicy::Accept;
        config.sip.destinations = vec![Pattern(".".parse().unwrap())];
        assert!(openness(&config).ends_with("far ends may send us on to what those patterns allow"));
    }
}
