//! What counts as heard, where rules and sound have to agree on positions.

use std::time::Duration;

use call::core::voice::VoiceId;
use call::core::{Effect, Input};
use call::media::order::{FromMedia, ToMedia, UtteranceId};
use protocol::{Command, Event};
use providers::{Spoken, WordTime};

use crate::realtime::{Rig, events};

const INVITE: &str = r#"{"command":"invite","option":{"tts":{"provider":"x"}}}"#;
const RATE: u32 = 16_000;

fn rig() -> Rig {
    Rig::invited(INVITE, None).0
}

fn say(rig: &mut Rig, text: &str) -> Vec<Effect> {
    let command = format!(r#"{{"command":"tts","text":"{text}","playId":"p","streaming":true}}"#);
    rig.feed(Input::Command(Command::parse(&command).unwrap().value))
}

fn voice(effects: &[Effect]) -> VoiceId {
    let opened = effects.iter().find_map(|effect| match effect {
        Effect::OpenVoice(voice, _) => Some(*voice),
        _ => None,
    });
    opened.expect("a voice opens")
}

/// A second of a piece's sound; the utterance that Media is given it for.
fn second(rig: &mut Rig, voice: VoiceId, piece: u32) -> UtteranceId {
    let audio = Spoken::Audio { piece, samples: vec![1; RATE as usize].into() };
    let effects = rig.feed(Input::Spoken(voice, RATE, audio));
    rig.feed(Input::Spoken(voice, RATE, Spoken::Done { piece }));
    let played = effects.iter().find_map(|effect| match effect {
        Effect::Media(ToMedia::Play(id, ..)) => Some(*id),
        _ => None,
    });
    played.expect("the sound is played")
}

#[test]
fn text_that_comes_as_the_last_sound_ends_is_heard_from_there_on() {
    let mut rig = rig();
    let opened = voice(&say(&mut rig, "Good morning."));
    let first = second(&mut rig, opened, 0);
    rig.feed(Input::Media(FromMedia::Started(first, rig.now)));
    say(&mut rig, " We open at nine.");
    rig.feed(Input::Media(FromMedia::Ended(first, Duration::from_secs(1))));
    let second = second(&mut rig, opened, 1);
    assert!(second > first, "Media has let go of the first");
    rig.feed(Input::Media(FromMedia::Started(second, rig.now)));
    rig.feed(Input::Command(Command::parse(r#"{"command":"interrupt"}"#).unwrap().value));
    let (played, total) = (Duration::from_millis(600), Duration::from_secs(1));
    let stopped = FromMedia::Stopped { utterance: second, played, total, barged: false };
    let effects = rig.feed(Input::Media(stopped));
    let cut = events(&effects).into_iter().find_map(|event| match event {
        Event::Interruption { position, current, total_duration, .. } => {
            Some((*position, *current, *total_duration))
        }
        _ => None,
    });
    assert_eq!(cut, Some((Some("We open".len() as u32), 1600, 2000)));
}

#[test]
fn media_learns_where_words_end_as_soon_as_the_voice_tells() {
    let mut rig = rig();
    let opened = voice(&say(&mut rig, "At nine."));
    let ms = Duration::from_millis;
    let words = vec![
        WordTime { text: "At".into(), start: ms(0), end: ms(700) },
        WordTime { text: "nine".into(), start: ms(700), end: Duration::MAX },
    ];
    assert!(rig.feed(Input::Spoken(opened, RATE, Spoken::Words { piece: 0, words })).is_empty());
    let audio = Spoken::Audio { piece: 0, samples: vec![1; 320].into() };
    let effects = rig.feed(Input::Spoken(opened, RATE, audio));
    let ends = effects.iter().find_map(|effect| match effect {
        Effect::Media(ToMedia::WordEnds(_, ends)) => Some(ends.to_vec()),
        _ => None,
    });
    assert_eq!(ends, Some(vec![ms(700), Duration::MAX]));
}
