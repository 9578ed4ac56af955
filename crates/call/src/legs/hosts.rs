//! Hosts that the far end names in place of their addresses: they are looked up before the rules see the description.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;
use rtp::sdp::{self, Host};

/// Hosts that a leg remembers. Beyond it all are forgotten.
const MOST_KNOWN: usize = 8;

/// Finds the addresses of hosts.
#[async_trait]
pub trait Names: Send + Sync {
    /// The addresses of `host`, best first; none when it is not known, or not found in time. The answer never takes
    /// longer than a few seconds.
    async fn addresses(&self, host: &str) -> Vec<IpAddr>;
}

/// The hosts of one leg. A name with several addresses keeps the one that was found first as long as it has it: a
/// refresh of the session moves no sound.
pub(crate) struct Hosts {
    names: Arc<dyn Names>,
    known: BTreeMap<String, IpAddr>,
}

impl Hosts {
    pub(crate) fn new(names: Arc<dyn Names>) -> Self {
        Hosts { names, known: BTreeMap::new() }
    }

    /// Those of another leg, of which nothing is known yet.
    pub(crate) fn anew(&self) -> Self {
        Hosts::new(self.names.clone())
    }

    /// `sdp` with addresses in place of the hosts that are found.
    pub(crate) async fn locate(&mut self, sdp: &str) -> String {
        let hosts = sdp::hosts(sdp);
        let all = join_all(hosts.iter().map(|host| self.names.addresses(host.name))).await;
        let found: Vec<(Host, IpAddr)> = hosts
            .into_iter()
            .zip(all)
            .filter_map(|(host, addresses)| Some((host, self.choose(&host, &addresses)?)))
            .collect();
        sdp::located(sdp, |host| found.iter().find(|(known, _)| known == host).map(|(_, ip)| *ip))
    }

    fn choose(&mut self, host: &Host, found: &[IpAddr]) -> Option<IpAddr> {
        let name = host.name.to_ascii_lowercase();
        let before = self.known.get(&name).copied().filter(|ip| found.contains(ip));
        let chosen = before.and_then(|ip| host.pick(&[ip])).or_else(|| host.pick(found))?;
        if self.known.len() >= MOST_KNOWN && !self.known.contains_key(&name) {
            self.known.clear();
        }
        self.known.insert(name, chosen);
        Some(chosen)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A name server that gives the addresses of `media.test` in another order each time.
    struct Rotating {
        addresses: Vec<IpAddr>,
        asked: AtomicUsize,
    }

    fn rotating(addresses: &[&str]) -> Arc<dyn Names> {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(Rotating { addresses, asked: AtomicUsize::new(0) })
    }

    #[async_trait]
    impl Names for Rotating {
        async fn addresses(&self, host: &str) -> Vec<IpAddr> {
            let mut all = self.addresses.clone();
            let turn = self.asked.fetch_add(1, Ordering::Relaxed) % self.addresses.len();
            all.rotate_left(turn);
            if host == "media.test" { all } else { Vec::new() }
        }
    }

    #[tokio::test]
    async fn a_host_with_several_addresses_keeps_one_as_long_as_it_has_it() {
        let mut hosts = Hosts::new(rotating(&["::1", "192.0.2.1", "192.0.2.2", "0.0.0.0", "224.0.0.1"]));
        let offer = "v=0\r\nc=IN IP4 media.test\r\nm=audio 4000 RTP/AVP 0\r\n";
        for _ in 0..7 {
            assert!(hosts.locate(offer).await.contains("c=IN IP4 192.0.2.1\r\n"));
        }
        hosts.names = rotating(&["::1", "192.0.2.2"]);
        assert!(hosts.locate(offer).await.contains("c=IN IP4 192.0.2.2\r\n"), "it has moved");
        assert!(hosts.locate(&offer.replace("IP4", "IP6")).await.contains("c=IN IP6 ::1\r\n"));
        let unknown = offer.replace("media", "nowhere");
        assert_eq!(hosts.locate(&unknown).await, unknown);
    }
}
