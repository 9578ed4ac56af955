//! The jitter buffer on a simulated clock: a sender, a network written as text, and a tick every 20 ms.

use std::fmt::Write;
use std::time::Duration;

use audio::{Jitter, Packet, Popped};
use proptest::prelude::*;
use protocol::CallTime;

use crate::sound::Dice;

const CLOCK: u32 = 8000;

/// What a tick of 20 ms played.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Played {
    /// The sequence number of a packet.
    Packet(u16),
    Lost,
    Nothing,
}

/// A receiver that asks like a call does: until it has 20 ms of sound.
struct Receiver {
    jitter: Jitter,
    now: u64,
    tick: u64,
    ptime: u64,
    /// Milliseconds of sound left over from the last packet.
    left: u64,
    played: Vec<(u64, Played)>,
    /// Which packets hold silence.
    silent: fn(u16) -> bool,
}

impl Receiver {
    fn new(ptime: u64) -> Self {
        Receiver {
            jitter: Jitter::new(CLOCK),
            now: 0,
            tick: 3,
            ptime,
            left: 0,
            played: Vec::new(),
            silent: |_| false,
        }
    }

    fn run_to(&mut self, ms: u64) {
        while self.tick <= ms {
            self.now = self.tick;
            while self.left < 20 {
                let (played, ms) = match self.jitter.pop(CallTime::ms(self.now)) {
                    Popped::Spare(packet) if (self.silent)(packet.sequence) => {
                        self.jitter.leave_out(CallTime::ms(self.now));
                        continue;
                    }
                    Popped::Packet(packet) | Popped::Spare(packet) => {
                        self.jitter.set_quiet((self.silent)(packet.sequence));
                        (Played::Packet(packet.sequence), self.ptime)
                    }
                    Popped::Lost { duration } => (Played::Lost, duration.as_millis() as u64),
                    Popped::Empty => (Played::Nothing, 20 - self.left),
                };
                self.left += ms;
                self.played.push((self.now, played));
            }
            self.left -= 20;
            self.tick += 20;
        }
    }

    fn arrives(&mut self, at: u64, packet: Packet) {
        self.run_to(at.saturating_sub(1));
        self.jitter.push(CallTime::ms(at), packet);
    }

    fn numbers(&self) -> Vec<u16> {
        self.played
            .iter()
            .filter_map(|(_, p)| if let Played::Packet(n) = p { Some(*n) } else { None })
            .collect()
    }

    /// How long a sound sent at `sent` waited until it was played: of the last packet with number `n`.
    fn delay_of(&self, n: u16, sent: u64) -> u64 {
        let played = self.played.iter().rev().find(|(_, p)| *p == Played::Packet(n));
        played.map_or(u64::MAX, |(at, _)| at - sent)
    }

    fn count(&self, what: Played) -> usize {
        self.played.iter().filter(|(_, p)| *p == what).count()
    }
}

fn packet(n: u64, ptime: u64) -> Packet {
    Packet {
        sequence: (n % 65536) as u16,
        timestamp: (n * ptime * 8) as u32,
        ssrc: 1,
        marker: n == 0,
        payload_type: 0,
        payload: vec![n as u8; (ptime * 8) as usize].into(),
    }
}

/// Packets 0.. of 20 ms sent every 20 ms; packet n is delayed by `delay(n)` or lost if that is none.
fn stream(count: u64, ptime: u64, mut delay: impl FnMut(u64) -> Option<u64>) -> Receiver {
    let mut network: Vec<(u64, u64)> =
        (0..count).filter_map(|n| delay(n).map(|late| (n * ptime + late, n))).collect();
    network.sort();
    let mut receiver = Receiver::new(ptime);
    for (at, n) in network {
        receiver.arrives(at, packet(n, ptime));
    }
    receiver.run_to(count * ptime + 400);
    receiver
}

/// Plays a trace: one character per packet of 20 ms. `.` arrives at once, `x` is lost, `2` arrives twice, a
/// letter from `a` to `j` arrives 10 to 100 ms late. The answer has one character per tick: `o` for a packet,
/// `~` for made-up sound, `_` for nothing.
fn trace(network: &str) -> (String, Receiver) {
    let mut arrivals = Vec::new();
    for (n, fate) in network.chars().enumerate() {
        let n = n as u64;
        match fate {
            '.' => arrivals.push((20 * n, n)),
            '2' => arrivals.extend([(20 * n, n), (20 * n + 1, n)]),
            'a'..='j' => arrivals.push((20 * n + 10 * (fate as u64 - 'a' as u64 + 1), n)),
            _ => {}
        }
    }
    arrivals.sort();
    let mut receiver = Receiver::new(20);
    for (at, n) in arrivals {
        receiver.arrives(at, packet(n, 20));
    }
    receiver.run_to(20 * network.len() as u64 + 20);
    let mut heard = String::new();
    for (_, played) in &receiver.played {
        let sign = match played {
            Played::Packet(_) => 'o',
            Played::Lost => '~',
            Played::Nothing => '_',
        };
        heard.write_char(sign).unwrap();
    }
    (heard, receiver)
}

/// What is sent above and what is played below it, tick by tick.
const TRACES: &[(&str, &str)] = &[
    // A clean line is played at the next tick, 3 ms later.
    ("..........", "oooooooooo_"),
    // A lost packet leaves a hole of its own length, which the decoder fills.
    ("....x.....", "oooo_ooooo_"),
    // So do three; the line is then as fast as before.
    ("...xxx......", "ooo___oooooo_"),
    // Duplicates are played once.
    ("..2.22....", "oooooooooo_"),
    // Packets that change places make the line wait once, and are then put in order.
    (".b.b.b.b.b", "o_ooooooooo"),
    // A packet that comes too late makes the delay longer, so that the next such one is in time.
    ("....e.....e.....e....", "oooo_oo___oooooooooooo"),
    // A short stop of the network loses nothing.
    ("....jihgfedcba.....", "oooo_____ooooooooooo"),
    // After a long one sound is back at once.
    ("....xxxxxxxxxxxxxxxxxxxx......", "oooo____________________oooooo_"),
    // Once the line waits, a lost packet is hidden in its place.
    (".b.....x....", "o_oooooo~oooo"),
];

#[test]
fn traces_are_played_as_written() {
    for (network, heard) in TRACES {
        let (played, receiver) = trace(network);
        assert_eq!(&played, heard, "\n{network} {:?}", receiver.jitter.stats());
    }
}

#[test]
fn a_clean_line_waits_for_about_a_packet() {
    for ptime in [10, 20, 30, 40, 60] {
        for wobble in [0.0, 2.0] {
            let mut dice = Dice(5);
            let receiver = stream(500, ptime, |_| Some((dice.roll() * wobble) as u64));
            let stats = receiver.jitter.stats();
            assert!(stats.delay <= Duration::from_millis(40), "{ptime} ms: {stats:?}");
            assert_eq!((receiver.numbers().len(), stats.lost), (500, 0), "{ptime} ms");
        }
    }
}

#[test]
fn the_delay_grows_with_the_jitter_and_no_further_than_it_needs() {
    for (jitter, most) in [(30.0, 60), (80.0, 110), (150.0, 190)] {
        for ptime in [10, 20, 30, 60] {
            let mut dice = Dice(77);
            let count = 60_000 / ptime;
            let receiver = stream(count, ptime, |_| Some((dice.roll() * jitter) as u64));
            let stats = receiver.jitter.stats();
            assert!(stats.delay.as_millis() <= most, "{jitter} ms, packets of {ptime} ms: {stats:?}");
            assert!(stats.lost < 10, "{jitter} ms, packets of {ptime} ms: {stats:?}");
        }
    }
}

#[test]
fn a_hopeless_network_does_not_make_the_delay_endless() {
    let mut dice = Dice(31);
    let receiver = stream(3000, 20, |_| Some((dice.roll() * 400.0) as u64));
    let stats = receiver.jitter.stats();
    assert!(stats.delay.as_millis() <= 260, "{stats:?}");
    assert!(receiver.numbers().len() > 1500, "{stats:?}");
}

/// Ten seconds of a jittery network, then a clean one.
fn calmed(quiet: bool, seconds: u64) -> Duration {
    let mut dice = Dice(3);
    let mut receiver = Receiver::new(20);
    receiver.silent = if quiet { |_| true } else { |_| false };
    let mut network: Vec<(u64, u64)> = (0..500 + 50 * seconds)
        .map(|n| (20 * n + if n < 500 { (dice.roll() * 120.0) as u64 } else { 0 }, n))
        .collect();
    network.sort();
    network.iter().for_each(|(at, n)| receiver.arrives(*at, packet(*n, 20)));
    receiver.jitter.stats().delay
}

#[test]
fn delay_that_is_not_needed_any_more_is_given_up_soon_in_silence_and_later_in_speech() {
    assert!(calmed(true, 0) > Duration::from_millis(90));
    assert!(calmed(true, 4) < Duration::from_millis(50));
    assert!(calmed(false, 4) > Duration::from_millis(90));
    assert!(calmed(false, 12) < Duration::from_millis(50));
}

/// Words of 200 ms with the 20 ms between them in which a mouth is shut, and a long pause behind them all.
#[test]
fn words_lose_nothing_when_delay_is_given_up_and_pauses_do() {
    for ptime in [10, 20, 60] {
        let packets = |ms: u64| ms / ptime;
        let shut: fn(u16) -> bool = match ptime {
            10 => |n| n > 450 || n % 22 < 2,
            20 => |n| n > 225 || n % 11 == 0,
            _ => |n| n > 75 || n % 4 == 0,
        };
        let mut receiver = Receiver::new(ptime);
        receiver.silent = shut;
        let stop = 600..720;
        for n in 0..packets(9_000) {
            let sent = n * ptime;
            let late = if stop.contains(&sent) { stop.end - sent } else { 0 };
            receiver.arrives(sent + late, packet(n, ptime));
        }
        receiver.run_to(9_000);
        let numbers = receiver.numbers();
        let cut: Vec<u64> =
            (0..packets(4_500)).filter(|n| !shut(*n as u16) && !numbers.contains(&(*n as u16))).collect();
        assert!(cut.is_empty(), "packets of {ptime} ms: {cut:?} were left out");
        let stats = receiver.jitter.stats();
        assert!(stats.shortened > 0 && stats.delay < Duration::from_millis(40), "{ptime} ms: {stats:?}");
    }
}

#[test]
fn sound_is_back_within_200_ms_after_an_outage() {
    for outage in [300, 5_000, 60_000, 700_000] {
        for (jitter, ptime) in [(0.0, 20), (60.0, 20), (0.0, 10), (150.0, 60)] {
            let mut dice = Dice(8);
            let gap = outage / ptime;
            let before = 2_000 / ptime;
            let mut back = u64::MAX;
            let receiver = stream(before + gap + 50, ptime, |n| {
                let late = (dice.roll() * jitter) as u64;
                if n >= before + gap {
                    back = back.min(n * ptime + late);
                }
                (n < before || n >= before + gap).then_some(late)
            });
            let first = receiver.played.iter().find(|(at, p)| *at >= back && matches!(p, Played::Packet(_)));
            let (at, _) = first.unwrap();
            assert!(at - back <= 200, "{} ms after {outage} ms at {ptime} ms", at - back);
            assert!(receiver.count(Played::Lost) < 20, "made-up sound for an outage of {outage} ms");
        }
    }
}

#[test]
fn a_network_that_delivers_all_at_once_after_an_outage_is_caught_up_with() {
    let receiver = stream(600, 20, |n| Some(if (100..350).contains(&n) { (350 - n) * 20 } else { 0 }));
    let stats = receiver.jitter.stats();
    assert!(stats.overflowed > 200, "{stats:?}");
    assert!(stats.delay <= Duration::from_millis(240), "{stats:?}");
    assert!(receiver.delay_of(599, 599 * 20) <= 240);
}

/// The sender is silent from 2 to 3 s of every 4; its numbers go on and its timestamps jump.
#[test]
fn a_sender_that_is_silent_in_pauses_loses_nothing() {
    let mut receiver = Receiver::new(20);
    let mut sequence = 0;
    let mut sent = Vec::new();
    for n in (0..1000).filter(|n| n % 200 < 100 || n % 200 >= 150) {
        let mut sound = packet(n, 20);
        sound.sequence = sequence;
        sound.marker = n % 200 == 150;
        sent.push((sequence, n * 20));
        receiver.arrives(n * 20, sound);
        sequence += 1;
    }
    receiver.run_to(20_100);
    assert_eq!(receiver.numbers(), (0..sequence).collect::<Vec<_>>());
    assert_eq!(receiver.count(Played::Lost), 0);
    for (sequence, at) in sent {
        assert!(receiver.delay_of(sequence, at) <= 40);
    }
}

#[test]
fn numbers_and_timestamps_wrap_without_notice() {
    let mut receiver = Receiver::new(20);
    for n in 0..200u16 {
        let mut sound = packet(u64::from(n), 20);
        sound.sequence = 65_436u16.wrapping_add(n);
        sound.timestamp = (u32::MAX - 8_000).wrapping_add(160 * u32::from(n));
        receiver.arrives(20 * u64::from(n), sound);
    }
    let stats = receiver.jitter.stats();
    assert_eq!((stats.lost, stats.resets, stats.late), (0, 0, 0));
    assert_eq!(receiver.count(Played::Nothing), 0);
}

#[test]
fn another_source_is_heard_at_once() {
    let mut receiver = Receiver::new(20);
    for n in 0..100 {
        let mut sound = packet(n, 20);
        if n >= 50 {
            (sound.ssrc, sound.sequence, sound.timestamp) =
                (2, (n + 40_000) as u16, (n * 160) as u32 ^ 0x8000_0000);
        }
        receiver.arrives(20 * n, sound);
    }
    receiver.run_to(2_100);
    assert_eq!(receiver.numbers().len(), 100);
    assert_eq!(receiver.jitter.stats().resets, 1);
    assert!(receiver.delay_of(40_050, 1000) <= 60);
}

#[test]
fn a_sender_may_change_the_length_of_its_packets() {
    let mut jitter = Jitter::new(CLOCK);
    let (mut now, mut heard, mut left) = (0, 0, 0u64);
    let mut timestamp = 0;
    for n in 0..200u16 {
        let ptime: u64 = if n < 100 { 20 } else { 40 };
        let sound = Packet { sequence: n, timestamp, ..packet(0, ptime) };
        timestamp += ptime as u32 * 8;
        jitter.push(CallTime::ms(now), sound);
        for tick in 0..ptime / 20 {
            while left < 20 {
                match jitter.pop(CallTime::ms(now + 20 * tick + 15)) {
                    Popped::Packet(packet) | Popped::Spare(packet) => {
                        heard += 1;
                        left += packet.payload.len() as u64 / 8;
                    }
                    Popped::Lost { .. } => panic!("nothing is lost"),
                    Popped::Empty => left = 20,
                }
            }
            left -= 20;
        }
        now += ptime;
    }
    assert!(heard >= 197, "{heard}");
}

#[test]
fn a_clock_that_runs_fast_or_slow_is_followed() {
    for parts in [999u64, 1001] {
        let mut receiver = Receiver::new(20);
        for n in 0..15_000 {
            receiver.arrives(n * 20 * parts / 1000, packet(n, 20));
        }
        let stats = receiver.jitter.stats();
        assert!(stats.delay <= Duration::from_millis(80), "{parts}: {stats:?}");
        assert!(receiver.count(Played::Nothing) < 30, "{parts}: {stats:?}");
    }
}

#[test]
fn half_a_second_is_held_at_most() {
    let mut jitter = Jitter::new(CLOCK);
    (0..100).for_each(|n| jitter.push(CallTime::ms(n), packet(n, 20)));
    assert_eq!(jitter.stats().overflowed, 75);
    let (Popped::Packet(first) | Popped::Spare(first)) = jitter.pop(CallTime::ms(200)) else { panic!() };
    assert_eq!(first.sequence, 75);
}

#[test]
fn events_between_packets_are_no_loss() {
    let mut receiver = Receiver::new(20);
    for n in 0..60 {
        let mut sound = packet(n, 20);
        if (20..30).contains(&n) {
            // A telephone-event keeps the timestamp of its beginning.
            sound.timestamp = 20 * 160;
            sound.payload = Box::default();
        }
        receiver.arrives(20 * n, sound);
    }
    receiver.run_to(1_300);
    assert_eq!(receiver.numbers().len(), 50);
    assert_eq!((receiver.jitter.stats().lost, receiver.count(Played::Lost)), (0, 0));
}

#[test]
fn the_packet_after_a_loss_may_be_looked_at() {
    let mut jitter = Jitter::new(CLOCK);
    for n in [0, 1, 3, 4] {
        jitter.push(CallTime::ms(0), packet(n, 20));
    }
    for tick in 1..=2 {
        assert!(matches!(jitter.pop(CallTime::ms(20 * tick)), Popped::Packet(_)));
        assert_eq!(jitter.following().map(|p| p.sequence), [Some(1), None][tick as usize - 1]);
    }
    assert_eq!(jitter.pop(CallTime::ms(60)), Popped::Lost { duration: Duration::from_millis(20) });
    assert_eq!(jitter.following().map(|p| p.sequence), Some(3));
}

#[test]
fn the_jitter_of_rfc_3550_is_measured() {
    let mut dice = Dice(21);
    let stats = stream(2000, 20, |_| Some((dice.roll() * 40.0) as u64)).jitter.stats();
    // The mean difference of two numbers from 0 to 40.
    assert!((stats.jitter.as_secs_f64() * 1000.0 - 13.3).abs() < 4.0, "{:?}", stats.jitter);
}

/// One step of a hostile or broken sender.
#[derive(Clone, Debug)]
struct Step {
    pause: u64,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    sound: usize,
    pops: usize,
}

fn steps(sequence: std::ops::Range<u16>, ssrc: u32) -> impl Strategy<Value = Vec<Step>> {
    let step = (0u64..400, sequence, any::<u32>(), 0..ssrc, 0usize..3, 0usize..4).prop_map(
        |(pause, sequence, timestamp, ssrc, sound, pops)| Step {
            // Long pauses are rare, so that most packets are near each other.
            pause: if pause > 380 { pause } else { pause % 25 },
            sequence,
            timestamp,
            ssrc,
            sound,
            pops,
        },
    );
    prop::collection::vec(step, 1..300)
}

/// The places in `steps` of the packets in the order in which they are played.
fn order_of(steps: &[Step]) -> Vec<usize> {
    let (mut jitter, mut now, mut order) = (Jitter::new(CLOCK), 0, Vec::new());
    for (n, step) in steps.iter().enumerate() {
        now += step.pause;
        let mut payload = n.to_le_bytes().to_vec();
        payload.truncate(8 * step.sound);
        jitter.push(
            CallTime::ms(now),
            Packet {
                sequence: step.sequence,
                timestamp: step.timestamp,
                ssrc: step.ssrc,
                marker: step.sound == 1,
                payload_type: 0,
                payload: payload.into(),
            },
        );
        for _ in 0..step.pops {
            if let Popped::Packet(packet) | Popped::Spare(packet) = jitter.pop(CallTime::ms(now)) {
                let bytes = packet.payload.first_chunk().copied().unwrap_or_default();
                order.push(usize::from_le_bytes(bytes));
            }
        }
    }
    order
}

proptest! {
    #[test]
    fn whatever_is_sent_each_packet_is_played_at_most_once(steps in steps(0..u16::MAX, 3)) {
        let mut order = order_of(&steps);
        let played = order.len();
        order.sort_unstable();
        order.dedup();
        prop_assert_eq!(order.len(), played);
    }

    #[test]
    fn one_stream_is_played_in_order_and_no_number_twice(steps in steps(100..220, 1)) {
        let numbers: Vec<u16> = order_of(&steps).iter().map(|n| steps[*n].sequence).collect();
        prop_assert!(numbers.windows(2).all(|w| w[0] < w[1]), "{numbers:?}");
    }
}

/// A live call reads its packets in the tick: those that have come by then are told to have come in it.
#[test]
fn what_is_there_in_a_tick_is_played_in_it() {
    let mut jitter = Jitter::new(8000);
    for n in 0..50 {
        let now = CallTime::ms(20 * n);
        jitter.push(now, packet(n, 20));
        assert!(matches!(jitter.pop(now), Popped::Packet(played) if u64::from(played.sequence) == n));
    }
}

#[test]
fn a_stop_of_a_clean_line_costs_replies_nothing_some_seconds_later() {
    let mut jitter = Jitter::new(8000);
    jitter.set_quiet(true);
    for n in 0..500 {
        let now = CallTime::ms(20 * n);
        // One packet comes a tick late, and the next with it.
        if n != 100 {
            jitter.push(now, packet(n, 20));
        }
        if n == 101 {
            jitter.push(now, packet(100, 20));
        }
        while let Popped::Spare(_) = jitter.pop(now) {
            jitter.leave_out(now);
        }
    }
    assert_eq!((jitter.stats().delay, jitter.stats().lost), (Duration::ZERO, 0));
    assert!(matches!(jitter.pop(CallTime::ms(10_000)), Popped::Empty));
}
