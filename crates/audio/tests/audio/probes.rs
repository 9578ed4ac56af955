//! What every file must withstand, whoever made it. Fuzzing runs these probes on what it invents, the tests on what is
//! kept in `fuzz/seeds`.

use audio::ogg_opus::{self, OggOpus, RATE};
use audio::wav::Wav;

/// Sound of one byte of a file at most: the shortest packet of 120 ms has one byte and an entry of the page's table.
const MOST_OF_A_BYTE: usize = RATE as usize / 1000 * 120;

/// A file of Opus in Ogg, read in two unequal parts and with the checksums of its pages put right, as a hurried sender
/// or a hostile one would have it: it ends, with no more sound than its bytes can hold.
pub(crate) fn ogg_opus(data: &[u8]) {
    let _ = ogg_opus::begins(data);
    let mut stamped = data.to_vec();
    stamp(&mut stamped);
    for file in [data, &stamped] {
        let at = data.first().map_or(0, |first| usize::from(*first) % data.len());
        let (left, right) = file.split_at(at);
        assert_eq!(sound(&[left, right]), sound(&[file]), "the sound depends on where it was broken");
    }
}

/// Samples that a file gives until its end or its first fault, behind which nobody reads on.
fn sound(parts: &[&[u8]]) -> usize {
    let (mut reader, mut samples) = (OggOpus::new(), 0);
    for part in parts {
        reader.push(part);
        loop {
            match reader.poll() {
                Ok(Some(more)) => {
                    assert!(!more.is_empty(), "a piece without sound would be asked for without end");
                    samples += more.len();
                }
                Ok(None) => break,
                Err(_) => return samples,
            }
        }
    }
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    assert!(samples <= bytes * MOST_OF_A_BYTE, "{samples} samples of {bytes} bytes");
    samples
}

/// A WAV file: what is read of it has a shape that can be played, and no more sound than its bytes hold.
pub(crate) fn wav(data: &[u8]) {
    let Ok(wav) = Wav::parse(data) else { return };
    assert!((1..=384_000).contains(&wav.rate) && (1..=32).contains(&wav.channels), "{wav:?}");
    assert!(wav.samples.len() <= data.len() && wav.samples.len().is_multiple_of(usize::from(wav.channels)));
    assert_eq!(wav.mono().len(), wav.samples.len() / usize::from(wav.channels));
}

/// Gives every page the checksum of what it holds now (RFC 3533 section 6).
pub(crate) fn stamp(file: &mut [u8]) {
    let starts: Vec<usize> = (0..file.len()).filter(|at| file[*at..].starts_with(b"OggS")).collect();
    for start in starts {
        let Some(count) = file.get(start + 26).map(|count| usize::from(*count)) else { continue };
        let Some(lacing) = file.get(start + 27..start + 27 + count) else { continue };
        let length = 27 + count + lacing.iter().map(|lace| usize::from(*lace)).sum::<usize>();
        let Some(page) = file.get_mut(start..start + length) else { continue };
        page[22..26].fill(0);
        let checksum = page.iter().fold(0_u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
                if crc >> 31 == 1 { crc << 1 ^ 0x04c1_1db7 } else { crc << 1 }
            })
        });
        page[22..26].copy_from_slice(&checksum.to_le_bytes());
    }
}
