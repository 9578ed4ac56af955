//! The RTP packet, and the sorting of datagrams.

use proptest::prelude::*;
use rtp::packet::{HEADER_LEN, write};
use rtp::{BadPacket, Datagram, Header, Rtp};

const PLAIN: Header =
    Header { marker: true, payload_type: 101, sequence: 0xfffe, timestamp: 0xffff_ff60, ssrc: 0xdead_beef };

fn plain(payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    write(&PLAIN, payload, &mut packet);
    packet
}

#[test]
fn a_packet_is_laid_out_as_in_rfc_3550() {
    let packet = plain(&[7, 8]);
    assert_eq!(packet, [0x80, 0x80 | 101, 0xff, 0xfe, 0xff, 0xff, 0xff, 0x60, 0xde, 0xad, 0xbe, 0xef, 7, 8]);
}

#[test]
fn contributing_sources_extension_and_padding_are_skipped() {
    let mut packet = plain(&[]);
    packet[0] |= 0x30 | 2;
    packet.extend([0; 8]);
    packet.extend([0xbe, 0xde, 0, 1, 9, 9, 9, 9]);
    packet.extend([1, 2, 3, 0, 0, 3]);
    assert_eq!(Rtp::parse(&packet), Ok(Rtp { header: PLAIN, payload: &[1, 2, 3] }));
}

#[test]
fn what_runs_past_the_end_is_refused() {
    assert_eq!(Rtp::parse(&plain(&[])[..11]), Err(BadPacket::Short));
    let changed = |first: u8, payload: &[u8]| {
        let mut packet = plain(payload);
        packet[0] = first;
        Rtp::parse(&packet).map(|_| ())
    };
    assert_eq!(changed(0x40, &[]), Err(BadPacket::Version));
    assert_eq!(changed(0x8f, &[0; 59]), Err(BadPacket::Csrc));
    assert_eq!(changed(0x90, &[0, 0]), Err(BadPacket::Extension));
    assert_eq!(changed(0x90, &[0, 0, 0xff, 0xff, 0]), Err(BadPacket::Extension));
    assert_eq!(changed(0xa0, &[]), Err(BadPacket::Padding));
    assert_eq!(changed(0xa0, &[1, 0]), Err(BadPacket::Padding));
    assert_eq!(changed(0xa0, &[1, 3]), Err(BadPacket::Padding));
    assert_eq!(changed(0xa0, &[1, 2]), Ok(()));
}

#[test]
fn writing_into_a_used_buffer_allocates_nothing() {
    let mut packet = Vec::with_capacity(HEADER_LEN + 160);
    let before = (packet.as_ptr(), packet.capacity());
    for _ in 0..3 {
        packet.clear();
        write(&PLAIN, &[0; 160], &mut packet);
    }
    assert_eq!((packet.as_ptr(), packet.capacity()), before);
}

#[test]
fn datagrams_are_sorted_by_their_first_bytes() {
    let kinds = [
        (&[0, 1][..], Datagram::Stun),
        (&[22, 254], Datagram::Dtls),
        (&[0x80, 0], Datagram::Rtp),
        (&[0x80, 0x80 | 101], Datagram::Rtp),
        (&[0x81, 200], Datagram::Rtcp),
        (&[0x80, 201], Datagram::Rtcp),
        (&[0x80, 223], Datagram::Rtcp),
        (&[0x80, 224], Datagram::Rtp),
        (&[0x80], Datagram::Other),
        (&[16, 0], Datagram::Other),
        (b"GET / HTTP/1.1", Datagram::Other),
        (&[], Datagram::Other),
    ];
    for (datagram, kind) in kinds {
        assert_eq!(Datagram::classify(datagram), kind, "{datagram:?}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        marker: bool, payload_type in 0u8..128, sequence: u16, timestamp: u32, ssrc: u32,
        payload in proptest::collection::vec(any::<u8>(), 0..1500),
    ) {
        let header = Header { marker, payload_type, sequence, timestamp, ssrc };
        let mut packet = Vec::new();
        write(&header, &payload, &mut packet);
        prop_assert_eq!(Rtp::parse(&packet), Ok(Rtp { header, payload: &payload }));
    }

    #[test]
    fn no_datagram_panics(mut datagram in proptest::collection::vec(any::<u8>(), 0..200), flags: u8) {
        if let Some(first) = datagram.first_mut() {
            *first = 0x80 | flags & 0x3f;
        }
        Datagram::classify(&datagram);
        if let Ok(rtp) = Rtp::parse(&datagram) {
            prop_assert!(rtp.payload.len() + HEADER_LEN <= datagram.len());
        }
    }
}
