//! Rendered speech kept on disk, so that a text is paid for and waited for once.
//!
//! One file holds the sound of one text. Its name is a digest of everything that changes the sound, in which a `cacheKey` that
//! the client gave stands for the text; so no name from outside ever becomes part of a path. A file is written under
//! another name and renamed, and begins with a digest of its sound: half a file is never played. A text that several calls
//! want while it is not there yet is made once (`sharing`).

mod sharing;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use call::setup::Providers;
use protocol::option::{LlmOption, RealtimeOption, Rendering, SynthesisOption, TranscriptionOption};
use providers::{ChatModel, ProviderError, Realtime, Recognizer, Spoken, Synthesizer, Text};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::app;
use crate::gate::Gate;
use sharing::{Broken, Renderings};

/// What every file begins with; the digest of the sound follows, then the sound as s16le.
const MAGIC: &[u8; 8] = b"ac-pcm1\n";
/// Bytes before the sound.
const HEADER: usize = MAGIC.len() + 32;
/// Most samples of one text that are kept: at 16 kHz almost nine minutes.
const MOST_SAMPLES: usize = 8 << 20;
/// Sound between the vendor and the call; the vendor waits when it is full.
const SPOKEN: usize = 4;
/// Ends the name of a file that is whole.
const WHOLE: &str = "pcm";
/// Ends the name of a file that is being written.
const PART: &str = "part";

/// Texts that are looked for at once.
static READS: Gate = Gate::new(8);
/// Texts that are kept at once.
static WRITES: Gate = Gate::new(2);

/// `providers` whose rendered speech is kept in `folder`, at most `most_bytes` of it; 0 keeps none.
pub fn around(providers: Arc<dyn Providers>, folder: PathBuf, most_bytes: u64) -> Arc<dyn Providers> {
    if most_bytes == 0 {
        return providers;
    }
    let shelf = Arc::new(Shelf::open(folder, most_bytes));
    Arc::new(Cached { providers, shelf, under_way: Arc::default() })
}

/// Providers whose synthesizers look on the shelf first.
struct Cached {
    providers: Arc<dyn Providers>,
    shelf: Arc<Shelf>,
    under_way: Arc<Renderings>,
}

impl Providers for Cached {
    fn recognizer(&self, option: &TranscriptionOption) -> Result<Box<dyn Recognizer>, ProviderError> {
        self.providers.recognizer(option)
    }

    fn synthesizer(&self, option: &SynthesisOption) -> Result<Box<dyn Synthesizer>, ProviderError> {
        let vendor = self.providers.synthesizer(option)?;
        if option.rendering.is_none() {
            return Ok(vendor);
        }
        let (shelf, under_way) = (self.shelf.clone(), self.under_way.clone());
        Ok(Box::new(Rendered { vendor: vendor.into(), option: option.clone(), shelf, under_way }))
    }

    fn chat_model(&self, option: &LlmOption) -> Result<Box<dyn ChatModel>, ProviderError> {
        self.providers.chat_model(option)
    }

    fn realtime(&self, option: &RealtimeOption) -> Result<Box<dyn Realtime>, ProviderError> {
        self.providers.realtime(option)
    }
}

/// A synthesizer that speaks what was rendered before, and keeps what was not.
struct Rendered {
    vendor: Arc<dyn Synthesizer>,
    option: SynthesisOption,
    shelf: Arc<Shelf>,
    under_way: Arc<Renderings>,
}

#[async_trait]
impl Synthesizer for Rendered {
    fn rate(&self) -> u32 {
        self.vendor.rate()
    }

    async fn run(&self, mut text: Receiver<Text>, spoken: Sender<Spoken>) -> Result<(), ProviderError> {
        while let Some(text) = text.recv().await {
            let key = key(&self.option, self.rate(), &text.text);
            loop {
                match look(&self.shelf, &key).await {
                    Some(samples) => replay(text.piece, &samples, self.rate(), &spoken).await?,
                    None if text.text.len() > sharing::MOST_TEXT => {
                        self.render(key, text, &spoken).await?;
                    }
                    None if self.share(&key, &text, &spoken).await? => {}
                    None => continue,
                }
                break;
            }
        }
        Ok(())
    }
}

impl Rendered {
    /// Speaks `text` as it is made for all who want it now. `false` when what another call had begun failed before any of
    /// its sound was given: its account may be the cause, so it is made again, with ours.
    async fn share(&self, key: &str, text: &Text, spoken: &Sender<Spoken>) -> Result<bool, ProviderError> {
        let (shelf, name) = (self.shelf.clone(), key.to_owned());
        let keep = move |samples: Vec<i16>| async move {
            // A text that cannot be kept is rendered again.
            let _ = WRITES.pass(move || shelf.keep(&name, &samples)).await;
        };
        let (vendor, shelf) = (self.vendor.clone(), self.shelf.clone());
        let vendor: Arc<dyn Synthesizer> = Arc::new(SecondLook { vendor, shelf, name: key.to_owned() });
        let share = self.under_way.join(key, (&vendor, &text.text), keep);
        let begun = share.begun;
        match share.hear(text.piece, spoken).await {
            Ok(()) => Ok(true),
            Err(Broken { error, heard }) if heard || begun => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Lets the vendor speak a long text for this call alone, and keeps the sound once it is whole.
    async fn render(&self, key: String, text: Text, spoken: &Sender<Spoken>) -> Result<(), ProviderError> {
        let (out, mut sounds) = channel(SPOKEN);
        let mut whole = Some(Vec::new());
        let relay = async {
            let mut done = false;
            while let Some(sound) = sounds.recv().await {
                gather(&mut whole, &sound);
                done |= matches!(sound, Spoken::Done { .. });
                spoken.send(sound).await.map_err(|_| ProviderError::Gone)?;
            }
            Ok(done)
        };
        let ((), done) = tokio::try_join!(self.vendor.run(only(text), out), relay)?;
        if let Some(samples) = whole.filter(|samples| done && !samples.is_empty()) {
            let shelf = self.shelf.clone();
            // The call does not wait for the disk, and a text that cannot be kept is rendered again.
            WRITES.offer(move || shelf.keep(&key, &samples));
        }
        Ok(())
    }
}

/// A vendor that is asked only when the sound has not come onto the shelf since the first look: another call's rendering may
/// have ended in between.
struct SecondLook {
    vendor: Arc<dyn Synthesizer>,
    shelf: Arc<Shelf>,
    name: String,
}

#[async_trait]
impl Synthesizer for SecondLook {
    fn rate(&self) -> u32 {
        self.vendor.rate()
    }

    async fn run(&self, mut text: Receiver<Text>, spoken: Sender<Spoken>) -> Result<(), ProviderError> {
        let Some(text) = text.recv().await else { return Ok(()) };
        if let Some(samples) = look(&self.shelf, &self.name).await {
            return replay(text.piece, &samples, self.rate(), &spoken).await;
        }
        self.vendor.run(only(text), spoken).await
    }
}

/// The texts of a synthesizer that is to speak just one.
fn only(text: Text) -> Receiver<Text> {
    let (ask, asked) = channel(1);
    // The channel is new and takes one.
    let _ = ask.try_send(text);
    asked
}

/// The sound of this name, where the shelf has it.
async fn look(shelf: &Arc<Shelf>, name: &str) -> Option<Vec<i16>> {
    let (shelf, name) = (shelf.clone(), name.to_owned());
    // A reader that panicked has found nothing.
    READS.pass(move || shelf.read(&name)).await.ok().flatten()
}

/// Adds to the sound to be kept. What is too long, or has word times, which a file does not hold, is not kept.
fn gather(whole: &mut Option<Vec<i16>>, spoken: &Spoken) {
    match (spoken, whole.as_mut()) {
        (Spoken::Audio { samples, .. }, Some(all)) if all.len() + samples.len() <= MOST_SAMPLES => {
            all.extend_from_slice(samples);
        }
        (Spoken::Done { .. }, _) => {}
        _ => *whole = None,
    }
}

/// Speaks `samples` in chunks of 200 ms.
async fn replay(
    piece: u32,
    samples: &[i16],
    rate: u32,
    spoken: &Sender<Spoken>,
) -> Result<(), ProviderError> {
    let chunks = samples.chunks((rate as usize / 5).max(1));
    let sounds = chunks.map(|chunk| Spoken::Audio { piece, samples: chunk.into() });
    for sound in [Spoken::Kept { piece }].into_iter().chain(sounds).chain([Spoken::Done { piece }]) {
        spoken.send(sound).await.map_err(|_| ProviderError::Gone)?;
    }
    Ok(())
}

/// The name of the sound of `text`, for which a `cacheKey` stands where the client gave one. Keys and secrets of the vendor's
/// account are no part of it.
fn key(option: &SynthesisOption, rate: u32, text: &str) -> String {
    let (kind, said) = match &option.rendering {
        Some(Rendering::Named(name)) => ("named", name.as_str()),
        Some(Rendering::Derived) | None => ("derived", text),
    };
    let parts = serde_json::json!([
        kind,
        rate,
        said,
        option.provider,
        option.endpoint,
        option.app_id,
        option.speaker,
        option.model,
        option.samplerate,
        option.speed,
        option.volume,
        option.emotion,
        option.language,
        option.codec,
        option.extra,
    ]);
    // As JSON the parts have borders: no two lists of them are the same text.
    crate::files::hex(&Sha256::digest(parts.to_string()))
}

/// The folder of sounds. Its methods touch the disk.
#[derive(Debug)]
struct Shelf {
    folder: PathBuf,
    most_bytes: u64,
    /// Bytes in whole files; set right whenever there are too many.
    bytes: AtomicU64,
    /// Numbers the files being written.
    writing: AtomicU64,
}

impl Shelf {
    fn open(folder: PathBuf, most_bytes: u64) -> Self {
        let shelf = Shelf { folder, most_bytes, bytes: AtomicU64::new(0), writing: AtomicU64::new(0) };
        for part in shelf.files(PART) {
            // What cannot be removed is no sound either.
            let _ = std::fs::remove_file(part.path());
        }
        shelf.make_room();
        shelf
    }

    /// The sound under `key`, when it is there and whole. A broken file is removed.
    fn read(&self, key: &str) -> Option<Vec<i16>> {
        let path = self.path(key);
        let file = std::fs::File::open(&path).ok()?;
        let longest = (HEADER + MOST_SAMPLES * 2) as u64;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(&file, longest + 1), &mut bytes).ok()?;
        let sound = sound(&bytes);
        if sound.is_none() {
            tracing::warn!(path = %path.display(), "broken rendered speech is made again");
            let _ = std::fs::remove_file(&path);
        }
        // Where this is not allowed, the file is only sooner among those that go.
        let _ = file.set_modified(UNIX_EPOCH + Duration::from_millis(app::now_ms()));
        sound
    }

    /// Keeps a sound, and tells the log when that fails: the call has heard it all the same.
    fn keep(&self, key: &str, samples: &[i16]) {
        if let Err(error) = self.write(key, samples) {
            let folder = self.folder.display();
            tracing::warn!(%folder, %error, "rendered speech cannot be kept; see media_cache_path");
        }
    }

    fn write(&self, key: &str, samples: &[i16]) -> io::Result<()> {
        let sound: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let bytes = [MAGIC.as_slice(), Sha256::digest(&sound).as_slice(), &sound].concat();
        let size = bytes.len() as u64;
        if size > self.most_bytes {
            return Ok(());
        }
        std::fs::create_dir_all(&self.folder)?;
        let number = self.writing.fetch_add(1, Ordering::Relaxed);
        let part = self.folder.join(format!("{key}.{number}.{PART}"));
        let written = std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, self.path(key)));
        if written.is_err() {
            let _ = std::fs::remove_file(&part);
        }
        written?;
        if self.bytes.fetch_add(size, Ordering::Relaxed) + size > self.most_bytes {
            self.make_room();
        }
        Ok(())
    }

    /// Removes the sounds that were not wanted for longest until the rest is allowed.
    fn make_room(&self) {
        let sizes = self.files(WHOLE).filter_map(|file| {
            let about = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
            Some((about.modified().ok()?, about.len(), file.path()))
        });
        let mut sounds: Vec<_> = sizes.collect();
        sounds.sort();
        let mut bytes: u64 = sounds.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in sounds {
            if bytes <= self.most_bytes {
                break;
            }
            if std::fs::remove_file(path).is_ok() {
                bytes -= size;
            }
        }
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    fn files(&self, extension: &'static str) -> impl Iterator<Item = std::fs::DirEntry> + use<> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.filter(move |entry| Path::new(&entry.file_name()).extension().is_some_and(|e| e == extension))
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.{WHOLE}"))
    }
}

/// The sound in a file, when it is whole.
fn sound(bytes: &[u8]) -> Option<Vec<i16>> {
    let (digest, sound) = bytes.strip_prefix(MAGIC.as_slice())?.split_at_checked(32)?;
    if sound.is_empty() || sound.len() % 2 == 1 || Sha256::digest(sound).as_slice() != digest {
        return None;
    }
    Some(sound.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(speaker: &str) -> SynthesisOption {
        SynthesisOption {
            provider: Some("fake".into()),
            speaker: Some(speaker.into()),
            rendering: Some(Rendering::Derived),
            ..SynthesisOption::default()
        }
    }

    fn shelf(folder: &tempfile::TempDir, most_bytes: u64) -> Shelf {
        Shelf::open(folder.path().join("cache"), most_bytes)
    }

    #[test]
    fn whatever_changes_the_sound_changes_the_name() {
        let base = option("a");
        let mut changed = vec![option("b")];
        let mut vary = |change: fn(&mut SynthesisOption)| {
            let mut other = base.clone();
            change(&mut other);
            changed.push(other);
        };
        vary(|o| o.provider = Some("other".into()));
        vary(|o| o.endpoint = Some("https://voices.example".into()));
        vary(|o| o.app_id = Some("account".into()));
        vary(|o| o.model = Some("m".into()));
        vary(|o| o.samplerate = Some(8000));
        vary(|o| o.speed = Some(1.5));
        vary(|o| o.volume = Some(7));
        vary(|o| o.emotion = Some("sad".into()));
        vary(|o| o.language = Some("de".into()));
        vary(|o| o.codec = Some("mp3".into()));
        vary(|o| o.extra = Some([("style".into(), serde_json::json!("calm"))].into()));
        let mut names: std::collections::BTreeSet<String> =
            changed.iter().map(|option| key(option, 16_000, "hello")).collect();
        names.extend([key(&base, 16_000, "hello"), key(&base, 8_000, "hello"), key(&base, 16_000, "hallo")]);
        let count = changed.len() + 3;
        assert_eq!(names.len(), count);
        let named = Some(Rendering::Named("greeting".into()));
        for mut option in changed.into_iter().chain([base]) {
            option.rendering.clone_from(&named);
            names.insert(key(&option, 16_000, "hello"));
        }
        assert_eq!(names.len(), 2 * count - 2, "a key of the client names the text and not the voice");
    }

    #[test]
    fn secrets_do_not_change_the_name_and_a_given_name_stays_no_path() {
        let secret = SynthesisOption { secret_key: Some(protocol::Secret::new("hunter2")), ..option("a") };
        assert_eq!(key(&secret, 16_000, "hello"), key(&option("a"), 16_000, "hello"));
        let named =
            |name: &str| SynthesisOption { rendering: Some(Rendering::Named(name.into())), ..option("a") };
        let name = key(&named("../../etc/passwd"), 16_000, "hello");
        assert!(name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(name, key(&named("../../etc/passwd"), 16_000, "another text"));
        assert_ne!(name, key(&named("greeting"), 16_000, "hello"));
    }

    #[test]
    fn a_sound_that_is_cut_short_or_changed_is_not_played_and_makes_room_for_itself() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = shelf(&folder, 1 << 20);
        for spoil in [
            |bytes: &mut Vec<u8>| bytes.truncate(HEADER + 100),
            |bytes: &mut Vec<u8>| bytes.truncate(3),
            |bytes: &mut Vec<u8>| bytes.push(0),
            |bytes: &mut Vec<u8>| bytes[HEADER + 10] ^= 1,
            Vec::clear,
        ] {
            shelf.write("k", &[7; 400]).unwrap();
            assert_eq!(shelf.read("k"), Some(vec![7; 400]));
            let mut bytes = std::fs::read(shelf.path("k")).unwrap();
            spoil(&mut bytes);
            std::fs::write(shelf.path("k"), bytes).unwrap();
            assert_eq!(shelf.read("k"), None);
            assert!(!shelf.path("k").exists());
        }
    }

    #[test]
    fn sounds_not_wanted_for_longest_go_first_and_parts_of_a_crash_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let three = 3 * (HEADER as u64 + 200);
        let full = shelf(&folder, three);
        for (age, name) in ["oldest", "older", "old"].iter().enumerate() {
            full.write(name, &[1; 100]).unwrap();
            let file = std::fs::File::options().write(true).open(full.path(name)).unwrap();
            let then = UNIX_EPOCH + Duration::from_secs(1000 + age as u64);
            file.set_modified(then).unwrap();
        }
        assert!(full.read("oldest").is_some());
        full.write("new", &[1; 100]).unwrap();
        let there = |name: &str| full.path(name).exists();
        assert_eq!(["oldest", "older", "old", "new"].map(there), [true, false, true, true]);
        full.write("huge", &[1; 1000]).unwrap();
        assert!(!there("huge"), "a sound that no room can be made for pushes nothing out");
        std::fs::write(folder.path().join("cache/x.0.part"), "half").unwrap();
        let smaller = shelf(&folder, three - 1);
        assert!(!folder.path().join("cache/x.0.part").exists());
        assert_eq!(smaller.files(WHOLE).count(), 2);
    }
}
