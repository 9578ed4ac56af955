//! Digits both ways with programs that others wrote: as events, by INFO, and as tones.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use active_call::config::words::CodecName;
use audio::dtmf::{Detector, Tone};
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::baresip::{Baresip, connect, rig_with_agent_and};
use crate::inbound_sip::{attach, hook, webhooks};
use crate::linphone::{self, Linphone, Settings};
use crate::rig::{Client, Rig};
use crate::{lossy, programs};

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

/// Every key there is, some of them twice in a row.
const KEYS: &str = "1559#022*77A4436B8CD";

fn hundred(keys: &str) -> String {
    keys.chars().cycle().take(100).collect()
}

/// A call on whose way one packet in twenty is lost.
struct LossyCall {
    rig: Rig,
    client: Client,
    losses: Arc<AtomicUsize>,
}

impl LossyCall {
    /// Calls the phone at `phone`. `answers` to INFO are lost too.
    async fn to(rig: Rig, phone: u16, answers: bool) -> LossyCall {
        let (port, losses) = lossy::in_front_of(phone, answers).await;
        let mut client = rig.connect("/call/sip").await;
        let to = format!("sip:phone@127.0.0.1:{port}");
        client.send(json!({"command": "invite", "option": {"callee": to}})).await;
        client.event("answer").await;
        LossyCall { rig, client, losses }
    }

    /// Hangs up, and tells how many packets were lost of a call whose keys went by `way`.
    async fn ends(mut self, way: &str) {
        self.client.send(json!({"command": "hangup"})).await;
        self.client.event("hangup").await;
        let losses = self.losses.load(Ordering::Relaxed);
        println!("{way}: {losses} packets were lost");
        assert!(losses > 30, "{way}: {losses} packets were lost");
        self.rig.server.stop().await;
    }
}

/// The keys that the client is told of: `pressed`, each once.
async fn hears(client: &mut Client, pressed: &str) {
    for key in pressed.chars() {
        assert_eq!(client.event("dtmf").await["digit"], key.to_string());
    }
}

/// Who is told of one key more than these is told of one twice.
fn no_more_than(client: &Client, pressed: &str) {
    assert_eq!(client.seen.iter().filter(|event| *event == "dtmf").count(), pressed.len());
}

async fn baresip_hears_a_hundred(method: &str) {
    let (rig, keys) = (Rig::start().await, hundred(KEYS));
    let mut phone = Baresip::start(&rig.path("phone"), "PCMU/8000/1", &vec![0; 90 * 8000]).await;
    // It takes an INFO that is repeated, since its answer was lost, for another key.
    let mut call = LossyCall::to(rig, phone.sip, false).await;
    for half in [&keys[..50], &keys[50..]] {
        call.client.send(json!({"command": "dtmf", "digits": half, "method": method})).await;
    }
    assert_eq!(pressed(&mut phone, &keys).await, keys, "{method}");
    call.ends(&format!("ours by {method}")).await;
    let mut rest = phone.next().await;
    while rest["type"] != "CALL_CLOSED" {
        assert_ne!(rest["type"], "CALL_DTMF_START", "{method}: {rest}");
        rest = phone.next().await;
    }
}

/// It is told of the next key when the last one has come.
async fn half_a_hundred_of_baresip_come_as_events() {
    let (rig, keys) = (Rig::start().await, hundred(KEYS)[50..].to_owned());
    let mut phone = Baresip::start(&rig.path("phone"), "PCMU/8000/1", &vec![0; 90 * 8000]).await;
    let mut call = LossyCall::to(rig, phone.sip, true).await;
    for key in keys.chars() {
        phone.command("sndcode", &key.to_string()).await;
        hears(&mut call.client, &key.to_string()).await;
    }
    no_more_than(&call.client, &keys);
    call.ends("baresip's events").await;
}

async fn a_hundred_of_baresip_come_as_tones() {
    let rig = Rig::start_with(|config| config.codecs = vec![CodecName::Pcmu]).await;
    let keys = hundred(KEYS);
    let mut says = vec![0; 3 * 8000];
    for key in keys.chars() {
        let mut sound = [0; 1600];
        Tone::new(key, 8_000, Duration::from_millis(120)).unwrap().read(&mut sound);
        says.extend(sound);
    }
    says.extend(vec![0; 30 * 8000]);
    let phone = Baresip::start(&rig.path("phone"), "PCMU/8000/1", &says).await;
    let mut call = LossyCall::to(rig, phone.sip, true).await;
    hears(&mut call.client, &keys).await;
    no_more_than(&call.client, &keys);
    call.ends("baresip's tones").await;
}

/// It presses one a second.
async fn twenty_of_linphone_come_by(way: &str, sip: &str) {
    if !linphone::is_here() {
        return;
    }
    let (rig, keys) = (Rig::start().await, "1559#022*77443680115".to_owned());
    let settings = Settings { sip: sip.to_owned(), ..Settings::of("PCMU") }.answering();
    let mut phone = Linphone::start(&rig.path("linphone"), &settings, &[0; 8000]).await;
    let mut call = LossyCall::to(rig, phone.sip, true).await;
    phone.talks().await;
    phone.command(&keys).await;
    hears(&mut call.client, &keys).await;
    no_more_than(&call.client, &keys);
    call.ends(way).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_phones_and_to_phones_come_once_each_in_order_where_a_packet_in_twenty_is_lost() {
    tokio::join!(
        baresip_hears_a_hundred("rtp"),
        baresip_hears_a_hundred("info"),
        half_a_hundred_of_baresip_come_as_events(),
        half_a_hundred_of_baresip_come_as_events(),
        a_hundred_of_baresip_come_as_tones(),
        twenty_of_linphone_come_by("linphone's events", "use_info=0\nuse_rfc2833=1"),
        twenty_of_linphone_come_by("linphone's INFO", "use_info=1\nuse_rfc2833=0"),
    );
}
