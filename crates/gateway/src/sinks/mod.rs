//! Where what is left of a call goes: one file for each kind.
//!
//! [`events`] writes event logs, [`records`] call records with `notes` of the calls that are
//! up, [`recording`] sound, [`reports`] what a playbook's `posthook` is sent.

pub mod events;
mod notes;
pub mod recording;
pub mod records;
pub mod reports;
