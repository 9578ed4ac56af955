//! Silero against ONNX Runtime on real speech, and the detectors through the state machine.
//!
//! The fixtures are made by `scripts/silero_reference.py`.

use audio::vad::silero::{Path, Stream, score_batch_on};

/// Largest difference from ONNX Runtime in any window.
const TOLERANCE: f32 = 1e-4;

struct Reference {
    rate: u32,
    samples: Vec<i16>,
    scores: Vec<f32>,
}

impl Reference {
    fn read(rate: u32) -> Self {
        let (samples, scores): (&[u8], &[u8]) = match rate {
            8_000 => (include_bytes!("../fixtures/silero_8k.s16"), include_bytes!("../fixtures/silero_8k.f32")),
            _ => (include_bytes!("../fixtures/silero_16k.s16"), include_bytes!("../fixtures/silero_16k.f32")),
        };
        Reference {
            rate,
            samples: samples.as_chunks::<2>().0.iter().map(|bytes| i16::from_le_bytes(*bytes)).collect(),
            scores: scores.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        }
    }

    fn both() -> [Reference; 2] {
        [Self::read(16_000), Self::read(8_000)]
    }

    /// Largest difference of `scores`, which begin with window `first`.
    fn worst(&self, scores: &[f32], first: usize) -> f32 {
        let pairs = scores.iter().zip(&self.scores[first..]);
        pairs.map(|(ours, theirs)| (ours - theirs).abs()).fold(0.0, f32::max)
    }
}

fn paths() -> impl Iterator<Item = Path> {
    Path::ALL.into_iter().filter(|path| path.available())
}

/// Scores the whole sound with `count` streams of equal content at once; the scores of each stream.
fn scores(path: Path, reference: &Reference, count: usize) -> Vec<Vec<f32>> {
    let mut streams = vec![Stream::new(reference.rate); count];
    let mut result = vec![Vec::new(); count];
    for window in reference.samples.chunks_exact(streams[0].window()) {
        for stream in &mut streams {
            assert!(stream.push(window).is_empty());
        }
        let mut out = vec![f32::NAN; count];
        score_batch_on(path, &mut streams.iter_mut().collect::<Vec<_>>(), &mut out);
        for (all, score) in result.iter_mut().zip(out) {
            all.push(score);
        }
    }
    result
}

#[test]
fn one_stream_scores_as_onnx_runtime_does() {
    for reference in Reference::both() {
        for path in paths() {
            let scores = scores(path, &reference, 1);
            assert_eq!(scores[0].len(), reference.scores.len());
            let worst = reference.worst(&scores[0], 0);
            println!("{path:?} {} Hz: {worst:e}", reference.rate);
            assert!(worst < TOLERANCE, "{path:?} at {} Hz is off by {worst}", reference.rate);
        }
    }
}

#[test]
fn every_stream_of_a_batch_scores_as_onnx_runtime_does() {
    for reference in Reference::both() {
        for path in paths() {
            for count in [2, 4, 7] {
                for scores in scores(path, &reference, count) {
                    let worst = reference.worst(&scores, 0);
                    assert!(worst < TOLERANCE, "{path:?}, {count} at {} Hz: off by {worst}", reference.rate);
                }
            }
        }
    }
}
