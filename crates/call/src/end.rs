//! Why a call ended.

use protocol::HangupReason;
use protocol::reason::Initiator;
use rtp::sdp::SdpError;

use crate::legs::Warning;

/// How a call ended: who, why, and with which SIP status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub reason: HangupReason,
    /// Who, when a party did it.
    pub initiator: Option<Initiator>,
    /// SIP status that tells how the call went; 200 after an answered call.
    pub status: u16,
    /// Text for the record and for peers.
    pub message: Option<String>,
    /// What is wrong with the caller's description, if that is why.
    pub warning: Option<Warning>,
}

impl End {
    /// An end by `reason`, from the side the reason names.
    pub fn new(reason: HangupReason, status: u16) -> Self {
        let initiator = match reason {
            HangupReason::Caller | HangupReason::Canceled => Some(Initiator::Caller),
            HangupReason::Callee | HangupReason::Rejected => Some(Initiator::Callee),
            HangupReason::Refer | HangupReason::Other(_) => None,
            _ => Some(Initiator::System),
        };
        End { reason, initiator, status, message: None, warning: None }
    }

    /// The same end with a text.
    #[must_use]
    pub fn because(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// The end of a call whose descriptions lead to no sound.
    pub(crate) fn disagreed(error: &SdpError) -> Self {
        let end = End::new(HangupReason::Failed, error.status()).because(error.to_string());
        End { warning: Some(error.into()), ..end }
    }
}

/// Why someone outside ends a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// By `/call/kill`.
    Killed,
    /// The server stops.
    Shutdown,
    /// The client that controlled the call is gone, or did not read its events.
    ClientGone,
    /// The call's sound can no longer be computed.
    MediaLost(String),
}

impl StopReason {
    /// How a call ends by it: `answered` tells whether the call was up.
    pub fn end(self, answered: bool) -> End {
        // 503 tells a trunk to leave this server alone for a while: it is for the server that stops, not for one call.
        let or = |refused| if answered { 200 } else { refused };
        match self {
            StopReason::Killed => End::new(HangupReason::System, or(480)).because("killed"),
            StopReason::Shutdown => {
                End::new(HangupReason::ServerUnavailable, or(503)).because("server stops")
            }
            StopReason::ClientGone => End::new(HangupReason::System, or(480)).because("client disconnected"),
            StopReason::MediaLost(why) => End::new(HangupReason::Failed, 500).because(why),
        }
    }
}
