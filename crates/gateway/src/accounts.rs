//! Accounts at registrars: each is registered from the start to the stop, and its registrar is looked up again
//! whenever it cannot be reached.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use call::setup::OwnAddress;
use schemars::JsonSchema;
use serde::Serialize;
use sip::{Account, Credentials, RegistrationId, RegistrationState, RegistrationWatch, Resolver, SipHandle};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::app;
use crate::config::{Config, RegisterUser};
use crate::outbound::{host_of, proxy_uri};

/// For how long an account is registered; a registrar may grant less, and it is refreshed after three quarters.
/// A registrar that has forgotten the account knows it again after as long.
const EXPIRES: Duration = Duration::from_secs(600);
/// Time between two tries to find a registrar whose name has no address.
const AGAIN: Duration = Duration::from_secs(15);

/// Every account of the configuration. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    rows: Vec<Arc<Row>>,
}

/// How an account stands, for the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// Its address, such as `sip:1001@pbx.example`.
    pub account: String,
    /// The registrar, as configured.
    pub server: String,
    /// `trying`, `registered`, `failed`, `ended` or `disabled`.
    pub state: &'static str,
    /// What the registrar answered when the last try failed; 408 is silence, 503 unreachable, 200 we are not listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// The same in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When that began, RFC 3339.
    pub since: String,
}

#[derive(Debug)]
struct Row {
    user: RegisterUser,
    proxy: Option<String>,
    id: OnceLock<RegistrationId>,
    standing: watch::Sender<Standing>,
    /// The way that its calls are to take, the next hop first.
    route: watch::Sender<Vec<String>>,
}

impl Accounts {
    /// The accounts of `config`, none of them registered yet.
    pub fn new(config: &Config) -> Self {
        let proxy = config.outbound_proxy.as_deref().and_then(proxy_uri);
        let row = |user: &RegisterUser| {
            let standing = Standing {
                account: address(user),
                server: user.server.clone(),
                state: if user.disabled { "disabled" } else { "trying" },
                code: None,
                reason: None,
                since: app::now(),
            };
            let (user, proxy) = (user.clone(), proxy.clone());
            let (standing, route) = (watch::Sender::new(standing), watch::Sender::default());
            Arc::new(Row { user, proxy, id: OnceLock::new(), standing, route })
        };
        Accounts { rows: config.register_users.iter().map(row).collect() }
    }

    /// How each stands, in the order of the configuration.
    pub fn standings(&self) -> Vec<Standing> {
        self.rows.iter().map(|row| row.standing.borrow().clone()).collect()
    }

    /// The way that the registrar gives to calls of the account at this place in the configuration (`Service-Route`,
    /// RFC 3608), the next hop first; empty if it gives none.
    pub(crate) fn route(&self, at: usize) -> Vec<String> {
        self.rows.get(at).map(|row| row.route.borrow().clone()).unwrap_or_default()
    }

    /// What keeps each account that is not disabled registered, until `closing`; to be spawned.
    pub fn keepers(
        &self,
        sip: &SipHandle,
        names: &Resolver,
        closing: &CancellationToken,
    ) -> Vec<impl Future<Output = ()> + Send + 'static> {
        let enabled = self.rows.iter().filter(|row| !row.user.disabled);
        let keeper = |row: &Arc<Row>| {
            let (row, sip, names, closing) = (row.clone(), sip.clone(), names.clone(), closing.clone());
            async move {
                closing.run_until_cancelled(row.keep(&sip, &names)).await;
            }
        };
        enabled.map(keeper).collect()
    }

    /// Takes every account back from its registrar, so that no more calls come by it.
    pub async fn leave(&self, sip: &SipHandle) {
        for id in self.rows.iter().filter_map(|row| row.id.get()) {
            // A driver that has stopped has unregistered by itself.
            let _ = sip.unregister(*id).await;
        }
    }
}

impl Row {
    /// Registers, and stays until the registration has ended.
    #[allow(clippy::disallowed_methods, reason = "an account is kept in real time")]
    async fn keep(&self, sip: &SipHandle, names: &Resolver) {
        let registered = loop {
            match self.register(sip, names).await {
                Ok(registered) => break registered,
                Err(why) => {
                    self.stands("failed", Some((503, why)));
                    tokio::time::sleep(AGAIN).await;
                }
            }
        };
        let (id, mut states) = registered;
        // An account is registered once.
        let _ = self.id.set(id);
        loop {
            let state = states.borrow_and_update().clone();
            self.note(&state);
            match state {
                RegistrationState::Failed { code, .. } if code == 408 || code >= 500 => {
                    if let Ok(targets) = names.targets(&self.way()).await {
                        // A registration that has ended meanwhile needs none.
                        let _ = sip.set_targets(id, targets).await;
                    }
                }
                RegistrationState::Ended => return,
                _ => {}
            }
            if states.changed().await.is_err() {
                return;
            }
        }
    }

    async fn register(
        &self,
        sip: &SipHandle,
        names: &Resolver,
    ) -> Result<(RegistrationId, RegistrationWatch), String> {
        let account = Account {
            registrar: registrar(&self.user),
            address: address(&self.user),
            display_name: self.user.display_name.clone(),
            contact_user: self.user.username.clone(),
            targets: names.targets(&self.way()).await.map_err(|error| error.to_string())?,
            proxy: self.proxy.clone(),
            credentials: credentials(&self.user),
            expires: EXPIRES,
        };
        sip.register(account).await.map_err(|error| error.to_string())
    }

    /// What is looked up.
    fn way(&self) -> String {
        self.proxy.clone().unwrap_or_else(|| registrar(&self.user))
    }

    fn note(&self, state: &RegistrationState) {
        match state {
            RegistrationState::Trying => self.stands("trying", None),
            RegistrationState::Registered { route, .. } => {
                self.route.send_if_modified(|known| {
                    let changed = known != route;
                    known.clone_from(route);
                    changed
                });
                self.stands("registered", None);
            }
            RegistrationState::Failed { code, reason, .. } => {
                self.stands("failed", Some((*code, reason.clone())));
            }
            RegistrationState::Ended => self.stands("ended", None),
        }
    }

    /// Enters a state, and logs it if it is another one.
    fn stands(&self, state: &'static str, why: Option<(u16, String)>) {
        let (code, reason) = why.unzip();
        let changed = self.standing.send_if_modified(|standing| {
            let changed = (standing.state, standing.code) != (state, code);
            if changed {
                *standing = Standing { state, code, reason, since: app::now(), ..standing.clone() };
            }
            changed
        });
        let Standing { account, reason, .. } = &*self.standing.borrow();
        if changed && state == "failed" {
            tracing::warn!(?account, code, ?reason, "an account is not registered; it is tried again");
        } else if changed {
            tracing::info!(?account, state, "an account");
        }
    }
}

/// URI of the registrar: what is configured, which may be a mere host.
pub(crate) fn registrar(user: &RegisterUser) -> String {
    proxy_uri(&user.server).unwrap_or_else(|| format!("sip:{}", user.server))
}

/// The address of an account: its user at the host of its registrar.
pub(crate) fn address(user: &RegisterUser) -> String {
    let registrar = registrar(user);
    let host = host_of(&registrar).unwrap_or(&user.server);
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    format!("sip:{}@{host}", user.username)
}

/// Whom calls of ours are from, by the host they go to.
pub(crate) fn own_addresses(config: &Config) -> Vec<OwnAddress> {
    let enabled = config.register_users.iter().filter(|user| !user.disabled);
    let own = |user: &RegisterUser| {
        Some(OwnAddress { host: host_of(&registrar(user))?.to_owned(), uri: address(user) })
    };
    enabled.filter_map(own).collect()
}

/// The account, and its place in the configuration, of a call that is from `caller`: of those that are `fit` for it the
/// one whose address that is, else the first.
pub(crate) fn of_caller<'a>(
    users: &'a [RegisterUser],
    caller: &str,
    fit: impl Fn(&RegisterUser) -> bool,
) -> Option<(usize, &'a RegisterUser)> {
    let fitting = || users.iter().enumerate().filter(|(_, user)| !user.disabled && fit(user));
    fitting().find(|(_, user)| is_of(user, caller)).or_else(|| fitting().next())
}

/// Whether `caller` is the address of this account.
fn is_of(user: &RegisterUser, caller: &str) -> bool {
    let name = caller.split_once(':').and_then(|(_, rest)| rest.rsplit_once('@')).map(|(name, _)| name);
    let name = name.map(|name| name.split([':', ';']).next().unwrap_or_default());
    name == Some(user.username.as_str()) && host_of(caller).is_some_and(|host| is_for(user, host))
}

/// Whether calls to `host` are this account's.
pub(crate) fn is_for(user: &RegisterUser, host: &str) -> bool {
    !user.disabled && host_of(&registrar(user)).is_some_and(|server| server.eq_ignore_ascii_case(host))
}

/// What answers a challenge to this account.
pub(crate) fn credentials(user: &RegisterUser) -> Option<Credentials> {
    let credential = user.credential.as_ref()?;
    let name = if credential.username.is_empty() { &user.username } else { &credential.username };
    Some(Credentials {
        realm: credential.realm.clone().filter(|realm| !realm.is_empty()),
        ..Credentials::new(name, credential.password.expose())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(server: &str) -> RegisterUser {
        RegisterUser { server: server.into(), username: "1001".into(), ..RegisterUser::default() }
    }

    #[test]
    fn an_account_is_a_user_at_the_host_of_its_registrar() {
        for (server, uri, account) in [
            ("pbx.example", "sip:pbx.example", "sip:1001@pbx.example"),
            ("pbx.example:5070", "sip:pbx.example:5070", "sip:1001@pbx.example"),
            ("sips:pbx.example", "sips:pbx.example", "sip:1001@pbx.example"),
            ("pbx.example;transport=tcp", "sip:pbx.example;transport=tcp", "sip:1001@pbx.example"),
            ("[2001:db8::1]:5060", "sip:[2001:db8::1]:5060", "sip:1001@[2001:db8::1]"),
        ] {
            assert_eq!((registrar(&user(server)).as_str(), address(&user(server)).as_str()), (uri, account));
        }
    }

    #[test]
    fn calls_to_the_host_of_an_account_are_that_accounts() {
        assert!(is_for(&user("sip:PBX.example:5060"), "pbx.example"));
        assert!(!is_for(&user("pbx.example"), "other.example"));
        assert!(!is_for(&RegisterUser { disabled: true, ..user("pbx.example") }, "pbx.example"));
    }
}
