//! Digest authentication (RFC 7616, RFC 8760): answering challenges, and making them.

mod client;
mod guard;
mod params;

pub use client::Credentials;
pub(crate) use client::{Asked, Authentication};
pub use guard::{Claim, DigestAlgorithm, Guard, Verdict};
