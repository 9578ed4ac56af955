//! The leg of a `/call` client: it has no signalling of its own. The client's commands come through the
//! call's handle and its sound through the wire; when the socket closes, the handle is told.

use async_trait::async_trait;

use super::{Leg, LegError, LegEvent, LegRequest};

/// A leg without signalling.
#[derive(Clone, Copy, Debug, Default)]
pub struct WebSocketLeg;

#[async_trait]
impl Leg for WebSocketLeg {
    async fn next(&mut self) -> LegEvent {
        std::future::pending().await
    }

    async fn request(&mut self, _request: LegRequest) -> Result<(), LegError> {
        Ok(())
    }
}
