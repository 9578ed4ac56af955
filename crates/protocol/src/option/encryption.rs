//! Whether the sound of a SIP leg is encrypted.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Unexpected, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// The word between `false` and `true`.
const OPTIONAL: &str = "optional";

/// What `enable_srtp` says: whether the sound of a SIP leg is encrypted (SDES-SRTP, RFC 4568). It is read from `true`,
/// `false` or `"optional"`, the word in any case, and written as one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// `false`: where the peer offers that; our own offers are in clear.
    #[default]
    Answered,
    /// `"optional"`: where the peer can; our offers have keys beside the profile of clear sound (RFC 8643).
    Offered,
    /// `true`: always; keys are offered alone, and descriptions in clear refused.
    Required,
}

impl Serialize for Encryption {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Encryption::Answered => serializer.serialize_bool(false),
            Encryption::Offered => serializer.serialize_str(OPTIONAL),
            Encryption::Required => serializer.serialize_bool(true),
        }
    }
}

impl<'de> Deserialize<'de> for Encryption {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Said;
        impl Visitor<'_> for Said {
            type Value = Encryption;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or \"optional\"")
            }
            fn visit_bool<E: de::Error>(self, always: bool) -> Result<Encryption, E> {
                Ok(if always { Encryption::Required } else { Encryption::Answered })
            }
            fn visit_str<E: de::Error>(self, word: &str) -> Result<Encryption, E> {
                if word.eq_ignore_ascii_case(OPTIONAL) {
                    return Ok(Encryption::Offered);
                }
                Err(E::invalid_value(Unexpected::Str(word), &self))
            }
        }
        deserializer.deserialize_any(Said)
    }
}

impl JsonSchema for Encryption {
    fn schema_name() -> Cow<'static, str> {
        "Encryption".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = "^[oO][pP][tT][iI][oO][nN][aA][lL]$";
        json_schema!({ "type": ["boolean", "string"], "pattern": pattern })
    }
}
