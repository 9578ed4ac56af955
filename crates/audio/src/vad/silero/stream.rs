//! What one call keeps, and the gathering of calls into batches.

use super::path::{self, Path};
use super::weights::HIDDEN;
use super::{Batch, FRAMES, HOP, HOPS, QUAD};
use std::fmt;

/// Samples a stream can hold: a window, and a frame of 30 ms beyond it.
const CAPACITY: usize = 1024;
/// Samples of the window before that the network hears again, at 16 kHz.
const OVERLAP: usize = 64;

/// One call's Silero VAD: what the network remembers, and the samples gathered for its next window. 3.2 KB.
#[derive(Clone)]
pub struct Stream {
    rate: u32,
    hidden: [f32; HIDDEN],
    cell: [f32; HIDDEN],
    /// The last samples of the window before; 8 kHz uses the first half.
    overlap: [i16; OVERLAP],
    gathered: Gathered,
}

impl Stream {
    /// A stream of samples at 8000 Hz, or 16000 Hz for any other `rate`.
    pub fn new(rate: u32) -> Self {
        Stream {
            rate: if rate == 8_000 { 8_000 } else { 16_000 },
            hidden: [0.0; HIDDEN],
            cell: [0.0; HIDDEN],
            overlap: [0; OVERLAP],
            gathered: Gathered::default(),
        }
    }

    /// Samples per second: 8000 or 16000.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Samples per score: 32 ms.
    pub fn window(&self) -> usize {
        if self.rate == 8_000 { 256 } else { 512 }
    }

    /// Takes samples and returns those that found no room.
    ///
    /// Nothing is left over as long as ready windows are scored and at most 30 ms come at once.
    #[must_use = "samples that found no room must be pushed again"]
    pub fn push<'a>(&mut self, samples: &'a [i16]) -> &'a [i16] {
        self.gathered.push(samples)
    }

    /// Whether a whole window is gathered.
    pub fn ready(&self) -> bool {
        self.gathered.len() >= self.window()
    }

    /// Scores the oldest gathered window and lets go of it: the probability of speech in 0.0..=1.0.
    ///
    /// Returns 0.0 and changes nothing when no window is [`ready`](Self::ready).
    pub fn score(&mut self) -> f32 {
        let mut score = [0.0];
        score_batch(&mut [self], &mut score);
        score[0]
    }

    /// Forgets everything heard, as after a change of rate or a long gap.
    pub fn reset(&mut self) {
        *self = Stream::new(self.rate);
    }

    /// Whether the network hears nothing but zero: in the oldest window and in the end of the one before.
    fn silent(&self) -> bool {
        let window = self.gathered.front(self.window()).unwrap_or(&[]);
        // Looking at all of them takes vectors and less time than stopping at the first.
        [window, &self.overlap].iter().all(|part| part.iter().fold(0, |any, sample| any | sample) == 0)
    }

    /// Lays the oldest window out for the network: overlap, window, and its end mirrored.
    fn load<const B: usize>(&self, batch: &mut Batch<B>, slot: usize) {
        let (window, overlap) = (self.window(), self.window() / 8);
        let Some(samples) = self.gathered.front(window) else { return };
        let mut heard = [0_i16; HOPS * HOP];
        let end = overlap + window;
        heard[..overlap].copy_from_slice(&self.overlap[..overlap]);
        heard[overlap..end].copy_from_slice(samples);
        for i in 0..overlap {
            heard[end + i] = heard[end - 2 - i];
        }
        for (hop, samples) in heard.chunks_exact(window / FRAMES).take(HOPS).enumerate() {
            for (row, &sample) in batch.input.iter_mut().zip(samples) {
                row[hop][slot] = f32::from(sample) * (1.0 / 32_768.0);
            }
        }
        batch.hidden[slot] = self.hidden;
        batch.cell[slot] = self.cell;
    }

    /// Takes over what the network remembers and lets go of the window.
    fn store<const B: usize>(&mut self, batch: &Batch<B>, slot: usize) {
        let (window, overlap) = (self.window(), self.window() / 8);
        self.hidden = batch.hidden[slot];
        self.cell = batch.cell[slot];
        if let Some(samples) = self.gathered.front(window) {
            self.overlap[..overlap].copy_from_slice(&samples[window - overlap..]);
        }
        self.gathered.consume(window);
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("rate", &self.rate)
            .field("gathered", &self.gathered.len())
            .finish_non_exhaustive()
    }
}

/// Scores one window of each of `streams`; the n-th score goes to `out[n]`.
///
/// Streams of the same rate are scored in fours, in one pass over the weights. A stream without a ready window gets
/// 0.0 and is not changed. The shorter of the two slices decides how many are scored.
pub fn score_batch(streams: &mut [&mut Stream], out: &mut [f32]) {
    score_batch_on(Path::best(), streams, out);
}

/// [`score_batch`] on a certain path, for measurements and tests; plain code where this processor lacks it.
pub fn score_batch_on(path: Path, streams: &mut [&mut Stream], out: &mut [f32]) {
    each_on(path, streams.iter_mut().map(|stream| &mut **stream).zip(out));
}

/// [`score_batch`] over streams that stand in other structures.
pub(in super::super) fn score_each<'a>(items: impl Iterator<Item = (&'a mut Stream, &'a mut f32)>) {
    each_on(Path::best(), items);
}

type Item<'a> = (&'a mut Stream, &'a mut f32);

fn each_on<'a>(path: Path, items: impl Iterator<Item = Item<'a>>) {
    let mut wide = Group::<129>::new(path);
    let mut narrow = Group::<65>::new(path);
    for (stream, score) in items {
        if !stream.ready() {
            *score = 0.0;
        } else if stream.rate == 8_000 {
            narrow.add((stream, score));
        } else {
            wide.add((stream, score));
        }
    }
    wide.finish();
    narrow.finish();
}

/// Streams of one rate that wait for company.
struct Group<'a, const BINS: usize> {
    path: Path,
    waiting: [Option<Item<'a>>; QUAD],
    count: usize,
}

impl<'a, const BINS: usize> Group<'a, BINS> {
    fn new(path: Path) -> Self {
        Group { path, waiting: [const { None }; QUAD], count: 0 }
    }

    fn add(&mut self, item: Item<'a>) {
        if item.0.silent() {
            return pass(self.path, [Some(item)], path::silence::<BINS>);
        }
        if let Some(slot) = self.waiting.get_mut(self.count) {
            *slot = Some(item);
            self.count += 1;
        }
        if self.count == QUAD {
            self.finish();
        }
    }

    /// Scores those who wait. A pass for four costs less than three passes for one, so that three also share one,
    /// with silence in the empty place.
    fn finish(&mut self) {
        let [first, second, third, fourth] = std::mem::take(&mut self.waiting);
        if std::mem::take(&mut self.count) > 2 {
            return pass(self.path, [first, second, third, fourth], path::quad::<BINS>);
        }
        for item in [first, second].into_iter().flatten() {
            pass(self.path, [Some(item)], path::single::<BINS>);
        }
    }
}

/// Scores the `items` with `run`.
fn pass<const B: usize>(
    path: Path,
    mut items: [Option<Item<'_>>; B],
    run: fn(Path, &mut Batch<B>) -> [f32; B],
) {
    let mut batch = Batch::<B>::new();
    for (slot, item) in items.iter().enumerate() {
        if let Some((stream, _)) = item {
            stream.load(&mut batch, slot);
        }
    }
    let scores = run(path, &mut batch);
    for (slot, item) in items.iter_mut().enumerate() {
        if let Some((stream, score)) = item {
            stream.store(&batch, slot);
            **score = scores[slot];
        }
    }
}

/// Samples on their way into windows.
#[derive(Clone)]
pub(in super::super) struct Gathered {
    samples: [i16; CAPACITY],
    len: usize,
}

impl Default for Gathered {
    fn default() -> Self {
        Gathered { samples: [0; CAPACITY], len: 0 }
    }
}

impl Gathered {
    /// Takes what has room and returns the rest.
    pub(in super::super) fn push<'a>(&mut self, samples: &'a [i16]) -> &'a [i16] {
        let free = &mut self.samples[self.len..];
        let (taken, rest) = samples.split_at(free.len().min(samples.len()));
        free[..taken.len()].copy_from_slice(taken);
        self.len += taken.len();
        rest
    }

    pub(in super::super) fn len(&self) -> usize {
        self.len
    }

    /// The oldest `count` samples, if there are so many.
    pub(in super::super) fn front(&self, count: usize) -> Option<&[i16]> {
        self.samples[..self.len].get(..count)
    }

    /// Lets go of the oldest `count` samples.
    pub(in super::super) fn consume(&mut self, count: usize) {
        let count = count.min(self.len);
        self.samples.copy_within(count..self.len, 0);
        self.len -= count;
    }
}
