//! The wrapper, around providers that fail as they are told, on a clock that tests move.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use protocol::CallTime;
use providers::run::{self, Limits};
use providers::{Heard, Hearing, ProviderError, Recognizer, Spoken, Synthesizer, Text, Words};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::Instant;

#[derive(Default)]
struct Fake {
    attempts: AtomicU32,
    /// Attempts that fail before anything is delivered.
    fail: u32,
    /// Whether it reads what it is given.
    deaf: bool,
    /// Whether it fails after the first delivery.
    break_off: bool,
}

impl Fake {
    fn attempt(&self) -> Result<(), ProviderError> {
        let attempt = self.attempts.fetch_add(1, Ordering::SeqCst) + 1;
        if attempt <= self.fail { Err(broken()) } else { Ok(()) }
    }
}

fn broken() -> ProviderError {
    ProviderError::Connect("broken".to_owned())
}

#[async_trait]
impl Synthesizer for Fake {
    fn rate(&self) -> u32 {
        16_000
    }
    async fn run(&self, mut text: Receiver<Text>, spoken: Sender<Spoken>) -> Result<(), ProviderError> {
        let first = text.recv().await;
        self.attempt()?;
        if self.deaf {
            std::future::pending::<()>().await;
        }
        let mut next = first;
        while let Some(Text { piece, .. }) = next {
            spoken
                .send(Spoken::Audio { piece, samples: Box::new([0; 320]) })
                .await
                .map_err(|_| ProviderError::Gone)?;
            if self.break_off {
                return Err(broken());
            }
            spoken.send(Spoken::Done { piece }).await.map_err(|_| ProviderError::Gone)?;
            next = text.recv().await;
        }
        Ok(())
    }
}

#[async_trait]
impl Recognizer for Fake {
    fn rate(&self) -> u32 {
        16_000
    }
    async fn run(&self, mut audio: Receiver<Hearing>, heard: Sender<Heard>) -> Result<(), ProviderError> {
        if self.deaf {
            std::future::pending::<()>().await;
        }
        let mut count = 0;
        while let Some(Hearing::Audio { .. }) = audio.recv().await {
            count += 1;
            if count == 5 {
                self.attempt()?;
            }
        }
        let words = Words { text: count.to_string(), ..Words::default() };
        heard.send(Heard::Final(words)).await.map_err(|_| ProviderError::Gone)
    }
}

async fn spoken(fake: &Fake, pieces: u32) -> (usize, Result<run::Measured, ProviderError>) {
    let (sender, text) = channel(16);
    for piece in 0..pieces {
        sender.send(Text { piece, text: "Hello.".to_owned() }).await.unwrap();
    }
    drop(sender);
    let (spoken, mut sound) = channel(100);
    let result = run::synthesize("fake", fake, &Limits::SPEAK, text, spoken).await;
    let mut done = 0;
    while let Ok(output) = sound.try_recv() {
        done += usize::from(matches!(output, Spoken::Done { .. }));
    }
    (done, result)
}

#[tokio::test(start_paused = true)]
async fn what_failed_before_it_delivered_is_given_everything_again() {
    let fake = Fake { fail: 2, ..Fake::default() };
    let (done, result) = spoken(&fake, 3).await;
    assert_eq!((done, result.unwrap().attempts), (3, 3));

    let (audio, hearing) = channel(100);
    for n in 0..50 {
        audio.send(Hearing::Audio { at: CallTime::ms(n * 100), samples: Box::new([0; 1600]) }).await.unwrap();
    }
    drop(audio);
    let (sender, mut heard) = channel(1);
    let fake = Fake { fail: 1, ..Fake::default() };
    run::recognize("fake", &fake, &Limits::HEAR, hearing, sender).await.unwrap();
    let Some(Heard::Final(words)) = heard.recv().await else { panic!("a final text") };
    assert_eq!(words.text, "50");
}

#[tokio::test(start_paused = true)]
async fn attempts_are_bounded_and_backed_off() {
    let fake = Fake { fail: 9, ..Fake::default() };
    let begin = Instant::now();
    let (done, result) = spoken(&fake, 1).await;
    assert_eq!((done, result), (0, Err(broken())));
    assert_eq!(fake.attempts.load(Ordering::SeqCst), 3);
    let waited = begin.elapsed();
    assert!((Duration::from_millis(150)..=Duration::from_millis(310)).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn what_delivered_and_broke_off_is_not_repeated() {
    let fake = Fake { break_off: true, ..Fake::default() };
    let (_, result) = spoken(&fake, 2).await;
    assert_eq!(result, Err(broken()));
    assert_eq!(fake.attempts.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_synthesizer_that_hangs_and_a_recognizer_that_is_deaf_are_left() {
    let fake = Fake { deaf: true, ..Fake::default() };
    let limits = Limits { attempts: 1, ..Limits::SPEAK };
    let (sender, text) = channel(16);
    sender.send(Text { piece: 0, text: "Hello.".to_owned() }).await.unwrap();
    let (spoken, _sound) = channel(1);
    let result = run::synthesize("fake", &fake, &limits, text, spoken).await;
    assert_eq!(result, Err(ProviderError::Timeout { what: "first output", after: limits.first }));

    let limits = Limits { attempts: 1, ..Limits::HEAR };
    let (audio, hearing) = channel(100);
    for _ in 0..50 {
        audio.send(Hearing::Audio { at: CallTime::ZERO, samples: Box::new([0; 1600]) }).await.unwrap();
    }
    let (sender, _heard) = channel(1);
    let result = run::recognize("fake", &fake, &limits, hearing, sender).await;
    assert_eq!(result, Err(ProviderError::Timeout { what: "attention to its input", after: limits.stall }));
}

#[tokio::test(start_paused = true)]
async fn an_utterance_that_waits_for_more_text_and_a_slow_listener_are_no_failure() {
    let fake = Fake::default();
    let (text_in, text) = channel(16);
    let (spoken, mut sound) = channel(1);
    let talk = async {
        for piece in 0..2 {
            text_in.send(Text { piece, text: "Hello.".to_owned() }).await.unwrap();
            tokio::time::advance(Duration::from_secs(60)).await;
            while !matches!(sound.recv().await, Some(Spoken::Done { .. })) {}
            tokio::time::advance(Duration::from_secs(60)).await;
        }
        drop(text_in);
    };
    let (result, ()) = tokio::join!(run::synthesize("fake", &fake, &Limits::SPEAK, text, spoken), talk);
    result.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_stops_listening_cancels_even_between_attempts() {
    let fake = Fake { fail: 9, ..Fake::default() };
    let hour = Duration::from_secs(3600);
    let limits = Limits { backoff: hour, first: 2 * hour, ..Limits::SPEAK };
    let (sender, text) = channel(16);
    sender.send(Text { piece: 0, text: "Hello.".to_owned() }).await.unwrap();
    let (spoken, sound) = channel(1);
    let leave = async {
        tokio::task::yield_now().await;
        drop(sound);
    };
    let (result, ()) = tokio::join!(run::synthesize("fake", &fake, &limits, text, spoken), leave);
    assert_eq!(result, Err(ProviderError::Gone));
}

#[tokio::test(start_paused = true)]
async fn a_caller_waits_four_seconds_for_the_first_sound_however_often_it_is_tried() {
    let fake = Fake { deaf: true, ..Fake::default() };
    let begin = Instant::now();
    let (done, result) = spoken(&fake, 1).await;
    assert_eq!(
        (done, result),
        (0, Err(ProviderError::Timeout { what: "first output", after: Limits::SPEAK.first }))
    );
    assert_eq!(begin.elapsed().as_secs(), 4);
}

/// Hears each utterance for ever.
struct Hangs(AtomicU32);

#[async_trait]
impl Recognizer for Hangs {
    fn rate(&self) -> u32 {
        16_000
    }
    async fn run(&self, mut audio: Receiver<Hearing>, _heard: Sender<Heard>) -> Result<(), ProviderError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let after = Duration::from_secs(4);
        audio.recv().await;
        tokio::time::advance(after).await;
        Err(ProviderError::Timeout { what: "words", after })
    }
}

#[tokio::test(start_paused = true)]
async fn words_that_were_awaited_to_the_limit_are_not_awaited_again() {
    let (audio, hearing) = channel(100);
    audio.send(Hearing::SpeechEnded { at: CallTime::ZERO }).await.unwrap();
    let (sender, _heard) = channel(1);
    let hangs = Hangs(AtomicU32::new(0));
    let result = run::recognize("fake", &hangs, &Limits::HEAR, hearing, sender).await;
    assert!(matches!(result, Err(ProviderError::Timeout { what: "words", .. })), "{result:?}");
    assert_eq!(hangs.0.load(Ordering::SeqCst), 1);
}
