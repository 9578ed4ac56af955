//! Behaviour of the endpoint, on hand-moved time: `world` is two endpoints and a link that delays and
//! loses, `desk` is one endpoint against messages written by hand.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod desk;
mod world;

mod account_calls;
mod bounds;
mod byes;
mod calls;
mod cancel;
mod digest_client;
mod digest_server;
#[cfg(feature = "tokio")]
mod driver;
mod failing_hops;
mod faults;
mod forks;
mod hostile;
mod injection;
mod ipv6;
mod legacy_peer;
mod lossy_link;
mod named_hops;
mod outbound;
mod own_offers;
mod prack;
mod probes;
mod refusals;
mod register;
mod reinvite;
mod repeat_until_ack;
mod return_path;
mod seeds;
mod session_timer;
mod silenced;
#[cfg(feature = "tokio")]
mod sipp;
mod sips;
#[cfg(feature = "tokio")]
mod streams;
#[cfg(feature = "tokio")]
mod tls_versions;
mod torture;
mod transfer;
#[cfg(feature = "tokio")]
mod undelivered;
