//! Answers to offers, as phones and trunks make them.

use std::net::SocketAddr;

use audio::Codec;
use audio::codec::{g711, g722, opus};
use rtp::sdp::{Payload, Security, answer, answer_by_candidate, standing_again, turn_down};
use rtp::{Answer, Direction, Local, SdpError, TelephoneEvent};

pub(crate) static ALL: &[&Codec] = &[&opus::OPUS, &g722::G722, &g711::PCMU, &g711::PCMA];
pub(crate) static G711: &[&Codec] = &[&g711::PCMU, &g711::PCMA];

pub(crate) fn local<'a>(codecs: &'a [&'static Codec]) -> Local<'a> {
    Local {
        address: [198, 51, 100, 1].into(),
        port: 12_000,
        origin_id: 77,
        previous: None,
        codecs,
        telephone_event: true,
        comfort_noise: false,
        rtcp_mux: false,
        security: Security::Off,
        direction: Direction::SendRecv,
        ptime_ms: 20,
        name: "active-call",
    }
}

/// An offer of `media` lines from 192.0.2.10.
fn offer(media: &str) -> String {
    format!("v=0\r\no=alice 1 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n{media}")
}

fn agreed(media: &str) -> Answer {
    answer(&offer(media), &local(ALL)).unwrap()
}

fn refused(media: &str) -> SdpError {
    answer(&offer(media), &local(ALL)).unwrap_err()
}

fn address(text: &str) -> Option<SocketAddr> {
    Some(text.parse().unwrap())
}

#[test]
fn a_line_of_which_nothing_is_known_refuses_no_call() {
    for stray in ["stray", "", "X-Vendor: 1", "xx=1", "=", "q=unknown letter"] {
        let video = format!("m=audio 4000 RTP/AVP 0\r\nm=video 5000 RTP/AVP 31\r\n{stray}\r\n");
        let audio = format!("{stray}\r\nm=audio 4000 RTP/AVP 0\r\n{stray}\r\n");
        for media in [video, audio] {
            assert_eq!(agreed(&media).media.remote, address("192.0.2.10:4000"), "{stray:?}");
        }
    }
    let local = local(ALL);
    let none = |text: &str| answer(text, &local).map(|answer| answer.sdp).unwrap_err().status();
    assert_eq!(none("hello\r\nm=audio 4000 RTP/AVP 0\r\n"), 400, "what begins so is no description");
    assert_eq!(none("v=0\r\nm=audio\r\n"), 400);
    assert_eq!(none("v=0\r\nc=IN\r\nm=audio 4000 RTP/AVP 0\r\n"), 400);
}

#[test]
fn a_phones_offer_is_answered_with_one_codec_and_digits() {
    let offered = "m=audio 49170 RTP/AVP 0 8 96\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:96 telephone-event/8000\r\n\
                   a=fmtp:96 0-16\r\na=ptime:30\r\na=sendrecv\r\n";
    let Answer { sdp, media } = agreed(offered);
    assert_eq!(
        sdp,
        "v=0\r\no=- 77 1 IN IP4 198.51.100.1\r\ns=active-call\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n\
         m=audio 12000 RTP/AVP 0 96\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:96 telephone-event/8000\r\n\
         a=fmtp:96 0-15\r\na=ptime:30\r\na=sendrecv\r\n"
    );
    assert_eq!((media.codec.name, media.payload_type, media.ptime_ms), ("PCMU", 0, 30));
    assert_eq!(media.telephone_event, Some(TelephoneEvent { payload_type: 96, heard_as: 96, clock: 8000 }));
    assert_eq!(media.remote, address("192.0.2.10:49170"));
    assert_eq!(media.rtcp, address("192.0.2.10:49171"));
    assert_eq!((media.direction, media.held, media.rtcp_mux), (Direction::SendRecv, false, false));
}

#[test]
fn our_order_of_codecs_decides() {
    let offered = "m=audio 4000 RTP/AVP 8 0 9\r\n";
    assert_eq!(agreed(offered).media.codec.name, "G722");
    assert_eq!(answer(&offer(offered), &local(G711)).unwrap().media.codec.name, "PCMU");
}

#[test]
fn the_offers_payload_numbers_are_kept() {
    let media = "m=audio 4000 RTP/AVP 109 9 126 98\r\na=rtpmap:109 OPUS/48000/2\r\na=fmtp:109 useinbandfec=1\r\n\
                 a=rtpmap:126 telephone-event/8000\r\na=rtpmap:98 Telephone-Event/48000\r\n";
    let Answer { sdp, media } = agreed(media);
    assert_eq!((media.codec.name, media.payload_type, &media.fmtp[..]), ("opus", 109, "useinbandfec=1"));
    assert_eq!(media.telephone_event.map(|e| (e.payload_type, e.clock)), Some((98, 48_000)));
    assert!(sdp.contains("m=audio 12000 RTP/AVP 109 98\r\na=rtpmap:109 opus/48000/2\r\n"), "{sdp}");
    assert!(matches!(media.payload(109), Payload::Voice(codec) if codec.name == "opus"));
    assert!(matches!(media.payload(98), Payload::Digit));
    assert!(matches!(media.payload(0), Payload::Unknown));
}

#[test]
fn digits_with_another_clock_than_the_codec_are_better_than_none() {
    let media =
        "m=audio 4000 RTP/AVP 96 97\r\na=rtpmap:96 opus/48000\r\na=rtpmap:97 telephone-event/8000\r\n";
    assert_eq!(agreed(media).media.telephone_event.map(|e| e.clock), Some(8000));
}

#[test]
fn digits_are_not_answered_when_not_allowed() {
    let offer = offer("m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n");
    let Answer { sdp, media } = answer(&offer, &Local { telephone_event: false, ..local(ALL) }).unwrap();
    assert_eq!(media.telephone_event, None);
    assert!(!sdp.contains("telephone-event"));
}

#[test]
fn an_rtpmap_overrules_the_static_table() {
    let media = "m=audio 4000 RTP/AVP 0 8\r\na=rtpmap:0 G722/8000\r\na=rtpmap:8 PCMA/16000\r\n";
    let Answer { media, .. } = agreed(media);
    assert_eq!((media.codec.name, media.payload_type), ("G722", 0));
    assert!(matches!(refused("m=audio 4000 RTP/AVP 8\r\na=rtpmap:8 nonsense\r\n"), SdpError::NoCodec { .. }));
}

#[test]
fn other_media_lines_are_rejected_in_their_place() {
    let media = "m=video 3000 RTP/AVP 31\r\nm=audio 4000 RTP/AVP 0\r\nm=application 5000 UDP/BFCP *\r\n\
                 m=audio 4002 RTP/AVP 8\r\nm=image 70000 udptl t38\r\n";
    let sdp = agreed(media).sdp;
    let lines: Vec<&str> = sdp.lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(
        lines,
        [
            "m=video 0 RTP/AVP 31",
            "m=audio 12000 RTP/AVP 0",
            "m=application 0 UDP/BFCP *",
            "m=audio 0 RTP/AVP 8",
            "m=image 0 udptl t38"
        ]
    );
}

#[test]
fn plain_audio_is_taken_where_encrypted_audio_is_only_preferred() {
    let media = "m=audio 4000 RTP/SAVP 0\r\nm=audio 4002 RTP/AVP 0\r\n";
    let Answer { sdp, media } = agreed(media);
    assert_eq!(media.remote, address("192.0.2.10:4002"));
    assert!(sdp.contains("m=audio 0 RTP/SAVP 0\r\nm=audio 12000 RTP/AVP 0\r\n"));
}

#[test]
fn a_hold_is_mirrored_and_tells_what_we_may_do() {
    let cases = [
        ("sendrecv", "sendrecv", Direction::SendRecv, false),
        ("sendonly", "recvonly", Direction::RecvOnly, true),
        ("recvonly", "sendonly", Direction::SendOnly, false),
        ("inactive", "inactive", Direction::Inactive, true),
    ];
    for (theirs, ours, direction, held) in cases {
        let Answer { sdp, media } = agreed(&format!("m=audio 4000 RTP/AVP 0\r\na={theirs}\r\n"));
        assert!(sdp.ends_with(&format!("a={ours}\r\n")), "{theirs}");
        assert_eq!((media.direction, media.held), (direction, held), "{theirs}");
    }
}

#[test]
fn a_direction_of_the_session_counts_unless_the_media_has_its_own() {
    assert_eq!(agreed("a=inactive\r\nm=audio 4000 RTP/AVP 0\r\n").media.direction, Direction::Inactive);
    let both = "a=inactive\r\nm=audio 4000 RTP/AVP 0\r\na=sendrecv\r\n";
    assert_eq!(agreed(both).media.direction, Direction::SendRecv);
}

#[test]
fn our_own_hold_stays_a_hold() {
    let wanting = Local { direction: Direction::SendOnly, ..local(ALL) };
    let media = answer(&offer("m=audio 4000 RTP/AVP 0\r\n"), &wanting).unwrap().media;
    assert_eq!((media.direction, media.held), (Direction::SendOnly, false));
    let media = answer(&offer("m=audio 4000 RTP/AVP 0\r\na=sendonly\r\n"), &wanting).unwrap().media;
    assert_eq!((media.direction, media.held), (Direction::Inactive, true));
}

#[test]
fn the_unspecified_address_is_a_hold() {
    let Answer { sdp, media } = agreed("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n");
    assert_eq!((media.remote, media.rtcp, media.held), (None, None, true));
    assert!(sdp.ends_with("a=recvonly\r\n"));
}

#[test]
fn port_zero_is_a_refusal_at_first_and_a_hold_later() {
    assert_eq!(refused("m=audio 0 RTP/AVP 0\r\n"), SdpError::NoAudio);
    let first = agreed("m=audio 4000 RTP/AVP 0\r\n").sdp;
    let later = Local { previous: Some(&first), ..local(ALL) };
    let Answer { sdp, media } = answer(&offer("m=audio 0 RTP/AVP 0\r\n"), &later).unwrap();
    assert!(sdp.contains("m=audio 0 RTP/AVP 0\r\n"));
    assert_eq!((media.remote, media.direction), (None, Direction::Inactive));
}

#[test]
fn what_is_offered_in_place_of_the_audio_is_refused_and_audio_that_is_on_goes_before_audio_that_is_off() {
    let first = agreed("m=audio 4000 RTP/AVP 0\r\n").sdp;
    let later = Local { previous: Some(&first), ..local(ALL) };
    let fax = answer(&offer("m=audio 0 RTP/AVP 0\r\nm=image 4100 udptl t38\r\n"), &later).unwrap_err();
    assert_eq!((fax.status(), fax.warning()), (488, 304), "{fax}");
    let beside = answer(&offer("m=audio 4000 RTP/AVP 0\r\nm=image 4100 udptl t38\r\n"), &later).unwrap();
    assert!(beside.sdp.contains("m=image 0 udptl t38\r\n") && !beside.media.held);
    let hold = answer(&offer("m=audio 0 RTP/AVP 0\r\nm=image 0 udptl t38\r\n"), &later).unwrap();
    assert!(hold.media.held);
    let moved = answer(&offer("m=audio 0 RTP/AVP 0\r\nm=audio 4200 RTP/AVP 0\r\n"), &later).unwrap();
    assert_eq!(moved.media.remote, address("192.0.2.10:4200"));
    assert!(moved.sdp.contains("m=audio 0 RTP/AVP 0\r\nm=audio "), "{}", moved.sdp);
}

#[test]
fn the_version_counts_changes_only() {
    let first = agreed("m=audio 4000 RTP/AVP 0\r\n").sdp;
    assert!(first.contains("o=- 77 1 IN IP4"));
    let later = Local { previous: Some(&first), ..local(ALL) };
    let refreshed = answer(&offer("m=audio 4000 RTP/AVP 0\r\n"), &later).unwrap().sdp;
    assert_eq!(refreshed, first);
    let held = answer(&offer("m=audio 4000 RTP/AVP 0\r\na=sendonly\r\n"), &later).unwrap().sdp;
    assert!(held.contains("o=- 77 2 IN IP4"));
    let later = Local { previous: Some(&held), ..later };
    let resumed = answer(&offer("m=audio 4000 RTP/AVP 0\r\n"), &later).unwrap().sdp;
    assert!(resumed.contains("o=- 77 3 IN IP4"));
}

#[test]
fn the_packet_length_is_kept_in_range() {
    let cases = [
        ("", 20),
        ("a=ptime:10\r\n", 10),
        ("a=ptime:60\r\n", 60),
        ("a=ptime:200\r\n", 60),
        ("a=ptime:5\r\n", 10),
        ("a=ptime:0\r\na=maxptime:0\r\n", 20),
        ("a=ptime:35\r\n", 30),
        ("a=ptime:-20\r\n", 20),
        ("a=ptime:99999999999999\r\n", 20),
        ("a=ptime:40\r\na=maxptime:30\r\n", 30),
        ("a=maxptime:10\r\n", 10),
    ];
    for (attributes, ptime_ms) in cases {
        let Answer { sdp, media } = agreed(&format!("m=audio 4000 RTP/AVP 0\r\n{attributes}"));
        assert_eq!(media.ptime_ms, ptime_ms, "{attributes}");
        assert!(sdp.contains(&format!("a=ptime:{ptime_ms}\r\n")));
    }
}

#[test]
fn the_connection_of_the_media_overrules_that_of_the_session() {
    let media = agreed("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 192.0.2.99\r\n").media;
    assert_eq!(media.remote, address("192.0.2.99:4000"));
}

#[test]
fn reports_go_where_the_offer_wants_them() {
    let rtcp = |attributes: &str| agreed(&format!("m=audio 4000 RTP/AVP 0\r\n{attributes}")).media.rtcp;
    assert_eq!(rtcp("a=rtcp:4500\r\n"), address("192.0.2.10:4500"));
    assert_eq!(rtcp("a=rtcp:4500 IN IP4 192.0.2.50\r\n"), address("192.0.2.50:4500"));
    assert_eq!(rtcp("a=rtcp:4500 IN IP4 224.0.0.1\r\n"), address("192.0.2.10:4500"));
    assert_eq!(rtcp("a=rtcp:70000\r\n"), address("192.0.2.10:4001"));
    assert_eq!(agreed("m=audio 65535 RTP/AVP 0\r\n").media.rtcp, None);
    let muxed = agreed("m=audio 4000 RTP/AVP 0\r\na=rtcp-mux\r\n");
    assert_eq!((muxed.media.rtcp, muxed.media.rtcp_mux), (address("192.0.2.10:4000"), true));
    assert!(muxed.sdp.contains("a=rtcp-mux\r\n"));
}

#[test]
fn ipv6_is_met_with_ipv6() {
    let offer = "v=0\r\no=- 1 1 IN IP6 2001:db8::1\r\ns=-\r\nc=IN IP6 2001:db8::1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
    let six = Local { address: "2001:db8::2".parse().unwrap(), ..local(ALL) };
    let Answer { sdp, media } = answer(offer, &six).unwrap();
    assert_eq!(media.remote, address("[2001:db8::1]:4000"));
    assert!(sdp.contains("o=- 77 1 IN IP6 2001:db8::2\r\n") && sdp.contains("c=IN IP6 2001:db8::2\r\n"));
    assert!(matches!(answer(offer, &local(ALL)), Err(SdpError::AddressFamily { .. })));
}

#[test]
fn where_the_address_is_of_another_kind_than_ours_a_candidate_of_our_kind_takes_its_place() {
    let offer = |port: u16, candidates: &[&str]| {
        let lines: String =
            candidates.iter().map(|value| format!("a=candidate:{value} typ host\r\n")).collect();
        format!(
            "v=0\r\nc=IN IP6 2001:db8::1\r\nm=audio {port} RTP/AVP 0\r\na=rtcp:4500 IN IP6 2001:db8::1\r\n{lines}\
             m=video 4100 RTP/AVP 96\r\na=candidate:1 1 UDP 99 192.0.2.66 4100 typ host\r\n"
        )
    };
    let met = |candidates: &[&str]| {
        let media = answer_by_candidate(&offer(4000, candidates), None, &local(ALL)).ok()?.media;
        Some((media.remote?, media.rtcp?))
    };
    let places = |remote: &str, reports: &str| Some((remote.parse().unwrap(), reports.parse().unwrap()));
    let six = "1 1 UDP 2130706431 2001:db8::1 4000";
    assert_eq!(met(&[six, "2 1 UDP 2130706303 192.0.2.7 4000"]), places("192.0.2.7:4000", "192.0.2.7:4001"));
    let host = ["2 1 udp 100 192.0.2.7 4002", "2 2 udp 99 192.0.2.7 4009", "3 2 UDP 98 192.0.2.8 4011"];
    assert_eq!(met(&host), places("192.0.2.7:4002", "192.0.2.7:4009"));
    let best = ["2 1 UDP 5 192.0.2.7 4002", "3 1 UDP 6 192.0.2.8 4004", "4 1 UDP 4 192.0.2.9 4006"];
    assert_eq!(met(&best), places("192.0.2.8:4004", "192.0.2.8:4005"));
    for none in [
        "2 1 TCP 100 192.0.2.7 9",
        "2 1 UDP 100 224.0.0.1 4000",
        "2 1 UDP 100 0.0.0.0 4000",
        "2 1 UDP 100 192.0.2.7 0",
        "2 1 UDP 100 phone.local 4000",
        "2 2 UDP 100 192.0.2.7 4000",
        "2 1 UDP x 192.0.2.7 4000",
        "2 1 UDP",
        "",
    ] {
        let refused =
            answer_by_candidate(&offer(4000, &[none]), None, &local(ALL)).map(|answer| answer.media.remote);
        assert!(matches!(refused, Err(SdpError::AddressFamily { .. })), "{none}: {refused:?}");
    }
    // Where the address can be met it stands, whatever the candidates say.
    let four = offer(4000, &["2 1 UDP 100 192.0.2.7 4002"]).replace("IP6 2001:db8::1", "IP4 192.0.2.10");
    let media = answer_by_candidate(&four, None, &local(ALL)).unwrap().media;
    assert_eq!((media.remote, media.rtcp), (address("192.0.2.10:4000"), address("192.0.2.10:4500")));
    // Later it says the same without them; another port is another place.
    let first = offer(4000, &host);
    let again = |port: u16| {
        let later = offer(port, &[]);
        answer_by_candidate(&later, Some(&first), &local(ALL)).map(|answer| answer.media.remote)
    };
    assert_eq!(again(4000), Ok(address("192.0.2.7:4002")));
    assert!(matches!(again(4006), Err(SdpError::AddressFamily { .. })));
}

#[test]
fn bare_line_feeds_and_missing_niceties_are_forgiven() {
    let media = answer("c=IN IP4 192.0.2.10\nm=audio  4000/2  RTP/AVP  0\n\n", &local(ALL)).unwrap().media;
    assert_eq!(media.remote, address("192.0.2.10:4000"));
}

#[test]
fn every_refusal_has_its_status() {
    let cases = [
        ("", 488, 304),
        ("m=video 4000 RTP/AVP 31\r\n", 488, 304),
        ("m=audio 4000 RTP/AVP 18 99\r\na=rtpmap:99 iLBC/8000\r\n", 488, 305),
        ("m=audio 4000 RTP/SAVPF 0\r\n", 488, 302),
        ("m=audio 4000 UDP/TLS/RTP/SAVPF 0\r\n", 488, 302),
        ("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 media.example.com\r\n", 488, 399),
        ("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 224.2.1.1/127\r\n", 488, 330),
        ("m=audio 4000 RTP/AVP 0\r\nc=IN IP4\r\n", 400, 399),
        ("m=audio 70000 RTP/AVP 0\r\n", 400, 399),
        ("m=audio 4000 RTP/AVP\r\n", 400, 399),
        ("hello\r\n", 488, 304),
    ];
    for (media, status, warning) in cases {
        let error = refused(media);
        assert_eq!((error.status(), error.warning()), (status, warning), "{media}: {error}");
    }
    assert_eq!(answer("v=0\r\nm=audio 4000 RTP/AVP 0\r\n", &local(ALL)).unwrap_err().status(), 400);
}

#[test]
fn a_refusal_names_both_sides() {
    let error = refused("m=audio 4000 RTP/AVP 18 99\r\na=rtpmap:99 iLBC/8000\r\n").to_string();
    assert_eq!(
        error,
        "no common codec: the peer has payload type 18, iLBC/8000, we allow opus, G722, PCMU, PCMA"
    );
}

#[test]
fn an_offer_is_turned_down_in_every_line_and_what_stood_before_may_be_told_anew() {
    let first = agreed("m=audio 4000 RTP/AVP 0\r\n").sdp;
    let later = Local { previous: Some(&first), ..local(ALL) };
    let down = turn_down(&offer("m=image 5000 udptl t38\r\nm=audio 0 RTP/AVP 0 8\r\n"), &later).unwrap();
    assert!(down.ends_with("\r\nt=0 0\r\nm=image 0 udptl t38\r\nm=audio 0 RTP/AVP 0 8\r\n"), "{down}");
    let again = standing_again(&first, &down).unwrap();
    let origin = |sdp: &str| sdp.lines().find_map(|line| line.strip_prefix("o=")).unwrap().to_owned();
    let body = |sdp: &str| sdp.split_once("\r\ns=").unwrap().1.to_owned();
    assert_eq!(origin(&first), "- 77 1 IN IP4 198.51.100.1");
    assert_eq!(origin(&down), "- 77 2 IN IP4 198.51.100.1");
    let more = "m=audio 0 RTP/AVP 0 8\r\n";
    assert_eq!((origin(&again), body(&again)), ("- 77 3 IN IP4 198.51.100.1".into(), body(&first) + more));
    let offered = rtp::sdp::offer(&Local { previous: Some(&again), ..later });
    assert!(offered.matches("\r\nm=").count() == 2 && offered.ends_with(more), "{offered}");
    assert!(turn_down("hello", &later).is_err());
    for other in ["", "o=", "o=- 77\r\n", "o=- 77 x IN IP4 192.0.2.1\r\n"] {
        assert_eq!(standing_again(other, &down), None, "{other:?}");
    }
}
