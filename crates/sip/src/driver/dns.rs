//! Names to targets, by the name servers of the system (RFC 3263).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use rand::Rng;
use tokio::time::timeout;

use crate::hop::{Hop, Transport};
use crate::locate::{Lead, Naptr, Srv, is_denied, lead, ordered, pointed, proof, service};
use crate::order::{SipError, Unlocated};

/// Longest time for all questions about one URI.
const PATIENCE: Duration = Duration::from_secs(8);
/// Longest time for the addresses of one host: who has called waits.
const MEDIA_PATIENCE: Duration = Duration::from_secs(3);
/// Most targets of one URI.
const MOST: usize = 8;
/// What is tried without NAPTR, in this order.
const USUAL: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

/// Finds the targets of URIs. Clones share its cache.
#[derive(Debug, Clone)]
pub struct Resolver {
    names: TokioResolver,
    reach: Reach,
}

/// The addresses that datagrams can be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// Those of IPv4.
    pub v4: bool,
    /// Those of IPv6.
    pub v6: bool,
}

impl Default for Reach {
    fn default() -> Self {
        Self { v4: true, v6: true }
    }
}

impl Reach {
    /// Whether messages can go there.
    pub(super) fn covers(self, hop: &Hop) -> bool {
        // A connection has a socket of its own.
        hop.transport.is_stream() || if hop.address.ip().to_canonical().is_ipv4() { self.v4 } else { self.v6 }
    }
}

impl Resolver {
    /// A resolver that asks whom the system asks.
    ///
    /// # Errors
    /// Those of reading the system's settings.
    pub fn system() -> io::Result<Self> {
        let builder = TokioResolver::builder_tokio().map_err(io::Error::other)?;
        Ok(Self { names: builder.build().map_err(io::Error::other)?, reach: Reach::default() })
    }

    /// A resolver that asks these servers, over UDP and where an answer is long over TCP; without any,
    /// those that the system asks.
    ///
    /// # Errors
    /// Those of reading the system's settings.
    pub fn asking(servers: &[SocketAddr]) -> io::Result<Self> {
        if servers.is_empty() {
            return Self::system();
        }
        let servers = servers.iter().map(|server| {
            let ways = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut way| {
                way.port = server.port();
                way
            });
            NameServerConfig::new(server.ip(), true, ways.into())
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        Ok(Self { names: builder.build().map_err(io::Error::other)?, reach: Reach::default() })
    }

    /// The same without targets that our datagrams cannot reach.
    #[must_use]
    pub fn within(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// Where a request to this URI goes, best first, at most eight: for
    /// [`Outbound::targets`](crate::Outbound::targets) and
    /// [`Account::targets`](crate::Account::targets). An address is taken as it is, and for a name
    /// with a port only its addresses are asked for. Over TLS the peer's certificate must have the
    /// name that the URI says.
    ///
    /// # Errors
    /// [`SipError::Unlocated`] says why there is none.
    pub async fn targets(&self, uri: &str) -> Result<Vec<Hop>, SipError> {
        let lead = lead(uri)?;
        let mut search =
            Search { resolver: self, silent: false, failed: false, missing: false, beyond: None };
        let Ok(mut hops) = timeout(PATIENCE, search.follow(lead)).await else {
            return Err(Unlocated::NoAnswer.into());
        };
        hops.retain(|hop| !hop.address.ip().to_canonical().is_multicast());
        hops.truncate(MOST);
        if let Some(name) = proof(uri) {
            let named = |hop: Hop| if hop.transport.is_secure() { hop.named(&name) } else { hop };
            hops = hops.into_iter().map(named).collect();
        }
        if hops.is_empty() { Err(search.why().into()) } else { Ok(hops) }
    }

    /// The addresses of a host, best first; none when it has none or the servers do not answer in time.
    pub async fn addresses(&self, host: &str) -> Vec<IpAddr> {
        match timeout(MEDIA_PATIENCE, self.names.lookup_ip(absolute(host))).await {
            Ok(Ok(found)) => found.iter().collect(),
            _ => Vec::new(),
        }
    }
}

/// What the service records of a name say.
#[derive(Debug)]
enum Service {
    /// It is there, best first.
    At(Vec<Hop>),
    /// The name has no such service, and its addresses are not meant for it either.
    Denied,
    /// Nothing.
    Unknown,
}

/// One search, with what stood in its way.
struct Search<'a> {
    resolver: &'a Resolver,
    /// A question has got no answer.
    silent: bool,
    /// A server has failed.
    failed: bool,
    /// The name that the URI says does not exist.
    missing: bool,
    /// An address that datagrams cannot reach.
    beyond: Option<IpAddr>,
}

impl Search<'_> {
    /// Why nothing was found: what may be otherwise soon goes before what the name servers are sure of.
    fn why(&self) -> Unlocated {
        match self.beyond {
            Some(ip) if ip.to_canonical().is_ipv4() => Unlocated::OnlyV4,
            Some(_) => Unlocated::OnlyV6,
            None if self.silent => Unlocated::NoAnswer,
            None if self.failed => Unlocated::ServerFailed,
            None if self.missing => Unlocated::NoSuchName,
            None => Unlocated::NoAddress,
        }
    }

    fn note(&mut self, error: &NetError, own: bool) {
        match error {
            NetError::Dns(DnsError::NoRecordsFound(none)) => {
                self.missing |= own && none.response_code == ResponseCode::NXDomain;
            }
            NetError::Dns(_) => self.failed = true,
            _ => self.silent = true,
        }
    }

    /// The hops that can be reached.
    fn reachable(&mut self, hops: impl IntoIterator<Item = Hop>) -> Vec<Hop> {
        let mut near = Vec::new();
        for hop in hops {
            if self.resolver.reach.covers(&hop) {
                near.push(hop);
            } else {
                self.beyond = Some(hop.address.ip());
            }
        }
        near
    }

    async fn follow(&mut self, lead: Lead) -> Vec<Hop> {
        match lead {
            Lead::Address(hop) => self.reachable([hop]),
            Lead::Host { name, port, transport } => self.hosts(&name, (&name, port), transport).await,
            Lead::Service { name, transport } => {
                match self.services(&name, service(transport, &name), transport).await {
                    Service::At(found) => found,
                    Service::Denied => Vec::new(),
                    Service::Unknown => self.hosts(&name, (&name, transport.default_port()), transport).await,
                }
            }
            Lead::Open { name } => self.open(&name).await,
        }
    }

    async fn open(&mut self, name: &str) -> Vec<Hop> {
        let mut found = Vec::new();
        let mut denied = false;
        for (transport, record) in pointed(self.naptr(name).await) {
            match self.services(name, Some(record), transport).await {
                Service::At(hops) => found.extend(hops),
                Service::Denied => denied = true,
                Service::Unknown => {}
            }
        }
        for transport in USUAL {
            if !found.is_empty() {
                break;
            }
            match self.services(name, service(transport, name), transport).await {
                Service::At(hops) => found = hops,
                Service::Denied => denied = true,
                Service::Unknown => {}
            }
        }
        let transport = Transport::Udp;
        if found.is_empty() && !denied {
            found = self.hosts(name, (name, transport.default_port()), transport).await;
        }
        found
    }

    /// What a service record of `name` says.
    async fn services(&mut self, name: &str, record: Option<String>, transport: Transport) -> Service {
        let Some(record) = record else { return Service::Unknown };
        let records = self.srv(&record).await;
        if is_denied(&records) {
            return Service::Denied;
        }
        let mut found = Vec::new();
        let records = ordered(records, |most| rand::rng().random_range(0..=most));
        for Srv { host, port, .. } in records.into_iter().take(MOST) {
            found.extend(self.hosts(name, (&host, port), transport).await);
        }
        if found.is_empty() { Service::Unknown } else { Service::At(found) }
    }

    /// The addresses of a host, for a URI that says `name`.
    async fn hosts(&mut self, name: &str, (host, port): (&str, u16), transport: Transport) -> Vec<Hop> {
        let addresses = match self.resolver.names.lookup_ip(absolute(host)).await {
            Ok(addresses) => addresses,
            Err(error) => {
                self.note(&error, host == name);
                return Vec::new();
            }
        };
        let hop = |ip: IpAddr| {
            let hop = Hop::new(transport, SocketAddr::new(ip, port));
            if transport.is_secure() { hop.named(name) } else { hop }
        };
        self.reachable(addresses.iter().map(hop))
    }

    async fn records(&mut self, name: &str, kind: RecordType) -> Vec<RData> {
        match self.resolver.names.lookup(absolute(name), kind).await {
            Ok(found) => found.answers().iter().map(|record| record.data.clone()).collect(),
            Err(error) => {
                self.note(&error, false);
                Vec::new()
            }
        }
    }

    async fn srv(&mut self, name: &str) -> Vec<Srv> {
        let records =
            self.records(name, RecordType::SRV).await.into_iter().filter_map(|record| match record {
                RData::SRV(srv) => Some(Srv {
                    priority: srv.priority,
                    weight: srv.weight,
                    port: srv.port,
                    host: srv.target.to_ascii(),
                }),
                _ => None,
            });
        records.collect()
    }

    async fn naptr(&mut self, name: &str) -> Vec<Naptr> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let records = self.records(name, RecordType::NAPTR).await.into_iter();
        let records = records.filter_map(|record| match record {
            RData::NAPTR(naptr) => Some(Naptr {
                order: naptr.order,
                preference: naptr.preference,
                flags: text(&naptr.flags),
                services: text(&naptr.services),
                replacement: naptr.replacement.to_ascii(),
            }),
            _ => None,
        });
        records.collect()
    }
}

/// The name with its last dot, so that no search domain is put behind it. A name of one label is
/// left to the system: it stands in `/etc/hosts` or in the local domain.
fn absolute(name: &str) -> String {
    let name = name.trim_end_matches('.');
    if name.contains('.') { format!("{name}.") } else { name.to_owned() }
}
