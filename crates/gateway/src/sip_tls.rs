//! The streams of SIP: which listeners the configuration asks for, whose certificates are believed, and our own
//! certificate, which is read again when its file changes.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sip::{Identity, SipHandle, Streams, Trust};
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// Time between two looks whether the certificate has changed.
const LOOK: Duration = Duration::from_secs(2);
/// Largest file of certificates that is read, in bytes: the roots of a system have a quarter of it.
const MOST_BYTES: u64 = 1 << 20;

/// The listeners that `config` asks for at `ip`.
///
/// # Errors
/// When a file of certificates cannot be read, or certificate and key do not fit.
pub(crate) fn streams(config: &Config, ip: IpAddr) -> io::Result<Streams> {
    let at = |port: u16| SocketAddr::new(ip, port);
    let trust = match (&config.tls_ca_file, config.tls_verify) {
        (_, false) => Trust::Anyone,
        (Some(file), true) => Trust::Roots(read(file)?),
        (None, true) => Trust::System,
    };
    Ok(Streams {
        tcp: Some(at(config.tcp_port.unwrap_or(config.udp_port))),
        tls: config.tls_port.map(at),
        ws: config.ws_port.map(at),
        wss: config.wss_port.map(at),
        identity: Certificate::of(config).map(|files| files.identity()).transpose()?,
        trust,
        origins: config.auth.origins.iter().map(|origin| origin.trim_end_matches('/').to_owned()).collect(),
        ..Streams::default()
    })
}

/// The files of our certificate and its key.
#[derive(Debug)]
pub(crate) struct Certificate {
    chain: PathBuf,
    key: PathBuf,
}

impl Certificate {
    /// The files that `config` names.
    pub(crate) fn of(config: &Config) -> Option<Self> {
        let (chain, key) = config.tls_cert_file.clone().zip(config.tls_key_file.clone())?;
        Some(Certificate { chain, key })
    }

    /// Gives the driver the certificate anew whenever a file has changed, until `closing`. One that cannot be used
    /// leaves the old one in place.
    pub(crate) async fn keep_current(self, handle: SipHandle, closing: CancellationToken) {
        let mut stamps = self.stamps();
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while closing.run_until_cancelled(looks.tick()).await.is_some() {
            let now = self.stamps();
            if now == stamps {
                continue;
            }
            stamps = now;
            match self.identity() {
                Ok(identity) => {
                    // A driver that has stopped needs none.
                    let _ = handle.set_identity(identity).await;
                    tracing::info!(chain = %self.chain.display(), "the certificate of SIP was read again");
                }
                Err(error) => {
                    tracing::error!(%error, "the new certificate of SIP cannot be used; the old one stays");
                }
            }
        }
    }

    fn identity(&self) -> io::Result<Identity> {
        let (chain, key) = (read(&self.chain)?, read(&self.key)?);
        let named = |error: io::Error| io::Error::other(format!("{}: {error}", self.chain.display()));
        Identity::from_pem(&chain, &key).map_err(named)
    }

    fn stamps(&self) -> [Option<SystemTime>; 2] {
        let stamp = |path: &PathBuf| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
        [stamp(&self.chain), stamp(&self.key)]
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    if std::fs::metadata(path).map_err(named)?.len() > MOST_BYTES {
        return Err(io::Error::other(format!("{}: larger than a megabyte", path.display())));
    }
    std::fs::read(path).map_err(named)
}
