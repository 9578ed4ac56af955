//! The folder of playbooks.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
#[allow(clippy::disallowed_types, reason = "a look into a table that all doors share")]
use std::sync::Mutex;
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use call::Failure;
use call::setup::{Playbooks, Providers};
use playbook::phrases::Fillers;
use playbook::{Playbook, PlaybookError};
use protocol::option::{CallOption, Over, SynthesisOption, TranscriptionOption};
use providers::{ProviderError, tables};

use crate::beyond;
use crate::config::Config;
use crate::config::read::process_environment;
use crate::files;
use crate::gate::Gate;

/// Largest playbook that is read from the folder.
pub const MAX_FILE: u64 = 1024 * 1024;
/// What a playbook's file name ends in.
const ENDING: &str = "md";
/// Filler words for every playbook that names none itself, in a folder of `media_roots`.
const FILLERS: &str = "fillers.txt";
/// Most playbooks that are kept; one more and all are read again.
const MOST_KEPT: usize = 1000;

/// Playbooks of calls that are looked at once.
static READS: Gate = Gate::new(4);

/// Reads playbooks from one folder and from nowhere else, and keeps what it has read until the file changes. Clones
/// share what is kept.
#[derive(Clone, Debug)]
#[allow(clippy::disallowed_types, reason = "as above")]
pub struct Folder {
    path: PathBuf,
    roots: Vec<PathBuf>,
    kept: Arc<Mutex<HashMap<PathBuf, Kept>>>,
}

/// A playbook as its files were when they were read last.
#[derive(Debug)]
struct Kept {
    files: Vec<(PathBuf, Stamp)>,
    /// What calls get: what was read last, or before it when that cannot be used.
    good: Result<Arc<Playbook>, String>,
}

/// By which a change of a file is seen: time and size; absent without a file.
type Stamp = Option<(SystemTime, u64)>;

fn stamp(path: &Path) -> Stamp {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

impl Folder {
    /// The folder at `path`. Files that playbooks name lie under `roots`.
    pub fn new(path: PathBuf, roots: Vec<PathBuf>) -> Self {
        Folder { path, roots, kept: Arc::default() }
    }

    /// The text of the playbook called `name`, as its file is now.
    ///
    /// # Errors
    /// A text with the file.
    pub fn text(&self, name: &str) -> Result<String, String> {
        let path = self.path_of(name)?;
        text_of(&path).map_err(|why| self.told(&why, &path))
    }

    /// The playbook called `name`, as its file is now. When a change has broken it the last one that could be used is
    /// given, and the log tells of it once. Files are read: async code asks by [`Playbooks::find`].
    ///
    /// # Errors
    /// A text with the file and, when its content is wrong, the line.
    pub fn load(&self, name: &str) -> Result<Arc<Playbook>, String> {
        let path = self.path_of(name)?;
        let before = self.kept().get(&path).map(|own| (own.files.clone(), own.good.clone()));
        let before = match before {
            Some((files, good)) if files.iter().all(|(file, seen)| stamp(file) == *seen) => return good,
            before => before.and_then(|(_, good)| good.ok()),
        };
        // Nobody waits for a file that is being read: the table is free meanwhile.
        let own = self.read(&path, before);
        let good = own.good.clone();
        let mut kept = self.kept();
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        kept.insert(path, own);
        good
    }

    #[allow(clippy::disallowed_types, reason = "as above")]
    fn kept(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The playbook at `path` as its files are now; what it was `before` when it cannot be used.
    fn read(&self, path: &Path, before: Option<Arc<Playbook>>) -> Kept {
        let mut files = vec![(path.to_owned(), stamp(path))];
        let read = read(path, &self.roots, &process_environment).map_err(|why| self.told(&why, path));
        files.extend(read.iter().flat_map(|playbook| self.words_of(playbook, path)));
        let good = match (read, before) {
            (Ok(playbook), _) => Ok(Arc::new(playbook)),
            (Err(why), Some(before)) => {
                let remains = "a changed playbook cannot be used; calls go on with what it was before";
                tracing::error!(why, "{remains}");
                Ok(before)
            }
            (Err(why), None) => Err(why),
        };
        Kept { files, good }
    }

    /// Where the filler words of `playbook` may come from.
    fn words_of(&self, playbook: &Playbook, path: &Path) -> Vec<(PathBuf, Stamp)> {
        let name = playbook.filler_file.as_deref().unwrap_or(FILLERS);
        let mut files: Vec<PathBuf> = self.roots.iter().map(|root| root.join(name)).collect();
        files.extend(fillers(playbook, path.parent().unwrap_or(&self.path), &self.roots));
        files.into_iter().map(|file| (file.clone(), stamp(&file))).collect()
    }

    fn path_of(&self, name: &str) -> Result<PathBuf, String> {
        files::find_in(&self.path, name).map_err(|e| format!("playbook {e}"))
    }

    /// What is wrong with the file at `path`, told by its name in the folder: where that lies is nothing to clients.
    fn told(&self, why: &str, path: &Path) -> String {
        let folder = self.path.canonicalize().ok();
        let name =
            folder.and_then(|folder| path.strip_prefix(folder).ok()).or(path.file_name().map(Path::new));
        why.replace(&path.display().to_string(), &name.unwrap_or(path).display().to_string())
    }

    /// Every playbook of the folder itself, by name, with the time of its last change.
    ///
    /// # Errors
    /// Those of reading the folder; one that is not there holds none.
    pub fn list(&self) -> std::io::Result<Vec<(String, SystemTime)>> {
        let entries = match std::fs::read_dir(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut list: Vec<_> = entries
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|end| end == ENDING))
            .filter_map(|entry| {
                let changed = entry.metadata().and_then(|meta| meta.modified()).ok()?;
                Some((entry.file_name().into_string().ok()?, changed))
            })
            .collect();
        list.sort();
        Ok(list)
    }

    /// Writes the playbook called `name`, whole or not at all. Whether it can be used is for the caller to see.
    ///
    /// # Errors
    /// A text: the name is no playbook's, or leads out of the folder; the file system.
    pub fn save(&self, name: &str, text: &str) -> Result<(), String> {
        if Path::new(name).extension().is_none_or(|end| end != ENDING) {
            return Err(format!("{:?}: a playbook's name ends in .md", protocol::read::shown(name)));
        }
        let path = files::place_for(&self.path, name)?;
        files::write_whole(&path, text.as_bytes())
            .map_err(|e| self.told(&format!("{}: {e}", path.display()), &path))
    }

    /// Looks into every playbook that calls may be sent to: those that cannot be used, and what is odd.
    pub fn validate(&self, names: &[&str], config: &Config) -> Vec<Finding> {
        let finding = |text, refused| Finding { text, refused };
        let mut findings = Vec::new();
        for name in names {
            match self.load(name) {
                Ok(playbook) => {
                    let mut odd = odd(&playbook, &self.path, &self.roots);
                    odd.extend(beyond::wishes(&playbook, config));
                    findings.extend(odd.iter().map(|odd| finding(format!("{name}: {odd}"), false)));
                }
                Err(error) => {
                    findings.push(finding(format!("{error} (in {})", self.path.display()), true));
                }
            }
        }
        findings
    }
}

/// Something about a playbook that calls are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, the line, and what is wrong.
    pub text: String,
    /// Calls sent to it are refused.
    pub refused: bool,
}

/// Reads a playbook with `${NAME}` taken from the environment.
///
/// # Errors
/// Those of [`Playbook::parse`].
pub fn parse(text: &str) -> Result<Playbook, PlaybookError> {
    Playbook::parse(text, &process_environment)
}

/// The text of a playbook's or a scenario's file.
///
/// # Errors
/// A text with the file: it is too large or cannot be read.
pub fn text_of(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let size = std::fs::metadata(path).map_err(|e| format!("{shown}: {e}"))?.len();
    if size > MAX_FILE {
        return Err(format!("{shown}: {size} bytes are more than the {MAX_FILE} that are read"));
    }
    std::fs::read_to_string(path).map_err(|e| format!("{shown}: {e}"))
}

/// The playbook at `path` with its filler words, which lie beside it or under `roots`, and `${NAME}` by `environment`.
///
/// # Errors
/// A text with the file and, when its content is wrong, the line.
pub fn read(
    path: &Path,
    roots: &[PathBuf],
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Playbook, String> {
    let parsed = Playbook::parse(&text_of(path)?, environment);
    let mut playbook = parsed.map_err(|e| format!("{}: {e}", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    if let Some(file) = fillers(&playbook, folder, roots) {
        match text_of(&file) {
            Ok(text) => playbook.set_fillers(&text),
            Err(why) => tracing::warn!(why, "filler words cannot be read"),
        }
    }
    Ok(playbook)
}

/// The environment for looking a playbook over or rehearsing it: a name that it lacks stands for itself.
pub fn any_environment(name: &str) -> Option<String> {
    Some(process_environment(name).unwrap_or_else(|| format!("${{{name}}}")))
}

/// The file of filler words that counts for `playbook`: its own, or the common one when it lists no words itself.
fn fillers(playbook: &Playbook, folder: &Path, roots: &[PathBuf]) -> Option<PathBuf> {
    match &playbook.filler_file {
        Some(own) => found(own, folder, roots),
        None if playbook.fillers == Fillers::of(playbook.language()) => {
            files::find_under(roots, FILLERS).ok()
        }
        None => None,
    }
}

/// The file that `playbook` in `folder` calls `name`.
fn found(name: &str, folder: &Path, roots: &[PathBuf]) -> Option<PathBuf> {
    files::find_in(folder, name).or_else(|_| files::find_under(roots, name)).ok()
}

/// Everything odd about `playbook` in `folder`, by line: what its text tells, providers that there are not or that cannot
/// be had as they are wanted, and local files that are not there, neither sounds under `roots` nor words beside the
/// playbook.
pub fn odd(playbook: &Playbook, folder: &Path, roots: &[PathBuf]) -> Vec<playbook::Warning> {
    let words = playbook.filler_file.as_deref();
    let mut odd = odd_text(playbook);
    odd.extend(playbook.missing_files(&|name| {
        files::find_under(roots, name).is_ok() || words == Some(name) && found(name, folder, roots).is_some()
    }));
    odd.extend(unusable(playbook));
    odd.sort_by_key(|warning| warning.line);
    odd
}

/// Why calls of `playbook` would be mute or deaf on this machine: no voice is named, or a program is missing, has no such
/// voice or does not know a word it is to hear. Options with templates are not known before a call.
fn unusable(playbook: &Playbook) -> Vec<playbook::Warning> {
    let option = playbook.option();
    let ear = option.asr.filter(|asr| asr.provider.is_some() && !templates([&asr.language, &None]));
    let voice = option.tts.filter(knows_voice).and_then(|tts| tables::probe_voice(&tts).err());
    let voice = voice.map(|error| ("tts", error));
    let ear = ear.and_then(|asr| tables::recognizer(&asr).err()).map(|error| ("asr", error));
    let told = |(key, error): (&'static str, ProviderError)| match error {
        // It is told with the names that there are.
        ProviderError::UnknownProvider { .. } => None,
        ProviderError::Option { field, why } => Some((key, format!("`{key}.{field}`: {why}"))),
        error => Some((key, format!("`{key}.provider`: {error}"))),
    };
    let mute = playbook.is_mute().then(|| {
        let why = "`tts.provider`: missing; the caller hears nothing unless the call's client names one";
        ("tts", why.to_owned())
    });
    let found = voice.into_iter().chain(ear).filter_map(told).chain(mute);
    found.map(|(key, message)| playbook.at(&format!("{key}.provider"), message)).collect()
}

fn templates(texts: [&Option<String>; 2]) -> bool {
    texts.into_iter().flatten().any(|text| playbook::template::is_template(text))
}

/// Whether it is known before a call which voice it has.
fn knows_voice(tts: &SynthesisOption) -> bool {
    tts.provider.is_some() && !templates([&tts.speaker, &tts.language])
}

/// Why nobody can be let in to talk to an agent.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// It has no voice.
    #[error("the agent would not be heard: {0}")]
    Mute(String),
    /// It has a recognizer that is not there.
    #[error("the agent would not hear: {0}")]
    Deaf(String),
}

/// Why nobody who calls `playbook` now could talk with its agent by means of `providers`; `defaults` count where it says
/// nothing itself. What shows only when it speaks and listens is not known here.
pub fn unfit(playbook: &Playbook, defaults: &CallOption, providers: &dyn Providers) -> Option<Unfit> {
    let option = playbook.option().over(defaults);
    let mute = voiceless(playbook, &option, providers).map(Unfit::Mute);
    // Whoever can press keys need not be heard.
    let hears = !playbook.takes_keys();
    mute.or_else(|| hears.then(|| earless(&option, providers)).flatten().map(Unfit::Deaf))
}

/// Why an agent with `option` would hear nothing. What it is to hear, which takes time to look at, may still be wrong.
fn earless(option: &CallOption, ears: &dyn Providers) -> Option<String> {
    let asr =
        option.asr.as_ref().filter(|asr| asr.provider.is_some() && !templates([&asr.language, &None]))?;
    if option.realtime.is_some() {
        return None;
    }
    match ears.recognizer(&TranscriptionOption { extra: None, ..asr.clone() }).err()? {
        error @ (ProviderError::MissingProgram { .. } | ProviderError::UnknownProvider { .. }) => {
            Some(format!("`asr.provider`: {error}"))
        }
        error @ ProviderError::Option { field: "language", .. } => Some(format!("`asr.language`: {error}")),
        // What else is missing may stand in `extra`.
        _ => None,
    }
}

fn voiceless(playbook: &Playbook, option: &CallOption, voices: &dyn Providers) -> Option<String> {
    let tts = option.tts.clone().unwrap_or_default();
    if tts.provider.is_some() {
        let error = knows_voice(&tts).then(|| voices.synthesizer(&tts).err()).flatten();
        return error.map(|error| format!("`tts.provider`: {error}"));
    }
    // A tag in the greeting may play a file, which needs no voice.
    let greets = playbook.greeting.as_deref().is_some_and(|greeting| !greeting.contains('<'));
    let mute = greets && option.realtime.is_none();
    mute.then(|| "`greeting` has no voice: no `tts.provider` is named".to_owned())
}

/// The same for a text that has no place yet: files are not looked for.
pub fn odd_text(playbook: &Playbook) -> Vec<playbook::Warning> {
    let mut odd = playbook.warnings.clone();
    odd.extend(playbook.unknown_names(&names_at));
    odd.sort_by_key(|warning| warning.line);
    odd
}

/// The names that may stand at a key of a playbook.
fn names_at(key: &str) -> Vec<&'static str> {
    match key {
        "asr.provider" => tables::RECOGNIZERS.iter().map(|row| row.name).collect(),
        "tts.provider" => tables::SYNTHESIZERS.iter().map(|row| row.name).collect(),
        "llm.provider" => tables::CHAT_MODELS.iter().map(|row| row.name).collect(),
        "realtime.provider" => tables::REALTIMES.iter().map(|row| row.name).collect(),
        "vad.type" => audio::vad::VAD_TYPES.iter().map(|(name, _)| *name).collect(),
        _ => Vec::new(),
    }
}

#[async_trait]
impl Playbooks for Folder {
    async fn find(&self, name: &str) -> Result<Arc<Playbook>, Failure> {
        let (folder, name) = (self.clone(), name.to_owned());
        let look = move || {
            let found = files::find_in(&folder.path, &name);
            found.map_err(|error| Failure::new(error.code(), format!("playbook {error}")))?;
            // What is wrong inside of it is nothing that whoever names it can mend.
            folder.load(&name).map_err(|why| Failure::new(500, why))
        };
        READS.pass(look).await.unwrap_or_else(|error| Err(Failure::new(500, error.to_string())))
    }
}
