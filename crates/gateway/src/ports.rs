//! The pool of RTP ports: sound on even ones, reports on the odd ones above.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
#[allow(
    clippy::disallowed_types,
    reason = "the pool belongs to no call; the lock is held for a look into a set"
)]
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use call::media_thread::Wire;

/// How long a port rests after its call, where a peer knows of it: packets of the old call that are still under way reach nobody.
const REST: Duration = Duration::from_secs(10);
/// Expedited forwarding, RFC 4594 section 4.1, as the value of the TOS byte.
const EXPEDITED: u32 = 0xb8;

/// Hands out bound sockets on even ports of a range, in turn, so that a port comes again as late as possible.
#[derive(Clone, Debug)]
#[allow(clippy::disallowed_types, reason = "as above")]
pub struct Ports {
    bind: IpAddr,
    first: u16,
    count: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    next: u16,
    busy: HashSet<u16>,
    resting: VecDeque<(Instant, u16)>,
}

impl State {
    /// Ends the rests whose time is over.
    fn wake(&mut self, now: Instant) {
        while self.resting.front().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, port)) = self.resting.pop_front() {
                self.busy.remove(&port);
            }
        }
    }
}

/// A port in use; dropping it begins its rest, or frees it at once where no peer was told of it.
#[derive(Debug)]
pub struct Port {
    pool: Ports,
    number: u16,
    told: Arc<AtomicBool>,
}

impl Ports {
    /// The even ports from `first` to `last`, bound on `bind`.
    pub fn new(bind: IpAddr, first: u16, last: u16) -> Self {
        let first = first.saturating_add(first % 2);
        let count = if last < first { 0 } else { (last - first) / 2 + 1 };
        Ports { bind, first, count, state: Arc::default() }
    }

    /// Non-blocking sockets on a free port and, for reports, on the odd one above it, or `None` when none is left. `now`
    /// is the time by which rests end.
    pub fn take(&self, now: Instant) -> Option<(Wire, Port)> {
        for _ in 0..self.count {
            let number = self.reserve(now)?;
            let port = Port { pool: self.clone(), number, told: Arc::default() };
            match bind(SocketAddr::new(self.bind, number)) {
                Ok(sound) => {
                    let reports =
                        number.checked_add(1).and_then(|odd| bind(SocketAddr::new(self.bind, odd)).ok());
                    return Some((Wire::Udp { sound, reports }, port));
                }
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                    // No other port of an address that is not here can be had either.
                    tracing::error!(address = %self.bind, %error, "RTP cannot be bound; change rtp_bind_ip or addr");
                    return None;
                }
                Err(error) => tracing::debug!(port = number, %error, "an RTP port is taken by someone else"),
            }
        }
        None
    }

    fn reserve(&self, now: Instant) -> Option<u16> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.wake(now);
        for _ in 0..self.count {
            let number = self.first + 2 * (state.next % self.count);
            state.next = (state.next + 1) % self.count;
            if state.busy.insert(number) {
                return Some(number);
            }
        }
        None
    }

    /// Whether only the last quarter of the ports is left. `now` is the time by which rests end.
    pub fn is_scarce(&self, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.wake(now);
        state.busy.len() >= usize::from(self.count - self.count / 4)
    }

    #[allow(clippy::disallowed_methods, reason = "the pool is a driver: its rests are spans of real time")]
    fn rest(&self, number: u16) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.resting.push_back((Instant::now() + REST, number));
    }

    fn free(&self, number: u16) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.busy.remove(&number);
    }
}

impl Port {
    /// The port number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// To be set when a peer is told of the port: from then on packets may be under way to it.
    pub fn told(&self) -> Arc<AtomicBool> {
        self.told.clone()
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if self.told.load(Ordering::Relaxed) {
            self.pool.rest(self.number);
        } else {
            self.pool.free(self.number);
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv4() {
        // Without the mark the packets go as all others do.
        let _ = socket2::SockRef::from(&socket).set_tos_v4(EXPEDITED);
    }
    Ok(socket)
}

/// The address by which this machine reaches `peer`; loopback when it reaches nothing.
pub fn address_towards(peer: SocketAddr) -> IpAddr {
    let any = if peer.is_ipv4() { SocketAddr::from(([0; 4], 0)) } else { SocketAddr::from(([0; 16], 0)) };
    let loopback =
        if peer.is_ipv4() { IpAddr::from([127, 0, 0, 1]) } else { IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]) };
    UdpSocket::bind(any)
        .and_then(|socket| {
            socket.connect(peer)?;
            socket.local_addr()
        })
        .map_or(loopback, |address| address.ip())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the tests move the time given to `take` by hand, from now on")]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn numbers(pool: &Ports, now: Instant) -> Vec<(Wire, Port)> {
        std::iter::from_fn(|| pool.take(now)).collect()
    }

    #[test]
    fn ports_are_even_and_never_given_twice() {
        let now = Instant::now();
        let pool = Ports::new(HERE, 34_001, 34_020);
        let taken = numbers(&pool, now);
        assert!(taken.len() <= 10 && !taken.is_empty());
        assert!(taken.iter().all(|(_, port)| port.number() % 2 == 0));
        let distinct: HashSet<u16> = taken.iter().map(|(_, port)| port.number()).collect();
        assert_eq!(distinct.len(), taken.len());
    }

    #[test]
    fn ports_are_scarce_while_only_a_quarter_is_left_whatever_rests() {
        let now = Instant::now();
        let pool = Ports::new(HERE, 34_100, 34_107);
        let taken: Vec<u16> = std::iter::from_fn(|| pool.reserve(now)).take(3).collect();
        assert!(pool.is_scarce(now));
        pool.free(taken[0]);
        assert!(!pool.is_scarce(now));
        pool.reserve(now);
        taken[1..].iter().for_each(|port| pool.rest(*port));
        assert!(pool.is_scarce(now) && !pool.is_scarce(now + REST * 2));
    }

    #[test]
    fn a_port_rests_after_its_call() {
        let now = Instant::now();
        let pool = Ports::new(HERE, 34_040, 34_044);
        let taken = numbers(&pool, now);
        assert!(!taken.is_empty());
        taken.iter().for_each(|(_, port)| port.told().store(true, Ordering::Relaxed));
        drop(taken);
        assert!(pool.take(now).is_none(), "all rest");
        assert!(pool.take(now + REST + Duration::from_secs(1)).is_some());
    }

    #[test]
    fn a_port_that_no_peer_was_told_of_is_free_at_once() {
        let now = Instant::now();
        let pool = Ports::new(HERE, 34_100, 34_104);
        let count = numbers(&pool, now).len();
        assert!(count > 0);
        assert_eq!(numbers(&pool, now).len(), count);
    }

    #[test]
    fn a_range_without_ports_gives_none() {
        assert!(Ports::new(HERE, 34_060, 34_050).take(Instant::now()).is_none());
    }

    #[test]
    fn an_address_that_is_not_here_takes_one_try() {
        let now = Instant::now();
        let pool = Ports::new(IpAddr::from([192, 0, 2, 1]), 34_080, 34_090);
        assert!(pool.take(now).is_none());
        assert!(pool.state.lock().unwrap().busy.is_empty());
    }

    #[test]
    fn loopback_is_reached_from_loopback() {
        assert_eq!(address_towards(SocketAddr::from(([127, 0, 0, 1], 5060))), HERE);
    }
}
