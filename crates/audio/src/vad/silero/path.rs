//! The choice of instruction set, and the one place where it takes `unsafe` to act on it.

use super::{Batch, QUAD, portable};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use std::sync::OnceLock;

/// A way to compute the network. All give the same scores within 1e-4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// AVX-512F: sixteen numbers at once.
    Avx512,
    /// AVX2 and FMA: eight numbers at once.
    Avx2,
    /// Plain code, four numbers at once where the compiler finds them.
    Portable,
}

impl Path {
    /// All paths, the fastest first.
    pub const ALL: [Path; 3] = [Path::Avx512, Path::Avx2, Path::Portable];

    /// The fastest path this processor has.
    pub fn best() -> Path {
        static BEST: OnceLock<Path> = OnceLock::new();
        *BEST.get_or_init(|| Path::ALL.into_iter().find(|path| path.available()).unwrap_or(Path::Portable))
    }

    /// Whether this processor has the instructions.
    pub fn available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 => is_x86_feature_detected!("avx512f"),
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(not(target_arch = "x86_64"))]
            Path::Avx512 | Path::Avx2 => false,
            Path::Portable => true,
        }
    }
}

/// The packed weights of one rate for one path.
///
/// The two x86 variants are made by [`Net::new`] alone, after the processor was asked for their instructions.
enum Net {
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Net),
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Net),
    Portable(portable::Net),
}

impl Net {
    /// Packs the weights for `path`, or for plain code if this processor lacks its instructions.
    fn new(path: Path, bins: usize) -> Self {
        match path {
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 if path.available() => Net::Avx512(avx512::Net::new(bins)),
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 if path.available() => Net::Avx2(avx2::Net::new(bins)),
            _ => Net::Portable(portable::Net::new(bins)),
        }
    }

    /// The shared weights of the network with `BINS` bins; packed when first asked for.
    fn shared<const BINS: usize>(path: Path) -> &'static Net {
        static NETS: [[OnceLock<Net>; 2]; 3] = [const { [const { OnceLock::new() }; 2] }; 3];
        NETS[path as usize][usize::from(BINS == 65)].get_or_init(|| Net::new(path, BINS))
    }
}

/// Scores one window of one stream.
pub(super) fn single<const BINS: usize>(path: Path, batch: &mut Batch<1>) -> [f32; 1] {
    match Net::shared::<BINS>(path) {
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        // SAFETY: the function is safe on a processor with AVX-512F, and `Net::new` found that here.
        Net::Avx512(net) => unsafe { avx512::single::<BINS>(net, batch) },
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        // SAFETY: the function is safe on a processor with AVX2 and FMA, and `Net::new` found that here.
        Net::Avx2(net) => unsafe { avx2::single::<BINS>(net, batch) },
        Net::Portable(net) => portable::single::<BINS>(net, batch),
    }
}

/// Scores one window of each of four streams.
pub(super) fn quad<const BINS: usize>(path: Path, batch: &mut Batch<QUAD>) -> [f32; QUAD] {
    match Net::shared::<BINS>(path) {
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        // SAFETY: the function is safe on a processor with AVX-512F, and `Net::new` found that here.
        Net::Avx512(net) => unsafe { avx512::quad::<BINS>(net, batch) },
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        // SAFETY: the function is safe on a processor with AVX2 and FMA, and `Net::new` found that here.
        Net::Avx2(net) => unsafe { avx2::quad::<BINS>(net, batch) },
        Net::Portable(net) => portable::quad::<BINS>(net, batch),
    }
}
