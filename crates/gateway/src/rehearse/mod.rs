//! Playbooks without a phone: `active-call test` plays scenario files, `active-call chat` talks by text.

mod chat;
mod live;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use playbook::Playbook;
use playbook::rehearsal::{self, Models, Report, Scenario, Suite};
use protocol::chat::Ask;
use tokio::runtime::Runtime;

use crate::check;
use crate::cli::Test;
use crate::playbooks;
pub use chat::{Ending, chat};
use live::Live;

/// Plays the scenario files of `flags` and writes to `out` what came of them. Gives the number of failures; a file
/// that cannot be used is one.
///
/// # Errors
/// Those of writing to `out` and of the JUnit file, and of starting the runtime.
pub fn test(flags: &Test, out: &mut dyn Write) -> io::Result<usize> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let roots = check::roots_of(&[]);
    let mut all = Vec::new();
    let (mut passed, mut failed, mut unjudged) = (0, 0, 0);
    for file in &flags.files {
        let shown = file.display().to_string();
        let reports = match played(file, flags, &roots, &runtime) {
            Ok(reports) => reports,
            Err((line, why)) => vec![unusable(line, why)],
        };
        for report in &reports {
            told(&shown, report, out)?;
            unjudged += report.unjudged;
            *if report.failure.is_some() { &mut failed } else { &mut passed } += 1;
        }
        all.push((shown, reports));
    }
    write!(out, "{passed} passed, {failed} failed")?;
    if unjudged > 0 {
        write!(out, "; {unjudged} steps want a judge, which --live has")?;
    }
    writeln!(out)?;
    if let Some(path) = &flags.junit {
        std::fs::write(path, rehearsal::junit(&all))?;
    }
    // A filter with a slip in it must not look like success.
    Ok(if passed + failed == 0 { 1 } else { failed })
}

fn told(file: &str, report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let seconds = report.length_ms as f64 / 1000.0;
    match &report.failure {
        None => writeln!(out, "ok      {file}: {} ({seconds:.1} s of call)", report.name),
        Some((line, why)) => {
            writeln!(out, "FAILED  {file}:{line}: {}\n        {why}", report.name)?;
            report.transcript.lines().try_for_each(|line| writeln!(out, "        | {line}"))
        }
    }
}

fn unusable(line: usize, why: String) -> Report {
    Report {
        name: "the file can be used".into(),
        failure: Some((line, why)),
        transcript: String::new(),
        length_ms: 0,
        unjudged: 0,
    }
}

/// The reports of one file; else the line in it and why it cannot be used.
fn played(
    file: &Path,
    flags: &Test,
    roots: &[PathBuf],
    runtime: &Runtime,
) -> Result<Vec<Report>, (usize, String)> {
    let text = playbooks::text_of(file).map_err(|why| (1, why))?;
    let suite = Suite::parse(&text).map_err(|error| (error.line(), error.to_string()))?;
    let path = file.parent().unwrap_or(Path::new(".")).join(&suite.playbook);
    let playbook =
        Arc::new(playbooks::read(&path, roots, &playbooks::any_environment).map_err(|why| (1, why))?);
    let live = model(&playbook, flags.live).map_err(|why| (1, why))?;
    let wanted = |scenario: &&Scenario| {
        flags.filter.as_ref().is_none_or(|part| scenario.name.to_lowercase().contains(&part.to_lowercase()))
    };
    let play = |scenario| {
        let asked = |ask: &Ask| live.iter().flat_map(|live| runtime.block_on(live.answer(ask))).collect();
        let (mut answers, mut judges) = (asked, asked);
        let mut models = Models::default();
        if let Some(live) = &live {
            models.answers = Some(&mut answers);
            models.judges = if live.is_offline() { None } else { Some(&mut judges) };
        }
        rehearsal::run(&playbook, scenario, models)
    };
    Ok(suite.scenarios.iter().filter(wanted).map(play).collect())
}

/// A model that needs no key is always there; others are asked only by those who want them to be.
fn model(playbook: &Playbook, live: bool) -> Result<Option<Live>, String> {
    match Live::of(playbook) {
        Ok(model) => Ok(model.filter(|model| live || model.is_offline())),
        Err(_) if !live => Ok(None),
        Err(why) => Err(why),
    }
}
