//! espeak-ng and flite speak.

use std::time::Duration;

use protocol::option::SynthesisOption;
use providers::run::{self, Limits};
use providers::{ProviderError, Spoken, Synthesizer, Text};
use tokio::sync::mpsc::channel;
use tokio::time::Instant;

fn option(provider: &str) -> SynthesisOption {
    SynthesisOption { provider: Some(provider.to_owned()), ..SynthesisOption::default() }
}

fn made(option: &SynthesisOption) -> Box<dyn Synthesizer> {
    providers::synthesizer(option).unwrap()
}

/// Samples of each piece in order, which must all be done.
async fn said(option: &SynthesisOption, pieces: &[&str]) -> Result<Vec<Vec<i16>>, ProviderError> {
    let synthesizer = made(option);
    assert_eq!(synthesizer.rate(), 16_000);
    let (sender, text) = channel(16);
    for (piece, text) in pieces.iter().enumerate() {
        sender.send(Text { piece: piece as u32, text: (*text).to_owned() }).await.unwrap();
    }
    drop(sender);
    let (spoken, mut sound) = channel(4);
    let work = run::synthesize("offline", &*synthesizer, &Limits::SPEAK, text, spoken);
    let collect = async {
        let mut all = vec![Vec::new()];
        while let Some(output) = sound.recv().await {
            match output {
                Spoken::Audio { piece, samples } => {
                    assert_eq!(piece as usize, all.len() - 1, "pieces come in order");
                    assert!((1..=3200).contains(&samples.len()));
                    all.last_mut().unwrap().extend_from_slice(&samples);
                }
                Spoken::Done { piece } => {
                    assert_eq!(piece as usize, all.len() - 1);
                    all.push(Vec::new());
                }
                Spoken::Words { .. } | Spoken::Kept { .. } => {}
            }
        }
        all.pop();
        all
    };
    let (result, all) = tokio::join!(work, collect);
    result.map(|_| all)
}

fn loudness(samples: &[i16]) -> f64 {
    let sum: f64 = samples.iter().map(|s| f64::from(*s).powi(2)).sum();
    (sum / samples.len().max(1) as f64).sqrt()
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_are_spoken_in_order() {
    for provider in ["espeak", "flite", "FLITE"] {
        let pieces = ["Good morning, this is the library.", "", "How can I help you?"];
        let all = said(&option(provider), &pieces).await.unwrap();
        assert_eq!(all.len(), 3, "{provider}");
        assert!((8000..100_000).contains(&all[0].len()), "{provider}: {} samples", all[0].len());
        assert!(all[1].is_empty() && all[2].len() > 4000);
        assert!(loudness(&all[0]) > 300.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_voice_of_flite_speaks_at_one_rate() {
    for voice in ["slt", "rms", "awb", "kal16", "kal"] {
        let option = SynthesisOption { speaker: Some(voice.to_owned()), ..option("flite") };
        let all = said(&option, &["Good morning, this is the library."]).await.unwrap();
        assert!((20_000..60_000).contains(&all[0].len()), "{voice}: {} samples", all[0].len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn speed_volume_and_language_change_the_speech() {
    let text = ["Good morning, this is the library."];
    for provider in ["espeak", "flite"] {
        let own = said(&option(provider), &text).await.unwrap().remove(0);
        let fast = SynthesisOption { speed: Some(2.0), ..option(provider) };
        let fast = said(&fast, &text).await.unwrap().remove(0);
        assert!(fast.len() * 10 < own.len() * 8, "{provider}: {} against {}", fast.len(), own.len());
        let soft = SynthesisOption { volume: Some(1), ..option(provider) };
        let soft = said(&soft, &text).await.unwrap().remove(0);
        assert!(loudness(&soft) * 3.0 < loudness(&own), "{provider}");
    }
    let german = SynthesisOption { language: Some("de".to_owned()), ..option("espeak") };
    let english = said(&option("espeak"), &text).await.unwrap();
    assert_ne!(said(&german, &text).await.unwrap(), english);
}

#[tokio::test(flavor = "multi_thread")]
async fn text_is_never_taken_for_an_option() {
    for provider in ["espeak", "flite"] {
        let all = said(&option(provider), &["-o /tmp/never --version", "$(touch x) ; `y`"]).await.unwrap();
        assert!(all.iter().all(|samples| samples.len() > 4000), "{provider}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_piece_is_heard_before_it_is_all_spoken() {
    let long = "The library opens at nine in the morning, and closes at six in the evening. ".repeat(12);
    let all = said(&option("flite"), &[&long]).await.unwrap();
    assert_eq!(all.len(), 1);
    assert!(all[0].len() > 16_000 * 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voice_that_espeak_does_not_have_is_an_error_with_its_words() {
    let option = SynthesisOption { speaker: Some("xx-nobody".to_owned()), ..option("espeak") };
    let error = said(&option, &["Hello."]).await.unwrap_err();
    assert!(error.to_string().contains("voice"), "{error}");
}

#[test]
fn bad_options_are_refused_when_made() {
    for option in [
        SynthesisOption { speaker: Some("/etc/passwd".to_owned()), ..option("flite") },
        SynthesisOption { speaker: Some("http://evil.example/v".to_owned()), ..option("flite") },
        SynthesisOption { speaker: Some("-x".to_owned()), ..option("espeak") },
        SynthesisOption { language: Some("de".to_owned()), ..option("flite") },
        SynthesisOption { speed: Some(f32::NAN), ..option("flite") },
        SynthesisOption { volume: Some(11), ..option("espeak") },
    ] {
        let error = providers::synthesizer(&option).err();
        assert!(matches!(error, Some(ProviderError::Option { .. })), "{option:?}: {error:?}");
    }
}

/// Processes that this one started and that run or are zombies, by a part of their name.
pub(crate) fn children(name: &str) -> Vec<String> {
    let me = std::process::id().to_string();
    let stat = |entry: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(entry.ok()?.path().join("stat")).ok()
    };
    let mine = |stat: &String| {
        let (front, back) = stat.rsplit_once(')').unwrap_or_default();
        // The name is followed by the state and the parent.
        front.contains(name) && back.split_whitespace().nth(1) == Some(&me)
    };
    std::fs::read_dir("/proc").unwrap().filter_map(stat).filter(mine).collect()
}

/// Waits until one is at work.
pub(crate) async fn until_at_work(name: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while children(name).is_empty() {
        assert!(Instant::now() < deadline, "{name} was never started");
        tick.tick().await;
    }
}

/// Waits until none is left. Zombies count.
pub(crate) async fn until_childless(name: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    while !children(name).is_empty() {
        assert!(Instant::now() < deadline, "left behind: {:?}", children(name));
        tick.tick().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_speech_that_is_cancelled() {
    for provider in ["espeak", "flite"] {
        let synthesizer = made(&option(provider));
        let (sender, text) = channel(16);
        for piece in 0..3 {
            let text = "A long sentence that takes a while to speak, ".repeat(20);
            sender.send(Text { piece, text }).await.unwrap();
        }
        let (spoken, mut sound) = channel(1);
        let work = run::synthesize(provider, &*synthesizer, &Limits::SPEAK, text, spoken);
        tokio::select! {
            _ = work => panic!("it waits for more text"),
            first = sound.recv() => assert!(matches!(first, Some(Spoken::Audio { .. }))),
        }
        until_childless(provider).await;
    }
}
