//! What a webhook is told of a call.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use serde_json::json;
use tokio::time::timeout;

use crate::inbound_sip::{hook, webhooks};
use crate::raw_phone::{RawPhone, sdp, value};
use crate::rig::{PATIENCE, Rig};

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_says_everything_of_its_call() {
    let (url, mut told) = hook(StatusCode::OK).await;
    let rig = Rig::start_with(|config| webhooks(config, &[url])).await;
    let phone = RawPhone::towards(rig.server.sip_addr(), "announced").await;
    let here = phone.socket.local_addr().unwrap();
    let offer = sdp(([127, 0, 0, 1], 4000).into());
    phone.invite_with("X-Tenant: 9\r\nSubject: a table\r\n", &offer).await;
    let (headers, body) = timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
    assert_eq!(headers["content-type"], "application/json");
    let text = |key: &str| body[key].as_str().unwrap_or_else(|| panic!("no {key} in {body}")).to_owned();
    let keys: BTreeSet<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    let promised = [
        "event",
        "dialogId",
        "caller",
        "callee",
        "requestUri",
        "createdAt",
        "headers",
        "offer",
        "call_id",
        "from_tag",
        "to_tag",
        "callId",
        "fromTag",
        "toTag",
    ];
    assert_eq!(keys, BTreeSet::from(promised), "{body}");
    assert_eq!(text("event"), "invite");
    assert_eq!(text("caller"), format!("sip:raw@{here}"));
    assert_eq!(text("callee"), format!("sip:agent@{}", rig.server.sip_addr()));
    assert_eq!(text("requestUri"), text("callee"));
    assert_eq!((text("call_id"), text("from_tag")), ("announced".into(), "announced".into()));
    for (camel, snake) in [("callId", "call_id"), ("fromTag", "from_tag"), ("toTag", "to_tag")] {
        assert_eq!(text(camel), text(snake));
    }
    assert_eq!(text("offer"), offer);
    let created = chrono::DateTime::parse_from_rfc3339(&text("createdAt")).unwrap().timestamp_millis();
    let age = i64::try_from(active_call::app::now_ms()).unwrap() - created;
    assert!((0..20_000).contains(&age), "created {age} ms ago: {body}");
    let (id, to_tag) = (text("dialogId"), text("to_tag"));
    assert!(id.starts_with("announced-") && id.contains(&to_tag) && !to_tag.is_empty(), "{body}");
    let lines: Vec<&str> =
        body["headers"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    for begin in [
        &format!("Via: SIP/2.0/UDP {here};branch=z9hG4bKannouncedi"),
        &format!("From: <sip:raw@{here}>;tag=announced"),
        "Call-ID: announced",
        "CSeq: 1 INVITE",
        "X-Tenant: 9",
        "Subject: a table",
    ] {
        assert!(lines.iter().any(|line| line.starts_with(begin)), "no {begin:?} in {lines:?}");
    }
    let mut client = rig.connect(&format!("/call/sip?id={id}")).await;
    let incoming = client.event("incoming").await;
    assert_eq!((&incoming["caller"], &incoming["callee"]), (&body["caller"], &body["callee"]));
    client.send(json!({"command": "accept", "option": {}})).await;
    let answer = phone.answered().await;
    assert!(value(&answer, "To").ends_with(&format!(";tag={to_tag}")), "{answer}");
    phone.hang_up(&answer).await;
    client.event("hangup").await;
    rig.server.stop().await;
}
