//! How the providers of a test behave: pure timelines, used by the simulated world and by the async fakes.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::time::Duration;

use protocol::chat::{ModelOutput, Usage};
use providers::WordTime;

/// Rate of all fake sound, in Hz.
pub const RATE: u32 = 16_000;
/// Sound of one chunk of a synthesizer.
const CHUNK: Duration = Duration::from_millis(100);
/// Tones of fake speech, in Hz, are [`LOWEST_TONE`] and the multiples of [`TONE_STEP`] above it.
pub(crate) const LOWEST_TONE: u32 = 400;
pub(crate) const TONE_STEP: u32 = 100;
pub(crate) const TONES: u32 = 9;
/// Peak of a tone: loud beside any noise, far from clipping.
pub(crate) const PEAK: f64 = 6_000.0;

/// How everyone but caller and client behaves.
#[derive(Clone, Debug, Default)]
pub struct Cast {
    /// Speech to text.
    pub recognizer: RecognizerTimes,
    /// Text to speech.
    pub synthesizer: SynthesizerTimes,
    /// Chat model.
    pub model: ModelTimes,
    /// What the model does when asked, in order; after the last it never answers.
    pub replies: Vec<Reply>,
    /// What comes of fetching, in order; after the last there is no network.
    pub fetches: Vec<Fetch>,
    /// Sound files there are, with their length.
    pub files: BTreeMap<String, Duration>,
    /// Providers go on although nobody wants their output any more.
    pub obstinate: bool,
}

/// When a recognizer speaks up.
#[derive(Clone, Debug, Default)]
pub struct RecognizerTimes {
    /// From the end of speech to the final text.
    pub last: Duration,
    /// Between partial texts; `None` for none.
    pub partials: Option<Duration>,
    /// What goes wrong.
    pub fault: Option<Fault>,
}

/// How fast a synthesizer is.
#[derive(Clone, Debug)]
pub struct SynthesizerTimes {
    /// From a text to its first sound.
    pub first: Duration,
    /// Characters spoken in one second of sound.
    pub chars_per_second: f64,
    /// Seconds of sound made in one second; infinite makes all of it at once.
    pub pace: f64,
    /// It tells when words are said: each takes the same share of the sound, be it long or short.
    pub tells_words: bool,
    /// What goes wrong.
    pub fault: Option<Fault>,
}

impl Default for SynthesizerTimes {
    fn default() -> Self {
        let (first, chars_per_second, pace) = (Duration::ZERO, 15.0, f64::INFINITY);
        SynthesizerTimes { first, chars_per_second, pace, tells_words: false, fault: None }
    }
}

/// How fast a model is.
#[derive(Clone, Debug, Default)]
pub struct ModelTimes {
    /// From the question to the first word.
    pub first: Duration,
    /// From word to word.
    pub token: Duration,
    /// What goes wrong.
    pub fault: Option<Fault>,
}

/// How long a silent voice is.
const SILENT: Duration = Duration::from_millis(140);

/// What goes wrong with a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It cannot be made.
    Refuses(String),
    /// It fails in the middle of its work.
    Breaks(String),
    /// It makes a short sound of which nothing is heard.
    Silent,
    /// It never comes to an end with what it was given.
    Hangs,
    /// It panics when it is asked.
    Panics,
}

/// What the model does with a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Says this.
    Says(String),
    /// Fails.
    Fails(String),
    /// Gives no answer at all.
    Never,
}

/// What comes of fetching an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// After so long; `None` for never.
    pub after: Option<Duration>,
    /// The body, or why there is none.
    pub body: Result<String, String>,
}

/// Sound that comes so long after it was asked for.
pub type Timed<T> = Vec<(Duration, T)>;

impl SynthesizerTimes {
    /// The sound of `text` as a tone of `hz`, in chunks with their times after the text was given.
    pub fn speak(&self, text: &str, hz: u32) -> Timed<Box<[i16]>> {
        let seconds = text.trim().chars().count() as f64 / self.chars_per_second;
        let sound = match self.fault {
            Some(Fault::Silent) => vec![0; (SILENT.as_millis() as u32 * RATE / 1000) as usize],
            _ => tone(hz, Duration::from_secs_f64(seconds)),
        };
        let chunk = (CHUNK.as_millis() as u32 * RATE / 1000) as usize;
        (0u32..)
            .zip(sound.chunks(chunk))
            .map(|(n, samples)| (self.first + CHUNK.mul_f64(f64::from(n) / self.pace), samples.into()))
            .collect()
    }
}

impl SynthesizerTimes {
    /// When the words of `text` are said, where the voice tells.
    pub fn words(&self, text: &str) -> Option<Vec<WordTime>> {
        let length = Duration::from_secs_f64(text.trim().chars().count() as f64 / self.chars_per_second);
        let share = length / u32::try_from(text.split_whitespace().count()).ok()?.max(1);
        let told = (0u32..).zip(text.split_whitespace()).map(|(n, word)| WordTime {
            text: word.to_owned(),
            start: share * n,
            end: share * (n + 1),
        });
        self.tells_words.then(|| told.collect())
    }
}

impl ModelTimes {
    /// `text` word by word with times after the question, then the end of the answer.
    pub fn answer(&self, text: &str) -> Timed<ModelOutput> {
        let mut outputs: Timed<ModelOutput> = (0u32..)
            .zip(text.split_inclusive(' '))
            .map(|(n, word)| (self.first + self.token * n, ModelOutput::Text(word.to_owned())))
            .collect();
        let end = outputs.last().map_or(self.first, |(at, _)| *at);
        outputs.push((end, ModelOutput::Done(Usage::default())));
        outputs
    }
}

/// A tone of whole 20 ms frames, at least as long as asked.
pub fn tone(hz: u32, length: Duration) -> Vec<i16> {
    let frames = length.as_millis().div_ceil(20) as u32;
    let sample = |n: u32| (PEAK * (TAU * f64::from(hz) * f64::from(n) / f64::from(RATE)).sin()) as i16;
    (0..frames * (RATE / 50)).map(sample).collect()
}

/// The tone of the n-th thing that is said.
pub fn tone_of(n: usize) -> u32 {
    LOWEST_TONE + TONE_STEP * (n as u32 % TONES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speech_lasts_as_long_as_its_text() {
        let times = SynthesizerTimes { pace: 2.0, first: Duration::from_millis(50), ..Default::default() };
        let sound = times.speak("fifteen letters", 400);
        let samples: usize = sound.iter().map(|(_, samples)| samples.len()).sum();
        assert_eq!(samples, 16_000);
        assert_eq!(sound[0].0, Duration::from_millis(50));
        assert_eq!(sound[9].0, Duration::from_millis(50 + 450));
    }

    #[test]
    fn an_answer_comes_word_by_word_and_ends() {
        let times =
            ModelTimes { first: Duration::from_millis(300), token: Duration::from_millis(20), fault: None };
        let answer = times.answer("We are open.");
        assert_eq!(answer.len(), 4);
        assert_eq!(answer[2], (Duration::from_millis(340), ModelOutput::Text("open.".into())));
        assert!(matches!(answer[3].1, ModelOutput::Done(_)));
    }
}
