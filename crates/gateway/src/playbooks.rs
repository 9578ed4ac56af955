//! The folder of playbooks.

use std::path::PathBuf;
use std::sync::Arc;

use call::setup::Playbooks;
use playbook::Playbook;

use crate::files;

/// Largest playbook that is read from the folder.
const MAX_FILE: u64 = 1024 * 1024;

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

    /// The playbook called `name`, as its file is now.
    ///
    /// # Errors
    /// A text with the file and, when its content is wrong, the line.
    pub fn load(&self, name: &str) -> Result<Playbook, String> {
        let path = files::find_in(&self.path, name)
            .map_err(|e| format!("playbook {e} (in {})", self.path.display()))?;
        let shown = self.path.join(path.file_name().unwrap_or_default());
        let shown = shown.display();
        let size = std::fs::metadata(&path).map_err(|e| format!("{shown}: {e}"))?.len();
        if size > MAX_FILE {
            return Err(format!("{shown}: {size} bytes are more than a playbook's {MAX_FILE}"));
        }
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{shown}: {e}"))?;
        parse(&text).map_err(|e| format!("{shown}: {e}"))
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
