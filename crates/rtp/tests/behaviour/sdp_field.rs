//! Descriptions as phones, trunks and browsers send them, and our own hold and resume.

use std::time::Duration;

use audio::codec::{g711, g722, opus};
use rtp::comfort_noise;
use rtp::sdp::{Payload, answer, offer, read_answer};
use rtp::{Answer, Direction, Local};

use crate::sdp_answer::{ALL, G711, local};

fn description(media: &str) -> String {
    format!("v=0\r\no=alice 1 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n{media}")
}

/// The `m=audio` line and the direction.
fn gist(sdp: &str) -> (&str, &str) {
    let line = |start: &str| sdp.lines().find(|line| line.starts_with(start)).unwrap_or_default();
    (line("m=audio"), sdp.lines().last().unwrap_or_default())
}

#[test]
fn we_hold_and_resume_with_rising_versions_of_one_session() {
    let first = answer(&description("m=audio 4000 RTP/AVP 0\r\n"), &local(G711)).unwrap().sdp;
    let hold = Local { previous: Some(&first), direction: Direction::SendOnly, ..local(G711) };
    let held = offer(&hold);
    assert!(held.contains("o=- 77 2 IN IP4") && held.ends_with("a=sendonly\r\n"), "{held}");
    let agreed = read_answer(&hold, &description("m=audio 4000 RTP/AVP 0\r\na=recvonly\r\n")).unwrap();
    assert_eq!((agreed.direction, agreed.held), (Direction::SendOnly, false));
    let resume = Local { previous: Some(&held), ..local(G711) };
    let resumed = offer(&resume);
    assert!(resumed.contains("o=- 77 3 IN IP4") && resumed.ends_with("a=sendrecv\r\n"), "{resumed}");
    let agreed = read_answer(&resume, &description("m=audio 4000 RTP/AVP 0\r\n")).unwrap();
    assert_eq!((agreed.direction, agreed.held), (Direction::SendRecv, false));
    let again = offer(&Local { previous: Some(&resumed), ..local(G711) });
    assert_eq!(again, resumed, "a refresh changes nothing");
}

#[test]
fn both_sides_may_hold_at_once() {
    let ours = Local { direction: Direction::SendOnly, ..local(G711) };
    let agreed = read_answer(&ours, &description("m=audio 4000 RTP/AVP 0\r\na=inactive\r\n")).unwrap();
    assert_eq!((agreed.direction, agreed.held), (Direction::Inactive, true));
    let agreed = read_answer(&ours, &description("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n")).unwrap();
    assert_eq!((agreed.remote, agreed.direction, agreed.held), (None, Direction::Inactive, true));
}

#[test]
fn our_offer_to_an_invite_without_one_is_answered_in_the_ack() {
    let ours = local(ALL);
    let offered = offer(&ours);
    let theirs = Local { address: [192, 0, 2, 10].into(), port: 5000, ..local(G711) };
    let Answer { sdp, .. } = answer(&offered, &theirs).unwrap();
    let later = Local { previous: Some(&offered), ..ours };
    let agreed = read_answer(&later, &sdp).unwrap();
    assert_eq!((agreed.codec.name, agreed.remote), ("PCMU", "192.0.2.10:5000".parse().ok()));
}

#[test]
fn a_browsers_lines_are_passed_over() {
    let media = "a=group:BUNDLE 0 1\r\na=msid-semantic: WMS *\r\na=ice-options:trickle\r\n\
        m=audio 4000 RTP/AVPF 111 63 9 0 8 13 110 126\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\n\
        a=ice-pwd:aaaaaaaaaaaaaaaaaaaaaaaa\r\na=candidate:1 1 udp 2122260223 192.0.2.10 4000 typ host\r\n\
        a=mid:0\r\na=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=rtcp-mux\r\na=rtcp-rsize\r\n\
        a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
        a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\na=rtpmap:110 telephone-event/48000\r\n\
        a=rtpmap:126 telephone-event/8000\r\na=ssrc:1 cname:x\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=fingerprint:sha-256 00:11\r\n";
    let Answer { sdp, media } = answer(&description(media), &local(ALL)).unwrap();
    assert_eq!(gist(&sdp).0, "m=audio 12000 RTP/AVPF 111 110");
    assert!(sdp.contains("m=video 0 UDP/TLS/RTP/SAVPF 96\r\n") && sdp.contains("a=rtcp-mux\r\n"));
    assert!(!["a=ice", "a=candidate", "a=group", "a=fingerprint"].iter().any(|word| sdp.contains(word)));
    assert_eq!((media.rtcp, media.rtcp_mux), (media.remote, true));
    let secured = description("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=fingerprint:sha-256 00:11\r\n");
    assert_eq!(answer(&secured, &local(ALL)).unwrap_err().status(), 488);
}

#[test]
fn reports_share_the_port_when_we_offer_it_and_the_peer_agrees() {
    let ours = Local { rtcp_mux: true, ..local(G711) };
    assert!(offer(&ours).contains("a=rtcp-mux\r\n"));
    let agreed = |local: &Local, attribute: &str| {
        let media = format!("m=audio 4000 RTP/AVP 0\r\n{attribute}");
        let media = read_answer(local, &description(&media)).unwrap();
        (media.rtcp_mux, media.rtcp.map(|address| address.port()))
    };
    assert_eq!(agreed(&ours, "a=rtcp-mux\r\n"), (true, Some(4000)));
    assert_eq!(agreed(&ours, ""), (false, Some(4001)));
    assert_eq!(agreed(&ours, "a=rtcp:4700\r\n"), (false, Some(4700)));
    assert_eq!(agreed(&local(G711), "a=rtcp-mux\r\n"), (false, Some(4001)));
}

#[test]
fn comfort_noise_goes_with_narrow_clocks_when_both_sides_have_it() {
    let ours = Local { comfort_noise: true, ..local(ALL) };
    let noise = |local: &Local, formats: &str| {
        let Answer { sdp, media } =
            answer(&description(&format!("m=audio 4000 RTP/AVP {formats}\r\n")), local).unwrap();
        assert_eq!(sdp.contains("CN/8000"), media.comfort_noise.is_some(), "{sdp}");
        media.comfort_noise
    };
    assert_eq!(noise(&ours, "0 13"), Some(13));
    assert_eq!(noise(&ours, "0 105\r\na=rtpmap:105 CN/8000"), Some(105));
    assert_eq!(noise(&ours, "0 105\r\na=rtpmap:105 CN/16000"), None);
    assert_eq!(noise(&ours, "96 13\r\na=rtpmap:96 opus/48000/2"), None);
    assert_eq!(noise(&ours, "0"), None);
    assert_eq!(noise(&local(ALL), "0 13"), None);
    let offered = offer(&Local { comfort_noise: true, ..local(G711) });
    assert_eq!(gist(&offered).0, "m=audio 12000 RTP/AVP 0 8 13 101");
    let media = read_answer(&ours, &description("m=audio 4000 RTP/AVP 0 13\r\n")).unwrap();
    assert!(matches!(media.payload(13), Payload::Noise));
}

#[test]
fn the_level_of_noise_survives_its_packet() {
    assert_eq!(comfort_noise::level(&comfort_noise::payload(40)), Some(40));
    assert_eq!(comfort_noise::level(&[0x80 | 40, 1, 2, 3]), Some(40));
    assert_eq!(comfort_noise::level(&[]), None);
    assert_eq!(comfort_noise::payload(200), [127]);
    assert_eq!(comfort_noise::level_of(&[0; 160]), 127);
    assert_eq!(comfort_noise::level_of(&[]), 127);
    assert_eq!(comfort_noise::level_of(&[i16::MIN; 160]), 0);
    for level in [10, 40, 60] {
        let amplitude = comfort_noise::amplitude(level) as i16;
        assert_eq!(comfort_noise::level_of(&[amplitude, -amplitude]), level);
    }
}

#[test]
fn packets_of_opus_have_a_length_that_opus_has() {
    for (asked, opus_ms, g711_ms) in [(10, 10, 10), (30, 20, 30), (50, 40, 50), (60, 60, 60), (120, 60, 60)] {
        let ptime_ms = |formats: &str| {
            let media = format!("m=audio 4000 RTP/AVP {formats}\r\na=ptime:{asked}\r\n");
            answer(&description(&media), &local(ALL)).unwrap().media.ptime_ms
        };
        assert_eq!(ptime_ms("96\r\na=rtpmap:96 opus/48000/2"), opus_ms);
        assert_eq!(ptime_ms("0"), g711_ms);
    }
}

#[test]
fn each_codec_makes_packets_of_every_length_it_claims() {
    for codec in [&opus::OPUS, &g722::G722, &g711::PCMU, &g711::PCMA] {
        for &ms in codec.packet_ms {
            let sound = vec![1000; (codec.rate / 1000 * ms) as usize];
            let (mut payload, mut heard) = (Vec::new(), Vec::new());
            (codec.encoder)().encode(&sound, &mut payload);
            (codec.decoder)().decode(&payload, &mut heard);
            assert_eq!(heard.len(), sound.len(), "{} {:?}", codec.name, Duration::from_millis(ms.into()));
        }
    }
}
