//! Small types that accept every spelling clients use and emit one.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// Free key/value data. Values are any JSON; providers that need strings stringify scalars
/// ([`extra_string`]).
pub type Extra = BTreeMap<String, serde_json::Value>;

/// Names and values of headers.
pub type Headers = BTreeMap<String, String>;

/// A value of [`Extra`] as the string a provider's parameter needs: scalars without quotes, the rest as JSON.
pub fn extra_string(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A password or key. It is read from the wire and never written: `Debug` and `Serialize` give `***`.
///
/// A number is taken as its digits, since keys that are digits are often left unquoted.
#[derive(Clone, Default, PartialEq, Eq, JsonSchema)]
#[schemars(with = "Digits")]
pub struct Secret(String);

/// A text, or a number for its digits.
struct Digits;

impl JsonSchema for Digits {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Digits".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["string", "integer"], "minimum": 0 })
    }
}

impl Secret {
    /// Wraps a secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The secret itself, for the one place that signs or sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the secret is the empty text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Its errors do not repeat what was read.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SecretVisitor;
        impl Visitor<'_> for SecretVisitor {
            type Value = Secret;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::new(text))
            }
            fn visit_u64<E: de::Error>(self, digits: u64) -> Result<Secret, E> {
                Ok(Secret(digits.to_string()))
            }
        }
        deserializer.deserialize_any(SecretVisitor)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

/// How a span may be written: a number, or a text with its unit.
struct Span;

impl JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["number", "string"], "minimum": 0, "pattern": "^ *[0-9]" })
    }
}

/// A span in seconds: a number, or a text such as `"30s"` or `"2min"`. Emitted as a number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, JsonSchema)]
#[schemars(with = "Span")]
pub struct Seconds(pub Duration);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.subsec_nanos() == 0 {
            serializer.serialize_u64(self.0.as_secs())
        } else {
            serializer.serialize_f64(self.0.as_secs_f64())
        }
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpanVisitor { unit: Duration::from_secs(1) }).map(Seconds)
    }
}

/// A span in milliseconds: a number, or a text such as `"800ms"`. Emitted as a number of milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, JsonSchema)]
#[schemars(with = "Span")]
pub struct Millis(pub Duration);

impl Millis {
    /// `ms` milliseconds.
    pub const fn new(ms: u64) -> Self {
        Millis(Duration::from_millis(ms))
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX))
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpanVisitor { unit: Duration::from_millis(1) }).map(Millis)
    }
}

/// How long to wait for the caller's input after a playback.
///
/// The published API counts seconds, deployed clients send milliseconds. A number below 1000 is taken as
/// seconds, any other as milliseconds; a text carries its unit (`"800ms"`). Emitted in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, JsonSchema)]
#[schemars(with = "Span")]
pub struct InputTimeout(pub Duration);

impl Serialize for InputTimeout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Millis(self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for InputTimeout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Scalar(value) = Scalar::deserialize(deserializer)?;
        match value {
            ScalarValue::Number(n) if n < 1000.0 => span(n, Duration::from_secs(1)),
            ScalarValue::Number(n) => span(n, Duration::from_millis(1)),
            ScalarValue::Text(text) => humantime_span(&text),
        }
        .map(InputTimeout)
        .map_err(de::Error::custom)
    }
}

/// A year in seconds: the longest span that any option takes. It keeps arithmetic far from overflow.
const LONGEST_S: f64 = 86_400.0 * 366.0;

fn span(count: f64, unit: Duration) -> Result<Duration, String> {
    let seconds = count * unit.as_secs_f64();
    if (0.0..=LONGEST_S).contains(&seconds) {
        Ok(Duration::from_micros((seconds * 1e6).round() as u64))
    } else {
        Err(format!("{count} is no time span: expected a number from 0 up to a year"))
    }
}

/// A text such as `"30s"`, within the same limit as numbers.
fn humantime_span(text: &str) -> Result<Duration, String> {
    let shown: String = text.chars().take(40).collect();
    match humantime::parse_duration(text) {
        Ok(span) if span.as_secs_f64() <= LONGEST_S => Ok(span),
        Ok(_) => Err(format!("\"{shown}\" is longer than a year")),
        Err(error) => Err(format!("{error} in \"{shown}\"")),
    }
}

struct SpanVisitor {
    unit: Duration,
}

impl Visitor<'_> for SpanVisitor {
    type Value = Duration;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = if self.unit.as_secs() == 1 { "seconds" } else { "milliseconds" };
        write!(f, "a number of {unit} or a string such as \"30s\"")
    }
    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Duration, E> {
        span(v as f64, self.unit).map_err(E::custom)
    }
    fn visit_i64<E: de::Error>(self, v: i64) -> Result<Duration, E> {
        span(v as f64, self.unit).map_err(E::custom)
    }
    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Duration, E> {
        span(v, self.unit).map_err(E::custom)
    }
    fn visit_str<E: de::Error>(self, v: &str) -> Result<Duration, E> {
        if let Ok(number) = v.trim().parse::<f64>() {
            return span(number, self.unit).map_err(E::custom);
        }
        humantime_span(v).map_err(E::custom)
    }
}

enum ScalarValue {
    Number(f64),
    Text(String),
}

struct Scalar(ScalarValue);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;
        impl Visitor<'_> for ScalarVisitor {
            type Value = Scalar;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a string")
            }
            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Scalar, E> {
                Ok(Scalar(ScalarValue::Number(v as f64)))
            }
            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Scalar, E> {
                Ok(Scalar(ScalarValue::Number(v as f64)))
            }
            fn visit_f64<E: de::Error>(self, v: f64) -> Result<Scalar, E> {
                Ok(Scalar(ScalarValue::Number(v)))
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Scalar, E> {
                Ok(match v.trim().parse() {
                    Ok(number) => Scalar(ScalarValue::Number(number)),
                    Err(_) => Scalar(ScalarValue::Text(v.to_owned())),
                })
            }
        }
        deserializer.deserialize_any(ScalarVisitor)
    }
}

/// How such a number may be written.
pub(crate) struct Whole;

impl JsonSchema for Whole {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Whole".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["integer", "string", "null"], "minimum": 0, "maximum": u32::MAX, "pattern": "^ *[0-9]"
        })
    }
}

/// Deserialises a number that some clients send as a text.
pub(crate) fn lenient_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let Some(Scalar(value)) = Option::<Scalar>::deserialize(deserializer)? else { return Ok(None) };
    let came = match value {
        ScalarValue::Number(n) if n.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&n) => {
            return Ok(Some(n as u32));
        }
        ScalarValue::Number(n) => n.to_string(),
        ScalarValue::Text(_) => "a string".to_owned(),
    };
    Err(de::Error::custom(format!("expected a whole number from 0 to {}, got {came}", u32::MAX)))
}

/// Deserialises a text, or a list of texts.
///
/// # Errors
/// Those of the deserializer, when it is neither.
pub fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Texts;
    impl<'de> Visitor<'de> for Texts {
        type Value = Vec<String>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or an array of strings")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<String>, E> {
            Ok(vec![text.to_owned()])
        }
        fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
            let mut texts = Vec::new();
            while let Some(text) = list.next_element()? {
                texts.push(text);
            }
            Ok(texts)
        }
    }
    deserializer.deserialize_any(Texts)
}

/// Adds to the description of words that they, and their other names, are read in any case.
pub(crate) fn in_any_case(schema: &mut schemars::Schema, names: &[&str]) {
    let letter = |letter: char| match letter {
        'a'..='z' | 'A'..='Z' => format!("[{}{}]", letter.to_ascii_lowercase(), letter.to_ascii_uppercase()),
        other => other.to_string(),
    };
    let names: Vec<String> = names.iter().map(|name| name.chars().map(letter).collect()).collect();
    let object = schema.ensure_object();
    let mut choices = match object.remove("oneOf") {
        Some(serde_json::Value::Array(choices)) => choices,
        _ => object.remove("enum").map(|words| serde_json::json!({ "enum": words })).into_iter().collect(),
    };
    object.remove("type");
    choices.push(serde_json::json!({ "type": "string", "pattern": format!("^({})$", names.join("|")) }));
    object.insert("anyOf".into(), choices.into());
}

/// Declares an enum of wire words that is read in any case and written as spelled here.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal $(| $alias:literal)*),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, schemars::JsonSchema)]
        #[schemars(transform = $name::as_it_is_read)]
        pub enum $name { $($(#[$vmeta])* #[schemars(rename = $word)] $variant),+ }

        impl $name {
            /// The word as written on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
            /// The value that `word` names, in any case.
            pub fn from_word(word: &str) -> Option<Self> {
                $(if word.eq_ignore_ascii_case($word) $(|| word.eq_ignore_ascii_case($alias))* {
                    return Some($name::$variant);
                })+
                None
            }
            /// Describes the words with all that is read as one of them.
            fn as_it_is_read(schema: &mut schemars::Schema) {
                $crate::value::in_any_case(schema, &[$($word, $($alias,)*)+]);
            }
            /// Every word, for help and errors.
            pub const WORDS: &'static [&'static str] = &[$($word),+];
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = String::deserialize(deserializer)?;
                $name::from_word(&word)
                    .ok_or_else(|| serde::de::Error::unknown_variant(&word, $name::WORDS))
            }
        }
    };
}
pub(crate) use words;
