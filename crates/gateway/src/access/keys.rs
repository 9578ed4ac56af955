//! API keys: made from random bytes, kept as their hash, compared in constant time.

use std::io::{self, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::DateTime;
use protocol::Secret;
use sha2::{Digest, Sha256};

use crate::config::sections::ApiKey;
use crate::config::words::Scope;
use crate::files::hex;

/// What a key begins with, so that it is recognised where it should not be.
const PREFIX: &str = "ac_";
/// Random bytes of a key: nobody guesses one, so a plain hash protects it.
const RANDOM_BYTES: usize = 32;
/// What a hash begins with in the configuration.
const HASH_PREFIX: &str = "sha256:";
/// Largest file that a key is read from.
const MAX_FILE: u64 = 4096;

/// A new key.
pub fn make() -> Secret {
    let random: [u8; RANDOM_BYTES] = rand::random();
    Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random)))
}

/// The hash of `key` as it stands in the configuration: `sha256:` and 64 hexadecimal digits.
pub fn hash(key: &str) -> String {
    format!("{HASH_PREFIX}{}", hex(&digest(key)))
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// The bytes of a hash as [`hash`] writes it.
///
/// # Errors
/// A text that says what a hash looks like.
pub fn parse_hash(text: &str) -> Result<[u8; 32], String> {
    let wrong = || "a hash is \"sha256:\" and 64 hexadecimal digits; `active-call key` makes one".to_owned();
    let digits = text.strip_prefix(HASH_PREFIX).filter(|digits| digits.len() == 64 && digits.is_ascii());
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        let pair = digits.and_then(|digits| digits.get(2 * index..2 * index + 2)).ok_or_else(wrong)?;
        // A sign would parse too.
        let digits = pair.bytes().all(|digit| digit.is_ascii_hexdigit());
        *byte = u8::from_str_radix(pair, 16).ok().filter(|_| digits).ok_or_else(wrong)?;
    }
    Ok(bytes)
}

/// A key that the server knows.
#[derive(Clone, Debug)]
pub struct Known {
    /// What the log calls its holder.
    pub name: String,
    /// What it may do.
    pub scope: Scope,
    /// It counts until then, Unix ms.
    expires_ms: Option<u64>,
    hash: [u8; 32],
}

impl Known {
    /// The key of a row of the configuration; `None` for a row that the check of the configuration refuses.
    pub fn from_row(row: &ApiKey) -> Option<Self> {
        let expires_ms = match &row.expires {
            None => None,
            Some(text) => {
                Some(u64::try_from(DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis()).unwrap_or(0))
            }
        };
        Some(Known {
            name: row.name.clone(),
            scope: row.scopes.iter().copied().max_by_key(|scope| scope.rank())?,
            expires_ms,
            hash: parse_hash(&row.hash).ok()?,
        })
    }

    /// A key that may do everything.
    pub fn admin(name: &str, key: &str) -> Self {
        Known { name: name.into(), scope: Scope::Admin, expires_ms: None, hash: digest(key) }
    }

    /// Whether `key` is this one, at `now_ms`. Takes the same time for every key.
    pub fn opens(&self, key: &str, now_ms: u64) -> bool {
        let differing = self
            .hash
            .iter()
            .zip(digest(key))
            .fold(0, |differing, (ours, theirs)| differing | (ours ^ theirs));
        differing == 0 && self.expires_ms.is_none_or(|end| now_ms < end)
    }
}

/// The key in the file at `path`, made with its file, which only the owner may read, where there is none.
/// The flag says whether it was made.
///
/// # Errors
/// Those of the file system; a file that others may read is refused too.
pub fn kept_in(path: &Path) -> io::Result<(Secret, bool)> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(mut file) => {
            let key = make();
            writeln!(file, "{}", key.expose())?;
            file.sync_all()?;
            Ok((key, true))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let meta = std::fs::metadata(path)?;
            if meta.permissions().mode() & 0o077 != 0 {
                return Err(io::Error::other("others may read it; run chmod 600 on it"));
            }
            if meta.len() > MAX_FILE {
                return Err(io::Error::other("it is too large for a key"));
            }
            let text = std::fs::read_to_string(path)?;
            let key = text.trim();
            if !key.starts_with(PREFIX) || key.len() < PREFIX.len() + RANDOM_BYTES {
                return Err(io::Error::other("it holds no key; remove it, and a new one is made"));
            }
            Ok((Secret::new(key), false))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_opens_what_its_hash_locks_and_nothing_else() {
        let key = make();
        let row = ApiKey {
            name: "x".into(),
            hash: hash(key.expose()),
            scopes: vec![Scope::Read, Scope::Control],
            ..ApiKey::default()
        };
        let known = Known::from_row(&row).unwrap();
        assert_eq!(known.scope, Scope::Control);
        assert!(known.opens(key.expose(), 0));
        assert!(!known.opens(make().expose(), 0) && !known.opens("", 0) && !known.opens(&row.hash, 0));
    }

    #[test]
    fn a_key_counts_until_it_expires() {
        let row = ApiKey {
            hash: hash("k"),
            scopes: vec![Scope::Read],
            expires: Some("2025-10-09T08:53:20Z".into()),
            ..ApiKey::default()
        };
        let known = Known::from_row(&row).unwrap();
        assert!(known.opens("k", 1_759_999_999_999) && !known.opens("k", 1_760_000_000_000));
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        for text in ["", "sha256:", "sha256:zz", &hash("x")[..70], &format!("{}0", hash("x"))] {
            assert!(parse_hash(text).is_err(), "{text}");
        }
        assert!(parse_hash(&format!("sha256:{}", "+1".repeat(32))).is_err());
    }

    #[test]
    fn the_kept_key_is_made_once_and_only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config/the.key");
        let (first, made) = kept_in(&path).unwrap();
        assert!(made);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (second, made) = kept_in(&path).unwrap();
        assert!(!made && first.expose() == second.expose());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(kept_in(&path).is_err(), "a file that others may read is no secret");
    }
}
