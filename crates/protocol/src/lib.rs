//! Every type that crosses a wire or is shared by `playbook` and `providers`.
//!
//! Must not: hold behaviour, read a clock, open anything.
#![forbid(unsafe_code)]

pub mod time;

pub use time::CallTime;
