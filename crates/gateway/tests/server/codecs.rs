//! Sound over the WebSocket of `/call` in every codec and at every rate, both ways.

use std::f64::consts::TAU;

use audio::codec::{self, Codec, g711, g722, pcm};
use serde_json::{Value, json};

use crate::recordings::{AGENT, CALLER, amplitude, sides};
use crate::rig::Rig;

/// A second of what the caller says, as payload of `codec`.
fn said(codec: &Codec) -> Vec<u8> {
    let step = TAU * f64::from(CALLER) / f64::from(codec.rate);
    let samples: Vec<i16> = (0..codec.rate).map(|n| (6_000.0 * (step * f64::from(n)).sin()) as i16).collect();
    let (mut encoder, mut bytes) = ((codec.encoder)(), Vec::new());
    for frame in samples.chunks(codec.rate as usize / 50) {
        encoder.encode(frame, &mut bytes);
    }
    bytes
}

/// Whether `samples` are a second of a tone of `hz`, as loud as it was and with little else.
fn is_tone(samples: &[i16], rate: u32, hz: u32) -> bool {
    let tone = amplitude(samples, rate, hz);
    let energy: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    (5_000.0..7_000.0).contains(&tone) && tone.powi(2) / 2.0 * f64::from(rate) > 0.9 * energy
}

#[test]
fn a_codec_is_told_from_another() {
    for (said_in, read_as) in
        [(&g711::PCMU, &g711::PCMA), (&g711::PCMA, &g711::PCMU), (&g711::PCMU, &g711::PCMU)]
    {
        let mut heard = Vec::new();
        (read_as.decoder)().decode(&said(said_in), &mut heard);
        assert_eq!(is_tone(&heard, 8_000, CALLER), said_in.name == read_as.name, "{}", read_as.name);
    }
}

/// A call whose option has `keys`: what the client says is in the recording, and what it gets is what was played, as
/// payload of `codec`.
async fn both_are_heard(rig: &Rig, id: usize, codec: &'static Codec, keys: Value) {
    let mut client = rig.connect(&format!("/call?id=codec-{id}")).await;
    let mut option = json!({"recorder": {"recorderFile": format!("{id}.wav")}});
    option.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    client.send(json!({"command": "invite", "option": option})).await;
    client.event("answer").await;
    // No whole number of frames, and of samples neither.
    for message in said(codec).chunks(333) {
        client.sound(message.to_vec()).await;
    }
    client.send(json!({"command": "play", "url": "tone.wav"})).await;
    client.event("trackEnd").await;
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    let mut heard = Vec::new();
    (codec.decoder)().decode(&client.sound, &mut heard);
    let length = heard.len() as f64 / f64::from(codec.rate);
    assert!((0.98..1.1).contains(&length), "{keys}: {length} s of one were heard");
    assert!(is_tone(&heard, codec.rate, AGENT), "{keys}: the client hears what is played");
    let path = rig.path("recorders").join(format!("{id}.wav"));
    rig.until("the record", |rig| {
        rig.records().iter().any(|record| record.call_id == format!("codec-{id}")).then_some(())
    })
    .await;
    let (rate, sides) = sides(&path);
    assert!(is_tone(&sides[0], rate, CALLER), "{keys}: what the client says is heard");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_codec_and_rate_carries_sound_both_ways() {
    let rig = Rig::start().await;
    rig.tone("tone.wav");
    let rows: [(&'static Codec, Value); 8] = [
        (&pcm::PCM_16000, json!({})),
        (&pcm::PCM_8000, json!({"codec": "pcm", "sampleRate": 8000})),
        (&pcm::PCM_16000, json!({"codec": "PCM", "samplerate": 16000})),
        (&pcm::PCM_24000, json!({"codec": "pcm", "sample_rate": 24000})),
        (&pcm::PCM_48000, json!({"codec": "pcm", "sampleRate": 48000})),
        (&g711::PCMU, json!({"codec": "pcmu"})),
        (&g711::PCMA, json!({"codec": "pcma"})),
        (&g722::G722, json!({"codec": "g722"})),
    ];
    let calls = rows.into_iter().enumerate();
    futures::future::join_all(calls.map(|(id, (codec, keys))| both_are_heard(&rig, id, codec, keys))).await;
    assert_eq!(codec::WEBSOCKET_CODECS.len(), 4, "there is another codec to test");
    rig.server.stop().await;
}
