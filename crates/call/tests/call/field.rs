//! A call's sound on lines as they are: streams that begin anew, outages, strangers, noise, forged and repeated packets.

use std::time::Duration;

use audio::codec::{g711, opus};
use call::legs::LegId;
use call::media::order::{FromMedia, LegPlan, RtpPlan, Start, ToMedia};
use proptest::prelude::*;
use protocol::CallTime;
use rtp::quality::Dropped;
use rtp::sdp::Negotiated;
use rtp::srtp::{AES_CM_128_HMAC_SHA1_80, Master};
use rtp::stream::Learning;
use rtp::watch::{Missing, Patience};
use rtp::{Datagram, Keys, Rtp, Srtp};

use crate::pair::{ENDS, Pair, agreed, likeness, pieces, plan, speech};

const STRANGER: &str = "203.0.113.66:6666";
/// Where the speech of [`talk`] begins.
const BEGAN: CallTime = CallTime::ms(500);

/// Two seconds of speech from the first end to the second, over `wire`; how well it was heard.
fn talk(pair: &mut Pair, wire: impl FnMut(&mut Pair, usize, Vec<u8>) -> Vec<Vec<u8>>) -> f64 {
    let likes = talk_in_pieces(pair, wire);
    likes.iter().sum::<f64>() / likes.len().max(1) as f64
}

/// The same for each loud piece of it.
fn talk_in_pieces(
    pair: &mut Pair,
    mut wire: impl FnMut(&mut Pair, usize, Vec<u8>) -> Vec<Vec<u8>>,
) -> Vec<f64> {
    let said = speech(2);
    pair.ends[1].handle(CallTime::ZERO, ToMedia::Record);
    for tick in 0..140 {
        if tick == 25 {
            pair.say(0, &said);
        }
        let mut sent = Vec::new();
        pair.tick(|from, bytes| {
            sent.push((from, bytes));
            vec![]
        });
        for (from, bytes) in sent {
            for bytes in wire(pair, from, bytes) {
                pair.deliver(1 - from, ENDS[from], bytes);
            }
        }
    }
    pieces(&said, BEGAN, &pair.heard(1), 8000)
}

/// The packet with other numbers: its sequence moved, its SSRC replaced.
fn renumbered(mut packet: Vec<u8>, by: u16, ssrc: Option<u32>) -> Vec<u8> {
    let Ok(Rtp { header, .. }) = Rtp::parse(&packet) else { return packet };
    packet[2..4].copy_from_slice(&header.sequence.wrapping_add(by).to_be_bytes());
    if let Some(ssrc) = ssrc {
        packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
    }
    packet
}

/// Sound of `level` that nobody has asked for, well formed.
fn forged(sequence: u16, ssrc: u32, payload_type: u8) -> Vec<u8> {
    let mut packet = Vec::new();
    let timestamp = u32::from(sequence).wrapping_mul(160);
    let header = rtp::Header { marker: false, payload_type, sequence, timestamp, ssrc };
    // Full-scale noise in mu-law.
    let noise: Vec<u8> = (0..160u32).map(|n| if n * n % 7 < 3 { 0x00 } else { 0x80 }).collect();
    rtp::packet::write(&header, &noise, &mut packet);
    packet
}

#[test]
fn sequence_and_timestamp_wrap_unheard() {
    let mut pair = Pair::new(8000, |media| media);
    // The timestamp wraps half a second after the beginning by itself.
    let like = talk(&mut pair, |_, _, bytes| vec![renumbered(bytes, 0x8000 - 40, None)]);
    assert!(like > 0.99, "{like}");
    assert_eq!(pair.ends[1].stats(LegId::MAIN).unwrap().lost, 0);
}

#[test]
fn a_stream_that_begins_anew_under_another_ssrc_is_heard_at_once() {
    let mut pair = Pair::new(8000, |media| media);
    let mut count = 0;
    let like = talk(&mut pair, |_, from, bytes| {
        count += usize::from(from == 0);
        vec![if count > 70 { renumbered(bytes, 31_000, Some(0xabcd)) } else { bytes }]
    });
    assert!(like > 0.9, "{like}");
    assert_eq!(pair.ends[1].stats(LegId::MAIN).unwrap().resets, 1);
}

#[test]
fn after_a_minute_without_packets_the_sound_is_back_within_200_ms() {
    let mut pair = Pair::new(8000, |media| media);
    let patience = |gap| Patience { first: None, gap: Some(Duration::from_secs(gap)) };
    pair.ends[0].handle(pair.now, ToMedia::Watch(patience(50)));
    pair.ends[1].handle(pair.now, ToMedia::Watch(patience(90)));
    pair.run(50);
    for _ in 0..3_000 {
        pair.tick(|_, _| vec![]);
    }
    let told = |pair: &Pair, end: usize| {
        pair.told[end].iter().filter(|e| matches!(e, FromMedia::Inactive(Missing::Next))).count()
    };
    assert_eq!((told(&pair, 0), told(&pair, 1)), (1, 0));
    pair.ends[1].handle(pair.now, ToMedia::Record);
    pair.say(0, &[12_000; 16_000]);
    pair.run(20);
    let heard = pair.heard(1);
    let back = heard.iter().position(|sample| *sample > 8_000).expect("the sound is back");
    assert!(back <= 1_600, "after {} ms", back / 8);
}

/// A network: loses packets in bursts of up to three, delays them by up to 40 ms, overtakes and repeats some.
struct Network {
    chance: u32,
    loss_percent: u32,
    losing: u32,
    on_their_way: Vec<(CallTime, Vec<u8>)>,
}

impl Network {
    fn new(loss_percent: u32, chance: u32) -> Self {
        Network { chance, loss_percent, losing: 0, on_their_way: Vec::new() }
    }

    /// A number below `end`.
    fn draw(&mut self, end: u32) -> u32 {
        self.chance = self.chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.chance >> 8) % end
    }

    /// Takes a packet in; what arrives now.
    fn carry(&mut self, now: CallTime, packet: &[u8]) -> Vec<Vec<u8>> {
        // Bursts are of two packets in the mean.
        if self.losing == 0 && self.draw(200) < self.loss_percent {
            self.losing = 1 + self.draw(3);
        }
        if self.losing > 0 {
            self.losing -= 1;
        } else {
            for _ in 0..1 + u32::from(self.draw(100) == 0) {
                let delay = Duration::from_millis(u64::from(self.draw(10).saturating_sub(7) * 20));
                self.on_their_way.push((now + delay, packet.to_vec()));
            }
        }
        let arrived = |due: &mut (CallTime, Vec<u8>)| due.0 <= now;
        self.on_their_way.extract_if(.., arrived).map(|(_, packet)| packet).collect()
    }
}

#[test]
fn speech_survives_bursts_of_loss_jitter_and_repetition() {
    for (codec, aims) in [(&g711::PCMU, [0.97, 0.9, 0.8]), (&opus::OPUS, [0.97, 0.9, 0.8])] {
        for (loss_percent, aim) in [1, 5, 10].into_iter().zip(aims) {
            let payload_type = codec.static_pt.unwrap_or(codec.dynamic_pt);
            let media =
                |media| Negotiated { codec, payload_type, voices: vec![(payload_type, codec)], ..media };
            let likes = (0..4).flat_map(|chance| {
                let (mut pair, mut network) = (Pair::new(8000, media), Network::new(loss_percent, chance));
                talk_in_pieces(&mut pair, |pair, from, bytes| match from {
                    0 => network.carry(pair.now, &bytes),
                    _ => vec![bytes],
                })
            });
            let likes: Vec<f64> = likes.collect();
            // As recordings are judged: the share of pieces that are what was said.
            let like = likes.iter().filter(|like| **like >= 0.7).count() as f64 / likes.len() as f64;
            println!("{} at {loss_percent} % loss: {like:.3}", codec.name);
            assert!(like >= aim, "{} at {loss_percent} % loss: {like}", codec.name);
        }
    }
}

#[test]
fn speech_that_is_overtaken_and_repeated_on_the_way_is_heard_whole() {
    let mut pair = Pair::new(8000, |media| media);
    let (mut count, mut kept) = (0, None);
    let like = talk(&mut pair, |_, from, bytes| {
        if from == 1 {
            return vec![bytes];
        }
        count += 1;
        // One packet of twenty comes behind the next one, and another one twice.
        match count % 20 {
            5 => {
                kept = Some(bytes);
                vec![]
            }
            6 => [Some(bytes), kept.take()].into_iter().flatten().collect(),
            15 => vec![bytes.clone(), bytes],
            _ => vec![bytes],
        }
    });
    assert!(like >= 0.95, "{like}");
    let stats = pair.ends[1].stats(LegId::MAIN).unwrap();
    assert!(stats.lost <= 1, "what is only late is not lost, but for the first time: {stats:?}");
}

#[test]
fn strangers_are_neither_heard_nor_answered() {
    let mut pair = Pair::new(8000, |media| media);
    let mut sequence = 0u16;
    let like = talk(&mut pair, |pair, _, bytes| {
        for _ in 0..3 {
            sequence = sequence.wrapping_add(1);
            pair.deliver(1, STRANGER, forged(sequence, 0xbad, 0));
            pair.deliver(1, "192.0.2.1:40002", forged(sequence, 0xbad1, 0));
        }
        vec![bytes]
    });
    assert!(like > 0.99, "{like}");
    pair.only_each_other();
    let dropped = pair.ends[1].quality().next().unwrap().1.dropped;
    assert_eq!(dropped, Dropped { foreign: 2 * u64::from(sequence), ..Dropped::default() });
}

#[test]
fn whoever_was_learned_stays_until_other_media_are_agreed_on() {
    let behind_nat = "198.51.100.9:7000";
    let mut pair = Pair::new(8000, |media| media);
    let hear = |pair: &mut Pair, from: &str, ssrc: u32, ticks: u16| {
        for n in 0..ticks {
            pair.deliver(1, from, forged(n, ssrc, 0));
            pair.tick(|_, _| vec![]);
        }
        pair.answered(1)
    };
    assert_eq!(hear(&mut pair, behind_nat, 5, 60), behind_nat, "the peer sits behind a NAT");
    assert_eq!(hear(&mut pair, STRANGER, 6, 200), behind_nat, "it stays, however long another sends");
    let moved = Negotiated { remote: "198.51.100.20:9000".parse().ok(), ..agreed(ENDS[0]) };
    pair.ends[1].handle(pair.now, plan(moved, 2));
    assert_eq!(hear(&mut pair, "198.51.100.20:9000", 7, 5), "198.51.100.20:9000");
    assert_eq!(hear(&mut pair, behind_nat, 5, 100), "198.51.100.20:9000");
}

#[test]
fn whoever_takes_a_party_s_place_is_learned_at_once_behind_its_nat_and_the_one_before_is_not_heard() {
    let (outside, inside) = ("198.51.100.9:7000", "10.0.0.9:7000");
    let mut pair = Pair::new(8000, |media| media);
    pair.run(50);
    assert_eq!(pair.answered(1), ENDS[0]);
    pair.ends[1].handle(pair.now, ToMedia::Renew(LegId::MAIN));
    let media = agreed(inside);
    let start = Start { ssrc: 9, ..Start::default() };
    let signalling = "198.51.100.9".parse().ok();
    let plan = RtpPlan { media, learning: Learning::On, signalling, start };
    pair.ends[1].handle(pair.now, ToMedia::Leg(LegId::MAIN, LegPlan::Rtp(Box::new(plan))));
    // The one before goes on sending, longer than a stranger would have to.
    for n in 0..150 {
        pair.deliver(1, ENDS[0], forged(n, 5, 0));
        pair.tick(|_, _| vec![]);
    }
    assert_eq!(pair.answered(1), inside, "its packets prove nothing any more");
    assert_eq!(pair.ends[1].quality().next().unwrap().1.heard.packets, 0);
    for n in 0..10 {
        pair.deliver(1, outside, forged(n, 7, 0));
        pair.deliver(1, ENDS[0], forged(150 + n, 5, 0));
        pair.tick(|_, _| vec![]);
    }
    assert_eq!(pair.answered(1), outside);
}

/// Keys of both ends.
fn keys() -> [Keys; 2] {
    let suite = &AES_CM_128_HMAC_SHA1_80;
    let master = |byte: u8| Master::new(suite, &[byte; 30]).unwrap();
    let keys = |ours, theirs| Keys { suite, ours: master(ours), theirs: master(theirs) };
    [keys(1, 2), keys(2, 1)]
}

#[test]
fn clear_wrongly_encrypted_and_repeated_packets_leave_an_encrypted_call_as_it_is() {
    let mut pair = Pair::new(8000, |media| media);
    for (n, keys) in keys().into_iter().enumerate() {
        let media = Negotiated { keys: Some(keys), ..agreed(ENDS[1 - n]) };
        pair.ends[n].handle(CallTime::ZERO, ToMedia::Remove(LegId::MAIN));
        pair.ends[n].handle(CallTime::ZERO, plan(media, n as u32 + 1));
    }
    let mut wrong =
        Srtp::new(&Keys { ours: Master::new(&AES_CM_128_HMAC_SHA1_80, &[9; 30]).unwrap(), ..keys()[0] })
            .unwrap();
    let mut before = std::collections::VecDeque::new();
    let (mut clear, mut opened) = (0, 0);
    let like = talk(&mut pair, |_, from, bytes| {
        if from == 1 {
            return vec![bytes];
        }
        opened += usize::from(Rtp::parse(&bytes).is_ok_and(|rtp| rtp.payload.len() == 160));
        if !matches!(Datagram::classify(&bytes), Datagram::Rtp) {
            return vec![bytes];
        }
        let Ok(Rtp { header, .. }) = Rtp::parse(&bytes) else { return vec![bytes] };
        let mut forgeries =
            vec![forged(header.sequence, header.ssrc, 0), forged(header.sequence.wrapping_add(1), 77, 0)];
        clear += forgeries.len();
        let mut sealed = forged(header.sequence.wrapping_add(2), header.ssrc, 0);
        wrong.protect(&mut sealed).unwrap();
        forgeries.push(sealed);
        before.push_back(bytes.clone());
        forgeries.extend((before.len() > 20).then(|| before.pop_front().unwrap()));
        forgeries.insert(2, bytes);
        forgeries
    });
    assert!(like > 0.99, "{like}");
    assert!(clear > 200 && opened == 0, "the sound on the wire is encrypted");
    let stats = pair.ends[1].stats(LegId::MAIN).unwrap();
    assert_eq!((stats.lost, stats.duplicate, stats.resets), (0, 0, 0), "{stats:?}");
    // Of each packet one came with another key beside those in clear, and each but the last twenty came again.
    let dropped = pair.ends[1].quality().next().unwrap().1.dropped;
    // The stream in clear that there was at first has said that it is over.
    let (unauthentic, replayed) = (1 + clear as u64 / 2 * 3, (clear / 2 - 20) as u64);
    assert_eq!(dropped, Dropped { unauthentic, replayed, ..Dropped::default() });
}

/// Datagrams of any kind: noise, and what begins like RTP and like reports.
fn datagrams() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let any_bytes = proptest::collection::vec(any::<u8>(), 0..200);
    let like = (0u8..8, any::<[u8; 12]>(), any_bytes.clone()).prop_map(|(kind, mut head, rest)| {
        head[0] = 0x80 | head[0] & 0x3f;
        head[1] = match kind {
            0..4 => 200 + kind,
            4 => 205,
            5 => 0,
            _ => 101,
        };
        [&head[..], &rest].concat()
    });
    proptest::collection::vec(prop_oneof![any_bytes, like], 200..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn noise_of_strangers_on_the_port_of_a_call_is_not_heard(noise in datagrams()) {
        let mut pair = Pair::new(8000, |media| media);
        let mut noise = noise.into_iter().cycle();
        let like = talk(&mut pair, |pair, _, bytes| {
            for from in [STRANGER, "192.0.2.1:40001", STRANGER] {
                pair.deliver(1, from, noise.next().unwrap_or_default());
            }
            vec![bytes]
        });
        prop_assert!(like > 0.99, "{}", like);
        prop_assert_eq!(pair.digits(1), "");
        pair.only_each_other();
    }

    #[test]
    fn noise_in_the_peers_own_name_breaks_nothing(noise in datagrams()) {
        let mut pair = Pair::new(8000, |media| media);
        for datagram in noise {
            pair.deliver(1, ENDS[0], datagram);
            pair.tick(|_, bytes| vec![bytes]);
        }
        pair.run(60);
        pair.ends[1].handle(pair.now, ToMedia::Record);
        let (said, began) = (speech(1), pair.now);
        pair.say(0, &said);
        pair.run(75);
        let heard = pair.heard(1);
        let like = likeness(&said, CallTime::ZERO, &heard, 8000);
        prop_assert!(like > 0.95, "{} from {}", like, began);
    }
}
