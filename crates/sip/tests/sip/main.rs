//! Behaviour of the endpoint, on hand-moved time: `world` is two endpoints and a link that delays and
//! loses, `desk` is one endpoint against messages written by hand.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod desk;
mod world;

mod bounds;
mod byes;
mod calls;
mod cancel;
#[cfg(feature = "tokio")]
mod driver;
mod forks;
mod hostile;
mod injection;
mod legacy_peer;
mod lossy_link;
mod refusals;
mod reinvite;
mod repeat_until_ack;
mod return_path;
mod torture;
