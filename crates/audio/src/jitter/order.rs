//! Where a packet belongs: sequence numbers without wrap, streams without confusion.

use std::time::Duration;

use protocol::CallTime;

/// A sequence number that is further ahead than this begins a new stream (RFC 3550 appendix A.1).
const MAX_AHEAD: u16 = 3000;
/// A sequence number that is further behind than this begins a new stream; so many are remembered.
const MAX_BEHIND: u16 = 127;
/// After so much silence a number that seems old is a restarted sender.
const FORGET: Duration = Duration::from_secs(2);
/// So many packets one after the other that all seem to have come before are those of a sender that has gone back: a
/// network that repeats packets sends others between them.
const MOST_REPEATED: u8 = 8;

/// Place of a packet among all of a call: first by stream, then by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    stream: u64,
    number: u64,
}

impl Place {
    pub(super) fn next(self) -> Place {
        Place { number: self.number + 1, ..self }
    }

    /// How many places this one is after `other` of the same stream; none if it is in another stream or
    /// before it.
    pub(super) fn after(self, other: Place) -> Option<u64> {
        if self.stream == other.stream { self.number.checked_sub(other.number) } else { None }
    }
}

/// What a packet is to its stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// Newer than all before.
    Ahead(Place),
    /// Overtaken by another.
    Behind(Place),
    /// Seen before.
    Duplicate,
}

/// Gives packets their places. Of the streams only the present and the one before are known, which is
/// enough for the last packets of an old stream that arrive within a new one.
#[derive(Default)]
pub(super) struct Order {
    present: Option<Stream>,
    before: Option<Stream>,
    streams: u64,
    heard: CallTime,
    /// The last number that seemed to have come before, and how many such have come in a row.
    repeated: (u16, u8),
}

impl Order {
    pub(super) fn place(&mut self, now: CallTime, ssrc: u32, sequence: u16) -> Placed {
        let silent = now.since(self.heard) >= FORGET;
        self.heard = now;
        let placed = self.place_in_streams(silent, ssrc, sequence);
        let (last, count) = self.repeated;
        self.repeated = match placed {
            Placed::Duplicate if count > 0 && sequence == last.wrapping_add(1) => (sequence, count + 1),
            Placed::Duplicate => (sequence, 1),
            Placed::Ahead(_) | Placed::Behind(_) => (0, 0),
        };
        if self.repeated.1 >= MOST_REPEATED {
            self.repeated = (0, 0);
            return self.begin(ssrc, sequence);
        }
        placed
    }

    fn place_in_streams(&mut self, silent: bool, ssrc: u32, sequence: u16) -> Placed {
        let distance = |stream: &Option<Stream>| stream.as_ref().and_then(|s| s.distance(ssrc, sequence));
        match (distance(&self.present), distance(&self.before)) {
            (Some(far), _) if far > 0 || !silent => place(&mut self.present, far),
            (None, Some(far)) if far > 0 && !silent => {
                // The old stream lives on, so it is the present one again.
                std::mem::swap(&mut self.present, &mut self.before);
                self.streams += 1;
                if let Some(stream) = &mut self.present {
                    stream.id = self.streams;
                }
                place(&mut self.present, far)
            }
            (None, Some(far)) if !silent => place(&mut self.before, far),
            _ => self.begin(ssrc, sequence),
        }
    }

    /// Another stream begins with this number.
    fn begin(&mut self, ssrc: u32, sequence: u16) -> Placed {
        self.before = self.present.take();
        self.streams += 1;
        let stream = Stream::new(self.streams, ssrc, sequence);
        let first = Placed::Ahead(stream.place(stream.highest));
        self.present = Some(stream);
        first
    }

    /// How often another stream began after the first.
    pub(super) fn resets(&self) -> u64 {
        self.streams.saturating_sub(1)
    }
}

/// Notes a packet `far` from the highest of `stream`.
fn place(stream: &mut Option<Stream>, far: i16) -> Placed {
    stream.as_mut().map_or(Placed::Duplicate, |s| s.note(far))
}

struct Stream {
    id: u64,
    ssrc: u32,
    /// The highest number so far, counted on over wraps.
    highest: u64,
    /// Bit n: the number n below the highest was seen.
    seen: u128,
}

impl Stream {
    fn new(id: u64, ssrc: u32, sequence: u16) -> Self {
        // One round above zero, so that numbers before the first exist.
        Stream { id, ssrc, highest: 0x1_0000 + u64::from(sequence), seen: 1 }
    }

    fn place(&self, number: u64) -> Place {
        Place { stream: self.id, number }
    }

    /// How far `sequence` is from the highest; none if it is not of this stream.
    fn distance(&self, ssrc: u32, sequence: u16) -> Option<i16> {
        let far = sequence.wrapping_sub(self.highest as u16) as i16;
        let near = far <= MAX_AHEAD as i16 && far >= -(MAX_BEHIND as i16);
        (ssrc == self.ssrc && near).then_some(far)
    }

    fn note(&mut self, far: i16) -> Placed {
        let by = u32::from(far.unsigned_abs());
        if far > 0 {
            self.highest += u64::from(by);
            self.seen = self.seen.checked_shl(by).unwrap_or(0) | 1;
            return Placed::Ahead(self.place(self.highest));
        }
        let bit = 1u128.checked_shl(by).unwrap_or(0);
        if self.seen & bit != 0 {
            return Placed::Duplicate;
        }
        self.seen |= bit;
        Placed::Behind(self.place(self.highest.saturating_sub(u64::from(by))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(order: &mut Order, packets: &[(u32, u16)]) -> Vec<Placed> {
        packets.iter().map(|(ssrc, sequence)| order.place(CallTime::ZERO, *ssrc, *sequence)).collect()
    }

    fn ahead(placed: &Placed) -> Place {
        match placed {
            Placed::Ahead(place) => *place,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_sender_that_goes_back_is_heard_again_soon_and_packets_that_come_twice_are_not() {
        let mut order = Order::default();
        let run = |from: u16, to: u16| (from..to).map(|n| (1, n)).collect::<Vec<_>>();
        numbers(&mut order, &run(1000, 1100));
        let back = numbers(&mut order, &run(1011, 1030));
        let lost = back.iter().filter(|placed| **placed == Placed::Duplicate).count();
        assert_eq!((lost, order.resets()), (7, 1), "{back:?}");

        let mut order = Order::default();
        numbers(&mut order, &run(1000, 1100));
        let twice: Vec<_> = (1100..1140).flat_map(|n| [(1, n), (1, n), (1, n - 5)]).collect();
        numbers(&mut order, &twice);
        assert_eq!(order.resets(), 0);
    }

    #[test]
    fn numbers_go_on_over_the_wrap() {
        let mut order = Order::default();
        let places = numbers(&mut order, &[(1, 65534), (1, 65535), (1, 0), (1, 1)]);
        for pair in places.windows(2) {
            assert_eq!(ahead(&pair[1]).after(ahead(&pair[0])), Some(1));
        }
        assert_eq!(order.resets(), 0);
    }

    #[test]
    fn an_overtaken_packet_counts_once() {
        let mut order = Order::default();
        let places = numbers(&mut order, &[(1, 65535), (1, 1), (1, 0), (1, 0), (1, 1)]);
        assert!(matches!(places[2], Placed::Behind(_)));
        assert_eq!(places[3..], [Placed::Duplicate, Placed::Duplicate]);
    }

    #[test]
    fn another_source_is_a_new_stream_and_the_tail_of_the_old_one_stays_before_it() {
        let mut order = Order::default();
        let places = numbers(&mut order, &[(1, 10), (1, 12), (2, 500), (1, 11), (1, 12)]);
        let Placed::Behind(tail) = places[3] else { panic!("{places:?}") };
        assert!(tail < ahead(&places[2]) && tail < ahead(&places[1]));
        assert_eq!((&places[4], order.resets()), (&Placed::Duplicate, 1));
    }

    #[test]
    fn a_sender_that_restarts_a_little_behind_is_heard_after_a_pause() {
        let mut order = Order::default();
        numbers(&mut order, &[(1, 100), (1, 101)]);
        let restarted = order.place(CallTime::ms(5000), 1, 60);
        assert!(matches!(restarted, Placed::Ahead(_)));
        assert_eq!(order.place(CallTime::ms(5020), 1, 60), Placed::Duplicate);
    }
}
