//! `active-call check`: everything that would be wrong after a start, without starting.

use std::io::Write;
use std::path::{Path, PathBuf};

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
    let roots = roots_of(&named);
    for path in named {
        let found = if is_playbook(path) { playbook(path, &roots) } else { configuration(path) };
        for fault in &found {
            writeln!(out, "{fault}")?;
        }
        if found.is_empty() {
            writeln!(out, "{}: good", path.display())?;
        }
        faults += found.len();
    }
    Ok(faults)
}

fn is_playbook(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("md"))
}

/// Unknown keys are faults here: whoever checks wants to know.
fn configuration(path: &Path) -> Vec<String> {
    match read::file(path, &process_environment) {
        Err(error) => vec![error.problem().to_string()],
        Ok(loaded) => {
            let mut faults: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
            let folder = loaded.config.playbook_path.clone();
            let routes = Routes::from_config(&loaded.config);
            for name in routes.playbooks() {
                match files::find_in(&folder, name) {
                    Ok(found) => faults.extend(playbook(&found, &loaded.config.media_roots)),
                    Err(error) => faults.push(format!("playbook {error} (in {})", folder.display())),
                }
            }
            faults
        }
    }
}

/// The first thing in `config` that stops the start, with its key: for what did not come from a file alone.
pub fn refused(config: &Config) -> Option<String> {
    let finding = findings(config).into_iter().find(|finding| finding.fatal)?;
    let help = finding.help.map(|help| format!("; {help}")).unwrap_or_default();
    Some(format!("{}: {}{help}", finding.path.join("."), finding.message))
}

/// Where the files of playbooks lie: as the first configuration says that can be read, else the default one.
pub(crate) fn roots_of(named: &[&Path]) -> Vec<PathBuf> {
    let mut configurations =
        named.iter().filter(|path| !is_playbook(path)).copied().chain([Path::new(DEFAULT_CONF)]);
    let config = configurations.find_map(|path| read::of_any_machine(path, &process_environment).ok());
    config.map_or_else(Config::default, |loaded| loaded.config).media_roots
}

/// A variable that the environment lacks is no fault of the file: it may be set where the server runs.
fn playbook(path: &Path, roots: &[PathBuf]) -> Vec<String> {
    let shown = path.display();
    match playbooks::read(path, roots, &playbooks::any_environment) {
        Err(error) => vec![error],
        Ok(playbook) => {
            let folder = path.parent().unwrap_or(Path::new("."));
            let odd = playbooks::odd(&playbook, folder, roots);
            odd.iter().map(|warning| format!("{shown}: {warning}")).collect()
        }
    }
}
