//! Who is listened to, and what is taken out of it before.

use std::collections::VecDeque;
use std::time::Duration;

use audio::Cleaning;
use audio::codec::pcm::PCM_16000;
use audio::vad::{VadEvent, VadSettings};
use call::core::Effect;
use call::legs::LegId;
use call::media::order::{DoorId, FromMedia, LegPlan, ToMedia, UtteranceId};
use call::media::{Media, Transmit};
use protocol::CallTime;
use providers::Hearing;

use crate::pair::speech;
use crate::realtime::Rig;
use crate::sound::loudness;

const RATE: u32 = 16_000;
const FRAME: usize = 320;
const ECHO: Cleaning = Cleaning { noise: false, echo: true };

fn raw() -> LegPlan {
    LegPlan::Raw { heard: &PCM_16000, sent: &PCM_16000 }
}

fn bytes(frame: &[i16]) -> Vec<u8> {
    frame.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// The times in milliseconds at which speech began to be heard by a detector over a line that gives back what it is sent,
/// 200 ms late and 10 dB lower, while `said` is played from the first second on.
fn takes_for_speech(cleaning: Cleaning, said: &[i16]) -> Vec<u64> {
    let mut media = Media::new(RATE);
    for order in [
        ToMedia::Leg(LegId::MAIN, raw()),
        ToMedia::Vad(LegId::MAIN, "silero", VadSettings::default()),
        ToMedia::Clean(LegId::MAIN, cleaning),
    ] {
        media.handle(CallTime::ZERO, order);
    }
    let mut on_the_way: VecDeque<Vec<u8>> = vec![bytes(&[0; FRAME]); 10].into();
    let mut found = Vec::new();
    for tick in 1..=(said.len() / FRAME + 100) as u64 {
        let now = CallTime::ms(tick * 20);
        if tick == 50 {
            media.handle(now, ToMedia::Play(UtteranceId(1), RATE, said.into()));
            media.handle(now, ToMedia::End(UtteranceId(1)));
        }
        media.message(now, LegId::MAIN, &on_the_way.pop_front().unwrap_or_default());
        media.tick(now);
        let sent = std::iter::from_fn(|| media.transmit()).find_map(|sent| match sent {
            Transmit::Message(_, bytes) => Some(bytes),
            _ => None,
        });
        let echo: Vec<i16> = match sent {
            Some(sent) => sent.chunks_exact(2).map(|two| i16::from_le_bytes([two[0], two[1]]) / 3).collect(),
            None => vec![0; FRAME],
        };
        on_the_way.push_back(bytes(&echo));
        let events: Vec<FromMedia> = std::iter::from_fn(|| media.poll()).collect();
        let speaks = |event: &FromMedia| matches!(event, FromMedia::Speech(VadEvent::Speaking { .. }));
        found.extend(events.iter().filter(|event| speaks(event)).map(|_| now.as_ms()));
    }
    found
}

#[test]
fn our_own_voice_over_a_loudspeaker_is_not_taken_for_the_callers() {
    let said = speech(12);
    let heard = takes_for_speech(Cleaning::default(), &said);
    assert!(!heard.is_empty(), "the echo is loud enough to be taken for speech");
    let heard = takes_for_speech(ECHO, &said);
    assert!(
        heard.iter().all(|at| *at < 2_000),
        "the echo is learned within a second: speech at {heard:?} ms"
    );
}

#[test]
fn a_second_party_has_its_own_detector_and_recognizer_until_it_is_gone() {
    let second = LegId(1);
    let mut media = Media::new(RATE);
    for order in [
        ToMedia::Leg(LegId::MAIN, raw()),
        ToMedia::Leg(second, raw()),
        ToMedia::Vad(second, "silero", VadSettings::default()),
        ToMedia::Listen(second, DoorId(7), RATE),
    ] {
        media.handle(CallTime::ZERO, order);
    }
    let mut said = speech(3);
    said.resize(said.len() + 2 * RATE as usize, 0);
    let mut heard: Vec<i16> = Vec::new();
    let mut marks = Vec::new();
    let mut told = Vec::new();
    for (tick, frame) in said.chunks_exact(FRAME).enumerate() {
        let now = CallTime::ms(20 * (tick as u64 + 1));
        media.message(now, second, &bytes(frame));
        media.tick(now);
        while media.transmit().is_some() {}
        told.extend(
            std::iter::from_fn(|| media.poll()).filter(|event| matches!(event, FromMedia::Speech(_))),
        );
        for (door, hearing) in std::iter::from_fn(|| media.poll_hearing()) {
            assert_eq!(door, DoorId(7));
            match hearing {
                Hearing::Audio { samples, .. } => heard.extend(samples),
                Hearing::SpeechStarted { .. } => marks.push("started"),
                Hearing::SpeechEnded { .. } => marks.push("ended"),
            }
        }
    }
    assert!(
        heard.iter().any(|sample| sample.unsigned_abs() > 2_000),
        "the recognizer hears the second party"
    );
    assert_eq!((marks.first(), marks.last()), (Some(&"started"), Some(&"ended")));
    assert!(told.is_empty(), "what is told of speech is the first party's: {told:?}");

    let now = CallTime::ZERO + Duration::from_secs(60);
    media.handle(now, ToMedia::Remove(second));
    for tick in 0..10 {
        media.tick(now + Duration::from_millis(20 * tick));
    }
    assert!(media.poll_hearing().is_none(), "nobody is left to be heard");
}

/// What the recognizer of a call is given, which the call's own rules have set up as its option says.
fn given_to_the_recognizer(option: &str, said: &[i16]) -> Vec<i16> {
    let invite = format!(r#"{{"command":"invite","option":{{"asr":{{"provider":"x"}}{option}}}}}"#);
    let (_, effects) = Rig::invited(&invite, None);
    let mut media = Media::new(RATE);
    media.handle(CallTime::ZERO, ToMedia::Leg(LegId::MAIN, raw()));
    for effect in effects {
        match effect {
            Effect::Media(order) => media.handle(CallTime::ZERO, order),
            Effect::Listen { leg, door, .. } => {
                media.handle(CallTime::ZERO, ToMedia::Listen(leg, door, RATE));
            }
            _ => {}
        }
    }
    let mut given = Vec::new();
    for (tick, frame) in said.chunks_exact(FRAME).enumerate() {
        let now = CallTime::ms(20 * (tick as u64 + 1));
        media.message(now, LegId::MAIN, &bytes(frame));
        media.tick(now);
        while media.transmit().is_some() {}
        for (_, hearing) in std::iter::from_fn(|| media.poll_hearing()) {
            if let Hearing::Audio { samples, .. } = hearing {
                given.extend(samples);
            }
        }
    }
    given
}

#[test]
fn with_denoise_the_recognizer_is_given_the_voice_and_little_of_a_noise() {
    // Three seconds of a noise alone, then a voice over it.
    let mut random = 7_u32;
    let mut said: Vec<i16> = vec![0; 3 * RATE as usize];
    said.extend(speech(6));
    for sample in &mut said {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *sample = sample.saturating_add((random >> 16) as i16 / 40);
    }
    let (plain, cleaned) =
        (given_to_the_recognizer("", &said), given_to_the_recognizer(r#","denoise":true"#, &said));
    assert!(plain.len().min(cleaned.len()) > 8 * RATE as usize);
    let (alone, spoken) = (2 * RATE as usize..3 * RATE as usize, 4 * RATE as usize..8 * RATE as usize);
    let change = |part: std::ops::Range<usize>| {
        20.0 * (loudness(&cleaned[part.clone()]) / loudness(&plain[part])).log10()
    };
    let (noise, voice) = (change(alone), change(spoken));
    assert!(noise < -10.0, "the noise is {noise:.1} dB louder");
    assert!(voice.abs() < 3.0, "the voice is {voice:.1} dB louder");
}
