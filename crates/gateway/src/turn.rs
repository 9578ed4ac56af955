//! Servers for ICE as clients are told of them, with passwords of TURN servers that last a while.
//!
//! A TURN server that shares a secret with us takes the time until which it may be used as a user's name, and the
//! HMAC-SHA1 of that name under the secret as the password ("A REST API for Access to TURN Services",
//! draft-uberti-behave-turn-rest-00 section 2.2; coturn calls it `use-auth-secret`). So no client learns a password that
//! outlives its call by much.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use protocol::rest::IceServer;
use sha1::Sha1;

use crate::config::IceServerTable;

/// What a client is told of `server` at `now_ms` (Unix milliseconds). A name of the configuration stands behind the
/// time, so that the TURN server's log tells whose it was.
pub(crate) fn told(server: &IceServerTable, now_ms: u64) -> IceServer {
    let (username, credential) = match &server.secret {
        Some(secret) => {
            let until = now_ms / 1000 + server.ttl.0.as_secs();
            let name = match server.username.as_deref().unwrap_or_default() {
                "" => until.to_string(),
                user => format!("{until}:{user}"),
            };
            let password = password(secret.expose(), &name);
            (Some(name), Some(password))
        }
        None => {
            (server.username.clone(), server.credential.as_ref().map(|secret| secret.expose().to_owned()))
        }
    };
    let credential_type = server.credential_type.clone().or_else(|| Some("password".into()));
    IceServer { urls: server.urls.clone(), username, credential, credential_type }
}

fn password(secret: &str, name: &str) -> String {
    // HMAC takes keys of any length, so the other case does not happen.
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(name.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use protocol::Secret;
    use protocol::value::Seconds;

    use super::told;
    use crate::config::IceServerTable;

    fn turn() -> IceServerTable {
        IceServerTable { urls: vec!["turn:turn.example:3478".into()], ..IceServerTable::default() }
    }

    /// Its password was made with OpenSSL: `printf 1700003600:crm | openssl dgst -sha1 -hmac north -binary | base64`.
    #[test]
    fn a_shared_secret_gives_a_password_that_lasts_as_long_as_configured() {
        let server = IceServerTable {
            username: Some("crm".into()),
            secret: Some(Secret::new("north")),
            ttl: Seconds(Duration::from_secs(3600)),
            ..turn()
        };
        let told = told(&server, 1_700_000_000_999);
        assert_eq!(told.username.as_deref(), Some("1700003600:crm"));
        assert_eq!(told.credential.as_deref(), Some("BxdQMERQxsPd5f0rnzVD3g6gxjE="));
        assert_eq!(told.credential_type.as_deref(), Some("password"));
    }

    #[test]
    fn without_a_name_the_time_alone_is_the_user_and_it_lasts_a_day() {
        let told = told(&IceServerTable { secret: Some(Secret::new("north")), ..turn() }, 1_700_000_000_000);
        assert_eq!(told.username.as_deref(), Some("1700086400"));
    }

    #[test]
    fn fixed_passwords_and_none_at_all_are_told_as_they_stand() {
        let fixed = IceServerTable {
            username: Some("u".into()),
            credential: Some(Secret::new("c")),
            credential_type: Some("oauth".into()),
            ..turn()
        };
        let fixed = told(&fixed, 0);
        assert_eq!((fixed.username.as_deref(), fixed.credential.as_deref()), (Some("u"), Some("c")));
        assert_eq!(fixed.credential_type.as_deref(), Some("oauth"));
        let open = told(&turn(), 0);
        assert_eq!((open.username, open.credential), (None, None));
    }
}
