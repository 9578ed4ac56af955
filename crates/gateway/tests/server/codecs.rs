//! Sound over the WebSocket of `/call` in every codec and at every rate, both ways: tones in messages of odd sizes, and
//! speech as a microphone sends it, answered in messages of 20 ms.

use std::f64::consts::TAU;
use std::path::PathBuf;
use std::time::Duration;

use audio::Resampler;
use audio::codec::{self, Codec, g711, g722, pcm};
use serde_json::{Value, json};

use crate::recordings::{AGENT, CALLER, amplitude, sides};
use crate::rig::{Client, Rig};
use crate::sound;

/// Speech is made, played and compared at this rate.
const RATE: u32 = 8000;
/// Messages that go ahead of their time, so that a busy machine leaves no holes. What is further ahead the server makes
/// good in silence.
const AHEAD: u32 = 3;

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

/// One way to ask for the sound of a call.
struct Way {
    option: Value,
    /// What the client sends.
    heard: &'static Codec,
    /// What it gets.
    sent: &'static Codec,
    /// Bytes of each message to it.
    bytes: usize,
}

fn pcm_at(rate: u32) -> Way {
    let codec = pcm::at(rate).unwrap();
    let option = json!({"codec": "pcm", "sampleRate": rate});
    Way { option, heard: codec, sent: codec, bytes: 2 * rate as usize / 50 }
}

fn compressed(codec: &'static Codec) -> Way {
    let option = json!({"codec": codec.name.to_ascii_lowercase()});
    Way { option, heard: codec, sent: codec, bytes: 160 }
}

/// `said` as messages of 20 ms in `codec`.
fn messages(codec: &Codec, said: &[i16]) -> Vec<Vec<u8>> {
    let mut samples = Vec::new();
    Resampler::new(RATE, codec.rate).process(said, &mut samples);
    let mut encoder = (codec.encoder)();
    let encode = |frame: &[i16]| {
        let mut message = Vec::new();
        encoder.encode(frame, &mut message);
        message
    };
    samples.chunks_exact(codec.rate as usize / 50).map(encode).collect()
}

/// Sends messages of 20 ms as a microphone does.
async fn say(client: &mut Client, messages: Vec<Vec<u8>>) {
    let frame = Duration::from_millis(20);
    let begin = tokio::time::Instant::now();
    for (number, message) in (0..).zip(messages) {
        tokio::time::sleep_until(begin + frame * u32::saturating_sub(number, AHEAD)).await;
        client.sound(message).await;
    }
}

/// What became of a call.
struct Call {
    id: String,
    recording: PathBuf,
    /// What its client got, at [`RATE`].
    played: Vec<i16>,
}

/// A call in which the client speaks and then the agent. The form of what the client gets is looked at here.
async fn call(rig: &Rig, id: String, way: Way, [caller, agent]: [&[i16]; 2]) -> Call {
    let Way { mut option, heard, sent, bytes } = way;
    let mut client = rig.connect(&format!("/call?id={id}")).await;
    option["recorder"] = json!({});
    client.send(json!({"command": "invite", "option": option})).await;
    client.event("answer").await;
    say(&mut client, messages(heard, caller)).await;
    assert!(client.sound.is_empty(), "{id}: nothing comes where nothing is said");
    client.send(json!({"command": "play", "url": "agent.wav", "autoHangup": true})).await;
    client.event("hangup").await;
    assert_eq!(client.closed().await, 1000);
    assert!(client.sizes.iter().all(|size| *size == bytes), "{id}: {bytes} and not {:?}", client.sizes);
    let frames = agent.len() / 160;
    assert!((frames..frames + 5).contains(&client.sizes.len()), "{id}: {frames}, {}", client.sizes.len());
    let mut decoded = Vec::new();
    (sent.decoder)().decode(&client.sound, &mut decoded);
    let ended = |rig: &Rig| rig.records().into_iter().find(|record| record.call_id == id);
    let recording = rig.until("a record", ended).await.recorder[0].path.clone().into();
    Call { id, recording, played: sound::at_8k(&decoded, sent.rate) }
}

/// Sees that both sides of each call are heard as they were said. To judge takes long, and calls that go on meanwhile
/// would not be listened to.
fn are_heard(calls: Vec<Call>, [caller, agent]: [&[i16]; 2]) {
    for Call { id, recording, played } in calls {
        let said = sound::find(caller, &sound::channel(&recording, 0));
        let played = sound::find(agent, &played);
        println!("{id}: the server hears {said:?}, the client hears {played:?}");
        // By pieces: a client that was held up leaves a hole in one. The wrong law of G.711 leaves 0.8 in all.
        let like = said.likes.iter().filter(|like| **like >= 0.95).count();
        assert!(said.is_heard() && like * 2 > said.likes.len(), "{id}: {said:?}");
        assert!(played.whole >= 0.95 && played.pieces >= 1.0, "{id}: {played:?}");
    }
}

/// Speech of both sides, without the silence that phones need before it.
async fn speech(rig: &Rig) -> [Vec<i16>; 2] {
    let folder = rig.folder.path();
    let texts = ["When does the next train leave", "At a quarter past nine"];
    let [mut caller, mut agent] = [Vec::new(), Vec::new()];
    for (said, text) in [&mut caller, &mut agent].into_iter().zip(texts) {
        *said = sound::speech(folder, text).await.split_off(3 * RATE as usize);
    }
    sound::write_wav(&rig.path("sounds/agent.wav"), RATE, &agent);
    [caller, agent]
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_are_heard_in_every_codec_and_at_every_rate_in_messages_of_20_ms() {
    let rig = Rig::start().await;
    let [caller, agent] = speech(&rig).await;
    let mut ways: Vec<(String, Way)> =
        [8_000, 16_000, 24_000, 48_000].map(|rate| (format!("pcm-{rate}"), pcm_at(rate))).into();
    ways.extend([&g711::PCMU, &g711::PCMA, &g722::G722].map(|codec| (codec.name.into(), compressed(codec))));
    // Without a rate both directions are at 16 kHz.
    let unsaid = Way { option: json!({"codec": "pcm"}), ..pcm_at(16_000) };
    ways.extend([
        ("no-rate".into(), unsaid),
        ("no-codec".into(), Way { option: json!({}), ..pcm_at(16_000) }),
    ]);
    let sides = [caller.as_slice(), &agent];
    let calls = ways.into_iter().map(|(id, way)| call(&rig, id, way, sides));
    are_heard(futures::future::join_all(calls).await, sides);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_names_no_rate_hears_the_one_of_the_configuration() {
    for rate in [8_000, 24_000] {
        let rig = Rig::start_with(|config| config.ws_pcm_out_rate = rate).await;
        let [caller, agent] = speech(&rig).await;
        // What it sends is at 16 kHz all the same.
        let way = Way { option: json!({"codec": "pcm"}), heard: &pcm::PCM_16000, ..pcm_at(rate) };
        let named = pcm_at(16_000);
        let sides = [caller.as_slice(), &agent];
        let calls = [("unnamed", way), ("named", named)].map(|(id, way)| call(&rig, id.into(), way, sides));
        are_heard(futures::future::join_all(calls).await, sides);
        rig.server.stop().await;
    }
}
