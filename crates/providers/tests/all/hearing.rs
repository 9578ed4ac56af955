//! pocketsphinx hears what flite says.

use std::time::{Duration, Instant};

use audio::resample::Resampler;
use protocol::CallTime;
use protocol::option::{SynthesisOption, TranscriptionOption};
use providers::run::{self, Limits};
use providers::{Heard, Hearing, ProviderError, Recognizer, Spoken, Text, Words};
use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::speaking::{until_at_work, until_childless};

const PHRASES: &[&str] = &[
    "what are your opening hours",
    "opening hours",
    "where are you",
    "what is your address",
    "i want to reserve a book",
    "goodbye",
    "yes",
    "no",
];

/// 100 ms.
const CHUNK: usize = 1600;

fn option(extra: &[(&str, Value)]) -> TranscriptionOption {
    TranscriptionOption {
        provider: Some("pocketsphinx".to_owned()),
        extra: Some(extra.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()),
        ..TranscriptionOption::default()
    }
}

fn made(extra: &[(&str, Value)]) -> Box<dyn Recognizer> {
    providers::recognizer(&option(extra)).unwrap()
}

async fn speech(voice: &str, text: &str) -> Vec<i16> {
    let option = SynthesisOption {
        provider: Some("flite".to_owned()),
        speaker: Some(voice.to_owned()),
        ..SynthesisOption::default()
    };
    let flite = providers::synthesizer(&option).unwrap();
    let (text_in, pieces) = channel(1);
    text_in.send(Text { piece: 0, text: text.to_owned() }).await.unwrap();
    drop(text_in);
    let (sender, mut spoken) = channel(1000);
    flite.run(pieces, sender).await.unwrap();
    let mut samples = Vec::new();
    while let Ok(Spoken::Audio { samples: chunk, .. }) = spoken.try_recv() {
        samples.extend_from_slice(&chunk);
    }
    samples
}

/// Feeds `samples` in real time, marks around them, and gives how long the final took after the end mark.
async fn in_real_time(
    audio: &Sender<Hearing>,
    heard: &mut Receiver<Heard>,
    samples: &[i16],
) -> (Vec<Words>, Words, Duration) {
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let mut partials = Vec::new();
    for (n, chunk) in samples.chunks(CHUNK).enumerate() {
        tick.tick().await;
        let at = CallTime::ms(100 * n as u64);
        audio.send(Hearing::Audio { at, samples: chunk.into() }).await.unwrap();
        if n == 1 {
            audio.send(Hearing::SpeechStarted { at: CallTime::ms(50) }).await.unwrap();
        }
        while let Ok(Heard::Partial(words)) = heard.try_recv() {
            partials.push(words);
        }
    }
    #[expect(clippy::disallowed_methods, reason = "a test of real programs measures real time")]
    let ended = Instant::now();
    audio.send(Hearing::SpeechEnded { at: CallTime::ms(9000) }).await.unwrap();
    loop {
        match heard.recv().await.expect("a final text") {
            Heard::Partial(words) => partials.push(words),
            Heard::Final(words) => return (partials, words, ended.elapsed()),
        }
    }
}

async fn conversation<T>(
    recognizer: Box<dyn Recognizer>,
    talk: impl AsyncFnOnce(Sender<Hearing>, Receiver<Heard>) -> T,
) -> T {
    let (audio, hearing) = channel(20);
    let (sender, heard) = channel(64);
    let run = run::recognize("pocketsphinx", &*recognizer, &Limits::HEAR, hearing, sender);
    let (result, value) = tokio::join!(run, talk(audio, heard));
    assert!(matches!(result, Ok(_) | Err(ProviderError::Gone)), "{result:?}");
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn phrases_of_a_list_are_understood_from_every_voice() {
    for voice in ["slt", "rms", "awb"] {
        let recognizer = made(&[("words", json!(PHRASES))]);
        conversation(recognizer, async |audio, mut heard| {
            for phrase in PHRASES {
                let samples = speech(voice, phrase).await;
                for chunk in samples.chunks(CHUNK) {
                    audio.send(Hearing::Audio { at: CallTime::ZERO, samples: chunk.into() }).await.unwrap();
                    if chunk.len() == CHUNK {
                        audio.send(Hearing::SpeechStarted { at: CallTime::ms(7) }).await.unwrap();
                    }
                }
                audio.send(Hearing::SpeechEnded { at: CallTime::ms(9) }).await.unwrap();
                let words = loop {
                    match heard.recv().await.unwrap() {
                        Heard::Final(words) => break words,
                        Heard::Partial(_) => {}
                    }
                };
                assert_eq!(words.text, *phrase, "{voice}");
                assert_eq!((words.start, words.end), (Some(CallTime::ms(7)), Some(CallTime::ms(9))));
            }
        })
        .await;
    }
}

/// What is left of speech after a narrowband call.
fn narrowband(samples: &[i16]) -> Vec<i16> {
    let (mut narrow, mut wide) = (Vec::new(), Vec::new());
    Resampler::new(16_000, 8_000).process(samples, &mut narrow);
    Resampler::new(8_000, 16_000).process(&narrow, &mut wide);
    wide
}

#[tokio::test(flavor = "multi_thread")]
async fn phrases_of_a_list_are_mostly_understood_on_a_narrowband_line() {
    let mut right = Vec::new();
    for voice in ["slt", "rms", "awb"] {
        conversation(made(&[("words", json!(PHRASES))]), async |audio, mut heard| {
            for phrase in PHRASES {
                audio.send(Hearing::SpeechStarted { at: CallTime::ZERO }).await.unwrap();
                for chunk in narrowband(&speech(voice, phrase).await).chunks(CHUNK) {
                    audio.send(Hearing::Audio { at: CallTime::ZERO, samples: chunk.into() }).await.unwrap();
                }
                audio.send(Hearing::SpeechEnded { at: CallTime::ZERO }).await.unwrap();
                // Nothing at all may be heard, which only time tells.
                let last = async {
                    loop {
                        match heard.recv().await.unwrap() {
                            Heard::Final(words) => break words.text,
                            Heard::Partial(_) => {}
                        }
                    }
                };
                let text = tokio::time::timeout(Duration::from_secs(2), last).await.unwrap_or_default();
                if text == *phrase {
                    right.push(text);
                } else {
                    println!("{voice} {phrase:?} heard as {text:?}");
                }
            }
        })
        .await;
    }
    println!("narrowband: {} of {}", right.len(), 3 * PHRASES.len());
    assert!(right.len() >= 2 * PHRASES.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn partial_texts_come_while_the_caller_speaks_and_the_final_soon_after() {
    let samples = speech("slt", "what are your opening hours").await;
    let recognizer = made(&[("words", json!(PHRASES))]);
    let (partials, words, late) =
        conversation(recognizer, async |audio, mut heard| in_real_time(&audio, &mut heard, &samples).await)
            .await;
    println!(
        "final after {late:?}, partials {:?}",
        partials.iter().map(|words| &words.text).collect::<Vec<_>>()
    );
    assert_eq!(words.text, "what are your opening hours");
    assert!(partials.iter().any(|words| words.text.starts_with("what")), "{partials:?}");
    // The aim is 300 ms; a machine that compiles beside this test gets more.
    assert!(late < Duration::from_secs(3), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_pause_does_not_end_an_utterance() {
    let samples = speech("slt", "what are your opening hours").await;
    let recognizer = made(&[("words", json!(PHRASES)), ("holdMs", json!(2000))]);
    let texts = conversation(recognizer, async |audio, mut heard| {
        let half = samples.len() / 2;
        for (n, part) in [&samples[..half], &samples[half..]].into_iter().enumerate() {
            audio.send(Hearing::SpeechStarted { at: CallTime::ms(n as u64) }).await.unwrap();
            for chunk in part.chunks(CHUNK) {
                audio.send(Hearing::Audio { at: CallTime::ZERO, samples: chunk.into() }).await.unwrap();
            }
            audio.send(Hearing::SpeechEnded { at: CallTime::ms(50) }).await.unwrap();
        }
        drop(audio);
        let mut finals = Vec::new();
        while let Some(words) = heard.recv().await {
            if let Heard::Final(words) = words {
                finals.push((words.text, words.start));
            }
        }
        finals
    })
    .await;
    assert_eq!(texts, [("what are your opening hours".to_owned(), Some(CallTime::ZERO))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grammar_and_the_language_model_hear_too() {
    let grammar = "public <ask> = [please] reserve <what> ; <what> = (a | the) book | a room ;";
    for (extra, voice, phrase) in [
        (vec![("grammar", json!(grammar))], "rms", "please reserve a room"),
        (vec![], "slt", "what are your opening hours on saturday please"),
    ] {
        let samples = speech(voice, phrase).await;
        let words = conversation(made(&extra), async |audio, mut heard| {
            in_real_time(&audio, &mut heard, &samples).await
        });
        let (partials, words, late) = words.await;
        println!("{phrase}: final after {late:?}, {} partials", partials.len());
        assert_eq!(words.text, phrase);
        assert_eq!(words.confidence.is_some(), extra.is_empty(), "a grammar tells no confidence");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grammar_that_the_program_refuses_is_an_error_and_no_endless_loop() {
    // Its rules can be read, but a grammar that has a head must have a name too.
    let recognizer = made(&[("grammar", json!("#JSGF V1.0;\npublic <a> = yes ;"))]);
    let (audio, hearing) = channel(20);
    let (sender, _heard) = channel(64);
    let talk = async {
        // The recognizer may end at any of these.
        let _ = audio.send(Hearing::SpeechStarted { at: CallTime::ZERO }).await;
        let _ = audio.send(Hearing::SpeechEnded { at: CallTime::ZERO }).await;
        audio.closed().await;
    };
    let run = run::recognize("pocketsphinx", &*recognizer, &Limits::HEAR, hearing, sender);
    let (result, ()) = tokio::join!(run, talk);
    assert!(matches!(result, Err(ProviderError::Protocol(_))), "{result:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_call_that_ends_while_the_caller_speaks() {
    let recognizer = made(&[("words", json!(PHRASES))]);
    let (audio, hearing) = channel(20);
    let (sender, _heard) = channel(64);
    let run = run::recognize("pocketsphinx", &*recognizer, &Limits::HEAR, hearing, sender);
    let talk = async {
        audio.send(Hearing::SpeechStarted { at: CallTime::ZERO }).await.unwrap();
        for _ in 0..10 {
            audio.send(Hearing::Audio { at: CallTime::ZERO, samples: vec![9; CHUNK].into() }).await.unwrap();
        }
        until_at_work("pocketsphinx").await;
    };
    tokio::select! {
        _ = run => panic!("it listens on"),
        () = talk => {}
    }
    drop(recognizer);
    // Other tests of this binary run programs of their own; they end too.
    until_childless("pocketsphinx").await;
}

#[test]
fn bad_vocabularies_are_refused_when_made() {
    for (extra, part) in [
        (vec![("words", json!(["open xyzzyq"]))], "xyzzyq"),
        (vec![("words", json!([]))], "list of phrases"),
        (vec![("words", json!(["yes"])), ("grammar", json!("public <a> = yes;"))], "not both"),
        (vec![("grammar", json!("import <a.b>;"))], "import"),
        (vec![("holdMs", json!("soon"))], "milliseconds"),
    ] {
        let error = providers::recognizer(&option(&extra)).err().unwrap().to_string();
        assert!(error.contains(part), "{error}");
    }
    let german = TranscriptionOption { language: Some("de".to_owned()), ..option(&[]) };
    assert!(matches!(
        providers::recognizer(&german).err(),
        Some(ProviderError::Option { field: "language", .. })
    ));
}
