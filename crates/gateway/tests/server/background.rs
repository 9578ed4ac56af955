//! The sound that lies under a call, as its option names it.

use serde_json::json;

use crate::rig::{Client, Rig};
use crate::sound::write_wav;

const PEAK: f64 = 8_000.0;

/// The root mean square of the last half second that a client has heard, against that of the file.
fn level(client: &Client) -> f64 {
    let sound: Vec<f64> = client.sound[client.sound.len() - 16_000..]
        .chunks_exact(2)
        .map(|two| f64::from(i16::from_le_bytes([two[0], two[1]])))
        .collect();
    (sound.iter().map(|s| s * s).sum::<f64>() / sound.len() as f64).sqrt() / (PEAK / std::f64::consts::SQRT_2)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_background_is_heard_at_its_level_and_at_the_other_while_the_agent_speaks() {
    let rig = Rig::start().await;
    // A second of whole waves, which repeats without a seam.
    let wave = |n: usize| (PEAK * (n as f64 * std::f64::consts::TAU / 40.0).sin()) as i16;
    write_wav(&rig.path("sounds/office.wav"), 16_000, &(0..16_000).map(wave).collect::<Vec<_>>());
    write_wav(&rig.path("sounds/nothing.wav"), 16_000, &[0; 48_000]);
    let mut client = rig.connect("/call").await;
    let ambiance =
        json!({"path": "office.wav", "normalLevel": 0.5, "duckLevel": 0.2, "transitionSpeed": 0.1});
    client.send(json!({"command": "invite", "option": {"codec": "pcm", "sampleRate": 16000, "ambiance": ambiance}})).await;
    client.event("answer").await;
    client.heard(32_000).await;
    assert!((level(&client) - 0.5).abs() < 0.02, "{}", level(&client));
    client.send(json!({"command": "play", "url": "nothing.wav"})).await;
    client.event("trackStart").await;
    client.heard(client.sound.len() + 48_000).await;
    assert!((level(&client) - 0.2).abs() < 0.02, "{}", level(&client));
    client.event("trackEnd").await;
    client.heard(client.sound.len() + 48_000).await;
    assert!((level(&client) - 0.5).abs() < 0.02, "{}", level(&client));
    rig.server.stop().await;
}
