//! Lines to parties that calls dial: where they are, by which account, over which port.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use call::legs::sip::{Route, SipLeg};
use call::legs::sip_media::SipMedia;
use call::setup::{Dial, Dialer, Line, Undialled};
use protocol::option::SipOption;
use sip::{Credentials, Hop, SipHandle};
use tokio::time::timeout;

use crate::config::{Config, RegisterUser, Rewrite};
use crate::ports::Ports;
use crate::sip_io;

/// How long a name may take to be found.
const NAME: std::time::Duration = std::time::Duration::from_secs(5);
/// Addresses of one name that are tried.
const MOST_TARGETS: usize = 4;
/// Port of SIP where a URI says none.
const SIP_PORT: u16 = 5060;

/// Opens lines by the configuration.
#[derive(Clone)]
pub struct Lines {
    sip: SipHandle,
    ports: Ports,
    config: Arc<Config>,
}

impl Lines {
    /// Lines over `sip`, with sound on `ports`.
    pub fn new(sip: SipHandle, ports: Ports, config: Config) -> Self {
        Lines { sip, ports, config: Arc::new(config) }
    }
}

#[async_trait]
impl Dialer for Lines {
    async fn open(&self, dial: Dial) -> Result<Line, Undialled> {
        let routed = rewritten(&self.config.rewrites, &dial.callee);
        let place = place(&routed).ok_or_else(|| Undialled {
            code: 404,
            reason: format!("{} names no host to call", protocol::read::shown(&dial.callee)),
        })?;
        let targets = addresses(place).await?;
        // `addresses` gives at least one.
        let nearest =
            targets.first().copied().unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], SIP_PORT)));
        #[allow(clippy::disallowed_methods, reason = "the dialer is a driver: ports rest in real time")]
        let (wire, port) = self
            .ports
            .take(std::time::Instant::now())
            .ok_or_else(|| Undialled { code: 503, reason: "no RTP port is free".into() })?;
        let media = sip_io::local_media(&self.config, nearest, port.number());
        let route = Route {
            targets: targets.into_iter().map(Hop::from).collect(),
            proxy: None,
            credentials: credentials(&dial.sip, place.host, &self.config.register_users),
            keep: Box::new(port),
        };
        Ok(Line {
            leg: Box::new(SipLeg::outbound(self.sip.clone(), route)),
            wire,
            media: SipMedia::outbound(media),
        })
    }
}

/// Host and port of a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Where<'a> {
    host: &'a str,
    port: Option<u16>,
}

/// Where the first rule that fits sends a call: the INVITE still names whom it is for.
fn rewritten(rules: &[Rewrite], callee: &str) -> String {
    let fits = |rule: &&Rewrite| rule.r#match.as_ref().is_some_and(|pattern| pattern.0.is_match(callee));
    match rules.iter().find(fits) {
        Some(Rewrite { r#match: Some(pattern), rewrite }) => {
            pattern.0.replace(callee, rewrite.as_str()).into_owned()
        }
        _ => callee.to_owned(),
    }
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

async fn addresses(place: Where<'_>) -> Result<Vec<SocketAddr>, Undialled> {
    let port = place.port.unwrap_or(SIP_PORT);
    if let Ok(address) = place.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let failed = |why: String| Undialled { code: 503, reason: format!("{}: {why}", place.host) };
    let found = timeout(NAME, tokio::net::lookup_host((place.host, port))).await;
    let found = found.map_err(|_| failed("the name was not found in time".into()))?;
    let found: Vec<SocketAddr> = found.map_err(|e| failed(e.to_string()))?.take(MOST_TARGETS).collect();
    if found.is_empty() { Err(failed("the name has no address".into())) } else { Ok(found) }
}

/// What answers a challenge: the call's own account, else the one that is registered with that host.
fn credentials(sip: &SipOption, host: &str, accounts: &[RegisterUser]) -> Option<Credentials> {
    let made = |user: &str, password: &str, realm: Option<&str>| Credentials {
        realm: realm.filter(|realm| !realm.is_empty()).map(str::to_owned),
        ..Credentials::new(user, password)
    };
    if let Some(user) = sip.username.as_deref().filter(|user| !user.is_empty()) {
        let password = sip.password.as_ref().map_or("", |password| password.expose());
        return Some(made(user, password, sip.realm.as_deref()));
    }
    let account = accounts.iter().filter(|account| !account.disabled).find(|account| {
        let server = account.server.strip_prefix("sip:").unwrap_or(&account.server);
        server.split(':').next().is_some_and(|server| server.eq_ignore_ascii_case(host))
    })?;
    let credential = account.credential.as_ref()?;
    let user = if credential.username.is_empty() { &account.username } else { &credential.username };
    Some(made(user, credential.password.expose(), credential.realm.as_deref()))
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
    fn a_rewrite_changes_where_a_call_goes() {
        let rule = Rewrite {
            r#match: Some(Pattern(regex::Regex::new(r"116\.116\.116\.116").unwrap())),
            rewrite: "172.25.25.2".into(),
        };
        let rules = [rule];
        assert_eq!(rewritten(&rules, "sip:1@116.116.116.116:5070"), "sip:1@172.25.25.2:5070");
        assert_eq!(rewritten(&rules, "sip:1@other"), "sip:1@other");
    }

    #[tokio::test]
    async fn an_address_needs_no_name_service() {
        let found = addresses(Where { host: "2001:db8::1", port: None }).await.unwrap();
        assert_eq!(found, ["[2001:db8::1]:5060".parse().unwrap()]);
    }
}
