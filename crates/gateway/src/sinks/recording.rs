//! Recordings: one thread writes them all, nearly a second of sound at a time, and makes the file whole with each.

use std::fs::{File, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc as threads;
use std::time::{Duration, Instant};

use audio::Resampler;
use audio::frame::Frame;
use audio::recording::{self, FORMATS, Format, Writer};
use call::Failure;
use call::setup::{Studio, TAPE_PIECES, Tape, TapePiece};
use protocol::Extra;
use protocol::option::RecorderOption;
use protocol::record::Recording as Written;
use tokio::sync::{mpsc, oneshot};

use crate::config::Recording;
use crate::files;
use crate::inbound::relative;

/// New recordings waiting for the thread. When full the call goes on without a recording and is told.
const OPENED: usize = 4096;
/// Most frames of silence put in for one gap: an hour at 48 kHz. More is no gap but a broken clock.
const LONGEST_GAP: u64 = 48_000 * 3600;
/// The thread looks for sound so often. It is not woken by it: to wake it for each piece of each call costs the media
/// threads more than to hand the piece over. What a file lacks is a piece and this, together less than a second.
const ROUND: Duration = Duration::from_millis(50);
/// Longest name of a client, in bytes, and longest step of it: a file system takes 255, and endings are added.
const MOST_NAME: usize = 1000;
const MOST_STEP: usize = 200;
/// So much of a file at a time leaves the system's cache once it is on the disk: nothing reads a recording while it is
/// written, and the cache of a busy machine would otherwise fill with sound, 64 KB a second of every call. Memory that
/// is used again also costs less than new memory: on a virtual machine the host has to find each new page.
const STRIDE: u64 = 512 * 1024;
/// The beginning of a file stays: its header is written again with each piece.
const PAGE: u64 = 4096;
/// Tries to find a name that is not taken.
const NAMES: u32 = 1000;

/// Opens recordings and hands them to the writing thread.
#[derive(Clone, Debug)]
pub struct Recorder {
    option: Recording,
    opened: threads::SyncSender<Open>,
}

/// A recording on its way to the thread.
#[derive(Debug)]
struct Open {
    id: String,
    path: PathBuf,
    reel: Reel,
    pieces: mpsc::Receiver<TapePiece>,
    done: oneshot::Sender<Written>,
    failure: Option<io::Error>,
}

impl Recorder {
    /// A recorder and its thread, which ends when every clone is gone and every recording has ended.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(option: Recording) -> io::Result<(Self, std::thread::JoinHandle<()>)> {
        let (opened, recordings) = threads::sync_channel(OPENED);
        // A thread of its own, so that a slow disk holds up recordings and nothing else.
        let thread =
            std::thread::Builder::new().name("recordings".into()).spawn(move || write(&recordings))?;
        Ok((Recorder { option, opened }, thread))
    }

    fn create(&self, id: &str, option: &RecorderOption, format: &Format) -> Result<(PathBuf, File), Failure> {
        let stem = files::stem(id);
        let pattern = option.recorder_file.as_deref().or(self.option.filename_pattern.as_deref());
        let name = pattern.filter(|name| !name.is_empty()).unwrap_or("{id}").replace("{id}", &stem);
        let name = under(&self.option.path, &ending(&name, format))?;
        let path = files::place_for(&self.option.path, &name).map_err(|why| Failure::new(500, why))?;
        for attempt in 0..NAMES {
            let path = numbered(&path, attempt);
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((path, file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Failure::new(500, format!("{}: {error}", path.display()))),
            }
        }
        Err(Failure::new(409, format!("{}: every name like it is taken", path.display())))
    }
}

/// The name under `folder` that a client's `name` means, which may be absolute when it lies there.
fn under(folder: &Path, name: &str) -> Result<String, Failure> {
    let shown = protocol::read::shown(name);
    if name.contains(['\0', '\\']) {
        return Err(Failure::new(
            400,
            format!("{shown:?} holds a character that no name of a file may hold"),
        ));
    }
    if name.len() > MOST_NAME || name.split('/').any(|step| step.len() > MOST_STEP) {
        let why = format!("{shown:?} is longer than {MOST_NAME} bytes, or {MOST_STEP} between two slashes");
        return Err(Failure::new(400, why));
    }
    let path = Path::new(name);
    let real = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let inside = path.strip_prefix(folder).or_else(|_| path.strip_prefix(&real)).unwrap_or(path);
    relative(folder, &inside.to_string_lossy()).map(|path| path.to_string_lossy().into_owned()).map_err(|_| {
        let folder = folder.display();
        let why = format!("{shown:?} leads out of the folder of recordings; write a name such as \"calls/a.wav\", which is one under {folder}");
        Failure::new(403, why)
    })
}

/// `name` with the ending of the format, which takes the place of another format's: the name of a file says what is
/// in it.
fn ending(name: &str, format: &Format) -> String {
    // The container has endings of its own (RFC 7845 section 9).
    let ogg = |(_, ending): (&str, &str)| ["ogg", "oga"].iter().any(|own| ending.eq_ignore_ascii_case(own));
    if format.name == "opus" && name.rsplit_once('.').is_some_and(ogg) {
        return name.to_owned();
    }
    let other = name
        .rsplit_once('.')
        .filter(|(_, ending)| FORMATS.iter().any(|format| ending.eq_ignore_ascii_case(format.extension)));
    format!("{}.{}", other.map_or(name, |(stem, _)| stem), format.extension)
}

/// `a.wav`, then `a-1.wav`: an older recording is never written over.
fn numbered(path: &Path, attempt: u32) -> PathBuf {
    if attempt == 0 {
        return path.to_owned();
    }
    let [stem, ending] =
        [path.file_stem(), path.extension()].map(|part| part.unwrap_or_default().to_string_lossy());
    path.with_file_name(format!("{stem}-{attempt}.{ending}"))
}

impl Studio for Recorder {
    fn open(&self, id: &str, from: u32, option: &RecorderOption) -> Result<Tape, Failure> {
        let name = option.format.unwrap_or(self.option.format).as_str();
        let wrong = |key: &str, why: String| Failure::new(400, why).at(&format!("option.recorder.{key}"));
        let unknown = || wrong("format", format!("recordings as {name:?} are not known"));
        let format = recording::format(name).ok_or_else(unknown)?;
        let rate = option.samplerate.unwrap_or(self.option.samplerate);
        if ![8_000, 16_000, 24_000, 48_000].contains(&rate) {
            let why = format!("a recording at {rate} Hz is not possible; use 8000, 16000, 24000 or 48000");
            return Err(wrong("samplerate", why));
        }
        let rate = format.rate_near(rate);
        let no_writer = || wrong("samplerate", format!("no writer for {name} at {rate} Hz"));
        let writer = (format.writer)(rate).ok_or_else(no_writer)?;
        let (path, file) = self.create(id, option, format)?;
        let reel = Reel::new(file, writer, (from, rate));
        let (sender, pieces) = mpsc::channel(TAPE_PIECES);
        let (done_in, done) = oneshot::channel();
        let name = path.display().to_string();
        let open = Open { id: id.to_owned(), path, reel, pieces, done: done_in, failure: None };
        self.opened.try_send(open).map_err(|_| Failure::new(503, "too many recordings begin at once"))?;
        Ok(Tape { path: name, pieces: sender, done })
    }
}

/// Writes all recordings until no more can begin and every one has ended.
#[expect(clippy::disallowed_methods, reason = "a sink is a driver: it waits for real time")]
fn write(opened: &threads::Receiver<Open>) {
    let mut recordings: Vec<Open> = Vec::new();
    let mut round = Instant::now();
    loop {
        let begun = match recordings.is_empty() {
            true => opened.recv().map_err(|_| threads::RecvTimeoutError::Disconnected),
            false => opened.recv_timeout(round.saturating_duration_since(Instant::now())),
        };
        match begun {
            Ok(mut begun) => {
                begun.failure = begun.reel.header().err();
                recordings.push(begun);
            }
            Err(threads::RecvTimeoutError::Timeout) => {}
            Err(threads::RecvTimeoutError::Disconnected) if recordings.is_empty() => return,
            Err(threads::RecvTimeoutError::Disconnected) => std::thread::sleep(ROUND),
        }
        if Instant::now() >= round {
            recordings.extract_if(.., Open::is_over).for_each(Open::close);
            round = Instant::now() + ROUND;
        }
    }
}

impl Open {
    /// Writes what has come; true at the end of the recording. A disk that fails ends it at once, and so does an error
    /// inside, which is not to end the others.
    fn is_over(&mut self) -> bool {
        while self.failure.is_none() {
            match self.pieces.try_recv() {
                Ok(piece) => {
                    self.attempt(|reel| reel.piece(&piece));
                    // The pieces of a round are work for milliseconds, and a tick that is due must not wait for all.
                    std::thread::yield_now();
                }
                Err(mpsc::error::TryRecvError::Empty) => return false,
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    self.attempt(Reel::finish);
                    break;
                }
            }
        }
        true
    }

    fn attempt(&mut self, part: impl FnOnce(&mut Reel) -> io::Result<()>) {
        let broken = |_| Err(io::Error::other("the sound broke the writer"));
        self.failure = catch_unwind(AssertUnwindSafe(|| part(&mut self.reel))).unwrap_or_else(broken).err();
    }

    /// Tells the call what was written.
    fn close(self) {
        let extra = self.failure.map(|error| {
            let path = self.path.display();
            tracing::error!(call = ?self.id, %path, %error, "a recording ends early");
            Extra::from([("error".to_owned(), error.to_string().into())])
        });
        let size = self.reel.file.metadata().map_or(0, |meta| meta.len());
        let path = self.path.display().to_string();
        // A call that no longer listens has its record already.
        let _ = self.done.send(Written { track_id: self.id, path, size, extra });
    }
}

/// The file of a recording.
struct Reel {
    file: File,
    writer: Box<dyn Writer>,
    /// The header that stands in the file.
    head: Vec<u8>,
    /// Bytes behind it.
    bytes: u64,
    /// One for each side.
    resamplers: [Resampler; 2],
    from: u32,
    rate: u32,
}

impl Reel {
    /// A file by `writer`, whose rate is the second one, of pieces at the first.
    fn new(file: File, writer: Box<dyn Writer>, (from, rate): (u32, u32)) -> Self {
        let resamplers = [(); 2].map(|()| Resampler::new(from, rate));
        Reel { file, writer, head: Vec::new(), bytes: 0, resamplers, from, rate }
    }

    fn piece(&mut self, piece: &TapePiece) -> io::Result<()> {
        match piece {
            TapePiece::Sound(samples) => self.sound(samples)?,
            TapePiece::Gap(frames) => {
                let silence = vec![0; 2 * self.from as usize];
                let mut left = (*frames).min(LONGEST_GAP) as usize * 2;
                while left > 0 {
                    let some = left.min(silence.len());
                    self.sound(silence.get(..some).unwrap_or_default())?;
                    left -= some;
                }
            }
        }
        self.header()
    }

    /// Writes interleaved sound at the rate of the file.
    fn sound(&mut self, samples: &[i16]) -> io::Result<()> {
        if self.from == self.rate {
            let mut bytes = Vec::with_capacity(samples.len() * 2);
            self.writer.sound(samples, &mut bytes);
            return self.append(&bytes);
        }
        let times = (self.rate / self.from.max(1)).max(1) as usize;
        let mut bytes = Vec::with_capacity(samples.len() * 2 * times);
        let (mut plain, mut stereo) = (Vec::new(), Vec::new());
        let mut sides = [Vec::new(), Vec::new()];
        // In frames, not whole pieces: a resampler keeps room for the most it was ever given.
        for frame in samples.chunks((2 * Frame::len_at(self.from)).max(2)) {
            let pairs = frame.as_chunks::<2>().0;
            for (side, (resampler, converted)) in self.resamplers.iter_mut().zip(&mut sides).enumerate() {
                plain.clear();
                plain.extend(pairs.iter().map(|pair| pair[side]));
                converted.clear();
                resampler.process(&plain, converted);
            }
            let [left, right] = &sides;
            stereo.resize(2 * left.len().min(right.len()), 0);
            let pairs = stereo.as_chunks_mut::<2>().0.iter_mut();
            pairs.zip(left.iter().zip(right)).for_each(|(pair, (left, right))| *pair = [*left, *right]);
            self.writer.sound(&stereo, &mut bytes);
        }
        self.append(&bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let at = self.head.len() as u64 + self.bytes;
        self.file.write_all_at(bytes, at)?;
        self.bytes += bytes.len() as u64;
        if let Some((from, length)) = behind(at, at + bytes.len() as u64) {
            // Advice: a file system without a cache of its own may refuse it.
            let _ = rustix::fs::fadvise(&self.file, from, Some(length), rustix::fs::Advice::DontNeed);
        }
        Ok(())
    }

    /// A reader that finds the file at any moment plays what is there.
    fn header(&mut self) -> io::Result<()> {
        let head = self.writer.head();
        if head != self.head {
            self.file.write_all_at(&head, 0)?;
            self.head = head;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        self.writer.finish(&mut bytes);
        self.append(&bytes)?;
        self.header()
    }
}

/// Where the part of a file begins, and its length, that the cache no longer needs when a write from `start` to `end`
/// has completed a stride. The stride before it is among it: its way to the disk began with the last advice, and it
/// leaves the cache with this one.
fn behind(start: u64, end: u64) -> Option<(u64, NonZeroU64)> {
    let (last, now) = (start / STRIDE, end / STRIDE);
    let from = (last.saturating_sub(1) * STRIDE).max(PAGE);
    (now > last)
        .then(|| NonZeroU64::new((now * STRIDE).saturating_sub(from)))
        .flatten()
        .map(|length| (from, length))
}

impl std::fmt::Debug for Reel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reel").field("file", &self.file).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use audio::wav;

    use super::*;

    fn recorder(folder: &Path) -> (Recorder, std::thread::JoinHandle<()>) {
        Recorder::start(Recording { path: folder.into(), ..Recording::default() }).unwrap()
    }

    fn parsed(path: &Path) -> wav::Wav {
        wav::Wav::parse(&std::fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn a_recording_holds_its_sound_and_silence_for_what_was_lost() {
        let folder = tempfile::tempdir().unwrap();
        let (recorder, thread) = recorder(folder.path());
        let tape = recorder.open("s1", 16_000, &RecorderOption::default()).unwrap();
        tape.pieces.blocking_send(TapePiece::Sound(vec![1, -1, 2, -2])).unwrap();
        tape.pieces.blocking_send(TapePiece::Gap(3)).unwrap();
        tape.pieces.blocking_send(TapePiece::Sound(vec![3, -3])).unwrap();
        drop(tape.pieces);
        let written = tape.done.blocking_recv().unwrap();
        assert_eq!(written.track_id, "s1");
        assert!(written.path.ends_with("s1.wav") && written.extra.is_none());
        let wav = parsed(Path::new(&written.path));
        assert_eq!(wav.samples, [1, -1, 2, -2, 0, 0, 0, 0, 0, 0, 3, -3]);
        assert_eq!((wav.rate, wav.channels), (16_000, 2));
        assert_eq!(written.size, 44 + 24);
        drop(recorder);
        thread.join().unwrap();
    }

    #[test]
    fn what_a_file_lacks_is_less_than_a_second() {
        let lacks = call::setup::TAPE_PIECE + ROUND;
        assert!(lacks < Duration::from_secs(1), "{lacks:?}");
    }

    #[test]
    fn what_is_written_leaves_the_cache_stride_by_stride_and_the_header_stays() {
        let mut left = Vec::new();
        let mut at = 44;
        for _ in 0..40 {
            left.extend(behind(at, at + 64_000).map(|(from, length)| (from, from + length.get())));
            at += 64_000;
        }
        assert_eq!(
            left,
            [(PAGE, STRIDE), (PAGE, 2 * STRIDE), (STRIDE, 3 * STRIDE), (2 * STRIDE, 4 * STRIDE)]
        );
        // A write of several strides, such as a long silence.
        assert_eq!(
            behind(44, 3 * STRIDE).map(|(from, length)| (from, length.get())),
            Some((PAGE, 3 * STRIDE - PAGE))
        );
    }

    #[test]
    fn every_format_is_written_with_its_own_ending() {
        let folder = tempfile::tempdir().unwrap();
        let (recorder, _thread) = recorder(folder.path());
        // Two seconds at 16 kHz: bytes behind what a name asks for.
        for (name, ending, size) in [
            ("wav", "wav", 44 + 128_000),
            ("pcm", "pcm", 128_000),
            ("pcmu", "pcmu", 32_000),
            ("pcma", "pcma", 32_000),
            ("g722", "g722", 32_000),
            ("opus", "opus", 0),
        ] {
            let option = RecorderOption {
                recorder_file: Some("talk.wav".into()),
                format: serde_json::from_value(name.into()).ok(),
                ..RecorderOption::default()
            };
            let tape = recorder.open("s1", 16_000, &option).unwrap();
            for _ in 0..2 {
                tape.pieces.blocking_send(TapePiece::Sound(vec![7; 32_000])).unwrap();
            }
            drop(tape.pieces);
            let written = tape.done.blocking_recv().unwrap();
            assert!(written.path.ends_with(&format!("talk.{ending}")), "{}", written.path);
            assert_eq!(written.size, std::fs::metadata(&written.path).unwrap().len());
            assert!(size == 0 || written.size == size, "{name}: {}", written.size);
            assert!(written.size > 500, "{name}: {}", written.size);
        }
    }

    #[test]
    fn an_older_recording_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let (recorder, _thread) = recorder(folder.path());
        let option =
            RecorderOption { recorder_file: Some("calls/fixed".into()), ..RecorderOption::default() };
        let names: Vec<String> = (0..2)
            .map(|_| {
                let tape = recorder.open("s1", 16_000, &option).unwrap();
                drop(tape.pieces);
                tape.done.blocking_recv().unwrap().path
            })
            .collect();
        assert!(names[0].ends_with("calls/fixed.wav") && names[1].ends_with("calls/fixed-1.wav"));
    }

    #[test]
    fn a_name_that_leads_out_of_the_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (recorder, _thread) = recorder(folder.path());
        let long = "x".repeat(300);
        for (name, code) in [
            ("/path/to/recording.wav", 403),
            ("../x.wav", 403),
            ("a/../../x.wav", 403),
            ("a\0.wav", 400),
            (&long, 400),
        ] {
            let option = RecorderOption { recorder_file: Some(name.into()), ..RecorderOption::default() };
            assert_eq!(recorder.open("s1", 16_000, &option).unwrap_err().code, code, "{name:?}");
        }
    }

    #[test]
    fn an_absolute_name_under_the_folder_is_good() {
        let folder = tempfile::tempdir().unwrap();
        let (recorder, _thread) = recorder(folder.path());
        let name = folder.path().join("calls/a.wav").display().to_string();
        let option = RecorderOption { recorder_file: Some(name.clone()), ..RecorderOption::default() };
        assert_eq!(recorder.open("s1", 16_000, &option).unwrap().path, name);
    }

    #[test]
    fn a_disk_that_fails_ends_the_recording_and_says_so() {
        let (sender, pieces) = mpsc::channel(TAPE_PIECES);
        let (done_in, done) = oneshot::channel();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("read_only.wav");
        std::fs::write(&path, "").unwrap();
        let file = File::open(&path).unwrap();
        let writer = (recording::format("wav").unwrap().writer)(8000).unwrap();
        let reel = Reel::new(file, writer, (8000, 8000));
        let open = Open { id: "s1".into(), path, reel, pieces, done: done_in, failure: None };
        let (opened, recordings) = threads::sync_channel(1);
        opened.send(open).unwrap();
        drop(opened);
        write(&recordings);
        assert!(done.blocking_recv().unwrap().extra.unwrap().contains_key("error"));
        assert!(sender.blocking_send(TapePiece::Gap(1)).is_err());
    }
}
