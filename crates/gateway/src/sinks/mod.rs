//! Where what is left of a call goes: one file for each kind.
//!
//! [`events`] writes event logs, [`records`] call records, [`recording`] sound.

pub mod events;
pub mod recording;
pub mod records;
