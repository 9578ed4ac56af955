//! Reports of calls: for every kind of call, and after the receiver was away.

use axum::http::StatusCode;
use serde_json::json;
use tokio::time::timeout;

use crate::inbound_sip::hook;
use crate::rig::{PATIENCE, Rig};

fn playbook(url: &str) -> String {
    format!("---\ntts: {{ provider: fake }}\ngreeting: Good morning.\nposthook: {{ url: \"{url}\" }}\n---\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_websocket_is_reported_with_what_was_said() {
    let (url, mut told) = hook(StatusCode::OK).await;
    let rig = Rig::start_with(|config| {
        config.egress.allow = vec!["127.0.0.1".into()];
        config.posthook_secret = Some(protocol::Secret::new("whsec_c2VjcmV0"));
    })
    .await;
    std::fs::write(rig.path("playbook/hook.md"), playbook(&url)).unwrap();
    let mut client = rig.connect("/call?id=hooked").await;
    client.send(json!({"command": "invite", "option": {"playbook": "hook.md"}})).await;
    while client.event("trackEnd").await["trackId"] != "server-side-track" {}
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    let (headers, body) = timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
    assert!(headers["webhook-signature"].to_str().unwrap().starts_with("v1,"));
    assert_eq!(body["sessionId"], "hooked");
    assert!(body["history"].to_string().contains("Good morning."), "{body}");
    let spool = rig.path("spool");
    rig.until("an empty spool", |_| std::fs::read_dir(&spool).unwrap().next().is_none().then_some(())).await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_nobody_takes_outlives_the_server() {
    let rig = Rig::start_with(|config| config.egress.allow = vec!["127.0.0.1".into()]).await;
    std::fs::write(rig.path("playbook/hook.md"), playbook("http://127.0.0.1:9/hook")).unwrap();
    let mut client = rig.connect("/call?id=lost").await;
    client.send(json!({"command": "invite", "option": {"playbook": "hook.md"}})).await;
    client.event("answer").await;
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    let Rig { server, folder } = rig;
    server.stop().await;
    let kept: Vec<_> = std::fs::read_dir(folder.path().join("spool")).unwrap().flatten().collect();
    assert_eq!(kept.len(), 1);
    assert!(std::fs::read_to_string(kept[0].path()).unwrap().contains("lost"));
}
