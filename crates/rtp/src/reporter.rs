//! A leg's reports: when they are due, what they say, and what the peer's say.

use std::time::Duration;

use protocol::CallTime;

use crate::packet::Header;
use crate::quality::{Dropped, Heard, Quality, Told, mos};
use crate::rtcp::{Block, Reception, Report, Rtcp, Sent, middle, parse};
use crate::stream::Outgoing;

/// The least mean time between two reports (RFC 3550 section 6.2); the first comes after half of it. Two
/// members of a call are far from the share of bandwidth that would make it longer.
const INTERVAL: Duration = Duration::from_secs(5);
/// What the random part takes away from the mean is given back (RFC 3550 section 6.3.1: e - 3/2).
const COMPENSATION: f64 = 1.218_28;
/// Reports of ours that a peer may still answer.
const REMEMBERED: usize = 4;
/// Packets held back against jitter, in multiples of it: a common setting of phones' buffers.
const BUFFER_JITTERS: u32 = 2;

/// Sends and reads the reports of one leg.
#[derive(Clone, Debug)]
pub struct Reporter {
    name: String,
    clock: u32,
    ours: u32,
    reception: Reception,
    due: CallTime,
    random: u32,
    /// NTP times, middle half, of our last reports, the youngest first.
    sent: [Option<u32>; REMEMBERED],
    /// Our packets at the last report and at the one before.
    packets: [u32; 2],
    told: Option<Told>,
    round_trip: Option<Duration>,
}

impl Reporter {
    /// Reports of a leg that begins at `now`, about a stream with an RTP clock of `clock` Hz. `ssrc` is our
    /// own stream's and, being random, also starts the dice for the intervals; `name` is our name across
    /// streams, which is to say nothing about the machine (RFC 7022).
    pub fn new(now: CallTime, clock: u32, ssrc: u32, name: &str) -> Self {
        let mut reporter = Reporter {
            name: name.to_owned(),
            clock,
            ours: ssrc,
            reception: Reception::new(clock),
            due: now,
            random: ssrc | 1,
            sent: [None; REMEMBERED],
            packets: [0; 2],
            told: None,
            round_trip: None,
        };
        reporter.due = now + reporter.interval() / 2;
        reporter
    }

    /// Counts an accepted packet of the peer's, sound or digit.
    pub fn heard(&mut self, now: CallTime, header: &Header) {
        self.reception.push(now, header);
    }

    /// The peer's stream has another clock from now on: what was counted stays.
    pub fn reclock(&mut self, clock: u32) {
        self.clock = clock;
        self.reception.reclock(clock);
    }

    /// Reads a compound report that came from the peer's host ([`crate::Source::accepts_report`]) at the NTP
    /// time `ntp`. What concerns other streams than ours and the one heard is passed over. True when the
    /// peer says that its stream is over; that alone is no reason to end a call.
    pub fn receive(&mut self, now: CallTime, ntp: u64, datagram: &[u8]) -> bool {
        let mut over = false;
        for packet in parse(datagram) {
            match packet {
                Rtcp::Sender { ssrc, sent, heard } => {
                    if self.concerns(ssrc) {
                        self.reception.sender_report(now, &sent);
                        self.learn(ntp, heard.about(self.ours));
                    }
                }
                Rtcp::Receiver { ssrc, heard } => {
                    if self.concerns(ssrc) {
                        self.learn(ntp, heard.about(self.ours));
                    }
                }
                Rtcp::Bye { ssrc } => over |= self.reception.ssrc() == Some(ssrc),
                Rtcp::Other => {}
            }
        }
        over
    }

    /// When the next report is due.
    pub fn timeout(&self) -> CallTime {
        self.due
    }

    /// Appends the report that is due, if one is, for `outgoing`, the stream that we send. `ntp` is the NTP
    /// time of `now` ([`crate::rtcp::ntp`]).
    pub fn poll(&mut self, now: CallTime, ntp: u64, outgoing: &Outgoing, out: &mut Vec<u8>) -> bool {
        if now < self.due {
            return false;
        }
        self.report(now, ntp, outgoing).write(out);
        self.due = now + self.interval();
        true
    }

    /// Appends the last report, which says that our stream is over.
    pub fn bye(&mut self, now: CallTime, ntp: u64, outgoing: &Outgoing, out: &mut Vec<u8>) {
        Report { bye: true, ..self.report(now, ntp, outgoing) }.write(out);
    }

    /// Our stream has the identity `ssrc` from the next packet on. Appends the report that ends `outgoing`, as it was
    /// called up to now (RFC 3550 section 8.2).
    pub fn rename(&mut self, now: CallTime, ntp: u64, (outgoing, ssrc): (&Outgoing, u32), out: &mut Vec<u8>) {
        self.bye(now, ntp, outgoing, out);
        (self.ours, self.sent, self.packets) = (ssrc, [None; REMEMBERED], [0; 2]);
    }

    /// The figures so far.
    pub fn quality(&self) -> Quality {
        let (packets, expected) = self.reception.total();
        let heard = Heard { packets, expected, jitter: self.reception.jitter() };
        let way = self.round_trip.unwrap_or_default() / 2;
        let delay = way.saturating_add(heard.jitter.saturating_mul(BUFFER_JITTERS));
        let mos = (packets > 0).then(|| mos(heard.loss(), delay));
        Quality { heard, told: self.told, round_trip: self.round_trip, mos, dropped: Dropped::default() }
    }

    /// Whether `ssrc` is the stream that is heard; before the first packet it may be any.
    fn concerns(&self, ssrc: u32) -> bool {
        self.reception.ssrc().is_none_or(|heard| heard == ssrc)
    }

    fn learn(&mut self, ntp: u64, block: Option<Block>) {
        let Some(block) = block else { return };
        let jitter = f64::from(block.jitter) / f64::from(self.clock.max(1));
        self.told = Some(Told {
            lost: u32::try_from(block.lost).unwrap_or(0),
            recent_loss: f64::from(block.fraction_lost) / 256.0,
            jitter: Duration::from_secs_f64(jitter),
        });
        // A report that answers none of ours would give any round trip that its sender likes.
        if self.sent.contains(&Some(block.last_sr)) {
            self.round_trip = block.round_trip(ntp).or(self.round_trip);
        }
    }

    fn report(&mut self, now: CallTime, ntp: u64, outgoing: &Outgoing) -> Report<'_> {
        let packets = outgoing.packets();
        // Who has sent nothing for two reports is no sender (RFC 3550 section 6.4).
        let sends = self.packets.iter().any(|&before| before != packets);
        self.packets = [packets, self.packets[0]];
        let sent =
            sends.then(|| Sent { ntp, timestamp: outgoing.timestamp(), packets, octets: outgoing.octets() });
        if sends {
            self.sent.rotate_right(1);
            self.sent[0] = Some(middle(ntp));
        }
        let heard = self.reception.report(now);
        Report { ssrc: self.ours, cname: &self.name, sent, heard, bye: false }
    }

    /// The time to the next report: half to one and a half of the mean, so that reports of many calls that
    /// began together do not stay together.
    fn interval(&mut self) -> Duration {
        // Marsaglia's xorshift: dice for spreading, not for secrets.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        let share = 0.5 + f64::from(self.random) / f64::from(u32::MAX);
        INTERVAL.mul_f64(share / COMPENSATION)
    }
}
