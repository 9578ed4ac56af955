//! What one call's sound says and another hears: codecs, packet lengths, and silence.

use audio::Codec;
use audio::codec::{g711, g722, opus};
use audio::mix::Ducking;
use call::legs::LegId;
use call::media::order::ToMedia;
use protocol::CallTime;
use rtp::sdp::{self, Direction, Local, Negotiated, Security};

use crate::pair::{ENDS, Pair, agreed, likeness, plan, speech};

/// What both ends come to when the first offers packets of `ptime_ms`: its own agreement, and the other's.
fn negotiated(codecs: &[&'static Codec], ptime_ms: u32) -> [Negotiated; 2] {
    let local = |end: usize, ptime_ms| Local {
        address: ENDS[end].parse::<std::net::SocketAddr>().unwrap().ip(),
        port: ENDS[end].parse::<std::net::SocketAddr>().unwrap().port(),
        origin_id: 1,
        previous: None,
        codecs,
        telephone_event: true,
        comfort_noise: true,
        rtcp_mux: true,
        security: Security::Off,
        direction: Direction::SendRecv,
        ptime_ms,
        name: "-",
    };
    let offer = sdp::offer(&local(0, ptime_ms));
    let answer = sdp::answer(&offer, &local(1, 20)).unwrap();
    [sdp::read_answer(&local(0, ptime_ms), &answer.sdp).unwrap(), answer.media]
}

#[test]
fn packets_of_10_to_60_ms_are_agreed_on_and_understood_both_ways() {
    let said = speech(2);
    for codec in [&g711::PCMU, &g711::PCMA, &g722::G722, &opus::OPUS] {
        for ptime_ms in [10, 20, 30, 40, 50, 60] {
            let media = negotiated(&[codec], ptime_ms);
            let lengths = [media[0].ptime_ms, media[1].ptime_ms];
            assert_eq!(lengths[0], lengths[1], "{} {ptime_ms}", codec.name);
            assert!(
                lengths[0] == ptime_ms || !codec.packet_ms.contains(&ptime_ms),
                "{} {lengths:?}",
                codec.name
            );
            let rate = if codec.rate == 8_000 { 8_000 } else { 16_000 };
            let mut pair = Pair::new(rate, |media| media);
            for (n, media) in media.into_iter().enumerate() {
                pair.ends[n].handle(CallTime::ZERO, plan(media, n as u32 + 1));
                pair.ends[n].handle(CallTime::ZERO, ToMedia::Record);
            }
            pair.run(25);
            pair.say(0, &said);
            pair.say(1, &said);
            pair.run(140);
            for end in [0, 1] {
                let like = likeness(&said, CallTime::ms(500), &pair.heard(end), rate);
                assert!(like > 0.9, "{} {ptime_ms} ms to end {end}: {like}", codec.name);
                let stats = pair.ends[end].stats(LegId::MAIN).unwrap();
                assert!(stats.lost == 0 && stats.late == 0, "{stats:?}");
            }
        }
    }
}

/// The root mean square.
pub(crate) fn loudness(sound: &[i16]) -> f64 {
    (sound.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / sound.len().max(1) as f64).sqrt()
}

#[test]
fn comfort_noise_is_heard_as_loud_as_it_is_told_until_sound_comes_again() {
    for (told, heard_as) in [(60, 60), (0, 35)] {
        let media = || Negotiated { comfort_noise: Some(13), ..agreed(ENDS[1]) };
        let mut pair = Pair::new(8000, |media| media);
        pair.ends[0].handle(CallTime::ZERO, plan(media(), 1));
        pair.ends[0].handle(CallTime::ZERO, ToMedia::Record);
        let noise = |tick: u64| (50..100).contains(&tick);
        let mut stream = rtp::Outgoing::new(9, 0, 0);
        for tick in 0..150 {
            pair.tick(|from, packet| {
                if from == 0 || rtp::Rtp::parse(&packet).is_err() {
                    return vec![];
                }
                let mut made = Vec::new();
                match tick {
                    50 => stream.sound(13, 160, &[told], &mut made),
                    _ if noise(tick) => stream.skip(160),
                    _ => stream.sound(0, 160, &[0xff; 160], &mut made),
                }
                if made.is_empty() { vec![] } else { vec![made] }
            });
        }
        let heard = pair.heard(0);
        let second = |n: usize| loudness(&heard[n * 8000 + 2400..(n + 1) * 8000 - 1600]);
        let wanted = rtp::comfort_noise::amplitude(heard_as);
        assert!((second(1) / wanted - 1.0).abs() < 0.1, "{} {wanted}", second(1));
        assert!(second(0) < 1.0 && second(2) < 1.0, "{} {}", second(0), second(2));
    }
}

/// What the second end records of three seconds of speech, the middle one left out or not.
fn recorded(leaves_out: bool) -> Vec<i16> {
    let mut pair = Pair::new(8000, |media| media);
    pair.ends[1].handle(CallTime::ZERO, ToMedia::Record);
    pair.say(0, &speech(3));
    for paused in [false, leaves_out, false] {
        pair.ends[1].handle(pair.now, ToMedia::PauseRecording(paused));
        pair.run(50);
    }
    pair.heard(1)
}

#[test]
fn a_paused_recording_holds_silence_and_keeps_the_time_of_the_call() {
    let (whole, partly) = (recorded(false), recorded(true));
    let (second, third) = (8_000..16_000, 16_000..24_000);
    assert_eq!((whole.len(), partly.len()), (24_000, 24_000), "what is left out takes its time");
    assert!(loudness(&whole[second.clone()]) > 300.0);
    assert!(partly[second].iter().all(|sample| *sample == 0), "nothing said meanwhile is in the file");
    assert_eq!(partly[..8_000], whole[..8_000]);
    assert_eq!(partly[third.clone()], whole[third], "what follows stands where it was said");
}

#[test]
fn who_is_held_hears_music_and_is_not_heard_whatever_it_sends() {
    let mut pair = Pair::new(8000, |media| media);
    for end in &mut pair.ends {
        end.handle(CallTime::ZERO, ToMedia::Record);
    }
    let music: Vec<i16> = (0..4_000).map(|n| if n / 8 % 2 == 0 { 3_000 } else { -3_000 }).collect();
    pair.say(0, &speech(6));
    pair.say(1, &speech(4));
    pair.run(50);
    pair.ends[1].handle(pair.now, ToMedia::Hold(Some(2)));
    pair.ends[1].handle(pair.now, ToMedia::Music(1, [9_000; 800].into()));
    pair.ends[1].handle(pair.now, ToMedia::Music(2, music.into()));
    pair.run(100);
    pair.ends[1].handle(pair.now, ToMedia::Hold(None));
    pair.run(200);
    let (heard, kept) = (pair.heard(0), pair.heard(1));
    let within = |sound: &[i16]| loudness(&sound[9_600..23_200]);
    assert!((within(&heard) - 3_000.0).abs() < 100.0, "the music repeats: {}", within(&heard));
    assert_eq!(within(&kept), 0.0, "nothing of who is held is kept");
    assert!(loudness(&kept[..8_000]) > 300.0 && loudness(&kept[24_800..40_000]) > 300.0);
    // A second of four was said before, and three were left for after.
    let after = likeness(&speech(4)[16_000..], CallTime::ms(3_000), &heard, 8_000);
    assert!(after > 0.9, "what was being said goes on where it was: {after}");
}

#[test]
fn a_background_lies_under_everything_and_lower_under_what_is_said() {
    // The agent says a tone of 1 kHz, the background is one of 400 Hz: each is measured where the other has nothing.
    let tone = |hz: f64, peak: f64, samples: usize, rate: f64| -> Vec<i16> {
        let at = |n: usize| (peak * (n as f64 * std::f64::consts::TAU * hz / rate).sin()) as i16;
        (0..samples).map(at).collect()
    };
    let strength = |sound: &[i16]| {
        let turn = |n: usize| n as f64 * std::f64::consts::TAU * 400.0 / 8_000.0;
        let part = |wave: fn(f64) -> f64| -> f64 {
            sound.iter().enumerate().map(|(n, sample)| f64::from(*sample) * wave(turn(n))).sum()
        };
        2.0 * part(f64::sin).hypot(part(f64::cos)) / sound.len() as f64
    };
    let mut pair = Pair::new(8000, |media| media);
    pair.ends[1].handle(CallTime::ZERO, ToMedia::Record);
    let ducking = Ducking { normal_level: 0.5, duck_level: 0.1, transition_speed: 0.05 };
    // A tenth of a second, which repeats without a seam, at another rate than the call's.
    let background = tone(400.0, 10_000.0, 1_600, 16_000.0);
    pair.ends[0].handle(CallTime::ZERO, ToMedia::Ambience(16_000, background.into(), ducking));
    pair.run(100);
    pair.say(0, &tone(1_000.0, 4_000.0, 32_000, 16_000.0));
    pair.run(200);
    let heard = pair.heard(1);
    // Whole waves of both tones, away from where the level changes.
    let second = |n: usize| strength(&heard[n * 8_000 + 4_000..n * 8_000 + 7_200]);
    for (n, wanted) in [(1, 5_000.0), (2, 1_000.0), (3, 1_000.0), (5, 5_000.0)] {
        assert!((second(n) / wanted - 1.0).abs() < 0.1, "second {n}: {} for {wanted}", second(n));
    }
}
