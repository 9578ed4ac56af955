//! What others protected is heard: by ffmpeg a tone of 1000 Hz as G.711, and the reports beside it; by libsrtp packets
//! under every suite, of which some name their key.

use rtp::srtp::{AES_CM_128_HMAC_SHA1_32, AES_CM_128_HMAC_SHA1_80, Master, Mki, SUITES, Suite};
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

/// Two ends, of which the keys begin with 3 and go on in steps of 7, as libsrtp had them, named by `mki` if at all.
fn ends(suite: &'static Suite, mki: &str) -> [Srtp; 2] {
    let key: Vec<u8> = (0..suite.master_len() as u8).map(|n| n.wrapping_mul(7) + 3).collect();
    let name = match mki {
        "-" => Mki::default(),
        hex => Mki::parse(&format!("{}:{}", u64::from_str_radix(hex, 16).unwrap(), hex.len() / 2)).unwrap(),
    };
    let master = Master::new(suite, &key).unwrap().named(name);
    [(); 2].map(|()| Srtp::new(&Keys { suite, ours: master, theirs: master }).unwrap())
}

#[test]
fn what_libsrtp_protects_is_heard_and_what_we_protect_is_the_same_with_named_keys_and_without() {
    let recorded = include_str!("../../fixtures/srtp_libsrtp.txt");
    let mut seen = std::collections::HashSet::new();
    let mut lines = recorded.lines().map(|line| line.split(' ').collect::<Vec<_>>()).peekable();
    while let Some([name, mki, ..]) = lines.peek().map(|line| <[&str; 5]>::try_from(line.as_slice()).unwrap())
    {
        let suite = Suite::by_name(name).unwrap();
        let [mut hears, mut speaks] = ends(suite, mki);
        // Its reports are counted from 1, and ours from 0.
        speaks.protect_report(&mut vec![0x80; 8]).unwrap();
        while let Some(line) = lines.next_if(|line| line[..2] == [name, mki]) {
            let (clear, sealed) = (bytes(line[3]), bytes(line[4]));
            let (mut packet, mut ours) = (sealed.clone(), clear.clone());
            let left = match line[2] {
                "sound" => speaks.protect(&mut ours).and_then(|()| hears.unprotect(&mut packet)),
                _ => speaks.protect_report(&mut ours).and_then(|()| hears.unprotect_report(&mut packet)),
            };
            assert_eq!(left.map(|left| &packet[..left]), Ok(clear.as_slice()), "{line:?}");
            assert_eq!(ours, sealed, "{line:?}");
        }
        assert!(seen.insert((name, mki)));
    }
    assert_eq!(seen.len(), SUITES.len() * 3);
}
