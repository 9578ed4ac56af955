//! What an endpoint is told once: its names, addresses, timers and limits.

use std::net::SocketAddr;
use std::time::Duration;

/// Time since the endpoint's own origin.
///
/// The driver takes its start as the origin; a test moves it by hand. It never runs backwards.
pub type Time = Duration;

/// The settings of an [`Endpoint`](crate::Endpoint).
#[derive(Debug, Clone)]
pub struct Config {
    /// Value of `User-Agent` in requests and `Server` in responses. Characters that may not stand
    /// in a header are left out.
    pub user_agent: String,
    /// The address that peers can reach us at (`external_ip` and port): it stands in `Contact` and
    /// `Via`. With a port of 0 or an unspecified address nothing can call back.
    pub advertised: SocketAddr,
    /// The same for TCP, if it differs.
    pub advertised_tcp: Option<SocketAddr>,
    /// The same for TLS; absent without TLS.
    pub advertised_tls: Option<SocketAddr>,
    /// The same for WebSockets in the clear.
    pub advertised_ws: Option<SocketAddr>,
    /// The same for WebSockets under TLS.
    pub advertised_wss: Option<SocketAddr>,
    /// Whether TCP can be used: then a request of more than 1,300 bytes goes by TCP instead of in a
    /// datagram (RFC 3261 section 18.1.1).
    pub tcp: bool,
    /// User part of our `Contact`.
    pub contact_user: String,
    /// Seed of the generator of tags, branches and Call-IDs. It comes from the operating system in
    /// a server and is a constant in a test; who knows it can forge requests inside our dialogs.
    pub seed: [u8; 32],
    /// Estimate of a round trip, RFC 3261 table 4. Everything is given up after 64 of it.
    pub t1: Duration,
    /// Longest distance of two retransmissions, RFC 3261 table 4.
    pub t2: Duration,
    /// Longest time that a message stays in the network, RFC 3261 table 4.
    pub t4: Duration,
    /// Dialogs at once; a further INVITE gets 503 with `Retry-After`, without any state.
    pub max_dialogs: usize,
    /// Transactions at once, 4 kB each; a further INVITE outside dialogs gets 503 without any state.
    /// Four times as many answers (under 1 kB each) are remembered for copies of their requests;
    /// beyond that the oldest is forgotten. A call needs two of them for 32 seconds.
    pub max_transactions: usize,
    /// The session timer that our calls ask for and that callers who can refresh are asked for
    /// (RFC 4028), at least 90 seconds; absent means only what a caller asks for.
    pub session_expires: Option<Duration>,
    /// The shortest session timer that is taken, at least 90 seconds.
    pub min_session_expires: Duration,
    /// Value of `Retry-After` in every 503.
    pub retry_after: Duration,
}

impl Config {
    /// Settings for an endpoint that is reached at `advertised`, with the timers of RFC 3261.
    pub fn new(advertised: SocketAddr, seed: [u8; 32]) -> Self {
        Self {
            user_agent: "active-call".to_owned(),
            advertised,
            advertised_tcp: None,
            advertised_tls: None,
            advertised_ws: None,
            advertised_wss: None,
            tcp: false,
            contact_user: "active-call".to_owned(),
            seed,
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            max_dialogs: 2_000,
            max_transactions: 8_000,
            session_expires: Some(Duration::from_secs(1_800)),
            min_session_expires: Duration::from_secs(90),
            retry_after: Duration::from_secs(5),
        }
    }

    /// How long a peer may be silent before a transaction is given up: 64 T1.
    pub(crate) fn patience(&self) -> Duration {
        self.t1.saturating_mul(64)
    }
}

/// Whether new calls are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Admission {
    /// New calls are taken while there is room.
    #[default]
    Open,
    /// INVITE and OPTIONS outside dialogs get 503 with `Retry-After`; calls that stand go on. For a
    /// server that is full or is being stopped: it costs nothing, whereas `reject` keeps a
    /// transaction for each call.
    Refusing,
}
