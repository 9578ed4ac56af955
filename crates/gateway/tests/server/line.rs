//! What a called line sounds like and who answers it, over SIP and RTP.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::crowd::share;
use crate::inbound_sip::{attach, hook, webhooks};
use crate::rig::Rig;
use crate::sound;

const RATE: usize = 8_000;

fn tone(hz: f32, ms: usize) -> Vec<i16> {
    let step = std::f32::consts::TAU * hz / RATE as f32;
    (0..RATE * ms / 1000).map(|n| (6_000.0 * (step * n as f32).sin()) as i16).collect()
}

fn silence(ms: usize) -> Vec<i16> {
    vec![0; RATE * ms / 1000]
}

/// `text` as flite says it, without the silence before it.
async fn words(rig: &Rig, text: &str) -> Vec<i16> {
    let said = sound::speech(rig.folder.path(), text).await;
    let first = said.iter().position(|sample| sample.unsigned_abs() > 500).unwrap();
    said[first..].to_vec()
}

/// Calls a line that rings in early media and then answers with `says`; the events of the caller's client until `enough`
/// verdicts have come.
async fn called(says: &str, beep: bool, enough: usize) -> Vec<Value> {
    let (url, mut announced) = hook(StatusCode::OK).await;
    let desk = Rig::start_with(|config| webhooks(config, &[url])).await;
    let rig = Rig::start().await;
    let ring = [tone(425.0, 1000), silence(2000), tone(425.0, 1000), silence(2000)].concat();
    sound::write_wav(&desk.path("sounds/ring.wav"), RATE as u32, &ring);
    let beep = if beep { [silence(400), tone(1000.0, 500), silence(500)].concat() } else { Vec::new() };
    let answer = [silence(300), words(&desk, says).await, beep].concat();
    sound::write_wav(&desk.path("sounds/answer.wav"), RATE as u32, &answer);
    let mut client = rig.connect("/call/sip?id=out").await;
    let callee = format!("sip:desk@{}", desk.server.sip_addr());
    let follow = json!({"enabled": true, "minBufferSecs": 4.0, "detectionIntervalSecs": 0.5});
    let option =
        json!({"callee": callee, "ringbackDetection": follow, "tts": {"provider": "fake"}, "recorder": {}});
    client.send(json!({"command": "invite", "option": option})).await;
    let mut agent = attach(&desk, &mut announced).await;
    agent.send(json!({"command": "ringing", "ringtone": "ring.wav"})).await;
    agent.event("trackEnd").await;
    agent.send(json!({"command": "accept", "option": {}})).await;
    agent.event("answer").await;
    agent.send(json!({"command": "play", "url": "answer.wav"})).await;
    client.event("answer").await;
    // Our agent need not wait for the verdict to speak.
    client.send(json!({"command": "tts", "text": "Good morning, one moment please"})).await;
    for _ in 0..enough {
        client.event("answerMachineDetection").await;
    }
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    holds_the_ringing(&sound::channel(record.recorder[0].path.as_ref(), 0));
    rig.server.stop().await;
    desk.server.stop().await;
    client.events
}

/// The recording of a call of ours begins with the sound before the answer: two seconds of 425 Hz, three apart.
fn holds_the_ringing(heard: &[i16]) {
    let tenths: Vec<bool> = heard.chunks_exact(RATE / 10).map(|tenth| share(tenth, 425.0) > 0.7).collect();
    let first = tenths.iter().position(|rings| *rings).expect("it rings in the recording");
    let rings = |from: usize| tenths[from..from + 10].iter().filter(|rings| **rings).count();
    assert!(first < 20 && rings(first) >= 8 && rings(first + 30) >= 8, "{tenths:?}");
}

fn of<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_rings_and_a_machine_with_its_beep_are_told() {
    let text = "Hello, you have reached the office of the museum. We are not here at the moment. Please leave a message after the tone.";
    let events = called(text, true, 2).await;
    let ringing = of(&events, "ringbackState");
    assert_eq!(
        (&ringing[0]["state"], &ringing[0]["stateIndex"]),
        (&json!("ringing"), &json!(3)),
        "{ringing:?}"
    );
    let verdicts = of(&events, "answerMachineDetection");
    let told: Vec<&str> = verdicts.iter().map(|verdict| verdict["text"].as_str().unwrap()).collect();
    assert_eq!(told, ["machine", "beep"]);
    assert!(verdicts.iter().all(|verdict| verdict["confidence"].as_f64().unwrap() >= 0.7), "{verdicts:?}");
    let long = verdicts[0]["endTime"].as_u64().unwrap() - verdicts[0]["startTime"].as_u64().unwrap();
    assert!((2_600..6_000).contains(&long), "{long}");
    assert!(
        of(&events, "speaking").is_empty() && of(&events, "error").is_empty(),
        "nothing that was not asked for"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_told_from_a_machine() {
    let events = called("Hello?", false, 1).await;
    let verdict = of(&events, "answerMachineDetection")[0];
    assert_eq!(verdict["text"], "human");
    let long = verdict["endTime"].as_u64().unwrap() - verdict["startTime"].as_u64().unwrap();
    // The word is loud for 340 ms; the detector takes some windows to find its voice, and its soft end counts for none.
    assert!((120..1_500).contains(&long), "{long}");
}
