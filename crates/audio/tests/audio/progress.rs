//! Tones of networks by country, greetings, beeps, and speech that must be none of them.

use std::f32::consts::TAU;
use std::time::Duration;

use audio::codec::g711;
use audio::progress::{Finding, Line, Progress, ProgressSettings, Who};
use audio::vad::Scorer;
use protocol::CallTime;

const RATE: u32 = 8_000;

/// One stretch of a sound: its tones in Hz, none for silence, and its length in ms.
type Stretch<'a> = (&'a [f32], u32);

/// A sound with a little noise, as G.711 carries it.
fn sound(stretches: &[Stretch]) -> Vec<i16> {
    let mut seed = 1_u32;
    let mut out = Vec::new();
    for (tones, ms) in stretches {
        for _ in 0..RATE * ms / 1000 {
            let at = out.len() as f32 / RATE as f32;
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = (seed >> 16) as f32 / 65_536.0 * 80.0 - 40.0;
            let tone: f32 = tones.iter().map(|hz| 2_500.0 * (TAU * hz * at).sin()).sum();
            out.push(g711::ulaw(g711::ulaw_from_linear((tone + noise) as i16)));
        }
    }
    out
}

/// The same stretches again and again.
fn again<'a>(stretches: &[Stretch<'a>], times: usize) -> Vec<Stretch<'a>> {
    stretches.iter().copied().cycle().take(stretches.len() * times).collect()
}

fn settings() -> ProgressSettings {
    ProgressSettings {
        first_after: Duration::ZERO,
        every: Duration::from_millis(200),
        ..ProgressSettings::default()
    }
}

/// All findings in a sound of a line that is answered after so many ms.
fn findings(sound: &[i16], answered: Option<u32>) -> Vec<(CallTime, Finding)> {
    let mut progress = Progress::new(settings(), RATE, CallTime::ZERO);
    let mut scorer = Scorer::new("silero", RATE).unwrap();
    let (mut voice, mut found) = (None, Vec::new());
    for (number, frame) in sound.chunks_exact(RATE as usize / 50).enumerate() {
        let now = CallTime::ZERO + Duration::from_millis(20 * (number as u64 + 1));
        if answered == Some(number as u32 * 20) {
            progress.answered(now);
        }
        progress.hear(frame);
        let mut rest = scorer.push(frame);
        while scorer.ready() {
            voice = (scorer.score() > 0.5).then(|| voice.unwrap_or(now));
            rest = scorer.push(rest);
        }
        progress.tick(now, voice);
        while let Some(finding) = progress.poll() {
            found.push((now, finding));
        }
    }
    found
}

fn lines(sound: &[i16]) -> Vec<Line> {
    let told = findings(sound, None).into_iter();
    told.filter_map(|(_, finding)| if let Finding::Line { line, .. } = finding { Some(line) } else { None })
        .collect()
}

fn verdicts(sound: &[i16]) -> Vec<(Who, f32, CallTime)> {
    let told = findings(sound, Some(0)).into_iter();
    told.filter_map(|(at, finding)| match finding {
        Finding::Answer(verdict) => Some((verdict.who, verdict.confidence, at)),
        Finding::Line { .. } => None,
    })
    .collect()
}

/// Real speech, the length of the fixture, at 8 kHz.
fn speech() -> Vec<i16> {
    let bytes: &[u8] = include_bytes!("../../fixtures/silero_8k.s16");
    bytes.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect()
}

#[test]
fn rings_of_many_countries_are_known_within_two_rings() {
    let countries: [(&str, &[Stretch]); 9] = [
        ("us", &[(&[440.0, 480.0], 2000), (&[], 4000)]),
        ("uk", &[(&[400.0, 450.0], 400), (&[], 200), (&[400.0, 450.0], 400), (&[], 2000)]),
        ("de", &[(&[425.0], 1000), (&[], 4000)]),
        ("fr", &[(&[440.0], 1500), (&[], 3500)]),
        ("it", &[(&[425.0], 1000), (&[], 4000)]),
        ("cn", &[(&[450.0], 1000), (&[], 4000)]),
        ("jp", &[(&[384.0, 400.0, 416.0], 1000), (&[], 2000)]),
        ("es", &[(&[425.0], 1500), (&[], 3000)]),
        ("br", &[(&[425.0], 1000), (&[], 4000)]),
    ];
    for (country, cycle) in countries {
        let told = findings(&sound(&again(cycle, 4)), None);
        let ringing =
            told.iter().find(|(_, finding)| matches!(finding, Finding::Line { line: Line::Ringing, .. }));
        let period: u32 = cycle.iter().map(|stretch| stretch.1).sum();
        let (at, _) = ringing.unwrap_or_else(|| panic!("{country}: {told:?}"));
        assert!(at.0 <= Duration::from_millis(u64::from(2 * period)), "{country}: {at}");
        let wrong = told.iter().find(|(_, finding)| matches!(finding, Finding::Line { line, .. } if !matches!(line, Line::Ringing | Line::Silence)));
        assert!(wrong.is_none(), "{country}: {told:?}");
    }
}

#[test]
fn busy_and_congested_lines_of_many_countries_are_known_within_four_beats() {
    let countries: [(&str, &[Stretch]); 7] = [
        ("us busy", &[(&[480.0, 620.0], 500), (&[], 500)]),
        ("us congested", &[(&[480.0, 620.0], 250), (&[], 250)]),
        ("uk busy", &[(&[400.0], 375), (&[], 375)]),
        ("de busy", &[(&[425.0], 480), (&[], 480)]),
        ("de congested", &[(&[425.0], 240), (&[], 240)]),
        ("cn busy", &[(&[450.0], 350), (&[], 350)]),
        ("fr busy", &[(&[440.0], 500), (&[], 500)]),
    ];
    for (country, cycle) in countries {
        let told = findings(&sound(&again(cycle, 8)), None);
        let period: u64 = cycle.iter().map(|stretch| u64::from(stretch.1)).sum();
        let (at, finding) = told.first().unwrap_or_else(|| panic!("{country}: nothing"));
        assert!(matches!(finding, Finding::Line { line: Line::Busy, .. }), "{country}: {told:?}");
        assert!(at.0 <= Duration::from_millis(4 * period + 300), "{country}: {at}");
        assert_eq!(told.len(), 1, "{country}: {told:?}");
    }
}

#[test]
fn a_busy_line_that_falls_silent_does_not_ring() {
    for (tones, beat) in [(&[480.0, 620.0][..], 500), (&[450.0][..], 350)] {
        let mut stretches = again(&[(tones, beat), (&[], beat)], 8);
        stretches.push((&[], 6_000));
        assert_eq!(lines(&sound(&stretches)), [Line::Busy, Line::Silence], "{tones:?}");
    }
}

#[test]
fn noise_is_no_silence() {
    let mut dice = crate::sound::Dice(5);
    let noise: Vec<i16> = (0..RATE * 8).map(|_| ((dice.roll() - 0.5) * 2_800.0) as i16).collect();
    assert!(!lines(&noise).contains(&Line::Silence), "{:?}", lines(&noise));
}

#[test]
fn special_information_dial_tone_fax_and_silence_are_known() {
    let special: [Stretch; 5] =
        [(&[], 500), (&[950.0], 330), (&[1400.0], 330), (&[1800.0], 330), (&[], 2000)];
    assert_eq!(lines(&sound(&special))[0], Line::Special);
    assert_eq!(lines(&sound(&[(&[350.0, 440.0], 8000)])).last(), Some(&Line::DialTone));
    assert_eq!(lines(&sound(&[(&[], 300), (&[2100.0], 3000)]))[0], Line::Fax);
    assert_eq!(lines(&sound(&[(&[], 5000)])), [Line::Silence]);
    assert_eq!(Line::Ringing.index(), 3);
    assert_eq!((Line::Voice.name(), Line::Voice.index()), ("human_voice", 9));
}

#[test]
fn real_speech_is_a_voice_and_nothing_else() {
    let mut told = lines(&speech());
    told.retain(|line| *line != Line::Silence);
    assert_eq!(told, [Line::Voice]);
    // The same voice at other heights, and with silence between.
    for step in [4, 6, 7] {
        let faster: Vec<i16> =
            speech().iter().enumerate().filter(|(n, _)| n % 8 < step).map(|(_, s)| *s).collect();
        let odd = lines(&faster).into_iter().find(|line| line.of_network() || *line == Line::Fax);
        assert_eq!(odd, None, "{step}");
    }
}

#[test]
fn a_word_and_a_pause_is_a_person() {
    let speech = speech();
    let loud = speech.iter().position(|sample| sample.unsigned_abs() > 2000).unwrap();
    let hello = &speech[loud.saturating_sub(400)..loud + 6000];
    let answer = [&sound(&[(&[], 400)]), hello, &sound(&[(&[], 6000)])].concat();
    let told = verdicts(&answer);
    assert!(
        matches!(told[..], [(Who::Human, sure, at)] if sure >= 0.7 && at.0 < Duration::from_secs(3)),
        "{told:?}"
    );
}

#[test]
fn a_long_greeting_with_a_beep_is_a_machine_that_takes_messages() {
    let greeting = speech();
    for hz in [440.0, 1000.0, 1400.0] {
        let answer =
            [&sound(&[(&[], 300)]), &greeting[..], &sound(&[(&[], 300), (&[hz], 500), (&[], 2000)])].concat();
        let told = verdicts(&answer);
        let [(machine, sure, at), (beep, _, heard)] = told[..] else { panic!("{hz}: {told:?}") };
        assert_eq!((machine, beep), (Who::Machine, Who::Beep), "{hz}: {told:?}");
        let end = Duration::from_secs_f32((300 * 8 + greeting.len() + 800 * 8) as f32 / 8000.0);
        assert!(sure >= 0.7 && at.0 < Duration::from_secs(8), "{told:?}");
        assert!(heard.0 >= end && heard.0 <= end + Duration::from_millis(300), "{heard} {end:?}");
    }
}

#[test]
fn nobody_a_fax_and_an_exchange_that_rings_after_it_answers() {
    assert!(matches!(verdicts(&sound(&[(&[], 9000)]))[..], [(Who::Silence, _, _)]));
    assert!(matches!(verdicts(&sound(&[(&[], 500), (&[2100.0], 3000)]))[..], [(Who::Fax, _, _)]));
    let ring: Stretch = (&[425.0], 1000);
    let mut rings = sound(&again(&[ring, (&[], 4000)], 2));
    rings.extend(speech());
    assert_eq!(verdicts(&rings).first().map(|told| told.0), Some(Who::Machine), "{:?}", verdicts(&rings));
}

proptest::proptest! {
    #[test]
    fn any_sound_is_judged_without_a_panic(samples in proptest::collection::vec(proptest::num::i16::ANY, 0..20_000), voices in proptest::bits::u64::ANY) {
        let mut progress = Progress::new(settings(), 16_000, CallTime::ZERO);
        progress.answered(CallTime::ZERO);
        for (number, frame) in samples.chunks(320).enumerate() {
            progress.hear(frame);
            let voice = (voices >> (number % 64) & 1 == 1).then_some(CallTime::ZERO);
            progress.tick(CallTime::ZERO + Duration::from_millis(number as u64 * 20), voice);
            while progress.poll().is_some() {}
        }
    }
}
