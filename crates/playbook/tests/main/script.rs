//! `scripts/*.talk`: what happens in the upper half, what the conversation does in the lower half.
//!
//! `UPDATE=1 cargo test -p active-call-playbook` rewrites the lower halves.

use std::fs;
use std::path::{Path, PathBuf};

use crate::world::World;

const RULE: &str = "\n---- then ----\n";

#[test]
fn conversations_go_as_written() {
    let mut scripts: Vec<PathBuf> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "talk"))
        .collect();
    scripts.sort();
    assert!(scripts.len() >= 12, "the scripts are missing");
    let wrong: Vec<String> = scripts.iter().filter_map(|path| check(path).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Plays one script and compares what came out.
fn check(path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).unwrap();
    let (script, expected) = text.split_once(RULE).unwrap_or((text.trim_end(), ""));
    let found = World::play(script);
    if found.trim() == expected.trim() {
        return Ok(());
    }
    #[allow(clippy::disallowed_methods, reason = "a test asks its user here")]
    if std::env::var("UPDATE").is_ok() {
        fs::write(path, format!("{}\n{RULE}{}\n", script.trim_end(), found.trim_end())).unwrap();
        return Ok(());
    }
    Err(format!("{}\n--- expected\n{expected}\n--- found\n{found}", path.display()))
}
