//! Inbound calls: a phone on loopback, playbooks and webhooks.

use std::sync::Arc;
use std::time::Duration;

use active_call::config::words::{HandlerKind, Pattern};
use active_call::config::{Config, HandlerTable, Rule};
use active_call::demo::phone::{Phone, PhoneError};
use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use protocol::record::CallRecord;
use protocol::value::Seconds;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::programs;
use crate::rig::{Client, PATIENCE, Rig};

pub(crate) const PLAYBOOK: &str = "---\ntts: { provider: fake }\ngreeting: Good morning.\n---\n";

pub(crate) fn playbooks(config: &mut Config, rules: Vec<Rule>, default: Option<&str>) {
    config.handler = Some(HandlerTable {
        r#type: Some(HandlerKind::Playbook),
        rules,
        default: default.map(str::to_owned),
        ..HandlerTable::default()
    });
}

pub(crate) fn webhooks(config: &mut Config, urls: &[String]) {
    config.handler = Some(HandlerTable {
        r#type: Some(HandlerKind::Webhook),
        urls: urls.to_vec(),
        headers: [("X-Key".to_owned(), "k".to_owned())].into(),
        ..HandlerTable::default()
    });
}

async fn refused(phone: &Phone, rig: &Rig, user: &str) -> u16 {
    match timeout(PATIENCE, phone.dial(rig.server.sip_addr(), user)).await.unwrap() {
        Err(PhoneError::Refused(code, _)) => code,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the call was answered"),
    }
}

/// Calls that were announced to a webhook.
pub(crate) type Hook = mpsc::Receiver<(HeaderMap, Value)>;

/// The client of the call that is announced next.
pub(crate) async fn attach(rig: &Rig, told: &mut Hook) -> Client {
    let (_, body) = timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
    rig.connect(&format!("/call/sip?id={}", body["dialogId"].as_str().unwrap())).await
}

/// A server that takes announcements and answers each with `status`.
pub(crate) async fn hook(status: StatusCode) -> (String, Hook) {
    let (told_in, told) = mpsc::channel(16);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let take = move |State(told): State<Arc<mpsc::Sender<(HeaderMap, Value)>>>, headers, Json(body)| async move {
        told.send((headers, body)).await.unwrap();
        status
    };
    let router = Router::new().route("/hook", post(take)).with_state(Arc::new(told_in));
    #[expect(clippy::disallowed_methods, reason = "the stand-in server lives as long as its test")]
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_playbook_answers_and_one_record_is_left() {
    let rig = Rig::start_with(|config| playbooks(config, Vec::new(), Some("hello.md"))).await;
    std::fs::write(rig.path("playbook/hello.md"), PLAYBOOK).unwrap();
    let phone = Phone::open().await.unwrap();
    let mut line = timeout(PATIENCE, phone.dial(rig.server.sip_addr(), "anyone")).await.unwrap().unwrap();
    line.listen_for(Duration::from_millis(1500)).await.unwrap();
    let loud = line.recording().iter().filter(|sample| sample.unsigned_abs() > 1000).count();
    assert!(loud > 4000, "the greeting is heard: {loud} loud samples");
    line.hang_up().await;
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    assert_eq!(record.status_code, 200);
    assert!(record.callee.contains("anyone"), "{}", record.callee);
    assert!(std::fs::metadata(record.dump_event_file.unwrap()).is_ok());
    phone.close().await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_sound_does_not_come_or_stops_is_ended_with_the_reason() {
    let rig = Rig::start_with(|config| {
        playbooks(config, Vec::new(), Some("hello.md"));
        config.rtp_first_timeout = Seconds(Duration::from_millis(700));
        config.rtp_timeout = Seconds(Duration::from_millis(900));
    })
    .await;
    std::fs::write(rig.path("playbook/hello.md"), PLAYBOOK).unwrap();
    for (talks, why) in
        [(false, "no packet of sound has come since the answer"), (true, "no packet of sound comes any more")]
    {
        let phone = Phone::open().await.unwrap();
        let mut line = timeout(PATIENCE, phone.dial(rig.server.sip_addr(), "anyone")).await.unwrap().unwrap();
        if talks {
            line.listen_for(Duration::from_millis(1500)).await.unwrap();
        }
        let told = |record: &CallRecord| record.hangup_messages.first().and_then(|told| told.reason.clone());
        let ended = |rig: &Rig| rig.records().into_iter().find(|record| told(record).as_deref() == Some(why));
        assert_eq!(rig.until("a record", ended).await.status_code, 200);
        phone.close().await;
    }
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_by_rule_and_those_that_lead_nowhere_get_503() {
    let rule = |callee: &str, playbook: &str| Rule {
        callee: Some(Pattern(regex::Regex::new(callee).unwrap())),
        playbook: playbook.into(),
        ..Rule::default()
    };
    let rules = vec![
        rule("^good$", "good.md"),
        rule("^bad$", "bad.md"),
        rule("^gone$", "gone.md"),
        rule("^out$", "../x.md"),
    ];
    let rig = Rig::start_with(|config| playbooks(config, rules, None)).await;
    std::fs::write(rig.path("playbook/good.md"), PLAYBOOK).unwrap();
    std::fs::write(rig.path("playbook/bad.md"), "---\nvad: 7\n---\n").unwrap();
    std::fs::write(rig.path("x.md"), PLAYBOOK).unwrap();
    let phone = Phone::open().await.unwrap();
    for user in ["bad", "gone", "out", "nobody"] {
        assert_eq!(refused(&phone, &rig, user).await, 503, "{user}");
    }
    let mut line = timeout(PATIENCE, phone.dial(rig.server.sip_addr(), "good")).await.unwrap().unwrap();
    line.hang_up().await;
    let all = |rig: &Rig| Some(rig.records()).filter(|records| records.len() == 5);
    let mut records = rig.until("a record for each call", all).await;
    records.retain(|record| record.status_code == 503);
    assert_eq!(records.len(), 4);
    for record in records {
        assert_eq!(record.hangup_reason, Some(protocol::HangupReason::Rejected));
        assert!(
            !record.hangup_messages[0].reason.as_ref().unwrap().contains("playbook/"),
            "files are no one's concern"
        );
    }
    phone.close().await;
    rig.server.stop().await;
}

/// A caller of an agent that cannot speak or hear is told so at once, and does not wait in silence.
#[tokio::test(flavor = "multi_thread")]
async fn a_playbook_whose_voice_or_recognizer_is_not_there_gets_503() {
    let rig = Rig::start_speaking(|config| playbooks(config, Vec::new(), Some("p.md"))).await;
    let phone = Phone::open().await.unwrap();
    let (mute, deaf) = ("The agent has no voice", "The agent cannot hear");
    let agents = [
        ("tts: { provider: flite, voice: nobody }\n", mute),
        ("tts: { provider: espeak, speed: 9 }\n", mute),
        ("tts: { provider: nobody }\n", mute),
        ("", mute),
        ("tts: { provider: flite }\nasr: { provider: nobody }\n", deaf),
        ("tts: { provider: flite }\nasr: { provider: pocketsphinx, language: de }\n", deaf),
    ];
    for (number, (agent, _)) in agents.iter().enumerate() {
        std::fs::write(rig.path("playbook/p.md"), format!("---\ngreeting: Hello.\n{agent}---\nHi.\n"))
            .unwrap();
        assert_eq!(refused(&phone, &rig, &format!("agent-{number}")).await, 503, "{agent}");
    }
    let all = |rig: &Rig| Some(rig.records()).filter(|records| records.len() == agents.len());
    let records = rig.until("a record for each call", all).await;
    let keys = format!("---\n{}dtmf: {{ \"1\": {{ action: hangup }} }}\n---\nHi.\n", agents[5].0);
    std::fs::write(rig.path("playbook/p.md"), keys).unwrap();
    let mut line = timeout(PATIENCE, phone.dial(rig.server.sip_addr(), "keys")).await.unwrap().unwrap();
    line.hang_up().await;
    for record in records {
        assert_eq!(record.status_code, 503);
        let (_, number) = record.callee.split_once("agent-").unwrap();
        let (_, why) = agents[number[..1].parse::<usize>().unwrap()];
        assert_eq!(record.hangup_messages[0].reason.as_deref(), Some(why));
    }
    phone.close().await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_announces_and_a_client_accepts() {
    let (url, mut told) = hook(StatusCode::OK).await;
    let rig = Rig::start_with(|config| {
        webhooks(config, &[url]);
        config.handler.as_mut().unwrap().secret = Some(protocol::Secret::new("whsec_c2VjcmV0"));
    })
    .await;
    let phone = Phone::open().await.unwrap();
    let answering = async {
        let (headers, body) = timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
        assert!(headers["webhook-id"].to_str().unwrap().starts_with("msg_"));
        assert!(headers["webhook-signature"].to_str().unwrap().starts_with("v1,"));
        let signed_at: u64 = headers["webhook-timestamp"].to_str().unwrap().parse().unwrap();
        assert!(active_call::app::now_ms() / 1000 - signed_at < 20);
        assert_eq!((headers["x-key"].to_str().unwrap(), body["event"].as_str()), ("k", Some("invite")));
        assert!(body["offer"].as_str().unwrap().starts_with("v=0"));
        assert!(
            body["headers"]
                .as_array()
                .unwrap()
                .iter()
                .any(|line| line.as_str().unwrap().starts_with("Via: "))
        );
        let id = body["dialogId"].as_str().unwrap().to_owned();
        let path = format!("/call/sip?id={id}");
        let mut client = rig.connect(&path).await;
        assert!(client.event("incoming").await["callee"].as_str().unwrap().contains("hooked"));
        assert_eq!(rig.try_connect(&path).await.err(), Some(409), "a second client cannot seize it");
        client.send(json!({"command": "ringing"})).await;
        client.send(json!({"command": "accept", "option": {}})).await;
        assert!(client.event("answer").await["sdp"].as_str().unwrap().starts_with("v=0"));
        client.send(json!({"command": "hangup"})).await;
        client.event("hangup").await;
        assert_eq!(client.closed().await, 1000);
    };
    let calling = async {
        let mut line = timeout(PATIENCE, phone.dial(rig.server.sip_addr(), "hooked")).await.unwrap().unwrap();
        timeout(PATIENCE, line.wait_for_end()).await.unwrap();
    };
    tokio::join!(calling, answering);
    assert_eq!(rig.until("a record", |rig| rig.records().pop()).await.status_code, 200);
    phone.close().await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_fails_is_passed_over_and_without_any_the_call_gets_503() {
    let (broken, mut broken_told) = hook(StatusCode::INTERNAL_SERVER_ERROR).await;
    let (redirecting, mut redirecting_told) = hook(StatusCode::FOUND).await;
    let rig = Rig::start_with(|config| {
        webhooks(config, &["http://127.0.0.1:9/nobody".into(), broken.clone(), redirecting.clone()]);
    })
    .await;
    let phone = Phone::open().await.unwrap();
    assert_eq!(refused(&phone, &rig, "anyone").await, 503);
    assert!(broken_told.try_recv().is_ok() && redirecting_told.try_recv().is_ok());
    let record = rig.until("a record", |rig| rig.records().pop()).await;
    assert_eq!(record.status_code, 503);
    phone.close().await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_never_answers_costs_its_time_and_no_more() {
    // The kernel takes connections to it, and nobody reads what they bring.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = format!("http://{}/hook", nobody.local_addr().unwrap());
    let (willing, mut told) = hook(StatusCode::OK).await;
    for (urls, code) in [(vec![mute.clone()], 503), (vec![mute.clone(), willing], 480)] {
        let rig = Rig::start_with(|config| {
            webhooks(config, &urls);
            config.webhook_timeout = Seconds(Duration::from_secs(1));
            config.accept_timeout = Seconds(Duration::from_secs(2));
        })
        .await;
        let phone = Phone::open().await.unwrap();
        // Far below the 5 s that an address has where nothing is configured.
        let begin = tokio::time::Instant::now();
        let refusal = timeout(Duration::from_secs(4), refused(&phone, &rig, "anyone")).await;
        assert_eq!(refusal.expect("a refusal in time"), code);
        assert!(begin.elapsed() >= Duration::from_secs(1), "the address has its time");
        phone.close().await;
        rig.server.stop().await;
    }
    assert!(told.try_recv().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_and_one_without_ports_refuse_with_503() {
    let [port] = programs::free_ports();
    let rig = Rig::start_with(|config| {
        playbooks(config, Vec::new(), Some("hello.md"));
        (config.rtp_start_port, config.rtp_end_port) = (port, Some(port + 1));
    })
    .await;
    std::fs::write(rig.path("playbook/hello.md"), PLAYBOOK).unwrap();
    let phone = Phone::open().await.unwrap();
    let mut line = timeout(PATIENCE, phone.dial(rig.server.sip_addr(), "one")).await.unwrap().unwrap();
    assert_eq!(refused(&phone, &rig, "two").await, 503);
    line.hang_up().await;
    rig.until("a record", |rig| rig.records().pop()).await;
    assert_eq!(refused(&phone, &rig, "three").await, 503, "the port rests");
    phone.close().await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_handler_refuses_every_call() {
    let rig = Rig::start().await;
    let phone = Phone::open().await.unwrap();
    assert_eq!(refused(&phone, &rig, "anyone").await, 503);
    assert_eq!(rig.until("a record", |rig| rig.records().pop()).await.status_code, 503);
    phone.close().await;
    rig.server.stop().await;
}
