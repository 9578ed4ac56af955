//! Transfers with consultation in which linphones take part (REFER, `Replaces`): as the one that transfers us, as the one
//! that we transfer, and as the one that is called in.

use active_call::config::Rewrite;
use active_call::config::words::{Pattern, TransferPolicy};
use serde_json::json;

use crate::baresip::rig_with_agent_and;
use crate::hold::taken;
use crate::linphone::{self, Linphone, Settings};
use crate::rig::Rig;
use crate::sound;
use crate::transfers::outcome;

fn pattern(text: &str) -> Pattern {
    Pattern(regex::Regex::new(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn linphone_consults_another_and_hands_us_over_to_it() {
    if !linphone::is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let clerk = sound::speech(folder.path(), "This is the ticket office, what can I do for you").await;
    let settings = Settings::of("PCMU");
    let mut desk = Linphone::start(&folder.path().join("desk"), &settings.clone().answering(), &clerk).await;
    let port = desk.sip;
    let (rig, mut told, caller, agent) = rig_with_agent_and(|config| {
        config.sip.transfer_requests = TransferPolicy::Accept;
        config.sip.destinations = vec![pattern("^sip:desk@127\\.0\\.0\\.1$")];
        // It names whom it has called without the port.
        let rewrite = format!("@127.0.0.1:{port}");
        config.rewrites = vec![Rewrite { r#match: Some(pattern("@127\\.0\\.0\\.1$")), rewrite }];
    })
    .await;
    let mut phone = Linphone::start(&rig.path("phone"), &settings, &caller).await;
    phone.calls(&format!("sip:agent@{}", rig.server.sip_addr())).await;
    let mut client = taken(&rig, &mut told).await;
    phone.talks().await;
    phone.command("pause").await;
    phone.told("is now paused").await;
    phone.keeps("consults.wav").await;
    phone.calls(&format!("sip:desk@127.0.0.1:{port}")).await;
    phone.talks().await;
    desk.talks().await;
    desk.keeps("hears_agent.wav").await;
    phone.command("transfer 1 --to-call 2").await;
    assert_eq!(client.event("transferRequest").await["replaces"], true);
    let event = outcome(&mut client).await;
    assert_eq!((&event["state"], &event["code"]), (&json!("succeeded"), &json!(200)), "{event}");
    desk.talks().await;
    phone.told("Call 2 with").await;
    for _ in 0..3 {
        client.send(json!({"command": "play", "url": "agent.wav"})).await;
        client.event("trackEnd").await;
    }
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    desk.told("ended (No error)").await;
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    let said = sound::find(&clerk, &sound::channel(std::path::Path::new(&record.recorder[0].path), 0));
    let heard = sound::find(&agent, &desk.heard("hears_agent.wav"));
    println!("the server hears {said:?}, the desk hears {heard:?}");
    assert!(desk.is_heard(&said) && desk.has_heard(&heard), "{said:?} {heard:?}");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_linphones_that_we_have_joined_are_left_to_each_other() {
    if !linphone::is_here() {
        return;
    }
    let rig = Rig::start().await;
    let folder = rig.folder.path();
    let settings = Settings::of("PCMU").answering();
    let silence = vec![0; 8_000];
    let mut first = Linphone::start(&rig.path("first"), &settings, &silence).await;
    let mut desk = Linphone::start(&rig.path("desk"), &settings, &silence).await;
    let mut client = rig.connect("/call/sip").await;
    let [customer, clerk] = [first.sip, desk.sip].map(|port| format!("sip:phone@127.0.0.1:{port}"));
    client.send(json!({"command": "invite", "option": {"callee": customer}})).await;
    client.event("answer").await;
    client.send(json!({"command": "refer", "callee": clerk})).await;
    assert_eq!(client.event("answer").await["refer"], true);
    client.send(json!({"command": "refer", "method": "attended"})).await;
    assert_eq!(outcome(&mut client).await["state"], "succeeded");
    assert_eq!(client.event("hangup").await["reason"], "refer");
    first.told("Establishing call").await;
    first.talks().await;
    // The second call of the desk is the first one that it did not answer to us.
    desk.told("assigned id 2").await;
    desk.talks().await;
    let words = [
        sound::speech(folder, "I have lost my ticket between the station and the hotel").await,
        sound::speech(folder, "Nobody has brought a ticket to this office today").await,
    ];
    first.plays("words.wav", &words[0]).await;
    desk.plays("words.wav", &words[1]).await;
    rig.server.stop().await;
    tokio::join!(first.hears("hears.wav", 12), desk.hears("hears.wav", 12));
    first.command("terminate all").await;
    desk.told("ended (No error)").await;
    let found =
        [sound::find(&words[0], &desk.heard("hears.wav")), sound::find(&words[1], &first.heard("hears.wav"))];
    println!("{found:?}");
    assert!(found.iter().all(|found| first.is_heard(found)), "{found:?}");
}
