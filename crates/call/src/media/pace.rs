//! How much of what waits in a leg's socket a tick needs.
//!
//! A far end that sends 20 ms in each packet has one packet for each tick. Looking for a second one asks the kernel in
//! vain, as often as packets come.

use rtp::Header;

/// So many ticks in a row take one packet and look for no other. What a burst has brought waits in the socket no longer
/// than these; it could not be played earlier, but the jitter buffer is to know of it.
const UNSEEN_TICKS: u8 = 3;

/// What a datagram was to the leg that it came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Took {
    /// The far end's.
    Own,
    /// The far end's, and the last that this tick needs: what has come behind it may as well wait for the next.
    Last,
    /// A stranger's, or nothing.
    Foreign,
}

/// Whether packets come one in each tick, and whether this tick has had its own.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// The last packet of sound.
    last: Option<Header>,
    /// Datagrams of any kind in this tick.
    came: u32,
    /// This tick has its packet.
    served: bool,
    /// Ticks that may still go without a look behind their packet.
    unseen: u8,
}

impl Pace {
    /// A datagram has come, from whomever.
    pub(crate) fn came(&mut self) {
        self.came += 1;
        self.served = false;
    }

    /// It was sound of the far end; `frame` is 20 ms in units of its RTP clock. It serves the tick when it follows the
    /// packet before it and that one lasted a frame: whatever comes behind it cannot be due.
    pub(crate) fn sound(&mut self, header: &Header, frame: u32) {
        self.served = self.unseen > 0
            && self.last.is_some_and(|last| {
                let step = header.timestamp.wrapping_sub(last.timestamp);
                header.ssrc == last.ssrc
                    && header.sequence == last.sequence.wrapping_add(1)
                    && (frame..=i32::MAX as u32).contains(&step)
            });
        self.last = Some(*header);
    }

    /// Whether this tick needs no more.
    pub(crate) fn is_served(&self) -> bool {
        self.served
    }

    /// The reading for a tick is over.
    pub(crate) fn tick(&mut self) {
        self.unseen = match (self.served, self.came) {
            (true, _) => self.unseen.saturating_sub(1),
            // The socket is empty, and it held what it should.
            (false, 1) => UNSEEN_TICKS,
            (false, _) => 0,
        };
        (self.came, self.served) = (0, false);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const FRAME: u32 = 160;

    fn packet(number: u16, lasts: u32) -> Header {
        let timestamp = u32::from(number).wrapping_mul(lasts);
        Header { marker: false, payload_type: 0, sequence: number, timestamp, ssrc: 1 }
    }

    /// Reads like a media thread; how many reads the tick took.
    fn read(pace: &mut Pace, socket: &mut VecDeque<Option<Header>>) -> usize {
        let mut reads = 0;
        loop {
            reads += 1;
            let Some(datagram) = socket.pop_front() else { break };
            pace.came();
            if let Some(header) = datagram {
                pace.sound(&header, FRAME);
            }
            if pace.is_served() {
                break;
            }
        }
        pace.tick();
        reads
    }

    #[test]
    fn a_steady_stream_is_looked_behind_in_every_fourth_tick() {
        let (mut pace, mut socket) = (Pace::default(), VecDeque::new());
        let reads: Vec<usize> = (0..9)
            .map(|number| {
                socket.push_back(Some(packet(number, FRAME)));
                read(&mut pace, &mut socket)
            })
            .collect();
        assert_eq!(reads, [2, 1, 1, 1, 2, 1, 1, 1, 2]);
    }

    #[test]
    fn what_a_burst_brings_is_seen_within_four_ticks_and_then_at_once() {
        for quiet in 4..9 {
            let (mut pace, mut socket) = (Pace::default(), VecDeque::new());
            let mut next = 0..;
            for tick in 0..20 {
                for _ in 0..if tick == quiet { 4 } else { 1 } {
                    socket.extend(next.next().map(|number| Some(packet(number, FRAME))));
                }
                read(&mut pace, &mut socket);
                assert!(socket.is_empty() || (quiet..quiet + 3).contains(&tick), "{quiet} {tick}");
            }
        }
    }

    #[test]
    fn packets_shorter_than_a_frame_gaps_doubles_and_strangers_are_never_stopped_at() {
        let (pair, lost) = ([packet(1, 80), packet(2, 80)].map(Some), [Some(packet(9, FRAME)), None]);
        let overtaken = [packet(7, FRAME), packet(6, FRAME)].map(Some);
        let other = Header { ssrc: 2, ..packet(1, FRAME) };
        let digits = [packet(1, FRAME), Header { sequence: 2, ..packet(1, FRAME) }].map(Some);
        for came in [pair, lost, overtaken, [Some(other), None], digits, [None, None]] {
            let mut pace = Pace { last: Some(packet(0, FRAME)), unseen: UNSEEN_TICKS, ..Pace::default() };
            let first_serves = came[0] == Some(packet(1, FRAME));
            let reads = read(&mut pace, &mut came.into());
            assert_eq!(reads, if first_serves { 1 } else { 3 }, "{came:?}");
            assert!(first_serves || read(&mut pace, &mut VecDeque::new()) == 1);
        }
    }
}
