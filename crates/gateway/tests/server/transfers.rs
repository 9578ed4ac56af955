//! Transfers by the parties themselves (REFER): asked of baresip, asked by baresip, and with consultation between three
//! servers, where one call takes the place of another.

use axum::http::StatusCode;
use serde_json::{Value, json};

use active_call::config::words::{Pattern, TransferPolicy};

use crate::baresip::{Baresip, connect, rig_with_agent, rig_with_agent_and};
use crate::inbound_sip::{Hook, attach, hook, webhooks};
use crate::raw_phone::{RawPhone, sdp, value};
use crate::rig::{Client, Rig};
use crate::sound;

/// The state of the next `transfer` event that is not merely on the way.
pub(crate) async fn outcome(client: &mut Client) -> Value {
    loop {
        let event = client.event("transfer").await;
        if event["state"] != "accepted" && event["state"] != "ringing" {
            return event;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_is_asked_to_call_another_the_agent_leaves_and_the_two_hear_each_other() {
    let (rig, mut told, caller, _) = rig_with_agent().await;
    let clerk = sound::speech(rig.folder.path(), "This is the ticket office, what can I do for you").await;
    // A phone hangs up when its file ends.
    let [caller_says, clerk_says] = [&caller, &clerk].map(|words| [words, &[0; 2 * 8000][..]].concat());
    let account = "audio_codecs=PCMU/8000/1;call_transfer=yes";
    let mut phone = Baresip::start_with(&rig.path("phone"), account, &caller_says).await;
    let mut desk = Baresip::start(&rig.path("desk"), "PCMU/8000/1", &clerk_says).await;
    let mut client = connect(&rig, &mut told, &mut phone).await;
    let to = format!("sip:phone@127.0.0.1:{}", desk.sip);
    client.send(json!({"command": "refer", "callee": to, "method": "blind"})).await;
    assert_eq!(client.event("transfer").await["state"], "accepted");
    let event = outcome(&mut client).await;
    assert_eq!((event["state"].as_str(), event["code"].as_u64()), (Some("succeeded"), Some(200)), "{event}");
    desk.told("type", "CALL_ESTABLISHED").await;
    let hangup = client.event("hangup").await;
    assert_eq!(hangup["reason"], "refer", "{hangup}");
    // They do without us.
    rig.server.stop().await;
    desk.told("type", "CALL_CLOSED").await;
    let [at_desk, at_phone] = [sound::find(&caller, &desk.heard()), sound::find(&clerk, &phone.heard())];
    println!("the target hears {at_desk:?}, who was sent there hears {at_phone:?}");
    assert!(phone.is_heard(&at_desk) && desk.is_heard(&at_phone), "{at_desk:?} {at_phone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_the_target_refuses_is_told_and_the_caller_stays() {
    let (rig, mut told, caller, _) = rig_with_agent().await;
    let nobody = Rig::start().await;
    let mut phone =
        Baresip::start_with(&rig.path("phone"), "audio_codecs=PCMU/8000/1;call_transfer=yes", &caller).await;
    let mut client = connect(&rig, &mut told, &mut phone).await;
    let to = format!("sip:desk@{}", nobody.server.sip_addr());
    client.send(json!({"command": "refer", "callee": to, "method": "blind"})).await;
    let event = outcome(&mut client).await;
    assert_eq!((event["state"].as_str(), event["code"].as_u64()), (Some("failed"), Some(503)), "{event}");
    assert_eq!(client.event("reject").await["refer"], true);
    client.send(json!({"command": "hangup"})).await;
    assert_eq!(client.event("hangup").await["reason"], "system");
    rig.server.stop().await;
    nobody.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_sent_where_destinations_do_not_allow() {
    let (rig, mut told, caller, _) = rig_with_agent_and(|config| {
        config.sip.destinations = vec![Pattern(regex::Regex::new("^sip:desk@").unwrap())];
    })
    .await;
    let mut phone = Baresip::start(&rig.path("phone"), "PCMU/8000/1", &caller).await;
    let mut client = connect(&rig, &mut told, &mut phone).await;
    client.send(json!({"command": "refer", "callee": "sip:900123@127.0.0.1", "method": "blind"})).await;
    assert_eq!(client.event("transfer").await["code"], 403);
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_sends_the_agent_on_and_the_next_one_hears_it() {
    let (rig, mut told, caller, agent) = rig_with_agent().await;
    let mut phone = Baresip::start(&rig.path("phone"), "PCMU/8000/1", &[0; 8000 * 30]).await;
    let says = [caller.as_slice(), &[0; 20 * 8000]].concat();
    let mut desk = Baresip::start(&rig.path("desk"), "PCMA/8000/1", &says).await;
    let mut client = connect(&rig, &mut told, &mut phone).await;
    client.event("trackEnd").await;
    let to = format!("sip:phone@127.0.0.1:{}", desk.sip);
    phone.command("transfer", &to).await;
    assert_eq!(client.event("transferRequest").await["referTo"], to);
    client.send(json!({"command": "accept", "option": {}})).await;
    assert_eq!(outcome(&mut client).await["state"], "succeeded");
    desk.told("type", "CALL_ESTABLISHED").await;
    for _ in 0..2 {
        client.send(json!({"command": "play", "url": "agent.wav"})).await;
        client.event("trackEnd").await;
    }
    desk.command("hangup", "").await;
    client.event("hangup").await;
    desk.told("type", "CALL_CLOSED").await;
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    let recording = std::path::PathBuf::from(&record.recorder[0].path);
    let said = sound::find(&caller, &sound::channel(&recording, 0));
    let heard = sound::find(&agent, &desk.heard());
    println!("the server hears {said:?}, the next one hears {heard:?}");
    assert!(phone.is_heard(&said) && phone.hears(&heard), "{said:?} {heard:?}");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn baresip_is_told_that_nobody_goes_where_it_wants() {
    let (rig, mut told, caller, _) =
        rig_with_agent_and(|config| config.sip.transfer_requests = TransferPolicy::Refuse).await;
    let mut phone = Baresip::start(&rig.path("phone"), "PCMU/8000/1", &caller).await;
    let mut client = connect(&rig, &mut told, &mut phone).await;
    phone.command("transfer", "sip:900123@127.0.0.1").await;
    client.event("transferRequest").await;
    let failed = phone.told("type", "TRANSFER_FAILED").await;
    assert!(failed["param"].as_str().unwrap_or_default().contains("603"), "{failed}");
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    rig.server.stop().await;
}

/// A server whose calls a client takes, and that lets itself be sent on.
async fn willing() -> (Rig, Hook) {
    let (url, told) = hook(StatusCode::OK).await;
    let rig = Rig::start_with(|config| {
        webhooks(config, &[url]);
        config.sip.transfer_requests = TransferPolicy::Accept;
        config.sip.destinations = vec![Pattern(regex::Regex::new("127\\.0\\.0\\.1").unwrap())];
    })
    .await;
    (rig, told)
}

async fn accepted(rig: &Rig, told: &mut Hook) -> Client {
    let mut client = attach(rig, told).await;
    client.send(json!({"command": "accept", "option": {"recorder": {}}})).await;
    client.event("answer").await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_consultation_the_two_others_are_joined_and_hear_each_other() {
    let agent = Rig::start().await;
    let ((first, mut first_told), (desk, mut desk_told)) = (willing().await, willing().await);
    let words = sound::speech(first.folder.path(), "My invoice from last month has not come yet").await;
    sound::write_wav(&first.path("sounds/words.wav"), 8000, &words);
    let mut call = agent.connect("/call/sip?id=agent").await;
    let to = format!("sip:first@{}", first.server.sip_addr());
    call.send(json!({"command": "invite", "option": {"callee": to}})).await;
    let mut customer = accepted(&first, &mut first_told).await;
    call.event("answer").await;
    let to = format!("sip:desk@{}", desk.server.sip_addr());
    call.send(json!({"command": "refer", "callee": to})).await;
    let mut clerk = accepted(&desk, &mut desk_told).await;
    call.event("answer").await;
    call.send(json!({"command": "refer", "method": "attended"})).await;
    assert_eq!(outcome(&mut call).await["state"], "succeeded");
    assert_eq!(outcome(&mut clerk).await["state"], "takenOver");
    assert_eq!(outcome(&mut customer).await["state"], "succeeded");
    call.event("hangup").await;
    customer.send(json!({"command": "play", "url": "words.wav"})).await;
    customer.event("trackEnd").await;
    customer.send(json!({"command": "hangup"})).await;
    clerk.event("hangup").await;
    let record = desk.until("a record", |rig| rig.records().pop()).await;
    let heard = sound::find(&words, &sound::channel(std::path::Path::new(&record.recorder[0].path), 0));
    assert!(heard.is_heard(), "{heard:?}");
    for rig in [agent, first, desk] {
        rig.server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_credentials_of_a_refer_answer_for_it_in_a_call_that_came_in() {
    let (url, mut told) = hook(StatusCode::OK).await;
    let rig = Rig::start_with(|config| webhooks(config, &[url])).await;
    let phone = RawPhone::towards(rig.server.sip_addr(), "challenger").await;
    phone.invite_with("", &sdp(([127, 0, 0, 1], 4000).into())).await;
    let mut client = attach(&rig, &mut told).await;
    client.send(json!({"command": "accept", "option": {}})).await;
    let answer = phone.answered().await;
    client.event("answer").await;
    let desk = RawPhone::at(std::net::UdpSocket::bind("127.0.0.1:0").unwrap(), rig.server.sip_addr());
    let to = format!("sip:desk@{}", desk.socket.local_addr().unwrap());
    let challenge = "401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"pbx\", nonce=\"n1\", qop=\"auth\"";
    let sip = json!({"username": "clerk", "password": "s3cret", "realm": "pbx"});
    // The far end is asked to call; and we call a second party.
    for (method, asked, end) in [("blind", &phone, "603 Decline"), ("bridge", &desk, "486 Busy Here")] {
        let request = if method == "blind" { "REFER" } else { "INVITE" };
        let refer = json!({"command": "refer", "callee": to, "method": method, "options": {"sip": sip}});
        client.send(refer).await;
        let first = asked.asked(request).await;
        assert!(!first.contains("clerk"), "{first}");
        asked.answer(&first, challenge, "").await;
        let again =
            asked.heard(|text| text.starts_with(request) && text.contains("\r\nAuthorization: ")).await;
        let credentials = value(&again, "Authorization");
        assert!(
            credentials.contains("username=\"clerk\"") && credentials.contains("nonce=\"n1\""),
            "{again}"
        );
        asked.answer(&again, end, "").await;
        assert_eq!(client.event("reject").await["refer"], true);
    }
    phone.hang_up(&answer).await;
    client.event("hangup").await;
    rig.server.stop().await;
}
