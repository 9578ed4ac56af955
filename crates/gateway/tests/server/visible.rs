//! What an operator sees of the signalling of a call: the ladder while it goes on, the time line after it.

use active_call::explain;
use serde_json::{Value, json};

use crate::baresip::{Baresip, connect, rig_with_agent};

#[tokio::test(flavor = "multi_thread")]
async fn the_messages_of_a_call_are_shown_while_it_goes_on_and_explained_after_it() {
    let (rig, mut told, caller, _) = rig_with_agent().await;
    let mut phone = Baresip::start_with(
        &rig.path("phone"),
        "audio_codecs=PCMU/8000/1;mediaenc=srtp-mand",
        &[caller.as_slice(), &[0; 20 * 8000]].concat(),
    )
    .await;
    let mut client = connect(&rig, &mut told, &mut phone).await;
    let calls: Value = serde_json::from_str(&rig.get("/api/v1/calls").await.1).unwrap();
    let id = calls["calls"][0]["id"].as_str().unwrap().to_owned();
    let (status, text) = rig.get(&format!("/api/v1/calls/{id}/sip")).await;
    let ladder: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status, 200, "{text}");
    let seen: Vec<(bool, &str)> = ladder["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| (message["sent"] == true, message["summary"].as_str().unwrap()))
        .collect();
    assert!(!seen[0].0 && seen[0].1.starts_with("INVITE sip:"), "{seen:?}");
    assert!(seen.contains(&(true, "SIP/2.0 200 OK")) && seen.iter().any(|seen| seen.1.starts_with("ACK ")));
    assert!(text.contains("inline:***") && !text.contains("inline:A"), "keys are not shown: {text}");
    let media = ladder["media"].clone();
    let [leg] = media.as_array().unwrap().as_slice() else { panic!("{media}") };
    for (key, value) in [
        ("trackId", json!(id)),
        ("refer", json!(false)),
        ("codec", json!("PCMU")),
        ("payloadType", json!(0)),
        ("heardAs", json!([0])),
        ("ptime", json!(20)),
        ("encryption", json!("AES_CM_128_HMAC_SHA1_80")),
        ("direction", json!("sendrecv")),
        ("held", json!(false)),
    ] {
        assert_eq!(leg[key], value, "{key} of {leg}");
    }
    for key in ["local", "remote"] {
        let (host, port) = leg[key].as_str().unwrap().rsplit_once(':').unwrap();
        let described = [format!("c=IN IP4 {host}"), format!("m=audio {port} ")];
        assert!(described.iter().all(|line| text.contains(line)), "{key} of {leg}");
    }
    client.event("trackEnd").await;
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    phone.told("type", "CALL_CLOSED").await;
    let folder = rig.server.app().recordings().clone();
    let line = rig
        .until("the end of the call in its log", |_| {
            let mut out = Vec::new();
            explain::print(&folder, &id, &mut out).ok()?;
            let text = String::from_utf8(out).unwrap();
            text.contains("200 OK (").then_some(()).filter(|()| text.contains("BYE)"))?;
            Some(text)
        })
        .await;
    println!("{line}");
    for part in
        ["sip <--  INVITE", "sip -->  200 OK", "PCMU/8000", "event    answer", "sip -->  BYE", "quality  mos"]
    {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    let after: Value = serde_json::from_str(&rig.get(&format!("/api/v1/calls/{id}/sip")).await.1).unwrap();
    assert_eq!(after["media"], media, "it can still be asked for");
    assert!(after["quality"]["packets"].as_u64().is_some_and(|packets| packets > 0), "{after}");
    assert_eq!(rig.get("/api/v1/calls/nobody/sip").await.0, 404);
    rig.server.stop().await;
}
