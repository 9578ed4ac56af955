//! Calls that we place: to baresip, to another server, to nobody; and a second party joined with the first.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;

use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::process::Child;
use tokio::time::timeout;

use crate::baresip::{Baresip, connect, rig_with_agent};
use crate::inbound_sip::{attach, hook, webhooks};
use crate::raw_phone::{RawPhone, sdp, value};
use crate::rig::{PATIENCE, Rig, until};
use crate::{programs, sound};

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_ours_to_baresip_in_each_codec_and_under_each_suite_are_heard_on_both_sides() {
    let (clear, keys) = (json!(false), json!(true));
    let encrypted = ";mediaenc=srtp-mand";
    tokio::join!(
        heard_on_both_sides("PCMU/8000/1", "", &clear, None),
        heard_on_both_sides("PCMA/8000/1", "", &clear, None),
        heard_on_both_sides("G722/16000/1", "", &clear, None),
        heard_on_both_sides("opus/48000/2", "", &clear, None),
        heard_on_both_sides("PCMU/8000/1", encrypted, &keys, Some("AES_CM_128_HMAC_SHA1_80")),
        heard_on_both_sides("PCMA/8000/1", encrypted, &keys, Some("AEAD_AES_256_GCM")),
        heard_on_both_sides("G722/16000/1", encrypted, &keys, Some("AEAD_AES_128_GCM")),
        heard_on_both_sides("opus/48000/2", encrypted, &keys, Some("AES_CM_128_HMAC_SHA1_32")),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_ours_whose_encryption_is_optional_are_heard_by_phones_that_know_it_and_that_do_not() {
    let optional = json!("optional");
    tokio::join!(
        heard_on_both_sides("PCMU/8000/1", ";mediaenc=srtp", &optional, Some("AES_CM_128_HMAC_SHA1_80")),
        heard_on_both_sides("PCMU/8000/1", "", &optional, None),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_insists_on_encryption_refuses_an_offer_in_which_it_is_optional() {
    let rig = Rig::start().await;
    let account = "audio_codecs=PCMU/8000/1;mediaenc=srtp-mand";
    let phone = Baresip::start_with(&rig.path("phone"), account, &[0; 8000]).await;
    let mut client = rig.connect("/call/sip").await;
    let to = format!("sip:phone@127.0.0.1:{}", phone.sip);
    let sip = json!({"enableSrtp": "optional"});
    client.send(json!({"command": "invite", "option": {"callee": to, "sip": sip}})).await;
    assert_eq!(client.event("reject").await["code"], 488);
    assert_eq!(client.event("hangup").await["reason"], "notAcceptable");
    rig.server.stop().await;
}

/// A proxy of a sort before the phone at `phone`, which lets no offer through but of one crypto suite: a phone takes the
/// first that it knows.
async fn offering_only(suite: &'static str, phone: u16) -> u16 {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let phone = SocketAddr::from(([127, 0, 0, 1], phone));
    let passing = async move {
        let (mut datagram, mut server) = (vec![0; 65_536], phone);
        while let Ok((length, from)) = socket.recv_from(&mut datagram).await {
            if from == phone {
                socket.send_to(&datagram[..length], server).await.unwrap();
                continue;
            }
            server = from;
            let text = String::from_utf8(datagram[..length].to_vec()).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let kept = |line: &&str| !line.starts_with("a=crypto:") || line.contains(&format!(" {suite} "));
            let body: String = body.split_inclusive('\n').filter(kept).collect();
            let length = |line: &str| line.starts_with("Content-Length:");
            let head: Vec<String> = head
                .split("\r\n")
                .map(
                    |line| if length(line) { format!("Content-Length: {}", body.len()) } else { line.into() },
                )
                .collect();
            socket.send_to(format!("{}\r\n\r\n{body}", head.join("\r\n")).as_bytes(), phone).await.unwrap();
        }
    };
    #[expect(clippy::disallowed_methods, reason = "the proxy lives as long as its test")]
    tokio::spawn(passing);
    port
}

async fn heard_on_both_sides(codec: &str, further: &str, srtp: &Value, suite: Option<&'static str>) {
    let rig = Rig::start().await;
    let callee = sound::speech(rig.folder.path(), "You have reached the front desk of the museum").await;
    let agent = sound::speech(rig.folder.path(), "Good morning, this is a call about your order").await;
    // Until the phone has said its own.
    sound::write_wav(&rig.path("sounds/agent.wav"), 8000, &[agent.as_slice(), &[0; 2 * 8000]].concat());
    // The phone hangs up when its file ends.
    let says = [callee.as_slice(), &[0; 20 * 8000]].concat();
    let account = format!("audio_codecs={codec}{further}");
    let mut phone = Baresip::start_with(&rig.path("phone"), &account, &says).await;
    let mut client = rig.connect("/call/sip?id=out1").await;
    let port = match suite {
        Some(suite) => offering_only(suite, phone.sip).await,
        None => phone.sip,
    };
    let to = format!("sip:phone@127.0.0.1:{port}");
    let sip = json!({"enableSrtp": srtp});
    client.send(json!({"command": "invite", "option": {"callee": to, "recorder": {}, "sip": sip}})).await;
    assert_eq!(client.event("trackStart").await["trackId"], "out1");
    let answer = client.event("answer").await["sdp"].as_str().unwrap().to_owned();
    assert!(answer.contains("m=audio"));
    if let Some(suite) = suite {
        let savp = answer.contains("RTP/SAVP") || srtp == "optional";
        assert!(savp && answer.contains(&format!(" {suite} inline:***")), "{answer}");
    } else {
        assert!(!answer.contains("RTP/SAVP") && !answer.contains("a=crypto"), "{answer}");
    }
    client.send(json!({"command": "play", "url": "agent.wav"})).await;
    client.event("trackEnd").await;
    rig.has_agreed_on(codec.split('/').next().unwrap(), suite).await;
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    phone.told("type", "CALL_CLOSED").await;
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    assert_eq!((record.status_code, record.callee.as_str()), (200, to.as_str()));
    let recording = PathBuf::from(&record.recorder[0].path);
    let said = sound::find(&callee, &sound::channel(&recording, 0));
    let heard = sound::find(&agent, &phone.heard());
    println!("{account}: the server hears {said:?}, baresip hears {heard:?}");
    assert!(phone.is_heard(&said) && phone.hears(&heard), "{account}: {said:?} {heard:?}");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_call_tells_its_code_and_leaves_a_record() {
    let (rig, nobody) = (Rig::start().await, Rig::start().await);
    let mut client = rig.connect("/call/sip").await;
    let to = format!("sip:agent@{}", nobody.server.sip_addr());
    client.send(json!({"command": "invite", "option": {"callee": to}})).await;
    assert_eq!(client.event("reject").await["code"], 503);
    assert_eq!(client.event("error").await["sender"], "invite");
    assert_eq!(client.event("hangup").await["reason"], "serverUnavailable");
    assert_eq!(client.closed().await, 1000);
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    assert_eq!((record.status_code, record.caller.as_str()), (503, "sip:active-call@127.0.0.1"));
    rig.server.stop().await;
    nobody.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callee_at_whose_address_nobody_listens_is_told_with_the_address() {
    let rig = Rig::start().await;
    let [port] = programs::free_ports();
    let mut client = rig.connect("/call/sip").await;
    let to = format!("sip:agent@127.0.0.1:{port}");
    client.send(json!({"command": "invite", "option": {"callee": to}})).await;
    let reject = client.event("reject").await;
    let why = format!("the peer cannot be reached: nobody listens at 127.0.0.1:{port}");
    assert_eq!((&reject["code"], reject["reason"].as_str()), (&json!(503), Some(why.as_str())));
    client.event("hangup").await;
    assert_eq!(rig.until("a record", |rig| rig.records().pop()).await.status_code, 503);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_given_up_while_it_rings_is_cancelled_at_the_callee() {
    let (url, mut told) = hook(StatusCode::OK).await;
    let callee = Rig::start_with(|config| webhooks(config, &[url])).await;
    let rig = Rig::start().await;
    let mut client = rig.connect("/call/sip").await;
    let to = format!("sip:agent@{}", callee.server.sip_addr());
    client.send(json!({"command": "invite", "option": {"callee": to}})).await;
    let (_, body) = timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
    let id = body["dialogId"].as_str().unwrap().to_owned();
    let mut agent = callee.connect(&format!("/call/sip?id={id}")).await;
    agent.send(json!({"command": "ringing"})).await;
    assert_eq!(client.event("ringing").await["earlyMedia"], false);
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    assert_eq!(agent.event("hangup").await["reason"], "canceled");
    assert_eq!(rig.until("a record", |rig| rig.records().pop()).await.status_code, 487);
    rig.server.stop().await;
    callee.server.stop().await;
}

/// SIPp as a callee that answers in a reliable provisional response and not in its 200, and sends back what it hears.
async fn early_answerer(rig: &Rig) -> (Child, String) {
    let ports = programs::free_ports();
    let mut arguments = programs::sipp("early_answer.xml", ports);
    arguments.push("-rtp_echo".into());
    let callee = programs::start("sipp", &arguments, rig.folder.path());
    until("SIPp listens", || UdpSocket::bind(("127.0.0.1", ports[0])).is_err().then_some(())).await;
    (callee, format!("sip:phone@127.0.0.1:{}", ports[0]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callee_and_a_second_party_whose_answers_come_only_before_their_200_are_heard() {
    let rig = Rig::start().await;
    let (callee, to) = early_answerer(&rig).await;
    let (desk, other) = early_answerer(&rig).await;
    let mut client = rig.connect("/call/sip").await;
    client.send(json!({"command": "invite", "option": {"callee": to}})).await;
    assert_eq!(client.event("ringing").await["earlyMedia"], true);
    let answer = client.event("answer").await;
    assert!(answer["sdp"].as_str().unwrap().contains("m=audio"), "{answer}");
    client.send(json!({"command": "refer", "caller": "", "callee": other})).await;
    assert_eq!(client.event("ringing").await["earlyMedia"], true);
    assert_eq!(client.event("answer").await["refer"], true);
    let quality = client.event("metrics").await;
    assert!(quality["data"]["packets"].as_u64().unwrap() > 20, "{quality}");
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    for party in [callee, desk] {
        let ended = timeout(PATIENCE, party.wait_with_output()).await.unwrap().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
    }
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_party_and_the_caller_hear_each_other() {
    let (rig, mut told, caller, _) = rig_with_agent().await;
    let (url, mut desk_told) = hook(StatusCode::OK).await;
    let desk = Rig::start_with(|config| webhooks(config, &[url])).await;
    let answer = sound::speech(desk.folder.path(), "This is the information desk, how may I help").await;
    sound::write_wav(&desk.path("sounds/desk.wav"), 8000, &answer);
    // The phone hangs up when its file ends.
    let says = [caller.as_slice(), &[0; 20 * 8000]].concat();
    let mut phone = Baresip::start(&rig.path("phone"), "PCMU/8000/1", &says).await;
    let mut client = connect(&rig, &mut told, &mut phone).await;
    let to = format!("sip:desk@{}", desk.server.sip_addr());
    client.send(json!({"command": "refer", "caller": "", "callee": to})).await;
    let (_, body) = timeout(PATIENCE, desk_told.recv()).await.unwrap().unwrap();
    assert!(body["headers"].to_string().contains("X-Referred-Id"), "{body}");
    let id = body["dialogId"].as_str().unwrap().to_owned();
    let mut second = desk.connect(&format!("/call/sip?id={id}")).await;
    second.send(json!({"command": "accept", "option": {"recorder": {}}})).await;
    assert_eq!(client.event("answer").await["refer"], true);
    for _ in 0..2 {
        second.send(json!({"command": "play", "url": "desk.wav"})).await;
        second.event("trackEnd").await;
    }
    second.send(json!({"command": "hangup"})).await;
    let left = client.event("hangup").await;
    assert_eq!((&left["refer"], &left["reason"]), (&json!(true), &json!("callee")), "{left}");
    assert_eq!(client.event("hangup").await["reason"], "refer");
    phone.told("type", "CALL_CLOSED").await;
    let record = desk.until("a record", |rig| rig.records().pop()).await;
    let recording = PathBuf::from(&record.recorder[0].path);
    let said = sound::find(&caller, &sound::channel(&recording, 0));
    let heard = sound::find(&answer, &phone.heard());
    println!("the desk hears {said:?}, the caller hears {heard:?}");
    assert!(phone.is_heard(&said) && phone.hears(&heard), "{said:?} {heard:?}");
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    assert_eq!(record.refer_callrecord.unwrap().status_code, 200);
    rig.server.stop().await;
    desk.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_party_is_told_for_whom_it_is_called() {
    let (url, mut told) = hook(StatusCode::OK).await;
    let rig = Rig::start_with(|config| webhooks(config, &[url])).await;
    let server = rig.server.sip_addr();
    let (phone, desk) = (RawPhone::towards(server, "first").await, RawPhone::towards(server, "desk").await);
    let [first, second] = [&phone, &desk].map(|phone| phone.socket.local_addr().unwrap());
    phone.invite_with("", &sdp(([127, 0, 0, 1], 4000).into())).await;
    let mut client = attach(&rig, &mut told).await;
    client.send(json!({"command": "accept", "option": {}})).await;
    let answer = phone.answered().await;
    client.event("answer").await;
    let mut refer = json!({"command": "refer", "caller": "", "callee": format!("sip:desk@{second}")});
    let called = [format!("sip:agent@{server}"), "sip:elsewhere@example.com".to_owned()];
    for to in &called {
        client.send(refer.clone()).await;
        let invite = desk.asked("INVITE").await;
        assert_eq!(value(&invite, "X-Referred-From"), format!("sip:raw@{first}"));
        assert_eq!(value(&invite, "X-Referred-To"), to, "what the command says itself stays");
        assert!(!value(&invite, "X-Referred-Id").is_empty());
        desk.answer(&invite, "486 Busy Here", "").await;
        assert_eq!(client.event("reject").await["code"], 486);
        refer["options"] = json!({"sip": {"headers": {"X-Referred-To": called[1]}}});
    }
    phone.hang_up(&answer).await;
    client.event("hangup").await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_subscribes_hears_both_sides_apart() {
    let (url, mut told) = hook(StatusCode::OK).await;
    let callee = Rig::start_with(|config| webhooks(config, &[url])).await;
    callee.tone("tone.wav");
    let rig = Rig::start().await;
    let mut client = rig.connect("/call/sip").await;
    let to = format!("sip:agent@{}", callee.server.sip_addr());
    client.send(json!({"command": "invite", "option": {"callee": to, "subscribe": true}})).await;
    let (_, body) = timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
    let id = body["dialogId"].as_str().unwrap().to_owned();
    let mut agent = callee.connect(&format!("/call/sip?id={id}")).await;
    agent.send(json!({"command": "accept", "option": {}})).await;
    agent.send(json!({"command": "play", "url": "tone.wav"})).await;
    client.event("answer").await;
    client.heard(641 * 100).await;
    let messages = client.sound.chunks_exact(641);
    let loud = |side: u8| {
        let own = messages.clone().filter(|message| message[0] == side);
        let loud = |message: &&[u8]| {
            let samples = message[1..].as_chunks::<2>().0;
            samples.iter().any(|pair| i16::from_le_bytes(*pair).unsigned_abs() > 1000)
        };
        (own.clone().count(), own.filter(loud).count())
    };
    let ((server, agent_sound), (remote, tone)) = (loud(0), loud(1));
    assert!(server >= 40 && remote >= 40 && server + remote == messages.len(), "{server} {remote}");
    assert!(agent_sound == 0 && tone > 5, "{agent_sound} {tone}");
    client.send(json!({"command": "hangup"})).await;
    client.event("hangup").await;
    rig.server.stop().await;
    callee.server.stop().await;
}
