//! When reports go out, what is believed of those that come in, and the figures they come to.

use std::time::Duration;

use proptest::prelude::*;
use protocol::CallTime;
use rtp::quality::mos;
use rtp::rtcp::{Block, Report, Rtcp, Sent, ntp, parse};
use rtp::{Header, Outgoing, Quality, Reporter};

const OURS: u32 = 0x1234_5678;
const THEIRS: u32 = 9;

fn header(ssrc: u32, n: u32) -> Header {
    Header { marker: false, payload_type: 0, sequence: n as u16, timestamp: n.wrapping_mul(160), ssrc }
}

/// NTP time of a call that began at noon of some day.
fn clock(now: CallTime) -> u64 {
    ntp(Duration::from_secs(1_790_000_000) + now.0)
}

/// One end of a call.
struct End {
    reporter: Reporter,
    outgoing: Outgoing,
}

impl End {
    fn new(ssrc: u32) -> End {
        End {
            reporter: Reporter::new(CallTime::ZERO, 8000, ssrc, "caller"),
            outgoing: Outgoing::new(ssrc, 65_000, 77),
        }
    }

    /// Sends 20 ms of sound, and a report when it is due.
    fn speak(&mut self, now: CallTime) -> (Vec<u8>, Option<Vec<u8>>) {
        let (mut sound, mut report) = (Vec::new(), Vec::new());
        self.outgoing.sound(0, 160, &[0; 160], &mut sound);
        let due = self.reporter.poll(now, clock(now), &self.outgoing, &mut report);
        (sound, due.then_some(report))
    }

    fn hear(&mut self, now: CallTime, (sound, report): &(Vec<u8>, Option<Vec<u8>>)) {
        self.reporter.heard(now, &rtp::Rtp::parse(sound).unwrap().header);
        if let Some(report) = report {
            self.reporter.receive(now, clock(now), report);
        }
    }
}

/// A call of `seconds` with `way` from end to end, in which every `lost`th packet to the second end is lost.
fn call(seconds: u64, way: u64, lost: u64) -> (Quality, Quality) {
    let (mut a, mut b) = (End::new(OURS), End::new(THEIRS));
    let (mut to_a, mut to_b) = (Vec::new(), Vec::new());
    for tick in 0..seconds * 50 {
        let now = CallTime::ms(tick * 20);
        to_b.push((tick * 20 + way, tick % lost == 1, a.speak(now)));
        to_a.push((tick * 20 + way, false, b.speak(now)));
        for (end, queue) in [(&mut a, &mut to_a), (&mut b, &mut to_b)] {
            queue.retain(|(at, is_lost, packet)| {
                let arrived = *at <= tick * 20;
                if arrived && !is_lost {
                    end.hear(now, packet);
                }
                !arrived
            });
        }
    }
    (a.reporter.quality(), b.reporter.quality())
}

#[test]
fn both_ends_come_to_the_same_figures() {
    let (a, b) = call(60, 80, 20);
    assert!((b.heard.loss() - 0.05).abs() < 0.005, "{b:?}");
    let told = a.told.unwrap();
    assert!((told.recent_loss - 0.05).abs() < 0.02 && told.lost > 100, "{told:?}");
    for quality in [a, b] {
        let round_trip = quality.round_trip.unwrap();
        assert!(round_trip.abs_diff(Duration::from_millis(160)) < Duration::from_millis(2), "{round_trip:?}");
        assert_eq!(quality.heard.jitter, Duration::ZERO);
    }
    assert_eq!(a.heard.loss(), 0.0);
    assert!(a.mos.unwrap() > 4.2 && b.mos.unwrap() < 3.9, "{:?} {:?}", a.mos, b.mos);
}

#[test]
fn before_anything_is_heard_there_are_no_figures() {
    assert_eq!(Reporter::new(CallTime::ZERO, 8000, OURS, "a").quality(), Quality::default());
}

#[test]
fn reports_come_every_five_seconds_give_or_take_the_half() {
    let mut end = End::new(OURS);
    let due: Vec<u64> = (0..30_000)
        .filter(|tick| end.speak(CallTime::ms(tick * 20)).1.is_some())
        .map(|tick| tick * 20)
        .collect();
    assert!((1_000..=3_100).contains(&due[0]), "{due:?}");
    assert!(due.windows(2).all(|two| (2_000..=6_200).contains(&(two[1] - two[0]))), "{due:?}");
    assert!((110..150).contains(&due.len()), "{}", due.len());
    let other = Reporter::new(CallTime::ZERO, 8000, 77, "a").timeout();
    assert_ne!(other, Reporter::new(CallTime::ZERO, 8000, OURS, "a").timeout());
}

#[test]
fn who_sends_nothing_reports_as_a_receiver_and_says_goodbye() {
    let mut end = End::new(OURS);
    let report = |end: &mut End, ms: u64| {
        let (now, mut out) = (CallTime::ms(ms), Vec::new());
        assert!(end.reporter.poll(now, clock(now), &end.outgoing, &mut out));
        parse(&out).next().map(|packet| matches!(packet, Rtcp::Sender { .. }))
    };
    assert_eq!(report(&mut end, 10_000), Some(false));
    end.speak(CallTime::ms(10_000));
    let sender: Vec<_> = (2..6).map(|n| report(&mut end, n * 10_000)).collect();
    assert_eq!(sender, [Some(true), Some(true), Some(false), Some(false)]);
    let mut out = Vec::new();
    end.reporter.bye(CallTime::ms(60_000), 0, &end.outgoing, &mut out);
    assert_eq!(parse(&out).last(), Some(Rtcp::Bye { ssrc: OURS }));
}

#[test]
fn lies_of_strangers_and_of_the_peer_are_bounded() {
    let mut end = End::new(OURS);
    end.reporter.heard(CallTime::ZERO, &header(THEIRS, 1));
    let block = Block {
        ssrc: OURS,
        fraction_lost: 255,
        lost: -1,
        highest: u32::MAX,
        jitter: u32::MAX,
        last_sr: 0x8000_0000,
        delay: 0,
    };
    let report = |ssrc, heard, bye| {
        let mut out = Vec::new();
        Report { ssrc, cname: "x", sent: None, heard: Some(heard), bye }.write(&mut out);
        out
    };
    assert!(!end.reporter.receive(CallTime::ms(5), clock(CallTime::ms(5)), &report(66, block, true)));
    assert_eq!(end.reporter.quality().told, None, "another stream");
    let about_others = Block { ssrc: 1, ..block };
    assert!(!end.reporter.receive(CallTime::ms(5), 0, &report(THEIRS, about_others, false)));
    assert_eq!(end.reporter.quality().told, None);
    assert!(end.reporter.receive(CallTime::ms(5), clock(CallTime::ms(5)), &report(THEIRS, block, true)));
    let quality = end.reporter.quality();
    assert_eq!(quality.told.map(|told| told.lost), Some(0));
    assert_eq!(quality.round_trip, None, "an answer to a report that we never sent");
}

#[test]
fn totals_outlive_a_change_of_ssrc_and_of_clock() {
    let mut end = End::new(OURS);
    for n in 0..100 {
        end.reporter.heard(CallTime::ms(u64::from(n) * 20), &header(THEIRS, n));
    }
    for n in (500..600).filter(|n| n % 10 != 5) {
        end.reporter.heard(CallTime::ms(u64::from(n) * 20), &header(10, n));
    }
    let heard = end.reporter.quality().heard;
    assert_eq!((heard.packets, heard.expected), (190, 200));
    end.reporter.reclock(48_000);
    for n in 600..700u32 {
        let header = Header { timestamp: n * 960, ..header(10, n) };
        end.reporter.heard(CallTime::ms(u64::from(n) * 20), &header);
    }
    let heard = end.reporter.quality().heard;
    assert_eq!((heard.packets, heard.expected, heard.jitter), (290, 300, Duration::ZERO));
}

#[test]
fn a_minute_of_outage_is_loss_and_no_new_stream() {
    let mut end = End::new(OURS);
    for n in (0..100).chain(3_000..3_100) {
        end.reporter.heard(CallTime::ms(u64::from(n) * 20), &header(THEIRS, n));
    }
    let heard = end.reporter.quality().heard;
    assert_eq!((heard.packets, heard.expected), (200, 3_100));
}

#[test]
fn the_score_falls_with_loss_and_delay_between_its_bounds() {
    let score = |loss, ms| mos(loss, Duration::from_millis(ms));
    assert!((4.3..=4.5).contains(&score(0.0, 0)));
    // 5 % of random loss under concealment: R = 93.2 - 95 * 5 / 30.1.
    assert!((score(0.05, 0) - 3.92).abs() < 0.05, "{}", score(0.05, 0));
    assert!(score(0.0, 150) > score(0.0, 300) && score(0.0, 300) > score(0.0, 600));
    assert!(score(0.01, 20) > score(0.1, 20));
    assert_eq!(score(1.0, 60_000), 1.0);
}

#[test]
fn ntp_counts_from_1900() {
    assert_eq!(ntp(Duration::ZERO) >> 32, 2_208_988_800);
    assert_eq!(ntp(Duration::from_millis(500)) as u32, 1 << 31);
}

proptest! {
    #[test]
    fn no_report_panics_or_makes_a_figure_that_is_none(
        datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..120), 0..8),
        kind in 200u8..205,
    ) {
        let mut end = End::new(OURS);
        for mut datagram in datagrams {
            if let [first, second, l0, l1, ..] = &mut datagram[..] {
                (*first, *second, *l0, *l1) = (0x81, kind, 0, *l1 & 0x0f);
            }
            if let Some(ssrc) = datagram.get_mut(8..12) {
                ssrc.copy_from_slice(&OURS.to_be_bytes());
            }
            end.reporter.receive(CallTime::ms(20), u64::MAX, &datagram);
            let (sound, _) = end.speak(CallTime::ms(40));
            end.reporter.heard(CallTime::ms(40), &rtp::Rtp::parse(&sound).unwrap().header);
        }
        let quality = end.reporter.quality();
        prop_assert!(quality.mos.is_none_or(|mos| (1.0..=4.5).contains(&mos)));
        prop_assert!((0.0..=1.0).contains(&quality.heard.loss()));
    }

    #[test]
    fn reports_are_read_as_they_were_sent(packets: u32, octets: u32, time: u64) {
        let sent = Sent { ntp: time, timestamp: 1, packets, octets };
        let mut out = Vec::new();
        Report { ssrc: 1, cname: "", sent: Some(sent), heard: None, bye: false }.write(&mut out);
        let Some(Rtcp::Sender { sent: read, .. }) = parse(&out).next() else { panic!("no SR") };
        prop_assert_eq!(read, sent);
    }
}
