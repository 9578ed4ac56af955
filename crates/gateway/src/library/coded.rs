//! Sound files of any container and codec that the general reader knows.

use std::io::{self, Read, Seek, SeekFrom};

use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::well_known::{FORMAT_ID_MP3, FORMAT_ID_WAVE};
use symphonia::core::formats::{FormatId, FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, SeekBuffered};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;

use super::decode::{CUT_SHORT, Out, Step};

/// Packets that may be broken before the file is given up.
const MOST_BROKEN: u32 = 100;
/// No frame of MPEG sound has more bytes.
const LONGEST_FRAME: usize = 2881;
/// Bits of the first two bytes of a frame of MPEG sound that are the same in each of a file: sync, version and layer.
const SAME: [u8; 2] = [0xff, 0xfe];

/// A file that is read packet by packet.
pub(super) struct Coded {
    /// Until the end.
    format: Option<Box<dyn FormatReader>>,
    kind: FormatId,
    track: u32,
    /// Samples that the file says it has, where it does.
    promised: Option<u64>,
    decoder: Box<dyn AudioDecoder>,
    broken: u32,
    last: Option<Packet>,
}

impl Coded {
    /// Reads what comes from `source`, which is at its beginning.
    ///
    /// # Errors
    /// A text that says why it is no sound file.
    pub(super) fn open(source: Box<dyn MediaSource>, extension: &str) -> Result<Self, String> {
        let mut hint = Hint::new();
        hint.with_extension(extension);
        let stream = MediaSourceStream::new(Box::new(Forward(source)), Default::default());
        let format = symphonia::default::get_probe()
            .probe(&hint, stream, FormatOptions::default(), MetadataOptions::default())
            .map_err(|e| {
                format!("no sound file that can be read ({e}); wav, mp3, flac, ogg, opus and pcm can")
            })?;
        let track = format.default_track(TrackType::Audio).ok_or("the file holds no sound")?;
        let parameters =
            track.codec_params.as_ref().and_then(|p| p.audio()).ok_or("the file holds no sound")?;
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &AudioDecoderOptions::default())
            .map_err(|e| format!("the file's codec cannot be decoded: {e}"))?;
        let (track, promised, kind) = (track.id, track.num_frames, format.format_info().format);
        Ok(Coded { format: Some(format), kind, track, promised, decoder, broken: 0, last: None })
    }

    /// Decodes the next packet.
    ///
    /// # Errors
    /// A text that says what is wrong with the file, when nothing more can be had of it.
    pub(super) fn read(&mut self, out: &mut Out) -> Result<Step, String> {
        let Some(format) = &mut self.format else { return Ok(Step::End) };
        let packet = match format.next_packet() {
            Ok(Some(packet)) if packet.track_id == self.track => packet,
            Ok(Some(_)) => return Ok(Step::More),
            Ok(None) if self.is_whole() => return Ok(Step::End),
            Ok(None) => return Err(CUT_SHORT.to_owned()),
            // Samples that nobody has counted end with the file.
            Err(Error::IoError(error)) if self.is_uncounted(&error) => return Ok(Step::End),
            Err(error) => return Err(format!("{CUT_SHORT}: {error}")),
        };
        match self.decoder.decode(&packet) {
            Ok(buffer) => out.buffer(&buffer)?,
            Err(Error::DecodeError(_)) if self.broken < MOST_BROKEN => self.broken += 1,
            Err(error) => return Err(format!("the file is damaged: {error}")),
        }
        self.last = Some(packet);
        Ok(Step::More)
    }

    fn is_uncounted(&self, error: &io::Error) -> bool {
        self.kind == FORMAT_ID_WAVE && self.promised.is_none() && error.kind() == io::ErrorKind::UnexpectedEof
    }

    /// Whether the file, which is at its end, ends where its sound does. MPEG sound has no end of its own: it is whole
    /// unless a tag at its beginning has promised more, or the last frame has not all its bytes.
    fn is_whole(&mut self) -> bool {
        let Some(last) = self.last.as_ref().filter(|_| self.kind == FORMAT_ID_MP3) else { return true };
        let length = last.dur.get() + last.trim_start.get() + last.trim_end.get();
        let heard = u64::try_from(last.pts.get()).unwrap_or(0) + length;
        // Some encoders count the frame that holds the tag.
        if self.promised.is_some_and(|promised| promised > heard + length) {
            return false;
        }
        let Some(mut stream) = self.format.take().map(FormatReader::into_inner) else { return true };
        stream.seek_buffered_rev(stream.read_buffer_len().min(2 * LONGEST_FRAME));
        let mut tail = Vec::new();
        let read = stream.take(2 * LONGEST_FRAME as u64).read_to_end(&mut tail);
        read.is_ok() && !begins_a_frame(behind(&tail, &last.data), &last.data)
    }
}

/// What comes behind `last` in `tail`.
fn behind<'a>(tail: &'a [u8], last: &[u8]) -> &'a [u8] {
    let at = tail.windows(last.len().max(1)).rposition(|window| window == last);
    at.and_then(|at| tail.get(at + last.len()..)).unwrap_or_default()
}

/// Whether `rest` is the beginning of a frame like `frame`; a tag of a player's is none.
fn begins_a_frame(rest: &[u8], frame: &[u8]) -> bool {
    let alike = |((a, b), same): ((&u8, &u8), u8)| a & same == b & same;
    !rest.is_empty() && rest.iter().zip(frame).zip(SAME).all(alike)
}

/// Read from its beginning to its end. A reader that may seek would guess from a file's size how much sound it holds.
struct Forward(Box<dyn MediaSource>);

impl Read for Forward {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Seek for Forward {
    fn seek(&mut self, _to: SeekFrom) -> io::Result<u64> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }
}

impl MediaSource for Forward {
    fn is_seekable(&self) -> bool {
        false
    }

    fn byte_len(&self) -> Option<u64> {
        None
    }
}
