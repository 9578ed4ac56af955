//! Where what is left of a call goes: one file for each kind.
//!
//! [`events`] writes event logs, [`recording`] sound, [`reports`] what a playbook's `posthook` is sent. A call record goes
//! into the [`archive`]: into a file ([`records`], with a `journal` of the calls that are up and what `talk` finds in the
//! event log of one that was cut off), into the database ([`store`], an embedded one or Postgres), and from a spool
//! ([`delivery`]) as a [`parcel`] to a server ([`post`]) or an object store ([`objects`]); what those do not take is
//! [`refused`].

pub mod archive;
pub mod delivery;
pub mod events;
mod journal;
pub mod objects;
pub mod parcel;
pub mod post;
pub mod recording;
pub mod records;
pub mod refused;
pub mod reports;
pub mod store;
mod talk;
