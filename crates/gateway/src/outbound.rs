//! Lines to parties that calls dial: where they are, by which account, over which port.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use call::legs::sip::{Route, SipLeg};
use call::legs::sip_media::SipMedia;
use call::setup::{Dial, Dialer, Line, Undialled};
use protocol::option::SipOption;
use protocol::redact;
use sip::{Credentials, SipHandle};

use crate::accounts::{self, Accounts};
use crate::config::{Config, RegisterUser, Rewrite};
use crate::hourly::Cap;
use crate::ladder::Ladders;
use crate::media_names::MediaNames;
use crate::policy;
use crate::ports::Ports;
use crate::sip_io;

/// Bytes of a `Call-ID` that every peer takes; a longer one that a client asks for is replaced.
const MOST_CALL_ID: usize = 256;

/// Opens lines by the configuration.
#[derive(Clone)]
pub struct Lines {
    sip: SipHandle,
    ports: Ports,
    names: Arc<MediaNames>,
    ladders: Ladders,
    accounts: Accounts,
    cap: Cap,
    config: Arc<Config>,
}

impl Lines {
    /// Lines over `sip`, with sound on the ports of `parts`; what passes on them is shown in its ladders.
    pub(crate) fn new(sip: SipHandle, parts: LineParts, config: Config) -> Self {
        let LineParts { ports, names, ladders, accounts, cap } = parts;
        Lines { sip, ports, names, ladders, accounts, cap, config: Arc::new(config) }
    }

    /// Whether `callee` may be called.
    fn check(&self, callee: &str) -> Result<(), Undialled> {
        if policy::may_call(&self.config.sip, callee) {
            return Ok(());
        }
        let callee = redact::text(callee);
        tracing::warn!(?callee, "sip.destinations does not allow this call");
        Err(Undialled { code: 403, reason: "calls to this destination are not allowed".into() })
    }

    /// Counts one more leg to `callee`, of a call of ours or of a far end that we ask for it.
    fn count(&self, call: Option<&str>, callee: &str) -> Result<(), Undialled> {
        if self.cap.take() {
            return Ok(());
        }
        let callee = redact::text(callee);
        tracing::warn!(call, ?callee, "a leg of ours is not begun: sip.outbound_per_hour is reached");
        let reason = "as many calls as may be placed in an hour have been (sip.outbound_per_hour)";
        Err(Undialled { code: 503, reason: reason.into() })
    }
}

/// What lines are made of.
#[derive(Clone, Debug)]
pub(crate) struct LineParts {
    pub(crate) ports: Ports,
    pub(crate) names: Arc<MediaNames>,
    pub(crate) ladders: Ladders,
    pub(crate) accounts: Accounts,
    pub(crate) cap: Cap,
}

/// The way of a call from `caller` to `callee`: where a rewrite sends it, else through the proxy, else where its URI
/// leads; a number without a host to the registrar of the account that calls.
fn way<'a>(config: &'a Config, caller: &str, callee: &str) -> Result<Way<'a>, Undialled> {
    let rewritten = rewritten(&config.rewrites, callee);
    let uri = rewritten.as_deref().unwrap_or(callee);
    let host = place(uri).map(|place| place.host.to_owned());
    let proxy = config.outbound_proxy.as_deref().and_then(proxy_uri).filter(|_| rewritten.is_none());
    // A number belongs to no host: every account may call it.
    // One that leads to another host than it names is no account's, unless both are: the other would get the password.
    let aimed = sip::aimed(uri);
    let goal = aimed.as_deref().and_then(host_of);
    let account = accounts::of_caller(&config.register_users, caller, |account| {
        [host.as_deref(), goal].into_iter().flatten().all(|host| accounts::is_for(account, host))
    });
    match (proxy, host) {
        (Some(proxy), _) => Ok(Way { uri: proxy.clone(), to: None, account, proxy: Some(proxy) }),
        (None, Some(_)) => Ok(Way { uri: uri.to_owned(), to: None, account, proxy: None }),
        (None, None) => {
            match account.and_then(|(_, account)| number_at(&accounts::registrar(account), uri)) {
                Some((uri, to)) if rewritten.is_none() => Ok(Way { uri, to: Some(to), account, proxy: None }),
                _ => Err(Undialled { code: 404, reason: nowhere(uri) }),
            }
        }
    }
}

/// Why no call can go to `callee` with this configuration, whoever is there.
pub(crate) fn leads_nowhere(config: &Config, callee: &str) -> Option<String> {
    way(config, "", callee).err().map(|undialled| undialled.reason)
}

/// Where an INVITE goes.
#[derive(Debug)]
struct Way<'a> {
    /// What is resolved.
    uri: String,
    /// Whom the INVITE names, where that is not the callee as it was given.
    to: Option<String>,
    /// The account that the call is of, and its place in the configuration.
    account: Option<(usize, &'a RegisterUser)>,
    /// For the `Route`.
    proxy: Option<String>,
}

/// What is resolved, and what is called, for the number of a `tel:` URI at a registrar (RFC 3261 section 19.1.6).
fn number_at(registrar: &str, uri: &str) -> Option<(String, String)> {
    let (scheme, rest) = uri.split_once(':')?;
    let (number, parameters) = rest.split_at(rest.find(';').unwrap_or(rest.len()));
    let number: String = number.chars().filter(|c| !"-.()".contains(*c)).collect();
    let there = place(registrar)?;
    let (server, at) = registrar.split_once(':').map(|(server, at)| (server, at.trim_start_matches("//")))?;
    let at = at.rsplit_once('@').map_or(at, |(_, at)| at);
    let host = if there.host.contains(':') { format!("[{}]", there.host) } else { there.host.to_owned() };
    let port = there.port.map(|port| format!(":{port}")).unwrap_or_default();
    (scheme.eq_ignore_ascii_case("tel") && !number.is_empty()).then(|| {
        let user = format!("{server}:{number}{parameters}");
        (format!("{user}@{at}"), format!("{user}@{host}{port}"))
    })
}

fn nowhere(uri: &str) -> String {
    let shown = protocol::read::shown(uri);
    match uri.split_once(':') {
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("tel") => {
            format!(
                "{shown} names no host to call; a telephone number needs an account, outbound_proxy or a rewrite"
            )
        }
        _ => format!("{shown} names no host to call"),
    }
}

/// The URI of a proxy, which may be given as a mere host; `None` if it leads nowhere.
pub(crate) fn proxy_uri(text: &str) -> Option<String> {
    let uri =
        if text.contains("sip:") || text.contains("sips:") { text.to_owned() } else { format!("sip:{text}") };
    let clean = !uri.contains(|c: char| c.is_whitespace() || c.is_control() || "<>\"".contains(c));
    (clean && place(&uri).is_some()).then_some(uri)
}

#[async_trait]
impl Dialer for Lines {
    async fn open(&self, dial: Dial) -> Result<Line, Undialled> {
        let way = way(&self.config, &dial.caller, &dial.callee)?;
        self.check(way.to.as_deref().unwrap_or(&dial.callee))?;
        // Whoever calls by another account than the registered one does not go its way.
        let own = dial.sip.username.as_deref().is_some_and(|user| !user.is_empty());
        let account = way.account.filter(|_| !own);
        let route = account.map(|(at, _)| self.accounts.route(at)).unwrap_or_default();
        let next = match (&way.proxy, route.first()) {
            (None, Some(first)) => first,
            _ => &way.uri,
        };
        let targets = self.names.resolver().targets(next).await.map_err(|error| Undialled {
            code: 503,
            reason: format!("{}: {error}", protocol::read::shown(next)),
        })?;
        // A resolver that succeeds gives at least one.
        let nearest = targets.first().ok_or(Undialled { code: 503, reason: "no target".into() })?.address;
        #[allow(clippy::disallowed_methods, reason = "the dialer is a driver: ports rest in real time")]
        let (wire, port) = self
            .ports
            .take(std::time::Instant::now())
            .ok_or_else(|| Undialled { code: 503, reason: "no RTP port is free".into() })?;
        self.count(Some(&dial.call), &dial.callee)?;
        // The INVITE goes out with it.
        port.told().store(true, Ordering::Relaxed);
        let media = sip_io::local_media(&self.config, nearest, port.number());
        let call_id = call_id(dial.call_id);
        self.ladders.expect(&dial.call, &call_id);
        let route = Route {
            call_id: Some(call_id),
            targets,
            proxy: way.proxy,
            route,
            to: way.to,
            display_name: dial
                .display_name
                .or_else(|| account.and_then(|(_, user)| user.display_name.clone())),
            credentials: own_credentials(&dial.sip)
                .or_else(|| account.and_then(|(_, user)| accounts::credentials(user))),
            keep: Box::new(port),
        };
        Ok(Line {
            leg: Box::new(SipLeg::outbound(self.sip.clone(), route).finding(self.names.clone())),
            wire,
            media: SipMedia::outbound(media),
        })
    }

    fn permits(&self, target: &str) -> Result<(), Undialled> {
        self.check(target)?;
        self.count(None, target)
    }
}

/// The `Call-ID` of an INVITE: what was asked for where it can be one, else one by chance, which tells nothing of the
/// call that it belongs to.
fn call_id(asked: Option<String>) -> String {
    let fits =
        |id: &String| (1..=MOST_CALL_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    asked.filter(fits).unwrap_or_else(|| format!("{:032x}", rand::random::<u128>()))
}

/// Host and port of a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Where<'a> {
    host: &'a str,
    port: Option<u16>,
}

/// The host that a SIP URI names.
pub(crate) fn host_of(uri: &str) -> Option<&str> {
    place(uri).map(|place| place.host)
}

/// Where the first rule that fits sends a call: the INVITE still names whom it is for.
fn rewritten(rules: &[Rewrite], callee: &str) -> Option<String> {
    let patterns = rules.iter().filter_map(|rule| Some((&rule.r#match.as_ref()?.0, &rule.rewrite)));
    let (pattern, rewrite) = patterns.into_iter().find(|(pattern, _)| pattern.is_match(callee))?;
    Some(pattern.replace(callee, rewrite.as_str()).into_owned())
}

/// The place that a SIP URI names (RFC 3261 section 19.1.1).
fn place(uri: &str) -> Option<Where<'_>> {
    let (scheme, rest) = uri.split_once(':')?;
    if !["sip", "sips"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return None;
    }
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = host.split([';', '?']).next()?;
    let (host, port) = match host.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']')?;
            (host, rest.strip_prefix(':'))
        }
        None => host.split_once(':').map_or((host, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map(str::parse).transpose().ok()?;
    (!host.is_empty()).then_some(Where { host, port })
}

/// What answers a challenge by the call's own account.
fn own_credentials(sip: &SipOption) -> Option<Credentials> {
    let user = sip.username.as_deref().filter(|user| !user.is_empty())?;
    let password = sip.password.as_ref().map_or("", |password| password.expose());
    let realm = sip.realm.clone().filter(|realm| !realm.is_empty());
    Some(Credentials { realm, ..Credentials::new(user, password) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::words::Pattern;

    #[test]
    fn a_uri_names_a_host_and_perhaps_a_port() {
        let at = |host, port| Some(Where { host, port });
        assert_eq!(place("sip:1001@pbx.example"), at("pbx.example", None));
        assert_eq!(place("SIP:a:pw@192.0.2.1:5070;transport=tcp?X=1"), at("192.0.2.1", Some(5070)));
        assert_eq!(place("sips:a@[2001:db8::1]:5061"), at("2001:db8::1", Some(5061)));
        assert_eq!(place("sip:pbx"), at("pbx", None));
        for uri in ["tel:+49", "sip:", "sip:a@h:99999", "http://h", "sip:a@[::1"] {
            assert_eq!(place(uri), None, "{uri}");
        }
    }

    #[test]
    fn a_call_id_that_cannot_be_sent_is_replaced() {
        assert_eq!(call_id(Some("ref-7".into())), "ref-7");
        for asked in
            [None, Some(String::new()), Some("a b".into()), Some("x".repeat(257)), Some("\u{e9}".into())]
        {
            assert_eq!(call_id(asked).len(), 32);
        }
        assert_ne!(call_id(None), call_id(None));
    }

    fn with_accounts(accounts: &[(&str, &str)]) -> Config {
        let account = |(user, server): &(&str, &str)| RegisterUser {
            username: (*user).into(),
            server: (*server).into(),
            ..RegisterUser::default()
        };
        Config { register_users: accounts.iter().map(account).collect(), ..Config::default() }
    }

    #[test]
    fn a_call_is_of_the_account_that_is_its_caller_and_else_of_the_first_at_its_host() {
        let mut config =
            with_accounts(&[("1001", "pbx.example"), ("1002", "pbx.example:5070"), ("1002", "b.example")]);
        let account = |config: &Config, caller: &str, callee: &str| {
            way(config, caller, callee).unwrap().account.map(|(at, _)| at)
        };
        for (caller, callee, expected) in [
            ("sip:1002@PBX.example", "sip:9@pbx.example", Some(1)),
            ("sip:1002:x@pbx.example:5070;a=b", "sip:9@pbx.example", Some(1)),
            ("sip:1001@pbx.example", "sip:9@pbx.example", Some(0)),
            ("sip:1002@pbx.example", "sip:9@b.example", Some(2)),
            ("sip:1002@elsewhere.example", "sip:9@pbx.example", Some(0)),
            ("sip:+4930@pbx.example", "sip:9@pbx.example", Some(0)),
            ("sip:1001@pbx.example", "sip:9@other.example", None),
            ("sip:1001@pbx.example", "sip:9@pbx.example;maddr=pbx.example", Some(0)),
            ("sip:1001@pbx.example", "sip:9@pbx.example;maddr=evil.example", None),
            ("sip:1001@pbx.example", "sip:9@evil.example;maddr=pbx.example", None),
        ] {
            assert_eq!(account(&config, caller, callee), expected, "{caller} {callee}");
        }
        config.register_users[1].disabled = true;
        assert_eq!(account(&config, "sip:1002@pbx.example", "sip:9@pbx.example"), Some(0));
    }

    #[test]
    fn a_number_goes_to_the_registrar_of_the_account_that_calls() {
        let mut config = with_accounts(&[("1001", "pbx.example"), ("7", "[2001:db8::1]:5070;transport=tcp")]);
        let called = |config: &Config, caller: &str, callee: &str| {
            way(config, caller, callee).map(|way| (way.uri, way.to)).map_err(|error| error.code)
        };
        let to = |uri: &str, to: &str| Ok((uri.to_owned(), Some(to.to_owned())));
        let pbx = "sip:+493012345@pbx.example";
        assert_eq!(called(&config, "sip:x@y", "tel:+49(30)12-345"), to(pbx, pbx));
        assert_eq!(
            called(&config, "sip:7@[2001:db8::1]", "tel:100;phone-context=h"),
            to(
                "sip:100;phone-context=h@[2001:db8::1]:5070;transport=tcp",
                "sip:100;phone-context=h@[2001:db8::1]:5070"
            )
        );
        config.outbound_proxy = Some("sbc.example".into());
        assert_eq!(called(&config, "", "tel:100"), Ok(("sip:sbc.example".into(), None)));
        config.outbound_proxy = None;
        config.register_users.iter_mut().for_each(|account| account.disabled = true);
        assert_eq!(called(&config, "", "tel:100"), Err(404));
    }

    #[test]
    fn a_rewrite_changes_where_a_call_goes() {
        let rule = Rewrite {
            r#match: Some(Pattern(regex::Regex::new(r"116\.116\.116\.116").unwrap())),
            rewrite: "172.25.25.2".into(),
        };
        let rules = [rule];
        assert_eq!(
            rewritten(&rules, "sip:1@116.116.116.116:5070").as_deref(),
            Some("sip:1@172.25.25.2:5070")
        );
        assert_eq!(rewritten(&rules, "sip:1@other"), None);
    }

    #[test]
    fn a_proxy_is_a_uri_or_a_host() {
        assert_eq!(proxy_uri("sip:p.example;transport=tcp").as_deref(), Some("sip:p.example;transport=tcp"));
        assert_eq!(proxy_uri("p.example:5080").as_deref(), Some("sip:p.example:5080"));
        assert_eq!(proxy_uri("sip:p>\r\nX: y"), None);
        assert_eq!(proxy_uri(""), None);
    }
}
