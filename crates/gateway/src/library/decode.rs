//! From the bytes of a file to mono sound.

use call::setup::Sound;
use symphonia::core::audio::GenericAudioBufferRef;
use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::meta::MetadataOptions;
use tokio::sync::mpsc;

use super::rate::Converter;

/// Rate of files without a header.
const RAW_HZ: u32 = 16_000;
/// Longest sound, in seconds: four hours.
const LONGEST_S: u64 = 4 * 3600;
/// Packets that may be broken before the file is given up.
const MOST_BROKEN: u32 = 100;

/// Decodes `source` and sends its sound. A receiver that is gone ends it without an error.
///
/// # Errors
/// A text that says why it is no sound file.
pub(super) fn decode(
    source: Box<dyn MediaSource>,
    extension: Option<&str>,
    sound: &mpsc::Sender<Sound>,
) -> Result<(), String> {
    let extension = extension.unwrap_or_default().to_ascii_lowercase();
    if matches!(extension.as_str(), "pcm" | "raw") {
        return raw(source, sound);
    }
    let mut hint = Hint::new();
    hint.with_extension(&extension);
    let stream = MediaSourceStream::new(source, Default::default());
    let mut format = symphonia::default::get_probe()
        .probe(&hint, stream, FormatOptions::default(), MetadataOptions::default())
        .map_err(|e| format!("no sound file that can be read ({e}); wav, mp3, flac, ogg and pcm can"))?;
    let track = format.default_track(TrackType::Audio).ok_or("the file holds no sound")?;
    let parameters = track.codec_params.as_ref().and_then(|p| p.audio()).ok_or("the file holds no sound")?;
    let track_id = track.id;
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(|e| format!("the file's codec cannot be decoded: {e}"))?;
    let mut out = Out::new(sound);
    let mut broken = 0;
    loop {
        let packet = match format.next_packet() {
            Ok(Some(packet)) if packet.track_id == track_id => packet,
            Ok(Some(_)) => continue,
            // A file that ends in the middle is played as far as it goes.
            Ok(None) | Err(_) => break,
        };
        match decoder.decode(&packet) {
            Ok(buffer) => {
                if !out.push(&buffer)? {
                    return Ok(());
                }
            }
            Err(Error::DecodeError(_)) if broken < MOST_BROKEN => broken += 1,
            Err(error) => return Err(format!("the file is damaged: {error}")),
        }
    }
    out.finish();
    Ok(())
}

/// Sound on its way to the call: mixed to mono, at a rate of calls, in chunks.
struct Out<'a> {
    sound: &'a mpsc::Sender<Sound>,
    converter: Option<(u32, Converter)>,
    interleaved: Vec<f32>,
    waiting: Vec<i16>,
    rate: u32,
    sent: u64,
}

impl<'a> Out<'a> {
    fn new(sound: &'a mpsc::Sender<Sound>) -> Self {
        Out { sound, converter: None, interleaved: Vec::new(), waiting: Vec::new(), rate: 0, sent: 0 }
    }

    /// Takes a decoded buffer; false when nobody listens any more.
    fn push(&mut self, buffer: &GenericAudioBufferRef<'_>) -> Result<bool, String> {
        let hz = buffer.spec().rate();
        let channels = buffer.spec().channels().count();
        if channels == 0 || !(4_000..=384_000).contains(&hz) {
            return Err(format!("{channels} channels at {hz} Hz are no sound file"));
        }
        self.interleaved.resize(buffer.samples_interleaved(), 0.0);
        buffer.copy_to_slice_interleaved(&mut self.interleaved);
        let mono =
            self.interleaved.chunks_exact(channels).map(|all| all.iter().sum::<f32>() / channels as f32);
        let (_, converter) = match &mut self.converter {
            Some((from, converter)) if *from == hz => (from, converter),
            other => {
                let (from, converter) = other.insert((hz, Converter::new(hz)));
                (from, converter)
            }
        };
        self.rate = converter.rate();
        converter.push(mono, &mut self.waiting);
        Ok(self.send(false))
    }

    /// Sends what is gathered in chunks of a fifth of a second, so that the first is soon there.
    fn send(&mut self, last: bool) -> bool {
        let chunk = (self.rate / 5).max(1) as usize;
        while self.waiting.len() >= chunk || (last && !self.waiting.is_empty()) {
            let rest = self.waiting.split_off(chunk.min(self.waiting.len()));
            let samples = std::mem::replace(&mut self.waiting, rest);
            self.sent += samples.len() as u64;
            let too_long = self.sent > LONGEST_S * u64::from(self.rate);
            let sound = Sound { rate: self.rate, samples: samples.into_boxed_slice() };
            if too_long || self.sound.blocking_send(sound).is_err() {
                return false;
            }
        }
        true
    }

    fn finish(mut self) {
        if let Some((_, converter)) = &mut self.converter {
            converter.finish(&mut self.waiting);
        }
        self.send(true);
    }
}

/// s16le mono without a header.
fn raw(mut source: Box<dyn MediaSource>, sound: &mpsc::Sender<Sound>) -> Result<(), String> {
    let mut bytes = vec![0; RAW_HZ as usize / 5 * 2];
    loop {
        let mut filled = 0;
        while filled < bytes.len() {
            let rest = bytes.get_mut(filled..).unwrap_or_default();
            match source.read(rest).map_err(|e| e.to_string())? {
                0 => break,
                some => filled += some,
            }
        }
        let samples: Box<[i16]> = bytes
            .get(..filled)
            .unwrap_or_default()
            .chunks_exact(2)
            .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
            .collect();
        if samples.is_empty() || sound.blocking_send(Sound { rate: RAW_HZ, samples }).is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn decoded(bytes: Vec<u8>, extension: &str) -> Result<(u32, Vec<i16>), String> {
        let (sender, mut sound) = mpsc::channel(1000);
        decode(Box::new(Cursor::new(bytes)), Some(extension), &sender)?;
        drop(sender);
        let pieces: Vec<Sound> = std::iter::from_fn(|| sound.blocking_recv()).collect();
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
