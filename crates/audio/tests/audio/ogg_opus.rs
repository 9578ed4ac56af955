//! Opus in Ogg, our own and that of other programs, is heard whole and no longer; bytes that mean harm do none.

use audio::ogg_opus::{self, OggError, OggOpus, RATE};
use audio::recording::format;
use proptest::prelude::*;

use crate::probes::stamp;
use crate::sound::{amplitude, tone};

/// Made by ffmpeg: 1.5 s of 440 Hz on the left and 1000 Hz on the right.
const STEREO: &[u8] = include_bytes!("../fixtures/stereo_48k.opus");
/// Made by ffmpeg: 0.5 s of 440 Hz in packets of 60 ms.
const MONO: &[u8] = include_bytes!("../fixtures/mono_60ms.ogg");
/// Where the page with the sound begins in a file of three pages.
const MARK: &[u8] = b"OggS";

fn decoded(file: &[u8], piece: usize) -> Result<Vec<i16>, OggError> {
    let mut reader = OggOpus::new();
    let mut sound = Vec::new();
    for bytes in file.chunks(piece) {
        reader.push(bytes);
        while let Some(samples) = reader.poll()? {
            assert!(samples.len() <= RATE as usize / 1000 * 120);
            sound.extend(samples);
        }
    }
    Ok(sound)
}

/// A recording of ours: a tone on each side.
fn recorded(rate: u32, samples: usize) -> Vec<u8> {
    let (left, right) = (tone(rate, 440.0, 8000.0, samples), tone(rate, 1000.0, 8000.0, samples));
    let stereo: Vec<i16> = left.iter().zip(&right).flat_map(|(left, right)| [*left, *right]).collect();
    let mut writer = (format("opus").unwrap().writer)(rate).unwrap();
    let mut file = writer.head();
    writer.sound(&stereo, &mut file);
    writer.finish(&mut file);
    file
}

fn page_starts(file: &[u8]) -> Vec<usize> {
    (0..file.len()).filter(|at| file[*at..].starts_with(MARK)).collect()
}

#[test]
fn both_sides_of_a_recording_of_ours_are_heard_and_its_length_is_kept() {
    for rate in [8_000, 16_000, 48_000] {
        for samples in [1usize, 7_777, 100_000] {
            let sound = decoded(&recorded(rate, samples), 1000).unwrap();
            let length = (samples * RATE as usize).div_ceil(rate as usize);
            assert!(sound.len().abs_diff(length) <= 2, "{} of {length} at {rate}", sound.len());
            if samples > 50_000 {
                let middle = &sound[2_000..length - 2_000];
                for hz in [440.0, 1000.0] {
                    let heard = amplitude(middle, RATE, hz);
                    assert!((3_500.0..4_500.0).contains(&heard), "{hz} Hz at {rate}: {heard}");
                }
            }
        }
    }
}

#[test]
fn files_of_another_program_are_heard() {
    let stereo = decoded(STEREO, 4096).unwrap();
    assert!(stereo.len().abs_diff(24_000) <= 2, "{}", stereo.len());
    for hz in [440.0, 1000.0] {
        assert!(amplitude(&stereo[2_000..22_000], RATE, hz) > 1_000.0, "{hz} Hz");
    }
    let mono = decoded(MONO, 4096).unwrap();
    assert!(mono.len().abs_diff(8_000) <= 2, "{}", mono.len());
    assert!(amplitude(&mono[1_000..7_000], RATE, 440.0) > 3_000.0);
}

#[test]
fn sound_comes_as_soon_as_its_page_is_there() {
    let file = recorded(16_000, 16_000 * 5);
    let third = page_starts(&file)[3];
    assert!(decoded(&file[..third], 100).unwrap().len() > 15_000, "a second of it");
}

#[test]
fn the_beginning_tells_opus_from_other_sounds_in_ogg() {
    assert!(ogg_opus::begins(STEREO) && ogg_opus::begins(&MONO[..100]));
    for other in [&b""[..], b"OggS", b"RIFF....WAVE", &MONO[..40], &MONO[1..]] {
        assert!(!ogg_opus::begins(other));
    }
}

#[test]
fn one_file_behind_another_is_heard_behind_it() {
    let both = [STEREO, MONO].concat();
    assert_eq!(decoded(&both, 777).unwrap().len(), decoded(STEREO, 777).unwrap().len() + 8_000);
}

#[test]
fn a_file_that_breaks_off_or_has_a_broken_page_is_heard_as_far_as_it_is_good() {
    let file = recorded(16_000, 16_000 * 5);
    let pages = page_starts(&file);
    assert!(decoded(&file[..pages[5] - 10], 512).unwrap().len() >= 30_000);
    let mut broken = file.clone();
    broken[pages[3] + 100] ^= 1;
    let heard = decoded(&broken, 512).unwrap().len();
    assert!((62_000..66_000).contains(&heard), "a second is lost: {heard}");
}

#[test]
fn a_stream_of_more_than_two_channels_is_refused() {
    let pages = page_starts(MONO);
    let mut head = MONO[..pages[1]].to_vec();
    // The byte with the number of channels.
    head[28 + 9] = 6;
    stamp(&mut head);
    assert_eq!(decoded(&head, 4096), Err(OggError::Unknown));
}

#[test]
fn a_file_of_marks_and_nothing_else_is_given_up_soon() {
    let marks: Vec<u8> = b"OggS\0".iter().copied().cycle().take(8 << 20).collect();
    assert_eq!(decoded(&marks, 4096), Err(OggError::Damaged));
}

proptest! {
    #[test]
    fn pieces_of_any_size_give_the_same_sound(piece in 1usize..5_000) {
        prop_assert_eq!(decoded(STEREO, piece), decoded(STEREO, STEREO.len()));
    }

    #[test]
    fn no_bytes_panic_and_what_is_given_is_bounded(
        mut file in prop::sample::select(vec![STEREO.to_vec(), MONO.to_vec(), recorded(16_000, 20_000)]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
        cut in any::<prop::sample::Index>(),
        stamped: bool,
        piece in 1usize..3_000,
    ) {
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        file.truncate(cut.index(file.len()));
        if stamped {
            stamp(&mut file);
        }
        if let Ok(sound) = decoded(&file, piece) {
            // A packet has at most 120 ms, and no file here has more than 80 packets, unless its tables are changed.
            prop_assert!(sound.len() <= file.len() * 1_920);
        }
        ogg_opus::begins(&file);
    }
}
