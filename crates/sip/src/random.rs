//! Names that nobody can guess, from a seed.

use std::hash::{DefaultHasher, Hash, Hasher};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The generator of one endpoint.
#[derive(Debug)]
pub(crate) struct Random {
    generator: StdRng,
    secret: [u64; 2],
}

impl Random {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        let mut generator = StdRng::from_seed(seed);
        let secret = [generator.random(), generator.random()];
        Self { generator, secret }
    }

    /// 96 random bits in hexadecimal: a tag or Call-ID.
    pub(crate) fn word(&mut self) -> String {
        format!("{:08x}{:016x}", self.generator.random::<u32>(), self.generator.random::<u64>())
    }

    /// A branch with the cookie of RFC 3261 section 8.1.1.7.
    pub(crate) fn branch(&mut self) -> String {
        format!("z9hG4bK{}", self.word())
    }

    /// 0 to `most`, both included.
    pub(crate) fn up_to(&mut self, most: u32) -> u32 {
        self.generator.random_range(0..=most)
    }

    /// The tag of a response without state: the same for every copy of a request (RFC 3261 section
    /// 8.2.7), and not predictable without the seed.
    pub(crate) fn tag_for(&self, call_id: &[u8], from_tag: &[u8]) -> String {
        let mut hasher = DefaultHasher::new();
        (self.secret, call_id, from_tag).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The bits of a word, as 24 digits that are read one by one.
    fn bits(word: &str) -> u128 {
        assert_eq!(word.len(), 24, "96 bits in hexadecimal");
        u128::from_str_radix(word, 16).unwrap()
    }

    #[test]
    fn what_a_forger_would_have_to_guess_has_96_bits_by_chance() {
        let mut random = Random::new([7; 32]);
        let words: Vec<u128> = (0..4_096).map(|_| bits(&random.word())).collect();
        assert_eq!(words.iter().collect::<HashSet<_>>().len(), words.len(), "none comes twice");
        for bit in 0..96 {
            let set = words.iter().filter(|word| *word >> bit & 1 == 1).count();
            // Six standard deviations of fair coins.
            assert!((1_856..=2_240).contains(&set), "bit {bit} is set {set} times of 4096");
            let kept = words.windows(2).filter(|pair| (pair[0] ^ pair[1]) >> bit & 1 == 0).count();
            assert!((1_856..=2_240).contains(&kept), "bit {bit} stays {kept} times of 4095");
        }
        let branch = random.branch();
        bits(branch.strip_prefix("z9hG4bK").unwrap());
        let mut other = Random::new([8; 32]);
        assert!(!words.contains(&bits(&other.word())), "another seed has other words");
        assert_ne!(random.tag_for(b"1", b"a"), other.tag_for(b"1", b"a"));
        assert_eq!(random.tag_for(b"1", b"a").len(), 16, "64 bits");
    }
}
