//! Every type that crosses a wire or is shared by `playbook` and `providers`: commands, events, options,
//! REST bodies, call records, chat messages and call time.
//!
//! Must not: hold behaviour of a call, read a clock, open anything. It depends on serde and what describes
//! serde types, nothing else.
//!
//! Reading order: [`time`], [`option`], [`command`], [`event`], [`reason`], [`rest`], [`record`], [`chat`];
//! [`read`] turns text into these types and says where a text is wrong; [`limits`] holds the numbers that options may
//! hold; [`spelling`] settles keys that are given
//! in two spellings at once; [`redact`] says what a secret is by its name; [`value`] holds the small types that
//! accept more than one spelling.
#![forbid(unsafe_code)]

pub mod chat;
pub mod command;
pub mod event;
pub mod limits;
pub mod option;
pub mod read;
pub mod reason;
pub mod record;
pub mod redact;
pub mod rest;
pub mod spelling;
pub mod time;
pub mod value;

pub use command::Command;
pub use event::Event;
pub use option::CallOption;
pub use reason::HangupReason;
pub use time::CallTime;
pub use value::{Extra, Headers, Secret};
