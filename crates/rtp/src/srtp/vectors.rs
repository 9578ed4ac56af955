//! Published vectors that need session keys, which only this room sees.

use super::cipher::{Place, Session, Shape, Transform};
use super::{AES_256_CM_HMAC_SHA1_80, AES_CM_128_HMAC_SHA1_80, Master, Suite};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

fn array<const N: usize>(text: &str) -> [u8; N] {
    hex(text).try_into().unwrap()
}

/// Gallia est omnis divisa in partes tres, as RFC 7714 sends it.
const GALLIA: &str = "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 \
                      696e2070 61727465 73207472 6573";
const SALT: &str = "51756964 2070726f 2071756f";
const SHAPE: Shape = Shape { place: Place { ssrc: 0x5501_a0b2, index: 0xf17b }, clear: 12 };

fn gallia(key: &str, sealed: &str) {
    let transform = Transform::galois(&hex(key), array(SALT)).unwrap();
    let mut packet = hex(GALLIA);
    transform.seal(SHAPE, &mut packet).unwrap();
    assert_eq!(packet, hex(sealed));
    let left = transform.open(SHAPE, &mut packet).unwrap();
    assert_eq!(packet[..left], hex(GALLIA));
}

#[test]
fn galois_with_128_bits_is_that_of_rfc_7714_section_16_1() {
    let sealed = "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a \
                  51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce";
    gallia("000102030405060708090a0b0c0d0e0f", sealed);
}

#[test]
fn galois_with_256_bits_is_that_of_rfc_7714_section_16_2() {
    let sealed = "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 \
                  76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13";
    gallia("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", sealed);
}

#[test]
fn a_galois_report_is_that_of_rfc_7714_section_17_1() {
    let clear = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef \
                 deadbeef deadbeef deadbeef";
    let sealed = "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda \
                  4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4";
    let transform = Transform::galois(&hex("000102030405060708090a0b0c0d0e0f"), array(SALT)).unwrap();
    let shape = Shape { place: Place { ssrc: 0x4d61_7273, index: 0x5d4 }, clear: 8 };
    let mut report = hex(clear);
    transform.seal_report(shape, array("800005d4"), &mut report).unwrap();
    assert_eq!(report, hex(sealed));
    assert_eq!(transform.word_at(report.len()), Some(report.len() - 4));
    let left = transform.open_report(shape, array("800005d4"), &mut report).unwrap();
    assert_eq!(report[..left], hex(clear));
}

/// `keys`: those of the session for encryption, authentication and salt.
fn derived(suite: &Suite, master: &str, [key, auth, salt]: [&str; 3]) {
    let master = Master::new(suite, &hex(master)).unwrap();
    let derived = Session::new(suite, &master).unwrap().sound;
    let published = Transform::counter(&hex(key), &hex(auth), array(salt), suite.tag_len).unwrap();
    let shape = Shape { place: Place { ssrc: 1, index: 0x1_0002 }, clear: 12 };
    let sealed = |transform: &Transform| {
        let mut packet = vec![0x80; 172];
        transform.seal(shape, &mut packet).unwrap();
        packet
    };
    assert_eq!(sealed(&derived), sealed(&published));
}

#[test]
fn session_keys_are_derived_as_in_rfc_3711_appendix_b3() {
    let keys = [
        "C61E7A93744F39EE10734AFE3FF7A087",
        "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4",
        "30CBBC08863D8C85D49DB34A9AE1",
    ];
    derived(&AES_CM_128_HMAC_SHA1_80, "E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6", keys);
}

#[test]
fn session_keys_of_256_bits_are_derived_as_in_rfc_6188_section_7_2() {
    let master = "F0F04914B513F276 3A1B1FA130F10E29 98F6F6E43E4309D1 E622A0E332B9F1B6 \
                  3B04803DE51EE7C96423AB5B78D2";
    let keys = [
        "5BA1064E30EC5161 3CAD926C5A28EF73 1EC7FB397F70A960 653CAF06554CD8C4",
        "FD9C32D39ED5FBB5A9DC96B30818454D1313DC05",
        "FA31791685CA444A9E07C6C64E93",
    ];
    derived(&AES_256_CM_HMAC_SHA1_80, master, keys);
}

#[test]
fn the_key_stream_is_that_of_rfc_3711_appendix_b2() {
    let salt = array("F0F1F2F3F4F5F6F7F8F9FAFBFCFD");
    let transform = Transform::counter(&hex("2B7E151628AED2A6ABF7158809CF4F3C"), &[0; 20], salt, 10).unwrap();
    let shape = Shape { place: Place { ssrc: 0, index: 0 }, clear: 12 };
    let mut packet = vec![0; 12 + 48];
    transform.seal(shape, &mut packet).unwrap();
    let stream =
        "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB 41E95B3BB0A2E8DD477901E4FCA894C0";
    assert_eq!(packet[12..60], hex(stream));
}
