//! Encrypted sound: what is heard, and what never is.

use proptest::prelude::*;
use rtp::srtp::{
    AEAD_AES_128_GCM, AES_CM_128_HMAC_SHA1_32, AES_CM_128_HMAC_SHA1_80, Master, Mki, SUITES, Suite,
};
use rtp::{Header, Keys, Rtp, Srtp, SrtpError};

fn master(suite: &Suite, seed: u8) -> Master {
    let bytes: Vec<u8> = (0..suite.master_len() as u8).map(|n| n.wrapping_mul(7) ^ seed).collect();
    Master::new(suite, &bytes).unwrap()
}

/// Two ends of a call that agreed on `suite`.
pub(crate) fn pair(suite: &'static Suite) -> (Srtp, Srtp) {
    let keys = Keys { suite, ours: master(suite, 1), theirs: master(suite, 2) };
    let mirrored = Keys { suite, ours: keys.theirs, theirs: keys.ours };
    (Srtp::new(&keys).unwrap(), Srtp::new(&mirrored).unwrap())
}

fn packet(ssrc: u32, sequence: u16) -> Vec<u8> {
    let header = Header { marker: false, payload_type: 0, sequence, timestamp: 160, ssrc };
    let mut out = Vec::new();
    rtp::packet::write(&header, &[sequence as u8; 160], &mut out);
    out
}

fn sealed(srtp: &mut Srtp, ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut out = packet(ssrc, sequence);
    srtp.protect(&mut out).unwrap();
    out
}

fn opened(srtp: &mut Srtp, mut datagram: Vec<u8>) -> Result<Vec<u8>, SrtpError> {
    let left = srtp.unprotect(&mut datagram)?;
    datagram.truncate(left);
    Ok(datagram)
}

fn report() -> Vec<u8> {
    let report = rtp::rtcp::Report { ssrc: 9, cname: "a", sent: None, heard: None, bye: true };
    let mut out = Vec::new();
    report.write(&mut out);
    out
}

#[test]
fn every_suite_carries_sound_and_reports() {
    for suite in SUITES {
        let (mut a, mut b) = pair(suite);
        for sequence in 0..300 {
            let datagram = sealed(&mut a, 7, sequence);
            assert_eq!(datagram.len(), 172 + suite.tag_len, "{}", suite.name);
            assert_ne!(datagram[12..172], packet(7, sequence)[12..]);
            assert_eq!(opened(&mut b, datagram), Ok(packet(7, sequence)), "{}", suite.name);
        }
        for _ in 0..3 {
            let mut datagram = report();
            a.protect_report(&mut datagram).unwrap();
            assert_eq!(datagram.len(), report().len() + suite.report_tag_len + 4);
            let left = b.unprotect_report(&mut datagram).unwrap();
            assert_eq!(datagram[..left], report());
        }
        assert_eq!(b.refused().total(), 0);
    }
}

#[test]
fn a_packet_is_sealed_as_other_implementations_seal_it() {
    // The vector with which libsrtp tests itself: key and salt of RFC 3711 appendix B.3.
    let bytes = [
        0xe1, 0xf9, 0x7a, 0x0d, 0x3e, 0x01, 0x8b, 0xe0, 0xd6, 0x4f, 0xa3, 0x2c, 0x06, 0xde, 0x41, 0x39, 0x0e,
        0xc6, 0x75, 0xad, 0x49, 0x8a, 0xfe, 0xeb, 0xb6, 0x96, 0x0b, 0x3a, 0xab, 0xe6,
    ];
    let ours = Master::new(&AES_CM_128_HMAC_SHA1_80, &bytes).unwrap();
    let mut srtp = Srtp::new(&Keys { suite: &AES_CM_128_HMAC_SHA1_80, ours, theirs: ours }).unwrap();
    let header = Header {
        marker: false,
        payload_type: 15,
        sequence: 0x1234,
        timestamp: 0xdeca_fbad,
        ssrc: 0xcafe_babe,
    };
    let mut datagram = Vec::new();
    rtp::packet::write(&header, &[0xab; 16], &mut datagram);
    srtp.protect(&mut datagram).unwrap();
    assert_eq!(
        datagram[12..],
        [
            0x4e, 0x55, 0xdc, 0x4c, 0xe7, 0x99, 0x78, 0xd8, 0x8c, 0xa4, 0xd2, 0x15, 0x94, 0x9d, 0x24, 0x02,
            0xb7, 0x8d, 0x6a, 0xcc, 0x99, 0xea, 0x17, 0x9b, 0x8d, 0xbb
        ]
    );
}

#[test]
fn a_replayed_packet_is_heard_once() {
    let (mut a, mut b) = pair(&AES_CM_128_HMAC_SHA1_80);
    let packets: Vec<Vec<u8>> = (0..400).map(|n| sealed(&mut a, 7, n)).collect();
    for n in [0, 2, 1, 3, 100, 40, 399] {
        assert!(opened(&mut b, packets[n].clone()).is_ok(), "{n}");
    }
    for n in [399, 100 + 200, 398] {
        let again = opened(&mut b, packets[n].clone());
        assert_eq!(again.is_ok(), n != 399, "{n}");
    }
    assert_eq!(opened(&mut b, packets[300].clone()), Err(SrtpError::Replayed));
    assert_eq!(opened(&mut b, packets[50].clone()), Err(SrtpError::Stale));
    let refused = b.refused();
    assert_eq!((refused.replayed, refused.stale, refused.total()), (2, 1, 3));
}

#[test]
fn a_replayed_report_is_read_once() {
    for suite in SUITES {
        let (mut a, mut b) = pair(suite);
        let mut datagram = report();
        a.protect_report(&mut datagram).unwrap();
        assert!(b.unprotect_report(&mut datagram.clone()).is_ok());
        assert_eq!(b.unprotect_report(&mut datagram), Err(SrtpError::Replayed));
    }
}

#[test]
fn clear_wrong_cut_and_changed_packets_are_refused_and_the_stream_goes_on() {
    for suite in SUITES {
        let (mut a, mut b) = pair(suite);
        let wrong = Keys { suite, ours: master(suite, 9), theirs: master(suite, 9) };
        let mut stranger = Srtp::new(&wrong).unwrap();
        assert!(opened(&mut b, sealed(&mut a, 7, 1)).is_ok());
        assert_eq!(opened(&mut b, packet(7, 2)), Err(SrtpError::Unauthentic), "in clear");
        assert_eq!(opened(&mut b, sealed(&mut stranger, 7, 2)), Err(SrtpError::Unauthentic));
        assert_eq!(opened(&mut b, sealed(&mut stranger, 8, 2)), Err(SrtpError::Unauthentic));
        let good = sealed(&mut a, 7, 2);
        for cut in 0..good.len() {
            assert!(opened(&mut b, good[..cut].to_vec()).is_err());
        }
        for at in 1..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 0x10;
            assert!(opened(&mut b, changed).is_err(), "{} byte {at}", suite.name);
        }
        let mut renamed = good.clone();
        renamed[11] ^= 1;
        assert_eq!(opened(&mut b, renamed), Err(SrtpError::Unauthentic), "another SSRC");
        assert_eq!(opened(&mut b, good), Ok(packet(7, 2)));
    }
}

#[test]
fn clear_and_changed_reports_are_refused() {
    for suite in SUITES {
        let (mut a, mut b) = pair(suite);
        let long = [report(), report()].concat();
        assert!(b.unprotect_report(&mut long.clone()).is_err());
        let mut good = report();
        a.protect_report(&mut good).unwrap();
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 0x40;
            assert!(b.unprotect_report(&mut changed).is_err());
            assert!(b.unprotect_report(&mut good[..at].to_vec()).is_err());
        }
        assert!(b.unprotect_report(&mut good).is_ok());
    }
}

#[test]
fn the_sequence_wraps_again_and_again() {
    let (mut a, mut b) = pair(&AEAD_AES_128_GCM);
    for n in 0..400_000u32 {
        let sequence = n.wrapping_add(65_000) as u16;
        let datagram = sealed(&mut a, 7, sequence);
        if n % 97 == 0 {
            assert!(opened(&mut b, datagram).is_ok(), "{n}");
        }
    }
}

#[test]
fn an_outage_of_a_minute_across_a_wrap_is_bridged() {
    let (mut a, mut b) = pair(&AES_CM_128_HMAC_SHA1_32);
    for n in 0..20u16 {
        assert!(opened(&mut b, sealed(&mut a, 7, n.wrapping_add(65_000))).is_ok());
    }
    for n in 20..3_020u16 {
        sealed(&mut a, 7, n.wrapping_add(65_000));
    }
    assert!(opened(&mut b, sealed(&mut a, 7, 3_020u16.wrapping_add(65_000))).is_ok());
}

#[test]
fn a_first_packet_just_behind_the_wrap_is_heard() {
    for suite in SUITES {
        let (mut a, mut b) = pair(suite);
        sealed(&mut a, 7, 65_535);
        assert_eq!(opened(&mut b, sealed(&mut a, 7, 0)), Ok(packet(7, 0)), "{}", suite.name);
        assert!(opened(&mut b, sealed(&mut a, 7, 1)).is_ok());
    }
}

#[test]
fn another_ssrc_begins_its_own_stream_and_the_old_ones_replays_stay_refused() {
    let (mut a, mut b) = pair(&AES_CM_128_HMAC_SHA1_80);
    let old = sealed(&mut a, 7, 500);
    assert!(opened(&mut b, old.clone()).is_ok());
    assert!(opened(&mut b, sealed(&mut a, 8, 3)).is_ok());
    assert!(opened(&mut b, sealed(&mut a, 8, 4)).is_ok());
    assert_eq!(opened(&mut b, old), Err(SrtpError::Replayed));
}

#[test]
fn no_sequence_number_is_sent_twice_under_one_key() {
    let (mut a, _) = pair(&AES_CM_128_HMAC_SHA1_80);
    sealed(&mut a, 7, 5);
    assert_eq!(a.protect(&mut packet(7, 5)), Err(SrtpError::Reused));
    assert_eq!(a.protect(&mut packet(7, 4)), Err(SrtpError::Reused));
    let keys = Keys {
        suite: &AES_CM_128_HMAC_SHA1_80,
        ours: master(&AES_CM_128_HMAC_SHA1_80, 1),
        theirs: master(&AES_CM_128_HMAC_SHA1_80, 3),
    };
    a.rekey(&keys).unwrap();
    assert_eq!(a.protect(&mut packet(7, 5)), Err(SrtpError::Reused), "our key is the same");
}

#[test]
fn new_keys_take_over_whether_the_peer_counts_on_or_begins_anew() {
    for counts_on in [true, false] {
        let suite = &AEAD_AES_128_GCM;
        let (mut a, mut b) = pair(suite);
        for n in 0..70_000u32 {
            let datagram = sealed(&mut a, 7, n as u16);
            if n % 100 == 0 || n > 69_990 {
                opened(&mut b, datagram).unwrap();
            }
        }
        let old = sealed(&mut a, 7, 70_000u32 as u16);
        let fresh = Keys { suite, ours: master(suite, 5), theirs: master(suite, 6) };
        if counts_on {
            a.rekey(&fresh).unwrap();
        } else {
            a = Srtp::new(&fresh).unwrap();
        }
        b.rekey(&Keys { suite, ours: fresh.theirs, theirs: fresh.ours }).unwrap();
        assert_eq!(opened(&mut b, old), Err(SrtpError::Unauthentic), "the old key is void");
        for n in 70_001..70_100u32 {
            assert!(opened(&mut b, sealed(&mut a, 7, n as u16)).is_ok(), "{n} {counts_on}");
        }
    }
}

#[test]
fn the_same_keys_again_change_nothing() {
    let suite = &AES_CM_128_HMAC_SHA1_80;
    let (mut a, mut b) = pair(suite);
    let first = sealed(&mut a, 7, 1);
    opened(&mut b, first.clone()).unwrap();
    b.rekey(&Keys { suite, ours: master(suite, 2), theirs: master(suite, 1) }).unwrap();
    assert_eq!(opened(&mut b, first), Err(SrtpError::Replayed));
}

#[test]
fn header_extension_and_contributing_sources_stay_readable() {
    let plain = [
        &[0x91, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7][..],
        &[1, 2, 3, 4, 0xbe, 0xde, 0, 1, 9, 9, 9, 9, 0x55, 0x55],
    ]
    .concat();
    for suite in SUITES {
        let (mut a, mut b) = pair(suite);
        let mut datagram = plain.clone();
        a.protect(&mut datagram).unwrap();
        assert_eq!(datagram[..24], plain[..24]);
        assert_eq!(opened(&mut b, datagram).as_deref(), Ok(&plain[..]));
        assert_eq!(Rtp::parse(&plain).unwrap().payload, [0x55, 0x55]);
    }
}

#[test]
fn keys_are_never_written_out() {
    let keys = Keys {
        suite: &AEAD_AES_128_GCM,
        ours: master(&AEAD_AES_128_GCM, 1),
        theirs: master(&AEAD_AES_128_GCM, 2),
    };
    let text = format!("{keys:?} {:?}", Srtp::new(&keys).unwrap());
    assert!(text.contains("ours: ***, theirs: ***"), "{text}");
    assert!(Master::new(&AEAD_AES_128_GCM, &[0; 27]).is_none());
}

proptest! {
    #[test]
    fn no_datagram_panics(mut datagram in proptest::collection::vec(any::<u8>(), 0..300), suite in 0..SUITES.len()) {
        let (_, mut b) = pair(SUITES[suite]);
        prop_assert!(b.unprotect(&mut datagram.clone()).is_err());
        prop_assert!(b.unprotect_report(&mut datagram.clone()).is_err());
        let _ = b.protect(&mut datagram.clone());
        let _ = b.protect_report(&mut datagram);
    }

    #[test]
    fn each_packet_is_heard_once_in_any_order(order in proptest::collection::vec(0u16..100, 1..300), start: u16) {
        let (mut a, mut b) = pair(&AES_CM_128_HMAC_SHA1_80);
        let packets: Vec<Vec<u8>> = (0..100).map(|n| sealed(&mut a, 7, start.wrapping_add(n))).collect();
        // The first packet fixes where the stream stands.
        opened(&mut b, packets[0].clone()).unwrap();
        let mut heard = std::collections::HashSet::from([0]);
        for n in order {
            let result = opened(&mut b, packets[usize::from(n)].clone());
            prop_assert_eq!(result.is_ok(), heard.insert(n));
        }
    }
}

/// Two ends of a call whose keys have these names.
fn named(suite: &'static Suite, ours: &str, theirs: &str) -> (Srtp, Srtp) {
    let name = |name: &str| Mki::parse(name).unwrap_or_default();
    let (one, other) = (master(suite, 1).named(name(ours)), master(suite, 2).named(name(theirs)));
    let keys = Keys { suite, ours: one, theirs: other };
    let mirrored = Keys { suite, ours: other, theirs: one };
    (Srtp::new(&keys).unwrap(), Srtp::new(&mirrored).unwrap())
}

#[test]
fn a_key_with_a_name_is_named_in_every_packet_before_the_tag_of_counter_mode_and_at_the_end_of_the_other() {
    for suite in SUITES {
        let (mut plain, _) = pair(suite);
        let (mut a, mut b) = named(suite, "258:4", "7:1");
        let galois = suite.tag_len == 16;
        for sequence in 0..3 {
            let datagram = sealed(&mut a, 7, sequence);
            let mut without = datagram.clone();
            let at = if galois { datagram.len() - 4 } else { datagram.len() - suite.tag_len - 4 };
            assert_eq!(without.drain(at..at + 4).collect::<Vec<_>>(), [0, 0, 1, 2], "{}", suite.name);
            assert_eq!(without, sealed(&mut plain, 7, sequence), "the rest is as ever: {}", suite.name);
            assert_eq!(opened(&mut b, datagram), Ok(packet(7, sequence)), "{}", suite.name);
        }
        let (mut datagram, mut without) = (report(), report());
        a.protect_report(&mut datagram).unwrap();
        plain.protect_report(&mut without).unwrap();
        let at = if galois { datagram.len() - 4 } else { datagram.len() - suite.report_tag_len - 4 };
        assert_eq!([&datagram[..at], &datagram[at + 4..]].concat(), without, "{}", suite.name);
        let left = b.unprotect_report(&mut datagram).unwrap();
        assert_eq!(datagram[..left], report());
    }
}

#[test]
fn a_packet_under_another_name_or_none_is_not_heard() {
    for suite in SUITES {
        let (_, mut b) = named(suite, "258:4", "");
        for name in ["", "2:4", "258:3", "258:5", "66050:4"] {
            let (mut a, _) = named(suite, name, "");
            let refused = opened(&mut b, sealed(&mut a, 7, 1));
            assert_eq!(refused, Err(SrtpError::Unauthentic), "{name} {}", suite.name);
            let mut datagram = report();
            a.protect_report(&mut datagram).unwrap();
            assert!(b.unprotect_report(&mut datagram).is_err(), "{name} {}", suite.name);
        }
        let (mut a, _) = named(suite, "258:4", "");
        assert!(opened(&mut b, sealed(&mut a, 7, 1)).is_ok());
    }
}
