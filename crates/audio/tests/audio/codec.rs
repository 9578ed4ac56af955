use audio::codec::{self, CODECS, WEBSOCKET_CODECS, by_name};
use audio::{Codec, Frame};
use proptest::prelude::*;

use crate::sound::{VOWELS, db, likeness, noise, rms, vowel};

fn speech(rate: u32) -> Vec<i16> {
    (0..5).flat_map(|n| vowel(rate, VOWELS[n], 110.0 + 20.0 * n as f64, 0.2, rate as usize / 5)).collect()
}

fn all() -> impl Iterator<Item = &'static Codec> {
    let pcm = [8000, 16000, 24000, 48000].into_iter().filter_map(codec::pcm::at);
    CODECS.iter().copied().chain(pcm)
}

/// Sound through encoder and decoder, frame by frame; frames for which `lost` says so never arrive.
fn through(codec: &Codec, pcm: &[i16], lost: impl Fn(usize) -> bool) -> Vec<i16> {
    let (mut encoder, mut decoder) = ((codec.encoder)(), (codec.decoder)());
    let mut out = Vec::new();
    for (n, frame) in pcm.chunks_exact(Frame::len_at(codec.rate)).enumerate() {
        let mut payload = Vec::new();
        encoder.encode(frame, &mut payload);
        let before = out.len();
        match lost(n) {
            true => decoder.conceal(frame.len(), &mut out),
            false => decoder.decode(&payload, &mut out),
        }
        assert_eq!(out.len() - before, frame.len(), "{}", codec.name);
    }
    out
}

#[test]
fn the_tables_hold_what_the_wire_expects() {
    let names: Vec<_> = CODECS.iter().map(|c| c.name).collect();
    assert_eq!(names, ["opus", "G722", "PCMU", "PCMA"]);
    let types: Vec<_> = CODECS.iter().map(|c| c.static_pt).collect();
    assert_eq!(types, [None, Some(9), Some(0), Some(8)]);
    assert_eq!(by_name("g722").map(|c| (c.rate, c.rtp_clock)), Some((16000, 8000)));
    assert_eq!(by_name("OPUS").map(|c| (c.rtp_clock, c.sdp_channels)), Some((48000, 2)));
    assert!(by_name("pcm").is_none() && by_name("telephone-event").is_none());
    assert_eq!(codec::find(WEBSOCKET_CODECS, "PCM").map(|c| c.rate), Some(16000));
}

#[test]
fn speech_comes_through_every_codec() {
    for codec in all() {
        let sound = speech(codec.rate);
        let (like, delay) = likeness(&sound, &through(codec, &sound, |_| false), codec.rate as usize / 50);
        assert!(like > 0.95, "{} at {} Hz: {like:.3} with {delay} samples of delay", codec.name, codec.rate);
    }
}

#[test]
fn a_lost_packet_is_hidden_in_every_codec() {
    for codec in all() {
        let sound = speech(codec.rate);
        let out = through(codec, &sound, |n| n % 10 == 5);
        let (like, _) = likeness(&sound, &out, codec.rate as usize / 50);
        assert!(like > 0.85, "{}: {like:.3}", codec.name);
    }
}

#[test]
fn a_long_loss_fades_to_silence_in_every_codec() {
    for codec in all() {
        let sound = speech(codec.rate);
        let out = through(codec, &sound, |n| n >= 20);
        let frame = Frame::len_at(codec.rate);
        let (before, after) = (rms(&out[15 * frame..20 * frame]), rms(&out[30 * frame..]));
        assert!(db(after / before) < -30.0, "{}: {before:.0} to {after:.0}", codec.name);
    }
}

#[test]
fn packets_of_10_ms_and_60_ms_work() {
    for codec in all() {
        for ms in [10, 20, 40, 60] {
            let frame = codec.rate as usize * ms / 1000;
            let (mut payload, mut out) = (Vec::new(), Vec::new());
            (codec.encoder)().encode(&noise(4, 5000.0, frame), &mut payload);
            (codec.decoder)().decode(&payload, &mut out);
            assert_eq!(out.len(), frame, "{} with {ms} ms", codec.name);
        }
    }
}

#[test]
fn opus_recovers_a_lost_packet_from_the_next_one() {
    let codec = by_name("opus").unwrap();
    let sound = speech(codec.rate);
    let frame = Frame::len_at(codec.rate);
    let mut encoder = (codec.encoder)();
    let payloads: Vec<Vec<u8>> = sound
        .chunks_exact(frame)
        .map(|pcm| {
            let mut payload = Vec::new();
            encoder.encode(pcm, &mut payload);
            payload
        })
        .collect();
    let play = |recover: bool| {
        let (mut decoder, mut out, mut copies) = ((codec.decoder)(), Vec::new(), 0);
        for (n, payload) in payloads.iter().enumerate() {
            match (n % 4 == 3, payloads.get(n + 1)) {
                (false, _) => decoder.decode(payload, &mut out),
                (true, Some(next)) if recover => {
                    copies += usize::from(decoder.recover(next, frame, &mut out));
                }
                (true, _) => decoder.conceal(frame, &mut out),
            }
        }
        (likeness(&sound, &out, frame).0, copies)
    };
    let ((recovered, copies), (hidden, _)) = (play(true), play(false));
    // Pauses have no copies.
    assert!(copies * 2 > payloads.len() / 4, "{copies} copies of {} packets", payloads.len() / 4);
    assert!(recovered > hidden + 0.02, "recovered {recovered:.3}, hidden {hidden:.3}");
}

proptest! {
    #[test]
    fn no_payload_makes_a_decoder_panic(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 1..8),
        samples in 0usize..3000,
    ) {
        for codec in all() {
            let (mut decoder, mut out) = ((codec.decoder)(), Vec::new());
            for payload in &payloads {
                decoder.decode(payload, &mut out);
                let before = out.len();
                decoder.recover(payload, samples, &mut out);
                prop_assert_eq!(out.len() - before, samples);
            }
            prop_assert!(out.len() <= payloads.len() * (5760 + samples));
        }
    }

    #[test]
    fn no_sound_makes_an_encoder_panic(pcm in prop::collection::vec(any::<i16>(), 0..1000)) {
        for codec in all() {
            let mut payload = Vec::new();
            (codec.encoder)().encode(&pcm, &mut payload);
            prop_assert!(payload.len() <= 1276 + 2 * pcm.len());
        }
    }
}
