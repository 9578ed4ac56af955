//! The weights as they stand in the asset file, and their packing for vector code.

use bytemuck::Pod;

/// Written by `scripts/silero_extract.py`, which documents the layout.
static ASSET: &[u8] = include_bytes!("../../../assets/silero_v6.bin");

const MAGIC: usize = 8;

/// Shapes that both rates share.
pub(super) const HIDDEN: usize = 128;
pub(super) const CONV1: usize = 128;
pub(super) const CONV2: usize = 64;
pub(super) const CONV3: usize = 64;
pub(super) const CONV4: usize = 128;
pub(super) const GATES: usize = 4 * HIDDEN;

/// The tensors of one rate, row-major.
pub(super) struct Tensors {
    /// `[128][bins][3]`
    pub(super) conv1: Vec<f32>,
    pub(super) bias1: Vec<f32>,
    /// `[64][128][3]`
    pub(super) conv2: Vec<f32>,
    pub(super) bias2: Vec<f32>,
    /// `[64][64][2]`
    pub(super) conv3: Vec<f32>,
    pub(super) bias3: Vec<f32>,
    /// `[128][64]`
    pub(super) conv4: Vec<f32>,
    pub(super) bias4: Vec<f32>,
    /// `[512][256]`: gates i, f, g, o by input 128, hidden 128.
    pub(super) lstm: Vec<f32>,
    pub(super) lstm_bias: Vec<f32>,
    /// `[128]`
    pub(super) output: Vec<f32>,
    pub(super) output_bias: f32,
}

impl Tensors {
    /// Reads the tensors of the network with `bins` STFT bins: 129 (16 kHz) or 65 (8 kHz).
    pub(super) fn read(bins: usize) -> Self {
        let before = if bins == 65 { MAGIC + Self::floats(129) * 4 } else { MAGIC };
        let mut floats = ASSET[before..].as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        let mut take = |count: usize| floats.by_ref().take(count).collect::<Vec<f32>>();
        Tensors {
            conv1: take(CONV1 * bins * 3),
            bias1: take(CONV1),
            conv2: take(CONV2 * CONV1 * 3),
            bias2: take(CONV2),
            conv3: take(CONV3 * CONV2 * 2),
            bias3: take(CONV3),
            conv4: take(CONV4 * CONV3),
            bias4: take(CONV4),
            lstm: take(GATES * 2 * HIDDEN),
            lstm_bias: take(GATES),
            output: take(HIDDEN),
            output_bias: take(1).first().copied().unwrap_or(0.0),
        }
    }

    /// Number of floats of the network with `bins` STFT bins.
    const fn floats(bins: usize) -> usize {
        let convs = CONV1 * (bins * 3 + 1) + CONV2 * (CONV1 * 3 + 1) + CONV3 * (CONV2 * 2 + 1);
        convs + CONV4 * (CONV3 + 1) + GATES * (2 * HIDDEN + 1) + HIDDEN + 1
    }
}

/// A matrix in the order in which the tiles of vector code read it.
///
/// `[panel][tap][input]`, each entry `P` vectors of consecutive output rows: one tile keeps `P` vectors of rows in
/// registers while it walks the memory of its panel once, front to back.
pub(super) struct Matrix<V, const P: usize> {
    entries: Vec<[V; P]>,
    /// Entries per tap.
    inputs: usize,
    taps: usize,
}

impl<V: Pod, const P: usize> Matrix<V, P> {
    /// Packs `rows` x `inputs` x `taps` weights that stand row-major in `weights`.
    pub(super) fn pack(weights: &[f32], inputs: usize, taps: usize) -> Self {
        let lanes = size_of::<V>() / size_of::<f32>();
        let rows = weights.len() / (inputs * taps);
        assert!(rows.is_multiple_of(lanes * P), "{rows} rows do not fill panels of {P} vectors");
        let mut entries = Vec::with_capacity(weights.len() / (lanes * P));
        for panel in 0..rows / (lanes * P) {
            for tap in 0..taps {
                for input in 0..inputs {
                    let mut entry = [V::zeroed(); P];
                    for (lane, value) in bytemuck::cast_slice_mut::<V, f32>(&mut entry).iter_mut().enumerate()
                    {
                        let row = panel * lanes * P + lane;
                        *value = weights[(row * inputs + input) * taps + tap];
                    }
                    entries.push(entry);
                }
            }
        }
        Matrix { entries, inputs, taps }
    }

    /// The panels in order of their rows.
    pub(super) fn panels(&self) -> impl Iterator<Item = Panel<'_, V, P>> {
        let inputs = self.inputs;
        self.entries.chunks_exact(self.inputs * self.taps).map(move |entries| Panel { entries, inputs })
    }
}

/// All weights of `P` vectors of output rows.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a, V, const P: usize> {
    entries: &'a [[V; P]],
    inputs: usize,
}

impl<'a, V, const P: usize> Panel<'a, V, P> {
    /// The entries of all taps, one tap after the other.
    #[inline(always)]
    pub(super) fn all(self) -> &'a [[V; P]] {
        self.entries
    }

    /// The entries of one tap, by input.
    #[inline(always)]
    pub(super) fn tap(self, tap: usize) -> &'a [[V; P]] {
        &self.entries[tap * self.inputs..][..self.inputs]
    }
}

/// Packs a vector of weights or biases.
pub(super) fn pack_vector<V: Pod>(values: &[f32]) -> Vec<V> {
    let mut packed = vec![V::zeroed(); size_of_val(values) / size_of::<V>()];
    bytemuck::cast_slice_mut::<V, f32>(&mut packed).copy_from_slice(values);
    packed
}
