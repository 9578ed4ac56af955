//! Headers of SIP messages, in the forms that clients give them in.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::value::Headers;

/// Headers to take from an INVITE: names, or names with a pattern the value must match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ExtractHeaders(pub Vec<ExtractHeader>);

/// One header to take.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ExtractHeader {
    /// Take the header whatever its value.
    Name(String),
    /// Take the header when its value matches.
    Pattern {
        /// Name of the header.
        name: String,
        /// Regular expression for the value.
        pattern: String,
    },
}

impl ExtractHeader {
    /// Name of the header.
    pub fn name(&self) -> &str {
        match self {
            ExtractHeader::Name(name) | ExtractHeader::Pattern { name, .. } => name,
        }
    }
}

impl<'de> Deserialize<'de> for ExtractHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Wanted;
        #[derive(Deserialize)]
        struct Pattern {
            name: String,
            pattern: String,
        }
        impl<'de> Visitor<'de> for Wanted {
            type Value = ExtractHeader;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a header or {name, pattern}")
            }
            fn visit_str<E: Error>(self, name: &str) -> Result<ExtractHeader, E> {
                Ok(ExtractHeader::Name(name.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ExtractHeader, A::Error> {
                let Pattern { name, pattern } = Pattern::deserialize(MapAccessDeserializer::new(map))?;
                Ok(ExtractHeader::Pattern { name, pattern })
            }
        }
        deserializer.deserialize_any(Wanted)
    }
}

/// Headers as a map, or as a list of `{name, value}` objects or `[name, value]` pairs.
pub(super) fn header_map<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Headers>, D::Error> {
    struct Given(Headers);
    struct Any;
    impl<'de> Visitor<'de> for Any {
        type Value = Headers;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of headers or an array of {name, value}")
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Headers, A::Error> {
            Headers::deserialize(MapAccessDeserializer::new(map))
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Headers, A::Error> {
            let mut headers = Headers::new();
            while let Some(Header { name, value }) = list.next_element()? {
                headers.insert(name, value);
            }
            Ok(headers)
        }
    }
    impl<'de> Deserialize<'de> for Given {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(Any).map(Given)
        }
    }
    Ok(Option::<Given>::deserialize(deserializer)?.map(|Given(headers)| headers))
}

/// One header of a list.
struct Header {
    name: String,
    value: String,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "{name, value} or [name, value]";
        struct Pair;
        #[derive(Deserialize)]
        struct Named {
            name: String,
            value: String,
        }
        impl<'de> Visitor<'de> for Pair {
            type Value = Header;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Header, A::Error> {
                let Named { name, value } = Named::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Header { name, value })
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Header, A::Error> {
                let name = list.next_element()?.ok_or_else(|| Error::invalid_length(0, &EXPECTED))?;
                let value = list.next_element()?.ok_or_else(|| Error::invalid_length(1, &EXPECTED))?;
                Ok(Header { name, value })
            }
        }
        deserializer.deserialize_any(Pair)
    }
}
