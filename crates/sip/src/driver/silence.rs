//! What stands before new calls: a screen that judges each at once, and sources of which nothing new is heard for a
//! while.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::Driver;
use crate::config::Time;
use crate::event::{Invite, Query};
use crate::hop::Hop;
use crate::order::Rejection;

/// Sources at once. When full a further one goes on being heard.
const MOST: usize = 4_096;

/// What becomes of a new call before anyone hears of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Screening {
    /// It is handed out.
    Admit,
    /// It is refused.
    Refuse(Rejection),
    /// It is refused, and for so long nothing new from its address (for IPv6 from its network of 64 bits) is
    /// answered. What belongs to a call, a transaction or an account goes on.
    Silence(Rejection, Duration),
}

/// Judges who may call and ask, in the driver's own task, so that no queue stands before it: it must be quick and must
/// not wait.
pub trait Judge: Send {
    /// Judges a new call before it is handed out, with the endpoint's time.
    fn call(&mut self, now: Time, invite: &Invite) -> Screening;

    /// Whether nothing new is to be heard for a while of who asks this, and for how long. It has been answered.
    fn query(&mut self, now: Time, query: &Query) -> Option<Duration>;

    /// Whether who names itself as a scanner is heard as anyone; else what it sends gets no answer.
    fn hears_scanner(&self, source: SocketAddr) -> bool;
}

/// What scanners call themselves in `User-Agent`, in lower case.
const SCANNERS: [&str; 5] = ["friendly-scanner", "sipvicious", "sipcli", "sip-scan", "pplsip"];

impl Driver {
    /// Whether of this message only what belongs to something that stands is to be heard.
    pub(super) fn is_unheard(&mut self, now: Time, from: &Hop, message: &[u8]) -> bool {
        if self.silence.holds(now, from.address.ip()) {
            return true;
        }
        let screen = self.screen.as_ref().filter(|_| is_of_scanner(message));
        // Only this message: a proxy passes on what its own callers call themselves, and anyone can write another's address.
        let unheard = screen.is_some_and(|screen| !screen.0.hears_scanner(from.address));
        if unheard {
            self.complaints.tell_scanner(now, from.address);
        }
        unheard
    }
}

/// Whether a request says that it comes from one of the usual scanners. It is looked at before it is read, since many of
/// them are sent.
fn is_of_scanner(message: &[u8]) -> bool {
    if message.starts_with(b"SIP/") {
        return false;
    }
    let value = |line: &[u8]| {
        let (name, value) = line.split_at_checked(line.iter().position(|b| *b == b':')?)?;
        let named = name.trim_ascii().eq_ignore_ascii_case(b"user-agent");
        named.then(|| String::from_utf8_lossy(value).to_ascii_lowercase())
    };
    let lines = message.split(|b| *b == b'\n').map(<[u8]>::trim_ascii_end);
    let agent = lines.skip(1).take_while(|line| !line.is_empty()).find_map(value);
    agent.is_some_and(|agent| SCANNERS.iter().any(|scanner| names(&agent, scanner)))
}

/// Whether `agent` has this name as a word: `sipcli/v1.8` has `sipcli`, and `sipclient` has not.
fn names(agent: &str, name: &str) -> bool {
    let ends = |part: Option<char>| part.is_none_or(|c| !c.is_ascii_alphanumeric());
    agent.match_indices(name).any(|(at, found)| {
        let (before, behind) = (agent.get(..at), agent.get(at + found.len()..));
        ends(before.and_then(|text| text.chars().next_back()))
            && ends(behind.and_then(|text| text.chars().next()))
    })
}

pub(super) struct Screen(pub(super) Box<dyn Judge>);

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Screen")
    }
}

/// Who is not heard, and until when.
#[derive(Debug, Default)]
pub(super) struct Silence(HashMap<IpAddr, Time>);

impl Silence {
    /// Hears nothing new of this source for so long.
    pub(super) fn add(&mut self, now: Time, source: IpAddr, span: Duration) {
        if self.0.len() >= MOST {
            self.0.retain(|_, until| now < *until);
        }
        if self.0.len() < MOST {
            self.0.insert(network(source), now.saturating_add(span));
        }
    }

    /// Whether nothing new of this source is to be heard now.
    pub(super) fn holds(&mut self, now: Time, source: IpAddr) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let source = network(source);
        let silenced = self.0.get(&source).is_some_and(|until| now < *until);
        if !silenced {
            self.0.remove(&source);
        }
        silenced
    }
}

/// Whoever has one IPv6 address has all of its 64 bits.
pub(super) fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scanners_are_known_by_what_they_call_themselves() {
        let request = |lines: &str| format!("OPTIONS sip:100@x SIP/2.0\r\nVia: x\r\n{lines}\r\n\r\nbody");
        for (message, scans) in [
            (request("User-Agent: friendly-scanner"), true),
            (request("USER-AGENT :\tSIPcli/v1.8"), true),
            (request("User-Agent: SIPClient/1.0"), false),
            (request("User-Agent: mysipcli"), false),
            (request("User-Agent: sipvicious 0.3\r\nFrom: x"), true),
            (request("User-Agent: a phone\r\nServer: sipcli"), false),
            (request("Subject: friendly-scanner"), false),
            (request("From: x\r\n\r\nUser-Agent: sipcli"), false),
            (request("User-Agent"), false),
            ("SIP/2.0 200 OK\r\nUser-Agent: sipcli\r\n\r\n".into(), false),
            (String::new(), false),
        ] {
            assert_eq!(is_of_scanner(message.as_bytes()), scans, "{message}");
        }
    }

    #[test]
    fn a_source_is_heard_again_after_its_time_and_the_list_is_bounded() {
        let (mut silence, second) = (Silence::default(), Duration::from_secs(1));
        let source: IpAddr = "198.51.100.1".parse().unwrap();
        assert!(!silence.holds(second, source));
        silence.add(second, source, second);
        assert!(silence.holds(second, source));
        assert!(silence.holds(second, "::ffff:198.51.100.1".parse().unwrap()));
        assert!(!silence.holds(second * 2, source));
        assert!(silence.0.is_empty());
        for number in 0..10_000u32 {
            silence.add(second, std::net::Ipv4Addr::from_bits(number).into(), second);
        }
        assert_eq!(silence.0.len(), MOST);
    }
}
