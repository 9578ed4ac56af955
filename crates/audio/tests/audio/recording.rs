//! Recordings in every format hold both sides, from the first sample to the last.

use audio::codec::{self, Decoder};
use audio::recording::{FORMATS, Format, format};
use audio::wav::Wav;

/// A tone of `hz` in one ear and of `other` in the second.
fn tones(rate: u32, hz: f64, other: f64, samples: usize) -> Vec<i16> {
    let tone =
        |hz: f64, n: usize| ((n as f64 / f64::from(rate) * hz * std::f64::consts::TAU).sin() * 8000.0) as i16;
    (0..samples).flat_map(|n| [tone(hz, n), tone(other, n)]).collect()
}

/// The bytes of a file, written in pieces of `piece` samples.
fn file(format: &Format, rate: u32, stereo: &[i16], piece: usize) -> Vec<u8> {
    let mut writer = (format.writer)(rate).unwrap();
    let length = writer.head().len();
    let mut body = Vec::new();
    stereo.chunks(piece).for_each(|piece| writer.sound(piece, &mut body));
    writer.finish(&mut body);
    let mut file = writer.head();
    assert_eq!(file.len(), length, "the head keeps its length");
    file.append(&mut body);
    file
}

/// Share of a tone of `hz` in the energy of `pcm`.
fn share(pcm: &[i16], rate: u32, hz: f64) -> f64 {
    let (mut re, mut im, mut energy) = (0.0, 0.0, 0.0);
    for (n, &sample) in pcm.iter().enumerate() {
        let (sin, cos) = (n as f64 / f64::from(rate) * hz * std::f64::consts::TAU).sin_cos();
        re += f64::from(sample) * cos;
        im += f64::from(sample) * sin;
        energy += f64::from(sample) * f64::from(sample);
    }
    (re * re + im * im) * 2.0 / (energy * pcm.len() as f64)
}

fn side(interleaved: &[i16], side: usize) -> Vec<i16> {
    interleaved.iter().skip(side).step_by(2).copied().collect()
}

#[test]
fn a_wav_file_is_whole_after_each_piece() {
    let format = format("WAV").unwrap();
    let stereo = tones(16_000, 500.0, 1500.0, 1_000);
    let mut writer = (format.writer)(16_000).unwrap();
    let mut body = Vec::new();
    for (n, piece) in stereo.chunks(320).enumerate() {
        writer.sound(piece, &mut body);
        let wav = Wav::parse(&[writer.head(), body.clone()].concat()).unwrap();
        assert_eq!((wav.rate, wav.channels), (16_000, 2));
        assert_eq!(wav.samples, stereo[..stereo.len().min((n + 1) * 320)]);
    }
}

#[test]
fn bare_formats_alternate_the_sides() {
    let cases = [("pcmu", &codec::g711::PCMU), ("pcma", &codec::g711::PCMA), ("g722", &codec::g722::G722)];
    for (name, codec) in cases {
        let stereo = tones(codec.rate, 500.0, 1500.0, codec.rate as usize);
        let bytes = file(format(name).unwrap(), codec.rate, &stereo, 334);
        assert_eq!(bytes.len(), 16_000, "{name}: a second at 64 kbit/s for each side");
        for (at, hz) in [(0, 500.0), (1, 1500.0)] {
            let half: Vec<u8> = bytes.iter().skip(at).step_by(2).copied().collect();
            let mut decoder: Box<dyn Decoder> = (codec.decoder)();
            let mut pcm = Vec::new();
            decoder.decode(&half, &mut pcm);
            assert!(share(&pcm, codec.rate, hz) > 0.99, "{name} {at}");
        }
    }
    let stereo = tones(8_000, 500.0, 700.0, 99);
    let bytes = file(format("pcm").unwrap(), 8_000, &stereo, 10);
    assert_eq!(bytes, stereo.iter().flat_map(|sample| sample.to_le_bytes()).collect::<Vec<u8>>());
}

#[test]
fn a_rate_that_a_format_lacks_has_no_writer_but_a_neighbour() {
    for format in FORMATS {
        assert!((format.writer)(11_025).is_none(), "{}", format.name);
        for &rate in format.rates {
            assert!((format.writer)(rate).is_some());
            assert_eq!(format.rate_near(rate), rate);
        }
    }
    assert_eq!(format("pcmu").unwrap().rate_near(16_000), 8_000);
    assert_eq!(format("g722").unwrap().rate_near(8_000), 16_000);
    assert_eq!(format("opus").unwrap().rate_near(44_100), 48_000);
    assert!(format("mp3").is_none());
}

/// One page as it stands in the file.
struct Page<'a> {
    flags: u8,
    granule: u64,
    number: u32,
    packets: Vec<&'a [u8]>,
}

/// The pages of a file, each with a right checksum.
fn pages(mut file: &[u8]) -> Vec<Page<'_>> {
    let mut pages = Vec::new();
    while !file.is_empty() {
        assert_eq!(&file[..5], b"OggS\0");
        let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        let lacing = &file[27..27 + usize::from(file[26])];
        let start = 27 + lacing.len();
        let end = start + lacing.iter().map(|piece| usize::from(*piece)).sum::<usize>();
        let mut unsigned = file[..end].to_vec();
        unsigned[22..26].fill(0);
        assert_eq!(word(22), checksum(&unsigned), "page {}", pages.len());
        let (mut packets, mut from, mut length) = (Vec::new(), start, 0);
        for piece in lacing {
            length += usize::from(*piece);
            if *piece < 255 {
                packets.push(&file[from..from + length]);
                (from, length) = (from + length, 0);
            }
        }
        let granule = u64::from(word(6)) | u64::from(word(10)) << 32;
        pages.push(Page { flags: file[5], granule, number: word(18), packets });
        file = &file[end..];
    }
    pages
}

/// Bit by bit, as RFC 3533 tells it.
fn checksum(page: &[u8]) -> u32 {
    page.iter().fold(0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            if crc >> 31 == 1 { crc << 1 ^ 0x04c1_1db7 } else { crc << 1 }
        })
    })
}

#[test]
fn an_opus_file_holds_each_sample_and_ends_where_the_sound_does() {
    for rate in [8_000, 16_000, 48_000] {
        for samples in [1usize, 7_777, 200_000] {
            let stereo = tones(rate, 440.0, 1_000.0, samples);
            let bytes = file(format("opus").unwrap(), rate, &stereo, 3_200);
            let pages = pages(&bytes);
            assert!(pages.iter().enumerate().all(|(n, page)| page.number == n as u32));
            assert_eq!(
                pages.iter().map(|page| page.flags).filter(|flags| *flags != 0).collect::<Vec<_>>(),
                [2, 4]
            );
            let head = pages[0].packets[0];
            assert_eq!((&head[..8], head[8], head[9], head.len()), (&b"OpusHead"[..], 1, 2, 19));
            assert!(pages[1].packets[0].starts_with(b"OpusTags"));
            let pre_skip = usize::from(u16::from_le_bytes([head[10], head[11]]));
            let last = pages.last().unwrap();
            let length = samples * (48_000 / rate as usize);
            assert_eq!(last.granule, (length + pre_skip) as u64);
            let mut decoder =
                opusic_c::Decoder::new(opusic_c::Channels::Stereo, opusic_c::SampleRate::Hz48000).unwrap();
            let mut pcm: Vec<i16> = Vec::new();
            for packet in pages[2..].iter().flat_map(|page| &page.packets) {
                let mut frame = vec![0u16; 960 * 2];
                assert_eq!(decoder.decode_to_slice(packet, &mut frame, false).unwrap(), 960);
                pcm.extend(frame.iter().map(|sample| *sample as i16));
            }
            assert!(pcm.len() / 2 >= length + pre_skip);
            if samples > 100_000 {
                let heard = &pcm[(pre_skip + 4_800) * 2..(pre_skip + length) * 2];
                assert!(share(&side(heard, 0), 48_000, 440.0) > 0.98, "{rate}");
                assert!(share(&side(heard, 1), 48_000, 1_000.0) > 0.98, "{rate}");
            }
        }
    }
}

#[test]
fn a_long_recording_grows_by_what_was_said() {
    let stereo = tones(16_000, 440.0, 441.0, 16_000 * 20);
    let opus = file(format("opus").unwrap(), 16_000, &stereo, 32_000);
    assert!((60_000..200_000).contains(&opus.len()), "{} bytes for 20 s", opus.len());
}
