//! What the simulated call tells about speed: from the end of speech to the reply, and the price of a call.

use std::sync::Arc;
use std::time::Duration;

use playbook::Playbook;
use protocol::CallTime;
use protocol::option::CallOption;
use testkit::cast::{Cast, Reply};
use testkit::world::{Act, Opening, World};

/// What the reply takes at most beyond the configured silence, with providers that take no time, after speech
/// that stops within a word. Of it, up to 20 ms pass until the next tick takes the last packet up, and 20 from the tick
/// in which silence is complete to the one that sends the reply; silence itself is counted by frames from where the
/// level fell.
const ALLOWED: Duration = Duration::from_millis(40);

/// From the onset of speech to silence on the wire.
const BARGED: Duration = Duration::from_millis(120);
/// Places in the recorded speech at which a word begins, and how much of it is a soft consonant: one 25 dB below its
/// vowel, which is as faint as the noise of many lines, is not counted as the onset.
const ONSETS: [(u64, u64); 5] = [(10, 50), (980, 0), (1_310, 0), (1_650, 0), (1_980, 0)];

fn receptionist() -> Arc<Playbook> {
    let text = "---\nllm: { provider: fake }\nasr: { provider: fake }\ntts: { provider: fake }\n\
                greeting: Hello.\n---\nYou are the receptionist.\n";
    Arc::new(Playbook::parse(text, &|_| None).unwrap())
}

fn opening(sip: Option<&str>, silence_ms: u64, phase_ms: u64, turns: usize) -> Opening {
    let option = format!(r#"{{"vad":{{"silencePadding":{silence_ms}}},"inactivityTimeout":0}}"#);
    let option: CallOption = serde_json::from_str(&option).unwrap();
    Opening {
        sip: sip.map(str::to_owned),
        option,
        playbook: Some(receptionist()),
        cast: Cast { replies: vec![Reply::Says("We open at nine.".into()); turns], ..Cast::default() },
        phase: Duration::from_millis(phase_ms),
        ..Opening::default()
    }
}

fn begin(opening: Opening) -> World {
    let mut world = World::new(opening);
    world.plan(CallTime::ZERO, Act::Command(r#"{"command":"invite","option":{}}"#.into()));
    world
}

/// From the arrival of the last packet with speech to the first frame of the reply.
fn response(sip: Option<&str>, silence_ms: u64, phase_ms: u64, end_ms: u64) -> Duration {
    let mut world = begin(opening(sip, silence_ms, phase_ms, 1));
    world.speak(CallTime::ms(2_000), CallTime::ms(end_ms), "when are you open");
    world.run(CallTime::ms(5_000));
    let last = CallTime::ms(end_ms.next_multiple_of(20));
    let reply = world.when(CallTime::ms(2_000), "caller hears \"We open").unwrap();
    reply - last
}

#[test]
fn the_reply_follows_the_configured_silence() {
    for sip in [None, Some("pcmu"), Some("g722")] {
        for silence_ms in [100, 200, 400] {
            // The caller's phone smears speech by the 2 ms of its filter: its end stays clear of a packet's.
            let times: Vec<Duration> = (0..20)
                .step_by(3)
                .flat_map(|phase| (3_402..3_438).step_by(8).map(move |end| (phase, end)))
                .map(|(phase, end)| response(sip, silence_ms, phase, end))
                .collect();
            let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
            let mean = times.iter().sum::<Duration>() / times.len() as u32;
            println!(
                "{:<10} silence {silence_ms} ms: reply after {least:?} to {most:?}, mean {mean:?}",
                sip.unwrap_or("websocket")
            );
            assert!(*most <= Duration::from_millis(silence_ms) + ALLOWED, "{most:?}");
        }
    }
}

/// From the onset of a word of the caller's, one of [`ONSETS`], to the first frame on the wire without the agent's voice.
fn silenced(sip: Option<&str>, phase_ms: u64, onset_ms: u64, (place, soft): (u64, u64)) -> Duration {
    let text = "---\nasr: { provider: fake }\ntts: { provider: fake }\n\
                greeting: We are open every day from nine in the morning to six in the evening.\n---\nHello.\n";
    let playbook = Some(Arc::new(Playbook::parse(text, &|_| None).unwrap()));
    let mut world = begin(Opening { playbook, ..opening(sip, 100, phase_ms, 0) });
    let onset = CallTime::ms(onset_ms);
    let (from, to) = (CallTime::ms(onset_ms - soft), CallTime::ms(onset_ms + 800));
    world.speak_from(from, to, "and tomorrow", Duration::from_millis(place));
    world.run(CallTime::ms(onset_ms + 900));
    world.when(onset, "caller hears nothing").unwrap_or(CallTime::ms(9_000)) - onset
}

/// With the rules of a playbook that says nothing of interruptions, and the detector that is the default.
#[test]
fn the_agent_is_silent_on_the_wire_120_ms_after_the_onset_of_speech() {
    for sip in [None, Some("pcmu"), Some("g722"), Some("opus")] {
        let mut times = Vec::new();
        for word in ONSETS {
            for phase in [0, 11] {
                for onset in [2_000, 2_005, 2_011, 2_017] {
                    times.push((silenced(sip, phase, onset, word), word));
                }
            }
        }
        times.sort_unstable();
        let mean = times.iter().map(|(time, _)| *time).sum::<Duration>() / times.len() as u32;
        let (least, most) = (times[0], times[times.len() - 1]);
        println!("{:<10} silent after {least:?} to {most:?}, mean {mean:?}", sip.unwrap_or("websocket"));
        assert!(most.0 <= BARGED, "{most:?}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "it measures the machine it runs on")]
fn ten_minutes_of_call_are_computed_at_once() {
    let mut world = begin(opening(Some("pcmu"), 200, 7, 60));
    for turn in 0..60 {
        let from = CallTime::ms(2_000 + turn * 10_000);
        world.speak(from, from + Duration::from_millis(1_500), "when are you open");
    }
    let started = std::time::Instant::now();
    world.run(CallTime::ms(600_000));
    println!("ten minutes of call in {:?}", started.elapsed());
    let replies = world.lines().iter().filter(|line| line.text.contains("caller hears \"We open")).count();
    assert_eq!(replies, 60);
}
