//! The clock of all sound: threads that tick every call once in 20 ms.
//!
//! Each thread has a wheel of 20 slots, one a millisecond, on an absolute origin (t0 + n ms), so that lateness
//! never adds up. A slot's calls are ticked together: their sockets are drained, their full detector windows
//! scored in batches, their sound computed; a millisecond later, when all of it is ready, their packets leave one right
//! after the other. Nothing here takes a lock or waits for anyone; what cannot be handed over at once is dropped by the
//! rule of its queue.

mod reports;
mod seat;
mod wire;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use audio::frame::FRAME_MS;
use audio::vad::{Scorer, score_all};
use protocol::CallTime;
use providers::Hearing;
use tokio::sync::mpsc;

use crate::legs::LegId;
use crate::media::Took;
use crate::media::order::{DoorId, FromMedia, ToMedia};
use crate::setup::TapePiece;
use crate::tally::Tally;
use reports::Reports;
pub(crate) use seat::Seat;
use seat::{prefetch_all, record, tell, transmit};
pub use wire::Wire;
use wire::{exchange, read};

/// Orders waiting for a thread. When full the sender waits; the thread takes all at each slot.
const ORDERS: usize = 4096;
/// Events waiting for a call's task. When full they wait in Media, repeated ones merged.
pub const EVENTS: usize = 64;
/// Chunks of 100 ms waiting for a recognizer: two seconds. When full the new one is dropped and counted.
pub const HEARING: usize = 20;
/// Calls that share one slot before the next slot is begun: enough to fill batches of the detector, few enough
/// that all are computed within the millisecond before they leave.
const SLOT_FULL: usize = 16;
/// Calls of a slot whose windows are scored together. More would gain the detector little, and what they heard would be
/// out of the processor's nearest memory.
const SCORED_TOGETHER: usize = 8;
const SLOTS: u64 = FRAME_MS as u64;
/// A thread that is later than so many ticks skips the rest and counts a slip.
const MOST_LATE: u64 = 5 * SLOTS;
/// Datagrams of the far end read of one socket in one tick; more than it sends in half a second.
const MOST_DATAGRAMS: usize = 32;
/// Reports read at a time.
const MOST_REPORTS: usize = 4;
/// WebSocket messages read of one call in one tick. The rest waits, and the client with it.
const MOST_MESSAGES: usize = 50;
/// Limits of what lateness is counted by, in milliseconds.
const LATE_MS: [u64; 4] = [1, 2, 5, 20];
/// Places of a recognizer's queue that sound leaves free, so that the marks of speech always fit.
const FOR_MARKS: usize = 4;
/// Rounds of scoring in one tick: a detector of 10 ms windows needs two.
const ROUNDS: usize = 4;
/// The priority a media thread asks for. A tick takes a fraction of a millisecond, and what it delays is heard; what it
/// pushes aside (a model's answer, a request) waits that fraction.
const PRIORITY: i32 = -10;

/// What a thread is told.
pub(crate) enum Order {
    /// A call sits down.
    Seat(Box<Seat>),
    /// For a call's Media.
    Media(SeatId, ToMedia),
    /// A recognizer's end of a door.
    Door(SeatId, DoorId, mpsc::Sender<Hearing>),
    /// A further leg's connection, and its end.
    Wire(SeatId, LegId, Wire),
    Unwire(SeatId, LegId),
    /// The connections of two legs change places, where the first has one.
    Exchange(SeatId, LegId, LegId),
    /// Where the recording goes; nowhere any more, once what is there has gone out.
    Tape(SeatId, Option<mpsc::Sender<TapePiece>>),
    /// A call is over.
    Leave(SeatId),
}

/// Names a call on a media thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SeatId(u64);

/// What the threads have counted.
#[derive(Debug, Default)]
pub struct Counters {
    /// Ticks that were skipped because a thread was more than five frames late.
    pub slips: AtomicU64,
    /// Datagrams the kernel did not take.
    pub unsent: AtomicU64,
    /// Chunks dropped because a recognizer did not take them.
    pub unheard: AtomicU64,
    /// Calls ended by an error inside their sound.
    pub panics: AtomicU64,
    /// Calls seated now.
    pub calls: AtomicUsize,
    /// How good the sound of legs was that are over.
    pub quality: Tally,
    /// Ticks of calls by how late after their slot's time they were sent, in milliseconds: up to 1, 2, 5, 20, more.
    pub lateness: [AtomicU64; 5],
    /// All of their lateness together, in microseconds.
    pub lateness_us: AtomicU64,
}

/// The media threads of a server. Clones share them; they end when the last clone is gone.
#[derive(Clone)]
pub struct MediaThreads {
    threads: Arc<[Thread]>,
    counters: Arc<Counters>,
    next: Arc<AtomicU64>,
}

struct Thread {
    orders: mpsc::Sender<Order>,
    calls: Arc<AtomicUsize>,
}

impl MediaThreads {
    /// Starts `count` threads, at least one.
    ///
    /// # Errors
    /// When the system gives no thread, or no descriptor to watch its sockets with.
    pub fn start(count: usize) -> std::io::Result<Self> {
        let counters = Arc::new(Counters::default());
        let threads = (0..count.max(1))
            .map(|n| {
                let (orders, inbox) = mpsc::channel(ORDERS);
                let calls = Arc::new(AtomicUsize::new(0));
                let wheel = Wheel::new(inbox, Reports::new()?, calls.clone(), counters.clone());
                std::thread::Builder::new().name(format!("media-{n}")).spawn(move || wheel.run())?;
                Ok(Thread { orders, calls })
            })
            .collect::<std::io::Result<Vec<_>>>()?;
        Ok(MediaThreads { threads: threads.into(), counters, next: Arc::default() })
    }

    /// What the threads have counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// A seat number and the way to the thread with the fewest calls.
    pub(crate) fn place(&self) -> (SeatId, mpsc::Sender<Order>) {
        let id = SeatId(self.next.fetch_add(1, Ordering::Relaxed));
        let quietest = self.threads.iter().min_by_key(|thread| thread.calls.load(Ordering::Relaxed));
        // `start` makes at least one thread.
        let thread = quietest.unwrap_or(&self.threads[0]);
        thread.calls.fetch_add(1, Ordering::Relaxed);
        (id, thread.orders.clone())
    }
}

/// One thread's calls.
#[expect(
    clippy::vec_box,
    reason = "an order takes its call out of its slot and puts it back: a pointer, not 2 kB"
)]
struct Wheel {
    slots: Vec<Vec<Box<Seat>>>,
    /// The slot of each call.
    places: HashMap<SeatId, usize>,
    orders: mpsc::Receiver<Order>,
    reports: Reports,
    /// Calls that have something to tell which can wait until the wheel has turned.
    patient: Vec<SeatId>,
    calls: Arc<AtomicUsize>,
    counters: Arc<Counters>,
    scores: Vec<f32>,
    /// Of the slot that is ticked, as [`Counters::lateness`] and [`Counters::lateness_us`].
    late: [u64; 5],
    late_us: u64,
    datagram: Box<[u8; 2048]>,
}

impl Wheel {
    fn new(
        orders: mpsc::Receiver<Order>,
        reports: Reports,
        calls: Arc<AtomicUsize>,
        counters: Arc<Counters>,
    ) -> Self {
        Wheel {
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            places: HashMap::new(),
            orders,
            reports,
            patient: Vec::new(),
            calls,
            counters,
            scores: Vec::new(),
            late: [0; 5],
            late_us: 0,
            datagram: Box::new([0; 2048]),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this thread is the clock of all sound")]
    fn run(mut self) {
        warm_up();
        ask_for_priority();
        let mut origin = Instant::now();
        let mut tick: u64 = 0;
        let mut told = 0;
        loop {
            if self.slots.iter().all(Vec::is_empty) {
                // Nobody to tick: sleep until someone comes, then count time anew.
                match self.orders.blocking_recv() {
                    Some(order) => self.obey(order),
                    None => return,
                }
                (origin, tick) = (Instant::now(), 0);
            }
            let due = origin + Duration::from_millis(tick);
            let now = Instant::now();
            if now < due {
                std::thread::sleep(due - now);
            } else {
                let late = (now - due).as_millis() as u64;
                if late > MOST_LATE {
                    self.counters.slips.fetch_add(late / SLOTS, Ordering::Relaxed);
                    // Whole turns of the wheel are skipped, so that every call keeps its slot.
                    tick += late / SLOTS * SLOTS;
                }
            }
            while let Ok(order) = self.orders.try_recv() {
                self.obey(order);
            }
            let slot = (tick % SLOTS) as usize;
            self.send(before(slot), origin + Duration::from_millis(tick));
            let turn = tick / SLOTS;
            if std::mem::replace(&mut told, turn) != turn {
                self.tell_patient();
            }
            self.prepare(slot);
            tick += self.to_next_slot(tick);
        }
    }

    /// Milliseconds until there are calls to prepare or to send; a wheel with none is turned once.
    fn to_next_slot(&self, tick: u64) -> u64 {
        let due = |ahead: &u64| {
            let slot = ((tick + ahead) % SLOTS) as usize;
            !self.slots[slot].is_empty() || self.slots[before(slot)].iter().any(|seat| seat.ready)
        };
        (1..=SLOTS).find(due).unwrap_or(SLOTS)
    }

    /// Counts how late each call was sent, once for all calls of a slot.
    fn note_lateness(&mut self) {
        for (all, late) in self.counters.lateness.iter().zip(std::mem::take(&mut self.late)) {
            if late > 0 {
                all.fetch_add(late, Ordering::Relaxed);
            }
        }
        self.counters.lateness_us.fetch_add(std::mem::take(&mut self.late_us), Ordering::Relaxed);
    }

    /// Computes the sound of one slot's calls.
    #[expect(clippy::disallowed_methods, reason = "this thread is the clock of all sound")]
    fn prepare(&mut self, slot: usize) {
        if self.slots[slot].is_empty() {
            return;
        }
        let now = Instant::now();
        self.read_reports(now);
        let mut seats = std::mem::take(&mut self.slots[slot]);
        for group in seats.chunks_mut(SCORED_TOGETHER) {
            self.prepare_group(group, now);
        }
        seats.retain(|seat| !seat.gone);
        self.slots[slot] = seats;
    }

    /// Computes the sound of some calls of a slot.
    fn prepare_group(&mut self, seats: &mut [Box<Seat>], now: Instant) {
        // An error in it would cost time and nothing else.
        let _ = catch_unwind(AssertUnwindSafe(|| prefetch_all(seats)));
        // A call without a window to score is done in one go, as long as its state is in the processor's memory.
        for seat in &mut *seats {
            seat.waits = false;
            seat.gone = !self.fence(seat, |wheel, seat| {
                wheel.hear(seat, now);
                seat.waits = seat.media.scorer().is_some();
                if !seat.waits {
                    wheel.speak(seat, now);
                }
                true
            });
        }
        self.score(seats);
        for seat in seats.iter_mut().filter(|seat| seat.waits) {
            seat.gone = !self.fence(seat, |wheel, seat| {
                wheel.speak(seat, now);
                true
            });
        }
    }

    /// Lets the sound of one slot's calls leave, which is due now, and tells what has happened to it.
    #[expect(clippy::disallowed_methods, reason = "this thread is the clock of all sound")]
    fn send(&mut self, slot: usize, due: Instant) {
        if self.slots[slot].is_empty() {
            return;
        }
        let mut seats = std::mem::take(&mut self.slots[slot]);
        // All packets first: what is told wakes others.
        for seat in seats.iter_mut().filter(|seat| seat.ready) {
            seat.gone = !self.fence(seat, |wheel, seat| {
                transmit(seat, &wheel.counters.unsent);
                true
            });
            let late = due.elapsed();
            let bucket = LATE_MS.iter().position(|ms| late <= Duration::from_millis(*ms));
            self.late[bucket.unwrap_or(LATE_MS.len())] += 1;
            self.late_us += late.as_micros() as u64;
        }
        let now = Instant::now();
        for seat in seats.iter_mut().filter(|seat| seat.ready && !seat.gone) {
            seat.ready = false;
            if seat.media.can_wait() {
                self.patient.push(seat.id);
                continue;
            }
            let time = CallTime(now.saturating_duration_since(seat.started));
            seat.gone = !self.fence(seat, |_, seat| tell(seat, time));
        }
        seats.retain(|seat| !seat.gone);
        self.slots[slot] = seats;
        self.note_lateness();
    }

    /// Tells what could wait, for all calls together: a task that is woken alone costs wake-ups of two threads, and a call
    /// that plays a file asks for more of it every second.
    fn tell_patient(&mut self) {
        for id in std::mem::take(&mut self.patient) {
            self.attend(id, |_, seat| tell(seat, CallTime(since(seat.started))));
        }
    }

    /// Runs a part of one call's tick; an error inside ends that call and no other. `false` when it is gone.
    fn fence(&mut self, seat: &mut Box<Seat>, part: impl FnOnce(&mut Self, &mut Seat) -> bool) -> bool {
        let alive = catch_unwind(AssertUnwindSafe(|| part(self, seat))).unwrap_or_else(|_| {
            self.counters.panics.fetch_add(1, Ordering::Relaxed);
            false
        });
        if !alive {
            // The task may be waiting for nothing else; if its queue is full it sees the channel close.
            let _ = seat.events.try_send(FromMedia::Gone);
            self.left(seat.id);
        }
        alive
    }

    fn left(&mut self, id: SeatId) {
        self.places.remove(&id);
        self.calls.fetch_sub(1, Ordering::Relaxed);
        self.counters.calls.fetch_sub(1, Ordering::Relaxed);
    }

    fn hear(&mut self, seat: &mut Seat, now: Instant) {
        let time = CallTime(now.saturating_duration_since(seat.started));
        for (leg, wire) in &mut seat.wires {
            match wire {
                Wire::Udp { sound, .. } => {
                    read(sound, MOST_DATAGRAMS, &mut self.datagram[..], |from, bytes| {
                        seat.media.datagram(time, *leg, from, bytes)
                    });
                }
                Wire::Socket { inbound, .. } => {
                    for _ in 0..MOST_MESSAGES {
                        let Ok(message) = inbound.try_recv() else { break };
                        seat.media.message(time, *leg, &message);
                    }
                }
                Wire::None => {}
            }
        }
        seat.media.hear(time);
    }

    /// Reads the reports that have come, for calls of any slot: what one waited for its call's slot would count as part
    /// of the round trip.
    fn read_reports(&mut self, now: Instant) {
        for id in self.reports.come() {
            self.attend(id, |wheel, seat| {
                let time = CallTime(now.saturating_duration_since(seat.started));
                for (leg, wire) in &seat.wires {
                    if let Wire::Udp { reports: Some(reports), .. } = wire {
                        read(reports, MOST_REPORTS, &mut wheel.datagram[..], |from, bytes| {
                            seat.media.datagram(time, *leg, from, bytes);
                            // This port is looked at in every turn, and each of few reports counts, whoever sent it.
                            Took::Own
                        });
                    }
                }
                true
            });
        }
    }

    /// Scores the full windows of calls that wait for it together.
    fn score(&mut self, seats: &mut [Box<Seat>]) {
        for _ in 0..ROUNDS {
            let mut scorers: Vec<&mut Scorer> = Vec::with_capacity(seats.len());
            let mut ready = Vec::with_capacity(seats.len());
            for (at, seat) in seats.iter_mut().enumerate().filter(|(_, seat)| seat.waits) {
                if let Some(scorer) = seat.media.scorer() {
                    scorers.push(scorer);
                    ready.push(at);
                }
            }
            if ready.is_empty() {
                return;
            }
            self.scores.clear();
            self.scores.resize(scorers.len(), 0.0);
            // An error inside one detector must not take the thread with it: this round then hears silence.
            let scores = &mut self.scores;
            if catch_unwind(AssertUnwindSafe(|| score_all(&mut scorers, scores))).is_err() {
                self.counters.panics.fetch_add(1, Ordering::Relaxed);
                return;
            }
            for (at, speech) in ready.into_iter().zip(&self.scores) {
                seats[at].media.scored(*speech);
            }
        }
    }

    fn speak(&mut self, seat: &mut Seat, now: Instant) {
        seat.media.speak(CallTime(now.saturating_duration_since(seat.started)));
        seat.ready = true;
        while let Some((door, hearing)) = seat.media.poll_hearing() {
            self.give(seat, door, hearing);
        }
        while let Some(second) = seat.media.poll_recording() {
            record(seat, second);
        }
    }

    fn give(&self, seat: &mut Seat, door: DoorId, hearing: Hearing) {
        let Some((_, sender)) = seat.doors.iter().find(|(id, _)| *id == door) else { return };
        let crowded = matches!(hearing, Hearing::Audio { .. }) && sender.capacity() <= FOR_MARKS;
        if crowded || sender.try_send(hearing).is_err() {
            self.counters.unheard.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Seat(seat) => {
                self.counters.calls.fetch_add(1, Ordering::Relaxed);
                let slot = self.free_slot();
                self.places.insert(seat.id, slot);
                seat.wires.iter().for_each(|(_, wire)| self.reports.watch(seat.id, wire));
                self.slots[slot].push(seat);
            }
            Order::Media(id, order) => {
                let removed = match &order {
                    ToMedia::Remove(leg) => Some(*leg),
                    _ => None,
                };
                self.attend(id, |wheel, seat| {
                    let gone = seat.media.quality().find(|(leg, _)| Some(*leg) == removed);
                    wheel.counters.quality.note(gone.map(|(_, quality)| quality));
                    seat.media.handle(CallTime(since(seat.started)), order);
                    if removed.is_some() {
                        // Its wire goes next, and its last report with it.
                        transmit(seat, &wheel.counters.unsent);
                    }
                    true
                });
            }
            Order::Door(id, door, sender) => {
                if let Some((slot, at)) = self.find(id) {
                    let doors = &mut self.slots[slot][at].doors;
                    doors.retain(|(_, sender)| !sender.is_closed());
                    doors.push((door, sender));
                }
            }
            Order::Wire(id, leg, wire) => {
                if let Some((slot, at)) = self.find(id) {
                    self.reports.watch(id, &wire);
                    self.slots[slot][at].wires.push((leg, wire));
                }
            }
            Order::Unwire(id, leg) => {
                if let Some((slot, at)) = self.find(id) {
                    self.slots[slot][at].wires.retain(|(wired, _)| *wired != leg);
                }
            }
            Order::Exchange(id, leg, place) => {
                if let Some((slot, at)) = self.find(id) {
                    exchange(&mut self.slots[slot][at].wires, leg, place);
                }
            }
            Order::Tape(id, tape) => {
                if let Some((slot, at)) = self.find(id) {
                    let seat = &mut self.slots[slot][at];
                    while let Some(second) = seat.media.poll_recording() {
                        record(seat, second);
                    }
                    (seat.tape, seat.gap) = (tape, 0);
                }
            }
            Order::Leave(id) => {
                if let Some((slot, at)) = self.find(id) {
                    let mut seat = self.slots[slot].swap_remove(at);
                    let finished = self.fence(&mut seat, |wheel, seat| {
                        wheel.counters.quality.note(seat.media.quality().map(|(_, quality)| quality));
                        seat.media.finish(CallTime(since(seat.started)));
                        transmit(seat, &wheel.counters.unsent);
                        while let Some(second) = seat.media.poll_recording() {
                            record(seat, second);
                        }
                        true
                    });
                    if finished {
                        self.left(id);
                    }
                }
            }
        }
    }

    /// Does something with one call between two of its ticks, which it outlives when `part` says so.
    fn attend(&mut self, id: SeatId, part: impl FnOnce(&mut Self, &mut Seat) -> bool) {
        let Some((slot, at)) = self.find(id) else { return };
        let mut seat = self.slots[slot].swap_remove(at);
        if self.fence(&mut seat, part) {
            self.slots[slot].push(seat);
        }
    }

    fn find(&self, id: SeatId) -> Option<(usize, usize)> {
        let slot = *self.places.get(&id)?;
        Some((slot, self.slots[slot].iter().position(|seat| seat.id == id)?))
    }

    /// The first slot that has calls and room for one more, else the emptiest: detectors are scored in batches,
    /// and no slot grows long. New slots are begun far from the others, so that bursts spread.
    fn free_slot(&self) -> usize {
        let filling = (0..self.slots.len()).find(|at| (1..SLOT_FULL).contains(&self.slots[*at].len()));
        filling.unwrap_or_else(|| {
            (0..self.slots.len())
                .map(|n| n * 7 % self.slots.len())
                .min_by_key(|at| self.slots[*at].len())
                .unwrap_or(0)
        })
    }
}

/// Packs the detector's weights before the first call needs them.
fn warm_up() {
    for rate in [8_000, 16_000] {
        if let Ok(mut scorer) = Scorer::new(audio::vad::DEFAULT_VAD, rate) {
            let window = vec![1; scorer.window()];
            // The window fits an empty scorer.
            let _ = scorer.push(&window);
            scorer.score();
        }
    }
}

/// Puts this thread before the others of the process, where the system allows it (`CAP_SYS_NICE` or a nice limit).
fn ask_for_priority() {
    // Linux keeps the nice value per thread, under the thread's own number.
    if let Err(refused) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), PRIORITY) {
        tracing::debug!(%refused, "sound runs at the priority of everything else");
    }
}

/// The slot whose calls leave when those of `slot` are computed.
fn before(slot: usize) -> usize {
    (slot + SLOTS as usize - 1) % SLOTS as usize
}

fn since(start: Instant) -> Duration {
    start.elapsed()
}
