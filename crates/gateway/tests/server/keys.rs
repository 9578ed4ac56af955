//! Digits both ways with programs that others wrote: as events, by INFO, and as tones.

use std::time::Duration;

use active_call::config::words::CodecName;
use audio::dtmf::{Detector, Tone};
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::baresip::{Baresip, connect, rig_with_agent_and};
use crate::inbound_sip::{attach, hook, webhooks};
use crate::programs;
use crate::rig::Rig;

/// The keys that baresip is told of, as many as `digits` has.
async fn pressed(phone: &mut Baresip, digits: &str) -> String {
    let mut keys = String::new();
    while keys.len() < digits.len() {
        keys.push_str(phone.told("type", "CALL_DTMF_START").await["param"].as_str().unwrap());
    }
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_hears_our_keys_as_events_by_info_and_as_tones() {
    let (rig, mut told, caller, _) = rig_with_agent_and(|_| {}).await;
    let mut phone = Baresip::start(&rig.path("phone"), "PCMU/8000/1", &caller).await;
    let mut client = connect(&rig, &mut told, &mut phone).await;
    for (digits, method) in [("1559#", "auto"), ("2277*", "info")] {
        client.send(json!({"command": "dtmf", "digits": digits, "method": method})).await;
        assert_eq!(pressed(&mut phone, digits).await, digits, "{method}");
    }
    client.send(json!({"command": "dtmf", "digits": "30AD", "method": "inband"})).await;
    client.event("trackEnd").await;
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    phone.told("type", "CALL_CLOSED").await;
    let mut tones = String::new();
    Detector::new(8_000).push(&phone.heard(), &mut tones);
    assert_eq!(tones, "30AD");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_baresip_sends_as_tones_are_found_where_events_are_not_agreed_on() {
    const DIGITS: &str = "19958*#0";
    let (rig, mut told, mut says, _) =
        rig_with_agent_and(|config| config.codecs = vec![CodecName::Pcmu]).await;
    for digit in DIGITS.chars() {
        let mut sound = [0; 1600];
        Tone::new(digit, 8_000, Duration::from_millis(100)).unwrap().read(&mut sound);
        says.extend(sound);
    }
    let mut phone = Baresip::start(&rig.path("phone"), "PCMU/8000/1", &says).await;
    let mut client = connect(&rig, &mut told, &mut phone).await;
    let mut digits = String::new();
    while digits.len() < DIGITS.len() {
        digits.push_str(client.event("dtmf").await["digit"].as_str().unwrap());
    }
    assert_eq!(digits, DIGITS, "each once, and none in the speech before");
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_go_by_info_to_and_from_sipp_that_has_no_events() {
    let (url, mut told) = hook(StatusCode::OK).await;
    let rig = Rig::start_with(|config| webhooks(config, &[url])).await;
    let mut arguments = programs::sipp("keys.xml", programs::free_ports());
    arguments.extend([&rig.server.sip_addr().to_string(), "-s", "agent"].map(str::to_owned));
    let calling = programs::run("sipp", &arguments, rig.folder.path());
    let answering = async {
        let mut client = attach(&rig, &mut told).await;
        client.send(json!({"command": "accept", "option": {}})).await;
        for digit in ["5", "#"] {
            assert_eq!(client.event("dtmf").await["digit"], digit);
        }
        // SIPp refuses the second digit; asked for INFO alone, we say so.
        client.send(json!({"command": "dtmf", "digits": "12", "method": "info"})).await;
        let error: Value = client.event("error").await;
        assert_eq!((error["sender"].as_str(), error["code"].as_u64()), (Some("sip"), Some(405)), "{error}");
        client.send(json!({"command": "hangup"})).await;
        client.event("hangup").await;
    };
    tokio::join!(calling, answering);
    rig.server.stop().await;
}
