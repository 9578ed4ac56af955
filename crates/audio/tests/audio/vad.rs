//! Silero against ONNX Runtime on real speech, and the detectors through the state machine.
//!
//! The fixtures are made by `scripts/silero_reference.py`.

use audio::vad::silero::{Path, Stream, score_batch_on};
use audio::vad::{MakeScorer, VAD_TYPES, Vad, VadEvent, VadSettings, score_all};
use protocol::CallTime;
use std::time::Duration;

/// Largest difference from ONNX Runtime in any window.
const TOLERANCE: f32 = 1e-4;

struct Reference {
    rate: u32,
    samples: Vec<i16>,
    scores: Vec<f32>,
}

impl Reference {
    fn read(rate: u32) -> Self {
        match rate {
            8_000 => Self::of(
                rate,
                include_bytes!("../../fixtures/silero_8k.s16"),
                include_bytes!("../../fixtures/silero_8k.f32"),
            ),
            _ => Self::of(
                rate,
                include_bytes!("../../fixtures/silero_16k.s16"),
                include_bytes!("../../fixtures/silero_16k.f32"),
            ),
        }
    }

    fn of(rate: u32, samples: &[u8], scores: &[u8]) -> Self {
        Reference {
            rate,
            samples: samples.as_chunks::<2>().0.iter().map(|bytes| i16::from_le_bytes(*bytes)).collect(),
            scores: scores.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        }
    }

    fn both() -> [Reference; 2] {
        [Self::read(16_000), Self::read(8_000)]
    }

    /// Voices of programs among noises, and a person's, at each rate.
    fn all() -> [Reference; 4] {
        let [wide, narrow] = Self::both();
        let person = (
            include_bytes!("../../fixtures/silero_person_16k.s16"),
            include_bytes!("../../fixtures/silero_person_16k.f32"),
        );
        let by_phone = (
            include_bytes!("../../fixtures/silero_person_8k.s16"),
            include_bytes!("../../fixtures/silero_person_8k.f32"),
        );
        [wide, narrow, Self::of(16_000, person.0, person.1), Self::of(8_000, by_phone.0, by_phone.1)]
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
    for reference in Reference::all() {
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
    for reference in Reference::all() {
        for path in paths() {
            for count in [2, 3, 4, 9] {
                for scores in scores(path, &reference, count) {
                    let worst = reference.worst(&scores, 0);
                    assert!(worst < TOLERANCE, "{path:?}, {count} at {} Hz: off by {worst}", reference.rate);
                }
            }
        }
    }
}

/// Streams that differ in rate and in what they hear, none of which may touch another.
#[test]
fn a_mixed_batch_scores_each_stream_as_if_it_were_alone() {
    let references = Reference::both();
    for path in paths() {
        let mut streams: Vec<_> = (0..13).map(|i| Stream::new(references[i % 2].rate)).collect();
        let mut result = vec![Vec::new(); streams.len()];
        for step in 0..100 {
            for (i, stream) in streams.iter_mut().enumerate() {
                let window = stream.window();
                let at = (step + i * 40) * window;
                assert!(stream.push(&references[i % 2].samples[at..at + window]).is_empty());
            }
            let mut out = vec![f32::NAN; streams.len()];
            score_batch_on(path, &mut streams.iter_mut().collect::<Vec<_>>(), &mut out);
            result.iter_mut().zip(out).for_each(|(all, score)| all.push(score));
        }
        for (i, scores) in result.iter().enumerate() {
            let reference = &references[i % 2];
            let mut alone = Stream::new(reference.rate);
            let windows = reference.samples.chunks_exact(alone.window()).skip(i * 40);
            for (score, window) in scores.iter().zip(windows) {
                assert!(alone.push(window).is_empty());
                let mut expected = [f32::NAN];
                score_batch_on(path, &mut [&mut alone], &mut expected);
                assert!((score - expected[0]).abs() < 1e-5, "{path:?} stream {i}: {score} {}", expected[0]);
            }
        }
    }
}

#[test]
fn samples_may_come_in_any_portions() {
    let reference = Reference::read(16_000);
    for portion in [1, 160, 320, 480, 511, 513, 5_000] {
        let mut stream = Stream::new(reference.rate);
        let mut scores = Vec::new();
        for mut samples in reference.samples[..51_200].chunks(portion) {
            while !samples.is_empty() {
                samples = stream.push(samples);
                if stream.ready() {
                    scores.push(stream.score());
                }
            }
        }
        while stream.ready() {
            scores.push(stream.score());
        }
        assert_eq!(scores.len(), 100, "portions of {portion}");
        assert!(reference.worst(&scores, 0) < TOLERANCE, "portions of {portion}");
    }
}

#[test]
fn frames_of_twenty_milliseconds_always_find_room() {
    for (name, make) in VAD_TYPES {
        for rate in [8_000, 16_000] {
            let mut scorer = make(rate);
            let frame = vec![100; rate as usize / 50];
            for _ in 0..100 {
                assert!(scorer.push(&frame).is_empty(), "{name} at {rate} Hz");
                while scorer.ready() {
                    scorer.score();
                }
            }
        }
    }
}

#[test]
fn without_a_window_a_stream_scores_nothing_and_remembers_all() {
    let reference = Reference::read(16_000);
    let mut stream = Stream::new(16_000);
    assert!(stream.push(&reference.samples[..500]).is_empty());
    assert_eq!(stream.score(), 0.0);
    assert!(stream.push(&reference.samples[500..512]).is_empty());
    assert!((stream.score() - reference.scores[0]).abs() < TOLERANCE);
}

#[test]
fn a_reset_stream_is_as_good_as_new() {
    let reference = Reference::read(8_000);
    let mut stream = Stream::new(8_000);
    for window in reference.samples.chunks_exact(256).skip(200).take(50) {
        assert!(stream.push(window).is_empty());
        stream.score();
    }
    stream.reset();
    for (window, expected) in reference.samples.chunks_exact(256).zip(&reference.scores).take(50) {
        assert!(stream.push(window).is_empty());
        assert!((stream.score() - expected).abs() < TOLERANCE);
    }
}

/// The spoken stretches of the fixture's first seven seconds, as a detector hears them.
fn segments(make: MakeScorer, rate: u32) -> Vec<(CallTime, Duration)> {
    let reference = Reference::read(rate);
    let mut scorer = make(rate);
    let settings = VadSettings { silence_padding: Duration::from_millis(400), ..VadSettings::default() };
    let mut vad = Vad::new(settings, scorer.rate(), scorer.window(), CallTime::ZERO);
    let mut found = Vec::new();
    for frame in reference.samples[..rate as usize * 7].chunks(rate as usize / 50) {
        assert!(scorer.push(frame).is_empty());
        while scorer.ready() {
            let mut score = [0.0];
            score_all(&mut [&mut scorer], &mut score);
            if let Some(VadEvent::Silence { start, duration }) = vad.scored(score[0]) {
                found.push((start, duration));
            }
        }
    }
    if let Some(VadEvent::Silence { start, duration }) = vad.close() {
        found.push((start, duration));
    }
    found
}

#[test]
fn every_detector_finds_the_two_sentences_and_none_finds_nothing() {
    for (name, make) in VAD_TYPES {
        if *name == "nop" {
            assert_eq!(segments(*make, 16_000), []);
            continue;
        }
        for rate in [16_000, 8_000] {
            let found = segments(*make, rate);
            let starts: Vec<_> = found.iter().map(|(start, _)| start.as_ms()).collect();
            assert_eq!(found.len(), 2, "{name} at {rate} Hz: {found:?}");
            assert!((150..350).contains(&starts[0]), "{name} at {rate} Hz: {found:?}");
            assert!((4_350..4_600).contains(&starts[1]), "{name} at {rate} Hz: {found:?}");
        }
    }
}
