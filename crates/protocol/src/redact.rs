//! What a secret is by its name, and how a value is shown without it.
//!
//! Fields of the contract that are secrets are [`crate::Secret`] and write themselves as `***`. The rest of what
//! clients send is free: headers, `extra`, addresses. What of that proves who someone is, is decided here and nowhere
//! else, for records, event logs, lists, answers and events alike.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

use crate::option::CallOption;
use crate::value::Extra;

/// What stands in the place of a secret.
const HIDDEN: &str = "***";
/// What stands between the scheme and the host of most addresses.
const HIERARCHICAL: &str = "://";
/// Words that make a name that of a secret.
const WORDS: &[&str] = &["key", "auth", "pwd", "sig"];
/// The same, also as the end of a longer word: `apikey`, `accesstoken`.
const ENDINGS: &[&str] = &[
    "authorization",
    "cookie",
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "passwort",
    "signature",
    "credential",
    "credentials",
    "apikey",
    "secretkey",
    "accesskey",
    "privatekey",
];
/// Names of the contract with such a word that are no secrets.
const PLAIN: &[&str] = &["cacheKey", "finishKey", "unknownKey"];

/// Whether a header, a parameter or a key of an object holds a secret by its name: `Authorization`, `X-Api-Key`,
/// `access_token`, `secretId`.
pub fn names_secret(name: &str) -> bool {
    let secret = |word: &str| WORDS.contains(&word) || ENDINGS.iter().any(|ending| word.ends_with(ending));
    !PLAIN.contains(&name) && words(name).any(|word| secret(&word))
}

/// The words of a name in lower case, as `camelCase`, `snake_case`, `Header-Case` and `HTTPCase` part them.
fn words(name: &str) -> impl Iterator<Item = String> {
    let letters: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| letters.get(at));
        let after = letters.get(at.saturating_add(1));
        let begins = letter.is_uppercase()
            && (before.is_some_and(|before| before.is_lowercase() || before.is_ascii_digit())
                || before.is_some_and(|before| before.is_uppercase())
                    && after.is_some_and(|after| after.is_lowercase()));
        if begins || !letter.is_alphanumeric() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| letter.is_alphanumeric()) {
            word.extend(letter.to_lowercase());
        }
    }
    words.into_iter()
}

/// A text whose addresses hold no secret: who logs in (`http://***@host`), the password of a SIP URI
/// (`sip:alice:***@host`), and parameters whose names are those of secrets (`?X-Amz-Signature=***`).
pub fn text(text: &str) -> Cow<'_, str> {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, scheme, address)) = next_address(rest) {
        let ends = |c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"');
        let (address, after) = address.split_at(address.find(ends).unwrap_or(address.len()));
        shown.push_str(before);
        shown.push_str(scheme);
        shown.push_str(&bare(address, scheme));
        rest = after;
    }
    if shown.is_empty() {
        return Cow::Borrowed(text);
    }
    shown.push_str(rest);
    if shown == text { Cow::Borrowed(text) } else { Cow::Owned(shown) }
}

/// What stands before the next address, how it begins after its scheme, and the rest.
fn next_address(text: &str) -> Option<(&str, &str, &str)> {
    let (at, scheme) = text.match_indices(':').find_map(|(at, _)| {
        let (before, rest) = text.split_at_checked(at)?;
        let ends = |with: &str| {
            let end = before.len().checked_sub(with.len()).and_then(|at| before.get(at..));
            end.is_some_and(|end| end.eq_ignore_ascii_case(with))
        };
        let scheme = if rest.starts_with(HIERARCHICAL) { HIERARCHICAL } else { ":" };
        (scheme == HIERARCHICAL || ends("sip") || ends("sips")).then_some((at, scheme))
    })?;
    let (before, rest) = text.split_at_checked(at)?;
    Some((before, scheme, rest.strip_prefix(scheme)?))
}

/// An address, without its scheme, that shows no secret.
fn bare(address: &str, scheme: &str) -> String {
    let hierarchical = scheme == HIERARCHICAL;
    let ends: &[char] = if hierarchical { &['/', '?', '#'] } else { &['?'] };
    let (authority, rest) = address.split_at(address.find(ends).unwrap_or(address.len()));
    let mut shown = String::with_capacity(address.len());
    match authority.rsplit_once('@') {
        Some((_, host)) if hierarchical => shown.push_str(&format!("{HIDDEN}@{host}")),
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => shown.push_str(&format!("{name}:{HIDDEN}@{host}")),
            None => shown.push_str(authority),
        },
        None => shown.push_str(authority),
    }
    let (path, parameters) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    shown.push_str(path);
    for parameter in parameters.split_inclusive(['?', '#', '&', ';']) {
        let (pair, mark) =
            parameter.split_at(parameter.len() - usize::from(parameter.ends_with(['?', '#', '&', ';'])));
        match pair.split_once('=') {
            Some((name, value)) if !value.is_empty() && names_secret(&unescaped(name)) => {
                shown.push_str(&format!("{name}={HIDDEN}"));
            }
            _ => shown.push_str(pair),
        }
        shown.push_str(mark);
    }
    shown
}

/// The name of a parameter as its server reads it: `%5F` and the like are other spellings of a letter.
fn unescaped(name: &str) -> Cow<'_, str> {
    if !name.contains('%') {
        return Cow::Borrowed(name);
    }
    let mut bytes = name.bytes();
    let mut read = Vec::with_capacity(name.len());
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)?.try_into().ok());
        let pair: (Option<u8>, Option<u8>) = (digit(ahead.next()), digit(ahead.next()));
        match pair {
            (Some(high), Some(low)) if byte == b'%' => {
                read.push(high << 4 | low);
                bytes = ahead;
            }
            _ => read.push(byte),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&read).into_owned())
}

/// Hides the secrets in a value of any shape: what stands under the name of one, and those in addresses.
pub fn value(value: &mut Value) {
    match value {
        Value::String(given) => {
            if let Some(shown) = written(given) {
                *given = shown;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(self::value),
        Value::Object(map) => map.iter_mut().for_each(|(name, inner)| member(name, inner)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A text without its secrets, when it has any. It may hold JSON, as the arguments of a function do.
fn written(given: &str) -> Option<String> {
    let inner = given.trim_start().starts_with(['{', '[']).then(|| serde_json::from_str::<Value>(given));
    if let Some(Ok(inner)) = inner {
        let mut shown = inner.clone();
        value(&mut shown);
        return (shown != inner).then(|| shown.to_string());
    }
    match text(given) {
        Cow::Owned(shown) => Some(shown),
        Cow::Borrowed(_) => None,
    }
}

fn member(name: &str, inner: &mut Value) {
    if names_secret(name) && !inner.is_null() {
        *inner = Value::String(HIDDEN.into());
    } else {
        value(inner);
    }
}

/// Free data without its secrets.
pub fn extra(mut extra: Extra) -> Extra {
    extra.iter_mut().for_each(|(name, inner)| member(name, inner));
    extra
}

/// A command or an event as JSON for others than its sender and its receiver. The names of its own fields are those
/// of the contract, where what is secret hides itself (the `key` of `metrics` is none); what they hold is free.
pub fn message(message: &impl Serialize) -> Value {
    let mut json = serde_json::to_value(message).unwrap_or_default();
    if let Some(fields) = json.as_object_mut() {
        fields.values_mut().for_each(value);
    }
    json
}

/// An option without its secrets, for records and lists.
pub fn option(option: &CallOption) -> CallOption {
    let mut json = serde_json::to_value(option).unwrap_or_default();
    value(&mut json);
    // What is written can be read; should that ever fail, nothing is shown rather than too much.
    serde_json::from_value(json).unwrap_or_default()
}
