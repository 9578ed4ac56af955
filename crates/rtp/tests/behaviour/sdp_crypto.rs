//! Encryption in offer and answer: who gets it, who is refused, and that nobody falls back to clear unasked.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;
use rtp::sdp::{KeyRing, RING_BYTES, Security, answer, offer, read_answer, redacted};
use rtp::srtp::{AEAD_AES_256_GCM, AES_CM_128_HMAC_SHA1_32, SUITES};
use rtp::{Answer, Direction, Header, Local, SdpError, Srtp};

use crate::sdp_answer::{G711, local};

/// Thirty bytes in base64, as the key of a suite in counter mode.
const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

fn ring(seed: u8) -> KeyRing {
    KeyRing::of_all(&std::array::from_fn::<u8, RING_BYTES, _>(|n| (n as u8).wrapping_mul(31) ^ seed))
}

fn with(security: Security<'_>) -> Local<'_> {
    Local { security, ..local(G711) }
}

fn description(media: &str) -> String {
    format!("v=0\r\no=alice 1 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n{media}")
}

fn line(profile: &str, crypto: &[&str]) -> String {
    let keys: String = crypto.iter().map(|line| format!("a=crypto:{line}\r\n")).collect();
    description(&format!("m=audio 4000 {profile} 0\r\n{keys}"))
}

fn standard() -> String {
    format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20")
}

/// Whether what one end sends is heard by the other.
fn is_heard(from: &mut Srtp, to: &mut Srtp) -> bool {
    let header = Header { marker: true, payload_type: 0, sequence: 5, timestamp: 9, ssrc: 3 };
    let mut packet = Vec::new();
    rtp::packet::write(&header, &[1; 160], &mut packet);
    from.protect(&mut packet).unwrap();
    to.unprotect(&mut packet).is_ok()
}

#[test]
fn an_encrypted_offer_is_answered_with_a_key_of_ours() {
    let (ring, offered) = (ring(1), line("RTP/SAVP", &[&standard()]));
    for security in [Security::Answered(&ring), Security::Offered(&ring), Security::Required(&ring)] {
        let Answer { sdp, media } = answer(&offered, &with(security)).unwrap();
        assert!(sdp.contains("m=audio 12000 RTP/SAVP 0\r\n"), "{sdp}");
        assert_eq!(sdp.matches("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:").count(), 1, "{sdp}");
        assert!(!sdp.contains(KEY));
        assert_eq!(media.keys.unwrap().suite.name, "AES_CM_128_HMAC_SHA1_80");
    }
    assert!(matches!(answer(&offered, &with(Security::Off)), Err(SdpError::Transport { .. })));
}

#[test]
fn both_ends_hear_each_other_under_every_policy_that_agrees() {
    let (mine, other) = (ring(1), ring(2));
    for (ours, theirs, encrypted) in [
        (Security::Required(&mine), Security::Required(&other), true),
        (Security::Required(&mine), Security::Answered(&other), true),
        (Security::Offered(&mine), Security::Required(&other), true),
        (Security::Offered(&mine), Security::Answered(&other), true),
        (Security::Offered(&mine), Security::Off, false),
        (Security::Answered(&mine), Security::Offered(&other), false),
        (Security::Off, Security::Offered(&other), false),
    ] {
        let case = format!("{ours:?} {theirs:?}");
        let answer = answer(&offer(&with(ours)), &with(theirs)).unwrap();
        let heard = read_answer(&with(ours), &answer.sdp).unwrap();
        assert_eq!((heard.keys.is_some(), answer.media.keys.is_some()), (encrypted, encrypted), "{case}");
        if let (Some(a), Some(b)) = (heard.keys, answer.media.keys) {
            let (mut a, mut b) = (Srtp::new(&a).unwrap(), Srtp::new(&b).unwrap());
            assert!(is_heard(&mut a, &mut b) && is_heard(&mut b, &mut a), "{case}");
        }
    }
}

#[test]
fn who_requires_encryption_never_speaks_in_clear() {
    let ring = ring(1);
    let required = with(Security::Required(&ring));
    assert!(offer(&required).contains("m=audio 12000 RTP/SAVP 0 8 101\r\n"));
    assert_eq!(answer(&line("RTP/AVP", &[]), &required).unwrap_err(), SdpError::Unencrypted);
    for refused in [line("RTP/AVP", &[]), line("RTP/SAVP", &[])] {
        assert_eq!(read_answer(&required, &refused).unwrap_err(), SdpError::Unencrypted);
    }
    assert_eq!(SdpError::Unencrypted.status(), 488);
    // A later offer in clear is refused too.
    let first = answer(&line("RTP/SAVP", &[&standard()]), &required).unwrap().sdp;
    let later = Local { previous: Some(&first), ..required };
    assert_eq!(answer(&line("RTP/AVP", &[]), &later).unwrap_err(), SdpError::Unencrypted);
}

#[test]
fn keys_beside_the_plain_profile_are_a_wish() {
    let ring = ring(1);
    let wish = line("RTP/AVP", &[&standard()]);
    let Answer { sdp, media } = answer(&wish, &with(Security::Answered(&ring))).unwrap();
    assert!(media.keys.is_some() && sdp.contains("m=audio 12000 RTP/AVP 0\r\n"));
    assert!(answer(&wish, &with(Security::Off)).unwrap().media.keys.is_none());
    let strange = line("RTP/AVP", &["1 F8_128_HMAC_SHA1_80 inline:abc"]);
    assert!(answer(&strange, &with(Security::Offered(&ring))).unwrap().media.keys.is_none());
    assert!(matches!(
        answer(&strange, &with(Security::Required(&ring))).unwrap_err(),
        SdpError::Suite { suite } if suite == "F8_128_HMAC_SHA1_80"
    ));
}

#[test]
fn the_encrypted_line_goes_before_the_plain_one() {
    let ring = ring(1);
    let both = description(&format!(
        "m=audio 4000 RTP/AVP 0\r\nm=audio 4002 RTP/SAVP 0\r\na=crypto:{}\r\n",
        standard()
    ));
    let Answer { sdp, media } = answer(&both, &with(Security::Answered(&ring))).unwrap();
    assert_eq!(media.remote.map(|remote| remote.port()), Some(4002));
    assert!(sdp.contains("m=audio 0 RTP/AVP 0\r\nm=audio 12000 RTP/SAVP 0\r\n"), "{sdp}");
    assert!(answer(&both, &with(Security::Off)).unwrap().media.keys.is_none());
}

#[test]
fn the_peers_first_line_that_can_be_met_is_taken() {
    let ring = KeyRing::new(&[&AES_CM_128_HMAC_SHA1_32], &[7; RING_BYTES]);
    let cases: &[(&[&str], Option<&str>)] = &[
        (&["2 AES_256_CM_HMAC_SHA1_80 inline:x", "3 AES_CM_128_HMAC_SHA1_32 inline:KEY"], Some("3")),
        (
            &["1 AES_CM_128_HMAC_SHA1_32 inline:KEY|2^20|1:4", "9 AES_CM_128_HMAC_SHA1_32 inline:KEY"],
            Some("1"),
        ),
        (&["1 AES_CM_128_HMAC_SHA1_32 inline:KEY|1:17", "9 AES_CM_128_HMAC_SHA1_32 inline:KEY"], Some("9")),
        (&["1 AES_CM_128_HMAC_SHA1_32 inline:KEY|340282366920938463463374607431768211455:16"], Some("1")),
        (&["1 AES_CM_128_HMAC_SHA1_32 inline:KEY|256:1"], None),
        (&["1 AES_CM_128_HMAC_SHA1_32 inline:KEY|1:0"], None),
        (&["1 AES_CM_128_HMAC_SHA1_32 inline:KEY|+1:1"], None),
        (&["1 AES_CM_128_HMAC_SHA1_32 inline:KEY|:"], None),
        (&["1 AES_CM_128_HMAC_SHA1_32 inline:KEY|1:1|2^20"], None),
        (&["1 AES_CM_128_HMAC_SHA1_32 inline:KEY|1:1|2:1"], None),
        (
            &[
                "1 AES_CM_128_HMAC_SHA1_32 inline:KEY|2^31 UNENCRYPTED_SRTCP",
                "2 aes_cm_128_hmac_sha1_32 INLINE:KEY WSH=64",
            ],
            Some("2"),
        ),
        (&["1 AES_CM_128_HMAC_SHA1_32 inline:KEY KDR=0 -x"], Some("1")),
        (&["1 AES_CM_128_HMAC_SHA1_32 inline:KEY FEC_ORDER=FEC_SRTP"], None),
        (&["1 AES_CM_128_HMAC_SHA1_32 inline:KEY;inline:KEY"], None),
        (&["1 AES_CM_128_HMAC_SHA1_32 inline:short"], None),
        (&["1 AES_CM_128_HMAC_SHA1_32 inline:"], None),
        (&["1 AES_CM_128_HMAC_SHA1_32"], None),
        (&["one AES_CM_128_HMAC_SHA1_32 inline:KEY"], None),
        (&["1 AES_CM_128_HMAC_SHA1_80 inline:KEY"], None),
        (&[""], None),
        (&[], None),
    ];
    for (lines, tag) in cases {
        let lines: Vec<String> = lines.iter().map(|line| line.replace("KEY", KEY)).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let answered = answer(&line("RTP/SAVP", &lines), &with(Security::Answered(&ring)));
        match tag {
            Some(tag) => {
                let wanted = format!("a=crypto:{tag} AES_CM_128_HMAC_SHA1_32 inline:");
                assert!(answered.unwrap().sdp.contains(&wanted), "{lines:?}");
            }
            None => assert_eq!(answered.unwrap_err().warning(), 306, "{lines:?}"),
        }
    }
}

#[test]
fn an_answer_has_to_take_one_of_the_lines_offered() {
    let ring = ring(1);
    let ours = with(Security::Offered(&ring));
    let other = |crypto: &[&str]| read_answer(&ours, &line("RTP/AVP", crypto));
    assert!(other(&[&standard()]).unwrap().keys.is_some());
    assert!(other(&[]).unwrap().keys.is_none());
    let second = standard().replacen('1', "2", 1);
    let unknown = standard().replacen('1', "77", 1);
    for lines in [&[&second[..]][..], &[&unknown], &[&standard(), &second], &["1 nonsense"]] {
        assert!(other(lines).is_err(), "{lines:?}");
    }
    assert_eq!(read_answer(&ours, &line("RTP/SAVP", &[])).unwrap_err(), SdpError::Unencrypted);
    assert!(read_answer(&ours, &line("UDP/TLS/RTP/SAVPF", &[])).is_err());
}

#[test]
fn an_unasked_for_encrypted_answer_is_refused() {
    let ring = ring(1);
    for security in [Security::Off, Security::Answered(&ring)] {
        let refusal = read_answer(&with(security), &line("RTP/SAVP", &[&standard()])).unwrap_err();
        assert!(matches!(refusal, SdpError::Transport { .. }), "{refusal}");
    }
}

#[test]
fn later_offers_keep_transport_tag_and_key() {
    let ring = ring(1);
    for profile in ["RTP/SAVP", "RTP/AVP", "RTP/SAVPF"] {
        for security in [Security::Answered(&ring), Security::Offered(&ring), Security::Required(&ring)] {
            let five = standard().replacen('1', "5", 1);
            let first = answer(&line(profile, &[&five]), &with(security)).unwrap();
            let hold = Local { previous: Some(&first.sdp), direction: Direction::SendOnly, ..with(security) };
            let held = offer(&hold);
            let keys = |sdp: &str| sdp.lines().find(|l| l.starts_with("a=crypto:5 ")).map(str::to_owned);
            assert!(held.contains(&format!("m=audio 12000 {profile} ")), "{held}");
            assert!(keys(&held).is_some() && keys(&held) == keys(&first.sdp), "{held}");
            assert_eq!(held.matches("a=crypto").count(), 1);
            let agreed = read_answer(&hold, &line(profile, &[&five])).unwrap();
            assert_eq!(agreed.keys, first.media.keys);
        }
    }
}

#[test]
fn keys_are_cut_out_of_what_is_shown() {
    let ring = ring(1);
    let sdp = offer(&with(Security::Offered(&ring)));
    let shown = redacted(&sdp);
    let offered = SUITES.iter().filter(|suite| suite.offered).count();
    assert_eq!(shown.matches("inline:***\r\n").count(), offered);
    assert_eq!(shown.matches("inline:").count(), offered);
    assert_eq!(
        redacted("a=crypto:1 X INLINE:abc|2^20|1:4;inline:def WSH=64\n"),
        "a=crypto:1 X INLINE:***;inline:*** WSH=64\n"
    );
    assert_eq!(redacted("v=0\r\n"), "v=0\r\n");
    assert_eq!(format!("{ring:?}").matches("AES").count(), SUITES.len());
    assert!(!format!("{:?}", with(Security::Required(&ring))).contains("inline"));
}

#[test]
fn every_suite_has_a_key_of_its_own() {
    let ring = ring(1);
    let required = with(Security::Required(&ring));
    let mut keys = std::collections::HashSet::new();
    for suite in SUITES {
        let theirs = BASE64_STANDARD.encode(vec![5; suite.master_len()]);
        let offered = line("RTP/SAVP", &[&format!("1 {} inline:{theirs}", suite.name)]);
        let Answer { sdp, media } = answer(&offered, &required).unwrap();
        assert_eq!(media.keys.unwrap().suite, *suite);
        keys.insert(sdp.split("inline:").nth(1).unwrap().lines().next().unwrap()[..16].to_owned());
    }
    assert_eq!(keys.len(), SUITES.len());
    let one = KeyRing::new(&[&AEAD_AES_256_GCM, &AEAD_AES_256_GCM], &[1; RING_BYTES]);
    assert_eq!(offer(&with(Security::Required(&one))).matches("a=crypto").count(), 1);
}

#[test]
fn counter_mode_of_256_bits_is_answered_and_kept_and_never_offered_first() {
    let ring = ring(1);
    let required = with(Security::Required(&ring));
    assert!(!offer(&required).contains("AES_256_CM"), "{}", offer(&required));
    let theirs = BASE64_STANDARD.encode([5; 46]);
    for suite in ["AES_256_CM_HMAC_SHA1_80", "AES_256_CM_HMAC_SHA1_32"] {
        let key = format!("3 {suite} inline:{theirs}");
        let first =
            answer(&line("RTP/SAVP", &["1 AES_192_CM_HMAC_SHA1_80 inline:x", &key]), &required).unwrap();
        assert!(first.sdp.contains(&format!("a=crypto:3 {suite} inline:")), "{}", first.sdp);
        let later = offer(&Local { previous: Some(&first.sdp), ..required });
        assert_eq!(later.matches("a=crypto").count(), 1);
        assert!(later.contains(&format!("a=crypto:3 {suite} inline:")), "{later}");
    }
}

proptest! {
    #[test]
    fn no_key_line_panics(lines in proptest::collection::vec("[ -~\u{80}-\u{ff}]{0,80}", 0..4), profile in 0usize..3) {
        let ring = ring(1);
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let text = line(["RTP/AVP", "RTP/SAVP", "RTP/SAVPF"][profile], &lines);
        let _ = answer(&text, &with(Security::Offered(&ring)));
        let _ = read_answer(&with(Security::Offered(&ring)), &text);
        let required = answer(&text, &with(Security::Required(&ring)));
        prop_assert!(required.is_err());
        prop_assert!(!redacted(&text).contains("inline:a"));
    }
}

#[test]
fn who_names_its_key_is_spoken_to_with_a_named_key_and_so_in_every_later_description() {
    let (mine, other) = (ring(1), ring(2));
    let plain = offer(&with(Security::Required(&other)));
    let crypto = plain.lines().find(|line| line.starts_with("a=crypto:1 ")).unwrap();
    let theirs = plain.replace(crypto, &format!("{crypto}|2^31|258:4"));
    let required = with(Security::Required(&mine));
    let Answer { sdp, media } = answer(&theirs, &required).unwrap();
    assert_eq!(sdp.matches("|258:4\r\n").count(), 1, "{sdp}");
    let keys = media.keys.unwrap();
    assert_eq!((keys.theirs.mki().bytes(), keys.ours.mki().bytes()), (&[0, 0, 1, 2][..], &[0, 0, 1, 2][..]));
    let later = offer(&Local { previous: Some(&sdp), ..required });
    assert_eq!(later.matches("a=crypto:").count(), 1, "{later}");
    assert_eq!(later.matches("|258:4\r\n").count(), 1, "{later}");
    assert_eq!(redacted(&sdp).matches("inline:***\r\n").count(), 1, "{}", redacted(&sdp));
}
