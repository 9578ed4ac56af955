//! From the bytes of a file to mono sound, a piece at a time.

use std::io::{Read, SeekFrom};

use call::setup::Sound;
use hound::{SampleFormat, WavReader, WavSpec};
use symphonia::core::audio::GenericAudioBufferRef;
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::meta::MetadataOptions;

use super::rate::Converter;

/// Rate of files without a header.
const RAW_HZ: u32 = 16_000;
/// Longest sound, in seconds: four hours.
const LONGEST_S: u64 = 4 * 3600;
/// Packets that may be broken before the file is given up.
const MOST_BROKEN: u32 = 100;
/// Samples read of a file of bare samples at a time.
const BLOCK: usize = 2048;

/// A sound file that is being read. Between two pieces it needs no thread, so that a thousand calls that play
/// files cost no thousand threads.
pub(super) struct Decoding {
    source: Source,
    out: Out,
    /// All of the source is in `out`.
    ended: bool,
}

enum Source {
    /// s16le samples, with a WAV header before them or without one. Most prompts are this: it is read as it is,
    /// where the general reader holds 64 kB.
    Pcm(Pcm),
    /// Any other container and codec.
    Coded(Box<Coded>),
}

struct Pcm {
    /// At the next sample.
    source: Box<dyn MediaSource>,
    hz: u32,
    channels: usize,
    /// Bytes that may still come.
    left: u64,
}

struct Coded {
    format: Box<dyn FormatReader>,
    track: u32,
    decoder: Box<dyn AudioDecoder>,
    broken: u32,
}

impl Decoding {
    /// Reads what `source` is.
    ///
    /// # Errors
    /// A text that says why it is no sound file.
    pub(super) fn open(mut source: Box<dyn MediaSource>, extension: Option<&str>) -> Result<Self, String> {
        let extension = extension.unwrap_or_default().to_ascii_lowercase();
        let source = match extension.as_str() {
            "pcm" | "raw" => Source::Pcm(Pcm { source, hz: RAW_HZ, channels: 1, left: u64::MAX }),
            extension => match plain_wav(&mut source, extension)? {
                Some((spec, left)) => {
                    let (hz, channels) = (spec.sample_rate, usize::from(spec.channels));
                    Source::Pcm(Pcm { source, hz, channels, left })
                }
                None => Source::Coded(Box::new(Coded::open(source, extension)?)),
            },
        };
        Ok(Decoding { source, out: Out::default(), ended: false })
    }

    /// The next piece: a fifth of a second at first, so that it is soon there, then half a second, and after the first
    /// second one each, for every piece wakes four tasks. `None` after the last. A file that ends in the middle is played
    /// as far as it goes.
    ///
    /// # Errors
    /// A text that says what is wrong with the file.
    pub(super) fn piece(&mut self) -> Result<Option<Sound>, String> {
        loop {
            let piece = self.out.piece(self.ended);
            if piece.is_some() || self.ended {
                return Ok(piece);
            }
            let more = match &mut self.source {
                Source::Pcm(pcm) => pcm.read(&mut self.out)?,
                Source::Coded(coded) => coded.read(&mut self.out)?,
            };
            if !more || self.out.too_long() {
                self.out.finish();
                self.ended = true;
            }
        }
    }
}

/// What the header says, when `source` is a WAV file of 16-bit PCM, with the bytes of its samples; `source` is then at
/// the first of them, else at its beginning.
fn plain_wav(source: &mut Box<dyn MediaSource>, extension: &str) -> Result<Option<(WavSpec, u64)>, String> {
    if extension == "wav"
        && let Ok(reader) = WavReader::new(&mut *source)
    {
        let (spec, samples) = (reader.spec(), reader.len());
        if spec.sample_format == SampleFormat::Int && spec.bits_per_sample == 16 && spec.channels > 0 {
            return Ok(Some((spec, u64::from(samples) * 2)));
        }
    }
    source.seek(SeekFrom::Start(0)).map_err(|e| e.to_string())?;
    Ok(None)
}

impl Pcm {
    fn read(&mut self, out: &mut Out) -> Result<bool, String> {
        let frame = 2 * self.channels;
        let whole = (2 * BLOCK).max(frame) / frame * frame;
        let wanted = self.left.min(whole as u64);
        let mut bytes = Vec::with_capacity(whole);
        (&mut self.source).take(wanted).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        self.left -= bytes.len() as u64;
        let samples: Vec<i16> = bytes.as_chunks().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect();
        out.samples(self.hz, self.channels, &samples)?;
        Ok(!samples.is_empty())
    }
}

impl Coded {
    fn open(source: Box<dyn MediaSource>, extension: &str) -> Result<Self, String> {
        let mut hint = Hint::new();
        hint.with_extension(extension);
        let stream = MediaSourceStream::new(source, Default::default());
        let format = symphonia::default::get_probe()
            .probe(&hint, stream, FormatOptions::default(), MetadataOptions::default())
            .map_err(|e| format!("no sound file that can be read ({e}); wav, mp3, flac, ogg and pcm can"))?;
        let track = format.default_track(TrackType::Audio).ok_or("the file holds no sound")?;
        let parameters =
            track.codec_params.as_ref().and_then(|p| p.audio()).ok_or("the file holds no sound")?;
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &AudioDecoderOptions::default())
            .map_err(|e| format!("the file's codec cannot be decoded: {e}"))?;
        Ok(Coded { track: track.id, format, decoder, broken: 0 })
    }

    fn read(&mut self, out: &mut Out) -> Result<bool, String> {
        let packet = match self.format.next_packet() {
            Ok(Some(packet)) if packet.track_id == self.track => packet,
            Ok(Some(_)) => return Ok(true),
            Ok(None) | Err(_) => return Ok(false),
        };
        match self.decoder.decode(&packet) {
            Ok(buffer) => out.buffer(&buffer)?,
            Err(Error::DecodeError(_)) if self.broken < MOST_BROKEN => self.broken += 1,
            Err(error) => return Err(format!("the file is damaged: {error}")),
        }
        Ok(true)
    }
}

/// Sound on its way to the call: mixed to mono, at a rate of calls.
#[derive(Default)]
struct Out {
    converter: Option<(u32, Converter)>,
    interleaved: Vec<f32>,
    waiting: Vec<i16>,
    rate: u32,
    given: u64,
}

impl Out {
    /// Takes a decoded buffer.
    fn buffer(&mut self, buffer: &GenericAudioBufferRef<'_>) -> Result<(), String> {
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
    use std::io::Cursor;

    fn decoded(bytes: Vec<u8>, extension: &str) -> Result<(u32, Vec<i16>), String> {
        let mut decoding = Decoding::open(Box::new(Cursor::new(bytes)), Some(extension))?;
        let mut pieces = Vec::new();
        while let Some(piece) = decoding.piece()? {
            pieces.push(piece);
        }
        let rate = pieces.first().map_or(0, |piece| piece.rate);
        Ok((rate, pieces.iter().flat_map(|piece| piece.samples.iter().copied()).collect()))
    }

    fn bytes(samples: &[i16]) -> Vec<u8> {
        samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
    }

    #[test]
    fn stereo_at_an_odd_rate_becomes_mono_at_a_rate_of_calls() {
        let both = [8000_i16, 2000].repeat(44_100);
        let mut file = audio::wav::header(44_100, 2, both.len() as u64 * 2).to_vec();
        file.extend(bytes(&both));
        let (rate, sound) = decoded(file, "wav").unwrap();
        assert_eq!(rate, 24_000);
        assert!(sound.len().abs_diff(24_000) <= 2, "{}", sound.len());
        assert!(sound[1000..23_000].iter().all(|sample| (4990..=5010).contains(sample)));
    }

    #[test]
    fn sound_without_a_header_is_taken_as_16_khz_and_an_odd_last_byte_is_dropped() {
        let mut file = bytes(&[1, -2, 3]);
        file.push(9);
        assert_eq!(decoded(file, "PCM").unwrap(), (16_000, vec![1, -2, 3]));
    }

    #[test]
    fn what_is_no_sound_file_is_refused_with_the_formats_there_are() {
        for file in [Vec::new(), b"hello".repeat(1000), b"RIFF\xff\xff\xff\xffWAVEfmt ".to_vec()] {
            assert!(decoded(file, "wav").unwrap_err().contains("mp3"));
        }
    }

    #[test]
    fn a_file_that_breaks_off_is_played_as_far_as_it_goes() {
        let mut file = audio::wav::header(16_000, 1, 64_000).to_vec();
        file.extend(bytes(&[7; 1000]));
        assert_eq!(decoded(file, "wav").unwrap().1.len(), 1000);
    }
}
