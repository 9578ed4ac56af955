//! A call on a media thread, and what it hands over.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use audio::prefetch;
use bytes::Bytes;
use protocol::CallTime;
use providers::Hearing;
use tokio::sync::mpsc;

use super::{SeatId, Wire};
use crate::legs::LegId;
use crate::media::order::{DoorId, FromMedia};
use crate::media::{DEPTHS, Media, Transmit};
use crate::setup::{TAPE_PIECES, TapePiece};

/// Ticks whose messages are handed to a WebSocket at once: its task is woken 25 times a second and not 50, for a frame
/// that leaves 20 ms after its time. The first after a pause goes alone, so that what is said is heard within its frame.
const BATCH: u32 = 2;
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
    /// Its sound is computed, and leaves when it is due.
    pub(super) ready: bool,
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
            ready: false,
            gone: false,
        }
    }
}

/// Asks for the memory that the calls' next tick wants, for all of them together: each step waits for the one before.
pub(super) fn prefetch_all(seats: &[Box<Seat>]) {
    seats.iter().for_each(|seat| prefetch(&**seat));
    for depth in 0..DEPTHS {
        for seat in seats {
            if depth == 0 {
                prefetch(&seat.wires[..]);
            }
            seat.media.prefetch(depth);
        }
    }
}

/// Lets what is computed leave: datagrams at once, sound for a WebSocket by [`BATCH`]. What is not taken counts as `lost`.
pub(super) fn transmit(seat: &mut Seat, lost: &AtomicU64) {
    let mut spoke = false;
    while let Some(transmit) = seat.media.transmit() {
        match transmit {
            Transmit::Datagram(leg, to, bytes) => {
                let wire = seat.wires.iter().find(|(id, _)| *id == leg);
                if let Some((_, Wire::Udp { sound, .. })) = wire
                    && sound.send_to(&bytes, to).is_err()
                {
                    lost.fetch_add(1, Ordering::Relaxed);
                }
            }
            Transmit::Report(leg, to, bytes) => {
                let wire = seat.wires.iter().find(|(id, _)| *id == leg);
                if let Some((_, Wire::Udp { reports: Some(reports), .. })) = wire {
                    // A report that is lost is followed by another.
                    let _ = reports.send_to(&bytes, to);
                }
            }
            Transmit::Message(_, bytes) => {
                spoke = true;
                seat.unsent.push(bytes.into());
            }
        }
    }
    let first = !std::mem::replace(&mut seat.spoke, spoke);
    // A client that stops listening at `trackEnd` has heard all.
    let last = !spoke || seat.media.utterance_over();
    seat.gathered += u32::from(spoke);
    if (seat.gathered >= BATCH || first || last) && !seat.unsent.is_empty() {
        let batch = std::mem::take(&mut seat.unsent);
        seat.gathered = 0;
        let wire = seat.wires.iter().find_map(|(_, wire)| match wire {
            Wire::Socket { outbound, .. } => Some(outbound),
            _ => None,
        });
        if let Some(outbound) = wire
            && outbound.try_send(batch).is_err()
        {
            lost.fetch_add(1, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::media::order::{ToMedia, UtteranceId};
    use crate::media_thread::{Order, Reports, Wheel};

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a media thread is the clock of all sound")]
    fn what_can_wait_is_told_at_the_end_of_a_turn_and_with_what_cannot() {
        let (_orders, inbox) = mpsc::channel(1);
        let mut wheel = Wheel::new(inbox, Reports::new().unwrap(), Arc::default(), Arc::default());
        let (events, mut told) = mpsc::channel(64);
        wheel.calls.fetch_add(1, Ordering::Relaxed);
        let seat = Seat::new(SeatId(7), 8000, (LegId::MAIN, Wire::None), events, Instant::now());
        wheel.obey(Order::Seat(Box::new(seat)));
        let id = UtteranceId(1);
        // 1.6 s of sound: two ticks before less than a second and a half is left.
        wheel.obey(Order::Media(SeatId(7), ToMedia::Play(id, 8000, vec![9; 12_800].into())));
        let (slot, _) = wheel.find(SeatId(7)).unwrap();
        let mut ticks = 0;
        while wheel.patient.is_empty() {
            ticks += 1;
            assert!(ticks < 10, "more sound is never asked for");
            wheel.prepare(slot);
            wheel.send(slot, Instant::now());
        }
        assert!(matches!(told.try_recv(), Ok(FromMedia::Started(..))));
        assert!(told.try_recv().is_err(), "that there is little left is told alone");
        wheel.tell_patient();
        assert_eq!(told.try_recv(), Ok(FromMedia::Low(id)));
        assert!(wheel.patient.is_empty());

        // A sound that is short from its start is asked for with its beginning.
        let next = UtteranceId(2);
        wheel.obey(Order::Media(SeatId(7), ToMedia::Interrupt { below: next, fade: Duration::ZERO }));
        wheel.obey(Order::Media(SeatId(7), ToMedia::Play(next, 8000, vec![9; 800].into())));
        wheel.prepare(slot);
        wheel.send(slot, Instant::now());
        let told: Vec<FromMedia> = std::iter::from_fn(|| told.try_recv().ok()).collect();
        assert!(
            matches!(told[..], [FromMedia::Stopped { .. }, FromMedia::Started(..), FromMedia::Low(_)]),
            "{told:?}"
        );
        assert!(wheel.patient.is_empty());
    }
}
