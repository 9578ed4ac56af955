//! Values that are words, patterns or addresses.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use protocol::Secret;
use protocol::value::Headers;
use regex::Regex;
use serde::Deserialize;
use serde::de::{self, Deserializer};

/// A word out of a fixed set, read in any case.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $first:literal $(| $other:literal)*),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            /// Every value, in the order of preference.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The word as documented.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $first),+ }
            }

            /// The value that `word` names, in any case.
            pub fn from_word(word: &str) -> Option<Self> {
                $(if [$first $(, $other)*].iter().any(|name| word.eq_ignore_ascii_case(name)) {
                    return Some($name::$variant);
                })+
                None
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = String::deserialize(deserializer)?;
                $name::from_word(&word).ok_or_else(|| de::Error::custom(unknown_word(&word, &[$($first),+])))
            }
        }
    };
}

words! {
    /// A codec of `codecs`; telephone-event stands among them as in SDP.
    CodecName {
        /// G.711 mu-law.
        Pcmu = "pcmu" | "ulaw" | "g711u",
        /// G.711 A-law.
        Pcma = "pcma" | "alaw" | "g711a",
        /// G.722.
        G722 = "g722",
        /// G.729; has no implementation here.
        G729 = "g729",
        /// Digits by RFC 4733.
        TelephoneEvent = "telephone_event" | "telephone-event" | "dtmf" | "2833" | "rfc2833",
        /// Opus.
        Opus = "opus",
    }
}

words! {
    /// `handler.type`.
    HandlerKind {
        /// A server decides.
        Webhook = "webhook",
        /// A playbook answers.
        Playbook = "playbook",
    }
}

words! {
    /// `sip.transfer_requests`.
    TransferPolicy {
        /// Playbook or client decide.
        Ask = "ask",
        /// It is done.
        Accept = "accept",
        /// It is not done.
        Refuse = "refuse",
    }
}

words! {
    /// A word of `sip.digest`.
    Digest {
        /// RFC 7616.
        Sha256 = "SHA-256" | "SHA256",
        /// RFC 2617.
        Md5 = "MD5",
    }
}

words! {
    /// `callrecord.type`.
    RecordSink {
        /// Files.
        Local = "local",
        /// Object storage.
        S3 = "s3",
        /// An HTTP server.
        Http = "http",
    }
}

/// `callrecord.database`.
#[derive(Clone, Debug)]
pub enum Database {
    /// An embedded one in this file.
    File(PathBuf),
    /// The address of a Postgres database: `postgres://user:password@host/name`.
    Postgres(Secret),
}

impl<'de> Deserialize<'de> for Database {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Secret::deserialize(deserializer)?;
        let scheme = text.expose().split_once("://").map_or("", |(scheme, _)| scheme);
        Ok(match scheme {
            "postgres" | "postgresql" => Database::Postgres(text),
            _ => Database::File(text.expose().into()),
        })
    }
}

words! {
    /// `callrecord.vendor`.
    Vendor {
        /// Amazon.
        Aws = "aws" | "a_w_s" | "s3",
        /// MinIO, and others that speak S3 at an address of one's own.
        Minio = "minio",
        /// Alibaba Cloud.
        Aliyun = "aliyun",
        /// Tencent Cloud.
        Tencent = "tencent",
        /// DigitalOcean.
        DigitalOcean = "digitalocean" | "digital_ocean",
        /// Google Cloud; `secret_key` is the JSON of a service account.
        Gcp = "gcp" | "g_c_p",
        /// Azure; `access_key` is the account, `bucket` the container.
        Azure = "azure",
    }
}

words! {
    /// What a key may do; each word holds those before it.
    Scope {
        /// See calls, records and playbooks, and hear events.
        Read = "read",
        /// Begin calls and command them.
        Control = "control",
        /// Change what the server keeps, such as playbooks.
        Admin = "admin",
    }
}

impl Scope {
    /// Its place in the order in which each scope holds those before it.
    pub const fn rank(self) -> u8 {
        self as u8
    }
}

words! {
    /// `auth.mode`.
    AuthMode {
        /// A key is needed from everywhere but loopback.
        Keys = "keys",
        /// Nobody needs one.
        None = "none",
    }
}

fn unknown_word(word: &str, known: &[&str]) -> String {
    let list = known.join(", ");
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("\"{word}\" is not known here; did you mean \"{near}\"? Known: {list}"),
        None => format!("\"{word}\" is not known here. Known: {list}"),
    }
}

/// The candidate that `word` was most likely meant to be, if any is near.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// A regular expression, compiled when the file is read.
#[derive(Clone)]
pub struct Pattern(pub Regex);

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0.as_str(), f)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Regex::new(&text).map(Pattern).map_err(|error| {
            let why = error.to_string();
            let last = why.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
            de::Error::custom(format!("\"{text}\" is no regular expression: {last}"))
        })
    }
}

/// An IP address, or the empty text for none.
pub(super) fn address_or_empty<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<IpAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| de::Error::custom(format!("\"{text}\" is no IP address; write one such as \"0.0.0.0\"")))
}

/// Headers as a table, or as a list of `[name, value]`.
pub(super) fn headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Headers, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a table of headers, or a list of [name, value]")]
    enum Shape {
        Map(Headers),
        Pairs(Vec<(String, String)>),
    }
    Ok(match Shape::deserialize(deserializer)? {
        Shape::Map(map) => map,
        Shape::Pairs(pairs) => pairs.into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_nonsense_is_not() {
        let keys = ["udp_port", "http_addr", "external_ip"];
        assert_eq!(nearest("udp_prot", keys), Some("udp_port"));
        assert_eq!(nearest("http_adr", keys), Some("http_addr"));
        assert_eq!(nearest("zzz", keys), None);
    }

    #[test]
    fn every_name_of_telephone_event_is_the_same() {
        for name in ["telephone_event", "dtmf", "2833", "Telephone-Event"] {
            assert_eq!(CodecName::from_word(name), Some(CodecName::TelephoneEvent));
        }
    }
}
