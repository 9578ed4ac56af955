//! pocketsphinx: English, 16 kHz; best with a list of the phrases that may come.
//!
//! The program tells its words when its input closes, and nothing before. So each utterance has a program of
//! its own, started ahead and given the sound as it comes, which is nearly done when the caller is. What is
//! heard meanwhile is told by further programs, each given the utterance so far.

use std::collections::VecDeque;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use protocol::CallTime;
use protocol::option::TranscriptionOption;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::{Instant, sleep_until, timeout};

use self::decoder::{Decoder, Found};
use self::vocabulary::Vocabulary;
use crate::error::WORDS;
use crate::options::extra_ms;
use crate::{Heard, Hearing, ProviderError, Recognizer, Words};

mod decoder;
mod grammar;
mod vocabulary;

/// Options read.
pub(crate) const OPTIONS: &[&str] = &["extra.words", "extra.grammar", "extra.partialMs", "extra.holdMs"];

const RATE: u32 = 16_000;
const PER_MS: usize = RATE as usize / 1000;
/// Sound kept from before speech was detected, which takes its time: 400 ms.
const BEFORE: usize = 400 * PER_MS;
/// An utterance is ended here, 30 s, even if the caller speaks on.
const LONGEST: usize = 30_000 * PER_MS;
/// Below 300 ms there is nothing to tell yet.
const SHORTEST_PARTIAL: usize = BEFORE + 300 * PER_MS;
/// Longest wait for the words after the sound was given. A conversation waits less long; a busy machine may need more.
const DECODE: Duration = Duration::from_secs(8);
/// Utterances whose words are still to come while the caller says another. With more, the sound waits.
const MOST_OVER: usize = 4;
const PARTIAL_MS: u64 = 400;
const HOLD_MS: u64 = 150;

/// pocketsphinx with its vocabulary.
pub struct Pocketsphinx {
    path: PathBuf,
    vocabulary: Vocabulary,
    /// Between partial texts, at least.
    every: Duration,
    /// How long speech must stay away before the utterance is over.
    hold: Duration,
}

/// pocketsphinx with `option`'s vocabulary. Errors: a bad option, or the program or its model is missing.
pub(crate) fn recognizer(option: &TranscriptionOption) -> Result<Box<dyn Recognizer>, ProviderError> {
    let path = super::find(decoder::PROGRAM, decoder::PACKAGE)?;
    let language = option.language.as_deref().unwrap_or("en").trim().to_ascii_lowercase();
    if !language.is_empty() && !language.starts_with("en") {
        let why = "pocketsphinx hears English only: expected en, or another provider".to_owned();
        return Err(ProviderError::Option { field: "language", why });
    }
    let extra = option.extra.clone().unwrap_or_default();
    Ok(Box::new(Pocketsphinx {
        path,
        vocabulary: Vocabulary::new(&extra)?,
        every: Duration::from_millis(extra_ms(&extra, "extra.partialMs", PARTIAL_MS)?),
        hold: Duration::from_millis(extra_ms(&extra, "extra.holdMs", HOLD_MS)?),
    }))
}

#[async_trait]
impl Recognizer for Pocketsphinx {
    fn rate(&self) -> u32 {
        RATE
    }

    async fn run(&self, audio: Receiver<Hearing>, heard: Sender<Heard>) -> Result<(), ProviderError> {
        let spare = self.whole()?;
        let mut ear = Ear {
            of: self,
            before: VecDeque::new(),
            spare: Some(spare),
            utterance: None,
            partial: None,
            last: None,
            over: FuturesOrdered::new(),
            heard,
        };
        ear.listen(audio).await
    }
}

impl Pocketsphinx {
    fn whole(&self) -> Result<Decoder, ProviderError> {
        Decoder::start(&self.path, self.vocabulary.whole())
    }
}

type Finding<'a> = Pin<Box<dyn Future<Output = Result<Found, ProviderError>> + Send + 'a>>;
type Over<'a> = Pin<Box<dyn Future<Output = (Utterance, Result<Found, ProviderError>)> + Send + 'a>>;

/// One call's hearing.
struct Ear<'a> {
    of: &'a Pocketsphinx,
    /// The last sound in which nobody spoke.
    before: VecDeque<i16>,
    /// A program that has its model loaded.
    spare: Option<Decoder>,
    utterance: Option<Utterance>,
    /// A program at work on the utterance so far.
    partial: Option<Finding<'a>>,
    /// A program at work on the whole utterance, which goes on when speech does.
    last: Option<Finding<'a>>,
    /// Utterances before it, told in their order.
    over: FuturesOrdered<Over<'a>>,
    heard: Sender<Heard>,
}

/// What the caller is saying.
struct Utterance {
    start: CallTime,
    end: Option<CallTime>,
    samples: Vec<i16>,
    /// Samples of it when speech ended.
    spoken: usize,
    /// Hears along; taken when speech ends.
    decoder: Option<Decoder>,
    partial: Found,
    /// When the running partial was begun.
    begun: Instant,
    /// When the next partial is due.
    next: Instant,
}

impl Ear<'_> {
    async fn listen(&mut self, mut audio: Receiver<Hearing>) -> Result<(), ProviderError> {
        let mut open = true;
        while open || self.last.is_some() || !self.over.is_empty() {
            tokio::select! {
                biased;
                () = self.heard.closed() => return Err(ProviderError::Gone),
                Some((utterance, found)) = self.over.next() => self.tell(&utterance, found?).await?,
                found = finding(&mut self.last), if self.over.is_empty() => self.finished(found?).await?,
                found = finding(&mut self.partial) => self.part(found?).await?,
                hearing = audio.recv(), if open && self.over.len() < MOST_OVER => match hearing {
                    Some(hearing) => self.hear(hearing).await?,
                    None => {
                        open = false;
                        self.end(None)?;
                    }
                },
            }
        }
        Ok(())
    }

    async fn hear(&mut self, hearing: Hearing) -> Result<(), ProviderError> {
        match hearing {
            Hearing::Audio { samples, .. } => self.sound(&samples).await,
            Hearing::SpeechStarted { at } => self.begin(at).await,
            Hearing::SpeechEnded { at } => self.end(Some(at)),
        }
    }

    async fn sound(&mut self, samples: &[i16]) -> Result<(), ProviderError> {
        self.before.extend(samples);
        let surplus = self.before.len().saturating_sub(BEFORE);
        self.before.drain(..surplus);
        let Some(utterance) = &mut self.utterance else { return Ok(()) };
        let Some(decoder) = &mut utterance.decoder else {
            // Speech has ended, but if it goes on at once this belongs to it.
            utterance.samples.extend_from_slice(samples);
            return Ok(());
        };
        utterance.samples.extend_from_slice(samples);
        decoder.give(samples).await?;
        if utterance.samples.len() >= LONGEST {
            let at = utterance.start + Duration::from_millis((utterance.samples.len() / PER_MS) as u64);
            return self.end(Some(at));
        }
        self.try_partial()
    }

    async fn begin(&mut self, at: CallTime) -> Result<(), ProviderError> {
        let mut utterance = match self.utterance.take() {
            // The pause was too short to end it. The times of the sound tell that: a program that is late, since it loads its
            // model, lets both marks be read at once.
            Some(utterance) if utterance.end.is_none_or(|end| at.since(end) <= self.of.hold) => utterance,
            Some(earlier) => {
                let after = earlier.samples.get(earlier.spoken..).unwrap_or_default();
                let utterance = Utterance::new(at, after[after.len().saturating_sub(BEFORE)..].to_vec());
                if let Some(last) = self.last.take() {
                    self.over.push_back(Box::pin(async move { (earlier, last.await) }));
                }
                utterance
            }
            None => Utterance::new(at, self.before.iter().copied().collect()),
        };
        if utterance.decoder.is_none() {
            self.last = None;
            utterance.end = None;
            let mut decoder = match self.spare.take() {
                Some(decoder) => decoder,
                None => self.of.whole()?,
            };
            decoder.give(&utterance.samples).await?;
            utterance.decoder = Some(decoder);
        }
        self.utterance = Some(utterance);
        Ok(())
    }

    /// The words are wanted now, unless speech goes on within the hold.
    fn end(&mut self, at: Option<CallTime>) -> Result<(), ProviderError> {
        let Some(utterance) = &mut self.utterance else { return Ok(()) };
        let Some(decoder) = utterance.decoder.take() else { return Ok(()) };
        utterance.end = at;
        utterance.spoken = utterance.samples.len();
        self.partial = None;
        let hold = if at.is_some() { self.of.hold } else { Duration::ZERO };
        let until = Instant::now() + hold;
        self.last = Some(Box::pin(async move {
            let found = within(decoder.finish()).await;
            sleep_until(until).await;
            found
        }));
        self.spare = Some(self.of.whole()?);
        Ok(())
    }

    fn try_partial(&mut self) -> Result<(), ProviderError> {
        let Some(utterance) = &mut self.utterance else { return Ok(()) };
        let now = Instant::now();
        if self.partial.is_some() || now < utterance.next || utterance.samples.len() < SHORTEST_PARTIAL {
            return Ok(());
        }
        utterance.begun = now;
        let mut decoder = Decoder::start(&self.of.path, self.of.vocabulary.part())?;
        let samples = utterance.samples.clone();
        self.partial = Some(Box::pin(within(async move {
            decoder.give(&samples).await?;
            decoder.finish().await
        })));
        Ok(())
    }

    /// Tells what is heard so far, if it is news.
    async fn part(&mut self, found: Found) -> Result<(), ProviderError> {
        let Some(utterance) = &mut self.utterance else { return Ok(()) };
        let now = Instant::now();
        // Partials of the large model take long: at least half of the time is left to others.
        let pause = self.of.every.max(2 * (now - utterance.begun));
        utterance.next = utterance.begun + pause;
        if found.text.is_empty() || found.text == utterance.partial.text {
            return Ok(());
        }
        utterance.partial = found.clone();
        let words = utterance.words(found);
        self.heard.send(Heard::Partial(words)).await.map_err(|_| ProviderError::Gone)
    }

    async fn finished(&mut self, found: Found) -> Result<(), ProviderError> {
        let Some(utterance) = self.utterance.take() else { return Ok(()) };
        self.before.clear();
        self.tell(&utterance, found).await
    }

    /// Tells the words of an utterance that is over.
    async fn tell(&mut self, utterance: &Utterance, found: Found) -> Result<(), ProviderError> {
        // A phrase that broke off fits no grammar: what was heard of it is better than nothing.
        let found = if found.text.is_empty() { utterance.partial.clone() } else { found };
        let words = utterance.words(found);
        self.heard.send(Heard::Final(words)).await.map_err(|_| ProviderError::Gone)
    }
}

impl Utterance {
    fn new(start: CallTime, samples: Vec<i16>) -> Self {
        let now = Instant::now();
        let partial = Found::default();
        Utterance { start, end: None, samples, spoken: 0, decoder: None, partial, begun: now, next: now }
    }

    fn words(&self, found: Found) -> Words {
        Words {
            text: found.text,
            start: Some(self.start),
            end: self.end,
            confidence: found.confidence,
            task_id: None,
        }
    }
}

/// The end of a program at work; never without one.
async fn finding(work: &mut Option<Finding<'_>>) -> Result<Found, ProviderError> {
    let found = match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    };
    *work = None;
    found
}

async fn within(
    work: impl Future<Output = Result<Found, ProviderError>> + Send,
) -> Result<Found, ProviderError> {
    timeout(DECODE, work).await.unwrap_or(Err(ProviderError::Timeout { what: WORDS, after: DECODE }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tokio::sync::mpsc::channel;

    use super::*;

    /// A recognizer that takes its time and hears in each utterance how many bytes it has.
    fn slow(folder: &tempfile::TempDir) -> Pocketsphinx {
        let path = folder.path().join("program");
        std::fs::write(&path, "#!/bin/sh\nsleep 0.4\nexec wc -c\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let vocabulary = Vocabulary::new(&protocol::Extra::new()).unwrap();
        Pocketsphinx { path, vocabulary, every: Duration::from_secs(60), hold: Duration::from_millis(150) }
    }

    /// What is heard of stretches of speech, from and to these times in ms, that are all read at once.
    async fn heard(stretches: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let folder = tempfile::tempdir().unwrap();
        let recognizer = slow(&folder);
        let (audio, hearing) = channel(200);
        let (heard, mut told) = channel(20);
        for at in (0..=7000).step_by(100).map(CallTime::ms) {
            for (from, to) in stretches {
                // A detector tells a begin after 200 ms, and an end after 100.
                if at == CallTime::ms(from + 200) {
                    audio.try_send(Hearing::SpeechStarted { at: CallTime::ms(*from) }).unwrap();
                }
                if at == CallTime::ms(to + 100) {
                    audio.try_send(Hearing::SpeechEnded { at: CallTime::ms(*to) }).unwrap();
                }
            }
            audio.try_send(Hearing::Audio { at, samples: [1; 1600].into() }).unwrap();
        }
        drop(audio);
        let (ran, finals) = tokio::join!(recognizer.run(hearing, heard), async {
            let mut finals = Vec::new();
            while let Some(Heard::Final(words)) = told.recv().await {
                assert!(words.text.parse::<usize>().unwrap() > 3200 * 5, "{words:?}");
                let ms = |at: Option<CallTime>| at.unwrap().0.as_millis() as u64;
                finals.push((ms(words.start), ms(words.end)));
            }
            finals
        });
        ran.unwrap();
        finals
    }

    #[tokio::test]
    async fn utterances_stay_apart_however_late_their_words_are() {
        let apart = [(500, 1500), (3700, 4700)];
        assert_eq!(heard(&apart).await, apart);
        let four = [(500, 1200), (1500, 2200), (3000, 3700), (5000, 6000)];
        assert_eq!(heard(&four).await, four);
    }

    #[tokio::test]
    async fn a_pause_shorter_than_the_hold_ends_no_utterance() {
        assert_eq!(heard(&[(500, 1500), (1600, 2400)]).await, [(500, 2400)]);
    }
}
