//! The jitter buffer: takes packets as the network delivers them and gives them back in order, in time.
//!
//! It is pulled. Every 20 ms the owner asks with [`Jitter::pop`] until it has sound for 20 ms or is told
//! [`Popped::Empty`]; a packet of 60 ms is thus asked for at every third tick, packets of 10 ms twice.
//! What is measured is how long packets have waited when their turn came: if all of them waited longer
//! than they need, the delay is too long; if one came too late, it is too short by its lateness.

mod delay;
mod order;

use std::collections::VecDeque;
use std::time::Duration;

use protocol::CallTime;

use crate::prefetch;
use delay::{Delay, Room, Spare};
use order::{Order, Place, Placed};

/// Sound that is held at most. When full: the oldest packet is dropped and counted.
const MAX_HELD: Duration = Duration::from_millis(500);
/// Packets held at most, whatever duration they pretend to have. When full: as [`MAX_HELD`].
const MAX_PACKETS: usize = 250;
/// Duration of a packet until two timestamps have told the true one.
const USUAL_PTIME: Duration = Duration::from_millis(20);
/// No codec of ours puts less sound in a packet.
const SHORTEST_PTIME: Duration = Duration::from_micros(2_500);
/// The longest packet of any codec of ours (Opus).
const LONGEST_PTIME: Duration = Duration::from_millis(120);
/// A gap longer than this is not filled with made-up sound: playing goes on with what is there.
const MAX_FILLED: Duration = Duration::from_millis(200);
/// A longer silence of the network is an outage and says nothing about its jitter.
const OUTAGE: Duration = Duration::from_millis(500);

/// An RTP packet as far as its order and time matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// RTP sequence number.
    pub sequence: u16,
    /// RTP timestamp in units of the clock given to [`Jitter::new`].
    pub timestamp: u32,
    /// RTP synchronisation source.
    pub ssrc: u32,
    /// RTP marker bit.
    pub marker: bool,
    /// RTP payload type.
    pub payload_type: u8,
    /// The encoded sound. A packet with none (or one that was no sound, as a telephone-event) keeps its
    /// place in the sequence, so that it is not taken for lost, and is never popped.
    pub payload: Box<[u8]>,
}

/// The answer to [`Jitter::pop`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Popped {
    /// Decode this now.
    Packet(Packet),
    /// Decode this now, too. If it is silence, it need not be played: then leave it out, tell so with
    /// [`Jitter::leave_out`], and ask again.
    Spare(Packet),
    /// A packet that never came: hide it with [`crate::Decoder::conceal`], or, if
    /// [`Jitter::following`] has a packet, with [`crate::Decoder::recover`].
    Lost {
        /// How much sound is missing.
        duration: Duration,
    },
    /// There is nothing to play in this tick. Fill what the tick still lacks with
    /// [`crate::Decoder::conceal`], which soon is silence, and ask again in the next tick.
    Empty,
}

/// What a [`Jitter`] has seen and done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets pushed, of any fate.
    pub received: u64,
    /// Packets that were not there when their turn came.
    pub lost: u64,
    /// Packets that came after they had been given up; they are lost too.
    pub late: u64,
    /// Packets that came twice.
    pub duplicate: u64,
    /// Packets that came after one with a higher sequence number.
    pub reordered: u64,
    /// Packets dropped because too much sound was held.
    pub overflowed: u64,
    /// Packets left out to shorten the delay.
    pub shortened: u64,
    /// New streams: another SSRC, or a jump in the sequence.
    pub resets: u64,
    /// How long packets wait at present; the least delayed one of the last second.
    pub delay: Duration,
    /// Interarrival jitter as RFC 3550 section 6.4.1 has it.
    pub jitter: Duration,
}

/// An adaptive jitter buffer for one direction of one call.
pub struct Jitter {
    clock_hz: u32,
    order: Order,
    delay: Delay,
    phase: Phase,
    /// Sorted by place.
    held: VecDeque<Held>,
    /// What is to be played next; none before the first packet.
    cursor: Option<Cursor>,
    arrival: Option<Arrival>,
    ptime: Duration,
    quiet: bool,
    /// A packet was left out, and none was played since.
    shortening: bool,
    stats: Stats,
    jitter_us: f64,
}

struct Held {
    place: Place,
    arrived: CallTime,
    packet: Packet,
}

#[derive(Clone, Copy)]
struct Cursor {
    place: Place,
    /// Timestamp of the packet played last.
    played: u32,
}

/// The packet that came last.
#[derive(Clone, Copy)]
struct Arrival {
    place: Place,
    at: CallTime,
    timestamp: u32,
    /// Timestamp step to the packet before it, if that was its neighbour.
    step: Option<u32>,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// The next packet begins a stretch of sound and is held until it has waited long enough.
    Gathering,
    Playing,
    /// A packet was due at this time and nothing was there.
    Starved(CallTime),
    /// Playing stands still until this time, because a packet came late.
    Stretching(CallTime),
}

/// How the first held packet follows what was played last.
enum Follows {
    Directly,
    /// After a pause of the sender, or in another stream.
    Anew,
    /// After a packet that is not there.
    Missing,
}

impl Jitter {
    /// A buffer for a stream whose timestamps count at `clock_hz` ([`crate::Codec::rtp_clock`]).
    pub fn new(clock_hz: u32) -> Self {
        Jitter {
            clock_hz: clock_hz.max(1),
            order: Order::default(),
            delay: Delay::default(),
            phase: Phase::Gathering,
            held: VecDeque::new(),
            cursor: None,
            arrival: None,
            ptime: USUAL_PTIME,
            quiet: false,
            shortening: false,
            stats: Stats::default(),
            jitter_us: 0.0,
        }
    }

    /// Asks for the memory of what is held: `depth` 0 of its places, 1 of the payload that is next.
    pub fn prefetch(&self, depth: usize) {
        match (depth, self.held.front()) {
            (0, Some(front)) => prefetch(front),
            (1, Some(front)) => prefetch(&*front.packet.payload),
            _ => {}
        }
    }

    /// Takes in a packet that arrived at `now`.
    pub fn push(&mut self, now: CallTime, packet: Packet) {
        self.stats.received += 1;
        let place = match self.order.place(now, packet.ssrc, packet.sequence) {
            Placed::Duplicate => {
                self.stats.duplicate += 1;
                return;
            }
            Placed::Behind(place) => {
                self.stats.reordered += 1;
                place
            }
            Placed::Ahead(place) => {
                self.measure(now, place, packet.timestamp);
                place
            }
        };
        self.stats.resets = self.order.resets();
        if let Some(cursor) = self.cursor.filter(|c| place < c.place) {
            self.stats.late += 1;
            if let Some(behind) = cursor.place.after(place) {
                self.came_late(now, behind);
            }
            return;
        }
        let at = self.held.iter().rposition(|h| h.place < place).map_or(0, |n| n + 1);
        self.held.insert(at, Held { place, arrived: now, packet });
        while self.held.len() > MAX_PACKETS || self.ptime * self.held.len() as u32 > MAX_HELD {
            self.drop_oldest();
            self.stats.overflowed += 1;
        }
    }

    /// The next sound to play at `now`; see the module's first lines for when to ask.
    pub fn pop(&mut self, now: CallTime) -> Popped {
        let complete = !std::mem::take(&mut self.shortening);
        let mut spare = Spare::No;
        while self.ready(now) {
            if let Follows::Missing = self.follows() {
                return self.lose();
            }
            if complete && spare != Spare::Anyway && self.held.len() > 1 {
                spare = self.delay.spare(now, self.room());
                if spare == Spare::Anyway {
                    self.drop_oldest();
                    self.shortened(now);
                    continue;
                }
            }
            match self.take(now) {
                Some(packet) if packet.payload.is_empty() => {}
                Some(packet) if spare == Spare::InSilence => return Popped::Spare(packet),
                Some(packet) => return Popped::Packet(packet),
                None => {}
            }
        }
        Popped::Empty
    }

    /// The [`Popped::Spare`] packet that came last was silence and is not played.
    pub fn leave_out(&mut self, now: CallTime) {
        self.shortened(now);
        self.shortening = true;
    }

    /// After [`Popped::Lost`]: the packet that follows the lost one directly, if it is here. It stays.
    pub fn following(&self) -> Option<&Packet> {
        let head = self.held.front()?;
        self.cursor.filter(|c| c.place == head.place && !head.packet.payload.is_empty()).map(|_| &head.packet)
    }

    /// Tells whether what was played last is silence. Delay that is not needed is given up between silence and silence,
    /// where nobody hears it, or else after some seconds.
    pub fn set_quiet(&mut self, quiet: bool) {
        self.quiet = quiet;
    }

    /// Counters and measures up to now.
    pub fn stats(&self) -> Stats {
        Stats { delay: self.delay.present(), jitter: self.jitter(), ..self.stats }
    }

    fn jitter(&self) -> Duration {
        Duration::from_micros(self.jitter_us as u64)
    }

    fn room(&self) -> Room {
        Room { ptime: self.ptime, quiet: self.quiet, jitter: self.jitter() }
    }

    /// Moves the phase on and answers whether something is to be played at `now`.
    fn ready(&mut self, now: CallTime) -> bool {
        let Some(head) = self.held.front() else {
            if self.phase == Phase::Playing {
                self.phase = Phase::Starved(now);
            }
            return false;
        };
        let arrived = head.arrived;
        match self.phase {
            Phase::Stretching(until) if now < until => return false,
            Phase::Stretching(_) => self.phase = Phase::Playing,
            Phase::Starved(due) => self.end_starving(arrived.since(due)),
            Phase::Playing if matches!(self.follows(), Follows::Anew) => self.phase = Phase::Gathering,
            Phase::Playing | Phase::Gathering => {}
        }
        if self.phase == Phase::Gathering {
            if now.since(arrived) < self.delay.wanted() {
                return false;
            }
            self.begin();
        }
        true
    }

    /// Sound is here again, `late` after it was due.
    fn end_starving(&mut self, late: Duration) {
        // The time without sound has already taken the place of what was lost, if something was. Where there
        // is no sound to be late, as between events, nothing is learnt.
        let sound = self.held.front().is_some_and(|h| !h.packet.payload.is_empty());
        let jitter = sound && matches!(self.follows(), Follows::Directly) && late < OUTAGE;
        if jitter {
            self.delay.grow(late);
            self.delay.lengthen(late);
        }
        self.phase = if jitter { Phase::Playing } else { Phase::Gathering };
    }

    /// Begins to play with the first held packet, whatever is missing before it.
    fn begin(&mut self) {
        if let Some(head) = self.held.front() {
            self.stats.lost += self.cursor.and_then(|c| head.place.after(c.place)).unwrap_or(0);
            self.cursor = Some(Cursor { place: head.place, played: head.packet.timestamp });
        }
        self.phase = Phase::Playing;
    }

    /// A packet came `packets` places behind the one that is next.
    fn came_late(&mut self, now: CallTime, packets: u64) {
        let late = self.ptime * u32::try_from(packets).unwrap_or(u32::MAX).min(MAX_PACKETS as u32);
        if late < OUTAGE && self.phase == Phase::Playing {
            let more = self.delay.grow(late);
            self.delay.lengthen(more);
            self.phase = Phase::Stretching(now + more);
        }
    }

    fn follows(&self) -> Follows {
        let (Some(cursor), Some(head)) = (self.cursor, self.held.front()) else {
            return Follows::Anew;
        };
        let Some(missing) = head.place.after(cursor.place) else { return Follows::Anew };
        let step = self.time(head.packet.timestamp.wrapping_sub(cursor.played));
        let begins = head.packet.timestamp == cursor.played;
        if missing > 0 {
            // Numbers may be missing without any sound missing, as when events were sent in between.
            let packets = (step.as_micros() / self.ptime.as_micros().max(1)).saturating_sub(1) as u64;
            let filled = missing.min(packets);
            let long = self.ptime * u32::try_from(filled).unwrap_or(u32::MAX).min(1000) > MAX_FILLED;
            if filled == 0 || long { Follows::Anew } else { Follows::Missing }
        } else if begins || step < self.ptime * 3 / 2 {
            Follows::Directly
        } else {
            Follows::Anew
        }
    }

    fn lose(&mut self) -> Popped {
        self.stats.lost += 1;
        let step = self.ticks(self.ptime);
        if let Some(cursor) = &mut self.cursor {
            cursor.place = cursor.place.next();
            cursor.played = cursor.played.wrapping_add(step);
        }
        Popped::Lost { duration: self.ptime }
    }

    fn take(&mut self, now: CallTime) -> Option<Packet> {
        let head = self.held.pop_front()?;
        self.delay.waited(now, now.since(head.arrived));
        self.cursor = Some(Cursor { place: head.place.next(), played: head.packet.timestamp });
        Some(head.packet)
    }

    fn shortened(&mut self, now: CallTime) {
        self.delay.shorten(now, self.ptime);
        self.stats.shortened += 1;
    }

    /// Drops the oldest packet as if it had been played.
    fn drop_oldest(&mut self) {
        if let Some(head) = self.held.pop_front() {
            self.cursor = Some(Cursor { place: head.place.next(), played: head.packet.timestamp });
        }
    }

    /// Learns jitter and packet duration from a packet that is the newest of its stream.
    fn measure(&mut self, now: CallTime, place: Place, timestamp: u32) {
        let mut arrival = Arrival { place, at: now, timestamp, step: None };
        if let Some(last) = self.arrival.filter(|last| place.after(last.place).is_some()) {
            let step = timestamp.wrapping_sub(last.timestamp);
            let (sent, came) = (self.time(step), now.since(last.at));
            let differs = sent.abs_diff(came);
            if differs < Duration::from_secs(1) {
                self.jitter_us += (differs.as_micros() as f64 - self.jitter_us) / 16.0;
            }
            if place == last.place.next() {
                arrival.step = Some(step);
                let twice = last.step == Some(step);
                if twice && (SHORTEST_PTIME..=LONGEST_PTIME).contains(&sent) {
                    self.ptime = sent;
                }
            }
        }
        self.arrival = Some(arrival);
    }

    fn time(&self, ticks: u32) -> Duration {
        Duration::from_micros(u64::from(ticks) * 1_000_000 / u64::from(self.clock_hz))
    }

    fn ticks(&self, time: Duration) -> u32 {
        (time.as_micros() as u64 * u64::from(self.clock_hz) / 1_000_000) as u32
    }
}
