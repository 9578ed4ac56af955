//! Rendered speech on disk, as a call uses it.

use serde_json::{Value, json};

use crate::rig::{Client, Rig};

async fn answered(rig: &Rig) -> Client {
    let mut client = rig.connect("/call").await;
    let option = json!({"codec": "pcm", "sampleRate": 16000, "tts": {"provider": "fake"}});
    client.send(json!({"command": "invite", "option": option})).await;
    client.event("answer").await;
    client
}

/// Says `more`; gives the sound of it and whether it was kept from before.
async fn said(client: &mut Client, more: Value) -> (Vec<u8>, bool) {
    let mut command = json!({"command": "tts", "playId": "p", "endOfStream": true});
    command.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.sound.clear();
    client.send(command).await;
    let metrics = client.event("metrics").await;
    assert_eq!(metrics["key"], "completed.tts.fake");
    client.event("trackEnd").await;
    (std::mem::take(&mut client.sound), metrics["data"]["cached"].as_bool().unwrap())
}

fn kept(rig: &Rig) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(rig.path("mediacache")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "pcm")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_kept_once_and_sounds_the_same_from_the_disk() {
    let rig = Rig::start().await;
    let mut client = answered(&rig).await;
    let (first, cached) = said(&mut client, json!({"text": "good morning"})).await;
    assert!(!first.is_empty() && !cached);
    rig.until("the sound is kept", |rig| (kept(rig).len() == 1).then_some(())).await;
    assert_eq!(said(&mut client, json!({"text": "good morning"})).await, (first, true));
    let streamed = json!({"text": "good morning", "streaming": true});
    assert!(!said(&mut client, streamed).await.1, "speech that streams is neither kept nor looked for");
    let greeting = |text: &str| json!({"text": text, "cacheKey": "../../../greet"});
    let (greeted, cached) = said(&mut client, greeting("good evening")).await;
    assert!(!cached);
    rig.until("the other is kept", |rig| (kept(rig).len() == 2).then_some(())).await;
    assert_eq!(said(&mut client, greeting("quite another text")).await, (greeted, true));
    assert_eq!(kept(&rig).len(), 2);
    let mut louder = greeting("good evening");
    louder["option"] = json!({"volume": 9});
    assert!(!said(&mut client, louder).await.1, "another volume is another sound");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_is_made_again_and_a_folder_that_cannot_be_made_stops_no_speech() {
    let rig = Rig::start().await;
    let mut client = answered(&rig).await;
    let (whole, _) = said(&mut client, json!({"text": "good morning"})).await;
    let file = rig.until("the sound is kept", |rig| kept(rig).pop()).await;
    std::fs::write(&file, "half").unwrap();
    assert_eq!(said(&mut client, json!({"text": "good morning"})).await, (whole.clone(), false));
    rig.until("it is whole again", |_| std::fs::metadata(&file).is_ok_and(|f| f.len() > 4).then_some(()))
        .await;
    rig.server.stop().await;

    let rig = Rig::start_with(|config| config.media_cache_path = "/dev/null/cache".into()).await;
    let mut client = answered(&rig).await;
    assert_eq!(said(&mut client, json!({"text": "good morning"})).await, (whole, false));
    assert!(!client.seen.contains(&"error".into()));
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_twenty_calls_want_at_once_is_paid_once() {
    let rig = Rig::start().await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(answered(&rig).await);
    }
    for client in &mut clients {
        let tts = json!({"command": "tts", "text": "good morning", "playId": "p", "endOfStream": true});
        client.send(tts).await;
    }
    let (mut paid, mut sounds) = (0, std::collections::BTreeSet::new());
    for client in &mut clients {
        let metrics = client.event("metrics").await;
        paid += u32::from(metrics["data"]["cached"] == json!(false));
        client.event("trackEnd").await;
        sounds.insert(std::mem::take(&mut client.sound));
    }
    assert_eq!((paid, sounds.len()), (1, 1));
    rig.server.stop().await;
}
