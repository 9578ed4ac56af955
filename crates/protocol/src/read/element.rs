//! JSON as serde reads it, with errors in the words of the wire: what a field is expected to be and what came, never
//! the name of one of our types. Texts are not repeated, since a misplaced one may be a secret.

use std::fmt::Display;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Value;

use super::shown;

/// Largest whole number that JSON carries exactly everywhere (RFC 8259 section 6); larger bounds are not told.
const MOST_EXACT: i128 = (1 << 53) - 1;

/// A JSON value about to be read. An object is read as a struct, a text as an enum; a list is neither.
#[derive(Clone, Copy)]
pub(super) struct Element<'a>(pub(super) &'a Value);

/// Why a value is not what it should be.
#[derive(Debug)]
pub(super) struct Fault {
    /// A field of the object that is wrong, which the path does not name.
    pub(super) field: Option<&'static str>,
    /// What is expected and what came.
    pub(super) message: String,
}

impl Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: Display>(message: T) -> Self {
        Fault { field: None, message: message.to_string() }
    }

    fn invalid_type(came: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("expected {expected}, got {}", kind_of(&came)))
    }

    fn invalid_value(came: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(came, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("expected {expected}, got an array of {length}"))
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self::custom(format_args!("unknown word `{}`, expected {}", shown(word), one_of(known)))
    }

    fn missing_field(field: &'static str) -> Self {
        Fault { field: Some(field), message: super::MISSING.into() }
    }

    fn duplicate_field(field: &'static str) -> Self {
        Fault { field: Some(field), message: "given twice, in two spellings".into() }
    }
}

fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    format!("one of {}", quoted.join(", "))
}

fn kind_of(came: &Unexpected<'_>) -> &'static str {
    match came {
        Unexpected::Bool(true) => "true",
        Unexpected::Bool(false) => "false",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => "a number",
        Unexpected::Char(_) | Unexpected::Str(_) | Unexpected::Bytes(_) => "a string",
        Unexpected::Seq => "an array",
        Unexpected::Map => "an object",
        Unexpected::Unit | Unexpected::Option => "null",
        _ => "something else",
    }
}

impl<'de> Element<'de> {
    fn came(self) -> String {
        match self.0 {
            Value::Null => "null".into(),
            Value::Bool(value) => value.to_string(),
            Value::Number(_) => "a number".into(),
            Value::String(_) => "a string".into(),
            Value::Array(_) => "an array".into(),
            Value::Object(_) => "an object".into(),
        }
    }

    fn wrong<T>(self, expected: impl Display) -> Result<T, Fault> {
        Err(de::Error::custom(format_args!("expected {expected}, got {}", self.came())))
    }

    /// A whole number from `least` to `most`.
    fn whole<V: Visitor<'de>>(self, (least, most): (i128, i128), visitor: V) -> Result<V::Value, Fault> {
        let Value::Number(number) = self.0 else {
            return self.wrong(format_args!("a whole number{}", bounds(least, most)));
        };
        match number.as_i128() {
            Some(whole) if (least..=most).contains(&whole) => self.deserialize_any(visitor),
            _ => Err(de::Error::custom(format_args!(
                "expected a whole number{}, got {number}",
                bounds(least, most)
            ))),
        }
    }

    fn list<V: Visitor<'de>>(list: &'de [Value], visitor: V) -> Result<V::Value, Fault> {
        let mut elements = SeqDeserializer::new(list.iter().map(Element));
        let value = visitor.visit_seq(&mut elements)?;
        elements.end()?;
        Ok(value)
    }
}

fn bounds(least: i128, most: i128) -> String {
    match (least.abs() <= MOST_EXACT, most <= MOST_EXACT) {
        (true, true) => format!(" from {least} to {most}"),
        (true, false) => format!(" from {least}"),
        _ => String::new(),
    }
}

impl<'de> IntoDeserializer<'de, Fault> for Element<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Readers of whole numbers, each with the bounds of its type.
macro_rules! whole_numbers {
    ($($name:ident: $type:ty),+) => {
        $(fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.whole((<$type>::MIN.into(), <$type>::MAX.into()), visitor)
        })+
    };
}

impl<'de> Deserializer<'de> for Element<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => visitor.visit_u64(number),
                (None, Some(number)) => visitor.visit_i64(number),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(list) => Self::list(list, visitor),
            Value::Object(object) => {
                let entries = object.iter().map(|(key, value)| (key.as_str(), Element(value)));
                visitor.visit_map(MapDeserializer::new(entries))
            }
        }
    }

    whole_numbers!(deserialize_u8: u8, deserialize_u16: u16, deserialize_u32: u32, deserialize_u64: u64);
    whole_numbers!(deserialize_i8: i8, deserialize_i16: i16, deserialize_i32: i32, deserialize_i64: i64);

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Number(_) => self.deserialize_any(visitor),
            _ => self.wrong("a number"),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Bool(value) => visitor.visit_bool(*value),
            _ => self.wrong("true or false"),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::String(text) => visitor.visit_borrowed_str(text),
            _ => self.wrong("a string"),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Array(list) => Self::list(list, visitor),
            _ => self.wrong("an array"),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Array(list) if list.len() == length => Self::list(list, visitor),
            Value::Array(list) => {
                Err(de::Error::invalid_length(list.len(), &format!("an array of {length}").as_str()))
            }
            _ => self.wrong(format_args!("an array of {length}")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Object(_) => self.deserialize_any(visitor),
            _ => self.wrong("an object"),
        }
    }

    /// serde's structs could be read from a list of their values in order; no client means that.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.0 {
            Value::String(word) => visitor.visit_enum(word.as_str().into_deserializer()),
            _ => self.wrong(one_of(words)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { char bytes byte_buf unit unit_struct tuple_struct identifier }
}
