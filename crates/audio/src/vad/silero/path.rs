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

/// Calls a function of the kernels on the path that `Net::shared` answers with.
///
/// One macro, so that there is one proof: a function of `avx512` or `avx2` is safe on a processor that has its
/// instructions, and only `Net::new` makes these variants, after it asked the processor for them.
macro_rules! run {
    ($kernel:ident, $path:expr, $batch:expr) => {
        match Net::shared::<BINS>($path) {
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code)]
            // SAFETY: the variant shows that this processor has AVX-512F.
            Net::Avx512(net) => unsafe { avx512::$kernel::<BINS>(net, $batch) },
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code)]
            // SAFETY: the variant shows that this processor has AVX2 and FMA.
            Net::Avx2(net) => unsafe { avx2::$kernel::<BINS>(net, $batch) },
            Net::Portable(net) => portable::$kernel::<BINS>(net, $batch),
        }
    };
}

/// Scores one window of one stream.
pub(super) fn single<const BINS: usize>(path: Path, batch: &mut Batch<1>) -> [f32; 1] {
    run!(single, path, batch)
}

/// Scores one window of digital zero after digital zero; the input of `batch` is not looked at.
pub(super) fn silence<const BINS: usize>(path: Path, batch: &mut Batch<1>) -> [f32; 1] {
    run!(silence, path, batch)
}

/// Scores one window of each of four streams.
pub(super) fn quad<const BINS: usize>(path: Path, batch: &mut Batch<QUAD>) -> [f32; QUAD] {
    run!(quad, path, batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare<const BINS: usize>(path: Path) {
        let mut short = Batch::<1>::new();
        for (i, (hidden, cell)) in short.hidden[0].iter_mut().zip(&mut short.cell[0]).enumerate() {
            *hidden = (i as f32).sin();
            *cell = 3.0 * (i as f32).cos();
        }
        let mut full = Batch::<1> { input: short.input, hidden: short.hidden, cell: short.cell };
        for _ in 0..10 {
            assert_eq!(silence::<BINS>(path, &mut short), single::<BINS>(path, &mut full), "{path:?}");
            assert_eq!((short.hidden, short.cell), (full.hidden, full.cell), "{path:?}");
        }
    }

    #[test]
    fn the_short_way_through_silence_gives_the_same_bits() {
        for path in Path::ALL.into_iter().filter(|path| path.available()) {
            compare::<129>(path);
            compare::<65>(path);
        }
    }
}
