//! Kamailio between us and our callers: as registrar, as proxy that stays in the dialog, ringing several at once, and
//! choosing us by OPTIONS.

use std::path::Path;
use std::time::Duration;

use active_call::config::{Config, RegisterUser, UserCredential};
use axum::http::StatusCode;
use protocol::Secret;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::UdpSocket;
use tokio::process::Child;
use tokio::time::timeout;

use crate::baresip::{Baresip, connect_to, hear_out_and_hang_up, heard_each_other, rig_with_agent_and};
use crate::between::hear_each_other;
use crate::inbound_sip::{Hook, attach, hook, webhooks};
use crate::programs;
use crate::recordings::{amplitude, sides};
use crate::rig::{PATIENCE, Rig};
use crate::sound;

const PROGRAM: &str = "/usr/sbin/kamailio";

/// A running Kamailio. Its processes end with it: the first one takes the others along only when it is asked to end.
struct Kamailio(Child);

impl Drop for Kamailio {
    #[allow(clippy::disallowed_methods, reason = "the end of a process is waited for in real time")]
    fn drop(&mut self) {
        let Some(id) = self.0.id() else { return };
        let _ = std::process::Command::new("kill").args(["-TERM", &id.to_string()]).status();
        let until = std::time::Instant::now() + Duration::from_secs(5);
        while matches!(self.0.try_wait(), Ok(None)) && std::time::Instant::now() < until {
            std::thread::yield_now();
        }
    }
}

/// Starts Kamailio at `port`, with `trunk` to be reached there. It asks everyone for a password by this algorithm of
/// digests, if any.
async fn start(folder: &Path, port: u16, trunk: &str, algorithm: Option<&str>) -> Kamailio {
    std::fs::create_dir_all(folder).unwrap();
    let config = include_str!("../tools/kamailio.cfg");
    let config = config.replace("PORT", &port.to_string()).replace("FOLDER", folder.to_str().unwrap());
    let config = config.replace("ALGORITHM", algorithm.unwrap_or_default());
    let path = folder.join("kamailio.cfg");
    std::fs::write(&path, config).unwrap();
    std::fs::write(folder.join("dispatcher.list"), format!("1 sip:{trunk}\n")).unwrap();
    let run = folder.to_str().unwrap();
    let mut arguments = vec!["-DD", "-E", "-m", "32", "-M", "4", "-Y", run, "-f", path.to_str().unwrap()];
    arguments.extend(algorithm.iter().flat_map(|_| ["-A", "ASKS"]));
    let mut kamailio = Kamailio(programs::start(PROGRAM, &arguments, folder));
    answers(&mut kamailio, port).await;
    kamailio
}

/// Waits until Kamailio answers, which is a while after it has bound its port: on a busy machine its processes take
/// their time.
async fn answers(kamailio: &mut Kamailio, port: u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let here = socket.local_addr().unwrap();
    let options = format!(
        "OPTIONS sip:nobody@127.0.0.1:{port} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bKup\r\n\
         From: <sip:test@{here}>;tag=t\r\nTo: <sip:nobody@127.0.0.1>\r\nCall-ID: up\r\nCSeq: 1 OPTIONS\r\n\
         Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    );
    let until = tokio::time::Instant::now() + PATIENCE * 3;
    loop {
        // What is sent to a port that nobody listens at may come back as an error.
        let _ = socket.send_to(options.as_bytes(), ("127.0.0.1", port)).await;
        if let Ok(Ok(_)) = timeout(Duration::from_millis(200), socket.recv(&mut [0; 2048])).await {
            return;
        }
        if let Some(status) = kamailio.0.try_wait().unwrap() {
            let mut told = String::new();
            kamailio.0.stderr.take().unwrap().read_to_string(&mut told).await.unwrap();
            panic!("kamailio ends with {status}: {told}");
        }
        assert!(tokio::time::Instant::now() < until, "kamailio does not answer");
    }
}

fn registered(config: &mut Config, port: u16) {
    let server = format!("127.0.0.1:{port}");
    config.register_users =
        vec![RegisterUser { server, username: "agent".into(), ..RegisterUser::default() }];
}

/// The same with this password.
fn registered_with(config: &mut Config, port: u16, password: &str) {
    registered(config, port);
    let credential = UserCredential { password: Secret::new(password), ..UserCredential::default() };
    config.register_users[0].credential = Some(credential);
}

async fn is_registered(rig: &Rig) {
    stands(rig, "registered").await;
}

/// Waits until the account stands so; what is told of it.
async fn stands(rig: &Rig, state: &str) -> String {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let told = rig.get("/api/v1/registrations").await.1;
        if told.contains(&format!("\"{state}\"")) {
            return told;
        }
        assert!(tokio::time::Instant::now() < until, "the account is not {state}: {told}");
    }
}

/// A call of baresip through Kamailio to `user` is heard on both sides, and the hang-up of the agent passes too. Who
/// registers has to give a password, and so has who calls.
async fn heard_through(user: &str) {
    let [port] = programs::free_ports::<1>();
    let (rig, mut told, caller, agent) = rig_with_agent_and(|config| {
        if user == "agent" {
            registered_with(config, port, "secret");
        }
    })
    .await;
    let trunk = rig.server.sip_addr().to_string();
    let _kamailio = start(&rig.path("kamailio"), port, &trunk, Some("MD5")).await;
    if user == "agent" {
        is_registered(&rig).await;
    }
    let says = [caller.as_slice(), &[0; 20 * 8000]].concat();
    let account = "audio_codecs=PCMU/8000/1;auth_user=phone;auth_pass=secret";
    let mut phone = Baresip::start_with(&rig.path("phone"), account, &says).await;
    let mut client = connect_to(&rig, &mut told, &mut phone, &format!("sip:{user}@127.0.0.1:{port}")).await;
    hear_out_and_hang_up(&rig, &mut client, &mut phone).await;
    heard_each_other(&rig, &phone, [&caller, &agent]).await;
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_comes_through_the_registrar_that_we_are_registered_at() {
    heard_through("agent").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_comes_through_a_dispatcher_that_finds_us_alive_by_options() {
    heard_through("trunk").await;
}

/// A call of ours by an account at Kamailio, which asks for its password by this algorithm, reaches a phone behind it, is
/// heard on both sides, and its hang-up passes too. With another password there is no account and no call.
async fn heard_with_password(algorithm: &str) {
    let [port] = programs::free_ports::<1>();
    let folder = tempfile::tempdir().unwrap();
    let callee = sound::speech(folder.path(), "You have reached the front desk of the museum").await;
    let says = [callee.as_slice(), &[0; 20 * 8000]].concat();
    let mut phone = Baresip::start(&folder.path().join("phone"), "PCMA/8000/1", &says).await;
    let trunk = format!("127.0.0.1:{}", phone.sip);
    let _kamailio = start(&folder.path().join("kamailio"), port, &trunk, Some(algorithm)).await;
    let rig = Rig::start_with(|config| registered_with(config, port, "secret")).await;
    let stranger = Rig::start_with(|config| registered_with(config, port, "guess")).await;
    let agent = sound::speech(rig.folder.path(), "Good morning, this is a call about your order").await;
    sound::write_wav(&rig.path("sounds/agent.wav"), 8000, &agent);
    is_registered(&rig).await;
    let failed = stands(&stranger, "failed").await;
    assert!(failed.contains("\"code\":401"), "{failed}");
    let to = json!(format!("sip:trunk@127.0.0.1:{port}"));
    let mut refused = stranger.connect("/call/sip").await;
    refused.send(json!({"command": "invite", "option": {"callee": to}})).await;
    assert_eq!(refused.event("reject").await["code"], 407);
    let mut client = rig.connect("/call/sip").await;
    client.send(json!({"command": "invite", "option": {"callee": to, "recorder": {}}})).await;
    client.event("answer").await;
    let asked = rig.messages("SIP/2.0 407 ").await;
    assert!(asked[0].contains(&format!("algorithm={algorithm}")), "{asked:?}");
    client.send(json!({"command": "play", "url": "agent.wav"})).await;
    hear_out_and_hang_up(&rig, &mut client, &mut phone).await;
    heard_each_other(&rig, &phone, [&callee, &agent]).await;
    rig.server.stop().await;
    stranger.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_with_a_password_calls_through_the_registrar_that_asks_for_it_by_md5_and_by_sha_256() {
    tokio::join!(heard_with_password("MD5"), heard_with_password("SHA-256"));
}

/// Kamailio at a port, with who calls by it, and two at one account: who calls it rings at both.
async fn two_at_one_account() -> (u16, Kamailio, Rig, Vec<(Rig, Hook)>) {
    let [port] = programs::free_ports::<1>();
    let caller = Rig::start().await;
    let kamailio = start(&caller.path("kamailio"), port, "127.0.0.1:9", None).await;
    let mut callees = Vec::new();
    for _ in 0..2 {
        let (url, told) = hook(StatusCode::OK).await;
        let rig = Rig::start_with(|config| {
            webhooks(config, &[url]);
            registered(config, port);
        })
        .await;
        is_registered(&rig).await;
        callees.push((rig, told));
    }
    (port, kamailio, caller, callees)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_ring_at_once_one_answers_and_the_other_is_cancelled() {
    let (port, _kamailio, caller, mut callees) = two_at_one_account().await;
    let mut call = caller.connect("/call/sip?id=forked").await;
    let to = format!("sip:agent@127.0.0.1:{port}");
    call.send(json!({"command": "invite", "option": {"callee": to, "recorder": {}}})).await;
    let mut clients = Vec::new();
    for (rig, told) in &mut callees {
        let mut client = attach(rig, told).await;
        client.send(json!({"command": "ringing"})).await;
        clients.push(client);
    }
    call.event("ringing").await;
    clients[1].send(json!({"command": "accept", "option": {"recorder": {}}})).await;
    call.event("answer").await;
    clients[1].event("answer").await;
    assert_eq!(clients[0].event("hangup").await["reason"], "canceled");
    let hangup = hear_each_other([(&callees[1].0, &mut clients[1]), (&caller, &mut call)]).await;
    assert_eq!(hangup["reason"], "caller");
    for (rig, _) in callees {
        rig.server.stop().await;
    }
    caller.server.stop().await;
}

/// How loud a tone is in this sound.
fn level((sound, rate): (&[i16], u32), hz: u32) -> f64 {
    amplitude(sound, rate, hz) * f64::from(rate) / sound.len() as f64
}

/// Below this a tone is not heard; those of the test have several thousand.
const FAINT: f64 = 500.0;

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_sound_before_the_answer_one_is_heard_at_a_time_and_then_who_answers() {
    let (port, _kamailio, caller, mut callees) = two_at_one_account().await;
    let tones = [500, 1100, 1700];
    for (name, hz) in ["first.wav", "second.wav", "answer.wav"].into_iter().zip(tones) {
        let tone = testkit::cast::tone(hz, Duration::from_secs(60));
        callees.iter().for_each(|(rig, _)| sound::write_wav(&rig.path("sounds").join(name), 16_000, &tone));
    }
    let recording = caller.path("recorders/forked.wav");
    let heard = |hz: u32| {
        let there = recording.exists().then(|| sides(&recording));
        there.filter(|(rate, sides)| {
            let tail = sides[0].len().saturating_sub(*rate as usize / 2);
            level((&sides[0][tail..], *rate), hz) > FAINT
        })
    };
    let mut call = caller.connect("/call/sip?id=forked").await;
    let to = format!("sip:agent@127.0.0.1:{port}");
    call.send(json!({"command": "invite", "option": {"callee": to, "recorder": {}}})).await;
    let mut clients = Vec::new();
    for ((rig, told), (name, hz)) in
        callees.iter_mut().zip(["first.wav", "second.wav"].into_iter().zip(tones))
    {
        let mut client = attach(rig, told).await;
        client.send(json!({"command": "ringing", "ringtone": name})).await;
        assert_eq!(call.event("ringing").await["earlyMedia"], true);
        caller.until(name, |_| heard(hz)).await;
        clients.push(client);
    }
    clients[1].send(json!({"command": "accept", "option": {}})).await;
    call.event("answer").await;
    clients[1].event("answer").await;
    clients[1].send(json!({"command": "play", "url": "answer.wav"})).await;
    assert_eq!(clients[0].event("hangup").await["reason"], "canceled");
    caller.until("the answer's sound", |_| heard(tones[2])).await;
    call.send(json!({"command": "hangup"})).await;
    call.event("hangup").await;
    let record = caller.until("a record", |rig| rig.records().pop()).await;
    let (rate, sides) = sides(record.recorder[0].path.as_ref());
    // Windows of 100 ms, in each of which the tones keep apart.
    let windows = sides[0]
        .chunks_exact(rate as usize / 10)
        .map(|window| tones.map(|hz| level((window, rate), hz) > FAINT));
    let mut order = Vec::new();
    let mut mixed = 0;
    for window in windows {
        let sounding: Vec<usize> = (0..3).filter(|tone| window[*tone]).collect();
        match sounding[..] {
            [] => {}
            [one] if order.last() == Some(&one) => {}
            [one] => order.push(one),
            _ => mixed += 1,
        }
    }
    println!("heard {order:?}, {mixed} windows with two");
    assert_eq!(order, [0, 1, 2], "one after the other, and never back");
    assert!(mixed <= 2, "{mixed} windows hold two: more than where one takes over from another");
    for (rig, _) in callees {
        rig.server.stop().await;
    }
    caller.server.stop().await;
}
