//! What a callee says when it refuses, beyond its code.

use std::net::UdpSocket;

use serde_json::{Value, json};

use crate::raw_phone::{RawPhone, sdp};
use crate::rig::Rig;

/// A refusal that says everything, twice what may stand twice, and shows a password where it ought not.
const BUSY: &str = "486 Busy Here\r\nReason: Q.850;cause=17;text=\"User busy\"\r\nReason: SIP;cause=486\r\n\
                    Warning: 399 pbx \"ask sip:desk:hunter2@pbx.example\"\r\nRetry-After: 120 (at lunch);duration=60";

/// A server, and a phone for it to call with its URI.
async fn with_phone(rig: &Rig) -> (RawPhone, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = format!("sip:desk@{}", socket.local_addr().unwrap());
    (RawPhone::at(socket, rig.server.sip_addr()), to)
}

fn tells_all(told: &Value) {
    assert_eq!(told["code"], 486, "{told}");
    assert_eq!(told["cause"], "Q.850;cause=17;text=\"User busy\", SIP;cause=486", "{told}");
    assert_eq!(told["warning"], "399 pbx \"ask sip:desk:***@pbx.example\"", "{told}");
    assert_eq!(told["retryAfter"], 120, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_refusal_says_beyond_its_code_is_in_the_event_and_the_record() {
    let rig = Rig::start().await;
    let (desk, to) = with_phone(&rig).await;
    let mut client = rig.connect("/call/sip").await;
    client.send(json!({"command": "invite", "option": {"callee": to}})).await;
    desk.answer(&desk.asked("INVITE").await, BUSY, "").await;
    let reject = client.event("reject").await;
    tells_all(&reject);
    assert_eq!((&reject["reason"], &reject["refer"]), (&json!("Busy Here"), &json!(false)));
    client.event("hangup").await;
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    let record = serde_json::to_value(&record).unwrap();
    tells_all(&record["hangupMessages"][0]);
    assert_eq!(record["hangupMessages"][0]["reason"], "Busy Here", "{record}");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_second_party_says_is_told_as_its_and_stays_out_of_the_record_of_the_first() {
    let rig = Rig::start().await;
    let ((phone, to), (desk, to_desk)) = (with_phone(&rig).await, with_phone(&rig).await);
    let mut client = rig.connect("/call/sip").await;
    client.send(json!({"command": "invite", "option": {"callee": to}})).await;
    let invite = phone.asked("INVITE").await;
    phone.answer(&invite, "200 OK", &sdp(([127, 0, 0, 1], 4000).into())).await;
    client.event("answer").await;
    client.send(json!({"command": "refer", "caller": "", "callee": to_desk, "options": {"moh": ""}})).await;
    desk.answer(&desk.asked("INVITE").await, BUSY, "").await;
    let reject = client.event("reject").await;
    tells_all(&reject);
    assert_eq!(reject["refer"], true, "{reject}");
    client.send(json!({"command": "hangup"})).await;
    phone.answer(&phone.asked("BYE").await, "200 OK", "").await;
    client.event("hangup").await;
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    let record = serde_json::to_value(&record).unwrap();
    tells_all(&record["referCallrecord"]["hangupMessages"][0]);
    assert!(!record["hangupMessages"].to_string().contains("Q.850"), "{record}");
    rig.server.stop().await;
}
