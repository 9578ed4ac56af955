//! A leg without signalling: that of a `/call` client, whose commands come through the call's handle and whose sound
//! comes through the wire; and that of a SIP call nobody has been dialled for yet.

use async_trait::async_trait;

use super::{Asked, Leg, LegError, LegEvent, LegRequest};

/// A leg on which nothing happens and everything succeeds.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSignalling;

#[async_trait]
impl Leg for NoSignalling {
    async fn next(&mut self) -> LegEvent {
        std::future::pending().await
    }

    async fn request(&mut self, _request: LegRequest) -> Result<Asked, LegError> {
        Ok(Asked::Done)
    }
}
