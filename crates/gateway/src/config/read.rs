//! From the text of a file to [`Config`].

use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use serde_ignored::Path as KeyPath;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::problem::{ConfigError, Problem, Source};
use super::words::nearest;
use super::{
    ApiKey, Auth, Config, EgressTable, HandlerTable, IceServerTable, RecordTable, Recording, RegisterUser,
    Rewrite, Rule, SipTable, SipUser, UserCredential, check, machine, mistyped,
};

/// Largest file that is read.
const MAX_FILE: u64 = 1024 * 1024;

/// Environment variables by name.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A configuration, and what in its file has no effect.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Unknown keys and keys whose feature is not there. `check` takes them for errors.
    pub warnings: Vec<Problem>,
}

/// Reads the file at `path` for a server on this machine, and looks at what it names here: a folder that cannot be
/// written is warned about.
///
/// # Errors
/// When the file is missing, too large, no TOML, or holds a value that is wrong.
pub fn file(path: &Path, environment: Environment<'_>) -> Result<Loaded, Box<ConfigError>> {
    read(path, environment, machine::findings_here)
}

/// Reads the file at `path` for a command that serves no calls: the addresses and files that it names may be those of
/// another machine.
///
/// # Errors
/// As [`file()`], without what is wrong on this machine.
pub fn of_any_machine(path: &Path, environment: Environment<'_>) -> Result<Loaded, Box<ConfigError>> {
    read(path, environment, check::findings)
}

fn read(
    path: &Path,
    environment: Environment<'_>,
    findings: fn(&Config) -> Vec<check::Finding>,
) -> Result<Loaded, Box<ConfigError>> {
    let name = path.display().to_string();
    let unreadable = |why: String| {
        let source = Source { name: name.clone(), text: String::new() };
        Box::new(ConfigError::new(&source, Problem::at(&source, None, why)))
    };
    let size = std::fs::metadata(path).map_err(|e| unreadable(format!("cannot be read: {e}")))?.len();
    if size > MAX_FILE {
        return Err(unreadable(format!("has {size} bytes; a configuration has at most {MAX_FILE}")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| unreadable(format!("cannot be read: {e}")))?;
    parsed(&Source { name: name.clone(), text }, environment, findings)
}

/// What counts without a file: the defaults, with warnings for folders that cannot be written.
pub fn defaults() -> Loaded {
    let source = Source { name: "the default configuration".into(), text: String::new() };
    parsed(&source, &|_| None, machine::findings_here).unwrap_or_default()
}

/// Reads a configuration from its text.
///
/// # Errors
/// When it is no TOML or holds a value that is wrong.
pub fn text(source: &Source, environment: Environment<'_>) -> Result<Loaded, Box<ConfigError>> {
    parsed(source, environment, check::findings)
}

fn parsed(
    source: &Source,
    environment: Environment<'_>,
    findings: fn(&Config) -> Vec<check::Finding>,
) -> Result<Loaded, Box<ConfigError>> {
    let fail = |problem| Box::new(ConfigError::new(source, problem));
    let mut tree =
        DeTable::parse(&source.text).map_err(|e| fail(Problem::at(source, e.span(), e.message())))?;
    let mut reading = Reading { source, environment, warnings: Vec::new() };
    reading.prepare(tree.get_mut(), "").map_err(fail)?;
    reading.lift_ua(tree.get_mut());
    let places = tree.clone();
    let mut unknown = Vec::new();
    let mut note = |path: KeyPath<'_>| unknown.push(steps(&path));
    let ignored = serde_ignored::Deserializer::new(Deserializer::from(tree), &mut note);
    let config = Config::deserialize(ignored).map_err(|e| {
        let key = e.span().and_then(|span| mistyped::key_of(places.get_ref(), &span));
        fail(Problem::at(source, e.span(), mistyped::told(e.message(), key)))
    })?;
    for path in &unknown {
        let warning = reading.unknown(&places, path);
        reading.warnings.push(warning);
    }
    let mut warnings = reading.warnings;
    for finding in findings(&config) {
        let mut problem = Problem::at(source, place(&places, &finding.path), finding.message);
        problem.help = finding.help;
        if finding.fatal {
            return Err(fail(problem));
        }
        warnings.push(problem);
    }
    Ok(Loaded { config, warnings })
}

struct Reading<'a> {
    source: &'a Source,
    environment: Environment<'a>,
    warnings: Vec<Problem>,
}

/// Tables whose keys are the user's own, or are read in both spellings.
const FREE: &[&str] = &["headers", "ambiance"];

impl Reading<'_> {
    /// Writes keys in snake_case and puts the environment into texts.
    fn prepare(&mut self, table: &mut DeTable<'_>, name: &str) -> Result<(), Problem> {
        let entries = std::mem::take(table);
        for (mut key, mut value) in entries {
            self.substitute(&mut value, key.get_ref())?;
            if !FREE.contains(&name) && key.get_ref().bytes().any(|b| b.is_ascii_uppercase()) {
                let written = snake(key.get_ref());
                *key.get_mut() = written.into();
            }
            if table.contains_key(&key) {
                let message = format!("\"{}\" is given twice, in two spellings", key.get_ref());
                return Err(Problem::at(self.source, Some(key.span()), message));
            }
            table.insert(key, value);
        }
        Ok(())
    }

    fn substitute(&mut self, value: &mut Spanned<DeValue<'_>>, name: &str) -> Result<(), Problem> {
        let span = value.span();
        match value.get_mut() {
            DeValue::String(text) if text.contains("${") => {
                let filled = fill(text, self.environment)
                    .map_err(|(why, help)| Problem::at(self.source, Some(span), why).help(help))?;
                *text = filled.into();
            }
            DeValue::Table(table) => self.prepare(table, name)?,
            DeValue::Array(list) => {
                for inner in list.iter_mut() {
                    self.substitute(inner, name)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Older files have SIP keys in `[ua]`. A key at the top wins over the same one there.
    fn lift_ua(&mut self, root: &mut DeTable<'_>) {
        let Some(ua) = root.remove("ua") else { return };
        let span = ua.span();
        match ua.into_inner() {
            DeValue::Table(table) => {
                for (key, value) in table {
                    if root.contains_key(&key) {
                        let message =
                            format!("\"{0}\" in [ua] has no effect beside \"{0}\" at the top", key.get_ref());
                        self.warnings.push(Problem::at(self.source, Some(key.span()), message));
                    } else {
                        root.insert(key, value);
                    }
                }
            }
            _ => self.warnings.push(Problem::at(self.source, Some(span), "\"ua\" is no table")),
        }
    }

    fn unknown(&self, places: &Spanned<DeTable<'_>>, path: &[String]) -> Problem {
        let span = place(places, path);
        let key = path.last().map(String::as_str).unwrap_or_default();
        let problem = Problem::at(self.source, span, format!("unknown key \"{key}\""));
        match nearest(key, known_keys(path)) {
            Some(near) => problem.help(format!("did you mean \"{near}\"?")),
            None => problem,
        }
    }
}

/// The keys of the table that the last step of `path` stands in.
fn known_keys(path: &[String]) -> impl Iterator<Item = &'static str> {
    let tables: Vec<&str> = path
        .iter()
        .take(path.len().saturating_sub(1))
        .filter(|s| s.parse::<usize>().is_err())
        .map(String::as_str)
        .collect();
    let keys = match tables.as_slice() {
        ["auth"] => Auth::KEYS,
        ["auth", "keys"] => ApiKey::KEYS,
        ["egress"] => EgressTable::KEYS,
        ["handler"] => HandlerTable::KEYS,
        ["handler", "rules"] => Rule::KEYS,
        ["sip"] => SipTable::KEYS,
        ["sip", "users"] => SipUser::KEYS,
        ["register_users"] => RegisterUser::KEYS,
        ["register_users", "credential"] => UserCredential::KEYS,
        ["callrecord" | "call_record"] => RecordTable::KEYS,
        ["recording"] => Recording::KEYS,
        ["rewrites"] => Rewrite::KEYS,
        ["ice_servers"] => IceServerTable::KEYS,
        ["ambiance"] => &["path", "duckLevel", "normalLevel", "transitionSpeed", "enabled"],
        _ => Config::KEYS,
    };
    keys.iter().map(|key| key.strip_prefix("r#").unwrap_or(key))
}

/// Where the value or, failing that, the key at `path` stands.
fn place(root: &Spanned<DeTable<'_>>, path: &[String]) -> Option<Range<usize>> {
    let mut span = None;
    let mut value: Option<&DeValue<'_>> = None;
    for (depth, step) in path.iter().enumerate() {
        let table = if depth == 0 { Some(root.get_ref()) } else { value.and_then(|v| v.as_table()) };
        if let Some((key, inner)) = table.and_then(|table| entry(table, step)) {
            span = Some(key.span());
            value = Some(inner.get_ref());
        } else if let Some(inner) = value
            .and_then(|v| v.as_array())
            .and_then(|list| step.parse::<usize>().ok().and_then(|index| list.get(index)))
        {
            span = Some(inner.span());
            value = Some(inner.get_ref());
        } else {
            break;
        }
    }
    span
}

/// Some tables are read in both spellings.
fn entry<'t, 'a>(
    table: &'t DeTable<'a>,
    key: &str,
) -> Option<(&'t Spanned<std::borrow::Cow<'a, str>>, &'t Spanned<DeValue<'a>>)> {
    table.get_key_value(key).or_else(|| table.get_key_value(snake(key).as_str()))
}

/// serde_ignored also counts the `Option`s it passes through.
fn steps(path: &KeyPath<'_>) -> Vec<String> {
    path.to_string().split('.').filter(|step| *step != "?").map(str::to_owned).collect()
}

fn snake(key: &str) -> String {
    let mut snake = String::with_capacity(key.len() + 4);
    for letter in key.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() && !snake.ends_with('_') {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// `text` with each `${NAME}` and `${NAME:-default}` filled in. The error is what is wrong and what to do.
fn fill(text: &str, environment: Environment<'_>) -> Result<String, (String, String)> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        filled.push_str(before);
        let Some((inside, tail)) = after.split_once('}') else {
            return Err(("\"${\" has no \"}\"".into(), "write \"${NAME}\"".into()));
        };
        let (name, default) = inside.split_once(":-").map_or((inside, None), |(n, d)| (n, Some(d)));
        let value = environment(name).or_else(|| default.map(str::to_owned)).ok_or_else(|| {
            let why = format!("the environment has no variable \"{name}\"");
            (why, format!("set it, or write \"${{{name}:-default}}\""))
        })?;
        filled.push_str(&value);
        rest = tail;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// The environment of this process, read where configuration and playbooks name it.
#[allow(clippy::disallowed_methods, reason = "configuration is the place that reads the environment")]
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
