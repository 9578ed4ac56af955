//! Hosts that a description names in place of their addresses (RFC 8866 section 5.7). Looking them up is the driver's.

use std::net::IpAddr;

use super::parse::is_one_peer;

/// Names of one description that are looked up. A description of one phone call has one.
const MOST_HOSTS: usize = 4;
/// Longest name of the name service, as text (RFC 1035 section 2.3.4).
const LONGEST_NAME: usize = 253;

/// A host that a `c=` line names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host<'a> {
    /// Its name as written: letters, digits, hyphens, underscores and dots.
    pub name: &'a str,
    /// Whether an IPv6 address of it is wanted, and not one of IPv4.
    pub v6: bool,
}

impl Host<'_> {
    /// The first of `found` that sound may be sent to: of the wanted kind, and of a single host. What is written as an
    /// address is judged in the same way.
    pub fn pick(&self, found: &[IpAddr]) -> Option<IpAddr> {
        let wanted = |ip: &IpAddr| ip.is_ipv6() == self.v6 && is_one_peer(*ip) && !ip.is_unspecified();
        found.iter().copied().find(wanted)
    }
}

/// The hosts that `sdp` names, at most four, each once.
pub fn hosts(sdp: &str) -> Vec<Host<'_>> {
    let mut found = Vec::new();
    for host in sdp.lines().filter_map(host) {
        if found.len() < MOST_HOSTS && !found.contains(&host) {
            found.push(host);
        }
    }
    found
}

/// `sdp` with addresses in place of the hosts whose address `find` knows.
pub fn located(sdp: &str, find: impl Fn(&Host) -> Option<IpAddr>) -> String {
    let line = |line: &str| match host(line).and_then(|host| find(&host)) {
        Some(ip) => format!("c=IN {} {ip}\r\n", if ip.is_ipv6() { "IP6" } else { "IP4" }),
        None => line.to_owned(),
    };
    sdp.split_inclusive('\n').map(line).collect()
}

/// The host that a line names.
fn host(line: &str) -> Option<Host<'_>> {
    let mut words = line.strip_prefix("c=")?.split_ascii_whitespace();
    let (kind, name) = (words.nth(1)?, words.next()?);
    let part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let named = name.len() <= LONGEST_NAME && name.bytes().all(part) && name.parse::<IpAddr>().is_err();
    named.then(|| Host { name, v6: kind.eq_ignore_ascii_case("IP6") })
}
