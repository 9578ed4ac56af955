//! Our own inference of Silero VAD v6: f32, within 1e-4 of ONNX Runtime, batched over calls.
//!
//! The network (MIT licence, weights and licence in `assets/`) hears 32 ms at a time: magnitude spectra of four
//! frames, four small convolutions, an LSTM cell of 128, one probability. One stream is bound by reading 0.9 MB of
//! weights per window, four streams together by arithmetic: so a server gathers the windows that are due at once
//! and scores them with [`score_batch`].
//!
//! Must not: hold state outside [`Stream`], except the packed weights, which are read-only and shared.
//!
//! Rooms, in reading order: `weights` (asset file and packing), `spectrum` (the FFT), `kernels` (the layers),
//! `portable`, `avx2` and `avx512` (vector operations and tile shapes), `path` (the choice among these).

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod kernels;
mod path;
mod portable;
mod spectrum;
mod stream;
mod weights;

pub use path::Path;
pub(super) use stream::Gathered;
pub(super) use stream::score_each;
pub use stream::{Stream, score_batch, score_batch_on};

/// Frames per window.
const FRAMES: usize = 4;
/// Streams scored in one pass over the weights. Four already use the arithmetic fully.
const QUAD: usize = 4;
/// Steps of half a frame in a window: each of four frames begins one step after the other and lasts two.
const HOPS: usize = FRAMES + 1;
/// Samples of a step at 16 kHz; half as many at 8 kHz.
const HOP: usize = 128;

/// What a pass over the weights works on, by stream.
struct Batch<const B: usize> {
    /// The end of the window before, the window, and its end mirrored, -1.0..1.0, as `[sample % hop][sample / hop]
    /// [stream]`: so the same sample of all frames stands side by side. 8 kHz fills the first half.
    input: [[[f32; B]; HOPS]; HOP],
    hidden: [[f32; weights::HIDDEN]; B],
    cell: [[f32; weights::HIDDEN]; B],
}

impl<const B: usize> Batch<B> {
    fn new() -> Self {
        Batch {
            input: [[[0.0; B]; HOPS]; HOP],
            hidden: [[0.0; weights::HIDDEN]; B],
            cell: [[0.0; weights::HIDDEN]; B],
        }
    }
}
