//! Digest authentication (RFC 7616, RFC 8760): answering challenges, and making them.

mod client;
mod guard;
mod params;

pub(crate) use client::Authentication;
pub use client::Credentials;
pub use guard::{Guard, Verdict};
