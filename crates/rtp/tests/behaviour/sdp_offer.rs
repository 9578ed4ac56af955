//! Our offers, and what the peer's answers make of them.

use proptest::prelude::*;
use rtp::sdp::{Payload, answer, offer, read_answer};
use rtp::{Direction, Local, SdpError, TelephoneEvent};

use crate::sdp_answer::{ALL, G711, local};

/// An answer of `media` lines from 192.0.2.20.
fn reply(media: &str) -> String {
    format!("v=0\r\no=bob 1 1 IN IP4 192.0.2.20\r\ns=-\r\nc=IN IP4 192.0.2.20\r\nt=0 0\r\n{media}")
}

#[test]
fn an_offer_has_all_codecs_in_order_and_an_event_for_each_clock() {
    assert_eq!(
        offer(&local(ALL)),
        "v=0\r\no=- 77 1 IN IP4 198.51.100.1\r\ns=active-call\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n\
         m=audio 12000 RTP/AVP 111 9 0 8 101 110\r\n\
         a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:9 G722/8000\r\n\
         a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
         a=rtpmap:101 telephone-event/48000\r\na=fmtp:101 0-15\r\n\
         a=rtpmap:110 telephone-event/8000\r\na=fmtp:110 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
    );
}

#[test]
fn the_answers_first_codec_of_ours_is_sent_and_all_are_heard() {
    let media = read_answer(
        &local(G711),
        &reply("m=audio 5000 RTP/AVP 18 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:40\r\n"),
    )
    .unwrap();
    assert_eq!((media.codec.name, media.payload_type, media.ptime_ms), ("PCMA", 8, 40));
    assert!(matches!(media.payload(0), Payload::Voice(codec) if codec.name == "PCMU"));
    assert!(matches!(media.payload(18), Payload::Unknown));
    assert_eq!(media.telephone_event, Some(TelephoneEvent { payload_type: 101, heard_as: 101, clock: 8000 }));
    assert_eq!(media.remote, Some("192.0.2.20:5000".parse().unwrap()));
}

#[test]
fn a_peer_that_renumbers_is_understood_under_both_numbers() {
    let answer =
        "m=audio 5000 RTP/AVP 109 96\r\na=rtpmap:109 opus/48000/2\r\na=rtpmap:96 telephone-event/48000\r\n";
    let media = read_answer(&local(ALL), &reply(answer)).unwrap();
    assert_eq!(media.payload_type, 109);
    for number in [109, 111] {
        assert!(matches!(media.payload(number), Payload::Voice(codec) if codec.name == "opus"));
    }
    assert_eq!(media.telephone_event.map(|e| (e.payload_type, e.heard_as)), Some((96, 101)));
    assert!(matches!(media.payload(101), Payload::Digit));
}

#[test]
fn a_dynamic_number_without_a_map_means_what_we_offered() {
    let media = read_answer(&local(ALL), &reply("m=audio 5000 RTP/AVP 111\r\n")).unwrap();
    assert_eq!(media.codec.name, "opus");
}

#[test]
fn a_rejected_stream_and_foreign_codecs_are_errors() {
    let read = |media: &str| read_answer(&local(G711), &reply(media)).unwrap_err();
    assert_eq!(read("m=audio 0 RTP/AVP 0\r\n"), SdpError::Refused);
    assert_eq!(read("m=video 5000 RTP/AVP 31\r\n"), SdpError::NoAudio);
    assert!(matches!(read("m=audio 5000 RTP/AVP 9\r\n"), SdpError::NoCodec { .. }));
    assert!(matches!(read("m=audio 5000 RTP/SAVP 0\r\n"), SdpError::Transport { .. }));
}

#[test]
fn the_peer_may_hold_in_its_answer() {
    let media = read_answer(&local(G711), &reply("m=audio 5000 RTP/AVP 0\r\na=sendonly\r\n")).unwrap();
    assert_eq!((media.direction, media.held), (Direction::RecvOnly, true));
    let holding = Local { direction: Direction::SendOnly, ..local(G711) };
    let media = read_answer(&holding, &reply("m=audio 5000 RTP/AVP 0\r\na=recvonly\r\n")).unwrap();
    assert_eq!((media.direction, media.held), (Direction::SendOnly, false));
}

#[test]
fn a_later_offer_keeps_lines_and_numbers() {
    let theirs = "m=video 3000 RTP/AVP 31\r\nm=audio 4000 RTP/AVP 109 96\r\na=rtpmap:109 opus/48000/2\r\n\
                  a=rtpmap:96 telephone-event/48000\r\n";
    let first = answer(&reply(theirs), &local(ALL)).unwrap().sdp;
    let later = Local { previous: Some(&first), direction: Direction::SendOnly, ..local(ALL) };
    let hold = offer(&later);
    assert!(hold.contains("o=- 77 2 IN IP4"), "{hold}");
    assert!(hold.contains("m=video 0 RTP/AVP 31\r\nm=audio 12000 RTP/AVP 109 9 0 8 96 101\r\n"), "{hold}");
    assert!(hold.contains("a=rtpmap:96 telephone-event/48000") && hold.ends_with("a=sendonly\r\n"));
    let theirs = "m=video 0 RTP/AVP 31\r\nm=audio 4000 RTP/AVP 109 96\r\n";
    for previous in [&first, &hold] {
        let media = read_answer(&Local { previous: Some(previous), ..later }, &reply(theirs)).unwrap();
        assert_eq!((media.codec.name, media.payload_type), ("opus", 109));
    }
}

#[test]
fn names_that_would_break_a_line_are_left_out() {
    for name in ["a\r\na=inactive", "", "é"] {
        assert!(offer(&Local { name, ..local(G711) }).contains("\r\ns=-\r\n"));
    }
}

proptest! {
    #[test]
    fn two_of_us_always_agree(
        mine in Just(ALL.to_vec()).prop_shuffle(), theirs in Just(ALL.to_vec()).prop_shuffle(),
        few in 1usize..=4, ptime_ms: u32, telephone_event: bool, mine_direction in 0usize..4,
    ) {
        let direction = [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive][mine_direction];
        let caller = Local { ptime_ms, telephone_event, direction, ..local(&mine[..few]) };
        let callee = Local { address: [192, 0, 2, 2].into(), ..local(&theirs) };
        let answered = answer(&offer(&caller), &callee).unwrap();
        let read = read_answer(&caller, &answered.sdp).unwrap();
        prop_assert_eq!(read.codec.name, answered.media.codec.name);
        prop_assert_eq!(read.payload_type, answered.media.payload_type);
        prop_assert_eq!(read.ptime_ms, answered.media.ptime_ms);
        prop_assert_eq!(read.telephone_event, answered.media.telephone_event);
        prop_assert_eq!(read.direction, answered.media.direction.reversed());
        prop_assert_eq!(read.remote.map(|a| a.ip()), Some(callee.address));
        let again = Local { previous: Some(&answered.sdp), ..callee };
        prop_assert_eq!(answer(&offer(&caller), &again).unwrap().sdp, answered.sdp);
    }
}
