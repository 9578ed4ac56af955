//! From the bytes of a file to mono sound, a piece at a time.

use std::io::{Read, SeekFrom};

use audio::ogg_opus::{self, OggOpus};
use call::setup::Sound;
use hound::{SampleFormat, WavReader, WavSpec};
use symphonia::core::audio::GenericAudioBufferRef;
use symphonia::core::io::MediaSource;

use super::MAX_FILE;
use super::coded::Coded;
use super::incoming::Incoming;
use super::local::Local;
use super::rate::Converter;

/// Rate of files without a header.
const RAW_HZ: u32 = 16_000;
/// Longest sound, in seconds: four hours.
const LONGEST_S: u64 = 4 * 3600;
/// Samples read of a file of bare samples at a time.
const BLOCK: usize = 2048;
/// What is told of a file that ends before its sound does.
pub(super) const CUT_SHORT: &str = "the file is damaged or cut short";
/// Bytes in which it is looked for Opus, and bytes of it read at a time: less than a second of good speech.
const OGG_HEAD: usize = 4096;
const OGG_BLOCK: usize = 2048;

/// A sound file that is being read. Between two pieces it needs no thread, so that a thousand calls that play
/// files cost no thousand threads.
pub(super) struct Decoding {
    source: Source,
    out: Out,
    /// All of the source is in `out`.
    ended: bool,
    /// What broke it off: told when what came before is played.
    fault: Option<String>,
}

/// Where a file's bytes come from.
pub(super) enum Origin {
    /// A file on this machine.
    Local(Local),
    /// One that is still being fetched.
    Arriving(Incoming),
}

/// What reading once more came to.
#[derive(PartialEq, Eq)]
pub(super) enum Step {
    More,
    End,
    /// Nothing can be had without waiting.
    Wait,
}

enum Source {
    /// s16le samples, with a WAV header before them or without one. Most prompts are this: it is read as it is,
    /// where the general reader holds 64 kB.
    Pcm(Pcm),
    /// Opus in Ogg, which the general reader does not decode.
    Opus(Box<Opus>),
    /// Any other container and codec.
    Coded(Box<Coded>),
}

struct Opus {
    origin: Origin,
    reader: OggOpus,
}

struct Pcm {
    /// At the next sample.
    origin: Origin,
    hz: u32,
    channels: usize,
    /// Bytes that may still come.
    left: u64,
    /// A header has promised them.
    promised: bool,
}

impl Decoding {
    /// Reads what comes from `origin`, which is at its beginning.
    ///
    /// # Errors
    /// A text that says why it is no sound file.
    pub(super) fn open(mut origin: Origin, extension: Option<&str>) -> Result<Self, String> {
        let extension = extension.unwrap_or_default().to_ascii_lowercase();
        let source = match extension.as_str() {
            "pcm" | "raw" => {
                Source::Pcm(Pcm { origin, hz: RAW_HZ, channels: 1, left: u64::MAX, promised: false })
            }
            extension => match plain_wav(origin.source(), extension)? {
                Some((spec, left)) => {
                    let (hz, channels) = (spec.sample_rate, usize::from(spec.channels));
                    Source::Pcm(Pcm { origin, hz, channels, left, promised: left < u64::MAX })
                }
                None if begins_as_opus(origin.source())? => {
                    Source::Opus(Box::new(Opus { origin, reader: OggOpus::new() }))
                }
                None => Source::Coded(Box::new(Coded::open(origin.boxed(), extension)?)),
            },
        };
        Ok(Decoding { source, out: Out::default(), ended: false, fault: None })
    }

    /// The next piece: a fifth of a second at first, so that it is soon there, then half a second, and after the first
    /// second one each, for every piece wakes four tasks. `None` after the last.
    ///
    /// # Errors
    /// A text that says what is wrong with the file; of one that is damaged in the middle, after what came before that.
    pub(super) fn piece(&mut self) -> Result<Option<Sound>, String> {
        let read = |source: &mut Source, out: &mut Out| match source {
            Source::Pcm(pcm) => pcm.read(out),
            Source::Opus(opus) => opus.read(out),
            Source::Coded(coded) => coded.read(out),
        };
        self.step(read)
    }

    /// The next piece, when it can be had without waiting for a disk and without the work of a decoder.
    ///
    /// # Errors
    /// As [`piece`](Self::piece).
    pub(super) fn at_hand(&mut self) -> Result<Option<Sound>, String> {
        let read = |source: &mut Source, out: &mut Out| match source {
            Source::Pcm(pcm) => pcm.at_hand(out),
            Source::Opus(_) | Source::Coded(_) => Ok(Step::Wait),
        };
        self.step(read)
    }

    /// Reads until there is a piece, the end or a reason to wait.
    fn step(
        &mut self,
        mut read: impl FnMut(&mut Source, &mut Out) -> Result<Step, String>,
    ) -> Result<Option<Sound>, String> {
        loop {
            let piece = self.out.piece(self.ended);
            if piece.is_some() || self.ended {
                let silent = piece.is_none() && self.out.given == 0;
                let silent = silent.then(|| "the file holds no sound".to_owned());
                let fault = self.fault.take_if(|_| piece.is_none());
                let fault = fault.map(|fault| self.out.place(fault)).or(silent);
                return fault.map_or(Ok(piece), Err);
            }
            let step = read(&mut self.source, &mut self.out).unwrap_or_else(|fault| {
                self.fault = Some(fault);
                Step::End
            });
            if step == Step::Wait {
                return Ok(None);
            }
            if step == Step::End || self.out.too_long() {
                self.out.finish();
                self.ended = true;
            }
        }
    }
}

impl Origin {
    fn source(&mut self) -> &mut dyn MediaSource {
        match self {
            Origin::Local(local) => local,
            Origin::Arriving(incoming) => incoming,
        }
    }

    fn boxed(self) -> Box<dyn MediaSource> {
        match self {
            Origin::Local(local) => Box::new(local),
            Origin::Arriving(incoming) => Box::new(incoming),
        }
    }
}

/// What the header says, when `source` is a WAV file of 16-bit PCM, with the bytes of its samples; `source` is then at
/// the first of them, else at its beginning.
fn plain_wav(source: &mut dyn MediaSource, extension: &str) -> Result<Option<(WavSpec, u64)>, String> {
    if extension == "wav"
        && let Ok(reader) = WavReader::new(&mut *source)
    {
        let (spec, samples) = (reader.spec(), reader.len());
        if spec.sample_format == SampleFormat::Int && spec.bits_per_sample == 16 && spec.channels > 0 {
            // Whoever writes to a pipe knows no length and writes none, or a greater one than any file has that is
            // played: all that is there is sound.
            let known = Some(u64::from(samples) * 2).filter(|bytes| (1..=MAX_FILE).contains(bytes));
            return Ok(Some((spec, known.unwrap_or(u64::MAX))));
        }
    }
    source.seek(SeekFrom::Start(0)).map_err(|e| e.to_string())?;
    Ok(None)
}

/// Whether `source` is Opus in Ogg; it is then at its beginning again.
fn begins_as_opus(source: &mut dyn MediaSource) -> Result<bool, String> {
    let mut head = Vec::with_capacity(OGG_HEAD);
    source.take(OGG_HEAD as u64).read_to_end(&mut head).map_err(|e| e.to_string())?;
    source.seek(SeekFrom::Start(0)).map_err(|e| e.to_string())?;
    Ok(ogg_opus::begins(&head))
}

impl Opus {
    fn read(&mut self, out: &mut Out) -> Result<Step, String> {
        let mut bytes = [0; OGG_BLOCK];
        let count = self.origin.source().read(&mut bytes).map_err(|e| e.to_string())?;
        self.reader.push(bytes.get(..count).unwrap_or_default());
        while let Some(samples) = self.reader.poll().map_err(|e| e.to_string())? {
            out.samples(ogg_opus::RATE, 1, &samples)?;
        }
        match count {
            0 if self.reader.is_whole() => Ok(Step::End),
            0 => Err(CUT_SHORT.to_owned()),
            _ => Ok(Step::More),
        }
    }
}

impl Pcm {
    /// Bytes of a frame, and how many whole frames of them are read at a time.
    fn block(&self) -> (usize, usize) {
        let frame = 2 * self.channels;
        (frame, (2 * BLOCK).max(frame) / frame * frame)
    }

    fn read(&mut self, out: &mut Out) -> Result<Step, String> {
        let (_, whole) = self.block();
        let wanted = self.left.min(whole as u64);
        let mut bytes = Vec::with_capacity(whole);
        self.origin.source().take(wanted).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        self.pass(&bytes, out)?;
        match bytes.len() {
            0 | 1 if self.promised && self.left > 0 => Err(CUT_SHORT.to_owned()),
            0 | 1 => Ok(Step::End),
            _ => Ok(Step::More),
        }
    }

    fn at_hand(&mut self, out: &mut Out) -> Result<Step, String> {
        let (frame, whole) = self.block();
        let Origin::Local(local) = &mut self.origin else { return Ok(Step::Wait) };
        let wanted = usize::try_from(self.left).map_or(whole, |left| left.min(whole));
        let Some(bytes) = local.at_hand(wanted, frame) else { return Ok(Step::Wait) };
        self.pass(&bytes, out)?;
        Ok(Step::More)
    }

    fn pass(&mut self, bytes: &[u8], out: &mut Out) -> Result<(), String> {
        self.left = self.left.saturating_sub(bytes.len() as u64);
        let samples: Vec<i16> = bytes.as_chunks().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect();
        out.samples(self.hz, self.channels, &samples)
    }
}

/// Sound on its way to the call: mixed to mono, at a rate of calls.
#[derive(Default)]
pub(super) struct Out {
    converter: Option<(u32, Converter)>,
    interleaved: Vec<f32>,
    waiting: Vec<i16>,
    rate: u32,
    given: u64,
}

impl Out {
    /// Takes a decoded buffer.
    pub(super) fn buffer(&mut self, buffer: &GenericAudioBufferRef<'_>) -> Result<(), String> {
        let hz = buffer.spec().rate();
        let channels = buffer.spec().channels().count();
        let mut interleaved = std::mem::take(&mut self.interleaved);
        interleaved.resize(buffer.samples_interleaved(), 0.0);
        buffer.copy_to_slice_interleaved(&mut interleaved);
        let pushed = self.push(hz, channels, &interleaved);
        self.interleaved = interleaved;
        pushed
    }

    /// Takes interleaved samples. Mono at a rate of calls is taken as it is.
    fn samples(&mut self, hz: u32, channels: usize, samples: &[i16]) -> Result<(), String> {
        if channels == 1 && Converter::keeps(hz) {
            self.rate = hz;
            self.waiting.extend_from_slice(samples);
            return Ok(());
        }
        let unit: Vec<f32> = samples.iter().map(|sample| f32::from(*sample) / 32_768.0).collect();
        self.push(hz, channels, &unit)
    }

    /// Takes interleaved samples from -1 to 1.
    fn push(&mut self, hz: u32, channels: usize, samples: &[f32]) -> Result<(), String> {
        if channels == 0 || !(4_000..=384_000).contains(&hz) {
            return Err(format!("{channels} channels at {hz} Hz are no sound file"));
        }
        let mono = samples.chunks_exact(channels).map(|all| all.iter().sum::<f32>() / channels as f32);
        let (_, converter) = match &mut self.converter {
            Some((from, converter)) if *from == hz => (from, converter),
            other => {
                let (from, converter) = other.insert((hz, Converter::new(hz)));
                (from, converter)
            }
        };
        self.rate = converter.rate();
        converter.push(mono, &mut self.waiting);
        Ok(())
    }

    fn piece(&mut self, last: bool) -> Option<Sound> {
        let whole = match self.given {
            0 => self.rate / 5,
            given if given < u64::from(self.rate) => self.rate / 2,
            _ => self.rate,
        };
        let whole = whole.max(1) as usize;
        if self.waiting.is_empty() || (self.waiting.len() < whole && !last) {
            return None;
        }
        // Between two pieces nothing is held but what is left.
        let rest = self.waiting.split_off(whole.min(self.waiting.len()));
        let samples = std::mem::replace(&mut self.waiting, rest).into_boxed_slice();
        self.given += samples.len() as u64;
        Some(Sound { rate: self.rate, samples })
    }

    /// What broke the sound off, with how far it goes.
    fn place(&self, fault: String) -> String {
        match (self.given, self.rate) {
            (0, _) | (_, 0) => fault,
            (given, rate) => format!("{fault}; it was played up to {:.1} s", given as f64 / f64::from(rate)),
        }
    }

    fn too_long(&self) -> bool {
        self.given > LONGEST_S * u64::from(self.rate)
    }

    fn finish(&mut self) {
        if let Some((_, mut converter)) = self.converter.take() {
            converter.finish(&mut self.waiting);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{IoSliceMut, Write as _};

    use rustix::io::{ReadWriteFlags, preadv2};

    /// The sound of a file of these bytes: fetched, then read from a disk, then as far as it is at hand on it.
    fn decoded(bytes: &[u8], extension: &str) -> Result<(u32, Vec<i16>), String> {
        let (pieces_in, pieces) = tokio::sync::mpsc::channel(1);
        pieces_in.try_send(bytes.to_vec().into()).unwrap();
        drop(pieces_in);
        let fetched = whole(Origin::Arriving(Incoming::new(pieces)), extension, false);
        let file = || {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            Origin::Local(Local::new(file).unwrap())
        };
        assert_eq!(fetched, whole(file(), extension, false));
        assert_eq!(fetched, whole(file(), extension, true));
        fetched
    }

    fn whole(origin: Origin, extension: &str, at_hand: bool) -> Result<(u32, Vec<i16>), String> {
        let mut decoding = Decoding::open(origin, Some(extension))?;
        let (mut rate, mut sound) = (0, Vec::new());
        loop {
            let early = if at_hand { decoding.at_hand()? } else { None };
            let Some(piece) = early.map_or_else(|| decoding.piece(), |piece| Ok(Some(piece)))? else {
                return Ok((rate, sound));
            };
            rate = piece.rate;
            sound.extend(piece.samples);
        }
    }

    #[test]
    fn a_plain_file_that_was_just_written_is_at_hand_but_for_its_last_piece() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes(&[5; 40_000])).unwrap();
        let mut one = [0];
        let probe = preadv2(&file, &mut [IoSliceMut::new(&mut one)], 0, ReadWriteFlags::NOWAIT);
        if probe == Err(rustix::io::Errno::OPNOTSUPP) {
            eprintln!("left out: the file system of temporary files cannot tell what it has in memory");
            return;
        }
        let mut decoding = Decoding::open(Origin::Local(Local::new(file).unwrap()), Some("pcm")).unwrap();
        let mut lengths = Vec::new();
        while let Some(piece) = decoding.at_hand().unwrap() {
            lengths.push(piece.samples.len());
        }
        assert_eq!(lengths, [3200, 8000, 8000, 16_000]);
        assert_eq!(decoding.piece().unwrap().map(|piece| piece.samples.len()), Some(4800));
        assert_eq!(decoding.piece().unwrap(), None);
    }

    fn bytes(samples: &[i16]) -> Vec<u8> {
        samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
    }

    #[test]
    fn stereo_at_an_odd_rate_becomes_mono_at_a_rate_of_calls() {
        let both = [8000_i16, 2000].repeat(44_100);
        let mut file = audio::wav::header(44_100, 2, both.len() as u64 * 2).to_vec();
        file.extend(bytes(&both));
        let (rate, sound) = decoded(&file, "wav").unwrap();
        assert_eq!(rate, 24_000);
        assert!(sound.len().abs_diff(24_000) <= 2, "{}", sound.len());
        assert!(sound[1000..23_000].iter().all(|sample| (4990..=5010).contains(sample)));
    }

    #[test]
    fn sound_without_a_header_is_taken_as_16_khz_and_an_odd_last_byte_is_dropped() {
        let mut file = bytes(&[1, -2, 3]);
        file.push(9);
        assert_eq!(decoded(&file, "PCM").unwrap(), (16_000, vec![1, -2, 3]));
    }

    #[test]
    fn opus_in_ogg_is_heard_whatever_its_name_ends_in() {
        let file = include_bytes!("../../../audio/tests/fixtures/stereo_48k.opus");
        for extension in ["opus", "ogg", "oga", "", "wav"] {
            let (rate, sound) = decoded(file, extension).unwrap();
            assert_eq!(rate, 16_000, "{extension}");
            assert!(sound.len().abs_diff(24_000) <= 2, "{extension}: {}", sound.len());
            assert!(sound.iter().any(|sample| sample.unsigned_abs() > 2_000), "{extension}");
        }
    }

    #[test]
    fn what_is_no_sound_file_is_refused_with_the_formats_there_are() {
        for file in [Vec::new(), b"hello".repeat(1000), b"RIFF\xff\xff\xff\xffWAVEfmt ".to_vec()] {
            assert!(decoded(&file, "wav").unwrap_err().contains("mp3"));
        }
    }

    #[test]
    fn a_file_without_sound_is_told() {
        for (file, ending) in [(audio::wav::header(16_000, 1, 0).to_vec(), "wav"), (Vec::new(), "pcm")] {
            assert_eq!(decoded(&file, ending).unwrap_err(), "the file holds no sound");
        }
    }

    #[test]
    fn a_header_that_knows_no_length_hides_no_sound() {
        let mut file = audio::wav::header(16_000, 1, 0).to_vec();
        file.extend(bytes(&[7; 1000]));
        assert_eq!(decoded(&file, "wav").unwrap().1.len(), 1000);
    }

    /// How much of a file's sound is heard, and what is told then.
    fn broken(bytes: &[u8], extension: &str) -> (usize, String) {
        let (pieces_in, pieces) = tokio::sync::mpsc::channel(1);
        pieces_in.try_send(bytes.to_vec().into()).unwrap();
        drop(pieces_in);
        let mut decoding = Decoding::open(Origin::Arriving(Incoming::new(pieces)), Some(extension)).unwrap();
        let mut heard = 0;
        loop {
            match decoding.piece() {
                Ok(Some(piece)) => heard += piece.samples.len(),
                Ok(None) => panic!("{heard} samples, and no fault"),
                Err(fault) => return (heard, fault),
            }
        }
    }

    /// Sound, and then what cannot be read.
    #[test]
    fn damage_is_told_with_its_place_when_what_came_before_is_played() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.flac");
        let noise = "anoisesrc=d=3:r=16000:a=0.3:seed=1";
        let made = std::process::Command::new("ffmpeg")
            .args(["-v", "error", "-f", "lavfi", "-i", noise, "-ac", "1", "-sample_fmt", "s16"])
            .arg(&path)
            .status();
        if !made.is_ok_and(|status| status.success()) {
            eprintln!("left out: ffmpeg is not there");
            return;
        }
        let good = std::fs::read(&path).unwrap();
        assert_eq!(decoded(&good, "flac").unwrap().1.len(), 48_000);
        let (heard, told) = broken(&good[..good.len() / 2], "flac");
        assert!(heard > 16_000, "{heard}");
        assert!(told.contains("cut short") && told.contains("played up to 1."), "{told}");
    }

    #[test]
    fn opus_that_is_cut_short_or_damaged_is_told_with_its_place() {
        let good = include_bytes!("../../../audio/tests/fixtures/mono_60ms.ogg");
        let (_, whole) = decoded(good, "ogg").unwrap();
        let pages: Vec<usize> =
            good.windows(4).enumerate().filter(|(_, w)| w == b"OggS").map(|(at, _)| at).collect();
        let last = *pages.last().unwrap();
        let (heard, told) = broken(&good[..last], "ogg");
        assert!(heard < whole.len(), "{heard}");
        assert!(told.starts_with("the file is damaged or cut short"), "{told}");
        assert_eq!(told.contains("played up to"), heard > 0, "{told}");
        let mut damaged = good.to_vec();
        damaged[last + 40] ^= 4;
        assert!(broken(&damaged, "ogg").1.starts_with("the file is damaged or cut short"));
    }

    #[test]
    fn samples_that_break_off_are_told_with_their_place_and_not_where_nobody_knew_how_many_there_are() {
        let samples = bytes(&[7; 8000]);
        let file = |promised: u64| [&audio::wav::header(16_000, 1, promised)[..], &samples].concat();
        for promised in [16_002, 64_000] {
            let told = "the file is damaged or cut short; it was played up to 0.5 s";
            assert_eq!(broken(&file(promised), "wav"), (8000, told.to_owned()), "{promised}");
        }
        for promised in [0, 0x7fff_f000, 0xffff_fffe] {
            assert_eq!(decoded(&file(promised), "wav").unwrap().1.len(), 8000, "{promised}");
        }
        assert_eq!(decoded(&file(8000), "wav").unwrap().1.len(), 4000, "what comes behind the sound is none");
    }

    /// MPEG-2 layer III at 16 kHz: `count` frames of 36 ms, in which nothing is heard.
    fn mp3(count: usize) -> Vec<u8> {
        let mut frame = [0; 144];
        frame[..4].copy_from_slice(&[0xff, 0xf3, 0x48, 0xc0]);
        frame.repeat(count)
    }

    /// A first frame that says how many follow.
    fn promising(tag: &[u8; 4], frames: u32) -> Vec<u8> {
        let mut first = mp3(1);
        first[13..17].copy_from_slice(tag);
        first[20] = 1;
        first[21..25].copy_from_slice(&frames.to_be_bytes());
        first
    }

    #[test]
    fn an_mp3_that_ends_in_a_frame_or_before_the_last_that_it_promises_is_told_with_its_place() {
        let good = mp3(100);
        assert_eq!(decoded(&good, "mp3").unwrap(), (16_000, vec![0; 57_600]));
        for bytes in [1, 3, 4, 20, 143] {
            let (heard, told) = broken(&good[..50 * 144 + bytes], "mp3");
            assert_eq!(heard, 50 * 576, "{bytes} bytes of a frame");
            assert_eq!(told, "the file is damaged or cut short; it was played up to 1.8 s", "{bytes}");
        }
        for tag in [b"Xing", b"Info"] {
            let first = promising(tag, 100);
            let whole = [&first[..], &good].concat();
            assert_eq!(decoded(&whole, "mp3").unwrap().1.len(), 57_600);
            // Some count the frame that holds the tag.
            assert_eq!(decoded(&whole[..100 * 144], "mp3").unwrap().1.len(), 99 * 576);
            let (heard, told) = broken(&whole[..99 * 144], "mp3");
            assert_eq!((heard, told.contains("cut short")), (98 * 576, true), "{told}");
        }
        // A rate that falls behind the first frames hides nothing.
        let (mut small, count) = ([0; 36], 200);
        small[..4].copy_from_slice(&[0xff, 0xf3, 0x18, 0xc0]);
        let falling = [mp3(40), small.repeat(count)].concat();
        assert_eq!(decoded(&falling, "mp3").unwrap().1.len(), (40 + count) * 576);
        for tag in [b"TAG a title".to_vec(), b"APETAGEX".to_vec(), vec![0; 300], vec![0x55; 128]] {
            assert_eq!(decoded(&[&good[..], &tag].concat(), "mp3").unwrap().1.len(), 57_600, "{tag:?}");
        }
    }

    #[test]
    fn deep_samples_that_break_off_are_told_and_not_where_nobody_counted_them() {
        let file = |promised: u32| {
            let mut file = audio::wav::header(16_000, 1, 0).to_vec();
            // 24 bits in three bytes.
            file[28..32].copy_from_slice(&48_000_u32.to_le_bytes());
            file[32..36].copy_from_slice(&[3, 0, 24, 0]);
            file[4..8].copy_from_slice(&promised.saturating_add(36).to_le_bytes());
            file[40..44].copy_from_slice(&promised.to_le_bytes());
            file.extend([0, 0, 9].repeat(8000));
            file
        };
        assert_eq!(decoded(&file(24_000), "wav").unwrap().1.len(), 8000);
        assert_eq!(decoded(&file(u32::MAX), "wav").unwrap().1.len(), 8000);
        let (heard, told) = broken(&file(96_000), "wav");
        assert_eq!(heard, 8000);
        assert!(told.contains("cut short") && told.contains("played up to 0.5 s"), "{told}");
    }
}
