//! Looking at the messages that pass, for logs and captures.

use std::fmt;
use std::net::SocketAddr;

use crate::hop::Transport;

/// A message that passes.
#[derive(Debug)]
pub struct Passage<'a> {
    /// By us, and not to us.
    pub sent: bool,
    /// The other end.
    pub peer: SocketAddr,
    /// How it goes.
    pub transport: Transport,
    /// The message, with whatever secrets are in it.
    pub bytes: &'a [u8],
}

/// Who looks.
pub(super) struct Tap(pub(super) Box<See>);

type See = dyn FnMut(&Passage<'_>) + Send;

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tap")
    }
}
