//! What becomes of the words of a far end whose packets stopped for a while.

use protocol::CallTime;
use rtp::Outgoing;

use super::RtpLeg;
use super::tests::{PEER, leg};

/// The u-law sound of each packet of `seconds`: words of 200 ms, each packet of its own loudness, with 20 ms between them
/// in which a mouth is shut.
fn words(seconds: u8) -> Vec<u8> {
    (0..50 * seconds).map(|n| if n % 11 == 0 { 0xff } else { 0x80 + n % 61 }).collect()
}

/// What is heard of these packets, one sample of each tick, when those from 600 to 720 ms come late and all at once.
fn heard(leg: &mut RtpLeg, packets: &[u8]) -> Vec<i16> {
    let (mut stream, mut waiting, mut heard) = (Outgoing::new(9, 0, 0), Vec::new(), Vec::new());
    let peer = PEER.parse().unwrap();
    for (tick, sound) in (0..).zip(packets) {
        let mut packet = Vec::new();
        stream.sound(0, 160, &[*sound; 160], &mut packet);
        waiting.push(packet);
        let now = CallTime::ms(20 * tick);
        if !(30..36).contains(&tick) {
            for mut packet in waiting.drain(..) {
                leg.receive(now, peer, &mut packet);
            }
        }
        let mut frame = vec![0; 160];
        leg.hear(now, &mut frame);
        heard.push(frame[80]);
    }
    heard
}

#[test]
fn no_word_is_cut_to_catch_up_with_a_far_end_that_stopped_and_the_pause_behind_them_is() {
    let words = words(4);
    let pause = vec![0xff; 300];
    let mut leg = leg(None, false);
    let heard = heard(&mut leg, &[&words[..], &pause].concat());
    let mut rest = heard.iter();
    for (n, byte) in words.iter().enumerate().filter(|(_, byte)| **byte != 0xff) {
        let value = audio::codec::g711::ulaw(*byte);
        assert!(rest.any(|sample| *sample == value), "packet {n} is not heard in its place: {heard:?}");
    }
    let stats = leg.stats();
    assert!(stats.shortened >= 5 && stats.delay.as_millis() <= 20, "{stats:?}");
}
