//! Calls over WebSocket: how late their sound and their events are.

pub(crate) mod calls;
mod client;
pub(crate) mod events;
