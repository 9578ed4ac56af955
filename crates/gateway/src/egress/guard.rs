//! Which addresses may be reached on behalf of clients: public ones, and those that the configuration allows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Host;

/// How long a name may take to be found. Whoever waits for the verdict, such as the socket of a client whose command
/// holds an address, waits no longer.
const LOOKUP: Duration = Duration::from_secs(3);

/// One entry of `egress.allow`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// `*`: everything.
    All,
    /// A host by its name, wherever it leads.
    Host(String),
    /// A network, or a single address.
    Net(IpAddr, u8),
}

impl Allowed {
    /// Reads `*`, a host name, an address or a network such as `10.0.0.0/8`.
    ///
    /// # Errors
    /// A text that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Allowed::All);
        }
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        if let Ok(ip) = address.parse::<IpAddr>() {
            let most = if ip.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Some(most), |bits| bits.parse().ok().filter(|bits| *bits <= most));
            return bits
                .map(|bits| Allowed::Net(ip, bits))
                .ok_or_else(|| format!("\"{text}\": a network of this kind has at most {most} bits"));
        }
        match Host::parse(text) {
            Ok(Host::Domain(name)) if bits.is_none() => Ok(Allowed::Host(name)),
            _ => Err(format!("\"{text}\" is no host, address or network; write one such as \"10.0.0.0/8\"")),
        }
    }

    /// Whether an address belongs to the network; a name holds none.
    pub fn holds(&self, ip: IpAddr) -> bool {
        match self {
            Allowed::All => true,
            Allowed::Host(_) => false,
            Allowed::Net(net, bits) => match (net, ip) {
                (IpAddr::V4(net), IpAddr::V4(ip)) => {
                    let mask = u32::MAX.checked_shl(32 - u32::from(*bits)).unwrap_or(0);
                    net.to_bits() & mask == ip.to_bits() & mask
                }
                (IpAddr::V6(net), IpAddr::V6(ip)) => {
                    let mask = u128::MAX.checked_shl(128 - u32::from(*bits)).unwrap_or(0);
                    net.to_bits() & mask == ip.to_bits() & mask
                }
                _ => false,
            },
        }
    }
}

/// Says where a name leads.
trait Names: fmt::Debug + Send + Sync {
    fn find<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The names that this machine knows.
#[derive(Debug)]
struct OfTheSystem;

impl Names for OfTheSystem {
    fn find<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) }.boxed()
    }
}

/// Decides about addresses. Clones share the list.
#[derive(Clone, Debug)]
pub struct Guard {
    allowed: Arc<[Allowed]>,
    names: Arc<dyn Names>,
}

impl Guard {
    /// Public addresses and those of `allowed`; entries that the check of the configuration refuses are left out.
    pub fn new(allowed: &[String]) -> Self {
        let allowed = allowed.iter().filter_map(|text| Allowed::parse(text).ok()).collect();
        Guard { allowed, names: Arc::new(OfTheSystem) }
    }

    /// Whether `ip` may be reached under the name `host`.
    fn admits(&self, host: &str, ip: IpAddr) -> bool {
        let ip = meant(ip);
        let named =
            |allowed: &Allowed| matches!(allowed, Allowed::Host(name) if name.eq_ignore_ascii_case(host));
        is_public(ip) || self.allowed.iter().any(|allowed| named(allowed) || allowed.holds(ip))
    }

    /// Whether an address that is written in `url` itself may be reached. A name says nothing yet.
    ///
    /// # Errors
    /// It says what would allow it.
    pub fn literal(&self, url: &Url) -> Result<(), Unreachable> {
        let ip = match url.host() {
            Some(Host::Ipv4(ip)) => IpAddr::V4(ip),
            Some(Host::Ipv6(ip)) => IpAddr::V6(ip),
            Some(Host::Domain(_)) => return Ok(()),
            None => return Err(Unreachable::Lost("the address has no host".into())),
        };
        if self.admits("", ip) { Ok(()) } else { Err(Unreachable::Refused(ip.to_string())) }
    }

    /// Where `host` leads, as far as that may be reached.
    ///
    /// # Errors
    /// The name is not known, or leads to addresses only that may not be reached.
    pub async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Unreachable> {
        let all = tokio::time::timeout(LOOKUP, self.names.find(host, port))
            .await
            .map_err(|_| Unreachable::Lost(format!("{host} is not found in time")))?
            .map_err(|e| Unreachable::Lost(format!("the name is not known: {e}")))?;
        let good: Vec<SocketAddr> = all.iter().copied().filter(|a| self.admits(host, a.ip())).collect();
        if good.is_empty() { Err(Unreachable::Refused(host.to_owned())) } else { Ok(good) }
    }

    /// Whether `text`, an address of http(s) or ws(s) or a bare `host:port`, leads to where calls may reach.
    ///
    /// # Errors
    /// A text that says why not.
    pub async fn check(&self, text: &str) -> Result<(), String> {
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = Url::parse(&whole).map_err(|e| format!("no address: {e}"))?;
        if !matches!(url.scheme(), "http" | "https" | "ws" | "wss") {
            return Err("only http, https, ws and wss addresses are reached".into());
        }
        match url.host() {
            Some(Host::Domain(name)) => {
                self.addresses(name, url.port_or_known_default().unwrap_or(443)).await?;
            }
            _ => self.literal(&url)?,
        }
        Ok(())
    }
}

/// Names are looked up here, so that what is connected to is what was judged.
impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            // The port is put in by the one who asks.
            let found = guard.addresses(name.as_str(), 0).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Why nothing leads to an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// It may not be reached.
    #[error("{0} is a private address; list it in egress.allow if it may be reached")]
    Refused(String),
    /// There is nothing.
    #[error("{0}")]
    Lost(String),
}

impl From<Unreachable> for String {
    fn from(why: Unreachable) -> Self {
        why.to_string()
    }
}

/// The IPv4 address inside an IPv6 address that carries one: mapped, compatible, NAT64 (RFC 6052) and 6to4
/// (RFC 3056).
fn meant(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let inner =
        |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low)));
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, a, b] | [0x64, 0xff9b, 0, 0, 0, 0, a, b] | [0x2002, a, b, ..] => inner(a, b),
        // The last two are the unspecified address and loopback.
        [0, 0, 0, 0, 0, 0, a, b] if a != 0 || b > 1 => inner(a, b),
        _ => ip,
    }
}

/// Whether an address belongs to the public internet (the registries of RFC 6890).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => public_v4(ip),
        IpAddr::V6(ip) => public_v6(ip),
    }
}

fn public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !special
}

fn public_v6(ip: Ipv6Addr) -> bool {
    let [first, second, third, ..] = ip.segments();
    let special = matches!((first, second), (0x2001, 0 | 0x0db8) | (0x0100, 0))
        || (first, second, third) == (0x64, 0xff9b, 1)
        // What is not global unicast: loopback, unique local, link-local, multicast and what is not given out.
        || first & 0xe000 != 0x2000;
    !special
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::config::EgressTable;
    use crate::egress::Egress;

    fn guard(allowed: &[&str]) -> Guard {
        Guard::new(&allowed.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn private_addresses_are_refused_however_they_are_written() {
        let guard = guard(&[]);
        for host in [
            "127.0.0.1",
            "127.1",
            "0x7f.1",
            "2130706433",
            "017700000001",
            "0",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:a00:1]",
            "[::10.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[fe80::1]",
            "[fd00::1]",
            "[ff02::1]",
        ] {
            let url = Url::parse(&format!("http://{host}/x")).unwrap();
            assert!(guard.literal(&url).is_err(), "{host} as {url}");
        }
        for host in ["8.8.8.8", "[2606:4700::1]", "[::ffff:8.8.8.8]", "example.com"] {
            assert!(guard.literal(&Url::parse(&format!("http://{host}/")).unwrap()).is_ok(), "{host}");
        }
    }

    #[test]
    fn the_list_allows_networks_addresses_and_names() {
        let guard = guard(&["10.0.0.0/8", "127.0.0.1", "fd00::/16", "files.internal", "nonsense/9"]);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (host, address) in [
            ("x", "10.200.0.1"),
            ("x", "::ffff:10.0.0.1"),
            ("x", "127.0.0.1"),
            ("x", "fd00::7"),
            ("FILES.internal", "192.168.0.1"),
        ] {
            assert!(guard.admits(host, ip(address)), "{host} {address}");
        }
        for (host, address) in [("x", "127.0.0.2"), ("x", "fd01::7"), ("y", "192.168.0.1")] {
            assert!(!guard.admits(host, ip(address)), "{host} {address}");
        }
        assert!(Guard::new(&["*".into()]).admits("x", ip("127.0.0.1")));
        assert!(Allowed::parse("10.0.0.0/33").is_err() && Allowed::parse("a b").is_err());
        assert_eq!(Allowed::parse("0.0.0.0/0"), Ok(Allowed::Net(ip("0.0.0.0"), 0)));
    }

    #[tokio::test]
    async fn a_name_is_judged_by_where_it_leads() {
        assert!(guard(&[]).addresses("localhost", 80).await.is_err());
        assert!(!guard(&["127.0.0.0/8", "::1"]).addresses("localhost", 80).await.unwrap().is_empty());
        assert!(!guard(&["localhost"]).addresses("localhost", 80).await.unwrap().is_empty());
        assert!(guard(&[]).check("ws://localhost:9/x").await.is_err());
        assert!(guard(&[]).check("localhost:9").await.is_err());
        assert!(guard(&[]).check("gopher://8.8.8.8").await.is_err());
        assert!(guard(&[]).check("wss://8.8.8.8/x").await.is_ok());
    }

    /// A name server that gives each answer once, and the last one from then on.
    #[derive(Debug)]
    struct Rebinding {
        answers: Vec<&'static str>,
        asked: AtomicUsize,
    }

    impl Names for Rebinding {
        fn find<'a>(&'a self, _: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
            let nth = self.asked.fetch_add(1, Ordering::SeqCst).min(self.answers.len() - 1);
            let found = SocketAddr::new(self.answers[nth].parse().unwrap(), port);
            async move { Ok(vec![found]) }.boxed()
        }
    }

    /// An egress that allows `allow` and looks names up there.
    fn egress(answers: &[&'static str], allow: &[&str]) -> (Egress, Arc<Rebinding>) {
        let names = Arc::new(Rebinding { answers: answers.to_vec(), asked: AtomicUsize::new(0) });
        let guard = Guard { names: names.clone(), ..guard(allow) };
        (Egress::guarded_by("test", &EgressTable::default(), guard).unwrap(), names)
    }

    #[tokio::test]
    async fn a_name_that_changes_between_the_check_and_the_fetch_leads_nowhere() {
        let inside = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        inside.set_nonblocking(true).unwrap();
        let port = inside.local_addr().unwrap().port();
        let (egress, names) = egress(&["8.8.8.8", "127.0.0.1"], &[]);
        let url = format!("http://rebinding.test:{port}/a.wav");
        egress.guard().check(&url).await.unwrap();
        let refused = egress.open(&url).await.map(drop).unwrap_err();
        assert_eq!(refused.code, 403, "{}", refused.why);
        assert!(inside.accept().is_err(), "nobody has come");
        assert_eq!(names.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn the_address_that_was_judged_is_the_one_that_is_dialled() {
        let outside = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = outside.local_addr().unwrap().port();
        let (egress, names) = egress(&["127.0.0.1", "127.0.0.2"], &["127.0.0.1"]);
        let url = format!("http://rebinding.test:{port}/a.wav");
        let answering = async {
            let (mut stream, _) = outside.accept().await.unwrap();
            assert!(tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 4096]).await.unwrap() > 0);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.unwrap();
            stream
        };
        let (opened, _stream) = tokio::join!(egress.open(&url), answering);
        assert!(opened.is_ok());
        assert_eq!(names.asked.load(Ordering::SeqCst), 1, "it is not asked again between");
    }
}
