//! Names of hosts in descriptions (`c=IN IP4 media.example.com`), looked up for the legs of calls.

use std::io;
use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use call::legs::hosts::Names;
use sip::{Reach, Resolver};
use tokio::sync::Semaphore;

/// Names that are looked up at once. Beyond it a name counts as unknown: a caller who sends names for nobody's sake
/// must not keep the name servers busy.
const MOST_AT_ONCE: usize = 64;

/// The name service, as far as callers may make use of it.
#[derive(Debug)]
pub(crate) struct MediaNames {
    resolver: Resolver,
    places: Semaphore,
}

impl MediaNames {
    /// Names that these servers know; without any, those that the system asks. Targets of SIP are those that datagrams
    /// can `reach`.
    ///
    /// # Errors
    /// Those of reading the system's settings.
    pub(crate) fn asking(servers: &[SocketAddr], reach: Reach) -> io::Result<Self> {
        let resolver = Resolver::asking(servers)?.within(reach);
        Ok(MediaNames { resolver, places: Semaphore::new(MOST_AT_ONCE) })
    }

    /// What finds the targets of URIs.
    pub(crate) fn resolver(&self) -> &Resolver {
        &self.resolver
    }
}

#[async_trait]
impl Names for MediaNames {
    async fn addresses(&self, host: &str) -> Vec<IpAddr> {
        match self.places.try_acquire() {
            Ok(_place) => self.resolver.addresses(host).await,
            Err(_) => {
                tracing::warn!(?host, "too many names of media addresses are looked up; this one is not");
                Vec::new()
            }
        }
    }
}
