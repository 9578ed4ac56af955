//! The crypto suites as table rows, and the keys that offer and answer agree on.

use std::fmt;

/// What is known of a crypto suite. A suite is one row in [`SUITES`]; nothing else knows one by name.
#[derive(Debug, PartialEq, Eq)]
pub struct Suite {
    /// Name in `a=crypto` (RFC 4568 section 6.2, RFC 6188 section 4, RFC 7714 section 14.1).
    pub name: &'static str,
    /// Length of the master key in bytes.
    pub key_len: usize,
    /// Length of the master salt in bytes.
    pub salt_len: usize,
    /// Bytes that protecting a packet of sound adds.
    pub tag_len: usize,
    /// Bytes of the tag of a report; the index word of four bytes comes on top.
    pub report_tag_len: usize,
    /// Whether our offers name it. What adds nothing to the others is only answered: each line of an offer brings the
    /// INVITE nearer to the size that no datagram holds.
    pub offered: bool,
    pub(super) cipher: Cipher,
}

/// How a suite encrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cipher {
    /// AES in counter mode with a truncated HMAC-SHA1 beside it (RFC 3711 section 4).
    Counter,
    /// AES in Galois/counter mode, which authenticates by itself (RFC 7714).
    Galois,
}

/// The suite that every SDES implementation has (RFC 4568 section 6.2).
pub static AES_CM_128_HMAC_SHA1_80: Suite = Suite {
    name: "AES_CM_128_HMAC_SHA1_80",
    key_len: 16,
    salt_len: 14,
    tag_len: 10,
    report_tag_len: 10,
    offered: true,
    cipher: Cipher::Counter,
};

/// The same with a short tag on sound; reports keep the long one (RFC 4568 section 6.2.2).
pub static AES_CM_128_HMAC_SHA1_32: Suite = Suite {
    name: "AES_CM_128_HMAC_SHA1_32",
    key_len: 16,
    salt_len: 14,
    tag_len: 4,
    report_tag_len: 10,
    offered: true,
    cipher: Cipher::Counter,
};

/// Counter mode with a key of 256 bits (RFC 6188).
pub static AES_256_CM_HMAC_SHA1_80: Suite = Suite {
    name: "AES_256_CM_HMAC_SHA1_80",
    key_len: 32,
    salt_len: 14,
    tag_len: 10,
    report_tag_len: 10,
    offered: false,
    cipher: Cipher::Counter,
};

/// The same with a short tag on sound (RFC 6188 section 4).
pub static AES_256_CM_HMAC_SHA1_32: Suite = Suite {
    name: "AES_256_CM_HMAC_SHA1_32",
    key_len: 32,
    salt_len: 14,
    tag_len: 4,
    report_tag_len: 10,
    offered: false,
    cipher: Cipher::Counter,
};

/// AES-GCM with a key of 128 bits (RFC 7714).
pub static AEAD_AES_128_GCM: Suite = Suite {
    name: "AEAD_AES_128_GCM",
    key_len: 16,
    salt_len: 12,
    tag_len: 16,
    report_tag_len: 16,
    offered: true,
    cipher: Cipher::Galois,
};

/// AES-GCM with a key of 256 bits (RFC 7714).
pub static AEAD_AES_256_GCM: Suite = Suite {
    name: "AEAD_AES_256_GCM",
    key_len: 32,
    salt_len: 12,
    tag_len: 16,
    report_tag_len: 16,
    offered: true,
    cipher: Cipher::Galois,
};

/// The suites in the order in which we offer them: first the one that everybody has, the weakest tag behind it; last
/// those that we only answer.
pub static SUITES: &[&Suite] = &[
    &AES_CM_128_HMAC_SHA1_80,
    &AEAD_AES_256_GCM,
    &AEAD_AES_128_GCM,
    &AES_CM_128_HMAC_SHA1_32,
    &AES_256_CM_HMAC_SHA1_80,
    &AES_256_CM_HMAC_SHA1_32,
];

/// The longest key and salt of [`SUITES`].
pub(super) const LONGEST: usize = 46;
/// The longest identifier of a key.
const LONGEST_MKI: usize = 16;

impl Suite {
    /// The suite called `name`, in any case.
    pub fn by_name(name: &str) -> Option<&'static Suite> {
        SUITES.iter().find(|suite| suite.name.eq_ignore_ascii_case(name)).copied()
    }

    /// Length of key and salt together, as `a=crypto` carries them.
    pub fn master_len(&self) -> usize {
        self.key_len + self.salt_len
    }
}

/// A master key with its salt, and how packets name it. Never written out: [`fmt::Debug`] gives `***`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Master {
    bytes: [u8; LONGEST],
    key_len: u8,
    salt_len: u8,
    mki: Mki,
}

impl Master {
    /// Key and salt of `suite` from the bytes of an `inline:` parameter; `None` when their number is wrong.
    pub fn new(suite: &Suite, bytes: &[u8]) -> Option<Master> {
        if bytes.len() != suite.master_len() {
            return None;
        }
        let mut master = Master {
            bytes: [0; LONGEST],
            key_len: u8::try_from(suite.key_len).ok()?,
            salt_len: u8::try_from(suite.salt_len).ok()?,
            mki: Mki::default(),
        };
        master.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(master)
    }

    /// The same key, named by `mki` in every packet that it protects.
    #[must_use]
    pub fn named(self, mki: Mki) -> Master {
        Master { mki, ..self }
    }

    /// What names it in packets.
    pub fn mki(&self) -> &Mki {
        &self.mki
    }

    /// The key.
    pub(super) fn key(&self) -> &[u8] {
        &self.bytes[..usize::from(self.key_len)]
    }

    /// The salt.
    pub(super) fn salt(&self) -> &[u8] {
        &self.bytes[usize::from(self.key_len)..][..usize::from(self.salt_len)]
    }

    /// Key and salt, as they stand in an `inline:` parameter. A secret: for nothing but the description sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.key_len) + usize::from(self.salt_len)]
    }
}

impl fmt::Debug for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A master key identifier: bytes in every packet that say which key protects it (RFC 3711 section 3.1). By default there
/// are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mki {
    bytes: [u8; LONGEST_MKI],
    len: u8,
}

impl Mki {
    /// Reads `value:length`, a decimal number and how many bytes of a packet it takes (RFC 4568 section 6.1). `None`
    /// where the value does not fit, or the length is not 1 to 16: the RFC allows 128, of which nobody has use.
    pub fn parse(text: &str) -> Option<Mki> {
        let (value, len) = text.split_once(':')?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(value) || !digits(len) {
            return None;
        }
        let len: u8 = len.parse().ok().filter(|len| (1..=LONGEST_MKI).contains(&usize::from(*len)))?;
        let all = value.parse::<u128>().ok()?.to_be_bytes();
        let (beyond, bytes) = all.split_at_checked(LONGEST_MKI - usize::from(len))?;
        if beyond.iter().any(|byte| *byte != 0) {
            return None;
        }
        let mut mki = Mki { bytes: [0; LONGEST_MKI], len };
        mki.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(mki)
    }

    /// As packets carry it; empty where they carry none.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// `|value:length`, as it stands behind a key in `a=crypto`; nothing where there is none.
impl fmt::Display for Mki {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.len == 0 {
            return Ok(());
        }
        let value = self.bytes().iter().fold(0u128, |value, byte| value << 8 | u128::from(*byte));
        write!(f, "|{value}:{}", self.len)
    }
}

/// What both sides protect with: one suite, and a key for each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The suite of both directions.
    pub suite: &'static Suite,
    /// For what we send.
    pub ours: Master,
    /// For what we hear.
    pub theirs: Master,
}
