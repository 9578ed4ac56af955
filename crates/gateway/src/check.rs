//! `active-call check`: everything that would be wrong after a start, without starting.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::beyond;
use crate::config::Config;
use crate::config::check::findings;
use crate::config::read::{self, process_environment};
use crate::files;
use crate::inbound::Routes;
use crate::playbooks;

/// Configuration that is read when none is named.
pub const DEFAULT_CONF: &str = "active-call.toml";

/// Checks `files`, or the default configuration when there is none, and writes what is wrong to `out`, one line
/// each. Gives the number of faults.
///
/// # Errors
/// Those of writing to `out`.
pub fn run(files: &[impl AsRef<Path>], out: &mut dyn Write) -> std::io::Result<usize> {
    let named: Vec<&Path> = match files {
        [] => vec![Path::new(DEFAULT_CONF)],
        files => files.iter().map(AsRef::as_ref).collect(),
    };
    let mut faults = 0;
    let config = config_of(&named);
    for path in named {
        let found = if is_playbook(path) { playbook(path, config.as_ref()) } else { configuration(path) };
        for told in found.notes.iter().chain(&found.faults) {
            writeln!(out, "{told}")?;
        }
        if found.faults.is_empty() {
            writeln!(out, "{}: good", path.display())?;
        }
        faults += found.faults.len();
    }
    Ok(faults)
}

fn is_playbook(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("md"))
}

/// What there is to tell of a file.
#[derive(Default)]
struct Found {
    faults: Vec<String>,
    /// What is no fault of the file: variables that this environment lacks may be set where the server runs.
    notes: Vec<String>,
}

impl From<String> for Found {
    fn from(fault: String) -> Self {
        Found { faults: vec![fault], notes: Vec::new() }
    }
}

/// Unknown keys are faults here: whoever checks wants to know.
fn configuration(path: &Path) -> Found {
    let loaded = match read::file(path, &process_environment) {
        Err(error) => return error.problem().to_string().into(),
        Ok(loaded) => loaded,
    };
    let mut found =
        Found { faults: loaded.warnings.iter().map(ToString::to_string).collect(), notes: Vec::new() };
    let folder = &loaded.config.playbook_path;
    for name in Routes::from_config(&loaded.config).playbooks() {
        let Found { faults, notes } = match files::find_in(folder, name) {
            Ok(path) => playbook(&path, Some(&loaded.config)),
            Err(error) => format!("playbook {error} (in {})", folder.display()).into(),
        };
        found.faults.extend(faults);
        found.notes.extend(notes);
    }
    found
}

/// The first thing in `config` that stops the start, with its key: for what did not come from a file alone.
pub fn refused(config: &Config) -> Option<String> {
    let finding = findings(config).into_iter().find(|finding| finding.fatal)?;
    let help = finding.help.map(|help| format!("; {help}")).unwrap_or_default();
    Some(format!("{}: {}{help}", finding.path.join("."), finding.message))
}

/// Where the files of playbooks lie: as the first configuration says that can be read, else the default one.
pub(crate) fn roots_of(named: &[&Path]) -> Vec<PathBuf> {
    config_of(named).unwrap_or_default().media_roots
}

/// The first configuration that can be read, of those that are named and the default one.
fn config_of(named: &[&Path]) -> Option<Config> {
    let mut configurations =
        named.iter().filter(|path| !is_playbook(path)).copied().chain([Path::new(DEFAULT_CONF)]);
    let loaded = configurations.find_map(|path| read::of_any_machine(path, &process_environment).ok());
    loaded.map(|loaded| loaded.config)
}

/// What is wrong with a playbook; also what a configuration that is known does not let it have.
fn playbook(path: &Path, config: Option<&Config>) -> Found {
    let shown = path.display();
    let default = Config::default();
    let roots = &config.unwrap_or(&default).media_roots;
    let playbook = match playbooks::read(path, roots, &playbooks::any_environment) {
        Err(error) => return error.into(),
        Ok(playbook) => playbook,
    };
    let mut odd = playbooks::odd(&playbook, path.parent().unwrap_or(Path::new(".")), roots);
    odd.extend(config.iter().flat_map(|config| beyond::wishes(&playbook, config)));
    let here = playbooks::read(path, roots, &process_environment).map(|here| here.warnings);
    let lacking = here.unwrap_or_default().into_iter().filter(|warning| !playbook.warnings.contains(warning));
    let note = |warning| format!("{shown}: {warning} (set it where the server runs)");
    Found {
        faults: odd.iter().map(|warning| format!("{shown}: {warning}")).collect(),
        notes: lacking.map(note).collect(),
    }
}
