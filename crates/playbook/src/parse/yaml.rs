//! YAML as a JSON value in which every key has a place.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Error, MessageFormatter, Options, Spanned, UserMessageFormatter};

use super::Env;
use crate::error::{PlaybookError, Warning};

/// Most nodes of the settings, aliases included: an alias bomb ends here.
const MAX_NODES: usize = 50_000;
/// Deepest nesting.
const MAX_DEPTH: usize = 64;

/// The settings of a playbook.
pub(super) struct Yaml {
    /// Always an object.
    pub(super) value: Map<String, Value>,
    /// Line and column of each key, by its path.
    places: BTreeMap<String, (usize, usize)>,
    first_line: usize,
    /// Variables that the environment does not have, with the paths of the values that name them.
    missing: Vec<(String, String)>,
}

/// Reads `text`, which begins at `first_line` of the file, and fills in `${NAME}` from the environment.
pub(super) fn read(text: &str, first_line: usize, env: Env<'_>) -> Result<Yaml, PlaybookError> {
    let mut options = Options::default();
    options.alias_limits.max_total_replayed_events = MAX_NODES;
    options.with_snippet = false;
    if let Some(budget) = &mut options.budget {
        budget.max_nodes = MAX_NODES;
        budget.max_events = 4 * MAX_NODES;
        budget.max_depth = MAX_DEPTH;
    }
    let parse = |text: &str| serde_saphyr::from_str_with_options::<Node>(text, options.clone());
    // In braces `${NAME}` is no text of YAML, but everybody means it so.
    let mended = |error| quoted(text).and_then(|mended| parse(&mended).ok()).ok_or(error);
    let node = parse(text).or_else(mended).map_err(|error| {
        let place = error.location();
        let place = |of: fn(&serde_saphyr::Location) -> u64| place.as_ref().map_or(1, of).max(1) as usize;
        let line = place(serde_saphyr::Location::line);
        let named = text.lines().nth(line - 1).is_some_and(|line| line.contains("${"));
        let help = if named { "; in braces a value with ${NAME} stands in quotes" } else { "" };
        PlaybookError::Yaml {
            line: first_line + line - 1,
            column: place(serde_saphyr::Location::column),
            message: format!("{}{help}", protocol::read::shown(&told(&error))),
        }
    })?;
    let mut yaml = Yaml { value: Map::new(), places: BTreeMap::new(), first_line, missing: Vec::new() };
    match yaml.place(node, &mut String::new(), env) {
        Value::Object(object) => yaml.value = object,
        Value::Null => {}
        _ => {
            let message = "settings are written as `key: value`".to_owned();
            return Err(PlaybookError::Yaml { line: first_line, column: 1, message });
        }
    }
    Ok(yaml)
}

/// `text` with each value in quotes that is a bare `${NAME}` between braces or brackets; nothing when there is none.
fn quoted(text: &str) -> Option<String> {
    let mut mended = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        let length = from.find('}').map_or(from.len(), |end| end + 1);
        let (name, behind) = from.split_at(length);
        let begins = before.trim_end_matches(' ').ends_with([':', ',', '[']);
        let ends = behind.trim_start_matches(' ').starts_with([',', '}', ']']);
        let quote = if begins && ends && !name.contains(['"', '\n']) { "\"" } else { "" };
        mended.extend([before, quote, name, quote]);
        rest = behind;
    }
    mended.push_str(rest);
    (mended != text).then_some(mended)
}

/// What is wrong, without the place, which is told beside it, and in words of the file and not of its reader.
/// The reader wraps an error at most once for an alias and once for an excerpt.
fn told(error: &Error) -> String {
    match error {
        Error::AliasError { error, .. } | Error::WithSnippet { error, .. } => told(error),
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("the key `{key}` is given twice"),
        Error::DuplicateMappingKey { key: None, .. } => "a key is given twice".to_owned(),
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            "an alias `*name` stands within what it is the name of".to_owned()
        }
        Error::UnknownAnchor { .. } => "an alias `*name` needs its `&name` before it".to_owned(),
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            format!("more than {MAX_NODES} values, aliases written out, or {MAX_DEPTH} levels")
        }
        Error::MultipleDocuments { .. } => "the settings are one document".to_owned(),
        other => UserMessageFormatter.format_message(other).into_owned(),
    }
}

impl Yaml {
    /// The keys of the object at `path`; none where something else stands there.
    pub(super) fn keys_at(&self, path: &str) -> Vec<&str> {
        let mut here: Option<&Value> = None;
        for step in path.split('.').filter(|step| !step.is_empty()) {
            here = match here {
                None => self.value.get(step),
                Some(Value::Object(object)) => object.get(step),
                Some(Value::Array(list)) => step.parse().ok().and_then(|index: usize| list.get(index)),
                Some(_) => None,
            };
            if here.is_none() {
                return Vec::new();
            }
        }
        let object = here.map_or(Some(&self.value), Value::as_object);
        object.into_iter().flat_map(Map::keys).map(String::as_str).collect()
    }

    /// Line and column of the key at `path`, or of the nearest key above it.
    pub(super) fn place_of(&self, path: &str) -> (usize, Option<usize>) {
        let mut path = path.replace('[', ".").replace(']', "");
        loop {
            if let Some((line, column)) = self.places.get(&path).or_else(|| self.places.get(&snake(&path))) {
                return (*line, Some(*column));
            }
            match path.rfind('.') {
                Some(at) => path.truncate(at),
                None => return (self.first_line, None),
            }
        }
    }

    /// Line of the key at `path`.
    pub(super) fn line_of(&self, path: &str) -> usize {
        self.place_of(path).0
    }

    /// The error that the value at `path` does not fit.
    pub(super) fn error(&self, path: &str, message: String, nearest: Option<String>) -> PlaybookError {
        let (line, column) = self.place_of(path);
        PlaybookError::Key { line, column, key: path.to_owned(), message, nearest }
    }

    /// What the environment lacks.
    pub(super) fn warnings(&self) -> Vec<Warning> {
        let warn = |(path, name): &(String, String)| Warning {
            line: self.line_of(path),
            message: format!("`{path}` names ${{{name}}}, which the environment does not have"),
            nearest: None,
        };
        self.missing.iter().map(warn).collect()
    }

    /// The file's text and every value of the settings as filled in, for addresses in them.
    pub(super) fn texts(&self, markdown: &str) -> String {
        let mut texts = markdown.to_owned();
        gather(&self.value, &mut texts);
        texts
    }

    fn place(&mut self, node: Node, path: &mut String, env: Env<'_>) -> Value {
        match node {
            Node::Leaf(Value::String(text)) => self.fill_in(&text, path, env),
            Node::Leaf(value) => value,
            Node::List(list) => {
                let mut values = Vec::with_capacity(list.len());
                for (index, node) in list.into_iter().enumerate() {
                    values.push(
                        self.within(path, &index.to_string(), |yaml, path| yaml.place(node, path, env)),
                    );
                }
                Value::Array(values)
            }
            Node::Map(entries) => {
                let mut object = Map::new();
                for (key, node) in entries {
                    let line = self.first_line + (key.referenced.line().max(1) as usize) - 1;
                    let column = key.referenced.column().max(1) as usize;
                    let Key(key) = key.value;
                    let value = self.within(path, &key, |yaml, path| {
                        yaml.places.insert(path.clone(), (line, column));
                        yaml.place(node, path, env)
                    });
                    object.insert(key, value);
                }
                Value::Object(object)
            }
        }
    }

    fn within<T>(
        &mut self,
        path: &mut String,
        step: &str,
        run: impl FnOnce(&mut Self, &mut String) -> T,
    ) -> T {
        let length = path.len();
        if length > 0 {
            path.push('.');
        }
        path.push_str(step);
        let result = run(self, path);
        path.truncate(length);
        result
    }

    /// Replaces `${NAME}`. A value that is nothing but a variable may also be `true` or `false`.
    fn fill_in(&mut self, text: &str, path: &str, env: Env<'_>) -> Value {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            filled.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                filled.push_str("${");
                rest = after;
                continue;
            };
            match env(name) {
                Some(value) => filled.push_str(&value),
                None => {
                    filled.push_str(&format!("${{{name}}}"));
                    self.missing.push((path.to_owned(), protocol::read::shown(name)));
                }
            }
            rest = after;
        }
        filled.push_str(rest);
        match filled.as_str() {
            "true" if text.starts_with("${") => Value::Bool(true),
            "false" if text.starts_with("${") => Value::Bool(false),
            _ => Value::String(filled),
        }
    }
}

/// `vad.voiceThreshold` as `vad.voice_threshold`.
fn snake(path: &str) -> String {
    let mut snake = String::with_capacity(path.len() + 4);
    for c in path.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

fn gather(object: &Map<String, Value>, texts: &mut String) {
    for value in object.values() {
        gather_value(value, texts);
    }
}

/// The depth of the recursion is at most [`MAX_DEPTH`].
fn gather_value(value: &Value, texts: &mut String) {
    match value {
        Value::String(text) => {
            texts.push('\n');
            texts.push_str(text);
        }
        Value::Array(list) => list.iter().for_each(|value| gather_value(value, texts)),
        Value::Object(object) => gather(object, texts),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

enum Node {
    Leaf(Value),
    List(Vec<Node>),
    Map(Vec<(Spanned<Key>, Node)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }
    fn visit_bool<E: de::Error>(self, v: bool) -> Result<Node, E> {
        Ok(Node::Leaf(Value::Bool(v)))
    }
    fn visit_i64<E: de::Error>(self, v: i64) -> Result<Node, E> {
        Ok(Node::Leaf(Value::from(v)))
    }
    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Node, E> {
        Ok(Node::Leaf(Value::from(v)))
    }
    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Node, E> {
        let number = Number::from_f64(v).ok_or_else(|| E::custom("a number that is finite is expected"))?;
        Ok(Node::Leaf(Value::Number(number)))
    }
    fn visit_str<E: de::Error>(self, v: &str) -> Result<Node, E> {
        Ok(Node::Leaf(Value::String(v.to_owned())))
    }
    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Leaf(Value::Null))
    }
    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Leaf(Value::Null))
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = seq.next_element()? {
            list.push(node);
        }
        Ok(Node::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}

/// A key as text: `1:` and `"1":` are the same.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyVisitor)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = Key;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: de::Error>(self, v: &str) -> Result<Key, E> {
        Ok(Key(v.to_owned()))
    }
}
