//! The folder of playbooks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use call::setup::Playbooks;
use playbook::Playbook;

use crate::files;

/// Largest playbook that is read from the folder.
pub const MAX_FILE: u64 = 1024 * 1024;
/// What a playbook's file name ends in.
const ENDING: &str = "md";

/// Reads playbooks from one folder and from nowhere else.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at `path`.
    pub fn new(path: PathBuf) -> Self {
        Folder { path }
    }

    /// The text of the playbook called `name`, as its file is now.
    ///
    /// # Errors
    /// A text with the file.
    pub fn text(&self, name: &str) -> Result<String, String> {
        let path = files::find_in(&self.path, name)
            .map_err(|e| format!("playbook {e} (in {})", self.path.display()))?;
        let shown = self.shown(&path);
        let size = std::fs::metadata(&path).map_err(|e| format!("{shown}: {e}"))?.len();
        if size > MAX_FILE {
            return Err(format!("{shown}: {size} bytes are more than a playbook's {MAX_FILE}"));
        }
        std::fs::read_to_string(&path).map_err(|e| format!("{shown}: {e}"))
    }

    /// The playbook called `name`, as its file is now.
    ///
    /// # Errors
    /// A text with the file and, when its content is wrong, the line.
    pub fn load(&self, name: &str) -> Result<Playbook, String> {
        parse(&self.text(name)?).map_err(|e| format!("{}: {e}", self.shown(Path::new(name))))
    }

    fn shown(&self, path: &Path) -> String {
        self.path.join(path.file_name().unwrap_or_default()).display().to_string()
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
        files::write_whole(&path, text.as_bytes()).map_err(|e| format!("{}: {e}", self.shown(&path)))
    }

    /// Looks into every playbook that calls may be sent to: those that cannot be used, and what is odd.
    pub fn validate(&self, names: &[&str]) -> Vec<Finding> {
        let finding = |text, refused| Finding { text, refused };
        let mut findings = Vec::new();
        for name in names {
            match self.load(name) {
                Ok(playbook) => {
                    findings
                        .extend(playbook.warnings.iter().map(|odd| finding(format!("{name}: {odd}"), false)));
                }
                Err(error) => findings.push(finding(error, true)),
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
pub fn parse(text: &str) -> Result<Playbook, playbook::PlaybookError> {
    Playbook::parse(text, &crate::config::read::process_environment)
}

impl Playbooks for Folder {
    fn find(&self, name: &str) -> Result<Arc<Playbook>, String> {
        self.load(name).map(Arc::new)
    }
}
