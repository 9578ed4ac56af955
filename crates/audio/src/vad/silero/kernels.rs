//! The network over the vector operations of one instruction set.
//!
//! A function can only use instructions that its own `#[target_feature]` names, and neither a trait method nor a
//! generic parameter can carry that attribute: hence a macro, expanded once per instruction set. The module that
//! expands it provides `V`, `LANES`, the arithmetic on `V`, and the shape of its register tiles:
//! `ROWS1` vectors of rows by four frames of `STREAMS` streams in the first layer, `ROWS` vectors of rows by
//! `COLUMNS` columns in the others.
//!
//! Activations stand as `[column][channel]`, a column being one frame of one stream in the order
//! `frame * B + stream`. So a layer's output vectors are stored as they come and the next layer reads single
//! numbers, each spread over a register and multiplied with a vector of weights.

macro_rules! kernels {
    (layers: [$(#[$isa:meta])*], spectrum: [$(#[$spectrum:meta])*]) => {
        use super::spectrum::Fourier;
        use super::weights::{CONV1, CONV2, CONV3, CONV4, GATES, HIDDEN, Matrix, Tensors, pack_vector};
        use super::{Batch, FRAMES, QUAD};
        use bytemuck::{cast, cast_ref};
        use std::sync::OnceLock;

        /// The weights of one rate, packed for this instruction set.
        pub(super) struct Net {
            fourier: Fourier,
            conv1: Matrix<V, ROWS1>,
            bias1: Vec<V>,
            conv2: Matrix<V, ROWS>,
            bias2: Vec<V>,
            conv3: Matrix<V, ROWS>,
            bias3: Vec<V>,
            conv4: Matrix<V, ROWS>,
            bias4: Vec<V>,
            lstm: Matrix<V, ROWS>,
            lstm_bias: Vec<V>,
            output: Vec<V>,
            output_bias: f32,
            /// The part of the gates that comes from the input, when that is digital zero.
            silent: OnceLock<Vec<V>>,
        }

        impl Net {
            /// Reads and packs the network with `bins` STFT bins.
            pub(super) fn new(bins: usize) -> Self {
                let tensors = Tensors::read(bins);
                Net {
                    fourier: Fourier::new(bins - 1),
                    conv1: Matrix::pack(&tensors.conv1, bins, 3),
                    bias1: pack_vector(&tensors.bias1),
                    conv2: Matrix::pack(&tensors.conv2, CONV1, 3),
                    bias2: pack_vector(&tensors.bias2),
                    conv3: Matrix::pack(&tensors.conv3, CONV2, 2),
                    bias3: pack_vector(&tensors.bias3),
                    conv4: Matrix::pack(&tensors.conv4, CONV3, 1),
                    bias4: pack_vector(&tensors.bias4),
                    lstm: Matrix::pack(&tensors.lstm, 2 * HIDDEN, 1),
                    lstm_bias: pack_vector(&tensors.lstm_bias),
                    output: pack_vector(&tensors.output),
                    output_bias: tensors.output_bias,
                    silent: OnceLock::new(),
                }
            }
        }

        /// Scores one window of one stream.
        $(#[$isa])*
        pub(super) fn single<const BINS: usize>(net: &Net, batch: &mut Batch<1>) -> [f32; 1] {
            let encoded = encode::<BINS>(net, batch);
            remember::<1, 1>(net, &encoded, batch)
        }

        /// Scores one window of one stream that is digital zero, as is the end of the window before.
        ///
        /// The score is the same to the last bit, for the LSTM's own half of the work.
        $(#[$isa])*
        pub(super) fn silence<const BINS: usize>(net: &Net, batch: &mut Batch<1>) -> [f32; 1] {
            let silent = net.silent.get_or_init(|| {
                let encoded = encode::<BINS>(net, &Batch::new());
                let mut gates = net.lstm_bias.clone();
                dense::<1, 1, HIDDEN>((&net.lstm, &net.lstm_bias), 0, cast_columns(&encoded), |_, row, sum| {
                    gates[row] = sum;
                });
                gates
            });
            let mut gates = [[splat(0.0); GATES / LANES]; 1];
            dense::<1, 1, HIDDEN>((&net.lstm, silent), HIDDEN, &batch.hidden, |_, row, sum| gates[0][row] = sum);
            advance(net, &gates, batch)
        }

        /// All layers before the LSTM, for one stream.
        #[inline]
        $(#[$isa])*
        fn encode<const BINS: usize>(net: &Net, batch: &Batch<1>) -> [[V; CONV4 / LANES]; 1] {
            let mut spectrum = [[0.0; FRAMES]; BINS];
            magnitudes(net, batch, &mut spectrum);
            let wide = conv1::<1, 1, FRAMES, 3, FRAMES, BINS>(net, &spectrum);
            let pair = conv2::<1, 1, 2, FRAMES>(net, &wide);
            conv34::<1, 1>(net, &pair)
        }

        /// Scores one window of each of four streams.
        $(#[$isa])*
        pub(super) fn quad<const BINS: usize>(net: &Net, batch: &mut Batch<QUAD>) -> [f32; QUAD] {
            const LANES4: usize = FRAMES * QUAD;
            let mut spectrum = [[0.0; LANES4]; BINS];
            magnitudes(net, batch, &mut spectrum);
            let wide =
                conv1::<QUAD, STREAMS, { FRAMES * STREAMS }, { 3 * STREAMS }, LANES4, BINS>(net, &spectrum);
            let pair = conv2::<QUAD, STREAMS, { 2 * STREAMS }, LANES4>(net, &wide);
            let encoded = conv34::<QUAD, COLUMNS>(net, &pair);
            remember::<QUAD, COLUMNS>(net, &encoded, batch)
        }

        /// A function of its own, since it may be compiled for other instructions than its caller.
        #[inline(never)]
        $(#[$spectrum])*
        fn magnitudes<const B: usize, const L: usize, const BINS: usize>(
            net: &Net,
            batch: &Batch<B>,
            out: &mut [[f32; L]; BINS],
        ) {
            net.fourier.magnitudes(&batch.input, out);
        }

        /// Adds `weights` times `x(input, column)` to the sums of `COUNT` columns from column `FROM` on.
        #[inline]
        $(#[$isa])*
        fn tile<const P: usize, const N: usize, const FROM: usize, const COUNT: usize>(
            sums: &mut [[V; N]; P],
            weights: &[[V; P]],
            x: impl Fn(usize, usize) -> f32,
        ) {
            for (input, weight) in weights.iter().enumerate() {
                for column in 0..COUNT {
                    let value = splat(x(input, column));
                    for row in 0..P {
                        sums[row][FROM + column] = fma(weight[row], value, sums[row][FROM + column]);
                    }
                }
            }
        }

        /// `N` columns of sums that begin with the biases of panel `panel`.
        #[inline]
        $(#[$isa])*
        fn biases<const P: usize, const N: usize>(bias: &[V], panel: usize) -> [[V; N]; P] {
            let mut sums = [[splat(0.0); N]; P];
            for (row, bias) in sums.iter_mut().zip(&bias[panel * P..]) {
                *row = [*bias; N];
            }
            sums
        }

        /// Kernel 3 over four frames, stride 1: `N = 4 S` columns of `S` streams at a time, `EDGE = 3 S`.
        ///
        /// Instead of columns of zeros at the edges, the outer taps leave out the frame that has no neighbour.
        #[inline]
        $(#[$isa])*
        fn conv1<
            const B: usize,
            const S: usize,
            const N: usize,
            const EDGE: usize,
            const L: usize,
            const BINS: usize,
        >(
            net: &Net,
            x: &[[f32; L]; BINS],
        ) -> [[V; CONV1 / LANES]; L] {
            let zero = splat(0.0);
            let mut out = [[zero; CONV1 / LANES]; L];
            for (index, panel) in net.conv1.panels().enumerate() {
                for stream in (0..B).step_by(S) {
                    let at = |column: usize| column / S * B + stream + column % S;
                    let mut sums = biases::<ROWS1, N>(&net.bias1, index);
                    tile::<ROWS1, N, S, EDGE>(&mut sums, panel.tap(0), |k, n| x[k][at(n)]);
                    tile::<ROWS1, N, 0, N>(&mut sums, panel.tap(1), |k, n| x[k][at(n)]);
                    tile::<ROWS1, N, 0, EDGE>(&mut sums, panel.tap(2), |k, n| x[k][at(n + S)]);
                    for column in 0..N {
                        for row in 0..ROWS1 {
                            out[at(column)][index * ROWS1 + row] = max(sums[row][column], zero);
                        }
                    }
                }
            }
            out
        }

        /// Kernel 3 over four frames, stride 2: both output frames of a stream stand one after the other.
        #[inline]
        $(#[$isa])*
        fn conv2<const B: usize, const S: usize, const N: usize, const L: usize>(
            net: &Net,
            x: &[[V; CONV1 / LANES]; L],
        ) -> [[V; 2 * CONV2 / LANES]; B] {
            let zero = splat(0.0);
            let mut out = [[zero; 2 * CONV2 / LANES]; B];
            let x: &[[f32; CONV1]; L] = cast_columns(x);
            for (index, panel) in net.conv2.panels().enumerate() {
                for stream in (0..B).step_by(S) {
                    let at = |frame: usize, column: usize| (frame + column / S * 2) * B + stream + column % S;
                    let mut sums = biases::<ROWS, N>(&net.bias2, index);
                    tile::<ROWS, N, S, S>(&mut sums, panel.tap(0), |k, n| x[at(1, n)][k]);
                    tile::<ROWS, N, 0, N>(&mut sums, panel.tap(1), |k, n| x[at(0, n)][k]);
                    tile::<ROWS, N, 0, N>(&mut sums, panel.tap(2), |k, n| x[at(1, n)][k]);
                    for column in 0..N {
                        for row in 0..ROWS {
                            let place = column / S * (CONV2 / LANES) + index * ROWS + row;
                            out[stream + column % S][place] = max(sums[row][column], zero);
                        }
                    }
                }
            }
            out
        }

        /// A fully connected layer: `put(stream, vector of rows, sums)` takes its results.
        ///
        /// `x` are the layer's inputs from `first` on.
        #[inline]
        $(#[$isa])*
        fn dense<const B: usize, const N: usize, const K: usize>(
            (matrix, bias): (&Matrix<V, ROWS>, &[V]),
            first: usize,
            x: &[[f32; K]; B],
            mut put: impl FnMut(usize, usize, V),
        ) {
            for (index, panel) in matrix.panels().enumerate() {
                for stream in (0..B).step_by(N) {
                    let mut sums = biases::<ROWS, N>(bias, index);
                    let inputs: &[[f32; K]] = &x[stream..stream + N];
                    tile::<ROWS, N, 0, N>(&mut sums, &panel.all()[first..][..K], |k, n| inputs[n][k]);
                    for column in 0..N {
                        for row in 0..ROWS {
                            put(stream + column, index * ROWS + row, sums[row][column]);
                        }
                    }
                }
            }
        }

        /// The last two convolutions, whose frames have become one: fully connected layers.
        #[inline]
        $(#[$isa])*
        fn conv34<const B: usize, const N: usize>(
            net: &Net,
            pair: &[[V; 2 * CONV2 / LANES]; B],
        ) -> [[V; CONV4 / LANES]; B] {
            let zero = splat(0.0);
            let mut third = [[zero; CONV3 / LANES]; B];
            let layer = (&net.conv3, net.bias3.as_slice());
            dense::<B, N, { 2 * CONV2 }>(layer, 0, cast_columns(pair), |stream, row, sum| {
                third[stream][row] = max(sum, zero);
            });
            let mut fourth = [[zero; CONV4 / LANES]; B];
            let layer = (&net.conv4, net.bias4.as_slice());
            dense::<B, N, CONV3>(layer, 0, cast_columns(&third), |stream, row, sum| {
                fourth[stream][row] = max(sum, zero);
            });
            fourth
        }

        /// The LSTM's matrix over what was just heard and what it remembers.
        #[inline]
        $(#[$isa])*
        fn remember<const B: usize, const N: usize>(
            net: &Net,
            encoded: &[[V; CONV4 / LANES]; B],
            batch: &mut Batch<B>,
        ) -> [f32; B] {
            let mut inputs = [[0.0; 2 * HIDDEN]; B];
            for ((input, heard), hidden) in inputs.iter_mut().zip(encoded).zip(&batch.hidden) {
                let heard: &[f32; CONV4] = cast_ref(heard);
                input[..HIDDEN].copy_from_slice(heard);
                input[HIDDEN..].copy_from_slice(hidden);
            }
            let mut gates = [[splat(0.0); GATES / LANES]; B];
            let layer = (&net.lstm, net.lstm_bias.as_slice());
            dense::<B, N, { 2 * HIDDEN }>(layer, 0, &inputs, |stream, row, sum| gates[stream][row] = sum);
            advance(net, &gates, batch)
        }

        /// Moves every stream's memory on and scores it.
        #[inline]
        $(#[$isa])*
        fn advance<const B: usize>(net: &Net, gates: &[[V; GATES / LANES]; B], batch: &mut Batch<B>) -> [f32; B] {
            let mut scores = [0.0; B];
            for stream in 0..B {
                let mut cell: [V; HIDDEN / LANES] = cast(batch.cell[stream]);
                let mut hidden: [V; HIDDEN / LANES] = cast(batch.hidden[stream]);
                scores[stream] = step(net, &gates[stream], &mut cell, &mut hidden);
                batch.cell[stream] = cast(cell);
                batch.hidden[stream] = cast(hidden);
            }
            scores
        }

        /// The gates of an LSTM cell and the output layer.
        #[inline]
        $(#[$isa])*
        fn step(
            net: &Net,
            gates: &[V; GATES / LANES],
            cell: &mut [V; HIDDEN / LANES],
            hidden: &mut [V; HIDDEN / LANES],
        ) -> f32 {
            const OWN: usize = HIDDEN / LANES;
            let mut sum = splat(0.0);
            for own in 0..OWN {
                let take = sigmoid(gates[own]);
                let keep = sigmoid(gates[own + OWN]);
                let fresh = tanh(gates[own + 2 * OWN]);
                let show = sigmoid(gates[own + 3 * OWN]);
                cell[own] = fma(keep, cell[own], mul(take, fresh));
                hidden[own] = mul(show, tanh(cell[own]));
                sum = fma(max(hidden[own], splat(0.0)), net.output[own], sum);
            }
            let lanes: [f32; LANES] = cast(sum);
            let logit = lanes.iter().sum::<f32>() + net.output_bias;
            1.0 / (1.0 + (-logit).exp())
        }

        #[inline]
        $(#[$isa])*
        fn sigmoid(x: V) -> V {
            let one = splat(1.0);
            div(one, add(one, exp(sub(splat(0.0), x))))
        }

        #[inline]
        $(#[$isa])*
        fn tanh(x: V) -> V {
            let double = sigmoid(add(x, x));
            sub(add(double, double), splat(1.0))
        }

        /// exp(x) to 1e-7, for |x| up to 87 and clamped beyond.
        ///
        /// x = n ln 2 + r with whole n: adding 1.5 * 2^23 rounds to n and leaves it in the low mantissa bits.
        #[inline]
        $(#[$isa])*
        fn exp(x: V) -> V {
            const ROUND: f32 = 12_582_912.0;
            const SERIES: [f32; 5] = [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0];
            let x = max(min(x, splat(87.0)), splat(-87.0));
            let shifted = fma(x, splat(std::f32::consts::LOG2_E), splat(ROUND));
            let whole = sub(shifted, splat(ROUND));
            // ln 2 in two parts, the first with trailing zeros, so that the product with `whole` is exact.
            let rest = fma(whole, splat(-0.693_359_4), x);
            let rest = fma(whole, splat(2.121_944_4e-4), rest);
            let mut power = splat(1.0 / 720.0);
            for factor in SERIES {
                power = fma(power, rest, splat(factor));
            }
            mul(fma(power, rest, splat(1.0)), power_of_two(shifted))
        }

        /// The same columns as single numbers.
        #[inline(always)]
        fn cast_columns<const R: usize, const K: usize, const C: usize>(columns: &[[V; R]; C]) -> &[[f32; K]; C] {
            cast_ref(columns)
        }
    };
}

pub(super) use kernels;
