//! Reports about a stream (RFC 3550 section 6): loss, jitter, round trip, and the end of a stream.
//!
//! NTP times are arguments, for wall time exists only at the edge: 64 bits, seconds since 1900 in the upper
//! half and their fraction in the lower.

use std::time::Duration;

use protocol::CallTime;

use crate::packet::Header;

const VERSION: u8 = 2;
const COUNT: u8 = 0x1f;
const SENDER: u8 = 200;
const RECEIVER: u8 = 201;
const DESCRIPTION: u8 = 202;
const BYE: u8 = 203;
const CNAME: u8 = 1;
const BLOCK_LEN: usize = 24;

/// One packet of a compound RTCP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rtcp<'a> {
    /// SR: what the peer sends, and what it hears of us.
    Sender {
        /// The reporting stream.
        ssrc: u32,
        /// What it has sent.
        sent: Sent,
        /// What it has heard.
        heard: Blocks<'a>,
    },
    /// RR: what the peer hears of us.
    Receiver {
        /// The reporting stream.
        ssrc: u32,
        /// What it has heard.
        heard: Blocks<'a>,
    },
    /// BYE: the named stream is over. Only the first of several names is kept; a phone has but one.
    Bye {
        /// The stream that has ended.
        ssrc: u32,
    },
    /// Anything else that is well formed.
    Other,
}

/// Reads a compound datagram, packet by packet. It ends at the first packet that is malformed, so whatever
/// comes out is whole and no input makes it panic or allocate.
pub fn parse(datagram: &[u8]) -> impl Iterator<Item = Rtcp<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let (packet, after) = split_packet(rest)?;
        rest = after;
        let read = read_packet(packet);
        if read.is_none() {
            rest = &[];
        }
        read
    })
}

/// One packet as it stands in the datagram.
struct Raw<'a> {
    count: u8,
    kind: u8,
    body: &'a [u8],
}

/// Splits off one packet by its length field.
fn split_packet(rest: &[u8]) -> Option<(Raw<'_>, &[u8])> {
    let (&[first, kind, l0, l1], body) = rest.split_first_chunk::<4>()?;
    if first >> 6 != VERSION {
        return None;
    }
    let (body, after) = body.split_at_checked(usize::from(u16::from_be_bytes([l0, l1])) * 4)?;
    Some((Raw { count: first & COUNT, kind, body }, after))
}

fn read_packet(Raw { count, kind, mut body }: Raw<'_>) -> Option<Rtcp<'_>> {
    match kind {
        SENDER => {
            let ssrc = take(&mut body)?;
            let ntp = u64::from(take(&mut body)?) << 32 | u64::from(take(&mut body)?);
            let (timestamp, packets, octets) = (take(&mut body)?, take(&mut body)?, take(&mut body)?);
            let heard = Blocks::split(body, count)?;
            Some(Rtcp::Sender { ssrc, sent: Sent { ntp, timestamp, packets, octets }, heard })
        }
        RECEIVER => {
            let ssrc = take(&mut body)?;
            Some(Rtcp::Receiver { ssrc, heard: Blocks::split(body, count)? })
        }
        BYE if count > 0 => Some(Rtcp::Bye { ssrc: take(&mut body)? }),
        _ => Some(Rtcp::Other),
    }
}

fn take(body: &mut &[u8]) -> Option<u32> {
    let (word, rest) = body.split_first_chunk::<4>()?;
    *body = rest;
    Some(u32::from_be_bytes(*word))
}

/// The report blocks of one packet, at most 31.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks<'a>(&'a [u8]);

impl<'a> Blocks<'a> {
    fn split(body: &'a [u8], count: u8) -> Option<Self> {
        Some(Blocks(body.get(..usize::from(count) * BLOCK_LEN)?))
    }

    /// The blocks in order.
    pub fn iter(self) -> impl Iterator<Item = Block> + 'a {
        self.0.chunks_exact(BLOCK_LEN).filter_map(Block::read)
    }

    /// What is said about the stream `ssrc`.
    pub fn about(self, ssrc: u32) -> Option<Block> {
        self.iter().find(|block| block.ssrc == ssrc)
    }
}

/// The sender's half of an SR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// NTP time of the report.
    pub ntp: u64,
    /// The same moment in RTP time.
    pub timestamp: u32,
    /// Packets sent since the stream began.
    pub packets: u32,
    /// Payload bytes sent since the stream began.
    pub octets: u32,
}

/// What one side has heard of one stream (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The stream reported on.
    pub ssrc: u32,
    /// Share of packets lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the stream began, 24 bits; duplicates make it negative.
    pub lost: i32,
    /// Highest sequence number, with the count of wraps in the upper half.
    pub highest: u32,
    /// Jitter of arrival in units of the RTP clock.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last SR; zero before any.
    pub last_sr: u32,
    /// Time since that SR arrived, in 1/65536 s.
    pub delay: u32,
}

impl Block {
    fn read(mut bytes: &[u8]) -> Option<Block> {
        let ssrc = take(&mut bytes)?;
        let [fraction_lost, l0, l1, l2] = take(&mut bytes)?.to_be_bytes();
        Some(Block {
            ssrc,
            fraction_lost,
            lost: i32::from_be_bytes([l0, l1, l2, 0]) >> 8,
            highest: take(&mut bytes)?,
            jitter: take(&mut bytes)?,
            last_sr: take(&mut bytes)?,
            delay: take(&mut bytes)?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let [_, l0, l1, l2] = self.lost.clamp(-0x80_0000, 0x7f_ffff).to_be_bytes();
        out.extend(self.ssrc.to_be_bytes());
        out.extend([self.fraction_lost, l0, l1, l2]);
        for word in [self.highest, self.jitter, self.last_sr, self.delay] {
            out.extend(word.to_be_bytes());
        }
    }

    /// Time from us to the peer and back, when this block answers one of our SRs and arrived at the NTP
    /// time `now` (RFC 3550 section 6.4.1). A peer whose figures give a negative time gives zero.
    pub fn round_trip(&self, now: u64) -> Option<Duration> {
        if self.last_sr == 0 {
            return None;
        }
        let units = middle(now).wrapping_sub(self.last_sr).wrapping_sub(self.delay) as i32;
        Some(Duration::from_micros(u64::from(units.max(0) as u32) * 1_000_000 / 65_536))
    }
}

/// The NTP time of a moment `since_unix_epoch`.
pub fn ntp(since_unix_epoch: Duration) -> u64 {
    // NTP counts from 1900 (RFC 3550 section 4) and begins anew in 2036.
    const UNIX_EPOCH: u64 = 2_208_988_800;
    let seconds = since_unix_epoch.as_secs().wrapping_add(UNIX_EPOCH);
    let fraction = (u64::from(since_unix_epoch.subsec_nanos()) << 32) / 1_000_000_000;
    seconds << 32 | fraction
}

/// The middle half of an NTP time, in 1/65536 s.
pub(crate) fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

/// What we have to say in one report.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// Our own stream.
    pub ssrc: u32,
    /// Our name across streams, `a=cname` like; at most 255 bytes are sent.
    pub cname: &'a str,
    /// What we have sent; `None` makes it an RR.
    pub sent: Option<Sent>,
    /// What we have heard; `None` before the first packet.
    pub heard: Option<Block>,
    /// Whether our stream is over.
    pub bye: bool,
}

impl Report<'_> {
    /// Appends the compound datagram: SR or RR, then the name (section 6.1 demands both), then BYE.
    pub fn write(&self, out: &mut Vec<u8>) {
        let kind = if self.sent.is_some() { SENDER } else { RECEIVER };
        packet(out, u8::from(self.heard.is_some()), kind, |out| {
            out.extend(self.ssrc.to_be_bytes());
            if let Some(sent) = self.sent {
                out.extend(sent.ntp.to_be_bytes());
                for word in [sent.timestamp, sent.packets, sent.octets] {
                    out.extend(word.to_be_bytes());
                }
            }
            if let Some(heard) = self.heard {
                heard.write(out);
            }
        });
        packet(out, 1, DESCRIPTION, |out| {
            let name = &self.cname.as_bytes()[..self.cname.len().min(255)];
            out.extend(self.ssrc.to_be_bytes());
            out.extend([CNAME, name.len() as u8]);
            out.extend(name);
            // The list of items ends with at least one zero byte and fills the word.
            out.extend(&[0; 4][(name.len() + 2) % 4..]);
        });
        if self.bye {
            packet(out, 1, BYE, |out| out.extend(self.ssrc.to_be_bytes()));
        }
    }
}

/// Appends one packet; `body` writes whole words, at most 300 bytes.
fn packet(out: &mut Vec<u8>, count: u8, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.extend([VERSION << 6 | count, kind, 0, 0]);
    let start = out.len();
    body(out);
    let words = ((out.len() - start) / 4) as u16;
    out[start - 2..start].copy_from_slice(&words.to_be_bytes());
}

/// What we hear of one stream: the counters of RFC 3550 appendices A.1, A.3 and A.8.
///
/// Another SSRC begins anew, as does a leap of the sequence that two packets in a row confirm.
#[derive(Clone, Debug)]
pub struct Reception {
    clock: u32,
    stream: Option<Stream>,
    last_sr: Option<(u32, CallTime)>,
}

impl Reception {
    /// Nothing heard yet of a stream with an RTP clock of `clock` Hz.
    pub fn new(clock: u32) -> Self {
        Reception { clock, stream: None, last_sr: None }
    }

    /// Counts an accepted packet that arrived at `now`.
    pub fn push(&mut self, now: CallTime, header: &Header) {
        let units = now.0.as_nanos().wrapping_mul(u128::from(self.clock)) / 1_000_000_000;
        let transit = (units as u32).wrapping_sub(header.timestamp);
        match &mut self.stream {
            Some(stream) if stream.ssrc == header.ssrc => stream.push(header.sequence, transit),
            before => {
                // A report that came before the first packet stays; one about another stream goes.
                if before.is_some() {
                    self.last_sr = None;
                }
                let past = before.as_ref().map_or((0, 0), Stream::total);
                *before = Some(Stream { past, ..Stream::new(header, transit) });
            }
        }
    }

    /// Takes note of an SR of the same peer, so that the next report lets it measure the round trip.
    pub fn sender_report(&mut self, now: CallTime, sent: &Sent) {
        self.last_sr = Some((middle(sent.ntp), now));
    }

    /// Our report block; the share of loss counts from the previous call. `None` before the first packet.
    pub fn report(&mut self, now: CallTime) -> Option<Block> {
        let (last_sr, delay) = match self.last_sr {
            Some((ntp, at)) => (ntp, (now.since(at).as_micros() * 65_536 / 1_000_000) as u32),
            None => (0, 0),
        };
        let stream = self.stream.as_mut()?;
        Some(Block {
            ssrc: stream.ssrc,
            fraction_lost: stream.fraction_lost(),
            lost: stream.lost().clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest: stream.highest as u32,
            jitter: stream.jitter >> 4,
            last_sr,
            delay,
        })
    }

    /// Mean deviation of the time between arrivals.
    pub fn jitter(&self) -> Duration {
        let units = self.stream.as_ref().map_or(0, |stream| stream.jitter >> 4);
        Duration::from_secs_f64(f64::from(units) / f64::from(self.clock.max(1)))
    }

    /// The stream that is heard.
    pub fn ssrc(&self) -> Option<u32> {
        self.stream.as_ref().map(|stream| stream.ssrc)
    }

    /// The packets to come have a clock of `clock` Hz. Jitter is measured anew, in the new unit.
    pub fn reclock(&mut self, clock: u32) {
        if clock != self.clock {
            self.clock = clock;
            if let Some(stream) = &mut self.stream {
                (stream.jitter, stream.transit) = (0, None);
            }
        }
    }

    /// Packets heard and packets that should have been, through all streams.
    pub fn total(&self) -> (u64, u64) {
        self.stream.as_ref().map_or((0, 0), Stream::total)
    }

    /// Packets heard and packets that should have been, since the stream began.
    pub fn received_of_expected(&self) -> (u64, u64) {
        self.stream.as_ref().map_or((0, 0), |stream| (stream.received, stream.expected()))
    }
}

/// A forward step of the sequence that is still loss (MAX_DROPOUT).
const LARGEST_LOSS: u16 = 3000;
/// A backward step that is still reordering (MAX_MISORDER).
const LARGEST_DISORDER: u16 = 100;

#[derive(Clone, Debug)]
struct Stream {
    ssrc: u32,
    first: u64,
    highest: u64,
    received: u64,
    leap: Option<u16>,
    /// Of the packet before; `None` when the next one is compared with nothing.
    transit: Option<u32>,
    /// In 1/16 of a unit.
    jitter: u32,
    reported: (u64, u64),
    /// Heard and expected of streams before this one.
    past: (u64, u64),
}

impl Stream {
    fn new(header: &Header, transit: u32) -> Self {
        let first = u64::from(header.sequence);
        let reported = (0, 0);
        Stream {
            ssrc: header.ssrc,
            first,
            highest: first,
            received: 1,
            leap: None,
            transit: Some(transit),
            jitter: 0,
            reported,
            past: (0, 0),
        }
    }

    fn push(&mut self, sequence: u16, transit: u32) {
        let step = sequence.wrapping_sub(self.highest as u16);
        if step < LARGEST_LOSS {
            self.highest += u64::from(step);
        } else if step < 0u16.wrapping_sub(LARGEST_DISORDER) {
            // The sender has begun anew, or one packet is astray: the next one tells.
            if self.leap.replace(sequence.wrapping_add(1)) != Some(sequence) {
                return;
            }
            self.past = self.total();
            self.first = u64::from(sequence);
            (self.highest, self.received, self.reported) = (self.first, 0, (0, 0));
            self.transit = None;
        }
        self.leap = None;
        self.received += 1;
        let before = self.transit.replace(transit).unwrap_or(transit);
        let deviation = (transit.wrapping_sub(before) as i32).unsigned_abs();
        self.jitter =
            self.jitter.saturating_add(deviation).saturating_sub(self.jitter.saturating_add(8) >> 4);
    }

    fn expected(&self) -> u64 {
        self.highest - self.first + 1
    }

    fn total(&self) -> (u64, u64) {
        (self.past.0 + self.received, self.past.1 + self.expected())
    }

    fn lost(&self) -> i64 {
        self.expected() as i64 - self.received as i64
    }

    fn fraction_lost(&mut self) -> u8 {
        let (expected, received) = (self.expected(), self.received);
        let (expected_then, received_then) = std::mem::replace(&mut self.reported, (expected, received));
        let span = expected.saturating_sub(expected_then);
        let lost = span.saturating_sub(received.saturating_sub(received_then));
        (lost * 256).checked_div(span).unwrap_or(0).min(255) as u8
    }
}
