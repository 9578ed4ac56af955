//! Recordings by configuration and by option, in every format, with early media.

use std::f64::consts::TAU;
use std::path::Path;
use std::time::Duration;

use audio::ogg_opus::OggOpus;
use audio::recording::FORMATS;
use audio::wav::Wav;
use protocol::record::CallRecord;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::inbound_sip::{hook, webhooks};
use crate::rig::{PATIENCE, Rig};

/// What the caller sounds like; the agent plays 400 Hz.
pub(crate) const CALLER: u32 = 700;
pub(crate) const AGENT: u32 = 400;

/// The sides of a recording with their rate; Opus is read as one.
pub(crate) fn sides(path: &Path) -> (u32, Vec<Vec<i16>>) {
    let bytes = std::fs::read(path).unwrap();
    let split = |samples: &[i16]| {
        [0, 1].map(|side| samples.iter().skip(side).step_by(2).copied().collect::<Vec<i16>>()).to_vec()
    };
    match path.extension().unwrap().to_str().unwrap() {
        "wav" => {
            let wav = Wav::parse(&bytes).unwrap();
            assert_eq!(wav.channels, 2);
            (wav.rate, split(&wav.samples))
        }
        "pcm" => {
            let pairs = bytes.as_chunks::<2>().0.iter();
            (16_000, split(&pairs.map(|pair| i16::from_le_bytes(*pair)).collect::<Vec<_>>()))
        }
        "opus" => {
            let (mut file, mut samples) = (OggOpus::new(), Vec::new());
            file.push(&bytes);
            while let Some(more) = file.poll().unwrap() {
                samples.extend(more);
            }
            assert!(file.is_whole());
            (audio::ogg_opus::RATE, vec![samples])
        }
        name => {
            let codec = audio::codec::by_name(name).unwrap();
            let side = |side: usize| {
                let own: Vec<u8> = bytes.iter().skip(side).step_by(2).copied().collect();
                let mut samples = Vec::new();
                (codec.decoder)().decode(&own, &mut samples);
                samples
            };
            (codec.rate, [0, 1].map(side).to_vec())
        }
    }
}

/// How much of `hz` there is, as the amplitude of a tone that lasts for a second.
pub(crate) fn amplitude(samples: &[i16], rate: u32, hz: u32) -> f64 {
    let (mut real, mut imaginary) = (0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        let angle = TAU * f64::from(hz) * n as f64 / f64::from(rate);
        real += f64::from(*sample) * angle.cos();
        imaginary += f64::from(*sample) * angle.sin();
    }
    real.hypot(imaginary) * 2.0 / f64::from(rate)
}

/// A call of a second in which both sides sound, and its record.
async fn talked(rig: &Rig, id: &str, option: Value) -> CallRecord {
    let mut client = rig.connect(&format!("/call?id={id}")).await;
    client.send(json!({"command": "invite", "option": option})).await;
    client.event("answer").await;
    let tone = testkit::cast::tone(CALLER, Duration::from_secs(1));
    for frame in tone.chunks(320) {
        client.sound(frame.iter().flat_map(|sample| sample.to_le_bytes()).collect()).await;
    }
    client.send(json!({"command": "play", "url": "tone.wav"})).await;
    // It lasts as long as what the caller says.
    client.event("trackEnd").await;
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    rig.until("its record", |rig| rig.records().into_iter().find(|record| record.call_id == id)).await
}

/// That `record` names one recording at `path`, which holds both sides.
fn holds_both_sides(record: &CallRecord, path: &Path) {
    let [recording] = record.recorder.as_slice() else { panic!("{:?}", record.recorder) };
    assert_eq!(Path::new(&recording.path), path);
    assert_eq!(recording.size, std::fs::metadata(path).unwrap().len());
    let (rate, sides) = sides(path);
    let there = |side: &[i16], hz| amplitude(side, rate, hz) > 2_000.0;
    match sides.as_slice() {
        [both] => assert!(there(both, CALLER) && there(both, AGENT), "{path:?}"),
        [caller, agent] => {
            assert!(there(caller, CALLER) && there(agent, AGENT), "{path:?}");
            assert!(!there(caller, AGENT) && !there(agent, CALLER), "{path:?}: the sides are apart");
        }
        _ => panic!("{} sides", sides.len()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_is_recorded_by_configuration_and_another_by_the_calls_option() {
    let next = FORMATS.iter().cycle().skip(1);
    for (configured, wanted) in FORMATS.iter().zip(next) {
        let rig = Rig::start_with(|config| {
            config.recording.enabled = true;
            config.recording.auto_start = true;
            config.recording.filename_pattern = Some("day/{id}-taped".into());
            config.recording.format = serde_json::from_value(configured.name.into()).unwrap();
        })
        .await;
        rig.tone("tone.wav");
        let recorder = json!({"recorder": {"recorderFile": "own/{id}", "format": wanted.name}});
        let (usual, own) = tokio::join!(talked(&rig, "a", json!({})), talked(&rig, "b", recorder));
        let folder = rig.path("recorders");
        holds_both_sides(&usual, &folder.join(format!("day/a-taped.{}", configured.extension)));
        holds_both_sides(&own, &folder.join(format!("own/b.{}", wanted.extension)));
        rig.server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_auto_start_or_enabled_a_call_is_recorded_only_when_it_asks() {
    for (enabled, auto_start) in [(true, false), (false, true)] {
        let rig = Rig::start_with(|config| {
            (config.recording.enabled, config.recording.auto_start) = (enabled, auto_start);
        })
        .await;
        rig.tone("tone.wav");
        let (plain, asked) =
            tokio::join!(talked(&rig, "plain", json!({})), talked(&rig, "asked", json!({"recorder": {}})));
        assert!(plain.recorder.is_empty(), "{:?}", plain.recorder);
        holds_both_sides(&asked, &rig.path("recorders/asked.wav"));
        rig.server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn early_media_is_in_the_recording_that_ringing_begins_and_accept_does_not_change_it() {
    let (url, mut announced) = hook(axum::http::StatusCode::OK).await;
    let rig = Rig::start_with(|config| webhooks(config, &[url])).await;
    rig.tone("tone.wav");
    let neighbour = Rig::start().await;
    for early in [true, false] {
        let mut caller = neighbour.connect("/call/sip").await;
        let callee = format!("sip:desk@{}", rig.server.sip_addr());
        caller.send(json!({"command": "invite", "option": {"callee": callee}})).await;
        let (_, body) = timeout(PATIENCE, announced.recv()).await.unwrap().unwrap();
        let id = body["dialogId"].as_str().unwrap();
        let mut client = rig.connect(&format!("/call/sip?id={id}")).await;
        let recorder = json!({"recorderFile": format!("rung-{early}"), "format": "pcm"});
        let mut ringing = json!({"command": "ringing", "recorder": recorder});
        if early {
            ringing["ringtone"] = json!("tone.wav");
        }
        client.send(ringing).await;
        if early {
            client.event("trackEnd").await;
        }
        let other = json!({"recorder": {"recorderFile": "other", "format": "wav"}});
        client.send(json!({"command": "accept", "option": other})).await;
        client.event("answer").await;
        client.send(json!({"command": "hangup"})).await;
        client.event("hangup").await;
        let of_call = |rig: &Rig| rig.records().into_iter().find(|record| record.call_id == id);
        let record = rig.until("the record", of_call).await;
        let [recording] = record.recorder.as_slice() else { panic!("{:?}", record.recorder) };
        assert_eq!(Path::new(&recording.path), rig.path(&format!("recorders/rung-{early}.pcm")));
        let (rate, sides) = sides(Path::new(&recording.path));
        assert_eq!(amplitude(&sides[1], rate, AGENT) > 2_000.0, early, "the ringtone is in it");
    }
    rig.server.stop().await;
    neighbour.server.stop().await;
}
