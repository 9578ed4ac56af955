//! What ffmpeg protected is heard: a tone of 1000 Hz as G.711, and the reports beside it.

use rtp::srtp::{AES_CM_128_HMAC_SHA1_32, AES_CM_128_HMAC_SHA1_80, Master, Suite};
use rtp::{Keys, Rtp, Srtp, rtcp};

/// `WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz` in plain bytes, with which it was recorded.
const KEY: &[u8; 30] = b"YS___semctl () {\t220;}\n}\nunles";

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// The opened packets of sound, and of reports.
fn opened(suite: &'static Suite, recorded: &str) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let master = Master::new(suite, KEY).unwrap();
    let mut srtp = Srtp::new(&Keys { suite, ours: master, theirs: master }).unwrap();
    let (mut sound, mut reports) = (Vec::new(), Vec::new());
    for line in recorded.lines() {
        let (kind, hex) = line.split_once(' ').unwrap();
        let mut packet = bytes(hex);
        let (opened, packets) = match kind {
            "sound" => (srtp.unprotect(&mut packet), &mut sound),
            _ => (srtp.unprotect_report(&mut packet), &mut reports),
        };
        packet.truncate(opened.unwrap());
        packets.push(packet);
    }
    (sound, reports)
}

#[test]
fn sound_and_reports_of_ffmpeg_are_heard() {
    let recordings = [
        (&AES_CM_128_HMAC_SHA1_80, include_str!("../../fixtures/srtp_ffmpeg_80.txt")),
        (&AES_CM_128_HMAC_SHA1_32, include_str!("../../fixtures/srtp_ffmpeg_32.txt")),
    ];
    for (suite, recorded) in recordings {
        let (sound, reports) = opened(suite, recorded);
        let payloads: Vec<u8> =
            sound.iter().flat_map(|packet| Rtp::parse(packet).unwrap().payload.to_vec()).collect();
        let pcm: Vec<i16> = payloads.iter().map(|byte| audio::codec::g711::ulaw(*byte)).collect();
        // At 8000 Hz a tone of 1000 Hz is the same again every eight samples.
        let differing = pcm.windows(9).filter(|nine| (nine[0] - nine[8]).abs() > 200).count();
        assert!(pcm.len() > 900 && differing == 0, "{}: {differing} of {}", suite.name, pcm.len());
        assert!(pcm.iter().any(|sample| sample.abs() > 2000));
        for report in reports {
            assert!(matches!(rtcp::parse(&report).next(), Some(rtcp::Rtcp::Sender { .. })), "{report:x?}");
        }
    }
}
