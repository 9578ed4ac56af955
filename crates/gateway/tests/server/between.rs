//! A call between two servers, judged by sound: each one's agent says something, and the other one's recording holds it.

use serde_json::{Value, json};

use crate::rig::{Client, Rig};
use crate::sound;

/// Both agents speak, the second one's client hangs up, and both were heard. What the first one is told of the end. Both
/// calls are recorded.
pub(crate) async fn hear_each_other([first, second]: [(&Rig, &mut Client); 2]) -> Value {
    let texts = ["Good morning, this is a call about your order", "I have been waiting for it since Monday"];
    let mut words = Vec::new();
    for ((rig, client), text) in [(first.0, &mut *first.1), (second.0, &mut *second.1)].into_iter().zip(texts)
    {
        let said = sound::speech(rig.folder.path(), text).await;
        sound::write_wav(&rig.path("sounds/words.wav"), 8_000, &said);
        client.send(json!({"command": "play", "url": "words.wav"})).await;
        words.push(said);
    }
    first.1.event("trackEnd").await;
    second.1.event("trackEnd").await;
    second.1.send(json!({"command": "hangup"})).await;
    second.1.event("hangup").await;
    let hangup = first.1.event("hangup").await;
    for (rig, said) in [(first.0, &words[1]), (second.0, &words[0])] {
        let record = rig.until("a record", |rig| rig.records().pop()).await;
        let heard = sound::find(said, &sound::channel(record.recorder[0].path.as_ref(), 0));
        println!("{} hears {heard:?}", record.call_id);
        assert!(heard.is_heard(), "{} hears {heard:?}", record.call_id);
    }
    hangup
}
