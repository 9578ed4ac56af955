use std::io::Cursor;

use audio::wav::{Interleave, Wav, WavError, header};
use proptest::prelude::*;

use crate::sound::noise;

/// A file as written by `hound`, another author's code.
fn written(spec: hound::WavSpec, write: impl FnOnce(&mut hound::WavWriter<Cursor<&mut Vec<u8>>>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = hound::WavWriter::new(Cursor::new(&mut bytes), spec).unwrap();
    write(&mut writer);
    writer.finalize().unwrap();
    bytes
}

fn spec(channels: u16, bits: u16, format: hound::SampleFormat) -> hound::WavSpec {
    hound::WavSpec { channels, sample_rate: 16000, bits_per_sample: bits, sample_format: format }
}

/// A file with a format chunk of our making.
fn file(format: u16, bits: u16, channels: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = header(8000, channels, data.len() as u64).to_vec();
    bytes[20..22].copy_from_slice(&format.to_le_bytes());
    bytes[34..36].copy_from_slice(&bits.to_le_bytes());
    bytes.extend_from_slice(data);
    bytes
}

#[test]
fn what_we_write_another_program_reads() {
    let sound = noise(1, 30_000.0, 640);
    let mut bytes = header(16000, 2, 2 * sound.len() as u64).to_vec();
    bytes.extend(sound.iter().flat_map(|s| s.to_le_bytes()));
    let mut reader = hound::WavReader::new(Cursor::new(&bytes)).unwrap();
    assert_eq!(reader.spec(), spec(2, 16, hound::SampleFormat::Int));
    assert_eq!(reader.samples::<i16>().map(Result::unwrap).collect::<Vec<_>>(), sound);
    assert_eq!(Wav::parse(&bytes), Ok(Wav { rate: 16000, channels: 2, samples: sound }));
}

#[test]
fn what_another_program_writes_we_read() {
    let sound = noise(2, 30_000.0, 600);
    for channels in [1, 2, 6] {
        let bytes = written(spec(channels, 16, hound::SampleFormat::Int), |w| {
            sound.iter().for_each(|s| w.write_sample(*s).unwrap());
        });
        assert_eq!(Wav::parse(&bytes), Ok(Wav { rate: 16000, channels, samples: sound.clone() }));
    }
    let float = written(spec(1, 32, hound::SampleFormat::Float), |w| {
        sound.iter().for_each(|s| w.write_sample(f32::from(*s) / 32768.0).unwrap());
    });
    assert_eq!(Wav::parse(&float).unwrap().samples, sound);
    let fine = written(spec(1, 24, hound::SampleFormat::Int), |w| {
        sound.iter().for_each(|s| w.write_sample(i32::from(*s) << 8).unwrap());
    });
    assert_eq!(Wav::parse(&fine).unwrap().samples, sound);
}

#[test]
fn telephone_encodings_are_read() {
    assert_eq!(Wav::parse(&file(7, 8, 1, &[0xff, 0x80, 0x00])).unwrap().samples, [0, 32124, -32124]);
    assert_eq!(Wav::parse(&file(6, 8, 1, &[0xd5, 0x2a])).unwrap().samples, [8, -32256]);
    assert_eq!(Wav::parse(&file(1, 8, 1, &[0, 128, 255])).unwrap().samples, [-32768, 0, 32512]);
}

#[test]
fn sizes_that_lie_mean_to_the_end() {
    let sound = [1, 0, 2, 0, 3, 0];
    for claimed in [0u32, 7, 0x7fff_ffff, u32::MAX] {
        let mut bytes = file(1, 16, 1, &sound);
        bytes[40..44].copy_from_slice(&claimed.to_le_bytes());
        assert_eq!(Wav::parse(&bytes).unwrap().samples, [1, 2, 3], "claimed {claimed}");
    }
}

#[test]
fn other_chunks_and_half_samples_do_not_disturb() {
    let mut bytes = file(1, 16, 2, &[1, 0, 2, 0, 3, 0, 4]);
    bytes.splice(12..12, *b"LIST\x03\0\0\0abc\0");
    assert_eq!(Wav::parse(&bytes).unwrap().samples, [1, 2]);
}

#[test]
fn mono_is_the_mean_of_the_channels() {
    let wav = Wav { rate: 8000, channels: 2, samples: vec![100, 300, i16::MAX, i16::MAX, -5, -7] };
    assert_eq!(wav.mono(), [200, i16::MAX, -6]);
}

#[test]
fn errors_say_what_is_wrong() {
    let error = |bytes: &[u8]| Wav::parse(bytes).unwrap_err();
    assert_eq!(error(b"ID3 something else"), WavError::NotWav);
    assert_eq!(error(b""), WavError::NotWav);
    assert_eq!(error(b"RIFF\0\0\0\0WAVE"), WavError::NoFormat);
    assert_eq!(error(&file(1, 16, 1, &[])[..36]), WavError::NoData);
    assert_eq!(error(&file(17, 4, 1, &[])), WavError::Encoding { format: 17, bits: 4 });
    assert_eq!(error(&file(1, 16, 0, &[])), WavError::Shape { channels: 0, rate: 8000 });
    assert!(error(&file(17, 4, 1, &[])).to_string().contains("format 17 with 4 bits"));
}

#[test]
fn caller_and_agent_stay_together() {
    let (mut stereo, mut out) = (Interleave::default(), Vec::new());
    stereo.caller(&[1, 2, 3]);
    stereo.agent(&[-1]);
    stereo.drain(&mut out);
    assert_eq!(out, [1, -1]);
    stereo.agent(&[-2]);
    stereo.drain(&mut out);
    stereo.finish(&mut out);
    assert_eq!(out, [1, -1, 2, -2, 3, 0]);
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic_or_invent_much(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(wav) = Wav::parse(&bytes) {
            prop_assert!(wav.samples.len() <= bytes.len());
        }
    }

    #[test]
    fn a_damaged_file_never_makes_the_reader_panic(at in 0usize..60, value: u8, cut in 0usize..64) {
        let mut bytes = file(1, 16, 1, &[7; 20]);
        bytes.truncate(64 - cut);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        if let Ok(wav) = Wav::parse(&bytes) {
            prop_assert!(wav.samples.len() <= 20 && wav.mono().len() <= 20);
        }
    }
}
