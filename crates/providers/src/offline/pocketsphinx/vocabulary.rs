//! What pocketsphinx can hear: its language model, a list of phrases, or a grammar.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use protocol::value::Extra;
use serde_json::Value;
use tempfile::TempDir;

use crate::ProviderError;

/// Folder of the Debian package [`MODEL_PACKAGE`].
const MODEL: &str = "/usr/share/pocketsphinx/model/en-us";
const MODEL_PACKAGE: &str = "pocketsphinx-en-us";
const MOST_PHRASES: usize = 2000;
const LONGEST_PHRASE: usize = 200;
const LONGEST_GRAMMAR: usize = 64 << 10;

/// What can be heard, as arguments of the program.
pub(super) struct Vocabulary {
    whole: Vec<String>,
    part: Vec<String>,
    /// Holds the generated files for as long as programs may read them.
    _folder: Option<TempDir>,
}

impl Vocabulary {
    /// The vocabulary that `extra.words` or `extra.grammar` describes, else all English. Errors: the model is
    /// not installed, a word is not in its dictionary, both are given, or no file can be written.
    pub(super) fn new(extra: &Extra) -> Result<Self, ProviderError> {
        let model = Path::new(MODEL);
        if !model.join("en-us/mdef").is_file() {
            let program = "the English model of pocketsphinx".to_owned();
            return Err(ProviderError::MissingProgram { program, package: MODEL_PACKAGE });
        }
        match (extra.get("words"), extra.get("grammar")) {
            (Some(_), Some(_)) => Err(wrong("extra.words", "give words or grammar, not both")),
            (Some(words), None) => Vocabulary::of_phrases(&phrases(words)?),
            (None, Some(Value::String(grammar))) => Vocabulary::of_grammar(grammar),
            (None, Some(_)) => Err(wrong("extra.grammar", "expected a grammar in JSGF as text")),
            (None, None) => Ok(Vocabulary::of_model(model)),
        }
    }

    /// Arguments for hearing a whole utterance.
    pub(super) fn whole(&self) -> &[String] {
        &self.whole
    }

    /// Arguments for hearing an utterance that is not over, whose words need not make sense yet.
    pub(super) fn part(&self) -> &[String] {
        &self.part
    }

    fn of_model(model: &Path) -> Self {
        let file = |name: &str| model.join(name).display().to_string();
        let mut whole: Vec<String> =
            ["-lm".to_owned(), file("en-us.lm.bin"), "-dict".to_owned(), file("cmudict-en-us.dict")].into();
        // The second pass begins when the sound ends and would keep the caller waiting.
        whole.extend(["-fwdflat", "no"].map(str::to_owned));
        let mut part = whole.clone();
        // The best path only matters to confidence and rare words.
        part.extend(["-bestpath", "no", "-maxhmmpf", "3000"].map(str::to_owned));
        Vocabulary { whole, part, _folder: None }
    }

    fn of_phrases(phrases: &[Vec<String>]) -> Result<Self, ProviderError> {
        let words = phrases.iter().flatten().cloned().collect();
        Vocabulary::written("extra.words", &words, &whole_phrases(phrases), &begun_phrases(phrases))
    }

    fn of_grammar(grammar: &str) -> Result<Self, ProviderError> {
        let words = words_of(grammar)?;
        super::grammar::check(grammar).map_err(|why| wrong("extra.grammar", why))?;
        let any: Vec<&str> = words.iter().map(String::as_str).collect();
        let part = format!("{HEADER}public <part> = ( {} )+ ;\n", any.join(" | "));
        let whole = if grammar.trim_start().starts_with("#JSGF") {
            grammar.to_owned()
        } else {
            format!("{HEADER}{grammar}")
        };
        Vocabulary::written("extra.grammar", &words, &whole, &part)
    }

    /// Writes grammars and the dictionary of `words` into a folder of their own.
    fn written(
        field: &'static str,
        words: &BTreeSet<String>,
        whole: &str,
        part: &str,
    ) -> Result<Self, ProviderError> {
        let failed =
            |error: std::io::Error| ProviderError::Protocol(format!("no file for a word list: {error}"));
        let dictionary =
            std::fs::read_to_string(Path::new(MODEL).join("cmudict-en-us.dict")).map_err(failed)?;
        let dictionary = pronunciations(field, words, &dictionary)?;
        let folder = tempfile::Builder::new().prefix("active-call-words").tempdir().map_err(failed)?;
        let write = |name: &str, text: &str| -> Result<String, ProviderError> {
            let file: PathBuf = folder.path().join(name);
            std::fs::write(&file, text).map_err(failed)?;
            Ok(file.display().to_string())
        };
        let dictionary = write("words.dict", &dictionary)?;
        let arguments = |file: String| {
            let mut arguments = vec!["-jsgf".to_owned(), file, "-dict".to_owned(), dictionary.clone()];
            // Wider than by default: few words cost little, and on a narrowband line the right ones score badly.
            arguments.extend(["-beam", "1e-100", "-pbeam", "1e-100", "-wbeam", "1e-80"].map(str::to_owned));
            arguments
        };
        let (whole, part) = (arguments(write("whole.jsgf", whole)?), arguments(write("part.jsgf", part)?));
        Ok(Vocabulary { whole, part, _folder: Some(folder) })
    }
}

const HEADER: &str = "#JSGF V1.0;\ngrammar words;\n";

fn wrong(field: &'static str, why: impl Into<String>) -> ProviderError {
    ProviderError::Option { field, why: why.into() }
}

/// The phrases of `extra.words`: a list of texts, or one text with a phrase a line.
fn phrases(value: &Value) -> Result<Vec<Vec<String>>, ProviderError> {
    let expected = || wrong("extra.words", "expected a list of phrases");
    let texts: Vec<&str> = match value {
        Value::String(text) => text.lines().collect(),
        Value::Array(list) => {
            list.iter().map(|one| one.as_str().ok_or_else(expected)).collect::<Result<_, _>>()?
        }
        _ => return Err(expected()),
    };
    if texts.len() > MOST_PHRASES || texts.iter().any(|text| text.len() > LONGEST_PHRASE) {
        return Err(wrong(
            "extra.words",
            format!("too much: expected up to {MOST_PHRASES} phrases of up to {LONGEST_PHRASE} characters"),
        ));
    }
    let phrases: BTreeSet<Vec<String>> =
        texts.iter().map(|text| spoken(text)).filter(|phrase| !phrase.is_empty()).collect();
    if phrases.is_empty() { Err(expected()) } else { Ok(phrases.into_iter().collect()) }
}

/// The words of a text as the dictionary writes them.
fn spoken(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '\'')
        .map(|word| word.trim_matches('\'').to_lowercase())
        .filter(|word| !word.is_empty())
        .collect()
}

/// One of the phrases. (Several in a row could be told too, but then the breath after a phrase is often taken
/// for a short one.)
fn whole_phrases(phrases: &[Vec<String>]) -> String {
    let any: Vec<String> = phrases.iter().map(|phrase| phrase.join(" ")).collect();
    format!("{HEADER}public <whole> = {} ;\n", any.join(" | "))
}

/// As [`whole_phrases`], but each phrase may break off after any word.
fn begun_phrases(phrases: &[Vec<String>]) -> String {
    let begun = |phrase: &Vec<String>| {
        let open = phrase.join(" [ ");
        format!("{open}{}", " ]".repeat(phrase.len() - 1))
    };
    let any: Vec<String> = phrases.iter().map(begun).collect();
    format!("{HEADER}public <part> = {} ;\n", any.join(" | "))
}

/// Every word that a grammar in JSGF says. Errors: it is too long, imports another, or has no words.
fn words_of(grammar: &str) -> Result<BTreeSet<String>, ProviderError> {
    if grammar.len() > LONGEST_GRAMMAR {
        return Err(wrong("extra.grammar", format!("too long: expected up to {LONGEST_GRAMMAR} bytes")));
    }
    let mut words = BTreeSet::new();
    let text: String = grammar
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .fold(String::new(), |text, line| text + line + "\n");
    for statement in text.split(';') {
        let statement = statement.trim();
        if statement.starts_with("import") {
            return Err(wrong("extra.grammar", "import is not possible: write all rules in one grammar"));
        }
        if statement.starts_with("#JSGF") || statement.starts_with("grammar ") {
            continue;
        }
        let said = statement.split_once('=').map_or("", |(_, said)| said);
        words.extend(spoken(&without_markup(said)));
    }
    if words.is_empty() {
        return Err(wrong("extra.grammar", "expected rules such as: public <any> = yes | no;"));
    }
    Ok(words)
}

/// `said` without rule names, weights and tags.
fn without_markup(said: &str) -> String {
    let mut plain = String::with_capacity(said.len());
    let mut until = None;
    for c in said.chars() {
        match (until, c) {
            (Some(end), c) if c == end => until = None,
            (Some(_), _) => {}
            (None, '<') => until = Some('>'),
            (None, '{') => until = Some('}'),
            (None, '/') => until = Some('/'),
            (None, c) => plain.push(c),
        }
        if until.is_some() {
            plain.push(' ');
        }
    }
    plain
}

/// The lines of `dictionary` for `words`. Errors: a word that it does not have.
fn pronunciations(
    field: &'static str,
    words: &BTreeSet<String>,
    dictionary: &str,
) -> Result<String, ProviderError> {
    let mut lines: HashMap<&str, Vec<&str>> = words.iter().map(|word| (word.as_str(), Vec::new())).collect();
    for line in dictionary.lines() {
        // A second pronunciation is listed as `word(2)`.
        let word = line.split([' ', '\t', '(']).next().unwrap_or_default();
        if let Some(lines) = lines.get_mut(word) {
            lines.push(line);
        }
    }
    let unknown: Vec<&str> =
        words.iter().map(String::as_str).filter(|word| lines.get(word).is_none_or(Vec::is_empty)).collect();
    if !unknown.is_empty() {
        let some: Vec<String> = unknown.iter().take(10).map(|word| word.chars().take(40).collect()).collect();
        return Err(wrong(
            field,
            format!(
                "not in the English dictionary: {}; write numbers as words, names as they sound",
                some.join(", ")
            ),
        ));
    }
    let mut all: Vec<&str> = lines.into_values().flatten().collect();
    all.sort_unstable();
    Ok(all.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_grammar_are_those_that_are_said() {
        let grammar = "#JSGF V1.0;\ngrammar g;\n// a comment\npublic <a> = /0.5/ open [the] <b> {tag} | \"yes\";\n<b> = Door*;";
        let words: Vec<String> = words_of(grammar).unwrap().into_iter().collect();
        assert_eq!(words, ["door", "open", "the", "yes"]);
        assert!(words_of("import <x>; public <a> = b;").is_err());
        assert!(words_of("nothing").is_err());
    }

    #[test]
    fn a_begun_phrase_may_break_off_after_any_word() {
        let phrases = [vec!["a".to_owned(), "b".to_owned(), "c".to_owned()], vec!["d".to_owned()]];
        assert!(begun_phrases(&phrases).ends_with("= a [ b [ c ] ] | d ;\n"));
    }

    #[test]
    fn an_unknown_word_is_named() {
        let words = BTreeSet::from(["yes".to_owned(), "xyzzy".to_owned()]);
        let error = pronunciations("extra.words", &words, "yes Y EH S\nyes(2) Y AE S\n").unwrap_err();
        assert!(error.to_string().contains("xyzzy") && !error.to_string().contains("yes,"));
    }

    proptest::proptest! {
        #[test]
        fn no_grammar_panics(grammar in "\\PC{0,80}") {
            let _ = words_of(&grammar);
        }
    }
}
