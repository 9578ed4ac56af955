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
        let found = match is_playbook(path) {
            true => {
                for note in missing_variables(path) {
                    writeln!(out, "{note}")?;
                }
                playbook(path, config.as_ref())
            }
            false => configuration(path),
        };
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
                    Ok(found) => faults.extend(playbook(&found, Some(&loaded.config))),
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
fn playbook(path: &Path, config: Option<&Config>) -> Vec<String> {
    let shown = path.display();
    let default = Config::default();
    let roots = &config.unwrap_or(&default).media_roots;
    match playbooks::read(path, roots, &playbooks::any_environment) {
        Err(error) => vec![error],
        Ok(playbook) => {
            let folder = path.parent().unwrap_or(Path::new("."));
            let mut odd = playbooks::odd(&playbook, folder, roots);
            odd.extend(config.iter().flat_map(|config| beyond::wishes(&playbook, config)));
            odd.iter().map(|warning| format!("{shown}: {warning}")).collect()
        }
    }
}

/// Variables that a playbook names and this environment lacks. They are no fault of the file, and no fault is counted: they
/// may be set where the server runs.
fn missing_variables(path: &Path) -> Vec<String> {
    let warnings = |environment: &dyn Fn(&str) -> Option<String>| {
        let read = playbooks::read(path, &[], environment);
        read.map(|playbook| playbook.warnings).unwrap_or_default()
    };
    let of_any_machine = warnings(&playbooks::any_environment);
    let mut here = warnings(&process_environment);
    here.retain(|warning| !of_any_machine.contains(warning));
    here.iter()
        .map(|warning| format!("{}: {warning} (set it where the server runs)", path.display()))
        .collect()
}
