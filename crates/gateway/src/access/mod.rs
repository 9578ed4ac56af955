//! Who may do what over HTTP: keys, one-time tickets, loopback, and the pages of other sites.
//!
//! [`keys`] makes and knows keys, [`tickets`] are capabilities in a path; this file decides.

pub mod keys;
pub mod tickets;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::config::words::{AuthMode, Scope};
use keys::Known;
use tickets::{Grant, Tickets};

/// Headers by which a proxy says that a request is not its own.
pub const FORWARDED: [&str; 7] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "cf-connecting-ip",
    "via",
];

/// The rules for requests.
#[derive(Debug)]
pub struct Access {
    open: bool,
    loopback: bool,
    keys: Vec<Known>,
    origins: Vec<String>,
    /// Capabilities that are out.
    pub tickets: Tickets,
}

/// What a request shows of itself.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// Where it comes from.
    pub peer: IpAddr,
    /// It came through a proxy, by what its headers say.
    pub forwarded: bool,
    /// `Host`.
    pub host: Option<&'a str>,
    /// `Origin`.
    pub origin: Option<&'a str>,
    /// `Sec-Fetch-Site`.
    pub fetch_site: Option<&'a str>,
    /// The key it shows.
    pub key: Option<&'a str>,
    /// What the ticket in its path is good for; the inner `None` is a ticket that is good for nothing.
    pub ticket: Option<Option<&'a Grant>>,
}

/// Who asks, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// Name of the key, or how else they came in.
    pub name: String,
    /// What they may do.
    pub scope: Scope,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A page of another site asks.
    #[error("pages of {0} may not ask; list the origin in auth.origins if they should")]
    Origin(String),
    /// A typed address, or a link of another program, that would change something.
    #[error(
        "a link may only ask for what changes nothing; send the request from a page of this server or a program"
    )]
    Link,
    /// No key where one is needed.
    #[error("a key is needed: \"Authorization: Bearer <key>\" or \"X-API-Key: <key>\"")]
    NoKey,
    /// A key or ticket that is not known, or not any more.
    #[error("this key is not known, or has expired")]
    BadKey,
    /// The key is for less.
    #[error("this key is for \"{}\", and \"{}\" is needed", has.as_str(), needs.as_str())]
    TooLittle {
        /// What it is for.
        has: Scope,
        /// What is asked.
        needs: Scope,
    },
}

impl Access {
    /// The rules that `config` describes, for a server that listens on `listens`. Where a key is needed and none
    /// is configured one is made in `auth.key_file`, and the log says where it is.
    ///
    /// # Errors
    /// When that file cannot be made or read.
    pub fn from_config(config: &Config, listens: IpAddr) -> Result<Self, (PathBuf, io::Error)> {
        let auth = &config.auth;
        let mut keys: Vec<Known> = auth.keys.iter().filter_map(Known::from_row).collect();
        let open = auth.mode == AuthMode::None;
        if open {
            tracing::warn!(
                "auth = \"none\": WHOEVER REACHES THIS SERVER COMMANDS EVERY CALL, places calls and reads records"
            );
        } else if keys.is_empty() && !(listens.is_loopback() && auth.loopback) {
            keys.push(kept(&auth.key_file).map_err(|error| (auth.key_file.clone(), error))?);
        }
        Ok(Access {
            open,
            loopback: auth.loopback,
            keys,
            origins: auth.origins.iter().map(|origin| origin.trim_end_matches('/').to_owned()).collect(),
            tickets: Tickets::default(),
        })
    }

    /// Whether the page that asks may: one of this server itself or of a listed origin. What names no page passes.
    ///
    /// # Errors
    /// [`Refusal::Origin`].
    pub fn origin(&self, asking: Asking<'_>) -> Result<(), Refusal> {
        match asking.origin {
            Some(origin) if self.lists(origin) || own(origin, asking.host) => Ok(()),
            Some(origin) => Err(Refusal::Origin(protocol::read::shown(origin))),
            None => Ok(()),
        }
    }

    /// Whether a browser that names no page may ask for what needs `needs`: images, scripts, links and typed addresses
    /// send no `Origin`, but no page can forge what the browser tells of it instead (`Sec-Fetch-Site`). What everyone
    /// may ask for passes, since a link from elsewhere may lead there.
    ///
    /// # Errors
    /// [`Refusal::Origin`], and [`Refusal::Link`] for what was typed or opened from another program and would change
    /// something.
    pub fn fetched(&self, asking: Asking<'_>, needs: Option<Scope>) -> Result<(), Refusal> {
        let Some(needs) = needs.filter(|_| asking.origin.is_none() && !self.open) else { return Ok(()) };
        match asking.fetch_site {
            // No browser, or a page of this server.
            None | Some("same-origin") => Ok(()),
            Some("none") if needs == Scope::Read => Ok(()),
            Some("none") => Err(Refusal::Link),
            // Another port of the same host is the same site, and so is another host of the same domain.
            Some("same-site") => Err(Refusal::Origin("another origin of this site".into())),
            Some(_) => Err(Refusal::Origin("another site".into())),
        }
    }

    /// Whether the origin is listed.
    pub fn lists(&self, origin: &str) -> bool {
        self.open || self.origins.iter().any(|listed| listed == "*" || listed.eq_ignore_ascii_case(origin))
    }

    /// Who asks.
    ///
    /// # Errors
    /// [`Refusal::NoKey`] and [`Refusal::BadKey`].
    pub fn who(&self, asking: Asking<'_>, now_ms: u64) -> Result<Who, Refusal> {
        if let Some(grant) = asking.ticket {
            let grant = grant.ok_or(Refusal::BadKey)?;
            return Ok(Who { name: grant.name.clone(), scope: grant.scope });
        }
        if self.open {
            return Ok(Who { name: "anyone".into(), scope: Scope::Admin });
        }
        match asking.key {
            Some(key) => {
                // Every key is looked at, so that the time tells nothing of which one it is.
                let known = self
                    .keys
                    .iter()
                    .fold(None, |found, known| if known.opens(key, now_ms) { Some(known) } else { found });
                known.map(|known| Who { name: known.name.clone(), scope: known.scope }).ok_or(Refusal::BadKey)
            }
            None if self.loopback && is_local(asking) => {
                Ok(Who { name: "loopback".into(), scope: Scope::Admin })
            }
            None => Err(Refusal::NoKey),
        }
    }
}

impl Who {
    /// Whether they may do what needs `scope`.
    ///
    /// # Errors
    /// [`Refusal::TooLittle`].
    pub fn may(&self, needs: Scope) -> Result<(), Refusal> {
        if self.scope.rank() >= needs.rank() {
            Ok(())
        } else {
            Err(Refusal::TooLittle { has: self.scope, needs })
        }
    }
}

fn kept(file: &Path) -> io::Result<Known> {
    let (key, made) = keys::kept_in(file)?;
    let file = file.display();
    if made {
        tracing::warn!(%file, "no API key is configured: one was made, and this file holds it");
    } else {
        tracing::info!(%file, "the API key is in this file");
    }
    Ok(Known::admin("kept", key.expose()))
}

/// Whether a request comes from this machine and from nobody else behind it: not through a proxy, and not from a
/// page whose name was made to lead here (such a name stands in `Host`).
fn is_local(asking: Asking<'_>) -> bool {
    let named_here = asking.host.is_none_or(|host| {
        let name = host_name(host);
        name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
    });
    asking.peer.to_canonical().is_loopback() && !asking.forwarded && named_here
}

/// The name in `Host`, without port and brackets.
fn host_name(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

/// Whether the page is this server's own.
fn own(origin: &str, host: Option<&str>) -> bool {
    let place = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    matches!((place, host), (Some(place), Some(host)) if place.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sections::{ApiKey, Auth};

    const FAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn access(change: impl FnOnce(&mut Auth)) -> Access {
        let mut auth = Auth {
            keys: vec![ApiKey {
                name: "reader".into(),
                hash: keys::hash("k"),
                scopes: vec![Scope::Read],
                ..ApiKey::default()
            }],
            ..Auth::default()
        };
        change(&mut auth);
        Access::from_config(&Config { auth, ..Config::default() }, FAR).unwrap()
    }

    fn from(peer: IpAddr) -> Asking<'static> {
        Asking {
            peer,
            forwarded: false,
            host: Some("127.0.0.1:8080"),
            origin: None,
            fetch_site: None,
            key: None,
            ticket: None,
        }
    }

    #[test]
    fn loopback_needs_no_key_and_others_do() {
        let access = access(|_| {});
        assert_eq!(access.who(from(HERE), 0).unwrap().scope, Scope::Admin);
        assert_eq!(access.who(from(FAR), 0), Err(Refusal::NoKey));
        let who = access.who(Asking { key: Some("k"), ..from(FAR) }, 0).unwrap();
        assert_eq!(who.scope, Scope::Read);
        assert!(who.may(Scope::Read).is_ok() && who.may(Scope::Control).is_err());
        for peer in [HERE, FAR] {
            assert_eq!(access.who(Asking { key: Some("x"), ..from(peer) }, 0), Err(Refusal::BadKey));
        }
    }

    #[test]
    fn loopback_counts_only_for_this_machine_itself() {
        let access = access(|_| {});
        let refused = [
            Asking { forwarded: true, ..from(HERE) },
            Asking { host: Some("evil.example:8080"), ..from(HERE) },
        ];
        for asking in refused {
            assert_eq!(access.who(asking, 0), Err(Refusal::NoKey), "{asking:?}");
        }
        let mapped = Asking { host: Some("[::1]:80"), ..from("::ffff:127.0.0.1".parse().unwrap()) };
        assert!(access.who(mapped, 0).is_ok());
        assert!(access.who(Asking { host: Some("localhost"), ..from(HERE) }, 0).is_ok());
    }

    #[test]
    fn loopback_needs_a_key_when_configured() {
        let access = access(|auth| auth.loopback = false);
        assert_eq!(access.who(from(HERE), 0), Err(Refusal::NoKey));
    }

    #[test]
    fn pages_of_other_sites_are_refused_unless_listed() {
        let access = access(|auth| auth.origins = vec!["https://app.example".into()]);
        let asks = |origin| access.origin(Asking { origin: Some(origin), ..from(HERE) });
        assert!(asks("http://127.0.0.1:8080").is_ok() && asks("https://app.example").is_ok());
        for origin in ["http://evil.example", "null", "http://127.0.0.1:9", "https://app.example.evil"] {
            assert!(asks(origin).is_err(), "{origin}");
        }
    }

    #[test]
    fn a_browser_that_names_no_page_is_judged_by_what_it_tells_of_it() {
        let access = access(|_| {});
        let (read, control) = (Some(Scope::Read), Some(Scope::Control));
        for (site, needs, passes) in [
            (None, control, true),
            (Some("same-origin"), control, true),
            (Some("none"), read, true),
            (Some("none"), control, false),
            (Some("same-site"), read, false),
            (Some("same-site"), control, false),
            (Some("cross-site"), read, false),
            (Some("cross-site"), Some(Scope::Admin), false),
            (Some("cross-site"), None, true),
            (Some("nonsense"), control, false),
        ] {
            let asking = Asking { fetch_site: site, ..from(HERE) };
            assert_eq!(access.fetched(asking, needs).is_ok(), passes, "{site:?} {needs:?}");
        }
    }

    #[test]
    fn a_ticket_that_is_good_for_nothing_is_no_way_in() {
        let access = access(|_| {});
        assert_eq!(access.who(Asking { ticket: Some(None), ..from(HERE) }, 0), Err(Refusal::BadKey));
    }

    #[test]
    fn the_open_door_is_open() {
        let access = access(|auth| auth.mode = AuthMode::None);
        assert_eq!(access.who(from(FAR), 0).unwrap().scope, Scope::Admin);
        assert!(access.origin(Asking { origin: Some("http://evil.example"), ..from(FAR) }).is_ok());
    }

    #[test]
    fn without_keys_one_is_made_where_others_can_reach_the_server() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.key");
        let auth = Auth { key_file: file.clone(), ..Auth::default() };
        let config = Config { auth, ..Config::default() };
        Access::from_config(&config, HERE).unwrap();
        assert!(!file.exists());
        let access = Access::from_config(&config, FAR).unwrap();
        let key = std::fs::read_to_string(&file).unwrap();
        assert_eq!(access.who(Asking { key: Some(key.trim()), ..from(FAR) }, 0).unwrap().scope, Scope::Admin);
    }
}
