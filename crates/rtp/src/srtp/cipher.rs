//! One direction's session keys and what they do to a packet (RFC 3711 sections 4.1 to 4.3, RFC 7714).

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;

use super::suite::{Cipher, Master, Mki, Suite};

/// Where in a stream a packet stands: what makes its nonce unique.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) ssrc: u32,
    /// 48 bits: roll-over counter and sequence number of sound, or the index of a report.
    pub(super) index: u64,
}

/// The parts of a packet to be protected or opened.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) place: Place,
    /// Length of what stays readable at the front.
    pub(super) clear: usize,
}

/// The session keys of sound and of reports in one direction, and what names their master key in packets.
pub(super) struct Session {
    pub(super) sound: Transform,
    pub(super) reports: Transform,
    pub(super) mki: Mki,
}

impl Session {
    /// Derives the session keys (RFC 3711 section 4.3.2); they serve for the life of the master key.
    pub(super) fn new(suite: &Suite, master: &Master) -> Result<Self, Unspecified> {
        let derivation = Derivation::new(master)?;
        Ok(Session {
            sound: Transform::new(suite, suite.tag_len, &derivation, 0)?,
            reports: Transform::new(suite, suite.report_tag_len, &derivation, 3)?,
            mki: *master.mki(),
        })
    }
}

/// The key derivation function: AES in counter mode over zeros.
struct Derivation {
    cipher: EncryptingKey,
    salt: [u8; 16],
    key_len: usize,
}

const AUTH_LEN: usize = 20;

impl Derivation {
    fn new(master: &Master) -> Result<Self, Unspecified> {
        let mut salt = [0; 16];
        // A salt of 96 bits is padded with zeros behind (RFC 7714 section 11).
        salt.iter_mut().zip(master.salt()).for_each(|(to, from)| *to = *from);
        Ok(Derivation { cipher: counter(master.key())?, salt, key_len: master.key().len() })
    }

    fn derive<const N: usize>(&self, label: u8) -> Result<[u8; N], Unspecified> {
        let mut iv = self.salt;
        iv[7] ^= label;
        let mut out = [0; N];
        run(&self.cipher, iv, &mut out)?;
        Ok(out)
    }
}

/// What protects packets of one kind.
pub(super) enum Transform {
    /// Counter mode and HMAC-SHA1.
    Counter { cipher: Box<EncryptingKey>, auth: Box<hmac::Key>, salt: [u8; 14], tag_len: usize },
    /// Galois/counter mode.
    Galois { cipher: Box<LessSafeKey>, salt: [u8; 12] },
}

impl Transform {
    /// `label` is that of the encryption key; those of authentication and salt follow it.
    fn new(suite: &Suite, tag_len: usize, from: &Derivation, label: u8) -> Result<Self, Unspecified> {
        let key: [u8; 32] = from.derive(label)?;
        let key = key.get(..from.key_len).ok_or(Unspecified)?;
        match suite.cipher {
            Cipher::Counter => {
                let auth: [u8; AUTH_LEN] = from.derive(label + 1)?;
                Transform::counter(key, &auth, from.derive(label + 2)?, tag_len)
            }
            Cipher::Galois => Transform::galois(key, from.derive(label + 2)?),
        }
    }

    pub(super) fn counter(
        key: &[u8],
        auth: &[u8],
        salt: [u8; 14],
        tag_len: usize,
    ) -> Result<Self, Unspecified> {
        let auth = Box::new(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, auth));
        Ok(Transform::Counter { cipher: Box::new(counter(key)?), auth, salt, tag_len })
    }

    pub(super) fn galois(key: &[u8], salt: [u8; 12]) -> Result<Self, Unspecified> {
        let algorithm = if key.len() == 16 { &AES_128_GCM } else { &AES_256_GCM };
        let cipher = Box::new(LessSafeKey::new(UnboundKey::new(algorithm, key)?));
        Ok(Transform::Galois { cipher, salt })
    }

    /// Length of the tag in bytes.
    pub(super) fn tag_len(&self) -> usize {
        match self {
            Transform::Counter { tag_len, .. } => *tag_len,
            Transform::Galois { .. } => 16,
        }
    }

    /// Bytes at the end of a protected packet or report that stand behind the name of the key: the tag of counter mode
    /// (RFC 3711 sections 3.1 and 3.4). That of Galois/counter mode is part of what is encrypted (RFC 7714 section 8.2).
    fn behind_mki(&self) -> usize {
        match self {
            Transform::Counter { tag_len, .. } => *tag_len,
            Transform::Galois { .. } => 0,
        }
    }

    /// Puts the name of the key into a protected packet or report.
    pub(super) fn name(&self, mki: &Mki, packet: &mut Vec<u8>) {
        let at = packet.len().saturating_sub(self.behind_mki());
        packet.splice(at..at, mki.bytes().iter().copied());
    }

    /// Takes the name of the key out of a protected packet or report; gives the length that is left. The name is not
    /// authenticated.
    pub(super) fn unname(&self, mki: &Mki, packet: &mut [u8]) -> Result<usize, Unspecified> {
        let (end, named) = (packet.len(), mki.bytes());
        let behind = end.checked_sub(self.behind_mki()).ok_or(Unspecified)?;
        let at = behind.checked_sub(named.len()).ok_or(Unspecified)?;
        if packet.get(at..behind) != Some(named) {
            return Err(Unspecified);
        }
        packet.copy_within(behind..end, at);
        Ok(end - named.len())
    }

    /// Protects a packet of sound; its tag is appended.
    pub(super) fn seal(&self, shape: Shape, packet: &mut Vec<u8>) -> Result<(), Unspecified> {
        match self {
            Transform::Counter { cipher, auth, salt, tag_len } => {
                let body = packet.get_mut(shape.clear..).ok_or(Unspecified)?;
                run(cipher, counter_iv(salt, shape.place), body)?;
                let tag = tag(auth, [packet, &rollover(shape.place)]);
                packet.extend_from_slice(tag.as_ref().get(..*tag_len).ok_or(Unspecified)?);
            }
            Transform::Galois { cipher, salt } => {
                let (clear, body) = packet.split_at_mut_checked(shape.clear).ok_or(Unspecified)?;
                let nonce = sound_nonce(salt, shape.place);
                let tag = cipher.seal_in_place_separate_tag(nonce, Aad::from(&*clear), body)?;
                packet.extend_from_slice(tag.as_ref());
            }
        }
        Ok(())
    }

    /// Opens a packet of sound in place; gives the length that is left. After a failure the packet may be
    /// damaged.
    pub(super) fn open(&self, shape: Shape, packet: &mut [u8]) -> Result<usize, Unspecified> {
        let left = packet.len().checked_sub(self.tag_len()).ok_or(Unspecified)?;
        match self {
            Transform::Counter { cipher, auth, salt, .. } => {
                let (protected, given) = packet.split_at_mut_checked(left).ok_or(Unspecified)?;
                let tag = tag(auth, [protected, &rollover(shape.place)]);
                verify_slices_are_equal(tag.as_ref().get(..given.len()).ok_or(Unspecified)?, given)?;
                let body = protected.get_mut(shape.clear..).ok_or(Unspecified)?;
                run(cipher, counter_iv(salt, shape.place), body)?;
            }
            Transform::Galois { cipher, salt } => {
                let (clear, body) = packet.split_at_mut_checked(shape.clear).ok_or(Unspecified)?;
                cipher.open_in_place(sound_nonce(salt, shape.place), Aad::from(&*clear), body)?;
            }
        }
        Ok(left)
    }

    /// Protects a report. `word` is its index with the mark of encryption in front, and is sent with it.
    pub(super) fn seal_report(
        &self,
        shape: Shape,
        word: [u8; 4],
        report: &mut Vec<u8>,
    ) -> Result<(), Unspecified> {
        match self {
            Transform::Counter { cipher, auth, salt, tag_len } => {
                let body = report.get_mut(shape.clear..).ok_or(Unspecified)?;
                run(cipher, counter_iv(salt, shape.place), body)?;
                report.extend_from_slice(&word);
                let tag = tag(auth, [report, &[]]);
                report.extend_from_slice(tag.as_ref().get(..*tag_len).ok_or(Unspecified)?);
            }
            Transform::Galois { cipher, salt } => {
                let (clear, body) = report.split_at_mut_checked(shape.clear).ok_or(Unspecified)?;
                let aad = report_aad(clear, word).ok_or(Unspecified)?;
                let nonce = report_nonce(salt, shape.place);
                let tag = cipher.seal_in_place_separate_tag(nonce, Aad::from(aad), body)?;
                report.extend_from_slice(tag.as_ref());
                report.extend_from_slice(&word);
            }
        }
        Ok(())
    }

    /// Where the index word of a protected report of `len` bytes begins.
    pub(super) fn word_at(&self, len: usize) -> Option<usize> {
        match self {
            Transform::Counter { tag_len, .. } => len.checked_sub(tag_len + 4),
            Transform::Galois { .. } => len.checked_sub(4),
        }
    }

    /// Opens a report in place; gives the length that is left.
    pub(super) fn open_report(
        &self,
        shape: Shape,
        word: [u8; 4],
        report: &mut [u8],
    ) -> Result<usize, Unspecified> {
        let left = report.len().checked_sub(self.tag_len() + 4).ok_or(Unspecified)?;
        match self {
            Transform::Counter { cipher, auth, salt, .. } => {
                let (protected, given) = report.split_at_mut_checked(left + 4).ok_or(Unspecified)?;
                let tag = tag(auth, [protected, &[]]);
                verify_slices_are_equal(tag.as_ref().get(..given.len()).ok_or(Unspecified)?, given)?;
                let body = protected.get_mut(shape.clear..left).ok_or(Unspecified)?;
                run(cipher, counter_iv(salt, shape.place), body)?;
            }
            Transform::Galois { cipher, salt } => {
                let sealed = report.get_mut(..left + self.tag_len()).ok_or(Unspecified)?;
                let (clear, body) = sealed.split_at_mut_checked(shape.clear).ok_or(Unspecified)?;
                let aad = report_aad(clear, word).ok_or(Unspecified)?;
                cipher.open_in_place(report_nonce(salt, shape.place), Aad::from(aad), body)?;
            }
        }
        Ok(left)
    }
}

fn counter(key: &[u8]) -> Result<EncryptingKey, Unspecified> {
    let algorithm = if key.len() == 16 { &AES_128 } else { &AES_256 };
    EncryptingKey::ctr(UnboundCipherKey::new(algorithm, key)?)
}

/// Encrypts or decrypts in place; in counter mode both are the same.
fn run(cipher: &EncryptingKey, iv: [u8; 16], bytes: &mut [u8]) -> Result<(), Unspecified> {
    cipher.less_safe_encrypt(bytes, EncryptionContext::Iv128(FixedLength::from(iv))).map(|_| ())
}

fn tag(auth: &hmac::Key, parts: [&[u8]; 2]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(auth);
    parts.iter().for_each(|part| context.update(part));
    context.sign()
}

/// The upper 32 bits of the index, which are authenticated but not sent.
fn rollover(place: Place) -> [u8; 4] {
    ((place.index >> 16) as u32).to_be_bytes()
}

/// RFC 3711 section 4.1.1; the last two bytes count the blocks.
fn counter_iv(salt: &[u8; 14], place: Place) -> [u8; 16] {
    let mut iv = [0; 16];
    iv[..14].copy_from_slice(salt);
    mix(&mut iv[4..8], &place.ssrc.to_be_bytes());
    mix(&mut iv[8..14], &place.index.to_be_bytes()[2..]);
    iv
}

/// RFC 7714 section 8.1.
fn sound_nonce(salt: &[u8; 12], place: Place) -> Nonce {
    let mut iv = *salt;
    mix(&mut iv[2..6], &place.ssrc.to_be_bytes());
    mix(&mut iv[6..12], &place.index.to_be_bytes()[2..]);
    Nonce::assume_unique_for_key(iv)
}

/// RFC 7714 section 9.1: the index of a report has 31 bits and stands at the end, as that of sound does.
fn report_nonce(salt: &[u8; 12], place: Place) -> Nonce {
    sound_nonce(salt, Place { index: place.index & 0x7fff_ffff, ..place })
}

/// What of a report is authenticated without being encrypted: its first eight bytes and the index word.
fn report_aad(clear: &[u8], word: [u8; 4]) -> Option<[u8; 12]> {
    let mut aad = [0; 12];
    aad.get_mut(..clear.len())?.copy_from_slice(clear);
    aad.get_mut(clear.len()..clear.len() + 4)?.copy_from_slice(&word);
    Some(aad)
}

fn mix(to: &mut [u8], from: &[u8]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to ^= from);
}
