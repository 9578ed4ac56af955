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
