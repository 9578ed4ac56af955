//! What a configuration must withstand, whoever wrote it. Fuzzing runs this probe on what it invents, the tests on what is
//! kept in `fuzz/seeds`.

use active_call::config::problem::Source;
use active_call::config::read;

/// Most bytes of what is said of a configuration beside those of the file itself.
const MOST_SAID: usize = 4_096;

/// A file: it is read, or refused with its line in bounded words.
pub(crate) fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let source = Source { name: "a.toml".into(), text: text.into() };
    if let Err(error) = read::text(&source, &|name| Some(name.to_owned())) {
        let said = error.problem().to_string();
        assert!(said.starts_with("a.toml"), "{said}");
        assert!(said.len() <= data.len() + MOST_SAID, "{} bytes of {}", said.len(), data.len());
    }
}
