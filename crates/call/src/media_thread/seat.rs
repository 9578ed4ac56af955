//! A call on a media thread, and what it hands over.

use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::CallTime;
use providers::Hearing;
use tokio::sync::mpsc;

use super::{SeatId, Wire};
use crate::legs::LegId;
use crate::media::Media;
use crate::media::order::{DoorId, FromMedia};
use crate::setup::{TAPE_PIECES, TapePiece};

/// A call that takes no event for so long is ended.
const DEAF_LIMIT: Duration = Duration::from_secs(5);

/// A call on a media thread.
pub(crate) struct Seat {
    pub(crate) id: SeatId,
    pub(crate) media: Media,
    pub(crate) wires: Vec<(LegId, Wire)>,
    pub(crate) events: mpsc::Sender<FromMedia>,
    pub(crate) started: Instant,
    pub(super) doors: Vec<(DoorId, mpsc::Sender<Hearing>)>,
    pub(super) tape: Option<mpsc::Sender<TapePiece>>,
    /// Frames of the recording that were lost since the last piece.
    pub(super) gap: u64,
    pub(super) unsent: Vec<Bytes>,
    /// Ticks that `unsent` is of.
    pub(super) gathered: u32,
    /// There was sound for a WebSocket in the last tick.
    pub(super) spoke: bool,
    pub(super) deaf_since: Option<CallTime>,
    /// Its tick goes on when its detector's window is scored.
    pub(super) waits: bool,
    /// It has ended in this tick.
    pub(super) gone: bool,
}

impl Seat {
    pub(crate) fn new(
        id: SeatId,
        rate: u32,
        wire: (LegId, Wire),
        events: mpsc::Sender<FromMedia>,
        started: Instant,
    ) -> Self {
        Seat {
            id,
            media: Media::new(rate),
            wires: vec![wire],
            events,
            started,
            doors: Vec::new(),
            tape: None,
            gap: 0,
            unsent: Vec::new(),
            gathered: 0,
            spoke: false,
            deaf_since: None,
            waits: false,
            gone: false,
        }
    }
}

/// Hands a second of the recording on; when the writer is behind, the second becomes silence of its length.
pub(super) fn record(seat: &mut Seat, second: Vec<i16>) {
    let Some(tape) = &seat.tape else { return };
    let frames = second.len() as u64 / 2;
    if frames == 0 {
        return;
    }
    if seat.gap > 0 {
        if tape.try_send(TapePiece::Gap(seat.gap)).is_err() {
            seat.gap += frames;
            return;
        }
        seat.gap = 0;
    }
    match tape.try_send(TapePiece::Sound(second)) {
        Ok(()) => {}
        Err(mpsc::error::TrySendError::Full(_)) => {
            seat.gap += frames;
            seat.media.lost_second();
        }
        // The writer has told why.
        Err(mpsc::error::TrySendError::Closed(_)) => seat.tape = None,
    }
}

/// Hands events to the call; `false` when it has not taken any for too long or has ended.
pub(super) fn tell(seat: &mut Seat, now: CallTime) -> bool {
    while let Some(event) = seat.media.poll() {
        match seat.events.try_send(event) {
            Ok(()) => seat.deaf_since = None,
            Err(mpsc::error::TrySendError::Closed(_)) => return false,
            Err(mpsc::error::TrySendError::Full(event)) => {
                let since = *seat.deaf_since.get_or_insert(now);
                return seat.media.unpoll(event) && now.since(since) < DEAF_LIMIT;
            }
        }
    }
    true
}

// The writer's queue and the pieces held here are one budget: five seconds a call.
const _: () = assert!(TAPE_PIECES == 5);
