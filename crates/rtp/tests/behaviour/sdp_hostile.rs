//! Descriptions made to kill: bounded work, a clear refusal or a sound answer, never a panic.

use proptest::prelude::*;
use rtp::sdp::{answer, read_answer};
use rtp::{Local, SdpError};

use crate::sdp_answer::{ALL, local};

const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n";

/// Status of the refusal, or 200.
fn status(media: &str) -> u16 {
    answer(&format!("{HEAD}{media}"), &local(ALL)).map_or_else(|error| error.status(), |_| 200)
}

#[test]
fn known_killers_get_their_answers() {
    let cases = [
        ("m=audio 40000 RTP/AVP 99\r\n", 488),
        ("m=audio 0 RTP/AVP 0\r\n", 488),
        ("m=audio 70000 RTP/AVP 0\r\n", 400),
        ("m=audio 40000 RTP/AVP 0\r\na=ptime:0\r\na=maxptime:0\r\n", 200),
        ("m=audio 40000 RTP/AVP 99\r\na=rtpmap:99 opus/0/255\r\n", 488),
        ("m=audio 40000 RTP/SAVP 0\r\n", 488),
        ("m=audio 40000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:short\r\n", 488),
        ("m=audio 40000 RTP/AVP 0 12\r\nm=video 3227 RTP/AVP 31\r\na=rtpmap:31 LPC\r\n", 200),
        (
            "m=audio 40000 RTP/AVP 0\r\nc=IN IP6 ::1\r\nm=video 40002 RTP/AVP 31\r\nc=IN IP4 127.0.0.1\r\n",
            488,
        ),
        ("m=audio 40000 RTP/AVP 0\r\na=rtpmap:0\r\na=rtpmap:\r\na=fmtp\r\na=:\r\na=\r\n", 200),
        ("m=audio 40000 RTP/AVP 256 -1 99999999999 0\r\n", 200),
        ("m=aud\u{0}io 40000 RTP/AVP 0\r\n", 400),
        ("m=audio 40000 RTP/AVP 0\rm=evil\r\n", 400),
    ];
    for (media, expected) in cases {
        assert_eq!(status(media), expected, "{media:?}");
    }
}

#[test]
fn three_hundred_media_lines_are_too_many() {
    let media: String = (0..300).map(|n| format!("m=audio {} RTP/AVP 0\r\n", 40_000 + 2 * n)).collect();
    assert_eq!(status(&media), 488);
}

#[test]
fn faults_that_do_not_concern_the_audio_are_forgiven() {
    let offer = "v=9\r\no=- 99999999999999999999999999 -1 IN IP4\r\nt=x\r\nc=IN IP4 127.0.0.1\r\n\
                 m=audio 40000 RTP/AVP 0\r\nb=?\r\nm=video 99999 RTP/AVP 31\r\n";
    assert!(answer(offer, &local(ALL)).is_ok());
}

#[test]
fn the_largest_descriptions_are_read_in_one_pass() {
    // Quadratic work would keep this test busy for minutes.
    let numbers = " 96".repeat(20_000);
    let maps = "a=rtpmap:96 x/1\r\n".repeat(3_500);
    let flags = "a=q\r\n".repeat(13_000);
    for media in [format!("m=audio 1 RTP/AVP{numbers}\r\n"), format!("m=audio 1 RTP/AVP 96\r\n{maps}"), flags]
    {
        assert_eq!(status(&media), 488);
    }
    assert_eq!(status(&"a=q\r\n".repeat(20_000)), 488);
}

#[test]
fn the_peers_text_is_cut_and_cleaned_in_an_error() {
    let name = "\u{7}\"x\u{1b}[31m".repeat(100);
    let offer = format!("{HEAD}m=audio 40000 RTP/AVP 0\r\nc=IN IP4 {name}\r\n");
    let Err(SdpError::HostName { name }) = answer(&offer, &local(ALL)) else { panic!("a name was taken") };
    assert!(name.len() <= 64 && name.bytes().all(|b| b.is_ascii_graphic() && b != b'"'));
}

/// Pieces that a mutation glues together.
const PIECES: &[&str] = &[
    "v=0",
    "o=- 1 1 IN IP4 127.0.0.1",
    "c=IN IP4 127.0.0.1",
    "c=IN IP6 ::1",
    "c=IN IP4 0.0.0.0",
    "c=IN",
    "t=0 0",
    "m=audio 4000 RTP/AVP 0 8 9 96 97",
    "m=audio 0 RTP/AVP 0",
    "m=audio 70000 RTP/AVP 0",
    "m=audio 4 RTP/SAVP 0",
    "m=video 1 RTP/AVP 31",
    "a=rtpmap:96 opus/48000/2",
    "a=rtpmap:97 telephone-event/48000",
    "a=rtpmap:0 PCMU/0",
    "a=rtpmap:9",
    "a=ptime:0",
    "a=ptime:4294967296",
    "a=maxptime:7",
    "a=rtcp:0",
    "a=rtcp:9 IN IP4 x",
    "a=rtcp-mux",
    "a=sendonly",
    "a=inactive",
    "a=fmtp:96",
    "=",
    "",
    " ",
    "\r",
    "é=ü",
];

fn description() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        4 => proptest::sample::select(PIECES).prop_map(str::to_owned),
        1 => "[a-z]=\\PC{0,30}",
    ];
    (proptest::collection::vec(line, 0..20), any::<bool>())
        .prop_map(|(lines, crlf)| lines.join(if crlf { "\r\n" } else { "\n" }))
}

proptest! {
    #[test]
    fn whatever_is_offered_is_refused_or_answered_soundly(offer in description(), cut in 0usize..600) {
        let cut = (0..=cut.min(offer.len())).rev().find(|&at| offer.is_char_boundary(at)).unwrap_or(0);
        let previous = "garbage";
        for text in [&offer[..], &offer[..cut]] {
            for previous in [None, Some(previous), Some(text)] {
                let local = Local { previous, ..local(ALL) };
                let _ = read_answer(&local, text);
                if let Ok(answered) = answer(text, &local) {
                    let lines = |sdp: &str| sdp.lines().filter(|line| line.starts_with("m=")).count();
                    prop_assert_eq!(lines(&answered.sdp), lines(text));
                    prop_assert!((10..=60).contains(&answered.media.ptime_ms));
                    prop_assert!(answered.media.remote.is_none_or(|remote| remote.port() != 0));
                }
            }
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,300}") {
        let _ = answer(&text, &local(ALL));
        let _ = read_answer(&local(ALL), &text);
    }
}
